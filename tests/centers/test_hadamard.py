import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as scipy_hadamard

from hashcenters.centers.hadamard import _QUADRUPLES, _jacobsthal, _signs, hadamard_construction, hadamard_matrix

ORDERS = [1, 2, *range(4, 257, 4)]
UNKNOWN_TO_512 = [324, 356, 412, 428, 436]
SEARCH = Path(__file__).with_name("search_sequences.py")


# Slow versions


def is_hadamard(matrix: np.ndarray) -> bool:
    """±1 and H Hᵀ = n I, in exact integers (float64 holds them exactly and multiplies faster than int64)."""
    n = len(matrix)
    h = matrix.astype(np.float64)
    return matrix.shape == (n, n) and bool((np.abs(h) == 1).all()) and np.array_equal(h @ h.T, n * np.eye(n))


def legendre(a: int, p: int) -> int:
    """Quadratic character modulo a prime, by listing the squares."""
    return 0 if a % p == 0 else 1 if a % p in {x * x % p for x in range(1, p)} else -1


def periodic_autocorrelation(row: list[int]) -> list[int]:
    """Sum over i of row[i] row[i + shift], for every shift, from the definition."""
    n = len(row)
    return [sum(row[i] * row[(i + shift) % n] for i in range(n)) for shift in range(n)]


# ----------------------------------------------------------------------------------------------------------------------


def load_search() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_sequences", SEARCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_normalised_hadamard(order: int) -> None:
    matrix = hadamard_matrix(order)
    assert matrix.shape == (order, order)
    assert matrix.dtype == np.int8
    assert is_hadamard(matrix)
    assert (matrix[0] == 1).all()
    assert (matrix[:, 0] == 1).all()


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_up_to_256(order):
    assert_normalised_hadamard(order)


@pytest.mark.parametrize("order", [n for n in range(260, 513, 4) if n not in UNKNOWN_TO_512] + [1032, 1024])
def test_larger_orders(order):
    assert_normalised_hadamard(order)


def test_is_hadamard_can_fail():
    matrix = hadamard_matrix(12)
    matrix[3, 5] *= -1
    assert not is_hadamard(matrix)


@pytest.mark.parametrize("order", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
def test_powers_of_two_are_sylvester(order):
    assert np.array_equal(hadamard_matrix(order), scipy_hadamard(order))


@pytest.mark.parametrize("q", [11, 19, 23])
def test_paley_one_equals_the_definition(q):
    expected = np.ones((q + 1, q + 1), int)
    for x in range(q):
        for y in range(q):
            expected[x + 1, y + 1] = 1 if x == y else legendre(x - y, q)
        expected[x + 1, 0] = -1
    expected *= expected[:, :1]
    assert hadamard_construction(q + 1) == f"Paley I, q = {q}"
    assert np.array_equal(hadamard_matrix(q + 1), expected)


@pytest.mark.parametrize(
    ("p", "e"), [(3, 1), (5, 1), (13, 1), (3, 2), (5, 2), (3, 3), (7, 2), (3, 4), (11, 2), (5, 3), (13, 2), (3, 5)]
)
def test_jacobsthal_over_prime_powers(p, e):
    q = p**e
    matrix = _jacobsthal(p, e).astype(int)
    assert np.array_equal(matrix @ matrix.T, q * np.eye(q) - np.ones((q, q)))
    assert (matrix.sum(axis=0) == 0).all()
    assert np.array_equal(matrix.T, matrix if q % 4 == 1 else -matrix)
    # The numbers below p are the prime field, whose differences stay in it.
    squares = [legendre(a, p) if e % 2 else int(a > 0) for a in range(p)]
    assert matrix[:p, 0].tolist() == squares


@pytest.mark.parametrize("n", sorted(_QUADRUPLES))
def test_quadruples_are_complementary(n):
    rows = [_signs(word, n) for word in _QUADRUPLES[n]]
    assert all(word < 2**n for word in _QUADRUPLES[n])
    total = np.sum([periodic_autocorrelation(row) for row in rows], axis=0)
    assert total.tolist() == [4 * n] + [0] * (n - 1)


def test_search_finds_the_frozen_rows_again():
    search = load_search()
    found = {23: search.turyn_quadruple(8), 29: search.turyn_quadruple(10)}
    found |= {n: search.orbit_quadruple(n, search.MULTIPLIERS[n]) for n in (39, 43, 73, 119)}
    for n, rows in found.items():
        assert rows == tuple(_signs(word, n) for word in _QUADRUPLES[n])


def test_search_covers_the_table():
    search = load_search()
    assert {3 * m - 1 for m in search.TURYN_LENGTHS} | set(search.MULTIPLIERS) == set(_QUADRUPLES)


def test_search_says_where_nothing_is_found():
    with pytest.raises(SystemExit, match="no quadruple of length 39 among 132 rows constant on the orbits of 4"):
        load_search().orbit_quadruple(39, 4)


def test_same_matrix_every_time_and_a_new_array():
    first = hadamard_matrix(92)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(hadamard_matrix(92), kept)


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (1, "Sylvester"),
        (256, "Sylvester"),
        (12, "Paley I, q = 11"),
        (244, "Paley I, q = 243"),
        (36, "Paley II, q = 17"),
        (100, "Paley II, q = 49"),
        (92, "Goethals-Seidel, rows of length 23"),
        (236, "Goethals-Seidel, rows of length 59"),
        (40, "Kronecker, 2 x 20"),
        (232, "Kronecker, 2 x 116"),
    ],
)
def test_construction_names(order, name):
    assert hadamard_construction(order) == name


def test_unknown_orders():
    assert [n for n in range(4, 513, 4) if hadamard_construction(n) is None] == UNKNOWN_TO_512


@given(st.integers(1, 10**6))
def test_only_possible_orders_have_a_construction(order):
    if order > 2 and order % 4:
        assert hadamard_construction(order) is None


@pytest.mark.parametrize(("order", "nearest"), [(3, "2 and 4"), (6, "4 and 8"), (255, "252 and 256")])
def test_impossible_order_is_refused(order, nearest):
    with pytest.raises(ValueError, match=f"order must be 1, 2 or a multiple of 4, got {order}; nearest are {nearest}"):
        hadamard_matrix(order)


def test_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"got 324; every multiple of 4 up to 320 is, and the first after 324 is 328"):
        hadamard_matrix(324)


@pytest.mark.parametrize("function", [hadamard_matrix, hadamard_construction])
def test_order_must_be_a_positive_integer(function):
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        function(0)
    with pytest.raises(TypeError, match=r"order must be an int, got 4\.0"):
        function(4.0)
    with pytest.raises(TypeError, match="order must be an int, got True"):
        function(True)
