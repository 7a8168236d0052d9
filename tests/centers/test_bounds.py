from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters.centers import bounds
from hashcenters.centers.bounds import (
    Bound,
    averaging,
    constant_weight,
    delsarte,
    gilbert_varshamov,
    hamming,
    johnson,
    max_min_distance,
    plotkin,
    refined_delsarte,
    singleton,
)
from references import greedy_code, krawtchouk_sum, largest_code, linear_programme

UPPER = [singleton, plotkin, hamming, johnson, delsarte, refined_delsarte]

# Exact values of A(n, d), d even (Brouwer's table of general binary codes, www.win.tue.nl/~aeb/codes/binary-1.html).
KNOWN = {
    (6, 4): 4, (7, 4): 8, (8, 4): 16, (9, 4): 20, (10, 4): 40, (11, 4): 72, (12, 4): 144, (13, 4): 256, (14, 4): 512,
    (15, 4): 1024, (16, 4): 2048, (9, 6): 4, (10, 6): 6, (11, 6): 12, (12, 6): 24, (13, 6): 32, (14, 6): 64,
    (15, 6): 128, (16, 6): 256, (12, 8): 4, (13, 8): 4, (14, 8): 8, (15, 8): 16, (16, 8): 32, (17, 8): 36, (18, 8): 64,
    (19, 8): 128, (20, 8): 256, (21, 8): 512, (22, 8): 1024, (23, 8): 2048, (24, 8): 4096, (15, 10): 4, (16, 10): 4,
    (17, 10): 6, (18, 10): 10, (19, 10): 20, (20, 10): 40, (18, 12): 4, (19, 12): 4, (20, 12): 6, (21, 12): 8,
    (22, 12): 12, (23, 12): 24, (24, 12): 48, (25, 14): 8, (26, 14): 14, (27, 14): 28, (28, 14): 56,
}  # fmt: skip
# Sizes of known codes, A(n, d) at least: the same table, and Levenshtein, conference and Kerdock codes.
REACHED = {
    (17, 4): 2816, (20, 4): 20480, (17, 6): 258, (18, 6): 512, (20, 6): 2048, (21, 6): 2560, (24, 6): 16384,
    (28, 6): 131072, (25, 8): 4096, (26, 8): 4104, (28, 8): 16384, (21, 10): 42, (22, 10): 64, (23, 10): 80,
    (24, 10): 136, (25, 10): 192, (28, 10): 1024, (25, 12): 52, (26, 12): 64, (27, 12): 128, (28, 12): 178,
    (32, 16): 64, (33, 16): 64, (49, 24): 100, (64, 32): 128, (64, 28): 4096, (128, 64): 256, (128, 32): 2**29,
    (256, 128): 512, (256, 120): 65536,
}  # fmt: skip


@pytest.fixture
def fresh_caches():
    """Forget what a tampered solver proves, before and after."""
    cached = [value for value in vars(bounds).values() if hasattr(value, "cache_clear")]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize("bound", UPPER)
def test_no_bound_is_below_a_code_that_exists(bound):
    for (n, d), size in (KNOWN | REACHED).items():
        assert bound(n, d) >= size, (n, d)
        assert bound(n - 1, d - 1) >= size, (n - 1, d - 1)


def test_refined_bound_is_tight_where_the_literature_needs_no_more_than_this():
    open_here = {(n, d) for (n, d), size in KNOWN.items() if refined_delsarte(n, d) > size}
    assert open_here == {(11, 4), (12, 4), (17, 8), (18, 8), (19, 8), (20, 8)}
    assert refined_delsarte(17, 6) == 340  # this and the next as Best et al. 1978
    assert refined_delsarte(17, 8) == 37
    assert refined_delsarte(33, 16) < 80  # closes 80 classes at 32 bits


def test_bounds_keep_their_order():
    for n in range(1, 41):
        for d in range(1, n + 2):
            assert delsarte(n, d) <= min(plotkin(n, d), hamming(n, d))
            assert johnson(n, d) <= hamming(n, d)
            assert plotkin(n, d) <= singleton(n, d)


@pytest.mark.parametrize("bound", UPPER)
def test_sizes_at_the_edges(bound):
    for n in range(1, 12):
        assert bound(n, n + 1) == bound(n, n + 7) == 1
        assert bound(n, n) >= 2
        assert bound(n, 1) >= 2**n
    assert refined_delsarte(6, 1) == 64
    assert refined_delsarte(6, 2) == 32
    assert refined_delsarte(6, 6) == refined_delsarte(6, 5) == 2


@pytest.mark.parametrize("n", range(2, 6))
def test_exhaustive_search(n):
    sizes = [0, 2**n, *(largest_code(n, d) for d in range(2, n + 1)), 1]
    for d in range(1, n + 1):
        assert all(bound(n, d) >= sizes[d] for bound in UPPER)
        assert refined_delsarte(n, d) == sizes[d]
    for m in range(2, 2**n + 1):
        assert max_min_distance(m, n).distance == max(d for d in range(1, n + 1) if sizes[d] >= m)


