"""How far apart can n_classes binary words of n_bits bits be?

A(n, d) is the largest number of words of n bits at mutual Hamming distance at least d. Every function here that bounds
A(n, d) from above returns an integer that no code can exceed, computed from integers and fractions alone. Where a
linear programme is solved in floating point, its dual solution only suggests multipliers: they are turned into
fractions, and the bound that those prove is computed exactly. So a bad solver can weaken a bound, never falsify it.

Two facts are used throughout. Puncturing and adding a parity bit give A(n, 2e - 1) = A(n + 1, 2e), so an odd distance
is treated as the even one above it, with one bit more. And for even d some largest code has only words of even weight.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hashcenters.checks import check_count

__all__ = [
    "Bound",
    "averaging",
    "constant_weight",
    "delsarte",
    "gilbert_varshamov",
    "hamming",
    "johnson",
    "max_min_distance",
    "plotkin",
    "refined_delsarte",
    "singleton",
]

# Low degrees carry the bound when the code is small for its length; more columns only cost time (and are never wrong).
_MAX_DEGREE = 32
# Longer words get no constant weight table and no local configurations: both grow with the square of the length.
_MAX_REFINED_BITS = 128
_MAX_CONFIGURATIONS = 1000
_MAX_PROGRAMME_BITS = 1024


class Bound(NamedTuple):
    """An upper bound on the minimum distance, and what proves it.

    Attributes:
        distance: no ``n_classes`` words of ``n_bits`` bits have a larger minimum distance.
        name: the function of this module that excludes ``distance + 1``.
    """

    distance: int
    name: str


def singleton(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance): words stay different when ``distance - 1`` bits are dropped.

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        2^(n - d + 1), or 1 if d > n.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Singleton, Maximum distance q-nary codes, IEEE Trans. Inform. Theory, 1964.

    Examples:
        >>> singleton(8, 5)
        16
    """
    n, d = _check_size(n_bits, distance)
    return 1 << max(0, n - d + 1)


def plotkin(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance) by the mean distance, strongest when the distance is near half the bits or above.

    With d even: 2 floor(d / (2d - n)) if 2d > n; otherwise 4d 2^(n - 2d), because A(n, d) <= 2 A(n - 1, d).

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        The largest number of words that the bound allows.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Plotkin, Binary codes with specified minimum distance, IRE Trans. Inform. Theory, 1960.

    Examples:
        >>> plotkin(16, 8), plotkin(24, 13), plotkin(8, 9)
        (32, 8, 1)
    """
    n, d = _even(*_check_size(n_bits, distance))
    if d > n:
        return 1
    if 2 * d > n:
        return 2 * (d // (2 * d - n))
    return 4 * d << (n - 2 * d)


def hamming(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance) by packing: balls of radius floor((d - 1) / 2) around the words do not meet.

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        The largest number of words that the bound allows.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Hamming, Error detecting and error correcting codes, Bell System Tech. J., 1950.

    Examples:
        >>> hamming(7, 3), hamming(24, 8)
        (16, 4096)
    """
    n, d = _even(*_check_size(n_bits, distance))
    if d > n:
        return 1
    return (1 << (n - 1)) // _ball(n - 1, d // 2 - 1)


def constant_weight(n_bits: int, distance: int, weight: int) -> int:
    """Bound A(n, d, w): how many words with exactly ``weight`` ones have mutual distance at least ``distance``?

    The best of A(n, d, w) <= n A(n-1, d, w-1) / w, A(n, d, w) <= n A(n-1, d, w) / (n-w), each rounded down at every
    step, and of counting the pairs of ones bit by bit: m words with mw = kn + t ones, 0 <= t < n, overlap in at least
    nk(k-1) + 2kt ordered pairs of ones, and in at most (w - d/2) m(m-1).

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1; distances within one weight are even, so 2e-1 counts as 2e.
        weight: number of ones w, 0..n_bits.

    Returns:
        The largest number of words that the bound allows.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is too small, or ``weight`` exceeds ``n_bits``.

    Source:
        Johnson, A new upper bound for error-correcting codes, IRE Trans. Inform. Theory, 1962; MacWilliams and Sloane,
        The Theory of Error-Correcting Codes, chapter 17, theorems 2 to 4.

    Examples:
        >>> constant_weight(24, 8, 8), constant_weight(13, 6, 3)
        (759, 4)
    """
    n, d = _check_size(n_bits, distance)
    w = check_count(weight, "weight", least=0)
    if w > n:
        raise ValueError(f"weight must be at most n_bits={n}, got {w}")
    return _constant_weight_row(n, d + d % 2)[w]


