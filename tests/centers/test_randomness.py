import numpy as np
import pytest

from hashcenters.centers import randomness
from hashcenters.centers.randomness import (
    CENTER_STREAM,
    SAMPLE_TIE_STREAM,
    TIE_TABLE_STREAM,
    check_seed,
    random_bits,
    random_stream,
    random_words,
)


def test_words_are_the_bit_generators_own():
    words = random_words(7, 3, 5, stream=CENTER_STREAM)
    source = np.random.Philox(np.random.SeedSequence(7, spawn_key=(CENTER_STREAM,)))
    assert words.dtype == np.uint64
    assert words.tolist() == [[int(source.random_raw()) for _ in range(5)] for _ in range(3)]


def test_words_never_change():
    """A changed constant, numpy version or platform must not move anybody's centers."""
    assert random_words(0, 1, 2, stream=CENTER_STREAM).tolist() == [[12441188205270234579, 8834087402389068706]]
    assert random_words(2**63 - 1, 1, 1, stream=TIE_TABLE_STREAM).tolist() == [[16970022654738026493]]


@pytest.mark.parametrize("n_bits", [1, 8, 63, 64, 65, 130])
def test_bits_are_the_words_bits_lowest_first(n_bits):
    words = random_words(3, 4, -(-n_bits // 64), stream=CENTER_STREAM)
    expected = [[int(row[j // 64]) >> (j % 64) & 1 for j in range(n_bits)] for row in words]
    bits = random_bits(3, 4, n_bits, stream=CENTER_STREAM)
    assert bits.dtype == np.uint8
    assert bits.tolist() == expected


def test_first_rows_do_not_depend_on_the_number_of_rows():
    assert np.array_equal(random_bits(0, 9, 100, stream=1)[:4], random_bits(0, 4, 100, stream=1))


def test_bits_are_fair_and_streams_and_seeds_unrelated():
    tables = [random_bits(s, 500, 64, stream=t) for s in (0, 1) for t in (CENTER_STREAM, TIE_TABLE_STREAM, 3)]
    deviation = 0.5 / np.sqrt(tables[0].size)
    for i, table in enumerate(tables):
        assert abs(table.mean() - 0.5) < 5 * deviation
        for other in tables[:i]:
            assert abs((table ^ other).mean() - 0.5) < 5 * deviation


def test_streams_differ():
    streams = [value for name, value in vars(randomness).items() if name.endswith("_STREAM")]
    assert {CENTER_STREAM, TIE_TABLE_STREAM, SAMPLE_TIE_STREAM} < set(streams)
    assert len(set(streams)) == len(streams) == 19
    first = {int(random_stream(0, *path).random_raw()) for path in [(1,), (2,), (1, 0), (1, 2), (2, 1), (1, 0, 0)]}
    assert len(first) == 6


def test_seed_fits_an_int64_buffer():
    assert check_seed(np.int64(2**63 - 1)) == 2**63 - 1
    with pytest.raises(ValueError, match=r"seed must be smaller than 2\*\*63, got 9223372036854775808"):
        check_seed(2**63)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        check_seed(-1)
    with pytest.raises(TypeError, match="seed must be an int, got None"):
        check_seed(None)