def test_constant_weight_exhaustively_and_on_designs():
    for n in range(1, 8):
        for d in (2, 4, 6):
            for w in range(n + 1):
                assert constant_weight(n, d, w) >= largest_code(n, d, w)
                assert constant_weight(n, d, w) == constant_weight(n, d - 1, w) == constant_weight(n, d, n - w)
    # Steiner systems: Fano, S(3,4,8), S(2,3,13), S(3,5,17), S(5,6,12), S(5,8,24), the plane of order 4.
    designs = {
        (7, 4, 3): 7, (8, 4, 4): 14, (13, 4, 3): 26, (17, 6, 5): 68, (12, 4, 6): 132, (24, 8, 8): 759, (21, 8, 5): 21,
    }  # fmt: skip
    assert {key: constant_weight(*key) for key in designs} == designs
    assert constant_weight(9, 4, 0) == 1
    assert constant_weight(5, 6, 2) == 1  # nothing that far apart


@pytest.mark.parametrize("n", range(3, 17))
def test_linear_programme_against_its_direct_form(n):
    # The even-distance form with normalised, symmetric rows must lose nothing against all distances and all degrees.
    for d in range(2, n + 1):
        direct = math.floor(linear_programme(n, d) + 1e-6)
        if d % 2:
            assert delsarte(n, d) == min(direct, plotkin(n, d), hamming(n, d))
        else:
            assert delsarte(n, d) <= direct


def test_krawtchouk_table():
    for n in (1, 2, 7, 12, 70):
        table = bounds._krawtchouk(n)
        for i in range(0, n + 1, 3):
            for k, value in enumerate(table[i]):
                assert value == krawtchouk_sum(n, i, k)
                assert value * math.comb(n, k) == krawtchouk_sum(n, k, i) * math.comb(n, i)


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_solver_cannot_falsify_a_bound(monkeypatch, fresh_caches, seed):
    rng, solve = np.random.default_rng(seed), scipy.optimize.linprog

    def noisy(*args, **kwargs):
        solution = solve(*args, **kwargs)
        if seed == 0 or solution.x is None:
            return SimpleNamespace(x=None)
        if seed == 1:
            return SimpleNamespace(x=solution.x * np.nan)
        if seed == 2:
            return SimpleNamespace(x=-solution.x)
        if seed == 3:
            return SimpleNamespace(x=rng.exponential(size=solution.x.shape))
        noise = 1 + (1e-6, 0.2)[seed - 4] * rng.standard_normal(solution.x.shape)
        return SimpleNamespace(x=solution.x * noise)

    monkeypatch.setattr(scipy.optimize, "linprog", noisy)
    for (n, d), size in (KNOWN | REACHED).items():
        if n <= 64:
            assert refined_delsarte(n, d) >= size, (n, d)
            assert max_min_distance(size, n).distance >= d, (n, d)


def test_parity_never_excludes_a_code_that_exists():
    for (n, d), size in KNOWN.items():
        if n <= 20:
            sizes = {*range(max(2, size - 5), size + 1), *range(2, size, 37)}
            assert not any(bounds._parity_excludes(n, d, m) for m in sizes), (n, d)
    assert bounds._parity_excludes(9, 4, 21)  # not for lack of power


