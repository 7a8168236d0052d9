"""Codes found by computer: linear codes whose generator columns are whole orbits of a matrix, and the search for them.

A linear [n, k] code is a multiset of n columns of GF(2)^k; its least distance is the least weight of its 2^k - 1 words.
Ask that the multiset be invariant under a matrix T of order p (then the code is quasi-cyclic), and both sides shrink
by p: words fall into orbits of equal weight, columns into orbits taken as a whole, and what is left to choose is n/p
columns of a table of weights so that the least row sum is large (Braun, Kohnert, Wassermann, "Optimal linear codes
from matrix groups", 2005). A tabu search does that.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from itertools import combinations_with_replacement, islice
from math import lcm
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hashcenters.centers.constructions import Code, _times, orbit_code, step

__all__ = ["FROZEN", "frozen_codes", "griesmer", "orbit_table", "search_columns", "search_orbits"]

Orbits = tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]


def griesmer(n_rows: int, distance: int) -> int:
    """Return the least length that a linear code of these parameters can have.

    Args:
        n_rows: dimension k.
        distance: least distance d.

    Returns:
        Sum of ceil(d / 2^i), i = 0..k-1 (J. H. Griesmer, 1960).

    Examples:
        >>> griesmer(12, 8)
        23
    """
    return sum(-(-distance // (1 << i)) for i in range(n_rows))


# Orbits
# ----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _factors(odd: int, most: int) -> tuple[int, ...]:
    """Return the irreducible factors of x^odd - 1 over GF(2) up to a degree, for odd exponents: all different."""
    rest = 1 << odd | 1
    found: list[int] = []
    candidate = 0b11
    while rest > 1 and candidate.bit_length() - 1 <= most:
        quotient, remainder = _divide(rest, candidate)
        if remainder:
            candidate += 2
        else:
            rest = quotient
            found.append(candidate)
    return tuple(found)


def _divide(a: int, b: int) -> tuple[int, int]:
    """Return quotient and remainder of polynomials over GF(2)."""
    quotient = 0
    while a.bit_length() >= b.bit_length():
        shift = a.bit_length() - b.bit_length()
        quotient |= 1 << shift
        a ^= b << shift
    return quotient, a


def _order(block: int) -> int:
    """Return the least p > 0 with x^p = 1 modulo a polynomial with constant term 1."""
    value, exponent = step(1, (block,)), 1
    while value != 1:
        value, exponent = step(value, (block,)), exponent + 1
    return exponent


@lru_cache(maxsize=256)
def _primary_blocks(order: int, most: int) -> tuple[tuple[int, int, int], ...]:
    """Return (polynomial, degree, order) of the powers of irreducible polynomials that divide x^order - 1."""
    power = order & -order  # x^(power * odd) - 1 = (x^odd - 1)^power
    found = []
    for factor in _factors(order // power, most):
        product = 1
        for _ in range(power):
            product = _times(product, factor)
            degree = product.bit_length() - 1
            if degree > most:
                break
            # x + 1 itself is the identity, of order 1
            found.append((product, degree, 1 if product == 0b11 else _order(product)))
    return tuple(sorted(found, key=lambda item: item[1]))


def block_choices(n_rows: int, order: int, most: int = 6) -> list[tuple[int, ...]]:
    """Return ways to build a matrix of an exact order from companion blocks.

    Args:
        n_rows: size of the matrix.
        order: its order.
        most: how many to return; an even spread over all there are.

    Returns:
        Tuples of polynomials whose degrees sum to ``n_rows``, at most three blocks of degree 1.

    Examples:
        >>> block_choices(3, 7)
        [(11,), (13,)]
    """
    primary = _primary_blocks(order, n_rows)
    found: list[tuple[int, ...]] = []
    for count in range(1, n_rows + 1):
        for chosen in islice(combinations_with_replacement(primary, count), 100_000):
            if sum(degree for _, degree, _ in chosen) != n_rows:
                continue
            if sum(degree == 1 for _, degree, _ in chosen) > 3 or lcm(*(p for _, _, p in chosen)) != order:
                continue
            found.append(tuple(block for block, _, _ in chosen))
        if len(found) > 1000:
            break
    # x -> x^s permutes these choices without changing the code: a spread of them is enough.
    stride = max(1, len(found) // most)
    return found[::stride][:most]


def orbit_table(blocks: tuple[int, ...]) -> Orbits:
    """Return what each orbit of columns adds to the weight of each orbit of words.

    Args:
        blocks: polynomials whose companion matrices make up T.

    Returns:
        int16 (column orbits, word orbits) weights, int64 sizes of the column orbits, int64 one column of each.

    Examples:
        >>> table, sizes, starts = orbit_table((0b1011,))
        >>> table.tolist(), sizes.tolist(), starts.tolist()
        ([[4]], [7], [1])
    """
    from hashcenters.centers.distances import orbit_labels, weight_table

    n_rows = sum(block.bit_length() - 1 for block in blocks)
    images = [step(1 << i, blocks) for i in range(n_rows)]
    values = np.arange(1 << n_rows, dtype=np.int64)
    forward = np.zeros_like(values)
    backward = np.zeros_like(values)
    for i, image in enumerate(images):
        forward ^= np.where(values >> i & 1, image, 0)
        parity = values & image
        for shift in (16, 8, 4, 2, 1):
            parity ^= parity >> shift
        backward |= (parity & 1) << i
    room = 1 << n_rows
    sizes, starts = np.zeros(room, dtype=np.int64), np.zeros(room, dtype=np.int64)
    word_sizes, words = np.zeros(room, dtype=np.int64), np.zeros(room, dtype=np.int64)
    labels, n_orbits = orbit_labels(forward, sizes, starts)
    _, n_words = orbit_labels(backward, word_sizes, words)
    table = np.zeros((n_orbits, n_words), dtype=np.int16)
    weight_table(words[:n_words], labels, table)
    return table, sizes[:n_orbits], starts[:n_orbits]


# The search
# ------------------------------------------------------------------------------------------------------------


def search_orbits(
    orbits: Orbits, order: int, n_bits: int, target: int, *, seed: int, n_steps: int, margin: int = 0
) -> tuple[int, ...] | None:
    """Look for orbits of full size whose union has least distance at least ``target``.

    Args:
        orbits: what `orbit_table` returned.
        order: the full size p of an orbit.
        n_bits: word length, a multiple of ``order`` plus at most the number of columns that T fixes.
        target: distance wanted.
        seed: start of the search.
        n_steps: swaps to try.
        margin: how much more than ``target`` the search aims at.

    Returns:
        One column of each orbit, or None.
    """
    from hashcenters.centers.distances import tabu

    table, sizes, starts = orbits
    full = np.flatnonzero(sizes == order)
    fixed = np.flatnonzero(sizes == 1)
    count, rest = divmod(n_bits, order)
    if full.size == 0 or count == 0 or (rest > fixed.size if order > 1 else rest):
        return None
    part = np.ascontiguousarray(table[full])
    bits = np.random.Philox(key=seed)
    state = np.uint64(int(bits.random_raw()) | 1)
    fixed = fixed[np.argsort(bits.random_raw(fixed.size), kind="stable")[:rest]]
    pool = np.argsort(bits.random_raw(full.size), kind="stable")
    chosen = np.array([pool[i % full.size] for i in range(count)], dtype=np.int64)
    weights = part[chosen].sum(axis=0, dtype=np.int32) + table[fixed].sum(axis=0, dtype=np.int32)
    tabu(part, chosen, weights, target, margin, n_steps, state)
    if weights.min() < target:
        return None
    return (*sorted(int(starts[full[i]]) for i in chosen), *sorted(int(starts[i]) for i in fixed))


def search_columns(n_bits: int, n_rows: int, target: int, *, seed: int, n_rounds: int) -> tuple[int, ...] | None:
    """Look for single columns, without symmetry, that make a linear code of least distance ``target``.

    Round after round six columns are taken away at random and six others added one by one, each the one that brings
    most to the light words: the one of largest sum over the words it meets of exp(-weight / 2).

    Args:
        n_bits: word length.
        n_rows: dimension k; time and memory grow with 4^k.
        target: distance wanted.
        seed: start of the search.
        n_rounds: rounds to try.

    Returns:
        The columns, numbers 1..2^k - 1, or None.

    Examples:
        >>> columns = search_columns(24, 7, 10, seed=0, n_rounds=100)
        >>> columns is not None and len(columns)
        24
    """
    size = 1 << n_rows
    both = np.arange(size)[:, None] & np.arange(size)
    for shift in (8, 4, 2, 1):
        both ^= both >> shift
    meets = (both & 1).astype(np.float32)  # columns by words
    bits = np.random.Philox(key=seed)
    columns = (bits.random_raw(n_bits) % np.uint64(size - 1)).astype(np.int64) + 1
    weights = meets[columns].sum(axis=0)
    for _ in range(n_rounds):
        columns = columns[np.argsort(bits.random_raw(n_bits), kind="stable")]
        weights -= meets[columns[:6]].sum(axis=0)
        jitter = 1 + 1e-3 * (bits.random_raw(size) >> np.uint64(40)).astype(np.float32) / (1 << 24)
        for place in range(min(6, n_bits)):
            light = np.exp((target - weights) / 2)
            light[0] = 0
            columns[place] = int(np.argmax(meets @ light * jitter))
            weights += meets[columns[place]]
        if weights[1:].min() >= target:
            return tuple(sorted(columns.tolist()))
    return None


# Found by `search_orbits`, those of order 1 by `search_columns`: n_bits, n_rows, least distance, order of T, blocks of
# T, one column of each orbit (hexadecimal, ceil(n_rows / 4) digits a column).
# fmt: off
FROZEN: tuple[tuple[int, int, int, int, tuple[int, ...], str], ...] = (
    (24, 7, 10, 3, (0x3, 0x7, 0x7, 0x7), "090d22282d383d3e"),
    (39, 7, 17, 3, (0x3, 0x7, 0x7, 0x7), "02080b232427292a2f3035393e"),
    (42, 7, 19, 7, (0x3, 0xb, 0xd), "03111317191c"),
    (55, 7, 25, 3, (0x3, 0x7, 0x7, 0x7), "020b0d0f2427292a2d2e30323537383b3d3e01"),
    (33, 8, 14, 3, (0x3, 0x3, 0x7, 0x7, 0x7), "42434d4f53595a7a7b7d7f"),
    (36, 8, 16, 4, (0x11, 0x11), "12151d303233355b7c"),
    (42, 8, 18, 3, (0x7, 0x7, 0x7, 0x7), "0710161c40424a595b5d5f71737e"),
    (45, 8, 20, 3, (0x7, 0x7, 0x7, 0x7), "04071d1e44494b505f60616a717a7b"),
    (48, 8, 22, 6, (0x15, 0x15), "1217181c1e347172"),
    (51, 8, 24, 17, (0x139,), "011b1f"),
    (64, 8, 29, 1, (0x3, 0x3, 0x3, 0x3, 0x3, 0x3, 0x3, 0x3), "050b111317191b22232f3036393f4147494d4e4f51525355575b5f6f7273757a7b7f81879b9fa7aab2b5b6babfc1c2c3c7cbd1d3d7dddedfe2e6ebeceff6f9fa"),  # noqa: E501
    (68, 8, 32, 17, (0x139,), "050b1b2d"),
    (73, 8, 33, 6, (0x5, 0x5, 0x15), "1517191d323536383c3d757d03"),
    (78, 8, 36, 3, (0x7, 0x7, 0x7, 0x7), "0406121315161d41424445484b5254555c5d616364666c6d7c7d"),
    (80, 8, 37, 8, (0x101,), "010517192f353b3d575b"),
    (84, 8, 40, 6, (0x5, 0x7, 0x15), "05101113161b1c36373a3b3d3e71"),
    (90, 8, 42, 5, (0x1f, 0x1f), "0105101215161c38393d3e3f51535457595a"),
    (96, 8, 46, 8, (0x101,), "050d1315191b1d1f353d575b"),
    (100, 8, 48, 5, (0x1f, 0x1f), "0105111314151d1f30333a3b3c3d50535456585c"),
    (110, 8, 52, 5, (0x1f, 0x1f), "10111214161718191a1c1d1e1f3038393b3f535a5b5c"),
    (112, 8, 53, 8, (0x101,), "0307090b0d1317191d2b35575f7f"),
    (35, 9, 14, 5, (0x3, 0x1f, 0x1f), "00a03103c06b0a00a70b9"),
    (52, 9, 22, 4, (0x3, 0x11, 0x11), "00e02002e03003f06406706806b07b0a70e90fa"),
    (75, 9, 33, 15, (0x3, 0x13, 0x19), "02502902d02e036"),
    (85, 9, 39, 17, (0x3, 0x139), "00300e00f016043"),
    (91, 9, 41, 15, (0x3, 0x13, 0x1f), "02402602902b06b0a5001"),
    (99, 9, 46, 9, (0x3, 0x7, 0x49), "00a00b01f02902a03a03b03d05905b0ab"),
    (102, 9, 48, 17, (0x3, 0x139), "01201702203704306f"),
    (108, 9, 49, 9, (0x3, 0x7, 0x49), "00a01901c01f02d03d03e05905c07807f0ad"),
    (112, 9, 52, 7, (0xb, 0xb, 0xd), "00a00f04105106106406906d06f07007207407607907a07d"),
    (118, 9, 56, 9, (0x3, 0x7, 0x49), "01a01b01e02d03b03f05b05c05e07907b07c07e001"),
    (127, 9, 59, 9, (0x3, 0x7, 0x49), "00900a00d01903903d03e05905b05f07a07e0ab0af001"),
    (132, 9, 62, 12, (0x3, 0x111), "00600a01201301601b03703f04b05707a"),
    (135, 9, 64, 9, (0x3, 0x7, 0x49), "01c01d01e02d03903b03e03f05807b07e0a90aa0ae0af"),
    (144, 9, 68, 8, (0x5, 0xff), "00400600700d01c01f02502702d02e02f04d05405506e06f0960af"),
    (150, 9, 72, 15, (0x3, 0x13, 0x1f), "02302b06906b0a30a60a70a80a90ab"),
    (157, 9, 73, 12, (0x3, 0x111), "00300700a01701b01f02702f03a04e05b07b0b6001"),
    (161, 9, 76, 7, (0xb, 0xb, 0xb), "00b00c00e04904b04d04f05105405705b05d05e06906f07307407507607907c07d07f"),
    (182, 9, 88, 7, (0xb, 0xb, 0xb), "00100b00e04404504604904c04d05105605705905b05d06406606b06e06f07307407507907b07f"),
    (189, 9, 92, 21, (0xb, 0x75), "00c00d00f01901d01f02902b02f"),
    (197, 9, 95, 14, (0x3, 0x5, 0x45), "00900a00c00f01901b01d01f03903a03d03e05a05b001"),
    (204, 9, 98, 17, (0x3, 0x139), "00f01f02302f03703f04305b06e06f0a60a7"),
    (217, 9, 104, 7, (0xb, 0xb, 0xb), "00800a00d00e00f04104204504604704904a04c04d05005105405505605805a05c06006106606706a06d06e06f078"),  # noqa: E501
    (222, 9, 108, 17, (0x3, 0x139), "00300700a00b01301701f02f03f04306f0a60a7001"),
    (238, 9, 116, 17, (0x3, 0x139), "00300700b00f01301701f02302f03703f04306f0a7"),
    (28, 10, 10, 7, (0x3, 0xb, 0xb, 0xd), "08b0990ab0ad"),
    (40, 10, 16, 4, (0x5, 0x11, 0x11), "04b05606d0c20d20d90eb14d1c33dc"),
    (45, 10, 18, 15, (0x7, 0x13, 0x1f), "0450500ce"),
    (48, 10, 20, 12, (0x5, 0x111), "03707f09e0be"),
    (56, 10, 24, 14, (0x3, 0xb, 0x45), "03903d09509f"),
    (81, 10, 36, 9, (0x7, 0x7, 0x49), "01201a03707e0b40ba15615915a"),
    (96, 10, 44, 12, (0x5, 0x111), "01502c03d0770970af0f616e"),
    (105, 10, 48, 21, (0x3, 0xd, 0x57), "03503703f054059"),
    (111, 10, 49, 10, (0x5, 0x155), "00f01604604e04f06c06d07708d0dc0de003"),
    (120, 10, 56, 12, (0x5, 0x111), "00602e03f06d06e09f0ac0bd0bf16d"),
    (128, 10, 58, 9, (0x3, 0x3, 0x7, 0x49), "01101c03e05707907d07f0b60b90be0f30f515c15e001003"),
    (131, 10, 60, 10, (0x5, 0x155), "00701401601c02602704f08c09d0c60e50e60ec003"),
    (135, 10, 62, 15, (0x7, 0x13, 0x13), "04104704a04d06306b06e07207e"),
    (147, 10, 68, 21, (0x3, 0xd, 0x57), "01201501f03805205505d"),
    (150, 10, 70, 15, (0x7, 0x19, 0x1f), "0440540c10c50c90d40d50da14f15a"),
    (155, 10, 72, 31, (0x25, 0x3d), "02602702d03203e"),
    (160, 10, 73, 10, (0x5, 0x155), "00f02702d03f04604d04f06d07d09e09f0ce0e60ef19e19f"),
    (168, 10, 80, 21, (0x3, 0xd, 0x57), "01401503203305305505b05c"),
    (176, 10, 82, 11, (0x7ff,), "00902502b03304504d05b05d0650730ad0b50d50d713314d"),
    (180, 10, 84, 15, (0x7, 0x13, 0x1f), "04104504904b04c0520540560cd0d5145149"),
    (186, 10, 88, 31, (0x25, 0x3d), "02402602702903203e"),
    (190, 10, 91, 21, (0x3, 0xd, 0x57), "01201901f03203b03f05705a05f001"),
    (204, 10, 96, 51, (0x7, 0x11b), "00e00f01e027"),
    (210, 10, 100, 105, (0x13, 0x57), "014031"),
    (219, 10, 103, 73, (0x3, 0x203), "00300f04b"),
    (231, 10, 112, 21, (0x7, 0x7, 0x57), "01003103303403a03c05705b05d05e05f"),
    (240, 10, 114, 15, (0x7, 0x13, 0x1f), "04804b04c04d0500530c50cb0cd0cf0d30d40d614f156157"),
    (245, 10, 116, 35, (0xb, 0xb, 0x1f), "04104a04b0cc0cd148149"),
    (255, 10, 122, 51, (0x7, 0x11b), "00600f01501e027"),
    (46, 11, 17, 9, (0x3, 0x7, 0x7, 0x49), "0690b20eb0f017e001"),
    (50, 11, 20, 10, (0x3, 0x5, 0x155), "01b02906f0bb238"),
    (55, 11, 21, 11, (0x3, 0x7ff), "03b04705709e0aa"),
    (81, 11, 34, 9, (0x3, 0x7, 0x7, 0x49), "02c0320340a90bb0f21691761fd"),
    (84, 11, 36, 21, (0x7, 0xb, 0x57), "0390a60ab0af"),
    (89, 11, 40, 89, (0x8c3,), "03f"),
    (100, 11, 44, 11, (0x3, 0x7ff), "01f02e0eb13a15617319724a267001"),
    (105, 11, 46, 21, (0x7, 0xb, 0x57), "02202b03b06d0b1"),
    (135, 11, 60, 15, (0x3, 0x7, 0x13, 0x13), "00e08008b09f0ad0c40ce0d00f9"),
    (140, 11, 64, 14, (0x5, 0xb, 0x45), "03503603e03f0e60e70f20f316d17d"),
    (147, 11, 66, 21, (0x7, 0xb, 0x57), "02902c03803f06707207f"),
    (150, 11, 67, 15, (0x3, 0x7, 0x13, 0x13), "08209a0a50af0b50bd0c20d40f70fa"),
    (155, 11, 70, 14, (0x5, 0xb, 0x45), "02502802f03c06406a0790f212312f13a003"),
    (165, 11, 75, 33, (0x3, 0x4a9), "00b00e02e03f0ef"),
    (181, 11, 82, 15, (0x3, 0x7, 0x13, 0x13), "00b08108b09109a0a50aa0ba0c40d10e30f2001"),
    (189, 11, 88, 21, (0x7, 0xb, 0x57), "02903103706306907a0ae0b00b7"),
    (198, 11, 92, 33, (0x3, 0x4a9), "0130170460670cf15b"),
    (207, 11, 96, 23, (0xae3,), "00101301501f03705b0c10c50f5"),
    (217, 11, 100, 31, (0x3, 0x25, 0x3d), "04a04f05705905b07607c"),
    (30, 12, 9, 10, (0x5, 0x5, 0x155), "07f092114"),
    (40, 12, 14, 10, (0x5, 0x5, 0x155), "01a1382d9317"),
    (45, 12, 16, 15, (0x13, 0x19, 0x19), "1311731f2"),
    (48, 12, 17, 12, (0x11, 0x111), "03605d0d10dd"),
    (52, 12, 20, 13, (0x1fff,), "0790a5163319"),
    (84, 12, 34, 21, (0xb, 0xd, 0x75), "04206c0d914b"),
    (93, 12, 39, 23, (0x3, 0xae3), "00a00f12232f001"),
    (120, 12, 52, 30, (0x5, 0x5, 0x141), "01d03b072094"),
    (153, 12, 68, 51, (0x7, 0x7, 0x11b), "092094096"),
    (160, 12, 72, 20, (0x1953,), "0090850910a70eb17d1dd3a9"),
    (168, 12, 76, 28, (0x1011,), "00106d0c912b19734d"),
    (192, 12, 88, 24, (0x1445,), "04b07f08d1371ad1bb1c134b"),
    (204, 12, 94, 51, (0x7, 0x7, 0x11b), "03d058079092"),
    (225, 12, 104, 28, (0x3, 0x5, 0x39d), "02904b05c09c09d0cf10e178001"),
    (234, 12, 112, 117, (0x10ff,), "003073"),
    (33, 13, 10, 33, (0x3, 0x7, 0x4a9), "000b"),
    (65, 13, 25, 65, (0x3, 0x11f1), "0003"),
    (78, 13, 31, 39, (0x3, 0x178f), "00030092"),
    (90, 13, 36, 30, (0x3, 0x15, 0x105), "0069013d0164"),
    (99, 13, 40, 33, (0x3, 0x7, 0x4a9), "001e021b03b9"),
    (105, 13, 44, 21, (0x7, 0x7, 0xb, 0x57), "00a600c3019901af02b8"),
    (112, 13, 48, 28, (0x3, 0x1011), "000f006f016f04df"),
    (156, 13, 68, 39, (0x3, 0x1e3d), "002f004b016f0187"),
    (165, 13, 72, 33, (0x3, 0x7, 0x4a9), "000e001f013f016d02e9"),
    (175, 13, 79, 35, (0x3, 0x1797), "0047008300fb01930307"),
    (195, 13, 88, 65, (0x3, 0x11f1), "0067008300bf"),
    (210, 13, 96, 30, (0x3, 0x19, 0x141), "0023003b0069007300e901210131"),
    (224, 13, 100, 28, (0x3, 0x1011), "000a0053009300b7010b0127017b04df"),
    (231, 13, 104, 21, (0x7, 0x7, 0xb, 0x57), "00f901800193019c01a101b401b501de029d02da02fd"),
    (240, 13, 112, 60, (0x3, 0x135f), "0007000f0053012b"),
    (24, 14, 6, 8, (0x55, 0x101), "004d00c701c8"),
    (43, 14, 14, 43, (0x4ff9,), "0097"),
    (96, 14, 38, 24, (0x6ddb,), "01190251042708f9"),
    (168, 14, 72, 42, (0x5, 0x1115), "002d00850176039d"),
    (172, 14, 74, 43, (0x4ff9,), "00b701cb0327044d"),
    (189, 14, 86, 63, (0x7, 0x61, 0x73), "011e012f0131"),
    (215, 14, 94, 43, (0x4ff9,), "000b009100c500e102db"),
    (225, 14, 98, 45, (0x13, 0x1f, 0x49), "031d0334055e07330b14"),
    (186, 15, 80, 93, (0x3d, 0x435), "002100a2"),
    (234, 15, 100, 117, (0x3, 0x7, 0x10ff), "000b009a"),
)
# fmt: on


@lru_cache(maxsize=1)
def frozen_codes() -> tuple[Code, ...]:
    """Return all codes of `FROZEN`.

    Returns:
        Linear codes, each with its measured least distance.
    """
    codes = []
    for _, n_rows, distance, order, blocks, columns in FROZEN:
        width = -(-n_rows // 4)
        starts = tuple(int(columns[i : i + width], 16) for i in range(0, len(columns), width))
        codes.append(orbit_code(blocks, order, starts, distance))
    return tuple(codes)


def main() -> None:
    """Search for one code and print it as a row of `FROZEN`: python -m hashcenters.centers.search 24 12 8."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("n_bits", type=int)
    parser.add_argument("n_rows", type=int)
    parser.add_argument("distance", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    n_bits, n_rows, distance = arguments.n_bits, arguments.n_rows, arguments.distance
    start, turn = perf_counter(), 0
    orders = [p for p in range(min(n_bits, 130), 1, -1) if n_bits % p <= 3 and (1 << n_rows) // p <= 6000]
    while perf_counter() - start < arguments.seconds:
        if n_rows <= 10:
            columns_found = search_columns(n_bits, n_rows, distance, seed=arguments.seed + turn, n_rounds=500)
            if columns_found is not None:
                columns = "".join(f"{column:0{-(-n_rows // 4)}x}" for column in columns_found)
                print((n_bits, n_rows, distance, 1, (0b11,) * n_rows, columns))
                return
        for order in orders:
            for blocks in block_choices(n_rows, order):
                orbits = orbit_table(blocks)
                seed = arguments.seed + turn
                found = search_orbits(orbits, order, n_bits, distance, seed=seed, n_steps=400, margin=turn % 3)
                if found is not None:
                    width = -(-n_rows // 4)
                    columns = "".join(f"{column:0{width}x}" for column in found)
                    print((n_bits, n_rows, distance, order, blocks, columns))
                    return
                if perf_counter() - start > arguments.seconds:
                    break
        turn += 1
    print("nothing found")


if __name__ == "__main__":
    main()
