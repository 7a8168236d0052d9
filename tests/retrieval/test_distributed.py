"""Evaluation in several processes: the same result to the last bit, whatever the parts."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from hashcenters import HammingRetrievalEvaluator
from hashcenters.retrieval import distributed

WORKER = """
import json, sys
import numpy as np, torch, torch.distributed as dist
from hashcenters import HammingRetrievalEvaluator

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting_{size}", rank=rank, world_size=size)
cases = json.load(open(f"{folder}/cases.json"))
answers = []
for number, case in enumerate(cases):
    data = np.load(f"{folder}/data_{case['data']}.npz")
    if rank == 1:  # its first life ends half-way: it starts again with a fresh evaluator and its whole part
        first = HammingRetrievalEvaluator(**case["arguments"])
        rows = np.array(case["parts"][str(size)]["items"][rank], dtype=np.int64)[::2]
        first.add_database(data["items"][rows], data["items_labels"][rows], ids=rows if case["ids"] else None)
    evaluator = HammingRetrievalEvaluator(**case["arguments"])
    if rank == 0:  # filled by merging alone
        whole, evaluator = evaluator, HammingRetrievalEvaluator(**case["arguments"])
    else:
        whole = evaluator
    for side, add in (("items", evaluator.add_database), ("queries", evaluator.add_queries)):
        rows = np.array(case["parts"][str(size)][side][rank], dtype=np.int64)
        for part in np.array_split(rows, 2) if len(rows) > 3 else [rows] * bool(len(rows)):
            ids = part if case["ids"] else None
            add(data[side][part], data[side + "_labels"][part], ids=ids)
    if whole is not evaluator:
        whole.merge(evaluator)
    if case["fails"] == rank and size > 1:
        whole._own_counts = lambda *arguments: 1 / 0
    try:
        result = whole.compute()
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        answers.append(str(error))
        continue
    answers.append(result.as_dict() | {
        "by_class": result.map_by_class,
        "curve": result.precision_at_n.tolist(),
        "recall": result.recall_within_radius.tolist(),
        "per_query": sorted(x for x in result.per_query.expected.tolist() if x == x),
    })