@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 12), half=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_neighbourhoods_of_real_codes_are_among_the_configurations(n, half, seed):
    d = 2 * half
    even = [w for w in range(2**n) if w.bit_count() % 2 == 0]
    # Prefer words far from zero: there the configurations are.
    order = sorted(np.random.default_rng(seed).permutation(even), key=lambda w: int(w).bit_count() // 3, reverse=True)
    caps, coweights, configurations = bounds._neighbourhood(n, d)
    for code in (greedy_code(n, d, 200, np.array([0, *order])), greedy_code(n, d, 200, np.array(order))):
        for word in code[:20]:
            seen = np.bincount([(word ^ other).bit_count() for other in code], minlength=n + 1)
            assert all(seen[i] <= caps[i] for i in range(1, n + 1))
            numbers = np.array([seen[n - w] for w in coweights])
            assert any((numbers <= configuration).all() for configuration in np.array(configurations, ndmin=2))


def _reed_muller(m: int) -> np.ndarray:
    """First order: 2^(m+1) words of 2^m bits at distance 2^(m-1)."""
    points = np.arange(2**m)
    rows = np.array([np.ones(2**m, dtype=int), *((points >> j) & 1 for j in range(m))])
    return (((np.arange(2 ** (m + 1))[:, None] >> np.arange(m + 1)) & 1) @ rows) % 2


def _golay() -> np.ndarray:
    """The extended Golay code: shifts of the squares mod 23 plus a parity bit, 4096 words of 24 bits."""
    squares = {x * x % 23 for x in range(1, 23)}
    generator = np.array([[int((j - i) % 23 in squares) for j in range(23)] for i in range(23)])
    words = np.zeros((1, 23), dtype=int)
    for row in generator:
        if not (words == row).all(axis=1).any():
            words = np.concatenate([words, words ^ row])
    return np.concatenate([words, words.sum(axis=1, keepdims=True) % 2], axis=1)


@pytest.mark.parametrize(
    ("code", "size", "distance"),
    [(_reed_muller(3), 16, 4), (_reed_muller(5), 64, 16), (_reed_muller(7), 256, 64), (_golay(), 4096, 8)],
    ids=["RM(1,3)", "RM(1,5)", "RM(1,7)", "Golay"],
)
def test_optimal_codes_meet_the_bound(code, size, distance):
    assert len(code) == size
    assert code[1:].sum(axis=1).min() == distance  # linear: the least weight is the least distance
    assert max_min_distance(size, code.shape[1]).distance == distance
    punctured = np.delete(code, 0, axis=1)
    assert punctured[1:].sum(axis=1).min() == distance - 1
    assert max_min_distance(size, code.shape[1] - 1).distance == distance - 1


def test_averaging_is_the_mean_of_balanced_bits_and_plotkin_implies_it():
    for m in range(2, 40):
        for n in range(max(1, (m - 1).bit_length()), 20):
            bits = np.arange(m)[:, None] % 2 * np.ones((1, n), dtype=int)  # balanced bits (all alike)
            i, j = np.triu_indices(m, 1)
            total = int((bits[i] != bits[j]).sum())
            assert averaging(m, n) == total // len(i)
            assert plotkin(n, averaging(m, n) + 1) < m
            assert max_min_distance(m, n).distance <= averaging(m, n)


def test_gilbert_varshamov_against_its_definition_and_the_greedy_code():
    for n in range(1, 8):
        for m in range(2, 2**n + 1):
            fits = [d for d in range(1, n + 1) if (m - 1) * sum(math.comb(n, i) for i in range(d)) < 2**n]
            assert gilbert_varshamov(m, n) == max(fits)
            code = greedy_code(n, gilbert_varshamov(m, n), m, np.random.default_rng(m).permutation(2**n))
            assert len(code) == m


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 128), data=st.data())
def test_max_min_distance_lies_between_and_names_its_proof(n, data):
    m = data.draw(st.integers(2, min(2**n, 5000)))
    bound = max_min_distance(m, n)
    assert gilbert_varshamov(m, n) <= bound.distance <= averaging(m, n)
    assert getattr(bounds, bound.name)(n, bound.distance + 1) < m
    assert max_min_distance(m, n) is bound  # cached


@pytest.mark.parametrize("n", [*range(6, 27), 33, 48, 65])
def test_max_min_distance_uses_all_of_the_refined_bound(n):
    for d in range(max(3, n // 3), n):
        size = refined_delsarte(n, d)
        if size < 5000:
            assert max_min_distance(size + 1, n).distance < d
        assert max_min_distance(size, n).distance >= d or size > refined_delsarte(n, d - 1)


def test_max_min_distance_is_monotone():
    sizes = [2, 3, 4, 7, 10, 16, 21, 41, 51, 80, 100, 200, 397, 1000, 4096, 10000]
    table = [[max_min_distance(m, n).distance if m <= 2**n else 0 for m in sizes] for n in range(1, 49)]
    assert (np.diff(table, axis=1) <= 0).all()
    assert (np.diff(table, axis=0) >= 0).all()


def test_max_min_distance_on_cells_that_matter():
    assert max_min_distance(100, 64) == Bound(32, "plotkin")
    assert max_min_distance(200, 12) == Bound(3, "hamming")
    assert max_min_distance(1000, 24) == Bound(8, "johnson")
    assert max_min_distance(100, 32) == Bound(14, "delsarte")
    assert max_min_distance(21, 8) == Bound(2, "refined_delsarte")
    assert max_min_distance(397, 16) == Bound(4, "refined_delsarte")
    assert max_min_distance(41, 10) == Bound(3, "refined_delsarte")  # A(10, 4) <= 2 A(9, 4)
    assert max_min_distance(80, 32) == Bound(14, "refined_delsarte")
    assert max_min_distance(10_000, 256) == Bound(121, "delsarte")
    assert max_min_distance(np.int64(2), 300) == Bound(300, "plotkin")
    assert max_min_distance(256, 8) == Bound(1, "plotkin")
    assert max_min_distance(100_000, 512).distance <= 246


@pytest.mark.parametrize("bound", UPPER)
def test_sizes_are_checked(bound):
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        bound(0, 1)
    with pytest.raises(ValueError, match="distance must be at least 1, got 0"):
        bound(4, 0)
    with pytest.raises(TypeError, match=r"distance must be an int, got 2\.0"):
        bound(4, 2.0)


def test_weight_is_checked():
    with pytest.raises(ValueError, match="weight must be at most n_bits=4, got 5"):
        constant_weight(4, 2, 5)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        constant_weight(4, 2, -1)


@pytest.mark.parametrize("function", [averaging, gilbert_varshamov, max_min_distance])
def test_classes_are_checked(function):
    with pytest.raises(ValueError, match=r"n_classes must be at most 2\*\*n_bits = 256 \(n_bits=8\), got 257"):
        function(257, 8)
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        function(1, 8)
    with pytest.raises(TypeError, match=r"n_classes must be an int, got 2\.0"):
        function(2.0, 8)
