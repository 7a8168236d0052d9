"""Center generators of other methods, for comparison: independent bits, OrthoHash's MaxHD, and MDS.

Each is written from its published description and keeps that description's stopping rule. All give the same words for
the same seed on every platform: bits come from raw words of numpy's Philox generator, MaxHD compares integers, and
MDS's floating point runs in loops whose order of operations is fixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashcenters.centers.randomness import CENTER_STREAM, check_seed, random_bits, random_stream
from hashcenters.checks import check_count
from hashcenters.compiling import compiled, popcount

__all__ = ["bernoulli_words", "maxhd_words", "mds_distance", "mds_words"]

Words = NDArray[np.int8]
"""(n_classes, n_bits) of -1 and +1."""

Floats = NDArray[np.float64]

# MaxHD's rule, in hundredths of n_bits and in rejections.
_MAXHD_START, _MAXHD_LEAST, _MAXHD_REJECTIONS = 61, 20, 10_000
# MDS's Lp-box ADMM. The description has a penalty from 1e-5 growing by 1.09; from 0.01 by 1.05, started at a random
# point of the box, it gets stuck far less often.
_PENALTY, _GROWTH, _PENALTY_LIMIT, _STEP, _TOLERANCE = 1e-2, 1.05, 1e7, 1.618, 1e-3


def bernoulli_words(n_classes: int, n_bits: int, *, seed: int = 0) -> Words:
    """Independent fair bits, the simplest centers (they may coincide).

    Args:
        n_classes: number of words.
        n_bits: length of a word.
        seed: which words are drawn.

    Returns:
        int8 (n_classes, n_bits) of -1 and +1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: a size is below 1, ``seed`` is negative, or there are fewer than ``n_classes`` words.

    Examples:
        >>> bernoulli_words(2, 8, seed=0)
        array([[ 1,  1, -1, -1,  1, -1,  1,  1],
               [-1,  1, -1, -1, -1,  1, -1,  1]], dtype=int8)
    """
    n_classes, n_bits, seed = _checked(n_classes, n_bits, seed)
    words: Words = 2 * random_bits(seed, n_classes, n_bits, stream=CENTER_STREAM).view(np.int8) - np.int8(1)
    return words


def maxhd_words(n_classes: int, n_bits: int, *, seed: int = 0) -> Words:
    """OrthoHash's "maximum Hamming distance" words: random words, rejected when too near to an accepted one.

    A word is accepted if its distance to every accepted word is at least r * n_bits. r starts at 0.61 and drops by
    0.01 after every 10,000 rejections; the search gives up when r would fall below 0.2. At the end the words are
    shuffled. (The signs of independent normal numbers, as the authors draw them, are independent fair bits.) The rule
    counts rejections, not seconds, so it always ends: after at most 420,000 of them.

    Args:
        n_classes: number of words.
        n_bits: length of a word.
        seed: which words are drawn, and their order.

    Returns:
        int8 (n_classes, n_bits) of -1 and +1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: a size is below 1, ``seed`` is negative, or the search gave up.

    Source:
        Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective",
        NeurIPS 2021, and its code.

    Examples:
        >>> words = maxhd_words(10, 16, seed=0).astype(int)
        >>> int((16 - words @ words.T)[np.triu_indices(10, 1)].min() // 2)
        8
    """
    n_classes, n_bits, seed = _checked(n_classes, n_bits, seed)
    generator = random_stream(seed, CENTER_STREAM)
    accepted = np.empty((n_classes, _n_words(n_bits)), dtype=np.uint64)
    n_accepted, hundredths, rejections = 0, _MAXHD_START, 0
    while n_accepted < n_classes:
        if hundredths < _MAXHD_LEAST:
            raise ValueError(
                f"maxhd found only {n_accepted} of n_classes={n_classes} words of n_bits={n_bits} at a distance of "
                f"{_MAXHD_LEAST / 100} * n_bits or more, where OrthoHash's rule gives up; take more bits"
            )
        candidates = _draw(generator, 4096, n_bits)
        n_accepted, hundredths, rejections = _reject(
            candidates, accepted, n_bits, n_accepted, hundredths, rejections, _MAXHD_LEAST, _MAXHD_REJECTIONS
        )
    order = np.argsort(generator.random_raw(n_classes), kind="stable")
    return _signs(accepted[order], n_bits)


def mds_distance(n_classes: int, n_bits: int) -> int:
    """The minimum distance at which MDS stops: the smallest d with n_classes * sum_{i<d} C(n_bits, i) >= 2^n_bits.

    It lies one step above what the Gilbert-Varshamov bound guarantees, and usually below what is possible.

    Args:
        n_classes: number of words.
        n_bits: length of a word.

    Returns:
        The distance in bits.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: a size is below 1.

    Source:
        Wang et al., "Deep Hashing with Minimal-Distance-Separated Hash Centers", CVPR 2023.

    Examples:
        >>> [mds_distance(100, n_bits) for n_bits in (16, 32, 48, 64)]
        [4, 10, 17, 24]
    """
    n_classes, n_bits = check_count(n_classes, "n_classes"), check_count(n_bits, "n_bits")
    ball, distance = 0, 0
    while n_classes * ball < 2**n_bits:
        ball += math.comb(n_bits, distance)
        distance += 1
    return distance


def mds_words(n_classes: int, n_bits: int, *, seed: int = 0, max_sweeps: int = 50) -> Words:
    """Minimal-distance-separated words: cyclic minimisation by Lp-box ADMM until the minimum distance reaches its goal.

    Sweep after sweep, each word in turn is replaced by the solution of

        minimise <x, mean of the other words>  subject to  x in {-1, +1}^n_bits, <x, h_j> <= n_bits - 2 d for all j

    with d = ``mds_distance``. ``x in {-1, +1}^n_bits`` is written as the intersection of a box and a sphere, and
    the alternating direction method of multipliers meets all three constraints by a growing penalty; its signs are the
    word. The start is [H; -H] of the Sylvester-Hadamard matrix, filled up by random words, where n_bits is a power of
    two, and random words elsewhere. The search ends when the minimum distance is at least d, or after ``max_sweeps``;
    of all sweeps it returns the set with the largest mean + min - variance of the pairwise distances.

    Beside the schedule of the penalty, one thing differs from the authors' procedure: a word is replaced only if its
    nearest neighbour does not come nearer, so the minimum distance never falls. Without it the method reaches its goal
    much later or not at all. The goal may be missed all the same: measure what was reached.

    Args:
        n_classes: number of words.
        n_bits: length of a word.
        seed: the random words of the start and the starting points of the solver.
        max_sweeps: how many times each word is reconsidered at most.

    Returns:
        int8 (n_classes, n_bits) of -1 and +1.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: a size is below 1, ``seed`` or ``max_sweeps`` is negative, or there are fewer than ``n_classes``
            words.

    Source:
        Wang et al., "Deep Hashing with Minimal-Distance-Separated Hash Centers", CVPR 2023; for the solver Wu and
        Ghanem, "Lp-Box ADMM: A Versatile Framework for Integer Programming", TPAMI 2019.

    Examples:
        >>> words = mds_words(40, 16, seed=0).astype(int)
        >>> int((16 - words @ words.T)[np.triu_indices(40, 1)].min() // 2), mds_distance(40, 16)
        (5, 5)
    """
    n_classes, n_bits, seed = _checked(n_classes, n_bits, seed)
    max_sweeps = check_count(max_sweeps, "max_sweeps", least=0)
    distance = mds_distance(n_classes, n_bits)
    generator = random_stream(seed, CENTER_STREAM)
    words = _signs(_draw(generator, n_classes, n_bits), n_bits).astype(np.float64)
    if n_bits & (n_bits - 1) == 0:
        start = _doubled_sylvester(n_bits)[:n_classes]
        words[: len(start)] = start
    best, best_score = words.copy(), _score(words)
    for _ in range(max_sweeps):
        if n_classes == 1 or best_score.min_distance >= distance:
            break
        # 53 random bits a number, uniform on [-1, 1).
        points = (generator.random_raw(words.size).reshape(words.shape) >> np.uint64(11)) * 2.0**-52 - 1.0
        _sweep(words, points, float(n_bits - 2 * distance), _PENALTY, _GROWTH, _PENALTY_LIMIT, _STEP, _TOLERANCE)
        score = _score(words)
        if score.total > best_score.total:
            best, best_score = words.copy(), score
    result: Words = best.astype(np.int8)
    return result


# Randomness and bits
# ---------------------------------------------------------------------------------------------------------------------


def _checked(n_classes: int, n_bits: int, seed: int) -> tuple[int, int, int]:
    n_classes, n_bits = check_count(n_classes, "n_classes"), check_count(n_bits, "n_bits")
    if (n_classes - 1).bit_length() > n_bits:
        raise ValueError(f"n_classes={n_classes} words of n_bits={n_bits} cannot differ: there are only {2**n_bits}")
    return n_classes, n_bits, check_seed(seed)


def _n_words(n_bits: int) -> int:
    return -(-n_bits // 64)


def _draw(generator: np.random.Philox, n_rows: int, n_bits: int) -> NDArray[np.uint64]:
    """Random bits, 64 a word, lowest bit first; the bits beyond n_bits are 0."""
    n_words = _n_words(n_bits)
    raw = generator.random_raw(n_rows * n_words).reshape(n_rows, n_words)
    raw[:, -1] &= np.uint64(2 ** (n_bits - 64 * (n_words - 1)) - 1)
    return raw


def _signs(raw: NDArray[np.uint64], n_bits: int) -> Words:
    """Packed words to ±1, bit 1 to +1."""
    octets = np.ascontiguousarray(raw.astype("<u8")).view(np.uint8)
    bits = np.unpackbits(octets, axis=1, count=n_bits, bitorder="little").view(np.int8)
    signs: Words = 2 * bits - np.int8(1)
    return signs


# MaxHD
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _reject(
    candidates: NDArray[np.uint64],
    accepted: NDArray[np.uint64],
    n_bits: int,
    n_accepted: int,
    hundredths: int,
    rejections: int,
    least: int,
    max_rejections: int,
) -> tuple[int, int, int]:
    """Feed candidates to MaxHD's rule; fills ``accepted`` and returns the three counters."""
    n_words = accepted.shape[1]
    for row in range(len(candidates)):
        if n_accepted == len(accepted) or hundredths < least:
            break
        needed = (hundredths * n_bits + 99) // 100
        near = False
        for other in range(n_accepted):
            distance = np.uint64(0)
            for word in range(n_words):
                distance += popcount(candidates[row, word] ^ accepted[other, word])
            if distance < np.uint64(needed):
                near = True
                break
        if near:
            rejections += 1
            if rejections == max_rejections:
                rejections = 0
                hundredths -= 1
        else:
            accepted[n_accepted] = candidates[row]
            n_accepted += 1
    return n_accepted, hundredths, rejections


# MDS
# ---------------------------------------------------------------------------------------------------------------------


class _Score(NamedTuple):
    total: float
    min_distance: int


def _score(words: Floats) -> _Score:
    """MDS's measure of a set: mean + min - variance of the distances of all pairs."""
    if len(words) == 1:
        return _Score(0.0, words.shape[1])
    distances = ((words.shape[1] - words @ words.T) / 2)[np.triu_indices(len(words), 1)].astype(np.int64)
    # From integer sums, so that no order of summation matters.
    count, total, squares = len(distances), int(distances.sum()), int((distances**2).sum())
    least = int(distances.min())
    return _Score(total / count + least - (squares * count - total * total) / count**2, least)


def _doubled_sylvester(n_bits: int) -> Floats:
    """[H; -H] of the Sylvester-Hadamard matrix."""
    matrix = np.ones((1, 1))
    while len(matrix) < n_bits:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.concatenate([matrix, -matrix])


@compiled
def _inverse(matrix: Floats) -> Floats:
    """Inverse of a symmetric positive definite matrix by Gauss-Jordan elimination, in a fixed order of operations."""
    size = len(matrix)
    result: Floats = matrix.copy()
    for pivot in range(size):
        scale = 1.0 / result[pivot, pivot]
        result[pivot, pivot] = 1.0
        for column in range(size):
            result[pivot, column] *= scale
        for row in range(size):
            if row != pivot:
                factor = result[row, pivot]
                result[row, pivot] = 0.0
                for column in range(size):
                    result[row, column] -= factor * result[pivot, column]
    return result


@compiled
def _add_products(out: Floats, matrix: Floats, weights: Floats) -> None:
    """Out += weights @ matrix, row by row: fast without reordering sums, so the same on every machine."""
    for row in range(len(matrix)):
        weight = weights[row]
        for column in range(len(out)):
            out[column] += weight * matrix[row, column]


@compiled
def _solve_word(
    others: Floats,
    others_t: Floats,
    inverse: Floats,
    cost: Floats,
    start: Floats,
    limit: float,
    penalty: float,
    growth: float,
    penalty_limit: float,
    step: float,
    tolerance: float,
) -> Floats:
    """Lp-box ADMM for: minimise <cost, x>, x in {-1, 1}^n_bits, others @ x <= limit. ``inverse`` = (2 I + O'O)^-1.

    Multipliers are divided by the penalty throughout, so they shrink when it grows.
    """
    n_others, n_bits = others.shape
    x, box, sphere = start.copy(), start.copy(), start.copy()
    y_box, y_sphere, y_slack = np.zeros(n_bits), np.zeros(n_bits), np.zeros(n_others)
    products = np.zeros(n_others)
    _add_products(products, others_t, x)
    slack = np.maximum(0.0, limit - products)
    weighted_cost = cost / penalty
    while penalty < penalty_limit:
        right = box + sphere - y_box - y_sphere - weighted_cost
        _add_products(right, others, limit - slack - y_slack)
        x[:] = 0.0
        _add_products(x, inverse, right)
        products[:] = 0.0
        _add_products(products, others_t, x)
        norm = 0.0
        for bit in range(n_bits):
            norm += (x[bit] + y_sphere[bit]) ** 2
        scale = math.sqrt(n_bits / norm) if norm > 0.0 else 0.0
        gap = 0.0
        for bit in range(n_bits):
            box[bit] = min(1.0, max(-1.0, x[bit] + y_box[bit]))
            sphere[bit] = (x[bit] + y_sphere[bit]) * scale
            gap = max(gap, abs(x[bit] - box[bit]), abs(x[bit] - sphere[bit]))
            y_box[bit] += step * (x[bit] - box[bit])
            y_sphere[bit] += step * (x[bit] - sphere[bit])
        for other in range(n_others):
            slack[other] = max(0.0, limit - products[other] - y_slack[other])
            y_slack[other] += step * (products[other] + slack[other] - limit)
        if gap < tolerance:
            break
        penalty *= growth
        y_box /= growth
        y_sphere /= growth
        y_slack /= growth
        weighted_cost /= growth
    return np.where(x >= 0.0, 1.0, -1.0)


@compiled
def _sweep(
    words: Floats,
    starts: Floats,
    limit: float,
    penalty: float,
    growth: float,
    penalty_limit: float,
    step: float,
    tolerance: float,
) -> None:
    """Reconsider every word once, in order, in place."""
    n_classes, n_bits = words.shape
    others = words[1:].copy()
    gram = 2.0 * np.eye(n_bits)  # 2 I + sum of h h', exact integers
    total = np.zeros(n_bits)
    for row in range(n_classes):
        total += words[row]
        for bit in range(n_bits):
            gram[bit] += words[row, bit] * words[row]
    for row in range(n_classes):
        if row > 0:
            others[row - 1] = words[row - 1]
        old = words[row].copy()
        others_t = others.T.copy()
        rest = gram.copy()
        for bit in range(n_bits):
            rest[bit] -= old[bit] * old
        cost = (total - old) / (n_classes - 1)
        new = _solve_word(
            others,
            others_t,
            _inverse(rest),
            cost,
            starts[row],
            limit,
            penalty,
            growth,
            penalty_limit,
            step,
            tolerance,
        )
        nearest_old, nearest_new = np.zeros(n_classes - 1), np.zeros(n_classes - 1)
        _add_products(nearest_old, others_t, old)
        _add_products(nearest_new, others_t, new)
        if nearest_new.max() <= nearest_old.max():
            words[row] = new
            total += new - old
            for bit in range(n_bits):
                gram[bit] += new[bit] * new - old[bit] * old
