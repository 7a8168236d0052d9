"""Retrieval metrics as pure functions of distance histograms.

Everywhere ``items`` and ``relevant`` are int64 arrays (n_queries, n_bits + 1): how many items, and how many relevant
items, lie at each Hamming distance from each query. Items at one distance are tied: a metric is the expectation over
all orders of ties, and for average precision the extremes over them too.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from hashcenters.checks import check_count
from hashcenters.compiling import compiled
from hashcenters.retrieval.histogram import CountArray, announced_compilation, run_on_threads
from hashcenters.retrieval.result import APDenominator

__all__ = [
    "AveragePrecision",
    "RadiusCurves",
    "average_precision",
    "exclude_self",
    "precision_at_n",
    "recall_at_n",
    "within_radius",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]


class AveragePrecision(NamedTuple):
    """Average precision of every query, float64 (n_queries,) each.

    Attributes:
        expected: mean over all orders of tied items.
        best: the highest value that any order of ties gives to this query.
        worst: the lowest.
    """

    expected: FloatArray
    best: FloatArray
    worst: FloatArray


class RadiusCurves(NamedTuple):
    """Means over queries for the ball of each radius 0..n_bits around them, float64 (n_bits + 1,) each.

    Attributes:
        precision: share of relevant items in the ball, where an empty ball counts 0.
        precision_nonempty: the same over the queries whose ball is not empty; NaN where all are empty.
        recall: share of the relevant items that lie in the ball; a query without any counts 0.
        empty_share: share of queries whose ball is empty.
    """

    precision: FloatArray
    precision_nonempty: FloatArray
    recall: FloatArray
    empty_share: FloatArray


def average_precision(
    items: CountArray, relevant: CountArray, *, top_k: int | None = None, denominator: APDenominator = "retrieved"
) -> AveragePrecision:
    r"""Average precision of the first ``top_k`` items, exactly, over the orders of ties.

    AP = (1 / D) sum over the relevant items of their precision at their rank, for ranks 1..top_k. D is the number of
    relevant items among the first top_k (``"retrieved"``: the CSQ paper, HashNet, DeepHash), of all relevant items
    (``"relevant"``), or the smaller of top_k and that (``"min"``). AP is 0 where D is 0.

    Let N items, P of them relevant, lie nearer than a bucket of n items, p relevant, at one distance. The bucket adds,
    in expectation, (p/n) sum_{i=1..n} [P + 1 + (i-1)(p-1)/(n-1)] / (N+i). Where top_k leaves s < n places of it, the
    number x of relevant items in these places is hypergeometric, and the expectation runs over x, D included. Best and
    worst put the relevant items of every bucket first or last and take the best or worst x: with ``"retrieved"`` a
    late hit can lower AP. They bound each query; one storage order need not attain them for all queries at once.

    Sums close with harmonic numbers, so a query costs O(n_bits), and O(top_k) at most for the cut bucket.

    Args:
        items: int64 (n_queries, n_bits + 1), items at each distance.
        relevant: int64 (n_queries, n_bits + 1), relevant ones among them.
        top_k: how many items count; None, or more than there are, means all.
        denominator: what the sum is divided by.

    Returns:
        Expected, best and worst AP of every query.

    Raises:
        ValueError: unknown ``denominator``, ``top_k`` below 1, or arrays that are not such counts.

    Examples:
        >>> items, relevant = np.array([[1, 2, 0]]), np.array([[1, 1, 0]])
        >>> average_precision(items, relevant)  # the second relevant item takes rank 2 or 3
        AveragePrecision(expected=array([0.91666667]), best=array([1.]), worst=array([0.83333333]))
    """
    items, relevant = _check_counts(items, relevant)
    if denominator not in get_args(APDenominator):
        raise ValueError(f"denominator must be one of {', '.join(get_args(APDenominator))}, got {denominator!r}")
    limit = _limit(top_k, int(items.sum(axis=1).max(initial=0)))
    result = np.zeros((3, len(items)))
    retrieved = denominator == "retrieved"
    divisors = relevant.sum(axis=1)
    if denominator == "min":
        divisors = np.minimum(divisors, limit)

    def count(first: int, last: int) -> None:
        _average_precisions(items, relevant, limit, retrieved, divisors, first, last, result)

    run_on_threads(_average_precisions, count, len(items), items.shape[1])
    return AveragePrecision(*result)


def precision_at_n(items: CountArray, relevant: CountArray, *, top_k: int | None = None) -> FloatArray:
    """Share of relevant items among the first n, for n = 1, 2, ...: expected over ties, averaged over queries.

    Args:
        items: int64 (n_queries, n_bits + 1), items at each distance; every row sums to the same n_items.
        relevant: int64 (n_queries, n_bits + 1), relevant ones among them.
        top_k: the largest n; None, or more than n_items, means n_items.

    Returns:
        float64 (min(top_k, n_items),); element n - 1 is the precision at n.

    Raises:
        ValueError: ``top_k`` below 1, arrays that are not such counts, or rows with different sums.

    Examples:
        >>> precision_at_n(np.array([[1, 2, 1]]), np.array([[1, 1, 0]]))
        array([1.        , 0.75      , 0.66666667, 0.5       ])
    """
    items, relevant = _check_counts(items, relevant)
    weights = np.full(len(items), 1.0 / max(len(items), 1))
    hits = _expected_hits(items, relevant, top_k, weights)
    return hits / np.arange(1, len(hits) + 1)


def recall_at_n(items: CountArray, relevant: CountArray, *, top_k: int | None = None) -> FloatArray:
    """Share of its relevant items that a query finds among the first n: expected over ties, averaged over queries.

    A query without relevant items counts 0.

    Args:
        items: int64 (n_queries, n_bits + 1), items at each distance; every row sums to the same n_items.
        relevant: int64 (n_queries, n_bits + 1), relevant ones among them.
        top_k: the largest n; None, or more than n_items, means n_items.

    Returns:
        float64 (min(top_k, n_items),); element n - 1 is the recall at n.

    Raises:
        ValueError: ``top_k`` below 1, arrays that are not such counts, or rows with different sums.

    Examples:
        >>> recall_at_n(np.array([[1, 2, 1]]), np.array([[1, 1, 0]]))
        array([0.5 , 0.75, 1.  , 1.  ])
    """
    items, relevant = _check_counts(items, relevant)
    weights = _ratio(1.0, relevant.sum(axis=1)) / max(len(items), 1)
    return np.minimum(_expected_hits(items, relevant, top_k, weights), 1.0)  # rounding may add 1e-12


def within_radius(items: CountArray, relevant: CountArray) -> RadiusCurves:
    """Precision and recall of everything within Hamming radius r, for each r from 0 to n_bits (the paper's P@H<=r).

    Ties do not matter here: an item is inside the ball or not.

    Args:
        items: int64 (n_queries, n_bits + 1), items at each distance.
        relevant: int64 (n_queries, n_bits + 1), relevant ones among them.

    Returns:
        Curves over the radius, averaged over queries.

    Raises:
        ValueError: arrays that are not such counts, or no query.

    Examples:
        >>> curves = within_radius(np.array([[0, 2, 2], [1, 1, 2]]), np.array([[0, 1, 1], [1, 1, 0]]))
        >>> curves.precision, curves.precision_nonempty
        (array([0.5 , 0.75, 0.5 ]), array([1.  , 0.75, 0.5 ]))
        >>> curves.recall, curves.empty_share
        (array([0.25, 0.75, 1.  ]), array([0.5, 0. , 0. ]))
    """
    items, relevant = _check_counts(items, relevant)
    n_queries = len(items)
    if not n_queries:
        raise ValueError("items and relevant must have at least one row (a query), got none")
    precision_sums, recall_sums = np.zeros(items.shape[1]), np.zeros(items.shape[1])
    n_nonempty = np.zeros(items.shape[1], np.int64)
    with announced_compilation(_radius_sums):
        _radius_sums(items, relevant, precision_sums, recall_sums, n_nonempty)
    nonempty = np.full(len(n_nonempty), math.nan)
    np.divide(precision_sums, n_nonempty, out=nonempty, where=n_nonempty > 0)
    return RadiusCurves(precision_sums / n_queries, nonempty, recall_sums / n_queries, 1.0 - n_nonempty / n_queries)


def exclude_self(items: CountArray, relevant: CountArray) -> tuple[CountArray, CountArray]:
    """Take one relevant item at distance 0 out of every query's counts: the query itself, found in the database.

    Args:
        items: int64 (n_queries, n_bits + 1), items at each distance. Not changed.
        relevant: int64 (n_queries, n_bits + 1), relevant ones among them. Not changed.

    Returns:
        New items and relevant.

    Raises:
        ValueError: a query has no relevant item at distance 0, so it cannot be in the database.

    Examples:
        >>> exclude_self(np.array([[2, 1]]), np.array([[1, 1]]))
        (array([[1, 1]]), array([[0, 1]]))
    """
    items, relevant = _check_counts(items, relevant)
    missing = np.flatnonzero(relevant[:, 0] == 0)
    if len(missing):
        raise ValueError(
            f"exclude_self needs every query in the database, but {len(missing)} of {len(items)} queries have no item "
            "with their own code and label there; evaluate them without exclude_self"
        )
    items, relevant = items.copy(), relevant.copy()
    items[:, 0] -= 1
    relevant[:, 0] -= 1
    return items, relevant


def _check_counts(items: CountArray, relevant: CountArray) -> tuple[CountArray, CountArray]:
    items, relevant = np.asarray(items), np.asarray(relevant)
    for name, counts in (("items", items), ("relevant", relevant)):
        if counts.ndim != 2 or counts.shape != items.shape or not np.issubdtype(counts.dtype, np.integer):
            raise ValueError(
                f"items and relevant must be integer arrays of one shape (n_queries, n_bits + 1), got {name} of "
                f"{counts.dtype} and shape {counts.shape}"
            )
    if (relevant > items).any() or relevant.min(initial=0) < 0:
        raise ValueError("relevant must lie between 0 and items everywhere; is it the counts of the same database?")
    return _kernel_layout(items), _kernel_layout(relevant)


def _kernel_layout(counts: CountArray) -> CountArray:
    """Return the counts, copied where needed, in the one memory layout that kernels are compiled for."""
    return np.require(counts, np.int64, ["C", "A", "W"])


def _limit(top_k: int | None, n_items: int) -> int:
    return n_items if top_k is None else min(check_count(top_k, "top_k"), n_items)


def _ratio(numerator: npt.ArrayLike, denominator: CountArray) -> FloatArray:
    """Divide elementwise; 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.zeros(numerator.shape)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def _expected_hits(items: CountArray, relevant: CountArray, top_k: int | None, weights: FloatArray) -> FloatArray:
    """Expected relevant items among the first n, for n = 1, 2, ..., summed over queries with ``weights``."""
    totals = items.sum(axis=1)
    if len(totals) and (totals != totals[0]).any():
        raise ValueError(
            f"items of every query must sum to the same number of items, got {totals.min()} to {totals.max()}"
        )
    limit = _limit(top_k, int(totals.max(initial=0)))
    changes = np.zeros(limit + 1)
    with announced_compilation(_slope_changes):
        _slope_changes(items[:0], relevant[:0], weights[:0], changes)
    _slope_changes(items, relevant, weights, changes)
    return changes[:limit].cumsum().cumsum()


@compiled
def _slope_changes(items: CountArray, relevant: CountArray, weights: FloatArray, changes: FloatArray) -> None:
    """Add up, by rank, the changes of the queries' hit rates: within a bucket every rank is a hit with chance p/n."""
    limit = len(changes) - 1
    for query in range(len(items)):
        rank, rate = 0, 0.0
        for d in range(items.shape[1]):
            n = items[query, d]
            if n == 0:
                continue
            if rank >= limit:
                break
            new_rate = weights[query] * relevant[query, d] / n
            changes[rank] += new_rate - rate
            rate = new_rate
            rank += n


@compiled
def _radius_sums(
    items: CountArray, relevant: CountArray, precision: FloatArray, recall: FloatArray, n_nonempty: CountArray
) -> None:
    """Add up precision and recall in the balls of all queries, and count the balls that are not empty."""
    for query in range(len(items)):
        total = relevant[query].sum()
        inside, hits = 0, 0
        for d in range(items.shape[1]):
            inside += items[query, d]
            hits += relevant[query, d]
            if inside > 0:
                precision[d] += hits / inside
                n_nonempty[d] += 1
            if total > 0:
                recall[d] += hits / total


@compiled
def harmonic(start: int, n: int) -> float:
    """1/(start+1) + ... + 1/(start+n), to float64 precision and without tables."""
    total = 0.0
    while n > 0 and start < 64:
        start += 1
        n -= 1
        total += 1.0 / start
    if n == 0:
        return total
    # Euler-Maclaurin; from 64 on, the next term is below the rounding of float64.
    a, b = 1.0 / start, 1.0 / (start + n)
    series = (b - a) / 2 - (b**2 - a**2) / 12 + (b**4 - a**4) / 120 - (b**6 - a**6) / 252
    return total + math.log1p(n * a) + series


@compiled
def _spread(before: int, hits_before: int, n: int, p: int, places: int, inverse_sum: float) -> float:
    """What the first ``places`` of n places, p of them hits in random order, are expected to add to AP's numerator.

    ``inverse_sum`` is ``harmonic(before, places)``.
    """
    if p == 0:
        return 0.0
    rise = (p - 1) / (n - 1) if n > 1 else 0.0
    return p / n * ((hits_before + 1 - rise * (before + 1)) * inverse_sum + rise * places)


@compiled
def _block(before: int, hits_before: int, p: int) -> float:
    """What p relevant items in a row, after ``before`` items, add to AP's numerator."""
    return p + (hits_before - before) * harmonic(before, p)


@compiled
def chance_ratio(n: int, p: int, s: int, x: int) -> float:
    """Hypergeometric Pr(x + 1) / Pr(x) for s draws from n items, p of them relevant."""
    return (p - x) / (x + 1) * (s - x) / (n - p - s + x + 1)


@compiled
def _cut_value(total: float, before: int, hits_before: int, s: int, x: int, inverse_sum: float) -> float:
    """Expected AP given x relevant items in the s places left of the cut bucket."""
    retrieved = hits_before + x
    return (total + _spread(before, hits_before, s, x, s, inverse_sum)) / retrieved if retrieved > 0 else 0.0


@compiled
def _expected_cut(total: float, before: int, hits_before: int, n: int, p: int, s: int) -> float:
    """Expected AP over the number x of relevant items in the s places left of the cut bucket.

    The chances of the x are followed outwards from the likeliest by their ratios, until they no longer count.
    """
    least, most = max(0, s - n + p), min(s, p)
    mode = min(max((s + 1) * (p + 1) // (n + 2), least), most)
    inverse_sum = harmonic(before, s)
    weight = weight_sum = 1.0
    value_sum = _cut_value(total, before, hits_before, s, mode, inverse_sum)
    for x in range(mode + 1, most + 1):
        weight *= chance_ratio(n, p, s, x - 1)
        if weight < 1e-19:
            break
        weight_sum += weight
        value_sum += weight * _cut_value(total, before, hits_before, s, x, inverse_sum)
    weight = 1.0
    for x in range(mode - 1, least - 1, -1):
        weight /= chance_ratio(n, p, s, x)
        if weight < 1e-19:
            break
        weight_sum += weight
        value_sum += weight * _cut_value(total, before, hits_before, s, x, inverse_sum)
    return value_sum / weight_sum


@compiled
def _best_cut(total: float, before: int, hits_before: int, least: int, most: int) -> float:
    """Highest (total + block of x) / (hits_before + x): hits grow more precise with x, so it is at an end."""
    best = 0.0
    for x in (least, most):
        if hits_before + x > 0:
            best = max(best, (total + _block(before, hits_before, x)) / (hits_before + x))
    return best


@compiled
def _worst_cut(total: float, end: int, hits_before: int, least: int, most: int) -> float:
    """Lowest (total + W) / (hits_before + x), W from x relevant items in the last places up to rank ``end``.

    W is convex in x, so the ratio falls, then rises: stop at its first rise.
    """
    if hits_before + least == 0:
        return 0.0
    added = _block(end - least, hits_before, least)
    inverse_sum = harmonic(end - least, least)
    worst = (total + added) / (hits_before + least)
    for x in range(least, most):
        inverse_sum += 1.0 / (end - x)
        added += inverse_sum + hits_before / (end - x)
        value = (total + added) / (hits_before + x + 1)
        if value > worst:
            break
        worst = value
    return worst


@compiled
def _average_precisions(
    items: CountArray,
    relevant: CountArray,
    limit: int,
    retrieved: bool,
    divisors: CountArray,
    first: int,
    last: int,
    result: FloatArray,
) -> None:
    """Expected, best and worst AP of the queries ``first`` to ``last`` into the three rows of ``result``."""
    for query in range(first, last):
        before, hits = 0, 0
        expected, best, worst = 0.0, 0.0, 0.0
        cut = False
        for d in range(items.shape[1]):
            n, p = items[query, d], relevant[query, d]
            if before == limit:
                break
            if before + n > limit:
                s = limit - before
                least, most = max(0, s - n + p), min(s, p)
                if retrieved:
                    cut = True
                    expected = _expected_cut(expected, before, hits, n, p, s)
                    best = _best_cut(best, before, hits, least, most)
                    worst = _worst_cut(worst, limit, hits, least, most)
                else:
                    expected += _spread(before, hits, n, p, s, harmonic(before, s))
                    best += _block(before, hits, most)
                    worst += _block(limit - least, hits, least)
                break
            if p > 0:
                expected += _spread(before, hits, n, p, n, harmonic(before, n))
                best += _block(before, hits, p)
                worst += _block(before + n - p, hits, p)
            before += n
            hits += p
        divisor = divisors[query]
        if cut:
            divisor = 1
        elif retrieved:
            divisor = hits
        if divisor > 0:
            result[0, query] = expected / divisor
            result[1, query] = best / divisor
            result[2, query] = worst / divisor
