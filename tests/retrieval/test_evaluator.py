import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters.retrieval import HammingRetrievalEvaluator, RetrievalResult, graded, hamming_distance
from references import average_precision_of_list, histograms_by_loop, lists_of_all_tie_orders

GOLDEN = Path(__file__).parents[3] / "shared" / "data" / "ucf101_64bit.npz"


def evaluate(queries, query_labels, database, labels, **options):
    evaluator = HammingRetrievalEvaluator(database.shape[1], **options)
    evaluator.add_database(database, labels)
    evaluator.add_queries(queries, query_labels)
    return evaluator.compute()


def assert_identical(first, second):
    """Equal to the last bit in every field."""
    for field in dataclasses.fields(RetrievalResult):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if field.name == "per_query":  # in the order of the queries
            for one, other in zip(a, b, strict=True):
                torch.testing.assert_close(one.sort().values, other.sort().values, rtol=0, atol=0, equal_nan=True)
        elif field.name == "precision_recall":
            torch.testing.assert_close(tuple(a), tuple(b), rtol=0, atol=0, equal_nan=True)
        elif isinstance(a, torch.Tensor):
            assert a.dtype == torch.float64
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


def random_bits(n, n_bits, seed):
    return torch.randint(0, 2, (n, n_bits), generator=torch.Generator().manual_seed(seed)).bool()


@pytest.fixture
def case():
    """(queries, labels, database, labels): 12 queries, 40 items, 10 bits, 3 classes."""
    generator = torch.Generator().manual_seed(1)
    labels = [torch.randint(0, 3, (n,), generator=generator) for n in (12, 40)]
    return random_bits(12, 10, 2), labels[0], random_bits(40, 10, 3), labels[1]


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"the published UCF101 codes are not at {GOLDEN}")
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file}


def golden_result(golden, **options):
    evaluator = HammingRetrievalEvaluator(64, **options)
    evaluator.add_database(golden["database"], golden["database_labels"])
    evaluator.add_queries(golden["query"], golden["query_labels"])
    return evaluator.compute()


@pytest.mark.parametrize(
    ("denominator", "expected", "best", "worst"),
    [
        ("retrieved", 0.873955, 0.889033, 0.862557),
        ("min", 0.809913, 0.820606, 0.800661),
        ("relevant", 0.779095, None, None),
    ],
)
def test_published_ucf101_codes_map_at_100(golden, denominator, expected, best, worst):
    result = golden_result(golden, top_k=100, ap_denominator=denominator)
    assert result.map == pytest.approx(expected, abs=1e-6)
    if best is not None:
        assert result.map_best == pytest.approx(best, abs=1e-6)
        assert result.map_worst == pytest.approx(worst, abs=1e-6)


def test_published_ucf101_codes_everything_else(golden):
    result = golden_result(golden)
    assert result.map == pytest.approx(0.845848, abs=1e-6)
    for n, precision in ((1, 0.888861), (10, 0.876384), (100, 0.775706), (500, 0.181306)):
        assert result.precision_at_n[n - 1].item() == pytest.approx(precision, abs=1e-6)
    assert result.precision_within_radius[2].item() == pytest.approx(0.485209, abs=1e-6)
    assert result.precision_recall.precision[2].item() == pytest.approx(0.992186, abs=1e-6)
    assert result.empty_share[2].item() == pytest.approx(0.51097, abs=1e-5)
    assert result.recall_at_n[-1].item() == pytest.approx(1.0, abs=1e-10)
    assert len(result.precision_at_n) == result.n_database == 9537
    assert (result.n_queries, result.n_without_labels, result.n_without_relevant) == (3783, 0, 0)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.sampled_from([None, 1, 3, 9]), st.integers(0, 2**31))
def test_codes_to_map_over_all_tie_orders(n_bits, n_queries, n_items, top_k, seed):
    """From codes and labels to the three means, one query and one order of ties at a time."""
    queries, database = random_bits(n_queries, n_bits, seed), random_bits(n_items, n_bits, seed + 1)
    labels = random_bits(n_queries + n_items, 1, seed + 2)[:, 0].long()
    query_labels, labels = labels[:n_queries], labels[n_queries:]
    items, relevant = histograms_by_loop(
        queries.numpy(), database.numpy(), lambda i, j: bool(query_labels[i] == labels[j])
    )
    means = np.zeros(3)
    for row, hits in zip(items, relevant, strict=True):
        values = [average_precision_of_list(order, top_k, "min") for order in lists_of_all_tie_orders(row, hits)]
        means += np.array([np.mean(values), max(values), min(values)]) / n_queries
    result = evaluate(queries, query_labels, database, labels, top_k=top_k, ap_denominator="min")
    np.testing.assert_allclose([result.map, result.map_best, result.map_worst], means, rtol=0, atol=1e-12)
    assert result.n_without_relevant == (relevant.sum(1) == 0).sum()
    assert len(result.precision_at_n) == len(result.recall_at_n) == min(top_k or n_items, n_items)