json.dump(answers, open(f"{folder}/answers_{size}_{rank}.json", "w"))
dist.destroy_process_group()
"""


def make_data(folder, name, n_bits, multi_hot, seed):
    random = np.random.default_rng(seed)
    arrays = {}
    for side, n in (("items", 60), ("queries", 25)):
        arrays[side] = random.random((n, n_bits)) < 0.5
        arrays[side + "_labels"] = random.random((n, 11)) < 0.3 if multi_hot else random.integers(0, 4, n)
    np.savez(folder / f"data_{name}.npz", **arrays)
    return arrays


def parts(random, n, size, repeats, empty):
    """Random uneven parts, perhaps the last of them empty; with repeats some rows belong to several."""
    owner = np.minimum(random.geometric(0.4, n), size - empty if size > 1 else 1) - 1
    lists = [np.flatnonzero(owner == rank).tolist() for rank in range(size)]
    if repeats:
        for rank in range(size):
            lists[rank] += random.integers(0, n, 7).tolist()
    return lists


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Run all cases in groups of 1, 2 and 3 processes; return case -> list of (size, rank, answer)."""
    folder = tmp_path_factory.mktemp("gloo")
    random = np.random.default_rng(5)
    cases = []
    for number, (n_bits, multi_hot, repeats, options) in enumerate(
        [
            (16, False, False, {"top_k": [10, None]}),
            (16, False, True, {"top_k": 20, "ap_denominator": "min"}),
            (9, True, False, {"gain": "exponential", "top_k": 7}),
            (65, True, True, {"top_k": 100, "ap_denominator": "relevant"}),
        ]
    ):
        make_data(folder, number, n_bits, multi_hot, number)
        split = {
            str(size): {
                side: parts(random, n, size, repeats, empty=number % 2) for side, n in (("items", 60), ("queries", 25))
            }
            for size in (1, 2, 3)
        }
        cases.append(
            {"data": number, "arguments": {"n_bits": n_bits, **options}, "ids": repeats, "parts": split, "fails": -1}
        )
    nothing = {str(size): {side: [[] for _ in range(size)] for side in ("items", "queries")} for size in (1, 2, 3)}
    cases.append({"data": 0, "arguments": {"n_bits": 16}, "ids": False, "parts": nothing, "fails": -1})
    cases.append({**cases[0], "fails": 1})
    (folder / "cases.json").write_text(json.dumps(cases))
    (folder / "worker.py").write_text(WORKER)
    workers = [
        subprocess.Popen([sys.executable, folder / "worker.py", str(rank), str(size), folder])
        for size in (1, 2, 3)
        for rank in range(size)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 6
    found = [[] for _ in cases]
    for size in (1, 2, 3):
        for rank in range(size):
            for case, answer in enumerate(json.loads((folder / f"answers_{size}_{rank}.json").read_text())):
                found[case].append((size, rank, answer))
    return found


@pytest.mark.parametrize("case", range(4))
def test_any_number_of_processes_gives_the_same_result_to_the_last_bit(answers, case):
    results = [answer for _, _, answer in answers[case]]
    assert results[0]["n_database"] == 60
    assert results[0]["n_queries"] == 25
    for result in results[1:]:
        assert result == results[0]


def test_all_processes_refuse_an_empty_database(answers):
    assert {answer for _, _, answer in answers[4]} == {"the database is empty: call add_database before compute"}


def test_a_process_that_fails_does_not_leave_the_others_waiting(answers):
    told = {(size, rank): answer for size, rank, answer in answers[5] if size > 1}
    assert told.pop((2, 1)) == told.pop((3, 1)) == "division by zero"
    assert set(told.values()) == {
        "other processes failed to count their items: [\"ZeroDivisionError('division by zero')\"]"
    }


def filled(rows=slice(None), ids=None, **options):
    random = np.random.default_rng(1)
    codes, labels = random.random((40, 12)) < 0.5, random.integers(0, 3, 40)
    evaluator = HammingRetrievalEvaluator(12, **options)
    evaluator.add_database(codes[rows], labels[rows], ids=None if ids is None else np.arange(40)[rows])
    evaluator.add_queries(codes[rows][:5], labels[rows][:5], ids=None if ids is None else np.arange(40)[rows][:5])
    return evaluator


def test_a_rank_that_restarts_adds_its_part_again_to_a_fresh_evaluator():
    """Nothing outlives the evaluator, so that the second life counts like the first."""
    first, second = filled(), filled()
    assert first.compute().as_dict() == second.compute().as_dict()
    first.reset()
    with pytest.raises(ValueError, match="the database is empty"):
        first.compute()


def test_processes_know_of_each_other_only_when_there_are_some():
    assert not distributed.is_active()


def test_owned_and_sums_of_a_single_process(monkeypatch):
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 2)
    everyone = [np.array([1, 2]), np.array([5]), np.array([2, 3, 5, 6])]
    monkeypatch.setattr(distributed, "gather", lambda ids: everyone)
    assert distributed.owned_here(everyone[2]).tolist() == [False, True, False, True]
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 0)
    assert distributed.owned_here(everyone[0]).tolist() == [True, True]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([("E(12)", None), ("E(13)", None)], "all processes must have the same settings and kind of labels, got"),
        ([("E(12)", None), ("E(12)", 5)], "all processes must have the same settings and kind of labels, got"),
    ],
)
def test_processes_that_do_not_fit_are_refused(monkeypatch, states, message):
    monkeypatch.setattr(distributed, "is_active", lambda: True)
    monkeypatch.setattr(distributed, "gather", lambda value: states)
    with pytest.raises(ValueError, match=message):
        filled().compute()
    assert filled().compute(sync=False).n_database == 40


def test_ids_in_one_process_only_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "is_active", lambda: True)

    def gather(value):
        return [value, (True, False)] if value[0] is True else [value, value]

    monkeypatch.setattr(distributed, "gather", gather)
    with pytest.raises(ValueError, match="ids must be given in all processes or in none"):
        filled(ids=True).compute()


