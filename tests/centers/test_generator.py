import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, closeness_correlation
from hashcenters.centers.bounds import gilbert_varshamov
from hashcenters.centers.measures import min_distance
from hashcenters.centers.rivals import bernoulli_words, maxhd_words, mds_distance, mds_words
from references import algorithm_1, hadamard_by_definition, slow_mean_distance_is_half


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
        for row in (HashCenterGenerator(6, method="paper", seed=seed)(64) > 0).int().tolist():
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


METHODS = ("auto", "paper", "semantic", "bernoulli", "maxhd", "mds")


def alike(n_classes, seed=0):
    matrix = torch.rand(n_classes, n_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_classes", "n_bits"), [(1, 1), (1, 7), (2, 1), (7, 5), (20, 16), (9, 65)])
def test_every_method_gives_signs_that_follow_the_seed(method, n_classes, n_bits):
    if method == "maxhd" and n_classes == 2:
        pytest.skip("its rule accepts one word and its complement by chance only")
    similarity = alike(n_classes) if method == "semantic" else None
    centers = [HashCenterGenerator(n_bits, method=method, seed=s)(n_classes, similarity=similarity) for s in (3, 3, 4)]
    assert centers[0].shape == (n_classes, n_bits)
    assert centers[0].dtype == torch.float32
    assert centers[0].abs().eq(1).all()
    assert torch.equal(centers[0], centers[1])
    if n_classes * n_bits > 100 and method not in ("paper", "mds"):
        assert not torch.equal(centers[0], centers[2])


@pytest.mark.parametrize("method", METHODS)
def test_centers_are_contiguous(method):
    similarity = alike(20) if method == "semantic" else None
    centers = HashCenterGenerator(16, method=method)(20, similarity=similarity)
    assert centers.is_contiguous()
    assert HashCenterGenerator(16)(20, similarity=torch.ones(20, 20)).is_contiguous()


def test_very_many_classes_are_refused_in_words():
    with pytest.raises(ValueError, match="n_classes=a number of 20002 bits, 2\\*\\*20000 = a number of 20001 bits"):
        HashCenterGenerator(20000)(2**20001)


def test_rivals_are_what_their_functions_make():
    for method, make in (("bernoulli", bernoulli_words), ("maxhd", maxhd_words), ("mds", mds_words)):
        centers = HashCenterGenerator(24, method=method, seed=2)(15)
        assert centers.tolist() == make(15, 24, seed=2).tolist()


@given(sizes(), st.integers(0, 2**63 - 1))
def test_auto_keeps_definition_1_and_beats_the_paper(size, seed):
    n_classes, n_bits = size
    words = HashCenterGenerator(n_bits, seed=seed)(n_classes).numpy().astype(np.int8)
    assert slow_mean_distance_is_half(words)
    if n_classes > 1:
        assert min_distance(words) >= gilbert_varshamov(n_classes, n_bits)
        assert min_distance(words) >= min_distance(paper(n_classes, n_bits, seed).numpy().astype(np.int8))


def test_a_similarity_places_the_same_centers():
    similarity = alike(30)
    for method in ("auto", "paper", "bernoulli", "maxhd", "mds"):
        generator = HashCenterGenerator(12, method=method, seed=1)
        centers = generator(30, similarity=similarity)
        assert sorted(centers.tolist()) == sorted(generator(30).tolist())
        assert closeness_correlation(centers, similarity) > closeness_correlation(generator(30), similarity) + 0.05
        assert generator.report(30, similarity=similarity).construction.endswith(", placed by similarity")


def test_semantic_centers_follow_the_similarity_and_keep_mds_distance():
    similarity = alike(40)
    generator = HashCenterGenerator(32, method="semantic")
    centers = generator(40, similarity=similarity)
    report = generator.report(40, similarity=similarity)
    assert report.min_distance >= mds_distance(40, 32)
    assert report.satisfies_definition_1
    assert report.construction.startswith("shaped by similarity from ")
    placed = HashCenterGenerator(32)(40, similarity=similarity)
    assert closeness_correlation(centers, similarity) > closeness_correlation(placed, similarity) + 0.1


def test_methods_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"method='semantic' needs similarity: pass generator\(n_classes, similarity="):
        HashCenterGenerator(16, method="semantic")(10)
    with pytest.raises(ValueError, match=r"similarity must have shape \(n_classes=10, n_classes=10\), got \(9, 9\)"):
        HashCenterGenerator(16)(10, similarity=alike(9))
    with pytest.raises(TypeError, match=r"similarity must be a tensor of shape .*, got list"):
        HashCenterGenerator(16)(10, similarity=[[1.0]])


def test_calls_do_not_disturb_each_other_or_the_global_generator():
    generator = HashCenterGenerator(12)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = generator(7)
    first.zero_()
    assert torch.equal(generator(7), HashCenterGenerator(12)(7))
    assert not generator(7).eq(0).any()
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@pytest.mark.parametrize(("n_classes", "n_bits"), [(3, 1), (9, 3), (2**70, 64), (2**16 + 1, 16)])
def test_more_classes_than_codes_are_refused(n_classes, n_bits):
    message = f"n_classes must be at most 2**n_bits, the number of different codes: n_classes={n_classes}, 2**{n_bits}"
    with pytest.raises(ValueError, match=re.escape(message)):
        HashCenterGenerator(n_bits)(n_classes)


def test_many_bits_are_fine():
    report = HashCenterGenerator(5000).report(3)
    assert report.min_distance >= 5000 * 2 // 3 - 4
    assert report.satisfies_definition_1
    assert paper(3, 2**15).shape == (3, 2**15)
    assert paper(3, 5000).shape == (3, 5000)


def test_bad_arguments_are_refused():
    with pytest.raises(
        ValueError,
        match="method must be one of 'auto', 'paper', 'semantic', .*'mds', got 'hadamard'",
    ):
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
