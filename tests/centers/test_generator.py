import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator
from references import algorithm_1, hadamard_by_definition


def paper(n_classes, n_bits, seed=0):
    return HashCenterGenerator(n_bits, method="paper", seed=seed)(n_classes)


@st.composite
def sizes(draw):
    n_bits = draw(st.integers(1, 96))
    return draw(st.integers(1, min(2**n_bits, 250))), n_bits


@given(sizes(), st.integers(0, 2**63 - 1))
def test_equals_algorithm_1(size, seed):
    n_classes, n_bits = size
    centers = paper(n_classes, n_bits, seed)
    assert centers.dtype == torch.float32
    assert torch.equal(centers, algorithm_1(n_classes, n_bits, seed))
    assert torch.equal(centers, paper(n_classes, n_bits, seed))


@pytest.mark.parametrize("n_bits", range(1, 97))
def test_equals_algorithm_1_at_every_width(n_bits):
    for n_classes in {1, min(2**n_bits, n_bits), min(2**n_bits, n_bits + 1), min(2**n_bits, 2 * n_bits + 1)}:
        assert torch.equal(paper(n_classes, n_bits, 5), algorithm_1(n_classes, n_bits, 5))


@pytest.mark.parametrize("n_bits", [1, 2, 4, 8, 16, 32, 64, 128])
def test_hadamard_rows_keep_their_distance(n_bits):
    for n_classes in (1, n_bits, n_bits + 1, 2 * n_bits):
        if n_classes > 2**n_bits:
            continue
        centers = paper(n_classes, n_bits)
        distances = (centers[:, None] != centers[None]).sum(dim=2)
        for i in range(n_classes):
            for j in range(i):
                expected = n_bits if i - j == n_bits else n_bits / 2
                assert distances[i, j] == expected
    assert paper(n_bits, n_bits).tolist() == hadamard_by_definition(n_bits)


@given(st.integers(1, 96), st.integers(0, 2**32))
def test_random_halves_are_balanced(n_bits, seed):
    n_classes = min(2**n_bits, 2 * n_bits + 1)
    centers = paper(n_classes, n_bits, seed)
    assert set(centers.flatten().tolist()) <= {-1.0, 1.0}
    if n_classes > 2 * n_bits or math.log2(n_bits) % 1:
        assert set((centers > 0).sum(dim=1).tolist()) <= {n_bits // 2, (n_bits + 1) // 2}


def test_odd_halves_round_by_a_fair_coin_and_every_bit_is_fair():
    centers = paper(4000, 15)
    rounded_up = ((centers > 0).sum(dim=1) == 8).double()
    assert abs(rounded_up.mean() - 0.5) < 4 * 0.5 / math.sqrt(4000)
    assert ((centers > 0).double().mean(dim=0) - 0.5).abs().max() < 4.5 * 0.5 / math.sqrt(4000)
    assert abs((centers[::2] != centers[1::2]).double().mean() - 0.5) < 4 * 0.5 / math.sqrt(2000 * 15)


def test_all_halves_occur_equally_often():
    counts = {}
    for seed in range(300):
        for row in (HashCenterGenerator(6, seed=seed)(64) > 0).int().tolist():
            counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    expected = 300 * 64 / 20
    assert len(counts) == 20
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 50  # chi-square, 19 degrees, p = 1e-4


@given(st.sampled_from([n for n in range(24, 97) if n & (n - 1)]), st.integers(0, 2**40))
def test_seeds_matter_where_it_is_random(n_bits, seed):
    assert not torch.equal(paper(3, n_bits, seed), paper(3, n_bits, seed + 1))


def test_random_centers_of_few_classes_are_the_first_of_many():
    assert torch.equal(paper(50, 48)[:20], paper(20, 48))


def test_centers_never_change():
    assert ["".join("01"[int(bit > 0)] for bit in row) for row in paper(3, 12, 42)] == [
        "001101110100",
        "000110101101",
        "110010100011",
    ]


def test_auto_is_the_paper_for_now():
    assert torch.equal(HashCenterGenerator(48, seed=3)(9), paper(9, 48, 3))


def test_calls_do_not_disturb_each_other_or_the_global_generator():
    generator = HashCenterGenerator(12)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = generator(7)
    first.zero_()
    assert torch.equal(generator(7), paper(7, 12))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@pytest.mark.parametrize(("n_classes", "n_bits"), [(3, 1), (9, 3), (2**70, 64), (2**16 + 1, 16)])
def test_more_classes_than_codes_are_refused(n_classes, n_bits):
    message = f"n_classes must be at most 2**n_bits, the number of different codes: n_classes={n_classes}, 2**{n_bits}"
    with pytest.raises(ValueError, match=re.escape(message)):
        HashCenterGenerator(n_bits)(n_classes)


def test_many_bits_are_fine():
    assert paper(3, 2**15).shape == (3, 2**15)
    assert paper(3, 5000).shape == (3, 5000)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="method must be one of 'auto', 'paper', got 'hadamard'"):
        HashCenterGenerator(8, method="hadamard")
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        HashCenterGenerator(0)
    with pytest.raises(TypeError, match=r"n_bits must be an int, got 8\.0"):
        HashCenterGenerator(8.0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        HashCenterGenerator(8, seed=-1)
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        HashCenterGenerator(8)(0)


def test_numpy_integers_are_integers():
    assert repr(HashCenterGenerator(np.int64(64), seed=np.int64(2))) == (
        "HashCenterGenerator(n_bits=64, method='auto', seed=2)"
    )
    assert HashCenterGenerator(np.int8(64))(np.int64(5)).shape == (5, 64)


def test_centers_are_float32_on_the_cpu_whatever_the_defaults():
    expected = HashCenterGenerator(8)(12)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            centers = HashCenterGenerator(8)(12)
    finally:
        torch.set_default_dtype(torch.float32)
    assert centers.dtype == torch.float32
    assert centers.device.type == "cpu"
    assert torch.equal(centers, expected)