@settings(max_examples=30)
@given(st.integers(1, 70), st.booleans(), st.integers(0, 2**31))
def test_order_and_batches_of_the_calls_change_no_bit(n_bits, multi_hot, seed):
    queries, database = random_bits(9, n_bits, seed), random_bits(25, n_bits, seed + 1)
    labels = random_bits(34, 6, seed + 2)
    labels[0, 0] = True
    if not multi_hot:
        labels = labels.long().sum(1)
    whole = evaluate(queries, labels[:9], database, labels[9:], top_k=7)
    generator = torch.Generator().manual_seed(seed)
    order, item_order = torch.randperm(9, generator=generator), torch.randperm(25, generator=generator)
    evaluator = HammingRetrievalEvaluator(n_bits, top_k=7)
    for part in item_order.split(4)[:3]:
        evaluator.add_database(database[part], labels[9:][part])
    for part in order.split(5):
        evaluator.add_queries(queries[part], labels[part])
    evaluator.add_database(database[:0], labels[:0])
    for part in item_order.split(4)[3:]:
        evaluator.add_database(database[part], labels[9:][part])
    assert_identical(evaluator.compute(), whole)
    assert_identical(evaluator.compute(), whole)


def test_every_form_of_codes_and_labels_gives_the_same_result(case):
    queries, query_labels, database, labels = case
    expected = evaluate(*case)
    signs = [codes.float() * 2 - 1 for codes in (queries, database)]
    assert_identical(evaluate(signs[0].numpy(), query_labels.numpy(), signs[1].bfloat16(), labels.int()), expected)
    evaluator = HammingRetrievalEvaluator(10)
    evaluator.add_queries(np.packbits(queries.numpy(), axis=1), query_labels.numpy().astype(np.uint8))
    evaluator.add_database(torch.from_numpy(np.packbits(database.numpy(), axis=1)), labels.to(torch.int16))
    assert_identical(evaluator.compute(), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"top_k": 5, "ap_denominator": "min", "radius": 1}])
def test_one_hot_equals_class_ids(case, dtype, options):
    queries, query_labels, database, labels = case
    one_hot = [torch.nn.functional.one_hot(ids, 3).to(dtype) for ids in (query_labels, labels)]
    expected = evaluate(*case, **options)
    result = evaluate(queries, one_hot[0], database, one_hot[1], **options)
    # Rows sort differently, so the last bit of a mean may differ.
    assert result.map == pytest.approx(expected.map, abs=1e-14)
    assert result.as_dict() == pytest.approx(expected.as_dict(), abs=1e-14)
    torch.testing.assert_close(result.precision_at_n, expected.precision_at_n, rtol=0, atol=1e-14)
    torch.testing.assert_close(result.precision_recall, expected.precision_recall, rtol=0, atol=1e-14, equal_nan=True)


def test_queries_without_labels_are_left_out_and_counted(case):
    queries, query_labels, database, labels = case
    sets, item_sets = (torch.nn.functional.one_hot(ids, 4) for ids in (query_labels, labels))
    expected = evaluate(queries, sets, database, item_sets)
    more = torch.cat([sets[:4], torch.zeros(2, 4, dtype=sets.dtype), sets[4:]])
    result = evaluate(torch.cat([queries[:4], queries[:2], queries[4:]]), more, database, item_sets)
    assert (result.n_queries, result.n_without_labels) == (14, 2)
    per_query = type(result.per_query)(*(torch.cat([values[:4], values[6:]]) for values in result.per_query))
    assert all(values[4:6].isnan().all() for values in result.per_query)
    result = dataclasses.replace(result, per_query=per_query)
    assert_identical(dataclasses.replace(result, n_queries=12, n_without_labels=0), expected)
    assert "2 queries without labels left out" in str(result)


