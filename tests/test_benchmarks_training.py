"""The benchmark of training runs, writes what it says, and judges what was asked for."""

import csv
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "training.py"
OURS = "CentralSimilarityLoss"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What --quick prints, and its rows."""
    table = tmp_path_factory.mktemp("quick") / "new" / "training.csv"
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(table)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with table.open(newline="") as file:
        return run.stdout, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_quick_rows_are_complete(quick, script):
    printed, rows = quick
    assert list(rows[0]) == list(script["Row"]._fields)
    names = list(script["all_losses"](10, 16))
    of = {
        (table, labels): [row["contestant"] for row in rows if (row["table"], row["labels"]) == (table, labels)]
        for table, labels in {(row["table"], row["labels"]) for row in rows}
    }
    assert of["loss", "ids"] == of["loss", "multi-hot"] == ["binary cross-entropy", *names]
    assert of["step", "ids"] == ["cross-entropy", *names]
    assert of["encode", ""] == ["the bare backbone", "encode"]
    assert of["epoch", "ids"] == [OURS, "HashNetLoss", "DHNLoss"]
    if importlib.util.find_spec("torchvision"):
        last = ["decoding", "decoding and transform to 32", "decoding and transform to 224", "the step"]
        assert of["loading", ""] == last
    else:
        assert "loading is left out" in printed
    for row in rows:
        assert float(row["median_seconds"]) >= float(row["best_seconds"]) > 0
        assert printed.count(f"| {row['contestant']} |") >= 1


def test_what_is_asked_of_ours_is_in_the_rows(quick):
    _, rows = quick
    bounds = {
        (row["table"], row["labels"], row["contestant"]): float(row["bound"]) for row in rows if row["bound"] != ""
    }
    assert bounds == {
        ("loss", "ids", OURS): 2.5,
        ("loss", "multi-hot", OURS): 4.0,
        ("step", "ids", OURS): 0.01,
        ("encode", "", "encode"): pytest.approx(1 / 0.95, abs=0.01),
    }


def test_all_losses_are_those_that_take_logits_and_labels(script):
    from hashcenters import losses

    takes = {name for name in losses.__all__ if name.endswith("Loss")} - {"CNNHLoss"}  # which takes codes
    assert set(script["all_losses"](10, 16)) == takes


def test_ratios_are_medians_of_rounds(script):
    times = {"reference": [1.0, 10.0, 1.0], "fast": [2.0, 20.0, 4.0], "slow": [3.0, 50.0, 4.0]}
    rows = script["rows_of"]("loss", "ids", times, "reference", {"fast": 2.0, "slow": 3.9})
    assert [(row.ratio, row.median_seconds, row.best_seconds) for row in rows] == [(1, 1, 1), (2, 4, 2), (4, 4, 3)]
    assert [row.holds for row in rows] == [None, True, False]
    said = script["claims"](rows)
    assert said == [
        "holds: fast (ids) takes 2.00 times binary cross-entropy, at most 2 asked",
        "BROKEN: slow (ids) takes 4.00 times binary cross-entropy, at most 3.9 asked",
    ]


@pytest.mark.parametrize(("times", "status"), [(1.0, 0), (9.0, 1)])
def test_exit_status_says_whether_bounds_hold(script, monkeypatch, capsys, tmp_path, times, status):
    rows = script["rows_of"]("encode", "", {"bare": [1.0], "encode": [times]}, "bare", {"encode": 1 / 0.95})
    row = script["Row"]("step", OURS, "ids", 1, 1.0, 1.0, 1.0, 0.004, 0.01, True)
    monkeypatch.setitem(script["main"].__globals__, "measure", lambda size, only: [*rows, row])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    assert script["main"](["--out", str(tmp_path / "a.csv")]) == status
    printed = capsys.readouterr().out
    expected = {0: "holds: encoding runs at 100.0 %", 1: "BROKEN: encoding runs at 11.1 %"}[status]
    assert f"{expected} of the bare backbone, at least 95 % asked" in printed
    assert "holds: CentralSimilarityLoss is 0.40 % of a step, at most 1 % asked" in printed
    assert (tmp_path / "a.csv").read_text().count("\n") == 4


def test_multi_hot_rows_have_one_to_four_classes(script):
    labels = script["random_labels"](200, 50, multi_hot=True)
    assert labels.dtype == torch.uint8
    assert set(labels.sum(dim=1).tolist()) <= {1, 2, 3, 4}
    assert script["random_labels"](200, 50, multi_hot=False).shape == (200,)


def test_numbers_are_checked(script, capsys):
    with pytest.raises(SystemExit):
        script["main"](["--rounds", "0"])
    assert "--rounds must be at least 1, got 0" in capsys.readouterr().err
