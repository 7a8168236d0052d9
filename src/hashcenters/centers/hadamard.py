"""Hadamard matrices of every order up to 320, and beyond it wherever Sylvester, Paley and Kronecker reach.

A Hadamard matrix of order n is a ±1 matrix H with H Hᵀ = n I. Its rows and their negatives are 2n words of n bits that
differ in n/2 or n places: the farthest apart that 2n words can be.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hashcenters.checks import check_count

__all__ = ["hadamard_construction", "hadamard_matrix"]

SignArray = NDArray[np.int8]

# n: four ±1 rows of length n, each a binary number (first entry most significant, bit 1 for +1), whose periodic
# autocorrelations add up to 0 at every shift but 0. Found by computer (tests/centers/search_sequences.py): 23, 29, 47
# and 59 join Turyn-type sequences of length 8, 10, 16 and 20, the others are constant on the orbits of a multiplier.
_QUADRUPLES = {
    23: (0x50D98E, 0x50D971, 0x50A601, 0x50A6FE),
    29: (0x1A7F72A4, 0x1A7F715B, 0x1A788C8B, 0x1A788F74),
    39: (0x4CF824A813, 0x33CDDD07DE, 0x5EF82CACD3, 0x69E9D50A1A),
    43: (0x2E8C5E173A2, 0x11D011DFD1D, 0x5A440D08629, 0x34C8531F58B),
    47: (0x1EBEF20DDAB9, 0x1EBEF20D2546, 0x1EBE8DF29985, 0x1EBE8DF2667A),
    59: (0x2F9832C260AD4C0, 0x2F9832C26052B3F, 0x2F98353D9FBA8D6, 0x2F98353D9F45729),
    65: (0x0FA8712491E2BF999, 0x17EA63B0B4CBFCCB1, 0x1D3D5C4FDBB42A3CF, 0x0476869D7EB9616E2),
    67: (0x6F4F8E8FF357EC225, 0x7986CE0276D644790, 0x189655A85C97C7FBC, 0x0609982965AB3BAA9),
    73: (0x0DB679C15CB5A0B3350, 0x10A6E9C5EC37A397650, 0x1F59163011C8502818B, 0x1DB6F1C5F0B72335500),
    93: (
        0x1D3AF64F534127D310590210,
        0x0F797E9B57C6367B19572140,
        0x1DBC5789135C2E1A12731500,
        0x126BC6FD8965579EA41BC39B,
    ),
    101: (
        0x06358127947944ABF69E064E02,
        0x0F2AA7A60BB7FE033299CF3AE4,
        0x0B2D04879D5EEE2AE007832066,
        0x0993B571EF4692B49566A5E4FE,
    ),
    113: (
        0x0FE4120354C23871132C538D9E8C9,
        0x1A5A79156F05DCAC23A18D6D50D7A,
        0x0E88964F74891F11C010D117A7CC8,
        0x193CFC5D604FEFCCD01C8A922946B,
    ),
    119: (
        0x34E3F835750896CCDE4429AB06F1CB,
        0x400A2992338584B8369588E58ACBBF,
        0x7FF5D46DC46A5347C868711A643440,
        0x7F74F469D46A53074C687112641400,
    ),
    127: (
        0x34627A38DF3A9F034576B7B105DC0A34,
        0x34C3C29D4A3B8FEE499A37BF2B5F7350,
        0x4BB53E6CB77059413C76D42065844824,
        0x7D4E41D8C80F6F21630AA37453D41824,
    ),
}


def hadamard_matrix(order: int) -> SignArray:
    """Return a Hadamard matrix, the same one every time.

    The matrix is normalised: its first row and its first column are all +1, so every other row and column holds as many
    +1 as -1. Where the order is a power of two it is Sylvester's, as in ``scipy.linalg.hadamard``.

    Args:
        order: 1, 2 or a multiple of 4. All up to 320 are there, all up to 512 but 324, 356,
            412, 428 and 436, and of the larger ones those that ``hadamard_construction`` has a name for.

    Returns:
        int8 (order, order) of ±1, rows orthogonal; a new array at each call.

    Raises:
        TypeError: ``order`` is not an integer.
        ValueError: no Hadamard matrix has this order, or none is known here.

    Sources:
        Sylvester (1867); Paley, "On orthogonal matrices" (1933); Goethals and Seidel, "A skew Hadamard matrix of order
        36" (1970); Turyn, "Hadamard matrices, Baumert-Hall units, four-symbol sequences, pulse compression, and surface
        wave encodings" (1974).

    Examples:
        >>> hadamard_matrix(4)
        array([[ 1,  1,  1,  1],
               [ 1, -1,  1, -1],
               [ 1,  1, -1, -1],
               [ 1, -1, -1,  1]], dtype=int8)
        >>> h = hadamard_matrix(12).astype(int)
        >>> bool((h @ h.T == 12 * np.eye(12)).all())
        True
    """
    order = check_count(order, "order")
    if order > 2 and order % 4:
        below, above = order // 4 * 4 or 2, -(-order // 4) * 4
        raise ValueError(f"order must be 1, 2 or a multiple of 4, got {order}; nearest are {below} and {above}")
    recipe = _recipe(order)
    if recipe is None:
        above = next(n for n in itertools.count(order + 4, 4) if _recipe(n))
        raise ValueError(
            f"order must be one that a construction here reaches, got {order}; every multiple of 4 up to 320 is, "
            f"and the first after {order} is {above}"
        )
    _, build = recipe
    matrix = build()
    matrix *= matrix[0].copy()
    matrix *= matrix[:, :1].copy()
    return matrix


def hadamard_construction(order: int) -> str | None:
    """Name the construction that ``hadamard_matrix`` uses, without building the matrix.

    Args:
        order: a positive integer.

    Returns:
        The name, or None where no Hadamard matrix of this order is known here.

    Raises:
        TypeError: ``order`` is not an integer.
        ValueError: ``order`` is smaller than 1.

    Examples:
        >>> for order in (64, 28, 76, 188, 184, 10):
        ...     print(order, hadamard_construction(order))
        64 Sylvester
        28 Paley I, q = 27
        76 Paley II, q = 37
        188 Goethals-Seidel, rows of length 47
        184 Kronecker, 2 x 92
        10 None
    """
    recipe = _recipe(check_count(order, "order"))
    return recipe and recipe[0]


def _recipe(order: int) -> tuple[str, Callable[[], SignArray]] | None:
    """Choose the construction: its name and what builds the matrix, not yet normalised."""
    if order & (order - 1) == 0:
        return "Sylvester", partial(_sylvester, order)
    if order % 4:
        return None
    if field := _prime_power(order - 1):
        return f"Paley I, q = {order - 1}", partial(_paley_one, *field)
    if order % 8 == 4 and (field := _prime_power(order // 2 - 1)):
        return f"Paley II, q = {order // 2 - 1}", partial(_paley_two, *field)
    if words := _QUADRUPLES.get(order // 4):
        return f"Goethals-Seidel, rows of length {order // 4}", partial(_goethals_seidel, order // 4, words)
    for factor in range(2, math.isqrt(order) + 1):
        if order % factor == 0 and _recipe(factor) and _recipe(order // factor):
            return f"Kronecker, {factor} x {order // factor}", partial(_kronecker, factor, order // factor)
    return None


def _sylvester(order: int) -> SignArray:
    matrix = np.ones((1, 1), np.int8)
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _kronecker(left: int, right: int) -> SignArray:
    return np.kron(hadamard_matrix(left), hadamard_matrix(right))


def _paley_one(p: int, e: int) -> SignArray:
    """H = I + S of order q + 1, S skew: the Jacobsthal matrix of q = 3 mod 4 with a border of 1 and -1."""
    matrix = _bordered(_jacobsthal(p, e))
    matrix[1:, 0] = -1
    np.fill_diagonal(matrix, 1)
    return matrix


def _paley_two(p: int, e: int) -> SignArray:
    """H = C x [[1, 1], [1, -1]] + I x [[1, -1], [-1, -1]] of order 2(q + 1), C the conference matrix of q = 1 mod 4."""
    conference = _bordered(_jacobsthal(p, e))
    off_diagonal = np.array([[1, 1], [1, -1]], np.int8)
    on_diagonal = np.array([[1, -1], [-1, -1]], np.int8)
    return np.kron(conference, off_diagonal) + np.kron(np.eye(len(conference), dtype=np.int8), on_diagonal)


def _bordered(core: SignArray) -> SignArray:
    bordered = np.pad(core, ((1, 0), (1, 0)), constant_values=1)
    bordered[0, 0] = 0
    return bordered


def _jacobsthal(p: int, e: int) -> SignArray:
    """Q[x, y] = chi(x - y) over GF(p^e), chi the quadratic character."""
    elements = np.arange(p**e)
    differences = np.zeros((p**e, p**e), np.int64)
    for place in (p**i for i in range(e)):
        digit = elements // place % p
        differences += np.subtract.outer(digit, digit) % p * place
    return _quadratic_character(p, e)[differences]


def _quadratic_character(p: int, e: int) -> SignArray:
    """Quadratic character of GF(p^e), p odd: 0 at 0, 1 at squares, -1 elsewhere.

    Element number k is the polynomial whose coefficients are the base-p digits of k, modulo a monic f of degree e. The
    first f modulo which the powers of x run through all p^e - 1 nonzero polynomials is taken: then these form a field,
    x generates its group, and the even powers of x are the squares.
    """
    one = (1, *[0] * (e - 1))
    # x^e = tail[0] + tail[1] x + ... modulo f; with tail[0] = 0 no power of x but the first could be 1.
    for tail in itertools.product(range(1, p), *[range(p)] * (e - 1)):
        character = np.zeros(p**e, np.int8)
        element, exponent = one, 0
        while exponent == 0 or element != one:
            character[sum(digit * p**i for i, digit in enumerate(element))] = -1 if exponent % 2 else 1
            shifted = (0, *element[:-1])
            element = tuple((s + element[-1] * t) % p for s, t in zip(shifted, tail, strict=True))
            exponent += 1
        if exponent == p**e - 1:
            return character
    raise AssertionError(f"a primitive polynomial of degree {e} exists over GF({p}) for every prime p")


def _prime_power(q: int) -> tuple[int, int] | None:
    """Return (p, e) with q = p^e and p prime, or None."""
    if q < 2:
        return None
    p = next((d for d in range(2, math.isqrt(q) + 1) if q % d == 0), q)
    e = 0
    while q % p == 0:
        q, e = q // p, e + 1
    return (p, e) if q == 1 else None


def _goethals_seidel(n: int, words: tuple[int, int, int, int]) -> SignArray:
    """Plug four circulants A, B, C, D into the Goethals-Seidel array; R reverses the columns."""
    columns = np.arange(n)
    circulant = (columns[None] - columns[:, None]) % n
    a, b, c, d = (np.array(_signs(word, n), np.int8)[circulant] for word in words)
    br, cr, dr = (x[:, ::-1] for x in (b, c, d))
    btr, ctr, dtr = (x.T[:, ::-1] for x in (b, c, d))
    return np.block([[a, br, cr, dr], [-br, a, dtr, -ctr], [-cr, -dtr, a, btr], [-dr, ctr, -btr, a]])


def _signs(word: int, length: int) -> list[int]:
    return [1 if word >> (length - 1 - i) & 1 else -1 for i in range(length)]
