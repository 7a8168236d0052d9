import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters.retrieval import asymmetric
from hashcenters.retrieval.asymmetric import asymmetric_average_precision
from hashcenters.retrieval.codes import pack_bits
from hashcenters.retrieval.histogram import distance_histograms
from hashcenters.retrieval.metrics import average_precision
from references import average_precision_of_list, counts_by_score, lists_of_all_tie_orders

DENOMINATORS = ["retrieved", "relevant", "min"]


def random_problem(seed, n_queries, n_items, n_bits, n_classes):
    """Float32 logits, codes of ±1, class ids of both."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_queries, n_bits)).astype(np.float32)
    codes = rng.integers(0, 2, (n_items, n_bits)) * 2.0 - 1.0
    return logits, codes, rng.integers(0, n_classes, n_queries), rng.integers(0, n_classes, n_items)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 130),
    st.sampled_from([None, 1, 3, 20, 500]),
    st.sampled_from(DENOMINATORS),
    st.sampled_from(["none", "tanh"]),
)
def test_logits_of_one_size_rank_by_hamming_distance(seed, n_bits, top_k, denominator, activation):
    logits, codes, query_labels, labels = random_problem(seed, 5, 40, n_bits, 3)
    size = np.float32(np.random.default_rng(seed).uniform(0.01, 9))
    queries = np.where(logits >= 0, size, -size)
    packed = pack_bits(codes > 0)
    counts = distance_histograms(pack_bits(logits >= 0), packed, query_labels, labels, n_bits=n_bits)
    expected = average_precision(*counts, top_k=top_k, denominator=denominator)
    result = asymmetric_average_precision(
        queries, packed, query_labels, labels, top_k=top_k, denominator=denominator, activation=activation
    )
    np.testing.assert_array_equal(result, expected)  # to the last bit: the same buckets of ties


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, *range(1, 8)]), st.sampled_from(DENOMINATORS))
def test_over_all_tie_orders(seed, top_k, denominator):
    # Few bits and whole logits: equal codes, and equal scores of different codes.
    rng = np.random.default_rng(seed)
    logits, codes = rng.integers(-2, 3, (2, 3)).astype(float), rng.integers(0, 2, (6, 3)) == 1
    labels = rng.integers(0, 2, 6)
    result = asymmetric_average_precision(logits, codes, np.array([0, 1]), labels, top_k=top_k, denominator=denominator)
    for query in range(2):
        counts = counts_by_score(logits[query].tolist(), np.where(codes, 1, -1), labels == query)
        values = [average_precision_of_list(hits, top_k, denominator) for hits in lists_of_all_tie_orders(*counts)]
        found = [side[query] for side in result]
        np.testing.assert_allclose(found, [np.mean(values), max(values), min(values)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["none", "tanh"])
@pytest.mark.parametrize("top_k", [None, 1, 10, 60])
def test_an_argsort_where_there_are_no_ties(activation, top_k):
    logits, codes, query_labels, labels = random_problem(0, 20, 60, 32, 4)
    values = logits.astype(float) if activation == "none" else np.tanh(logits.astype(float))
    scores = values @ codes.T
    assert np.diff(np.sort(scores, axis=1), axis=1).min() > 1e-9
    for denominator in DENOMINATORS:
        result = asymmetric_average_precision(
            logits, codes, query_labels, labels, top_k=top_k, denominator=denominator, activation=activation
        )
        for query, order in enumerate(np.argsort(-scores, axis=1)):
            hits = (labels[order] == query_labels[query]).astype(int).tolist()
            value = average_precision_of_list(hits, top_k, denominator)
            np.testing.assert_allclose([side[query] for side in result], [value] * 3, rtol=0, atol=1e-12)


def test_tanh_changes_the_order():
    logits = np.array([[9.0, 1.0, 1.1]])  # the sums are 9 - 2.1 and 2.1 - 9; after tanh, 0.04 - 0.8 and the reverse
    codes = np.array([[True, False, False], [False, True, True]])
    labels = np.array([0, 1])
    plain = asymmetric_average_precision(logits, codes, np.array([0]), labels)
    squashed = asymmetric_average_precision(logits, codes, np.array([0]), labels, activation="tanh")
    assert (plain.expected[0], squashed.expected[0]) == (1.0, 0.5)


def test_sums_that_are_equal_on_paper_are_tied():
    # In floats 0.1 + 0.2 - 0.3 is not 0, and sums of 0.1 depend on their order.
    logits = np.array([[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7]])
    codes = np.array([[1, 1, 1, -1, -1, -1, 1], [-1, 1, -1, 1, -1, 1, 1], [-1, -1, -1, 1, 1, 1, 1]]) > 0
    result = asymmetric_average_precision(logits, codes, np.array([0]), np.array([0, 1, 1]))
    np.testing.assert_allclose(np.concatenate(result), [(1 + 1 / 2 + 1 / 3) / 3, 1, 1 / 3])


def test_tiny_huge_and_zero_logits():
    _, codes, query_labels, labels = random_problem(3, 4, 30, 16, 2)
    logits = np.random.default_rng(0).normal(size=(4, 16))
    expected = asymmetric_average_precision(logits, codes, query_labels, labels)
    for scale in (2.0**-900, 2.0**900):  # powers of two: the same mantissas
        result = asymmetric_average_precision(logits * scale, codes, query_labels, labels)
        np.testing.assert_array_equal(result, expected)
    zero = asymmetric_average_precision(np.zeros((4, 16)), codes, query_labels, labels)
    one_bucket = np.array([[30]] * 4), np.array([[(labels == label).sum()] for label in query_labels])
    np.testing.assert_array_equal(zero, average_precision(*one_bucket))
    infinite = np.where(logits >= 0, np.inf, -np.inf)
    np.testing.assert_array_equal(
        asymmetric_average_precision(infinite, codes, query_labels, labels, activation="tanh"),
        asymmetric_average_precision(np.sign(infinite), codes, query_labels, labels),
    )


def test_chunks_and_the_order_of_items_change_nothing(monkeypatch):
    logits, codes, query_labels, labels = random_problem(1, 11, 50, 9, 3)
    expected = asymmetric_average_precision(logits, codes, query_labels, labels, top_k=7)
    order = np.random.default_rng(0).permutation(50)
    shuffled = asymmetric_average_precision(logits, codes[order], query_labels, labels[order], top_k=7)
    np.testing.assert_array_equal(shuffled, expected)
    for score_bytes, values in ((1, 1), (8 * 50 * 3, 70)):
        monkeypatch.setattr(asymmetric, "_SCORE_BYTES", score_bytes)
        monkeypatch.setattr(asymmetric, "_BLOCK_VALUES", values)
        np.testing.assert_array_equal(
            asymmetric_average_precision(logits, codes, query_labels, labels, top_k=7), expected
        )


def test_every_form_of_codes_logits_and_labels():
    logits, codes, query_labels, labels = random_problem(2, 6, 40, 21, 5)
    copies = logits.copy(), codes.copy(), query_labels.copy(), labels.copy()
    expected = asymmetric_average_precision(logits, codes, query_labels, labels, top_k=15)
    one_hot = np.eye(5, dtype=bool)
    for query_form in (logits, torch.from_numpy(logits).requires_grad_(), logits.astype(np.float64)):
        for code_form in (codes, codes > 0, pack_bits(codes > 0), torch.from_numpy(codes)):
            result = asymmetric_average_precision(query_form, code_form, query_labels, labels, top_k=15)
            np.testing.assert_array_equal(result, expected)
    multi_hot = asymmetric_average_precision(
        logits, codes, torch.from_numpy(one_hot[query_labels]), one_hot[labels].astype(float), top_k=15
    )
    np.testing.assert_array_equal(multi_hot, expected)
    for array, copy in zip((logits, codes, query_labels, labels), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("n_classes", [7, 80, 200])
def test_label_sets_that_share_several_labels(n_classes):
    logits, codes, _, _ = random_problem(4, 6, 40, 21, 5)
    rng = np.random.default_rng(1)
    query_sets, item_sets = (rng.random((n, n_classes)) < 2 / n_classes for n in (6, 40))
    query_sets[0] = False
    result = asymmetric_average_precision(logits, codes, query_sets, item_sets)
    assert result.expected[0] == 0
    scores = logits.astype(float) @ codes.T
    for query, order in enumerate(np.argsort(-scores, axis=1)):
        hits = [int((query_sets[query] & item_sets[item]).any()) for item in order]
        assert result.expected[query] == pytest.approx(average_precision_of_list(hits, None, "retrieved"), abs=1e-12)


def test_no_queries():
    result = asymmetric_average_precision(np.zeros((0, 4)), np.ones((3, 4), bool), np.zeros(0, int), np.zeros(3, int))
    assert [len(side) for side in result] == [0, 0, 0]


def test_wrong_logits_and_codes_are_refused():
    codes, ids = np.ones((2, 4), bool), np.array([0, 1])

    def evaluate(logits, codes=codes, labels=ids, **options):
        return asymmetric_average_precision(logits, codes, ids, labels, **options)

    with pytest.raises(TypeError, match="query_logits must be a torch tensor or a numpy array, got list"):
        evaluate([[1.0]])
    for wrong in (np.ones((2, 4), int), torch.ones((2, 4), dtype=torch.uint8)):
        with pytest.raises(TypeError, match="query_logits must be floating point, got .*; binary queries have Hamming"):
            evaluate(wrong)
    for wrong in (np.ones(4), np.ones((2, 0)), torch.ones(2, 1025)):
        with pytest.raises(
            ValueError, match=r"query_logits must have shape \(n_queries, n_bits\) with n_bits from 1 to"
        ):
            evaluate(wrong)
    with pytest.raises(ValueError, match="query_logits contain NaN; look for a diverged loss"):
        evaluate(np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="query_logits must be finite to be summed, got infinity; activation='tanh'"):
        evaluate(np.full((2, 4), np.inf))
    with pytest.raises(ValueError, match=r"codes of dtype bool must have shape \(n, n_bits=5\)"):
        evaluate(np.ones((2, 5)))
    with pytest.raises(ValueError, match="codes must hold at least one item, got none"):
        evaluate(np.ones((2, 4)), codes=codes[:0], labels=ids[:0])


def test_wrong_labels_and_options_are_refused():
    logits, codes, ids = np.ones((2, 4)), np.ones((3, 4), bool), np.array([0, 1])
    with pytest.raises(TypeError, match=r"query_labels: labels of shape \(n,\) are class ids and must be integers"):
        asymmetric_average_precision(logits, codes, ids.astype(float), np.zeros(3, int))
    with pytest.raises(
        ValueError, match="database_labels: labels must be class ids .* one row for each of the 3 codes"
    ):
        asymmetric_average_precision(logits, codes, ids, ids)
    with pytest.raises(ValueError, match="both be class ids .* or multi-hot of one width, got shapes .2,. and .3, 4."):
        asymmetric_average_precision(logits, codes, ids, np.ones((3, 4), bool))
    labels = np.zeros(3, int)
    with pytest.raises(ValueError, match="activation must be one of none, tanh, got 'relu'"):
        asymmetric_average_precision(logits, codes, ids, labels, activation="relu")
    with pytest.raises(ValueError, match="denominator must be one of retrieved, relevant, min, got 'all'"):
        asymmetric_average_precision(logits, codes, ids, labels, denominator="all")
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        asymmetric_average_precision(logits, codes, ids, labels, top_k=0)
    with pytest.raises(TypeError, match="top_k must be an int, got 1.5"):
        asymmetric_average_precision(logits, codes, ids, labels, top_k=1.5)
