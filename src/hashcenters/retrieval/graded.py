"""Metrics for items that are more or less relevant: what counts is the number of labels that they share with the query.

Everywhere ``counts`` is an int64 array (n_queries, n_bits + 1, n_levels): how many items at each Hamming distance share
exactly s labels with the query, s = 0 (irrelevant) to n_levels - 1. Items at one distance are tied: every metric is its
exact expectation over all orders of ties. Like the counts of ``hashcenters.retrieval.metrics`` these add up over parts
of a database.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np

from hashcenters.checks import check_count
from hashcenters.compiling import compiled
from hashcenters.retrieval.histogram import CountArray, announced_compilation
from hashcenters.retrieval.metrics import FloatArray, chance_ratio, harmonic
from hashcenters.retrieval.result import APDenominator, Gain

__all__ = ["average_cumulative_gain", "ndcg", "weighted_average_precision"]

_MAX_EXPONENT = 900  # sums of 2**900 over all items of any database still fit into a float64


class _Buckets(NamedTuple):
    """Sums over the gain levels, int64 (n_queries, n_bits + 1) each."""

    items: CountArray
    relevant: CountArray
    shared: CountArray  # labels shared with the query, summed over the items


def ndcg(counts: CountArray, *, top_k: int | None = None, gain: Gain = "exponential") -> FloatArray:
    """Normalized discounted cumulative gain of the first ``top_k`` items: expected DCG over ties, by the ideal DCG.

    DCG = sum of gain(s_i) / log2(1 + i) over ranks i = 1..top_k, where item i shares s_i labels with the query. The
    ideal ranks the whole database by s. nDCG is 0 where the ideal is 0. A tied item has the mean gain of its bucket at
    each of the bucket's ranks (McSherry and Najork, ECIR 2008), as in scikit-learn's ``ndcg_score``.

    Takes O(n_bits + n_levels) a query, and 8 bytes for each of the first ``top_k`` ranks.

    Args:
        counts: int64 (n_queries, n_bits + 1, n_levels), items that share s labels at each distance.
        top_k: how many items count; None, or more than there are, means all.
        gain: ``"exponential"``: 2^s - 1, as the multi-label hashing papers do since Zhao et al. (Deep semantic ranking
            based hashing, CVPR 2015; their script averages 100 random orders of ties); ``"linear"``: s.

    Returns:
        float64 (n_queries,), from 0 to 1.

    Raises:
        TypeError: ``top_k`` is not an int.
        ValueError: ``top_k`` below 1, unknown ``gain``, more than 901 levels with exponential gain, or an array that
            is not such counts.

    Examples:
        >>> counts = np.array([[[0, 1, 0], [1, 0, 1], [0, 0, 0]]])  # one shared label; none or two, tied
        >>> ndcg(counts)
        array([0.74261823])
        >>> ndcg(counts, top_k=1, gain="linear")
        array([0.5])
    """
    counts = _check_counts(counts)
    gains = _gains(gain, counts.shape[2])
    items = counts.sum(axis=2)
    limit = _limit(top_k, items)
    discounts = np.log2(np.arange(1.0, limit + 2))  # element i is to become the sum of the first i discounts
    np.divide(1.0, discounts[1:], out=discounts[1:])
    np.cumsum(discounts, out=discounts)

    def discounted(sizes: CountArray) -> FloatArray:
        """Sum the discounts of the ranks that each of the buckets, nearest first, takes up."""
        spent = discounts[np.minimum(sizes.cumsum(axis=1), limit)]
        return np.diff(spent, axis=1, prepend=0.0)

    expected = (_ratio(counts @ gains, items) * discounted(items)).sum(axis=1)
    ideal = discounted(counts.sum(axis=1)[:, ::-1]) @ gains[::-1]
    return np.minimum(_ratio(expected, ideal), 1.0)  # rounding may add 1e-16


def average_cumulative_gain(counts: CountArray, *, top_k: int) -> FloatArray:
    """ACG@k: how many labels the first ``top_k`` items share with the query on average, expected over ties.

    The gain is linear, the number of shared labels itself, as in Zhao et al. (Deep semantic ranking based hashing,
    CVPR 2015) and the multi-label hashing papers after it; so values may exceed 1.

    Args:
        counts: int64 (n_queries, n_bits + 1, n_levels), items that share s labels at each distance.
        top_k: how many items count; more than there are means all, and then no ranking matters.

    Returns:
        float64 (n_queries,), from 0 to n_levels - 1; 0 where there are no items.

    Raises:
        TypeError: ``top_k`` is not an int.
        ValueError: ``top_k`` below 1, or an array that is not such counts.

    Examples:
        >>> counts = np.array([[[0, 1, 0], [1, 0, 1], [0, 0, 0]]])  # one shared label; none or two, tied
        >>> average_cumulative_gain(counts, top_k=2)
        array([1.])
    """
    items, _, shared = _buckets(_check_counts(counts))
    taken = np.minimum(items.cumsum(axis=1), check_count(top_k, "top_k"))
    places = np.diff(taken, axis=1, prepend=0)
    return _ratio((_ratio(shared, items) * places).sum(axis=1), taken[:, -1])


def weighted_average_precision(
    counts: CountArray, *, top_k: int | None = None, denominator: APDenominator = "retrieved"
) -> FloatArray:
    r"""WAP: average precision with ACG in the place of precision, expected over all orders of ties.

    WAP = (1 / D) sum of ACG@i over the ranks i = 1..top_k whose item shares a label with the query, ACG@i being the
    mean number of labels that the first i items share with it (weighted mAP of Zhao et al., CVPR 2015, is the mean over
    queries). D is the number of relevant items among the first top_k (``"retrieved"``: the authors' own script, with
    the first 5,000), of all relevant items (``"relevant"``), or the smaller of top_k and that (``"min"``). WAP is 0
    where D is 0, may exceed 1, and is the average precision where no item shares more than one label.

    Let N items that share G labels lie nearer than a bucket of n items, p of them relevant, m labels shared by a
    relevant one on average. The bucket adds, in expectation, (p/n) sum_{t=1..n} [G + m + m (t-1)(p-1)/(n-1)] / (N+t).
    Where top_k leaves s < n places of it and D is what was retrieved, the number x of relevant items in these places is
    hypergeometric; given x, the places add the same sum with s for n and x for p.

    Args:
        counts: int64 (n_queries, n_bits + 1, n_levels), items that share s labels at each distance.
        top_k: how many items count; None, or more than there are, means all.
        denominator: what the sum is divided by.

    Returns:
        float64 (n_queries,), from 0 to n_levels - 1.

    Raises:
        TypeError: ``top_k`` is not an int.
        ValueError: unknown ``denominator``, ``top_k`` below 1, or an array that is not such counts.

    Examples:
        >>> counts = np.array([[[0, 1, 0], [1, 0, 1], [0, 0, 0]]])  # one shared label; none or two, tied
        >>> weighted_average_precision(counts)  # (1 + 3/2) / 2 or (1 + 3/3) / 2
        array([1.125])
    """
    if denominator not in get_args(APDenominator):
        raise ValueError(f"denominator must be one of {', '.join(get_args(APDenominator))}, got {denominator!r}")
    items, relevant, shared = _buckets(_check_counts(counts))
    limit = _limit(top_k, items)
    retrieved = denominator == "retrieved"
    divisors = relevant.sum(axis=1)
    if denominator == "min":
        divisors = np.minimum(divisors, limit)
    result = np.zeros(len(items))
    with announced_compilation(_weighted_average_precisions):
        _weighted_average_precisions(items[:0], relevant[:0], shared[:0], limit, retrieved, divisors[:0], result[:0])
    _weighted_average_precisions(items, relevant, shared, limit, retrieved, divisors, result)
    return result


def _check_counts(counts: CountArray) -> CountArray:
    counts = np.asarray(counts)
    rule = "counts must be an integer array of shape (n_queries, n_bits + 1, n_levels)"
    if counts.ndim != 3 or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"{rule}, got {counts.dtype} of shape {counts.shape}")
    if counts.shape[1] < 1 or counts.shape[2] < 2:
        raise ValueError(f"{rule} with at least 1 distance and 2 levels, 0 and 1 shared labels, got {counts.shape}")
    if counts.size and int(counts.min()) < 0:
        raise ValueError(f"counts must be at least 0 everywhere, got {counts.min()}")
    return counts.astype(np.int64, copy=False)


def _limit(top_k: int | None, items: CountArray) -> int:
    n_items = int(items.sum(axis=1).max(initial=0))
    return n_items if top_k is None else min(check_count(top_k, "top_k"), n_items)


def _gains(gain: Gain, n_levels: int) -> FloatArray:
    if gain not in get_args(Gain):
        raise ValueError(f"gain must be one of {', '.join(get_args(Gain))}, got {gain!r}")
    levels = np.arange(n_levels, dtype=np.float64)
    if gain == "linear":
        return levels
    if n_levels - 1 > _MAX_EXPONENT:
        raise ValueError(
            f"gain='exponential' serves up to {_MAX_EXPONENT} shared labels, got counts with {n_levels} levels; use "
            "gain='linear'"
        )
    return np.exp2(levels) - 1.0


def _buckets(counts: CountArray) -> _Buckets:
    items = counts.sum(axis=2)
    return _Buckets(items, items - counts[:, :, 0], counts @ np.arange(counts.shape[2]))


def _ratio(numerator: CountArray | FloatArray, denominator: CountArray | FloatArray) -> FloatArray:
    """Divide elementwise; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)