def test_queries_without_relevant_items_count_0(case):
    queries, query_labels, database, labels = case
    expected = evaluate(*case, top_k=6)
    result = evaluate(queries.repeat(2, 1), torch.cat([query_labels, query_labels + 3]), database, labels, top_k=6)
    assert (result.n_queries, result.n_without_relevant) == (24, 12)
    assert result.map == pytest.approx(expected.map / 2, abs=1e-14)
    torch.testing.assert_close(result.precision_at_n, expected.precision_at_n / 2, rtol=0, atol=1e-14)
    torch.testing.assert_close(result.recall_within_radius, expected.recall_within_radius / 2, rtol=0, atol=1e-14)
    assert "12 queries without relevant items count 0" in str(result)
    # Items without labels are found, and relevant to nobody.
    unlabeled = torch.zeros(5, 3, dtype=torch.long)
    one_hot = [torch.nn.functional.one_hot(ids, 3) for ids in (query_labels, labels)]
    result = evaluate(queries, one_hot[0], torch.cat([database, queries[:5]]), torch.cat([one_hot[1], unlabeled]))
    assert result.precision_at_n[-1].item() == pytest.approx(evaluate(*case).precision_at_n[-1].item() * 40 / 45)


def test_exclude_self_equals_removing_the_query_from_the_database(case):
    _, _, database, labels = case
    result = evaluate(database, labels, database, labels, top_k=8, exclude_self=True)
    alone = []
    for i in range(40):
        rest = torch.arange(40) != i
        alone.append(evaluate(database[i : i + 1], labels[i : i + 1], database[rest], labels[rest], top_k=8))
    for name in ("map", "map_best", "map_worst"):
        assert getattr(result, name) == pytest.approx(np.mean([getattr(one, name) for one in alone]), abs=1e-14)
    for name in ("precision_at_n", "recall_at_n", "precision_within_radius", "recall_within_radius", "empty_share"):
        mean = torch.stack([getattr(one, name) for one in alone]).mean(0)
        torch.testing.assert_close(getattr(result, name), mean, rtol=0, atol=1e-14)


def test_perfect_codes_and_collapsed_codes():
    codes, labels = torch.eye(4).mul(2).sub(1).repeat(5, 1), torch.arange(4).repeat(5)
    perfect = evaluate(codes, labels, codes, labels)
    assert (perfect.map, perfect.map_best, perfect.map_worst) == (1.0, 1.0, 1.0)
    assert perfect.precision_recall.precision.tolist() == [1.0, 1.0, 0.25, 0.25, 0.25]
    collapsed = evaluate(-torch.ones(20, 4), labels, -torch.ones(20, 4), labels)
    assert collapsed.map_best == 1.0
    assert collapsed.map_worst == pytest.approx(sum(i / (15 + i) for i in range(1, 6)) / 5)
    assert collapsed.map_worst < collapsed.map < collapsed.map_best
    torch.testing.assert_close(collapsed.precision_at_n, torch.full((20,), 0.25, dtype=torch.float64))


def test_distance_of_exactly_n_bits_counts():
    result = evaluate(torch.ones(1, 6).bool(), torch.tensor([0]), torch.zeros(3, 6).bool(), torch.tensor([0, 0, 0]))
    assert result.map == 1.0
    assert result.empty_share.tolist() == [1.0] * 6 + [0.0]
    assert [math.isnan(value) for value in result.precision_recall.precision.tolist()] == [True] * 6 + [False]
    assert result.precision_within_radius.tolist() == [0.0] * 6 + [1.0]


def test_scalars_and_table(case):
    result = evaluate(*case, top_k=5)
    scalars = result.as_dict()
    assert list(scalars) == [
        "map@5",
        "map_best@5",
        "map_worst@5",
        "precision@1",
        "recall@1",
        "precision@5",
        "recall@5",
        "precision@r2",
        "recall@r2",
        "candidates@r2",
        "empty@r2",
        "n_queries",
        "n_without_labels",
        "n_without_relevant",
        "n_database",
    ]
    assert all(type(value) is float for value in scalars.values())
    assert scalars["map@5"] == result.map
    assert scalars["precision@5"] == result.precision_at_n[4]
    assert scalars["empty@r2"] == result.empty_share[2]
    lines = str(result).splitlines()
    assert lines[0] == "12 queries, 40 items, 10 bits, AP divided by the relevant items retrieved"
    assert lines[1].startswith(f"  mAP@5                {result.map:.4f}  {result.map_worst:.4f} to ")
    assert len(lines) == 7
    wide = evaluate(*case, radius=50)
    assert wide.as_dict()["recall@r50"] == pytest.approx(1.0)
    assert wide.as_dict()["map"] == wide.map
    assert str(wide).splitlines()[1].startswith("  mAP ")


