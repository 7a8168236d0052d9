import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from hashcenters.retrieval.graded import average_cumulative_gain, ndcg, weighted_average_precision
from hashcenters.retrieval.metrics import average_precision
from references import (
    average_cumulative_gain_of_list,
    expected_weighted_average_precision_by_sums,
    graded_lists_of_all_permutations,
    ndcg_of_list,
    weighted_average_precision_of_list,
)

DENOMINATORS = ["retrieved", "relevant", "min"]
TOP_K = [None, *range(1, 9)]


@st.composite
def one_query(draw, max_items, n_levels=4, max_buckets=4):
    """Counts of one query by distance and shared labels, max_items in all at most."""
    counts = np.zeros((draw(st.integers(1, max_buckets)), n_levels), np.int64)
    for _ in range(draw(st.integers(0, max_items))):
        counts[draw(st.integers(0, len(counts) - 1)), draw(st.integers(0, n_levels - 1))] += 1
    return counts


def ranked_items(counts):
    """Distance and shared labels of every item that the counts of one query hold."""
    items = [(d, s) for d, levels in enumerate(counts) for s, n in enumerate(levels) for _ in range(n)]
    return np.array(items).reshape(-1, 2).T


def random_counts(seed, n_queries, n_distances, n_levels, largest):
    return np.random.default_rng(seed).integers(0, largest, (n_queries, n_distances, n_levels))


@settings(max_examples=60)
@given(one_query(max_items=6), st.sampled_from(TOP_K), st.sampled_from(["exponential", "linear"]))
def test_ndcg_over_all_permutations(counts, top_k, gain):
    expected = np.mean([ndcg_of_list(order, top_k, gain) for order in graded_lists_of_all_permutations(counts)])
    np.testing.assert_allclose(ndcg(counts[None], top_k=top_k, gain=gain), [expected], rtol=0, atol=1e-12)


@settings(max_examples=60)
@given(one_query(max_items=6), st.sampled_from(TOP_K[1:]))
def test_average_cumulative_gain_over_all_permutations(counts, top_k):
    lists = graded_lists_of_all_permutations(counts)
    expected = np.mean([average_cumulative_gain_of_list(order, top_k) for order in lists])
    np.testing.assert_allclose(average_cumulative_gain(counts[None], top_k=top_k), [expected], rtol=0, atol=1e-12)


@settings(max_examples=100)
@given(one_query(max_items=7), st.sampled_from(TOP_K), st.sampled_from(DENOMINATORS))
def test_weighted_average_precision_over_all_permutations(counts, top_k, denominator):
    lists = graded_lists_of_all_permutations(counts)
    expected = np.mean([weighted_average_precision_of_list(order, top_k, denominator) for order in lists])
    result = weighted_average_precision(counts[None], top_k=top_k, denominator=denominator)
    np.testing.assert_allclose(result, [expected], rtol=0, atol=1e-12)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_weighted_average_precision_for_every_cut_of_one_query(denominator):
    # 2 items at distance 0, none at 1, 5 at 2 with three kinds of gain: cuts below, at and above each edge, and beyond.
    counts = np.array([[1, 0, 1], [0, 0, 0], [2, 1, 2]])
    lists = graded_lists_of_all_permutations(counts)
    for top_k in [*range(1, 10), 1000, None]:
        expected = np.mean([weighted_average_precision_of_list(order, top_k, denominator) for order in lists])
        result = weighted_average_precision(counts[None], top_k=top_k, denominator=denominator)
        np.testing.assert_allclose(result, [expected], rtol=0, atol=1e-12)


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(1, 900))
def test_weighted_average_precision_of_large_buckets(seed, top_k):
    counts = random_counts(seed, 3, 4, 3, largest=150)
    expected = [expected_weighted_average_precision_by_sums(query.tolist(), top_k) for query in counts]
    np.testing.assert_allclose(weighted_average_precision(counts, top_k=top_k), expected, rtol=0, atol=1e-11)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 7, 100]), st.sampled_from(DENOMINATORS))
def test_with_one_label_wap_is_average_precision(seed, top_k, denominator):
    counts = random_counts(seed, 5, 9, 2, largest=20)
    result = weighted_average_precision(counts, top_k=top_k, denominator=denominator)
    expected = average_precision(counts.sum(axis=2), counts[:, :, 1], top_k=top_k, denominator=denominator).expected
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 3, 10, 1000]), st.sampled_from(["exponential", "linear"]))
def test_ndcg_equals_scikit_learn(seed, top_k, gain):
    # scikit-learn averages over ties too, for every k.
    counts = random_counts(seed, 4, 6, 4, largest=5)
    counts[:, 0, :2] += 1  # it needs two items
    result = ndcg(counts, top_k=top_k, gain=gain)
    for query, value in zip(counts, result, strict=True):
        distances, shared = ranked_items(query)
        gains = 2.0**shared - 1 if gain == "exponential" else shared
        assert value == pytest.approx(ndcg_score([gains], [-distances], k=top_k), abs=1e-12)