def test_merging_is_adding():
    merged, whole = filled(slice(0, 13)), filled(slice(0, 13))
    other = filled(slice(13, 40))
    merged.merge(other)
    random = np.random.default_rng(1)
    codes, labels = random.random((40, 12)) < 0.5, random.integers(0, 3, 40)
    whole.add_database(codes[13:], labels[13:])
    whole.add_queries(codes[13:18], labels[13:18])
    assert merged.compute().as_dict() == whole.compute().as_dict()
    assert other.compute().n_database == 27
    merged.merge(HammingRetrievalEvaluator(12))
    assert merged.compute().n_database == 40


def test_items_with_one_id_count_once():
    merged = filled(slice(0, 25), ids=True)
    merged.merge(filled(slice(10, 40), ids=True))
    whole = filled(ids=True)
    random = np.random.default_rng(1)
    codes, labels = random.random((40, 12)) < 0.5, random.integers(0, 3, 40)
    whole.add_queries(torch.from_numpy(codes[10:15]), labels[10:15], ids=torch.arange(10, 15))
    assert merged.compute().as_dict() == whole.compute().as_dict()
    assert merged.compute().n_database == 40
    assert merged.compute().n_queries == 10


def test_merging_teaches_the_kind_of_labels():
    other = HammingRetrievalEvaluator(12)
    other.add_database(np.ones((2, 12), bool), np.eye(3, dtype=bool)[:2])
    merged = HammingRetrievalEvaluator(12)
    merged.merge(other)
    with pytest.raises(ValueError, match="got multi-hot rows of 5 classes after multi-hot rows of 3 classes"):
        merged.add_queries(np.ones((1, 12), bool), np.ones((1, 5), bool))
    with pytest.raises(ValueError, match=r"got class ids \(n,\) after multi-hot rows of 3 classes"):
        merged.add_queries(np.ones((1, 12), bool), np.zeros(1, int))


def test_empty_batches_decide_nothing():
    evaluator = HammingRetrievalEvaluator(12)
    evaluator.add_database(np.ones((0, 12), bool), np.zeros(0, int))
    evaluator.add_database(np.ones((2, 12), bool), np.eye(2, dtype=bool), ids=[5, 6])
    evaluator.add_queries(np.ones((1, 12), bool), np.ones((1, 2), bool))
    assert evaluator.compute().n_database == 2


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(TypeError, match="other must be a HammingRetrievalEvaluator, got dict"):
        filled().merge({})
    with pytest.raises(ValueError, match="other must have n_bits=12 like this evaluator, got 8"):
        filled().merge(HammingRetrievalEvaluator(8))
    evaluator = filled()
    with pytest.raises(ValueError, match="other must be another evaluator"):
        evaluator.merge(evaluator)
    multi_hot = HammingRetrievalEvaluator(12)
    multi_hot.add_database(np.ones((1, 12), bool), np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="labels must be of one kind in every call"):
        filled().merge(multi_hot)
    for one, two in ((filled(), filled(ids=True)), (filled(ids=True), filled())):
        with pytest.raises(ValueError, match="ids must be given in every call that adds to the database, or in none"):
            one.merge(two)
        assert one.compute().n_database == 40
    with pytest.raises(
        ValueError, match=r"ids must be integers of shape \(n,\), one for each of the 2 codes, got float64"
    ):
        filled().add_database(np.ones((2, 12), bool), np.zeros(2, int), ids=np.zeros(2))
    with pytest.raises(ValueError, match=r"ids must be smaller than 2\*\*63, got 18446744073709551615"):
        filled(ids=True).add_database(np.ones((1, 12), bool), np.array([0]), ids=np.array([2**64 - 1], np.uint64))
    with pytest.raises(ValueError, match="ids must be given in every call that adds to the queries"):
        filled(ids=True).add_queries(np.ones((2, 12), bool), np.zeros(2, int))