def test_inputs_stay_unchanged_and_may_change_afterwards(case):
    queries, query_labels, database, labels = case
    packed = np.packbits(database.numpy(), axis=1)
    ids, signs = labels.numpy().copy(), queries.float() * 2 - 1
    before = packed.copy(), ids.copy(), signs.clone(), query_labels.clone()
    evaluator = HammingRetrievalEvaluator(10)
    evaluator.add_database(packed, ids)
    evaluator.add_queries(signs, query_labels)
    expected = evaluator.compute()
    for array, copy in zip((packed, ids, signs, query_labels), before, strict=True):
        assert (array == copy).all()
    packed[:], ids[:] = 0, 0
    assert_identical(evaluator.compute(), expected)


def test_adding_after_compute_and_reset(case):
    queries, query_labels, database, labels = case
    evaluator = HammingRetrievalEvaluator(10)
    evaluator.add_database(database[:30], labels[:30])
    evaluator.add_queries(queries, query_labels)
    evaluator.compute()
    evaluator.add_database(database[30:], labels[30:])
    assert_identical(evaluator.compute(), evaluate(*case))
    evaluator.reset()
    with pytest.raises(ValueError, match="the database is empty: call add_database before compute"):
        evaluator.compute()
    evaluator.add_database(database, torch.nn.functional.one_hot(labels))  # another kind of labels is fine now
    with pytest.raises(ValueError, match="there are no queries: call add_queries before compute"):
        evaluator.compute()


def test_repr():
    assert repr(HammingRetrievalEvaluator(64, top_k=5)) == (
        "HammingRetrievalEvaluator(64, top_k=5, radius=2, ap_denominator='retrieved', exclude_self=False, gain=None)"
    )


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0,), {}, ValueError, "n_bits must be at least 1, got 0"),
        ((1025,), {}, ValueError, "n_bits must be at most 1024, got 1025"),
        ((8,), {"top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
        ((8,), {"top_k": 1.5}, TypeError, "top_k must be an int, got 1.5"),
        ((8,), {"radius": -1}, ValueError, "radius must be at least 0, got -1"),
        (
            (8,),
            {"ap_denominator": "all"},
            ValueError,
            "ap_denominator must be one of retrieved, relevant, min, got 'all'",
        ),
    ],
)
def test_wrong_settings_are_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        HammingRetrievalEvaluator(*arguments, **options)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1], TypeError, "labels must be a torch tensor or a numpy array, got list"),
        (torch.tensor([0]), ValueError, r"one row for each of the 2 codes, got shape \(1,\)"),
        (torch.tensor(0), ValueError, r"one row for each of the 2 codes, got shape \(\)"),
        (torch.zeros(2, 0), ValueError, r"one row for each of the 2 codes, got shape \(2, 0\)"),
        (torch.tensor([0.0, 1.0]), TypeError, "are class ids and must be integers, got float32"),
        (np.array([True, False]), TypeError, "are class ids and must be integers, got bool"),
        (torch.tensor([0, -1]), ValueError, "are class ids and must be at least 0, got -1"),
        (torch.tensor([[0], [2]]), ValueError, r"must hold only 0 and 1; class ids have shape \(n,\)"),
        (np.array([[0.0], [np.nan]]), ValueError, "must hold only 0 and 1"),
    ],
)
def test_wrong_labels_are_refused(labels, error, message):
    evaluator = HammingRetrievalEvaluator(8)
    for add in (evaluator.add_database, evaluator.add_queries):
        with pytest.raises(error, match=message):
            add(-torch.ones(2, 8), labels)


def test_two_kinds_of_labels_are_refused():
    codes = -torch.ones(2, 8)
    evaluator = HammingRetrievalEvaluator(8)
    evaluator.add_database(codes, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"one kind in every call: got multi-hot rows of 2 classes after class ids"):
        evaluator.add_queries(codes, torch.eye(2))
    evaluator.reset()
    evaluator.add_queries(codes, torch.eye(2))
    with pytest.raises(ValueError, match="got multi-hot rows of 3 classes after multi-hot rows of 2 classes"):
        evaluator.add_database(codes, torch.zeros(2, 3))