def johnson(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance) by packing, counting also the words just outside the balls of ``hamming``.

    With d = 2e + 1, a word at distance e + 1 from a code word and outside every ball is that far from at most
    floor(n / (e+1)) code words; A(n, 2e+2, 2e+1) from ``constant_weight`` says how many such words there are.

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        The largest number of words that the bound allows.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Johnson 1962; MacWilliams and Sloane, chapter 17, theorem 13.

    Examples:
        >>> johnson(24, 9), hamming(24, 9)
        (908, 1295)
    """
    n, d = _even(*_check_size(n_bits, distance))
    if d > n:
        return 1
    n, e = n - 1, d // 2 - 1
    inside = math.comb(n, e + 1)
    if 2 * e + 1 <= n:
        inside -= math.comb(2 * e + 1, e) * _constant_weight_row(n, d)[2 * e + 1]
    outside = Fraction(max(0, inside), n // (e + 1))
    return math.floor((1 << n) / (_ball(n, e) + outside))


def delsarte(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance) by Delsarte's linear programme, or by Plotkin and Hamming where they are lower.

    A_i, the mean number of words at distance i from a word, satisfies sum_i A_i K_k(i) >= -C(n, k) for every k, with
    K_k the Krawtchouk polynomial. The programme maximises 1 + sum_i A_i. Degrees k above 32 are left out: for small
    distances of long words, where the value is astronomical, the bound gets weaker by it and stays true.

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        The largest number of words that the bound allows, at most that of ``plotkin`` and ``hamming``.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Delsarte, An algebraic approach to the association schemes of coding theory, 1973.

    Examples:
        >>> delsarte(24, 8), delsarte(13, 6), delsarte(17, 6)
        (4096, 40, 425)
    """
    return _delsarte(*_even(*_check_size(n_bits, distance)))


def refined_delsarte(n_bits: int, distance: int) -> int:
    """Bound A(n_bits, distance) by Delsarte's programme with what else is known about codes.

    * Around every code word: at most A(n, d, i) words at distance i; and how many words lie at the large distances
      together is limited to an enumerated set of configurations, whose convex hull contains the mean (A_i).
    * Parity of the size M: every character sum of the code is odd if M is, and twice an odd number for the characters
      orthogonal to the sum of all words if M = 2 mod 4. So sum_i A_i K_k(i) >= C(n, k) (1/M - 1), respectively
      >= C(n, k) (2/M - 1) + 2 K_k(l) / M for some even l. If no A_i fit, there is no code of M words, nor a larger one.
    * A(n, d) <= 2 A(n - 1, d).

    Words longer than 128 bits get ``delsarte`` alone.

    Args:
        n_bits: word length n, at least 1.
        distance: minimum distance d in bits, at least 1.

    Returns:
        The largest number of words that the bound allows, at most that of ``delsarte``.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is smaller than 1.

    Source:
        Best, Brouwer, MacWilliams, Odlyzko and Sloane, Bounds for binary codes of length less than 25, IEEE Trans.
        Inform. Theory, 1978. The configurations at several large distances together are this library's.

    Examples:
        >>> refined_delsarte(9, 4), refined_delsarte(13, 6), refined_delsarte(17, 6), refined_delsarte(33, 16)
        (20, 32, 340, 77)
    """
    n, d = _even(*_check_size(n_bits, distance))
    bound = _delsarte(n, d)
    if n - 1 > _MAX_REFINED_BITS:
        return bound
    for length in range(n, max(0, n - 2), -1):
        size = min(_delsarte(length, d), _local(length, d))
        while size > 2 and _parity_excludes(length, d, size):
            size -= 1
        bound = min(bound, size * 2 ** (n - length))
    return bound


