"""The benchmark of methods runs on tiny files, goes on where it stopped, and its report says what its CSV says."""

import csv
import gzip
import importlib
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "methods.py"
METHODS = ["csq", "ours", "orthohash", "cnnh", "face", "hashnet", "itq"]
SECONDS = ("setup_s", "train_s", "seconds_to_target", "curve")


@pytest.fixture(scope="module")
def script():
    """The program's own names, which its functions look up: to replace one here is to replace it there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        return vars(importlib.import_module(SCRIPT.stem))


def write_files(folder, n_train, n_test):
    """Fashion-MNIST's four files: a pattern for each class, and noise."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 28, 28))
    for prefix, size in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(size) % 10
        images = patterns[labels] + random.integers(0, 56, (size, 28, 28))
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
            data = header + array.astype(np.uint8).tobytes()
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(data, 1))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("fashion"), 2000, 200)


def tiny_backbone():
    """In the place of EfficientNet-Lite0, so that no weights are needed: (N, 3, 64, 64) to (N, 640)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 40, 16, stride=16), nn.Flatten())


@pytest.fixture(scope="module")
def finished(script, root, tmp_path_factory):
    """A folder with runs of two tasks."""
    out = tmp_path_factory.mktemp("methods") / "new"
    small = ["--small", "--root", str(root), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(script, "lite0_backbone", tiny_backbone)
        patch.setitem(script, "TARGET_MAP", 0.1)
        timed = ["--tasks", "garments100", "--bits", "64", "--methods", "csq", "hashnet"]
        script["main"]([*small, *timed, "--seeds", "1", "--epochs-scale", "0.5"])
        script["main"]([*small, "--tasks", "fashion", "--bits", "16", "--methods", *METHODS, "--seeds", "2"])
    return out


def rows_of(folder):
    with (folder / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(row):
    return {name: value for name, value in row.items() if name not in SECONDS}


def key(row):
    return row["task"], row["n_bits"], row["method"], row["seed"]


def test_every_run_is_a_line(script, finished):
    rows = rows_of(finished)
    assert list(rows[0]) == list(script["FIELDS"])
    assert [key(row) for row in rows] == [
        ("garments100", "64", "csq", "0"),
        ("garments100", "64", "hashnet", "0"),
        *(("fashion", "16", method, seed) for seed in "01" for method in METHODS),
    ]
    for row in rows:
        assert row["note"] == ""
        chance = 0.1 if row["task"] == "fashion" else 0.01
        for name in ("map_all", "map_1k"):
            assert 1.5 * chance < float(row[name]) <= 1
        assert 0 <= float(row["precision_h2"]) <= 1
        assert float(row["train_s"]) > 0
        assert (row["curve"] == "") == (row["task"] == "fashion")
    first, second = ([row["map_all"] for row in rows if row["seed"] == seed][-7:-1] for seed in "01")
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_curve_is_of_training_and_gives_the_time_to_the_target(script, finished):
    for row in rows_of(finished)[:2]:
        curve = [tuple(map(float, point.split(":"))) for point in row["curve"].split(";")]
        assert curve[0][0] == 0
        assert curve == sorted(curve)
        # Within what rounding to milliseconds and four places moves it.
        assert float(row["seconds_to_target"]) == pytest.approx(script["seconds_to"](0.1, curve), abs=2e-3, nan_ok=True)
        assert curve[-1][0] == pytest.approx(float(row["train_s"]), abs=1e-3)
        # The small task has no more items and queries than the estimate takes.
        assert curve[-1][1] == pytest.approx(float(row["map_all"]), abs=1e-4)


def test_a_second_run_trains_only_what_is_torn(script, root, finished, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    before, text = rows_of(out), (out / "runs.csv").read_text()
    whole = text.splitlines(keepends=True)
    (out / "runs.csv").write_text(text[: -(len(whole[-1]) // 2)])  # half of the last line
    ran = []
    with pytest.MonkeyPatch.context() as patch:
        original = script["run"]
        patch.setitem(script, "lite0_backbone", None)  # the features are there
        patch.setitem(script, "run", lambda *arguments: ran.append(arguments[2]) or original(*arguments))
        options = ["--small", "--root", str(root), "--out", str(out), "--tasks", "fashion", "--bits", "16"]
        options += ["--methods", *METHODS, "--seeds", "2"]
        script["main"](options)
        assert [(job.method, job.seed) for job in ran] == [("itq", 1)]
        assert "13 of 14 runs are in" in capsys.readouterr().out
        assert (out / "runs.csv").read_text().startswith("".join(whole[:-1]))
        assert len(script["read_runs"](out / "runs.csv")) == len(before)
        assert without_seconds(rows_of(out)[-1]) == without_seconds(before[-1])

        script["main"](options)  # nothing is left
        assert len(ran) == 1
        assert "14 of 14 runs are in" in capsys.readouterr().out


def test_results_do_not_depend_on_the_number_of_workers(script, root, finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)  # for the processes, which import the program by its name
    options = ["--small", "--root", str(root), "--out", str(tmp_path), "--workers", "2"]
    options += ["--tasks", "fashion", "--bits", "16", "--methods", "hashnet", "csq", "--seeds", "1"]
    script["main"](options)
    expected = {key(row): without_seconds(row) for row in rows_of(finished)}
    rows = rows_of(tmp_path)
    assert {row["method"] for row in rows} == {"csq", "hashnet"}
    for row in rows:
        assert without_seconds(row) == expected[key(row)]


def test_report_trains_nothing_and_says_what_the_runs_say(script, finished, tmp_path, capsys):
    shutil.copy(finished / "runs.csv", tmp_path)
    script["main"](["report", "--small", "--root", str(tmp_path / "absent"), "--out", str(tmp_path)])
    assert "methods.md, methods_map.png" in capsys.readouterr().out
    assert (tmp_path / "methods_map.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "methods.md").read_text()
    assert "over 2 seeds" in text
    assert "* fashion: 600 training pictures, 2,000 in the database, 200 queries, 1 epoch at 16 bits." in text
    assert "garments100" not in text  # those had half of the epochs
    assert "(Table 6)" not in text  # csq alone
    assert "(Table 7)" in text
    lines = text.split("## mAP of all items (Table 2)")[1].split("##")[0].split("\n")
    table = [[part.strip() for part in line.strip("| ").split(" | ")] for line in lines if line.startswith("|")]
    assert table[0] == ["method", "fashion 16 bits"]
    assert [row[0] for row in table[2:]] == [name for name in script["ALL_METHODS"] if name in METHODS]
    means = {}
    for method, shown in table[2:]:
        values = [float(row["map_all"]) for row in rows_of(finished) if key(row)[1:3] == ("16", method)]
        means[method] = f"{np.mean(values):.3f}".removeprefix("0")
        deviation = f"{np.std(values, ddof=1):.3f}".removeprefix("0")
        assert shown.replace("*", "").removesuffix(" †") == f"{means[method]} ± {deviation}"
    assert {method for method, shown in table[2:] if "**" in shown} == {
        method for method, mean in means.items() if float(mean) == max(map(float, means.values()))
    }


def test_report_of_the_timed_task(script, finished, tmp_path, capsys):
    shutil.copy(finished / "runs.csv", tmp_path)
    script["main"](["report", "--small", "--epochs-scale", "0.5", "--out", str(tmp_path)])
    assert "methods_time.png" in capsys.readouterr().out
    for name in ("methods_map.png", "methods_time.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "methods.md").read_text()
    # One epoch is also the half of one: fashion is there, and garments have one seed of its two.
    assert "| method | fashion 16 bits | garments100 64 bits (1 seed) |" in text
    assert "## Seconds of training to mAP 0.35, garments100 64 bits" in text


def result(script, map_all=math.nan, note="", **values):
    fields = {"map_1k": map_all, "precision_h2": 0.5, "setup_s": 0.0, "train_s": 2.0, "seconds_to_target": math.nan}
    return script["Run"](map_all=map_all, **{**fields, **values}, curve="", note=note)


def test_marks_of_a_table(script):
    column = {
        method: [result(script, value) for value in values]
        for method, values in {
            "csq": (0.5, 0.6, 0.7),
            "ours": (0.65, 0.7, 0.75),
            "dpn": (0.66, 0.67),
            "mds": (0.6, 0.64, 0.68),
        }.items()
    }
    column["face"] = [result(script, note="RuntimeError: no")] * 3
    column["repmet"] = [result(script, 0.1), *[result(script, note="RuntimeError: no")] * 2]
    table = {("fashion", 64): column, ("fashion", 16): {"csq": [result(script, 0.25)]}}
    lines = script["quality_table"](table, "map_all", script["ALL_METHODS"]).splitlines()
    assert lines == [
        "| method | fashion 64 bits | fashion 16 bits (1 seed) |",
        "| --- | --- | --- |",
        "| csq | .600 ± .100 | **.250** |",
        "| ours | **.700 ± .050** | - |",
        "| dpn | .665 ± .007 † (2 seeds) | - |",
        "| mds | .640 ± .040 | - |",
        "| face | failed | - |",
        "| repmet | .100 (1 seed) | - |",
    ]
    assert list(script["compared"](table, ("csq", "face"))) == [("fashion", 64)]
    text = script["report_text"](table, script["TASKS"], 1.0)
    assert "* fashion 64 bits, face: RuntimeError: no (3 seeds)\n" in text
    assert "8 epochs at 64 bits, 8 epochs at 16 bits" in text


def test_times_are_medians_and_multiples_of_csq(script):
    by_method = {
        "csq": [result(script, 0.5, train_s=value, seconds_to_target=value / 2) for value in (1.0, 2.0, 9.0)],
        "hashnet": [result(script, 0.4, train_s=6.0, seconds_to_target=value) for value in (8.0, 16.0, math.nan)],
        "dhn": [result(script, 0.1)] * 3,
        "face": [result(script, note="RuntimeError: no", train_s=math.nan)],
        "itq": [result(script, 0.1)] * 3,
    }
    assert "| hashnet | 6.0 (3.00) |" in script["time_table"]({script["TIMED"]: by_method})
    assert script["target_table"](by_method).splitlines()[2:] == [
        "| csq | 2.0 ± 2.2 | 1.00 | 3 of 3 |",
        "| hashnet | 12.0 ± 5.7 | 6.00 | 2 of 3 |",
        "| dhn | never | - | 0 of 3 |",
    ]
    del by_method["csq"]
    assert "| hashnet | 6.0 |" in script["time_table"]({script["TIMED"]: by_method})
    assert "| hashnet | 12.0 ± 5.7 | - | 2 of 3 |" in script["target_table"](by_method)


def test_pictures_of_columns_with_holes(script, tmp_path):
    failed = [result(script, note="RuntimeError: no")]
    table = {
        ("fashion", 64): {"csq": [result(script, 0.5)], "face": failed, "itq": [result(script, 0.2)] * 2},
        ("multilabel", 16): {"ours": [result(script, 0.5)]},
    }
    script["quality_picture"](table, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    script["quality_picture"]({("fashion", 64): {"face": failed}}, tmp_path / "map.png")


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([(0, 0.1), (2, 0.3), (4, 0.5)], 3.0),
        ([(0, 0.1), (2, 0.4), (4, 0.2), (6, 0.5)], 2.0),
        ([(0, 0.5), (2, 0.6)], 0.0),
        ([(0, 0.1), (2, 0.39)], math.nan),
        ([], math.nan),
    ],
)
def test_seconds_to(script, curve, expected):
    assert script["seconds_to"](0.4, curve) == pytest.approx(expected, nan_ok=True)


def test_a_method_that_refuses_leaves_a_note(script, root, tmp_path):
    def refuses(problem):
        raise ValueError(f"not {problem.n_bits} bits, nor\n8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(script["METHODS"], "csq", refuses)
        job = script["make_job"](script["SMALL_TASKS"][0], 16, "csq", 0, 1.0)
        refused = script["run"](root, tmp_path, job)
    assert refused.note == "ValueError: not 16 bits; nor 8"
    assert math.isnan(refused.map_all)
    script["prepare_file"](tmp_path / "runs.csv")
    script["append_line"](tmp_path / "runs.csv", (*job, *refused))
    assert script["read_runs"](tmp_path / "runs.csv")[job].note == refused.note


def test_every_method_has_a_family(script):
    assert sorted(script["ALL_METHODS"]) == sorted([*script["METHODS"], *script["FROZEN"]])
    assert set(script["CURVES"]) <= set(script["METHODS"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bits", "16", "6"], "--bits must be at least 7, got 6"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--epochs-scale", "0"], "--epochs-scale must be above 0, got 0.0"),
        (["--epochs-scale", "nan"], "--epochs-scale must be above 0, got nan"),
        (["--methods", "csq2"], "invalid choice: 'csq2'"),
        (["--tasks", "imagenet"], "invalid choice: 'imagenet'"),
        (["train"], "invalid choice: 'train'"),
    ],
)
def test_options_are_checked(script, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        script["main"](options)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_train", "n_test", "message"),
    [
        (None, None, "apt install dataset-fashion-mnist"),
        (500, 200, "fashion's training needs 60 pictures of every class, but one has fewer"),
        (1000, 200, "fashion's database needs 2000 pictures, but .* has 1000"),
        (2000, 100, "fashion's query needs 200 pictures, but .* has 100"),
    ],
)
def test_absent_pictures_end_it_before_anything_is_written(script, tmp_path, n_train, n_test, message):
    if n_train is not None:
        write_files(tmp_path, n_train, n_test)
    options = ["--small", "--tasks", "fashion", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=message):
        script["main"](options)
    assert not (tmp_path / "out").exists()


def test_other_tables_are_refused(script, tmp_path):
    options = ["report", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"runs\.csv has no runs of these settings"):
        script["main"](options)
    (tmp_path / "runs.csv").write_text("task,seed\n")
    with pytest.raises(SystemExit, match=r"runs\.csv has other columns than this program writes; use another --out"):
        script["main"](options)
