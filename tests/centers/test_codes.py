"""Codes, the search for them, and the choice of words."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, selection
from hashcenters.centers.constructions import (
    Code,
    add_complements,
    add_parity,
    best_10_40_4,
    conference_code,
    construction_x,
    even_subcode,
    extended_bch,
    hadamard_block,
    julin_12_144_4,
    juxtapose,
    kerdock,
    levenshtein,
    orbit_code,
    pack_ints,
    puncture,
    quadratic_character,
    quadratic_residue,
    repetition,
    shorten,
    subcode,
    to_ints,
    u_u_plus_v,
    whole_space,
)
from hashcenters.centers.measures import column_classes, distance_range, min_distance, satisfies_definition_1
from hashcenters.centers.search import (
    FROZEN,
    block_choices,
    frozen_codes,
    griesmer,
    orbit_table,
    search_columns,
    search_orbits,
)
from hashcenters.centers.selection import best_words, plan_words, select_words
from references import slow_gilbert_varshamov, slow_least_distance, slow_mean_distance_is_half


def paper_words(n_classes: int, n_bits: int, seed: int) -> np.ndarray:
    """Algorithm 1, which tests/centers/test_generator.py holds against its slow version."""
    return HashCenterGenerator(n_bits, method="paper", seed=seed)(n_classes).numpy().astype(np.int8)


def all_words(code: Code) -> np.ndarray:
    return code.words(np.arange(code.size))


def signs(words: np.ndarray) -> np.ndarray:
    return np.where(words, 1, -1).astype(np.int8)


def least(code: Code) -> int:
    """True least distance: of linear codes by weights, of others by pairs."""
    if len(code.cosets) == 1:
        return int(all_words(code).sum(axis=1)[1:].min())
    return min_distance(signs(all_words(code)))


# Words and distances
# -----------------------------------------------------------------------------------------------------


@given(n_words=st.integers(1, 40), n_bits=st.integers(1, 200), seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_ints_and_bits_round_trip(n_words, n_bits, seed):
    words = np.random.default_rng(seed).random((n_words, n_bits)) < 0.5
    packed = pack_ints(to_ints(words), n_bits)
    np.testing.assert_array_equal(np.unpackbits(packed, axis=1, count=n_bits, bitorder="little"), words)


@given(n_words=st.integers(2, 60), n_bits=st.integers(1, 200), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_min_distance_is_the_slow_one(n_words, n_bits, seed):
    words = signs(np.random.default_rng(seed).random((n_words, n_bits)) < 0.5)
    assert min_distance(words) == slow_least_distance(words)
    greatest = max(int((a != b).sum()) for i, a in enumerate(words) for b in words[:i])
    assert distance_range(words) == (min_distance(words), greatest)


@pytest.mark.parametrize("n_bits", [60, 100])
@pytest.mark.parametrize("place", [(0, 1), (0, 9999), (4095, 4096), (4096, 9000), (8191, 8192), (9998, 9999)])
def test_min_distance_sees_every_pair(n_bits, place):
    words = signs(np.random.default_rng(1).random((10_000, n_bits)) < 0.5)
    words[place[1]] = words[place[0]]
    assert min_distance(words) == 0


def test_min_distance_of_one_word():
    assert min_distance(np.ones((1, 12), dtype=np.int8)) == 12


def test_words_are_sums_of_rows_and_a_coset():
    code = Code("", 5, 1, (0b00001, 0b00110), (0b10000, 0b01000))
    expected = [0b10000, 0b10001, 0b10110, 0b10111, 0b01000, 0b01001, 0b01110, 0b01111]
    assert list(to_ints(all_words(code))) == expected


# Constructions
# -----------------------------------------------------------------------------------------------------------

EXACT = [
    *[extended_bch(n, d) for n, d in [(8, 3), (16, 3), (16, 5), (16, 7), (32, 5), (32, 7), (32, 11), (32, 15)]],
    *[extended_bch(n, d) for n, d in [(64, 23), (64, 27), (64, 31), (128, 55), (128, 63), (256, 119), (512, 255)]],
    *[quadratic_residue(p) for p in (7, 17, 23, 31)],
    kerdock(16),
    kerdock(64),
    best_10_40_4(),
    julin_12_144_4(),
    *[conference_code(q) for q in (5, 9, 13, 17, 25, 49, 81, 125)],
    *[hadamard_block(n, kind) for n in (4, 12, 20, 32, 100) for kind in ("biorthogonal", "simplex", "halved")],
]


@pytest.mark.parametrize("code", EXACT, ids=lambda code: code.name)
def test_claimed_distance_is_the_true_one(code):
    assert least(code) == code.min_distance


@pytest.mark.parametrize("n_bits", [256, 1024])
def test_large_kerdock_codes_on_a_sample(n_bits):
    code = kerdock(n_bits)
    assert code.size == n_bits**2
    words = code.words(np.arange(0, code.size, code.size // 3000 + 1))
    assert min_distance(signs(words)) >= code.min_distance
    # All of two cosets: their distances are (n - sqrt n)/2, n/2 and (n + sqrt n)/2 only.
    two = signs(code.words(np.arange(2 << len(code.rows))))
    products = two[: two.shape[0] // 2].astype(np.int32) @ two[two.shape[0] // 2 :].T.astype(np.int32)
    assert set(np.abs(np.unique(products)).tolist()) <= {0, int(n_bits**0.5)}


def test_sizes_known_from_the_literature():
    assert extended_bch(128, 55).size == 2**15
    assert extended_bch(512, 239).size == 2**19
    assert quadratic_residue(47).size == 2**24
    assert even_subcode(add_parity(whole_space(4))).size == 16


def test_golay_weights():
    weights = np.bincount(all_words(add_parity(quadratic_residue(23))).sum(axis=1), minlength=25)
    assert {w: int(n) for w, n in enumerate(weights) if n} == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}


def test_levenshtein_reaches_the_plotkin_bound():
    for n in range(2, 41):
        for d in range(-(-n // 2), n + 1):
            code = levenshtein(n, d)
            even_n, even_d = (n, d) if d % 2 == 0 else (n + 1, d + 1)
            plotkin = 4 * even_d if even_n == 2 * even_d else 2 * (even_d // (2 * even_d - even_n))
            assert (code.n_bits, code.size) == (n, plotkin)
            assert slow_least_distance(all_words(code)) >= d


@pytest.mark.parametrize("q", [5, 9, 13, 25, 27, 49, 121])
def test_quadratic_character_is_a_conference_core(q):
    s = quadratic_character(q).astype(np.int64)
    np.testing.assert_array_equal(s @ s.T, q * np.eye(q) - 1)
    np.testing.assert_array_equal(s.sum(axis=1), 0)
    np.testing.assert_array_equal(s.T, s * (1 if q % 4 == 1 else -1))


MOVES = [
    puncture(kerdock(16)),
    puncture(extended_bch(16, 5), 3),
    shorten(kerdock(16)),
    shorten(quadratic_residue(17), 0),
    shorten(shorten(best_10_40_4())),
    add_parity(best_10_40_4()),
    add_parity(shorten(quadratic_residue(17))),
    even_subcode(quadratic_residue(17)),
    subcode(kerdock(64), 7, 4),
    juxtapose(kerdock(16), extended_bch(32, 11)),
    juxtapose(hadamard_block(12, "simplex"), hadamard_block(20, "halved")),
    u_u_plus_v(even_subcode(whole_space(8)), repetition(8)),
    u_u_plus_v(kerdock(16), hadamard_block(16, "biorthogonal")),
    construction_x(extended_bch(64, 27), extended_bch(64, 31), even_subcode(whole_space(4))),
    construction_x(kerdock(64), Code("", 64, 32, kerdock(64).rows), even_subcode(whole_space(6))),
    add_complements(orbit_code((0b1011,), 7, (1,), 4)),
    orbit_code((0b1011, 0b1101), 7, (0b001001, 0b010001), 4),
]


@pytest.mark.parametrize("code", MOVES, ids=lambda code: code.name)
def test_moves_keep_their_promises(code):
    words = all_words(code)
    assert words.shape == (code.size, code.n_bits)
    assert min_distance(signs(words)) >= code.min_distance


def test_moves_change_length_and_size_as_they_say():
    code = kerdock(16)
    assert (puncture(code).n_bits, puncture(code).size) == (15, 256)
    assert (shorten(code).n_bits, shorten(code).size) == (15, 128)
    assert (add_parity(code).n_bits, add_parity(code).size) == (17, 256)
    assert even_subcode(quadratic_residue(17)).n_bits == 17
    assert juxtapose(code, extended_bch(32, 11)).size == 256
    assert u_u_plus_v(code, repetition(16)).size == 512


def test_complements_are_recognised():
    assert kerdock(64).is_complement_closed
    assert not shorten(kerdock(64)).is_complement_closed
    assert shorten(extended_bch(64, 23)).has_full_rows
    assert not Code("", 3, 1, (0b011,)).has_full_rows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: puncture(whole_space(3)), "min_distance at least 2 to be punctured, got 1"),
        (lambda: u_u_plus_v(repetition(3), repetition(4)), "same length, got n_bits 3 and 4"),
        (lambda: add_complements(repetition(4)), "without the all-ones word"),
        (lambda: hadamard_block(12, "round"), "kind must be .* got 'round'"),
        (lambda: hadamard_block(14, "simplex"), "14"),
        (lambda: levenshtein(10, 4), r"distance must be in n_bits/2..n_bits \(n_bits=10\), got 4"),
        (lambda: quadratic_character(15), "odd prime power, got 15"),
        (lambda: quadratic_character(8), "odd prime power, got 8"),
        (lambda: conference_code(7), "1 modulo 4, got 7"),
        (lambda: conference_code(21), "1 modulo 4, got 21"),
        (lambda: kerdock(32), "16, 64, 256 or 1024, got 32"),
        (lambda: extended_bch(48, 5), "power of two from 8 to 2048, got 48"),
        (lambda: extended_bch(32, 4), "odd number in 3..31, got 4"),
        (lambda: quadratic_residue(13), "prime must be one of .* got 13"),
        (lambda: construction_x(extended_bch(64, 31), extended_bch(64, 27), repetition(4)), "inner must lie in outer"),
        (lambda: construction_x(extended_bch(64, 27), extended_bch(64, 31), repetition(4)), "tail must have"),
        (lambda: select_words(repetition(4), 3, 0), "n_classes must be at most the 2 words .* got 3"),
        (lambda: select_words(Code("", 6, 2, (), (1, 2, 4, 8, 16, 32)), 6, 0), "mean distance is 6/2"),
        (lambda: best_words(9, 3, 0), r"at most 2\*\*n_bits = 8 for n_bits=3, got 9"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_definition_1_is_never_given_up_silently(monkeypatch):
    monkeypatch.setattr(selection, "satisfies_definition_1", lambda words: False)
    with pytest.raises(RuntimeError, match="no plan for 10 words of 16 bits kept Definition 1"):
        best_words(10, 16, 0)


# Search
# ------------------------------------------------------------------------------------------------------------------


def test_frozen_codes_have_the_distance_they_claim():
    for entry, code in zip(FROZEN, frozen_codes(), strict=True):
        assert (code.n_bits, len(code.rows), code.min_distance) == entry[:3]
        if len(code.rows) <= 14:
            assert least(code) == code.min_distance, code.name
            assert code.has_full_rows


def test_orbit_table_is_what_the_columns_weigh():
    blocks = (0b10011, 0b111)
    table, sizes, starts = orbit_table(blocks)
    assert int(sizes.sum()) == 2**6 - 1
    for row, size, start in zip(table, sizes, starts, strict=True):
        code = orbit_code(blocks, 15, (int(start),), 0)
        assert code.n_bits == size
        weights = all_words(code).sum(axis=1)[1:] if len(code.rows) == 6 else np.zeros(1)
        assert set(row.tolist()) == set(weights.tolist())


def test_search_is_deterministic_and_finds_the_golay_code():
    blocks = block_choices(12, 23)[0]
    orbits = orbit_table(blocks)
    found = [search_orbits(orbits, 23, 24, 8, seed=7, n_steps=400) for _ in range(2)]
    assert found[0] is not None
    assert found[0] == found[1]
    code = orbit_code(blocks, 23, found[0], 8)
    assert (code.n_bits, code.size, least(code)) == (24, 4096, 8)
    assert search_orbits(orbits, 23, 24, 9, seed=7, n_steps=50) is None
    assert search_orbits(orbits, 24, 24, 8, seed=7, n_steps=50) is None


def test_griesmer_is_met_by_simplex_codes():
    assert all(griesmer(k, 1 << k - 1) == (1 << k) - 1 for k in range(1, 12))


# Choice of words
# ---------------------------------------------------------------------------------------------------------

SELECTED = [
    (kerdock(16), (1, 2, 3, 7, 100, 101, 255, 256)),
    (extended_bch(32, 11), (5, 64, 1000, 2047)),
    (extended_bch(64, 23), (1000, 10_000)),
    (even_subcode(quadratic_residue(17)), (2, 3, 50, 101, 255, 256)),
    (shorten(kerdock(64)), (33, 1500)),
    (shorten(extended_bch(128, 55)), (9_001,)),
    (conference_code(25), (2, 3, 20, 51, 52)),
    (best_10_40_4(), (3, 33, 40)),
    (julin_12_144_4(), (9, 130, 143)),
    (hadamard_block(20, "simplex"), (3, 11, 20)),
    (hadamard_block(20, "biorthogonal"), (3, 22, 39)),
]


@pytest.mark.parametrize(("code", "n_classes"), [(c, m) for c, sizes in SELECTED for m in sizes], ids=str)
def test_selection_keeps_definition_1_and_the_distance(code, n_classes):
    words = select_words(code, n_classes, 3)
    assert words.shape == (n_classes, code.n_bits)
    assert set(np.unique(words).tolist()) <= {-1, 1}
    assert satisfies_definition_1(words)
    assert min_distance(words) >= code.min_distance
    sums = words.sum(axis=0, dtype=np.int64)
    if code.is_complement_closed:
        np.testing.assert_array_equal(np.abs(sums), n_classes % 2)


@given(n_words=st.integers(2, 12), n_bits=st.integers(1, 12), seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_definition_1_in_integers_is_the_mean_distance(n_words, n_bits, seed):
    words = signs(np.random.default_rng(seed).random((n_words, n_bits)) < 0.5)
    assert satisfies_definition_1(words) == slow_mean_distance_is_half(words)


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 64), (100, 48), (200, 96), (1000, 32), (40, 10), (5, 3)])
def test_seeds(n_classes, n_bits):
    first, name, distance = best_words(n_classes, n_bits, 0)
    again = best_words(n_classes, n_bits, 0)[0]
    np.testing.assert_array_equal(first, again)
    other, other_name, other_distance = best_words(n_classes, n_bits, 1)
    assert (name, distance) == (other_name, other_distance)
    assert not np.array_equal(first, other)


def test_the_same_seed_gives_the_same_words_everywhere():
    digest = hashlib.sha256()
    for n_classes, n_bits in [(10, 16), (100, 64), (300, 96), (20, 9), (3000, 40)]:
        digest.update(best_words(n_classes, n_bits, 5)[0].tobytes())
    assert digest.hexdigest()[:16] == "0c0583c1b888f5d4"


@pytest.mark.parametrize(("n_classes", "n_bits"), [(20, 64), (51, 64), (100, 64), (200, 64), (1000, 64), (100, 32)])
def test_columns_all_differ(n_classes, n_bits):
    words = best_words(n_classes, n_bits, 0)[0]
    assert np.unique(column_classes(words > 0)).size == n_bits
    assert not (words == words[:1]).all(axis=0).any()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_size_works(data):
    n_bits = data.draw(st.integers(1, 40))
    n_classes = data.draw(st.integers(1, min(1 << n_bits, 300)))
    words, _, distance = best_words(n_classes, n_bits, data.draw(st.integers(0, 3)))
    assert words.shape == (n_classes, n_bits)
    assert satisfies_definition_1(words)
    if n_classes > 1:
        assert distance == slow_least_distance(words) if n_classes <= 60 else distance > 0
        assert distance >= plan_words(n_classes, n_bits)[0].distance
        assert distance >= slow_gilbert_varshamov(n_classes, n_bits)
        assert distance >= max(min_distance(paper_words(n_classes, n_bits, seed)) for seed in range(5))


@pytest.mark.parametrize("n_bits", [65, 66, 67, 68, 69, 70, 131, 139, 265])
def test_every_plan_can_be_made(n_bits):
    for log_size in range(2, 13):
        words, _, distance = best_words((1 << log_size) - 1, n_bits, 0)
        assert distance >= plan_words((1 << log_size) - 1, n_bits)[0].distance
        assert satisfies_definition_1(words)


def test_search_of_single_columns_finds_the_best_64_8_code():
    found = next(c for seed in range(20) if (c := search_columns(64, 8, 29, seed=seed, n_rounds=1000)) is not None)
    code = orbit_code((0b11,) * 8, 1, found, 29)
    assert (code.n_bits, code.size, least(code), code.name) == (64, 256, 29, "linear[64, 8]")
    assert search_columns(16, 5, 9, seed=0, n_rounds=20) is None


def test_no_plan_is_below_gilbert_varshamov():
    for n_bits in range(2, 513, 30):
        for log_size in range(1, min(n_bits, 14) + 1):
            n_classes = (1 << log_size - 1) + 1  # the guarantee falls with the number of classes
            assert plan_words(n_classes, n_bits)[0].distance >= slow_gilbert_varshamov(n_classes, n_bits)


def test_best_words_refuses_bad_input():
    for arguments, message in [
        ((0, 8, 0), "n_classes must be at least 1, got 0"),
        ((4, 0, 0), "n_bits must be at least 1, got 0"),
        ((4, 8, -1), "seed must be at least 0, got -1"),
        ((257, 8, 0), r"n_classes must be at most 2\*\*n_bits = 256"),
    ]:
        with pytest.raises(ValueError, match=message):
            best_words(*arguments)
    with pytest.raises(TypeError, match="n_bits must be an int, got 8.0"):
        best_words(4, 8.0, 0)
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        select_words(kerdock(16), 0, 0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        select_words(kerdock(16), 4, -1)