def test_wrong_codes_are_refused_and_leave_no_trace():
    evaluator = HammingRetrievalEvaluator(16)
    with pytest.raises(ValueError, match="codes are floats without any negative value"):
        evaluator.add_database(torch.ones(2, 16), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="it has the width of packed codes, which must be uint8"):
        evaluator.add_queries(-torch.ones(2, 2), torch.eye(2))
    with pytest.raises(ValueError, match="the database is empty"):
        evaluator.compute()


def test_nothing_to_evaluate_is_refused():
    codes = -torch.ones(1, 8)
    evaluator = HammingRetrievalEvaluator(8)
    evaluator.add_database(codes, torch.ones(1, 3))
    evaluator.add_queries(codes, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="no query has a label"):
        evaluator.compute()
    evaluator = HammingRetrievalEvaluator(8, exclude_self=True)
    evaluator.add_database(codes, torch.tensor([1]))
    evaluator.add_queries(codes, torch.tensor([1]))
    with pytest.raises(ValueError, match="exclude_self leaves nothing to find in a database of 1 item"):
        evaluator.compute()
    evaluator.add_database(-codes > 0, torch.tensor([1]))
    evaluator.add_queries(codes, torch.tensor([2]))
    with pytest.raises(ValueError, match="exclude_self needs every query in the database, but 1 of 2"):
        evaluator.compute()


def test_numba_loads_with_the_first_evaluation_and_not_before():
    program = (
        "import sys, torch\n"
        "from hashcenters.retrieval import HammingRetrievalEvaluator\n"
        "evaluator = HammingRetrievalEvaluator(8)\n"
        "for add in evaluator.add_database, evaluator.add_queries:\n"
        "    add(-torch.ones(1, 8), torch.tensor([0]))\n"
        "print({'numba', 'scipy'} & set(sys.modules))\n"
        "evaluator.compute()\n"
        "print('numba' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n") == ["set()", "True", ""]


def test_class_ids_beyond_int64_are_refused():
    evaluator = HammingRetrievalEvaluator(8)
    with pytest.raises(ValueError, match=r"must be smaller than 2\*\*63, got 9223372036854775808"):
        evaluator.add_database(-torch.ones(1, 8), np.array([2**63], dtype=np.uint64))


def test_a_batch_that_is_really_all_ones_goes_in_as_bool():
    # The paper's first center is all +1, so a well-trained batch of class 0 has no negative logit.
    logits, labels = torch.full((4, 8), 3.0), torch.zeros(4, dtype=torch.int64)
    evaluator = HammingRetrievalEvaluator(8)
    with pytest.raises(ValueError, match=r"a batch of one class whose center is all \+1"):
        evaluator.add_database(logits, labels)
    evaluator.add_database(logits >= 0, labels)
    evaluator.add_queries(logits >= 0, labels)
    assert evaluator.compute().map == 1


def test_several_top_k_in_one_pass(case):
    result = evaluate(*case, top_k=(7, None, 3))
    assert result.top_k == 7
    assert list(result.map_at) == [7, None, 3]
    for k, values in result.map_at.items():
        alone = evaluate(*case, top_k=k)
        assert tuple(values) == (alone.map, alone.map_best, alone.map_worst)
    assert (result.map, result.map_best, result.map_worst) == tuple(result.map_at[7])
    everything = evaluate(*case)
    assert torch.equal(result.precision_at_n, everything.precision_at_n)
    assert result.as_dict()["map"] == everything.map
    assert result.as_dict()["map@3"] == result.map_at[3].expected
    assert "mAP@3" in str(result)
    assert len(evaluate(*case, top_k=(3, 9)).precision_at_n) == 9


def test_values_by_query_and_by_class(case):
    queries, query_labels, database, labels = case
    result = evaluate(*case, top_k=9)
    for i in range(len(queries)):
        alone = evaluate(queries[i : i + 1], query_labels[i : i + 1], database, labels, top_k=9)
        assert [float(values[i]) for values in result.per_query] == [alone.map, alone.map_best, alone.map_worst]
    assert set(result.map_by_class) == set(query_labels.tolist())
    for c, mean in result.map_by_class.items():
        assert mean == pytest.approx(float(result.per_query.expected[query_labels == c].mean()), abs=1e-12)


