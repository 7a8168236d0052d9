"""Codes from algebra: sets of binary words whose least mutual distance is a theorem.

A word is a Python int, bit ``j`` of it is column ``j``. Every function returns a `Code`: the span of a few generator
rows, shifted to a few cosets, so that a million words cost a few integers. Field arithmetic is small enough to be
written here (polynomials over GF(2) are ints too); a library for it would cost more import time than all of this takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hashcenters.centers.hadamard import hadamard_matrix

__all__ = [
    "Code",
    "add_complements",
    "add_parity",
    "best_10_40_4",
    "conference_code",
    "construction_x",
    "even_subcode",
    "extended_bch",
    "hadamard_block",
    "julin_12_144_4",
    "juxtapose",
    "kerdock",
    "levenshtein",
    "orbit_code",
    "puncture",
    "quadratic_residue",
    "repetition",
    "shorten",
    "subcode",
    "u_u_plus_v",
    "whole_space",
]

# Primitive polynomials over GF(2) by degree, bit i is the coefficient of x^i.
_PRIMITIVE = {2: 0x7, 3: 0xB, 4: 0x13, 5: 0x25, 6: 0x43, 7: 0x83, 8: 0x11D, 9: 0x211, 10: 0x409, 11: 0x805}


@dataclass(frozen=True)
class Code:
    """A set of binary words: all sums of ``rows``, added to each of ``cosets``.

    Attributes:
        name: how it was made.
        n_bits: word length K.
        min_distance: least Hamming distance of two words, as the construction promises (a lower bound on the true one).
        rows: linearly independent generator rows; none for an explicit list of words.
        cosets: one word of each coset of the span of ``rows``.

    Examples:
        >>> code = Code("even weight", 3, 2, rows=(0b011, 0b110))
        >>> code.size
        4
        >>> code.words(np.arange(4)).astype(int).tolist()
        [[0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]]
    """

    name: str
    n_bits: int
    min_distance: int
    rows: tuple[int, ...] = ()
    cosets: tuple[int, ...] = (0,)

    @property
    def size(self) -> int:
        """Number of words."""
        return len(self.cosets) << len(self.rows)

    @property
    def has_full_rows(self) -> bool:
        """Whether no column is zero in all rows, so that every coset has as many ones as zeros in every column."""
        union = 0
        for row in self.rows:
            union |= row
        return union == (1 << self.n_bits) - 1

    @property
    def is_complement_closed(self) -> bool:
        """Whether the span of ``rows`` holds the all-ones word, so that each word's complement is in the code."""
        return _reduce((1 << self.n_bits) - 1, _echelon(self.rows)) == 0

    def words(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the words of the given numbers.

        Args:
            indices: int64 (n,), values 0..size-1; the low ``len(rows)`` bits say which rows are added, the others which
                coset.

        Returns:
            bool array (n, n_bits).
        """
        packed = pack_ints(self.cosets, self.n_bits)[indices >> len(self.rows)]
        for position, row in enumerate(pack_ints(self.rows, self.n_bits)):
            packed ^= ((indices >> position) & 1).astype(np.uint8)[:, None] * row
        return np.unpackbits(packed, axis=1, count=self.n_bits, bitorder="little").view(np.bool_)


def pack_ints(words: tuple[int, ...], n_bits: int) -> NDArray[np.uint8]:
    """Return words as little-endian bytes.

    Args:
        words: words of ``n_bits`` bits.
        n_bits: word length.

    Returns:
        uint8 array (n, ceil(n_bits / 8)).

    Examples:
        >>> pack_ints((1, 258), 9).tolist()
        [[1, 0], [2, 1]]
    """
    width = (n_bits + 7) // 8
    data = b"".join(word.to_bytes(width, "little") for word in words)
    packed: NDArray[np.uint8] = np.frombuffer(data, dtype=np.uint8).reshape(len(words), width).copy()
    return packed


def to_ints(words: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the rows of a bit matrix as ints.

    Args:
        words: bool array (n, n_bits).

    Returns:
        One int a row, bit j is column j.

    Examples:
        >>> to_ints(np.array([[True, False, True]]))
        (5,)
    """
    packed = np.packbits(words, axis=1, bitorder="little")
    return tuple(int.from_bytes(row.tobytes(), "little") for row in packed)


def _echelon(rows: tuple[int, ...]) -> list[int]:
    """Return a basis of the span with distinct leading bits, largest first."""
    basis: list[int] = []
    for row in rows:
        rest = _reduce(row, basis)
        if rest:
            basis = sorted([*basis, rest], reverse=True)
    return basis


def _reduce(word: int, basis: list[int]) -> int:
    """Return ``word`` with the leading bits of ``basis`` (descending) cleared: 0 where it lies in the span."""
    for row in basis:
        word = min(word, word ^ row)
    return word


# Elementary moves
# ------------------------------------------------------------------------------------------------------


def _drop(word: int, column: int) -> int:
    """Return ``word`` without one column."""
    return (word & ((1 << column) - 1)) | (word >> (column + 1) << column)


def puncture(code: Code, column: int | None = None) -> Code:
    """Drop a column (the last one unless told): one bit less, and at most one less of distance.

    Args:
        code: a code of distance at least 2.
        column: the column to drop.

    Returns:
        The punctured code, of the same size.

    Raises:
        ValueError: the distance is 1, so that two words could become one.

    Examples:
        >>> puncture(hadamard_block(8, "biorthogonal")).min_distance
        3
    """
    if code.min_distance < 2:
        raise ValueError(
            f"code must have min_distance at least 2 to be punctured, got {code.min_distance} ({code.name})"
        )
    where = code.n_bits - 1 if column is None else column
    return replace(
        code,
        name=_marked(code.name, "punctured"),
        n_bits=code.n_bits - 1,
        min_distance=code.min_distance - 1,
        rows=tuple(_drop(row, where) for row in code.rows),
        cosets=tuple(_drop(coset, where) for coset in code.cosets),
    )


def shorten(code: Code, column: int | None = None) -> Code:
    """Keep the words with one value in a column (the last one unless told), and drop it: half the words, same distance.

    Args:
        code: a code.
        column: the column to drop.

    Returns:
        The shortened code. Where the rows are all zero in that column the value is the more frequent one of the cosets.

    Examples:
        >>> code = shorten(quadratic_residue(23))
        >>> code.n_bits, code.size, code.min_distance
        (22, 2048, 7)
    """
    where = code.n_bits - 1 if column is None else column
    bit = 1 << where
    pivot = next((row for row in code.rows if row & bit), 0)
    rows, cosets = list(code.rows), list(code.cosets)
    if pivot:
        rows.remove(pivot)
        rows = [row ^ pivot if row & bit else row for row in rows]
        cosets = [coset ^ pivot if coset & bit else coset for coset in cosets]
    else:
        value = bit if 2 * sum(bool(coset & bit) for coset in cosets) > len(cosets) else 0
        cosets = [coset for coset in cosets if coset & bit == value]
    return replace(
        code,
        name=_marked(code.name, "shortened"),
        n_bits=code.n_bits - 1,
        rows=tuple(_drop(row, where) for row in rows),
        cosets=tuple(_drop(coset, where) for coset in cosets),
    )


def add_parity(code: Code) -> Code:
    """Append the parity of each word: an odd distance grows by one.

    Args:
        code: a code.

    Returns:
        The extended code, of one bit more.

    Examples:
        >>> add_parity(quadratic_residue(23)).min_distance
        8
    """
    return replace(
        code,
        name=_marked(code.name, "extended"),
        n_bits=code.n_bits + 1,
        min_distance=code.min_distance + code.min_distance % 2,
        rows=tuple(row | (row.bit_count() % 2) << code.n_bits for row in code.rows),
        cosets=tuple(coset | (coset.bit_count() % 2) << code.n_bits for coset in code.cosets),
    )


def even_subcode(code: Code) -> Code:
    """Keep the words of even weight: an odd distance grows by one.

    Args:
        code: a code.

    Returns:
        The words of even weight.

    Examples:
        >>> even_subcode(whole_space(4)).size
        8
    """
    return replace(shorten(add_parity(code)), name=_marked(code.name, "even"))


def subcode(code: Code, n_rows: int, n_cosets: int = 1) -> Code:
    """Keep the first rows and cosets.

    Args:
        code: a code.
        n_rows: rows to keep.
        n_cosets: cosets to keep.

    Returns:
        The subcode of ``n_cosets * 2**n_rows`` words.

    Examples:
        >>> subcode(whole_space(4), 2).size
        4
    """
    return replace(code, rows=code.rows[:n_rows], cosets=code.cosets[:n_cosets])


def juxtapose(first: Code, second: Code) -> Code:
    """Write words of two codes side by side: lengths and distances add, the smaller size counts.

    Args:
        first: code of the left columns.
        second: code of the right columns.

    Returns:
        A code with word i of ``first`` and word i of ``second`` as its word i.

    Examples:
        >>> code = juxtapose(repetition(3), repetition(2))
        >>> code.n_bits, code.size, code.min_distance
        (5, 2, 5)
    """
    n_rows = min(len(first.rows), len(second.rows))
    lefts, rights = _with_rows(first, n_rows), _with_rows(second, n_rows)
    shift = first.n_bits
    return Code(
        f"{first.name} | {second.name}",
        first.n_bits + second.n_bits,
        first.min_distance + second.min_distance,
        tuple(left | right << shift for left, right in zip(lefts.rows, rights.rows, strict=True)),
        tuple(left | right << shift for left, right in zip(lefts.cosets, rights.cosets, strict=False)),
    )


def _with_rows(code: Code, n_rows: int) -> Code:
    """Return the same words as cosets of the first ``n_rows`` rows."""
    cosets = list(code.cosets)
    grown: list[int] = []
    for coset in cosets:
        members = [coset]
        for row in code.rows[n_rows:]:
            members += [member ^ row for member in members]
        grown += members
    return replace(code, rows=code.rows[:n_rows], cosets=tuple(grown))


def u_u_plus_v(first: Code, second: Code) -> Code:
    """Return all words (u | u + v), u of the first code and v of the second: distance min(2 d1, d2).

    Args:
        first: code of u.
        second: code of v, of the same length.

    Returns:
        The code of twice the length whose size is the product of both (Plotkin 1960).

    Raises:
        ValueError: the lengths differ.

    Examples:
        >>> code = u_u_plus_v(even_subcode(whole_space(4)), repetition(4))
        >>> code.n_bits, code.size, code.min_distance
        (8, 16, 4)
    """
    if first.n_bits != second.n_bits:
        raise ValueError(f"u and v must have the same length, got n_bits {first.n_bits} and {second.n_bits}")
    n_bits = first.n_bits
    return Code(
        f"({first.name} | + {second.name})",
        2 * n_bits,
        min(2 * first.min_distance, second.min_distance),
        tuple(u | u << n_bits for u in first.rows) + tuple(v << n_bits for v in second.rows),
        tuple(u | (u ^ v) << n_bits for u in first.cosets for v in second.cosets),
    )


def construction_x(outer: Code, inner: Code, tail: Code) -> Code:
    """Lengthen a code by tails that tell the cosets of a subcode apart.

    Two words in one coset of ``inner`` keep their distance, two in different ones gain that of ``tail`` (Sloane, Reddy,
    Chen, "New binary codes obtained by concatenating", 1972).

    Args:
        outer: a code that is a union of cosets of ``inner``: linear, or with the rows of ``inner`` as its rows.
        inner: a linear code of greater distance and the same length.
        tail: a code of at least as many words as ``outer`` has cosets; linear where ``outer`` is.

    Returns:
        The code of ``outer.n_bits + tail.n_bits`` bits, of distance min(d(outer) + d(tail), d(inner)).

    Raises:
        ValueError: ``inner`` does not lie in ``outer`` that way, or ``tail`` has too few words.

    Examples:
        >>> outer, inner = extended_bch(64, 21), extended_bch(64, 23)
        >>> code = construction_x(outer, inner, even_subcode(whole_space(3)))
        >>> code.n_bits, code.size == 2**18, code.min_distance
        (67, True, 24)
    """
    basis = _echelon(inner.rows)
    outside: list[int] = []
    for row in outer.rows:
        if _reduce(row, basis):
            outside.append(row)
            basis = _echelon((*basis, row))
    if len(basis) != len(outer.rows):
        raise ValueError(f"inner must lie in outer, got {inner.name} and {outer.name}")
    shift = outer.n_bits
    cosets: tuple[int, ...]
    tails: tuple[int, ...]
    if len(outer.cosets) == 1:
        tails = tail.rows[: len(outside)]
        cosets = outer.cosets
    else:
        tails = ()
        ends = to_ints(tail.words(np.arange(min(tail.size, len(outer.cosets)))))
        cosets = tuple(coset | end << shift for coset, end in zip(outer.cosets, ends, strict=False))
    if len(tails) < len(outside) or len(cosets) < len(outer.cosets):
        raise ValueError(f"tail must have at least one word for each coset of inner, got {tail.size} words")
    return Code(
        f"X({outer.name} > {inner.name} | {tail.name})",
        outer.n_bits + tail.n_bits,
        min(outer.min_distance + tail.min_distance, inner.min_distance),
        inner.rows + tuple(row | end << shift for row, end in zip(outside, tails, strict=True)),
        cosets,
    )


def add_complements(code: Code) -> Code:
    """Add the complement of every word; the new distance is min(d, n_bits - greatest distance), found by counting.

    Args:
        code: a code of at most 2**20 words, linear (one coset) and without the all-ones word.

    Returns:
        The code of twice the size.

    Raises:
        ValueError: the code is not linear, or holds the all-ones word already.

    Examples:
        >>> add_complements(orbit_code((0b1011,), 7, (1,), 4)).size
        16
    """
    if len(code.cosets) != 1 or code.is_complement_closed:
        raise ValueError(
            f"code must be linear without the all-ones word, got {code.name} with {len(code.cosets)} cosets"
        )
    weights = code.words(np.arange(code.size)).sum(axis=1)
    return replace(
        code,
        name=_marked(code.name, "complements"),
        min_distance=min(code.min_distance, code.n_bits - int(weights.max())),
        rows=(*code.rows, (1 << code.n_bits) - 1),
    )


def _marked(name: str, move: str) -> str:
    """Return ``name`` with a move noted once, counted where repeated: 'x, punctured 2'."""
    stem, separator, last = name.rpartition(", ")
    word, _, count = last.partition(" ")
    if separator and word == move and (not count or count.isdigit()):
        return f"{stem}, {move} {int(count or 1) + 1}"
    return f"{name}, {move}"


# Trivial codes
# ---------------------------------------------------------------------------------------------------------


def repetition(n_bits: int) -> Code:
    """Return the two words 0...0 and 1...1.

    Args:
        n_bits: word length.

    Returns:
        The code of distance ``n_bits``.

    Examples:
        >>> repetition(5).min_distance
        5
    """
    return Code(f"repetition({n_bits})", n_bits, n_bits, ((1 << n_bits) - 1,))


def whole_space(n_bits: int) -> Code:
    """Return all words.

    Args:
        n_bits: word length.

    Returns:
        The code of distance 1.

    Examples:
        >>> whole_space(5).size
        32
    """
    return Code(f"all words of {n_bits} bits", n_bits, 1, tuple(1 << column for column in range(n_bits)))


# Hadamard matrices
# -----------------------------------------------------------------------------------------------------


def hadamard_block(order: int, kind: str) -> Code:
    """Return one of the codes that a Hadamard matrix gives.

    Args:
        order: order N of the matrix, 2 or a multiple of 4.
        kind: "biorthogonal": N bits, the 2N rows of H and -H, distance N/2. "simplex": N-1 bits, N words, all N/2 apart
            (the constant column dropped). "halved": N-2 bits, N/2 words, all N/2 apart (the rows that agree in two
            columns, those dropped).

    Returns:
        The code.

    Raises:
        ValueError: ``kind`` is none of the three, or no matrix of that order is known.

    Examples:
        >>> code = hadamard_block(12, "simplex")
        >>> code.n_bits, code.size, code.min_distance
        (11, 12, 6)
    """
    matrix = hadamard_matrix(order)
    matrix = matrix * matrix[:, :1]
    if kind == "biorthogonal":
        words = np.concatenate([matrix, -matrix])
    elif kind == "simplex":
        words = matrix[:, 1:]
    elif kind == "halved":
        words = matrix[matrix[:, 1] == 1][:, 2:]
    else:
        raise ValueError(f'kind must be "biorthogonal", "simplex" or "halved", got {kind!r}')
    return Code(f"hadamard({order})-{kind}", words.shape[1], order // 2, (), to_ints(words > 0))


def levenshtein(n_bits: int, distance: int) -> Code:
    """Return as many words as the Plotkin bound allows.

    The largest codes with 2 distance >= n_bits, pasted together from Hadamard matrices (V. I. Levenshtein, 1961;
    MacWilliams and Sloane, "The Theory of Error-Correcting Codes", chapter 2, theorem 8).

    Args:
        n_bits: word length.
        distance: least distance, ``n_bits <= 2 * distance`` and at most ``n_bits``.

    Returns:
        A code of 2 * floor(d / (2d - n)) words for even d, of 2 * floor((d+1) / (2d + 1 - n)) for odd d, and of 4d (2d
        + 2) words for n = 2d and even (odd) d.

    Raises:
        ValueError: outside the Plotkin region, or a Hadamard matrix that is needed is not known.

    Examples:
        >>> code = levenshtein(22, 12)
        >>> code.size
        12
    """
    if not n_bits <= 2 * distance <= 2 * n_bits:
        raise ValueError(f"distance must be in n_bits/2..n_bits (n_bits={n_bits}), got {distance}")
    name = f"levenshtein({n_bits}, {distance})"
    if distance % 2:
        return replace(puncture(levenshtein(n_bits + 1, distance + 1)), name=name)
    if n_bits == 2 * distance:
        return replace(hadamard_block(n_bits, "biorthogonal"), name=name)
    k = distance // (2 * distance - n_bits)
    if k == 1:  # 3 distance > 2 n_bits: two words
        return replace(repetition(n_bits), name=name, min_distance=distance)
    short = distance * (2 * k + 1) - n_bits * (k + 1)  # the a and b of the theorem
    long = k * n_bits - distance * (2 * k - 1)
    if n_bits % 2 == 0:
        blocks = [(4 * k, "halved")] * (short // 2) + [(4 * k + 4, "halved")] * (long // 2)
    elif k % 2 == 0:
        blocks = [(2 * k, "simplex")] * short + [(4 * k + 4, "halved")] * (long // 2)
    else:
        blocks = [(4 * k, "halved")] * (short // 2) + [(2 * k + 2, "simplex")] * long
    code = hadamard_block(*blocks[0])
    for order, kind in blocks[1:]:
        code = juxtapose(code, hadamard_block(order, kind))
    return replace(code, name=name)


# Conference matrices
# ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def quadratic_character(q: int) -> NDArray[np.int8]:
    """Return the matrix chi(a - b) over the elements a, b of the field with q elements, q an odd prime power.

    Args:
        q: number of elements.

    Returns:
        int8 (q, q), 0 on the diagonal, else 1 where a - b is a square and -1 where it is not.

    Raises:
        ValueError: ``q`` is not an odd prime power.

    Examples:
        >>> quadratic_character(5)[0].tolist()
        [0, 1, -1, -1, 1]
    """
    prime, degree = _prime_power(q)
    if prime in (0, 2):
        raise ValueError(f"q must be an odd prime power, got {q}")
    powers = prime ** np.arange(degree)
    digits = (np.arange(q)[:, None] // powers) % prime
    squares = {int(_field_square(element, prime, degree) @ powers) for element in digits[1:]}
    chi = np.array([0] + [1 if element in squares else -1 for element in range(1, q)], dtype=np.int8)
    return chi[((digits[:, None] - digits[None, :]) % prime) @ powers]


def _prime_power(q: int) -> tuple[int, int]:
    """Return (p, e) with q = p**e, or (0, 0) where there are none."""
    prime = next((p for p in range(2, int(q**0.5) + 1) if q % p == 0), q)
    degree, rest = 0, q
    while prime > 1 and rest % prime == 0:
        rest, degree = rest // prime, degree + 1
    return (prime, degree) if rest == 1 and degree else (0, 0)


@lru_cache(maxsize=64)
def _irreducible(prime: int, degree: int) -> tuple[int, ...]:
    """Return the low coefficients c of an irreducible polynomial x^degree + c[degree-1] x^(degree-1) + ... + c[0]."""
    order = prime**degree - 1
    factors = [f for f in range(2, order + 1) if order % f == 0 and _prime_power(f)[1] == 1]
    for number in range(prime**degree):
        low = tuple(number // prime**i % prime for i in range(degree))
        # x is a generator: x^order = 1 and no smaller power of it is, so that the ring is a field.
        if (
            low[0]
            and _x_power(order, low, prime) == (1, *[0] * (degree - 1))
            and all(_x_power(order // f, low, prime) != (1, *[0] * (degree - 1)) for f in factors)
        ):
            return low
    raise AssertionError(f"no primitive polynomial of degree {degree} over GF({prime})")


def _x_power(exponent: int, low: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """Return x**exponent modulo the monic polynomial with the low coefficients ``low``."""
    degree = len(low)
    result = [1] + [0] * (degree - 1)
    base = [0, 1] + [0] * (degree - 2) if degree > 1 else [-low[0] % prime]
    while exponent:
        if exponent & 1:
            result = _multiply(result, base, low, prime)
        base = _multiply(base, base, low, prime)
        exponent >>= 1
    return tuple(result)


def _multiply(a: list[int], b: list[int], low: tuple[int, ...], prime: int) -> list[int]:
    """Return the product of two elements of GF(prime**degree)."""
    degree = len(low)
    product = [0] * (2 * degree - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    for top in range(2 * degree - 2, degree - 1, -1):
        for i, coefficient in enumerate(low):
            product[top - degree + i] -= product[top] * coefficient
    return [value % prime for value in product[:degree]]


def _field_square(element: NDArray[np.int64], prime: int, degree: int) -> NDArray[np.int64]:
    """Return the square of an element, given and returned by its coefficients."""
    if degree == 1:
        return element * element % prime
    values = [int(value) for value in element]
    return np.array(_multiply(values, values, _irreducible(prime, degree), prime))


def conference_code(q: int) -> Code:
    """Return 2q + 2 words of q bits at distance (q - 1) / 2, from a symmetric conference matrix.

    The rows of (S + I + J)/2 and (-S + I + J)/2 with S the quadratic character, the zero and the all-ones word (Sloane
    and Seidel, "A new family of nonlinear codes obtained from conference matrices", 1970).

    Args:
        q: a prime power that is 1 modulo 4.

    Returns:
        The code.

    Raises:
        ValueError: ``q`` is not a prime power that is 1 modulo 4.

    Examples:
        >>> code = conference_code(9)
        >>> code.n_bits, code.size, code.min_distance
        (9, 20, 4)
    """
    if q % 4 != 1 or _prime_power(q) == (0, 0):
        raise ValueError(f"q must be a prime power that is 1 modulo 4, got {q}")
    character = quadratic_character(q) + np.zeros((q, q), dtype=np.int8)
    np.fill_diagonal(character, 1)
    other = -character
    np.fill_diagonal(other, 1)
    # Word i of the first half and word i of the second are complements but for bit i.
    pairs = np.stack([character, other], axis=1).reshape(2 * q, q) > 0
    ends = np.array([[False] * q, [True] * q])
    return Code(f"conference({q})", q, (q - 1) // 2, (), to_ints(np.concatenate([ends, pairs])))


# Kerdock codes
# ---------------------------------------------------------------------------------------------------------


def kerdock(n_bits: int) -> Code:
    """Return the Kerdock code of ``n_bits`` = 16, 64, 256, 1024: n**2 words at distance (n - sqrt(n)) / 2.

    The image under the Gray map of a linear code over the integers modulo 4 (Hammons, Kumar, Calderbank, Sloane, Solé,
    "The Z4-linearity of Kerdock, Preparata, Goethals and related codes", 1994); 16 bits give the Nordstrom-Robinson
    code. It is n/2 cosets of the first-order Reed-Muller code, whose rows are the rows here.

    Args:
        n_bits: an even power of two, at least 16.

    Returns:
        The code.

    Raises:
        ValueError: ``n_bits`` is not 16, 64, 256 or 1024.

    Examples:
        >>> code = kerdock(16)
        >>> code.size, code.min_distance
        (256, 6)
    """
    if n_bits not in (16, 64, 256, 1024):
        raise ValueError(f"n_bits must be 16, 64, 256 or 1024, got {n_bits}")
    half = n_bits // 2
    degree = half.bit_length() - 1
    period = half - 1
    low = _hensel_lift(_PRIMITIVE[degree], degree)
    trace = _power_sums(low, period)  # trace of xi^t in Z4
    # Coset representatives: the Gray images of the trace sequence's shifts (0 at the place "infinity").
    shifts = (np.arange(period)[:, None] + np.arange(period)) % period
    values = np.concatenate([np.zeros((period, 1), dtype=np.int64), trace[shifts]], axis=1)
    gray = np.concatenate([values >= 2, (values == 1) | (values == 2)], axis=1)
    functions = np.concatenate([np.zeros((degree, 1), dtype=np.int64), trace[shifts[:degree]] % 2], axis=1) > 0
    rows = np.concatenate(
        [
            np.concatenate([functions, functions], axis=1),
            np.array([[False] * half + [True] * half, [True] * n_bits]),
        ]
    )
    root = 1 << degree // 2 + 1
    return Code(f"kerdock({n_bits})", n_bits, (n_bits - root) // 2, to_ints(rows), (0, *to_ints(gray)))


def _hensel_lift(polynomial: int, degree: int) -> list[int]:
    """Return the low coefficients modulo 4 of the lift of a primitive binary polynomial (Graeffe's method)."""
    sign = -1 if degree % 2 else 1
    coefficients = [polynomial >> i & 1 for i in range(degree + 1)]
    even = [c if i % 2 == 0 else 0 for i, c in enumerate(coefficients)]
    odd = [c if i % 2 else 0 for i, c in enumerate(coefficients)]
    squares = np.convolve(even, even) - np.convolve(odd, odd)
    return [int(sign * value) % 4 for value in squares[: 2 * degree : 2]]


def _power_sums(low: list[int], count: int) -> NDArray[np.int64]:
    """Return sums of t-th powers of the roots of a monic polynomial modulo 4, t = 0..count-1 (Newton's identities)."""
    degree = len(low)
    sums = [degree % 4]
    for t in range(1, count):
        # Newton: p_t + c_{n-1} p_{t-1} + ... + t c_{n-t} = 0 for t <= n, without the last term after that.
        total = sum(low[degree - i] * sums[t - i] for i in range(1, min(t, degree + 1)))
        total += t * low[degree - t] if t <= degree else low[0] * sums[t - degree] * (t - degree < 1)
        sums.append(-total % 4)
    return np.array(sums)


# Cyclic codes
# ----------------------------------------------------------------------------------------------------------


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a, b = a << 1, b >> 1
    return product


def _remainder(a: int, b: int) -> int:
    """Return the remainder of a divided by b, polynomials over GF(2)."""
    while a.bit_length() >= b.bit_length():
        a ^= b << a.bit_length() - b.bit_length()
    return a


def _gcd(a: int, b: int) -> int:
    """Return the greatest common divisor of two polynomials over GF(2)."""
    while b:
        a, b = b, _remainder(a, b)
    return a


@lru_cache(maxsize=16)
def _minimal_polynomials(degree: int) -> dict[int, int]:
    """Return the minimal polynomials over GF(2) of a^s, a primitive in GF(2**degree), by the least s of each class."""
    order = (1 << degree) - 1
    powers = [1]
    for _ in range(order - 1):
        powers.append(_remainder(powers[-1] << 1, _PRIMITIVE[degree]))
    logarithm = {value: exponent for exponent, value in enumerate(powers)}
    result: dict[int, int] = {}
    for start in range(order):
        conjugates = {start * (1 << i) % order for i in range(degree)}
        if min(conjugates) < start:
            continue
        polynomial = [1]  # coefficients in the field, low first
        for exponent in conjugates:
            scaled = [powers[(logarithm[c] + exponent) % order] if c else 0 for c in polynomial] + [0]
            polynomial = [a ^ b for a, b in zip([0, *polynomial], scaled, strict=True)]
        result[start] = sum(c << i for i, c in enumerate(polynomial))
    return result


def extended_bch(n_bits: int, designed: int) -> Code:
    """Return the primitive narrow-sense BCH code of length n_bits - 1, extended by parity.

    Args:
        n_bits: a power of two from 8 to 2048.
        designed: odd designed distance of the code before extension, 3..n_bits - 1.

    Returns:
        The linear code; ``min_distance`` is the Bose distance (the largest distance that the BCH bound proves) plus
        one. It holds the all-ones word.

    Raises:
        ValueError: ``n_bits`` is not a power of two in that range or ``designed`` not an odd number in its range.

    Examples:
        >>> code = extended_bch(64, 23)
        >>> code.size == 2**16, code.min_distance
        (True, 24)
    """
    degree = n_bits.bit_length() - 1
    if n_bits != 1 << degree or degree not in range(3, 12):
        raise ValueError(f"n_bits must be a power of two from 8 to 2048, got {n_bits}")
    if designed % 2 == 0 or not 3 <= designed < n_bits:
        raise ValueError(f"designed must be an odd number in 3..{n_bits - 1}, got {designed}")
    length = n_bits - 1
    zeros: set[int] = set()
    generator = 1
    for leader, polynomial in _minimal_polynomials(degree).items():
        if 0 < leader < designed:
            zeros |= {leader * (1 << i) % length for i in range(degree)}
            generator = _times(generator, polynomial)
    bose = next(exponent for exponent in range(1, length + 1) if exponent not in zeros)
    n_rows = length - generator.bit_length() + 1
    code = Code("", length, bose, tuple(generator << i for i in range(n_rows)))
    return replace(add_parity(code), name=f"extended BCH[{n_bits}, {n_rows}]")


# Least distances of binary quadratic residue codes by length (MacWilliams and Sloane, chapter 16, figure 16.2).
_QUADRATIC_RESIDUE = {7: 3, 17: 5, 23: 7, 31: 7, 41: 9, 47: 11, 71: 11, 73: 13, 79: 15, 89: 17, 97: 15, 103: 19}


def quadratic_residue(prime: int) -> Code:
    """Return the quadratic residue code of length ``prime``, (prime + 1)/2 rows; 23 is the Golay code.

    Args:
        prime: one of 7, 17, 23, 31, 41, 47, 71, 73, 79, 89, 97, 103 (1 or 7 modulo 8).

    Returns:
        The linear code; it holds the all-ones word.

    Raises:
        ValueError: another ``prime``.

    Examples:
        >>> code = quadratic_residue(23)
        >>> code.size, code.min_distance
        (4096, 7)
    """
    if prime not in _QUADRATIC_RESIDUE:
        raise ValueError(f"prime must be one of {sorted(_QUADRATIC_RESIDUE)}, got {prime}")
    residues = {i * i % prime for i in range(1, prime)}
    modulus = 1 << prime | 1
    idempotent = sum(1 << residue for residue in residues) ^ int(prime % 8 == 1)
    candidates = [_gcd(modulus, idempotent ^ flip) for flip in (0, 1)]
    generator = next(g for g in candidates if g.bit_length() == (prime + 1) // 2)
    n_rows = (prime + 1) // 2
    name = "golay(23)" if prime == 23 else f"quadratic residue({prime})"
    return Code(name, prime, _QUADRATIC_RESIDUE[prime], tuple(generator << i for i in range(n_rows)))


def orbit_code(blocks: tuple[int, ...], order: int, starts: tuple[int, ...], min_distance: int) -> Code:
    """Return the linear code whose generator columns are whole orbits of one matrix: a quasi-cyclic code.

    The matrix is the direct sum of the companion matrices of ``blocks``, so a column runs through (x^i s mod block).

    Args:
        blocks: polynomials over GF(2) that divide x^order - 1, as ints; the number of rows is the sum of their degrees.
        order: the matrix to this power is the identity.
        starts: one column of each orbit.
        min_distance: the least distance, as measured by the search that found the code.

    Returns:
        The code.

    Examples:
        >>> code = orbit_code((0b1011,), 7, (1,), 4)
        >>> code.n_bits, code.size
        (7, 8)
    """
    columns: list[int] = []
    for start in starts:
        column = start
        while True:
            columns.append(column)
            column = step(column, blocks)
            if column == start:
                break
    n_rows = sum(block.bit_length() - 1 for block in blocks)
    rows = tuple(sum((column >> i & 1) << j for j, column in enumerate(columns)) for i in range(n_rows))
    kind = "linear" if order == 1 else "quasi-cyclic"
    suffix = "" if order == 1 else f" of order {order}"
    return Code(f"{kind}[{len(columns)}, {n_rows}]{suffix}", len(columns), min_distance, rows)


def step(column: int, blocks: tuple[int, ...]) -> int:
    """Return the column times x, modulo each block.

    Args:
        column: the concatenated remainders, the first block lowest.
        blocks: polynomials over GF(2).

    Returns:
        The next column of the orbit.

    Examples:
        >>> step(0b100, (0b1011,))
        3
    """
    result, shift = 0, 0
    for block in blocks:
        degree = block.bit_length() - 1
        part = (column >> shift & ((1 << degree) - 1)) << 1
        if part >> degree:
            part ^= block
        result |= part << shift
        shift += degree
    return result


# Small nonlinear codes
# -------------------------------------------------------------------------------------------------


def best_10_40_4() -> Code:
    """Return Best's 40 words of 10 bits at distance 4, the most there are.

    Gray images of the cyclic shifts of (c - d, b, c, d, b + c), b, c, d = +-1 modulo 4 (Conway and Sloane, "Quaternary
    constructions for the binary single-error-correcting codes of Julin, Best and others", 1994).

    Returns:
        The code.

    Examples:
        >>> best_10_40_4().size
        40
    """
    signs = (1, 3)
    gray = {0: 0b00, 1: 0b10, 2: 0b11, 3: 0b01}
    words: list[int] = []
    for b in signs:
        for c in signs:
            for d in signs:
                symbols = [(c - d) % 4, b, c, d, (b + c) % 4]
                for shift in range(5):
                    turned = symbols[shift:] + symbols[:shift]
                    words.append(sum(gray[s] << 2 * i for i, s in enumerate(turned)))
    return Code("best(10, 40, 4)", 10, 4, (), tuple(words))


def julin_12_144_4() -> Code:
    """Return Julin's 144 words of 12 bits at distance 4, the most there are.

    The 132 hexads of the Steiner system S(5, 6, 12), six disjoint pairs, and their complements (Julin, "Two improved
    block codes", 1965). The hexads are the orbit of the squares modulo 11 with infinity under PSL(2, 11).

    Returns:
        The code.

    Examples:
        >>> julin_12_144_4().size
        144
    """
    infinity = 11

    def invert(point: int) -> int:
        return {0: infinity, infinity: 0}.get(point, -pow(point, 9, 11) % 11)

    hexads = {frozenset({infinity, 1, 3, 4, 5, 9})}
    fresh = set(hexads)
    while fresh:
        moved = {frozenset(p if p == infinity else (p + 1) % 11 for p in block) for block in fresh}
        moved |= {frozenset(invert(p) for p in block) for block in fresh}
        fresh = moved - hexads
        hexads |= fresh
    words = {sum(1 << point for point in block) for block in hexads}
    pairs = {0b11 << 2 * i for i in range(6)}
    return Code("julin(12, 144, 4)", 12, 4, (), tuple(sorted(words | pairs | {4095 ^ pair for pair in pairs})))