def averaging(n_classes: int, n_bits: int) -> int:
    """Bound the minimum distance by the largest possible mean distance, that of balanced bits.

    A bit with as many ones as zeros (give or take one) separates floor(m/2) ceil(m/2) of the C(m, 2) pairs, and no bit
    separates more.

    Args:
        n_classes: number of words m, 2..2^n_bits.
        n_bits: word length, at least 1.

    Returns:
        floor(n_bits floor(m/2) ceil(m/2) / C(m, 2)), in bits.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is too small, or ``n_classes`` exceeds 2^n_bits.

    Source:
        Plotkin 1960.

    Examples:
        >>> averaging(100, 64), averaging(2, 64)
        (32, 64)
    """
    m, n = _check_fit(n_classes, n_bits)
    return n * (m // 2) * ((m + 1) // 2) // math.comb(m, 2)


def gilbert_varshamov(n_classes: int, n_bits: int) -> int:
    """Return a minimum distance that surely can be had: choosing words greedily never fails at it.

    As long as (n_classes - 1) sum_{i<d} C(n_bits, i) < 2^n_bits, the balls of radius d - 1 around all words chosen so
    far leave a word uncovered.

    Args:
        n_classes: number of words, 2..2^n_bits.
        n_bits: word length, at least 1.

    Returns:
        The largest such d, in bits.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is too small, or ``n_classes`` exceeds 2^n_bits.

    Source:
        Gilbert, A comparison of signalling alphabets, Bell System Tech. J., 1952.

    Examples:
        >>> gilbert_varshamov(100, 64), gilbert_varshamov(2, 64)
        (23, 64)
    """
    m, n = _check_fit(n_classes, n_bits)
    distance, term, ball = 0, 1, 1  # ball = sum of C(n, i) over i <= distance, term = its last summand
    while (m - 1) * ball < 2**n:
        distance += 1
        term = term * (n - distance + 1) // distance
        ball += term
    return distance


def max_min_distance(n_classes: int, n_bits: int) -> Bound:
    """Bound the minimum distance of ``n_classes`` words by all means of this module.

    The simplest sufficient proof is named: ``plotkin``, ``hamming``, ``johnson``, ``delsarte``,
    ``refined_delsarte``, in this order. Johnson and the refinement are tried up to 128 bits, the linear
    programme up to 1,024. Results are cached.

    Args:
        n_classes: number of words, 2..2^n_bits.
        n_bits: word length, at least 1.

    Returns:
        The largest distance that no bound excludes, in bits, and the name of the bound that excludes the next one.

    Raises:
        TypeError: an argument is not an int.
        ValueError: an argument is too small, or ``n_classes`` exceeds 2^n_bits.

    Examples:
        >>> max_min_distance(100, 64)
        Bound(distance=32, name='plotkin')
        >>> max_min_distance(80, 32)
        Bound(distance=14, name='refined_delsarte')
    """
    return _max_min_distance(*_check_fit(n_classes, n_bits))


@lru_cache(maxsize=4096)
def _max_min_distance(m: int, n: int) -> Bound:
    reachable, excluded = gilbert_varshamov(m, n), n + 1

    def simple(d: int) -> bool:
        return plotkin(n, d) < m or hamming(n, d) < m

    def linear(d: int) -> bool:
        return simple(d) or (n <= _MAX_PROGRAMME_BITS and _delsarte(*_even(n, d)) < m)

    low = reachable
    while excluded - low > 1:
        middle = (low + excluded) // 2
        low, excluded = (low, middle) if simple(middle) else (middle, excluded)
    if 2 * _even(n, low)[1] >= _even(n, low)[0]:
        reachable = low  # Levenshtein's codes reach Plotkin's bound here if Hadamard matrices exist: nothing to gain
    while n <= _MAX_REFINED_BITS and excluded - 1 > reachable and johnson(n, excluded - 1) < m:
        excluded -= 1
    # The programme seldom gains more than a few bits, so ask nearby first, then halve.
    step, low = 1, reachable
    while excluded - low > 1:
        probe = max(excluded - step, (low + excluded) // 2)
        if linear(probe):
            excluded, step = probe, 2 * step
        else:
            low = probe
    while excluded - 1 > reachable and _refined_excludes(*_even(n, excluded - 1), m):
        excluded -= 1
    return Bound(excluded - 1, _simplest_proof(m, n, excluded))


def _simplest_proof(m: int, n: int, d: int) -> str:
    for bound in (plotkin, hamming, *([johnson] if n <= _MAX_REFINED_BITS else []), delsarte):
        if bound(n, d) < m:
            return bound.__name__
    return refined_delsarte.__name__


def _refined_excludes(n: int, d: int, m: int) -> bool:
    """Say whether ``refined_delsarte``'s arguments exclude m words, d even, without looking for the least bound."""
    if n - 1 > _MAX_REFINED_BITS:
        return False
    for length, size in ((n, m), (max(1, n - 1), (m + 1) // 2)):
        # Neighbourhoods lower the bound by a fifth, seldom a quarter: farther away the effort is in vain.
        if 2 * _delsarte(length, d) >= 3 * size:
            continue
        bound = min(_delsarte(length, d), _local(length, d))
        # Parity takes off about one word (odd sizes) or two.
        if bound < size or (bound < size + 4 and _parity_excludes(length, d, size)):
            return True
    return False


@lru_cache(maxsize=1024)
def _delsarte(n: int, d: int) -> int:
    simple = min(plotkin(n, d), hamming(n, d))
    bound = _certified(n, d) if d <= n else None
    return simple if bound is None else min(simple, math.floor(bound))


@lru_cache(maxsize=1024)
def _local(n: int, d: int) -> int:
    """Delsarte's programme with the neighbourhoods of ``refined_delsarte``, d even."""
    bound = _certified(n, d, neighbourhood=_neighbourhood(n, d)) if d <= n else None
    return plotkin(n, d) if bound is None else math.floor(bound)


@lru_cache(maxsize=1024)
def _parity_excludes(n: int, d: int, size: int) -> bool:
    """Say whether the parity of ``size`` rules out a code of that many words, d even."""
    if size % 4 == 0 or d > n:
        return False
    neighbourhood = _neighbourhood(n, d)
    degrees = range(1, _degree(n) + 1)
    if size % 2:
        surpluses = [[Fraction(1, size)] * len(degrees)]
    else:
        # K_k(l) / C(n, k) = K_l(k) / C(n, l), which is what the table holds.
        table = _krawtchouk(n)
        surpluses = [
            [Fraction(2, size) * (1 + Fraction(table[weight][k], math.comb(n, weight))) for k in degrees]
            for weight in range(0, n + 1, 2)
        ]
    for surplus in surpluses:
        bound = _certified(n, d, neighbourhood=neighbourhood, surplus=surplus)
        if bound is None or bound >= size:
            return False
    return True


class _Neighbourhood(NamedTuple):
    """What the words around a code word can look like.

    ``caps[i]`` limits the words at distance i. ``configurations`` holds numbers of words at the distances n_bits - w, w
    in ``coweights``; every possible vector of such numbers is at most one of them in all places.
    """

    caps: tuple[int, ...]
    coweights: tuple[int, ...]
    configurations: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=256)
def _neighbourhood(n: int, d: int) -> _Neighbourhood:
    """Enumerate the configurations at large distances, complemented: sets of words of the small weights ``coweights``.

    Words of weights v and w overlap in at most (v + w - d) / 2 ones. The count of ``constant_weight`` limits how
    many words the overlaps allow in total; words that must not overlap at all share out the bits. A configuration that
    contains an impossible one is impossible, so the enumeration may stop at the first failure.
    """
    caps = _constant_weight_row(n, d)
    coweights: list[int] = []
    found: list[tuple[tuple[int, ...], int, int]] = [((), 0, 0)]  # (numbers, words, ones)
    for weight in range(n % 2, n - d + 1, 2):
        apart = [_constant_weight_row(n - v, d)[weight] if v + weight == d else 0 for v in coweights]
        room = [_constant_weight_row(n - weight, d)[v] if v + weight == d else 0 for v in coweights]
        longer = []
        for numbers, words, ones in found:
            for count in range(caps[weight] + 1):
                total, all_ones = words + count, ones + count * weight
                k, t = divmod(all_ones, n)
                if n * k * (k - 1) + 2 * k * t > (total - 1) * all_ones - total * (total - 1) * d // 2 and count:
                    break
                if count and any(
                    number and v + weight <= d and (count > apart[j] or number > room[j])
                    for j, (v, number) in enumerate(zip(coweights, numbers, strict=True))
                ):
                    break
                longer.append(((*numbers, count), total, all_ones))
            if len(longer) > _MAX_CONFIGURATIONS:
                break
        if len(longer) > _MAX_CONFIGURATIONS:
            break
        coweights.append(weight)
        found = longer
    all_numbers = {numbers for numbers, _, _ in found}
    maximal = [
        numbers
        for numbers in sorted(all_numbers)
        if not any((*numbers[:j], numbers[j] + 1, *numbers[j + 1 :]) in all_numbers for j in range(len(numbers)))
    ]
    return _Neighbourhood(caps, tuple(coweights), tuple(maximal))


def _certified(
    n: int,
    d: int,
    *,
    neighbourhood: _Neighbourhood | None = None,
    surplus: Sequence[Fraction] | None = None,
) -> Fraction | None:
    """Return a proven bound on 1 + sum_i A_i for d even, or None if the solver offers nothing that proves one.

    The programme: sum_i A_i K_k(i) / C(n, k) >= surplus_k - 1 for each degree k, and the neighbourhood. Multipliers
    y_k >= 0 of these rows, c_i >= 0 of the caps and g_i >= 0 of the configurations with
    c_i + g_i - sum_k y_k K_k(i) / C(n, k) >= t > 0 for every distance i prove
    t sum_i A_i <= sum_k y_k (1 - surplus_k) + sum_i c_i cap_i + max over configurations f of sum_i g_i f_i.
    HiGHS proposes y, c and g for t = 1; t and the right side are then computed without rounding.
    """
    from scipy.optimize import linprog

    table, degree = _krawtchouk(n), _degree(n)
    distances = list(range(d, n + 1, 2))
    counts = [math.comb(n, i) for i in distances]
    near: list[int] = []  # distances capped one by one
    far: list[int] = []  # distances limited by configurations
    caps: list[int] = []
    configurations: tuple[tuple[int, ...], ...] = ()
    if neighbourhood is not None:
        configurations = neighbourhood.configurations
        far = [n - w for w in neighbourhood.coweights]
        most = min(plotkin(n, d), hamming(n, d))
        near = [i for i in distances if i not in far and neighbourhood.caps[i] < most - 1]
        caps = [neighbourhood.caps[i] for i in near]

    # Unknowns: y by degree, c by near distance, g by far distance, then the maximum over configurations.
    n_unknowns = degree + len(near) + len(far) + 1
    costs = np.zeros(n_unknowns)
    costs[:degree] = 1 if surplus is None else [float(1 - s) for s in surplus]
    costs[degree : degree + len(near)] = caps
    costs[-1] = 1
    rows = np.zeros((len(distances) + len(configurations), n_unknowns))
    for row, i, count in zip(rows, distances, counts, strict=False):
        row[:degree] = [value / count for value in table[i][1 : degree + 1]]
        if i in near:
            row[degree + near.index(i)] = -1
        if i in far:
            row[degree + len(near) + far.index(i)] = -1
    for row, numbers in zip(rows[len(distances) :], configurations, strict=True):
        row[degree + len(near) : -1] = numbers
        row[-1] = -1
    right = np.zeros(len(rows))
    right[: len(distances)] = -1
    tolerance = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
    solution = linprog(costs, A_ub=rows, b_ub=right, method="highs-ds", options=tolerance)
    if solution.x is None or not np.isfinite(solution.x).all():
        return None

    scaled = [max(0, int(value * 2.0**60)) for value in solution.x]  # exact: a float is a fraction over a power of two
    y, c, g = scaled[:degree], scaled[degree : degree + len(near)], scaled[degree + len(near) : -1]
    given = dict(zip([*near, *far], [*c, *g], strict=True))
    slack = min(
        Fraction(given.get(i, 0)) - Fraction(sum(map(operator.mul, y, table[i][1 : degree + 1])), count)
        for i, count in zip(distances, counts, strict=True)
    )
    if slack <= 0:
        return None
    total = sum((v * (1 - s) for v, s in zip(y, surplus, strict=True)), Fraction(0)) if surplus else Fraction(sum(y))
    total += sum(v * cap for v, cap in zip(c, caps, strict=True))
    total += max((sum(v * f for v, f in zip(g, numbers, strict=True)) for numbers in configurations), default=0)
    return 1 + total / slack


@lru_cache(maxsize=16)
def _krawtchouk(n: int) -> tuple[tuple[int, ...], ...]:
    """Return K_i(k) for i = 0..n (first index) and k = 0..degree. Note K_i(k) / C(n, i) = K_k(i) / C(n, k)."""
    degrees = range(_degree(n) + 1)
    rows = [[1 for _ in degrees], [n - 2 * k for k in degrees]]
    for i in range(1, n):
        rows.append(
            [((n - 2 * k) * b - (n - i + 1) * a) // (i + 1) for k, a, b in zip(degrees, *rows[-2:], strict=True)]
        )
    return tuple(tuple(row) for row in rows)


def _degree(n: int) -> int:
    # For words of even weight the rows of k and n - k say the same.
    return min(n // 2, _MAX_DEGREE)


@lru_cache(maxsize=256)
def _constant_weight_row(n: int, d: int) -> tuple[int, ...]:
    """Return ``constant_weight`` for all weights 0..n, d even."""
    half = d // 2
    row = [1]
    for length in range(1, n + 1):
        longer = [1] * (length + 1)
        for w in range(half, length // 2 + 1):
            size = min(length * row[w - 1] // w, length * row[w] // (length - w))
            denominator = w * w - w * length + half * length
            if denominator > 0:
                size = min(size, half * length // denominator)
                while size > 1:
                    k, t = divmod(size * w, length)
                    if length * k * (k - 1) + 2 * k * t <= (w - half) * size * (size - 1):
                        break
                    size -= 1
            longer[w] = longer[length - w] = size
        row = longer
    return tuple(row)


def _ball(n: int, radius: int) -> int:
    term = total = 1
    for i in range(1, min(radius, n) + 1):
        term = term * (n - i + 1) // i
        total += term
    return total


def _even(n: int, d: int) -> tuple[int, int]:
    return n + d % 2, d + d % 2


def _check_size(n_bits: int, distance: int) -> tuple[int, int]:
    return check_count(n_bits, "n_bits"), check_count(distance, "distance")


def _check_fit(n_classes: int, n_bits: int) -> tuple[int, int]:
    m, n = check_count(n_classes, "n_classes", least=2), check_count(n_bits, "n_bits")
    if m > 2**n:
        raise ValueError(f"n_classes must be at most 2**n_bits = {2**n} (n_bits={n}), got {m}; use more bits")
    return m, n
