"""The benchmarks of evaluation and of ties run, and say what is measured here the slow way."""

import csv
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hashcenters import HammingRetrievalEvaluator

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
UCF101 = Path(__file__).parents[2] / "shared" / "data" / "ucf101_64bit.npz"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What --quick prints, and its rows."""
    table = tmp_path_factory.mktemp("quick") / "new" / "retrieval.csv"
    command = [sys.executable, str(BENCHMARKS / "retrieval.py"), "--quick", "--csv", str(table)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with table.open(newline="") as file:
        return run.stdout, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def retrieval():
    return runpy.run_path(str(BENCHMARKS / "retrieval.py"))


@pytest.fixture(scope="module")
def ties():
    return runpy.run_path(str(BENCHMARKS / "ties.py"))


def average_precision(relevant):
    """Of one ranked list, word by word of the definition."""
    hits, total = 0, 0.0
    for rank, is_relevant in enumerate(relevant, start=1):
        if is_relevant:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def test_quick_rows_agree_and_are_complete(quick, retrieval):
    printed, rows = quick
    assert list(rows[0]) == list(retrieval["Row"]._fields)
    names = ["ours", "faiss + numpy", "argsort by query"]
    if not importlib.util.find_spec("faiss"):
        names.remove("faiss + numpy")
        assert "faiss + numpy is left out: faiss is not installed" in printed
    assert [row["contestant"] for row in rows] == [*names, *names[:2]]
    for row in rows:
        assert row["table"] == "side by side"
        assert (row["n_queries"], row["n_items"], row["n_bits"]) == ("300", "4000", "64")
        worst, value, best = (float(row[name]) for name in ("map_worst", "map", "map_best"))
        assert 0.2 < worst <= value <= best < 1
        assert 0 < float(row["best_seconds"]) <= float(row["median_seconds"])
        if sys.platform == "linux":
            assert float(row["memory_mib"]) > 0
    ours = {row["n_classes"]: row for row in rows if row["contestant"] == "ours"}
    assert set(ours) == {"100", "80"}
    for row in rows:
        ratio = float(row["best_seconds"]) / float(ours[row["n_classes"]]["best_seconds"])
        assert float(row["times_ours"]) == pytest.approx(ratio, rel=0.01)
    assert printed.splitlines()[-1].endswith(f"{len(rows)} of {len(rows)} side by side agree")


def test_quick_map_is_the_evaluators(quick, retrieval):
    _, rows = quick
    setting = retrieval["QUICK"]
    data = retrieval["in_memory"](setting)
    for n_queries, name in ((300, "ours"), (50, "argsort by query")):
        evaluator = HammingRetrievalEvaluator(64, top_k=100)
        evaluator.add_database(data.database, data.database_labels)
        evaluator.add_queries(data.queries[:n_queries], data.query_labels[:n_queries])
        result = evaluator.compute()
        row = next(row for row in rows if row["contestant"] == name)
        assert int(row["queries_timed"]) == n_queries
        assert float(row["map_best"]) == pytest.approx(result.map_best, abs=1e-6)
        assert float(row["map_worst"]) == pytest.approx(result.map_worst, abs=1e-6)
        if name == "ours":
            assert float(row["map"]) == pytest.approx(result.map, abs=1e-6)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_data_is_seeded_and_noisy_and_does_not_depend_on_the_chunk(retrieval, monkeypatch, multi_hot):
    setting = retrieval["Setting"](n_queries=5, n_items=3000, n_classes=30, multi_hot=multi_hot)
    data = retrieval["in_memory"](setting)
    assert data.database.shape == (3000, 64)
    assert data.database.dtype == np.float32
    assert set(np.unique(data.database)) == {-1.0, 1.0}
    assert np.array_equal(data.queries, retrieval["in_memory"](setting).queries)
    assert not np.array_equal(data.queries, data.database[:5])

    labels = data.database_labels
    if multi_hot:
        assert set(labels.sum(axis=1)) <= {1, 2, 3}
        labels = np.where(labels.sum(axis=1) == 1, labels.argmax(axis=1), -1)  # the pure ones
    for label in range(3):
        own = data.database[labels == label]
        center = np.where(own.sum(axis=0) >= 0, 1, -1)
        if len(own) > 20:
            assert 0.08 < (own != center).mean() < 0.16


@pytest.mark.parametrize("multi_hot", [False, True])
def test_contestants_give_the_map_of_one_order(retrieval, multi_hot):
    """Where all distances differ, no order of ties is left: all must agree."""
    rng = np.random.default_rng(0)
    n_bits, n_items, top_k = 64, 40, 15
    query = np.where(rng.random((1, n_bits)) < 0.5, 1, -1).astype(np.float32)
    database = np.repeat(query, n_items, axis=0)
    distances = rng.permutation(n_items)
    for row, distance in enumerate(distances):
        database[row, rng.permutation(n_bits)[:distance]] *= -1
    labels = rng.integers(0, 2, n_items)
    relevant = labels == 1
    sides = np.array([1]), labels
    if multi_hot:
        sides = tuple(np.eye(3, dtype=np.float32)[side] for side in sides)
    data = retrieval["Data"](query, database, *sides)
    expected = average_precision(relevant[np.argsort(distances)][:top_k])
    assert 0 < expected < 1
    for name, contestant in retrieval["CONTESTANTS"].items():
        if contestant.needs and not importlib.util.find_spec(contestant.needs):
            continue
        if name == "torchmetrics":
            continue  # seconds of import
        given = data
        if contestant.one_hot:
            given = data._replace(
                query_labels=retrieval["one_hot"](data.query_labels, 3),
                database_labels=retrieval["one_hot"](data.database_labels, 3),
            )
        value, best, worst = contestant.evaluate(given, top_k)
        assert value == pytest.approx(expected), name
        if name == "ours":
            assert best == pytest.approx(worst) == pytest.approx(expected)


def test_row_outside_the_range_of_ties_disagrees(retrieval, quick):
    _, rows = quick
    fields = dict.fromkeys(retrieval["Row"]._fields, 0.0) | {"map_worst": 0.4, "map_best": 0.6}
    assert len(rows[0]) == len(fields)
    for value, agrees in ((0.5, True), (0.4, True), (0.39, False), (0.61, False)):
        assert retrieval["Row"](**fields | {"map": value}).agrees is agrees


def test_scaling_reaches_ten_million_items_and_streams_what_is_in_memory(retrieval):
    settings = retrieval["scaling_settings"](quick=False)
    assert max(setting.n_items for setting in settings["items"]) == 10_000_000
    assert {setting.n_bits for setting in settings["bits"]} == {16, 32, 64, 128, 256, 512}
    assert {setting.n_classes for setting in settings["labels"] if setting.multi_hot} == {21, 80, 1000}
    setting = retrieval["QUICK"]._replace(n_bits=20, n_items=500, n_queries=20)
    _, _, (value, best, worst) = retrieval["timed_stream"](setting)
    in_memory = retrieval["ours"](retrieval["in_memory"](setting), setting.top_k)
    assert (value, best, worst) == in_memory


def test_numbers_are_checked(retrieval, capsys):
    with pytest.raises(SystemExit):
        retrieval["main"](["--rounds", "0"])
    assert "--rounds must be at least 1, got 0" in capsys.readouterr().err


# --- ties


@pytest.fixture(scope="module")
def toy(ties, tmp_path_factory):
    """Codes with many ties, in a file."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("toy") / "codes.npz"
    codes = {side: rng.integers(0, 4, (n, 1), dtype=np.uint8) for side, n in (("database", 200), ("query", 30))}
    labels = {f"{side}_labels": rng.integers(0, 5, len(values)) for side, values in codes.items()}
    np.savez(path, **codes, **labels)
    return ties["load"]("toy", path), path