def test_values_by_class_of_label_sets():
    codes = torch.rand(30, 12) - 0.5
    labels = torch.rand(30, 6) < 0.3
    labels[4] = False
    labels[:, 5] = False
    result = evaluate(codes[:10], labels[:10], codes[10:], labels[10:])
    assert math.isnan(result.per_query.expected[4])
    for c in range(6):
        member = labels[:10, c]
        if member.any():
            expected = float(result.per_query.expected[member].mean())
            assert result.map_by_class[c] == pytest.approx(expected, abs=1e-12)
        else:
            assert c not in result.map_by_class


def test_candidates_are_the_items_in_the_ball(case):
    queries, _, database, _ = case
    result = evaluate(*case)
    distances = hamming_distance(torch.as_tensor(queries), torch.as_tensor(database))
    for radius in range(11):
        expected = float((distances <= radius).double().sum(dim=1).mean())
        assert float(result.candidates_within_radius[radius]) == pytest.approx(expected, abs=1e-12)
    assert result.as_dict()["candidates@r2"] == float(result.candidates_within_radius[2])


def test_bad_top_k_and_gain_are_refused():
    with pytest.raises(ValueError, match=r"top_k must be one number or several different ones, got \[\]"):
        HammingRetrievalEvaluator(8, top_k=[])
    with pytest.raises(ValueError, match=r"top_k must be one number or several different ones, got \(3, 3\)"):
        HammingRetrievalEvaluator(8, top_k=(3, 3))
    with pytest.raises(TypeError, match="top_k must be an int, got '5'"):
        HammingRetrievalEvaluator(8, top_k="5")
    with pytest.raises(ValueError, match="gain must be None or one of exponential, linear, got 'log'"):
        HammingRetrievalEvaluator(8, gain="log")
    with pytest.raises(ValueError, match="exclude_self does not go with gain"):
        HammingRetrievalEvaluator(8, gain="linear", exclude_self=True)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_counting_on_a_device_changes_nothing(case, multi_hot):
    queries, query_labels, database, labels = case
    if multi_hot:
        query_labels, labels = (torch.nn.functional.one_hot(ids, 3) for ids in (query_labels, labels))
    expected = evaluate(queries, query_labels, database, labels, top_k=6)
    assert_identical(evaluate(queries, query_labels, database, labels, top_k=6, device="cpu"), expected)


def test_graded_metrics_of_label_sets(case):
    queries, _, database, _ = case
    random = torch.Generator().manual_seed(3)
    sets = [torch.rand(len(codes), 5, generator=random) < 0.5 for codes in (queries, database)]
    sets[0][:, 0] = True  # every query has a label
    result = evaluate(queries, sets[0], database, sets[1], top_k=(6, None), gain="linear")
    plain = evaluate(queries, sets[0], database, sets[1], top_k=(6, None))
    assert (result.map, result.map_best, result.map_worst) == (plain.map, plain.map_best, plain.map_worst)
    assert plain.ndcg_at == plain.acg_at == plain.wap_at == {}
    shared = sets[0].double() @ sets[1].double().T
    distances = hamming_distance(queries, database)
    counts = np.zeros((len(queries), 11, 6), dtype=np.int64)
    for i in range(len(queries)):
        for j in range(len(database)):
            counts[i, int(distances[i, j]), int(shared[i, j])] += 1
    for k in (6, None):
        assert result.ndcg_at[k] == pytest.approx(graded.ndcg(counts, top_k=k, gain="linear").mean(), abs=1e-12)
        n = 40 if k is None else k
        assert result.acg_at[k] == pytest.approx(graded.average_cumulative_gain(counts, top_k=n).mean(), abs=1e-12)
        wap = graded.weighted_average_precision(counts, top_k=k).mean()
        assert result.wap_at[k] == pytest.approx(wap, abs=1e-12)
    assert {"ndcg@6", "acg@6", "wap@6", "ndcg", "acg", "wap"} < set(result.as_dict())
    assert "nDCG@6" in str(result)


def test_interval_of_map(case):
    result = evaluate(*case, top_k=9)
    low, high = result.map_interval(0.9, n_resamples=500)
    assert 0 <= low < result.map < high <= 1
    assert (low, high) == result.map_interval(0.9, n_resamples=500)
    order = torch.randperm(12)
    queries, labels, *database = case
    assert (low, high) == evaluate(queries[order], labels[order], *database, top_k=9).map_interval(0.9, n_resamples=500)


def test_a_device_that_is_not_there_is_refused_at_once():
    with pytest.raises((RuntimeError, AssertionError)):
        HammingRetrievalEvaluator(8, device="cuda:99")
