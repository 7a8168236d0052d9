import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashcenters.retrieval import metrics
from hashcenters.retrieval.metrics import (
    average_precision,
    exclude_self,
    precision_at_n,
    recall_at_n,
    within_radius,
)
from references import (
    average_precision_of_list,
    expected_average_precision_by_sums,
    lists_of_all_permutations,
    lists_of_all_tie_orders,
)

DENOMINATORS = ["retrieved", "relevant", "min"]


@st.composite
def one_query(draw, max_items, max_buckets=4):
    """Items and relevant items by distance of one query, max_items at most."""
    items, relevant = [], []
    for _ in range(draw(st.integers(1, max_buckets))):
        items.append(draw(st.integers(0, max_items - sum(items))))
        relevant.append(draw(st.integers(0, items[-1])))
    return items, relevant


def as_counts(*queries):
    return tuple(np.array(side, dtype=np.int64) for side in zip(*queries, strict=True))


def assert_extremes_and_mean(query, lists, top_k, denominator):
    values = [average_precision_of_list(hits, top_k, denominator) for hits in lists]
    result = average_precision(*as_counts(query), top_k=top_k, denominator=denominator)
    expected = [sum(values) / len(values), max(values), min(values)]
    np.testing.assert_allclose(np.concatenate(result), expected, rtol=0, atol=1e-12)


@settings(max_examples=100)
@given(one_query(max_items=6), st.sampled_from(DENOMINATORS), st.sampled_from([None, *range(1, 9)]))
def test_average_precision_over_all_permutations(query, denominator, top_k):
    assert_extremes_and_mean(query, lists_of_all_permutations(*query), top_k, denominator)


@settings(max_examples=200)
@given(one_query(max_items=11), st.sampled_from(DENOMINATORS), st.sampled_from([None, *range(1, 14)]))
def test_average_precision_over_all_tie_orders(query, denominator, top_k):
    assert_extremes_and_mean(query, lists_of_all_tie_orders(*query), top_k, denominator)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_average_precision_for_every_cut_of_one_query(denominator):
    # 2 of 5 at distance 1, none of 1, 5 of 6, 1 of 2: cuts below, at and above each edge, and beyond the 14 items.
    query = [0, 5, 1, 6, 2], [0, 2, 0, 5, 1]
    lists = lists_of_all_tie_orders(*query)
    for top_k in [*range(1, 17), 1000, None]:
        assert_extremes_and_mean(query, lists, top_k, denominator)


def test_a_late_hit_can_lower_average_precision():
    # The first item is relevant; the cut bucket has room for one of two, and a miss there is better for this AP.
    items, relevant = as_counts(([1, 50, 2], [1, 0, 1]))
    result = average_precision(items, relevant, top_k=52)
    assert result.best == 1.0
    np.testing.assert_allclose(result.worst, (1 + 2 / 52) / 2)
    np.testing.assert_allclose(result.expected, (1.0 + (1 + 2 / 52) / 2) / 2)


@settings(max_examples=150)
@given(st.data())
def test_average_precision_of_large_buckets(data):
    items = data.draw(st.lists(st.integers(0, 700), min_size=2, max_size=5))
    relevant = [data.draw(st.integers(0, min(n, 300))) for n in items]
    top_k = data.draw(st.integers(1, max(1, sum(items))))
    result = average_precision(*as_counts((items, relevant)), top_k=top_k)
    expected = expected_average_precision_by_sums(items, relevant, top_k)
    np.testing.assert_allclose(result.expected, expected, rtol=0, atol=1e-11)
    assert result.worst[0] <= result.expected[0] + 1e-12
    assert result.expected[0] <= result.best[0] + 1e-12


@settings(max_examples=40)
@given(st.data())
def test_worst_over_the_cut_bucket_is_the_least_of_all_x(data):
    """Large buckets, where the walk over x may stop early: compare with every x."""
    before, n = data.draw(st.integers(0, 60)), data.draw(st.integers(2, 200))
    hits, p = data.draw(st.integers(0, before)), data.draw(st.integers(0, n))
    s = data.draw(st.integers(1, n - 1))
    result = average_precision(*as_counts(([before, n], [hits, p])), top_k=before + s)
    best, worst = [], []
    for x in range(max(0, s - n + p), min(s, p) + 1):
        first = [1] * hits + [0] * (before - hits) + [1] * x + [0] * (s - x)
        last = [0] * (before - hits) + [1] * hits + [0] * (s - x) + [1] * x
        best.append(average_precision_of_list(first, None, "retrieved"))
        worst.append(average_precision_of_list(last, None, "retrieved"))
    np.testing.assert_allclose([result.best[0], result.worst[0]], [max(best), min(worst)], rtol=0, atol=1e-12)