@compiled
def _spread_gain(
    before: int, gain_before: int, mean_gain: float, n: int, p: int, places: int, inverse_sum: float
) -> float:
    """What the first ``places`` of n places, p of them relevant in random order, are expected to add to the sum.

    ``inverse_sum`` is ``harmonic(before, places)``.
    """
    if p == 0:
        return 0.0
    rise = mean_gain * (p - 1) / (n - 1) if n > 1 else 0.0
    return p / n * ((gain_before + mean_gain - rise * (before + 1)) * inverse_sum + rise * places)


@compiled
def _cut_value(
    total: float,
    before: int,
    hits_before: int,
    gain_before: int,
    mean_gain: float,
    s: int,
    x: int,
    inverse_sum: float,
) -> float:
    """Expected WAP given x relevant items in the s places left of the cut bucket."""
    retrieved = hits_before + x
    return (
        (total + _spread_gain(before, gain_before, mean_gain, s, x, s, inverse_sum)) / retrieved
        if retrieved > 0
        else 0.0
    )


@compiled
def _expected_cut(
    total: float, before: int, hits_before: int, gain_before: int, mean_gain: float, n: int, p: int, s: int
) -> float:
    """Expected WAP over the number x of relevant items in the s places left of the cut bucket.

    The chances of the x are followed outwards from the likeliest by their ratios, until they no longer count.
    """
    least, most = max(0, s - n + p), min(s, p)
    mode = min(max((s + 1) * (p + 1) // (n + 2), least), most)
    inverse_sum = harmonic(before, s)
    weight = weight_sum = 1.0
    value_sum = _cut_value(total, before, hits_before, gain_before, mean_gain, s, mode, inverse_sum)
    for x in range(mode + 1, most + 1):
        weight *= chance_ratio(n, p, s, x - 1)
        if weight < 1e-19:
            break
        weight_sum += weight
        value_sum += weight * _cut_value(total, before, hits_before, gain_before, mean_gain, s, x, inverse_sum)
    weight = 1.0
    for x in range(mode - 1, least - 1, -1):
        weight /= chance_ratio(n, p, s, x)
        if weight < 1e-19:
            break
        weight_sum += weight
        value_sum += weight * _cut_value(total, before, hits_before, gain_before, mean_gain, s, x, inverse_sum)
    return value_sum / weight_sum


@compiled
def _weighted_average_precisions(
    items: CountArray,
    relevant: CountArray,
    shared: CountArray,
    limit: int,
    retrieved: bool,
    divisors: CountArray,
    result: FloatArray,
) -> None:
    """Expected WAP of every query into ``result``."""
    for query in range(len(items)):
        before, hits, gain = 0, 0, 0
        total = 0.0
        cut = False
        for d in range(items.shape[1]):
            n, p = items[query, d], relevant[query, d]
            if before == limit:
                break
            mean_gain = shared[query, d] / p if p > 0 else 0.0
            if before + n > limit:
                if retrieved:
                    cut = True
                    total = _expected_cut(total, before, hits, gain, mean_gain, n, p, limit - before)
                else:
                    total += _spread_gain(
                        before, gain, mean_gain, n, p, limit - before, harmonic(before, limit - before)
                    )
                break
            total += _spread_gain(before, gain, mean_gain, n, p, n, harmonic(before, n))
            before += n
            hits += p
            gain += shared[query, d]
        divisor = divisors[query]
        if cut:
            divisor = 1
        elif retrieved:
            divisor = hits
        if divisor > 0:
            result[query] = total / divisor