@pytest.mark.parametrize("top_k", [None, 1, 5, 1000])
def test_ndcg_equals_torchmetrics_without_ties(top_k):
    retrieval = pytest.importorskip("torchmetrics.retrieval", reason="torchmetrics is not installed")
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 4, (3, 40))
    counts = np.zeros((3, 40, 4), np.int64)
    counts[np.arange(3)[:, None], np.arange(40), shared] = 1  # one item at each distance
    for gain, gains in (("exponential", 2**shared - 1), ("linear", shared)):
        metric = retrieval.RetrievalNormalizedDCG(top_k=top_k)
        scores = -torch.arange(40.0).repeat(3)
        indexes = torch.arange(3).repeat_interleave(40)
        expected = metric(scores, torch.from_numpy(gains.reshape(-1)), indexes=indexes)
        assert ndcg(counts, top_k=top_k, gain=gain).mean() == pytest.approx(float(expected), abs=1e-6)


def test_ten_million_items_lose_no_precision():
    # Each item shares two labels, or one item does and comes last: exact values are known.
    n = 10_000_000
    alike = np.array([[[0, 0, n // 2], [0, 0, n // 2]]])
    late = np.array([[[n - 1, 0, 0], [0, 0, 1]]])
    for top_k in (None, 1000, n - 1):
        np.testing.assert_allclose(ndcg(alike, top_k=top_k), 1.0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(weighted_average_precision(alike, top_k=top_k), 2.0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(average_cumulative_gain(alike, top_k=top_k or n), 2.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ndcg(late), 1 / math.log2(1 + n), rtol=1e-8)
    np.testing.assert_allclose(weighted_average_precision(late), 2 / n, rtol=1e-9)
    np.testing.assert_allclose(average_cumulative_gain(late, top_k=n), 2 / n, rtol=1e-12)


def test_more_items_than_a_narrow_integer_holds_and_unchanged_input():
    counts = random_counts(1, 4, 5, 3, largest=100)
    narrow = counts.astype(np.uint8)
    copy = narrow.copy()
    assert ndcg(narrow, top_k=20).tolist() == ndcg(counts, top_k=20).tolist()
    assert average_cumulative_gain(narrow, top_k=20).tolist() == average_cumulative_gain(counts, top_k=20).tolist()
    assert weighted_average_precision(narrow).tolist() == weighted_average_precision(counts).tolist()
    np.testing.assert_array_equal(narrow, copy)


def test_many_shared_labels_fit_into_exponential_gain():
    counts = np.zeros((1, 2, 901), np.int64)
    counts[0, 0, 899], counts[0, 1, 900] = 10**9, 1  # the best item has twice the others' gain, and comes last
    discounts = [1 / math.log2(1 + i) for i in range(1, 6)]
    assert ndcg(counts, top_k=5)[0] == pytest.approx(sum(discounts) / (sum(discounts) + 1), rel=1e-12)
    too_many = np.zeros((1, 2, 902), np.int64)
    with pytest.raises(
        ValueError, match="serves up to 900 shared labels, got counts with 902 levels; use gain='linear'"
    ):
        ndcg(too_many)
    assert ndcg(too_many, gain="linear").tolist() == [0.0]


def test_no_queries_no_items_and_nothing_relevant():
    for counts in (np.zeros((0, 3, 2), np.int64), np.zeros((2, 3, 2), np.int64), np.array([[[3, 0], [2, 0]]])):
        for top_k in (None, 2):
            assert ndcg(counts, top_k=top_k).tolist() == [0.0] * len(counts)
            for denominator in DENOMINATORS:
                values = weighted_average_precision(counts, top_k=top_k, denominator=denominator)
                assert values.tolist() == [0.0] * len(counts)
        assert average_cumulative_gain(counts, top_k=2).tolist() == [0.0] * len(counts)


def acg(counts, top_k=1):
    return average_cumulative_gain(counts, top_k=top_k)


@pytest.mark.parametrize("function", [ndcg, acg, weighted_average_precision])
def test_what_are_no_counts_is_refused(function):
    counts = np.ones((1, 3, 2), np.int64)
    with pytest.raises(ValueError, match=r"integer array of shape \(n_queries, n_bits \+ 1, n_levels\), got int64 of"):
        function(counts[0])
    with pytest.raises(ValueError, match="counts must be an integer array of shape .* got float64 of shape"):
        function(counts.astype(float))
    for wrong in (counts[:, :, :1], counts[:, :0]):
        with pytest.raises(ValueError, match="with at least 1 distance and 2 levels, 0 and 1 shared labels, got"):
            function(wrong)
    with pytest.raises(ValueError, match="counts must be at least 0 everywhere, got -1"):
        function(-counts)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        function(counts, top_k=0)
    with pytest.raises(TypeError, match="top_k must be an int, got 2.0 of type float"):
        function(counts, top_k=2.0)


def test_unknown_options_are_refused():
    counts = np.ones((1, 3, 2), np.int64)
    with pytest.raises(ValueError, match="gain must be one of exponential, linear, got 'log'"):
        ndcg(counts, gain="log")
    with pytest.raises(ValueError, match="denominator must be one of retrieved, relevant, min, got 'all'"):
        weighted_average_precision(counts, denominator="all")