def test_argsorts_of_ties_are_those_of_the_definition(ties, toy):
    codes, _ = toy
    distance = ties["distances"](codes)
    assert np.array_equal(distance, np.unpackbits(codes.query[:, None] ^ codes.database, axis=2).sum(axis=2))
    order = np.random.default_rng(1).permutation(200)
    values = ties["argsort_maps"](codes, order, distance, stable=True)
    for cut, value in zip(ties["CUTS"], values, strict=True):
        expected = []
        for row, label in zip(distance, codes.query_labels, strict=True):
            ranked = sorted(order, key=lambda item: row[item])  # Python's sort is stable
            expected.append(average_precision(codes.database_labels[ranked][:cut] == label))
        assert value == pytest.approx(np.mean(expected))


def test_measured_rows_stay_within_best_and_worst(ties, toy):
    codes, path = toy
    rows = list(ties["measure"](codes, path))
    assert ties["within"](rows)
    expected, best, worst = (ties["find"](rows, 100, "all orders", sort)[0] for sort in ("expected", "best", "worst"))
    assert worst < expected < best
    shuffled = ties["find"](rows, 100, "shuffled", "stable")
    assert len(set(shuffled)) == 10
    assert np.mean(shuffled) == pytest.approx(expected, abs=0.02)
    assert len(ties["find"](rows, None, "sorted", "default", "this one")) == 1
    too_good = rows[-1]._replace(map=1.0)
    assert not ties["within"]([*rows, too_good])
    figure = ties["draw"]([(codes, rows), (codes, rows)])
    assert [ax.get_title() for ax in figure.axes] == ["toy", "toy"]


def test_absent_file_is_said_and_present_runs_are_not_repeated(ties, toy, monkeypatch, capsys, tmp_path):
    _, path = toy
    for n_bits in (16, 64):
        folder = tmp_path / f"mnist_{n_bits}bit"
        folder.mkdir()
        (folder / "codes.npz").write_bytes(path.read_bytes())
    monkeypatch.setitem(ties["measure"].__globals__, "lesser_processors", dict)
    files = ["--csv", str(tmp_path / "new" / "a.csv"), "--picture", str(tmp_path / "new" / "a.png")]
    assert ties["main"](["--ucf", str(tmp_path / "none.npz"), "--runs", str(tmp_path), *files]) == 0
    printed = capsys.readouterr().out
    assert f"UCF101 is left out: there is no {tmp_path / 'none.npz'}" in printed
    assert "Learning" not in printed
    with (tmp_path / "new" / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["codes"] for row in rows} == {"MNIST, 16 bits", "MNIST, 64 bits"}
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not UCF101.exists(), reason="the published UCF101 codes are not here")
def test_stable_argsort_of_ucf101_lies_where_the_golden_numbers_say(ties):
    codes = ties["load"]("UCF101", UCF101)
    codes = codes._replace(query=codes.query[:500], query_labels=codes.query_labels[:500])
    distance = ties["distances"](codes)
    values = ties["argsort_maps"](codes, np.arange(len(codes.database)), distance, stable=True)
    evaluator = HammingRetrievalEvaluator(64, top_k=100)
    evaluator.add_database(codes.database, codes.database_labels)
    evaluator.add_queries(codes.query, codes.query_labels)
    result = evaluator.compute()
    assert result.map_worst < values[0] < result.map_best
    assert values[0] == pytest.approx(result.map, abs=0.003)