def test_ten_million_items_lose_no_precision():
    # All relevant, or none before the last bucket: exact values are known.
    n = 10_000_000
    all_relevant = as_counts(([n // 2, n // 2], [n // 2, n // 2]))
    for top_k in (None, 1000, n - 1):
        np.testing.assert_allclose(np.concatenate(average_precision(*all_relevant, top_k=top_k)), 1.0, atol=1e-12)
    one_late = as_counts(([n - 1, 1], [0, 1]))
    np.testing.assert_allclose(np.concatenate(average_precision(*one_late)), 1 / n, rtol=1e-9)


@example(63, 2)
@example(64, 1)
@given(st.integers(0, 3000), st.integers(0, 300))
def test_harmonic_numbers(start, n):
    expected = math.fsum(1 / (start + i) for i in range(1, n + 1))
    assert metrics.harmonic(start, n) == pytest.approx(expected, rel=1e-14, abs=0)


@given(st.lists(one_query(max_items=7), min_size=1, max_size=3), st.sampled_from([None, *range(1, 10)]))
def test_precision_and_recall_at_n_over_all_tie_orders(queries, top_k):
    n_items = max(sum(items) for items, _ in queries)
    width = max(len(items) for items, _ in queries) + 1
    padded = []
    for items, relevant in queries:  # every query sees the same number of items
        zeros = [0] * (width - len(items) - 1)
        padded.append(([*items, *zeros, n_items - sum(items)], [*relevant, *zeros, 0]))
    length = n_items if top_k is None else min(top_k, n_items)
    precision, recall = np.zeros(length), np.zeros(length)
    for items, relevant in padded:
        hits = np.mean([np.cumsum(order) for order in lists_of_all_tie_orders(items, relevant)], axis=0)[:length]
        precision += hits / np.arange(1, length + 1) / len(queries)
        recall += hits / max(sum(relevant), 1) / len(queries)
    counts = as_counts(*padded)
    np.testing.assert_allclose(precision_at_n(*counts, top_k=top_k), precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(recall_at_n(*counts, top_k=top_k), recall, rtol=0, atol=1e-12)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=4), min_size=1, max_size=6)
)
def test_within_radius_ball_by_ball(queries):
    queries = [([n for n, _ in query], [min(n, p) for n, p in query]) for query in queries]
    result = within_radius(*as_counts(*queries))
    for radius in range(4):
        balls = [(sum(items[: radius + 1]), sum(hits[: radius + 1]), sum(hits)) for items, hits in queries]
        precisions = [hits / n for n, hits, _ in balls if n]
        assert result.precision[radius] == pytest.approx(sum(precisions) / len(balls), abs=1e-15)
        assert result.empty_share[radius] == pytest.approx(1 - len(precisions) / len(balls), abs=1e-15)
        recalls = [hits / total if total else 0.0 for _, hits, total in balls]
        assert result.recall[radius] == pytest.approx(sum(recalls) / len(balls), abs=1e-15)
        nonempty = sum(precisions) / len(precisions) if precisions else float("nan")
        assert result.precision_nonempty[radius] == pytest.approx(nonempty, nan_ok=True)


def test_exclude_self_takes_one_relevant_item_at_distance_0():
    items, relevant = as_counts(([3, 1], [1, 1]), ([1, 3], [1, 0]))
    copies = items.copy(), relevant.copy()
    without = exclude_self(items, relevant)
    np.testing.assert_array_equal(without[0], [[2, 1], [0, 3]])
    np.testing.assert_array_equal(without[1], [[0, 1], [0, 0]])
    np.testing.assert_array_equal((items, relevant), copies)
    with pytest.raises(ValueError, match="but 1 of 2 queries have no item with their own code and label"):
        exclude_self(*as_counts(([3, 1], [1, 1]), ([1, 3], [0, 1])))


def test_no_queries_and_no_items():
    none = np.zeros((0, 3), np.int64)
    assert [len(value) for value in average_precision(none, none)] == [0, 0, 0]
    assert len(precision_at_n(none, none)) == 0
    empty = np.zeros((2, 3), np.int64)
    assert np.concatenate(average_precision(empty, empty, top_k=5)).tolist() == [0.0] * 6
    assert len(recall_at_n(empty, empty)) == 0
    with pytest.raises(ValueError, match=r"must have at least one row \(a query\), got none"):
        within_radius(none, none)


@pytest.mark.parametrize("function", [average_precision, precision_at_n, recall_at_n, within_radius, exclude_self])
def test_what_are_no_counts_is_refused(function):
    items = np.array([[1, 2]])
    with pytest.raises(ValueError, match=r"integer arrays of one shape \(n_queries, n_bits \+ 1\), got items of int"):
        function(items[0], items[0])
    with pytest.raises(ValueError, match="integer arrays of one shape .* got relevant of int64 and shape"):
        function(items, np.array([[1, 2, 3]]))
    with pytest.raises(ValueError, match="integer arrays of one shape .* got relevant of float64"):
        function(items, items.astype(float))
    for wrong in ([[1, 3]], [[1, -1]]):
        with pytest.raises(ValueError, match="relevant must lie between 0 and items everywhere"):
            function(items, np.array(wrong))


def test_wrong_options_are_refused():
    items = np.array([[1, 2]])
    with pytest.raises(ValueError, match="denominator must be one of retrieved, relevant, min, got 'all'"):
        average_precision(items, items, denominator="all")
    for function in (average_precision, precision_at_n, recall_at_n):
        with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
            function(items, items, top_k=0)
    uneven = as_counts(([1, 2], [0, 0]), ([1, 1], [0, 0]))
    for function in (precision_at_n, recall_at_n):
        with pytest.raises(ValueError, match="must sum to the same number of items, got 2 to 3"):
            function(*uneven)
