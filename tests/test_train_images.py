"""The scripts of the paper's image runs, whole, on tiny look-alikes in the real formats."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hashcenters import HammingRetrievalEvaluator
from hashcenters.centers import load_centers
from hashcenters.report.__main__ import main as report
from lookalikes import coco_tree, imagenet_tree, list_tree, nus_wide_tree

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ["--backbone", "resnet10t", "--no-pretrained", "--image-size", "32", "--bits", "16", "--workers", "0"]
SMALL += ["--epochs", "3", "--batch-size", "32", "--validate-every", "1", "--quiet"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, make in (("imagenet", imagenet_tree), ("coco", coco_tree), ("nus_wide", nus_wide_tree)):
        make(folder / name)
    return folder


def script(name):
    return EXAMPLES / f"train_{name}.py"


def arguments(trees, name, *more):
    return [str(trees / name), *SIZES[name], *SMALL, *more]


SIZES = {
    "imagenet": ["--train-per-class", "5"],
    "coco": ["--train", "80", "--queries", "20"],
    "nus_wide": ["--train-per-class", "5", "--queries-per-class", "1"],
}


def train(trees, name, *more):
    runpy.run_path(str(script(name)))["main"](arguments(trees, name, *more))


def killed(trees, name, out, *more, after=1):
    """Train in a process of its own, and kill it by force once the log has some epochs."""
    command = [sys.executable, str(script(name)), *arguments(trees, name, "--out", str(out), *more)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= after):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


def same_run(one, other):
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert torch.equal(*(load_centers(folder / "centers.safetensors").centers for folder in (one, other)))
    codes, others = np.load(one / "codes.npz"), np.load(other / "codes.npz")
    assert set(codes) == set(others)
    assert all(np.array_equal(codes[name], others[name]) for name in codes)
    metrics, other_metrics = (json.loads((folder / "metrics.json").read_text()) for folder in (one, other))
    for numbers in (metrics, other_metrics):
        del numbers["seconds_training"]
    assert metrics == other_metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet", "coco", "nus_wide"])
def test_train_kill_resume_evaluate_report(name, trees, tmp_path, capsys):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(trees, name, "--out", str(whole))
    killed(trees, name, stopped)
    assert not (stopped / "metrics.json").exists()
    with pytest.raises(SystemExit, match="holds a run: go on with it by --resume"):
        train(trees, name, "--out", str(stopped))
    with pytest.raises(SystemExit, match="made otherwise: lr was .* is 0.5"):
        train(trees, name, "--out", str(stopped), "--resume", "--lr", "0.5")
    train(trees, name, "--out", str(stopped), "--resume")
    same_run(whole, stopped)

    log = [json.loads(line) for line in (stopped / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert log[-1]["loss"] < log[0]["loss"]
    assert all(0 <= line["map"] <= 1 for line in log)
    metrics = json.loads((stopped / "metrics.json").read_text())
    best = max(log, key=lambda line: line["map"])
    assert metrics["selected_epoch"] == best["epoch"]
    assert metrics["validation_map"] == best["map"]
    assert metrics["selection"] == "held-out"

    # The codes alone give the metrics again.
    codes = np.load(stopped / "codes.npz", allow_pickle=False)
    config = json.loads((stopped / "config.json").read_text())
    evaluator = HammingRetrievalEvaluator(16, top_k=config["data"]["top_k"])
    evaluator.add_database(codes["database"], codes["database_labels"])
    evaluator.add_queries(codes["query"], codes["query_labels"])
    assert evaluator.compute().map == metrics["map"]
    assert not list(stopped.glob("*.tmp"))
    for picture in ("curves.png", "centers.png", "neighbors.png", "training.png"):
        assert (stopped / picture).read_bytes().startswith(b"\x89PNG"), picture

    before = (stopped / "metrics.json").stat().st_mtime_ns
    train(trees, name, "--out", str(stopped), "--resume")
    assert (stopped / "metrics.json").stat().st_mtime_ns == before  # finished: left as it is
    if name != "imagenet":  # whose small tree is trained on whole
        with pytest.raises(SystemExit, match="made otherwise: .*items was .*"):
            train(trees, name, "--out", str(stopped), "--resume", "--data-seed", "5")

    capsys.readouterr()
    report([str(whole), str(stopped), "--out", str(tmp_path / "report.html"), "--markdown", str(tmp_path / "r.md")])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{metrics['map']:.3f}" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert f"{metrics['map']:.3f}" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_counts_alone(trees, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(trees, "imagenet", "--counts")
    assert "imagenet100: 100 classes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_broken_image_is_named_by_a_loader_s_worker_too(trees, tmp_path):
    tree = tmp_path / "broken"
    list_tree(tree)
    victim = next((tree / "images" / "train").iterdir())
    victim.write_bytes(b"not a picture")
    main = runpy.run_path(str(script("lists")))["main"]
    arguments = [
        str(tree / "lists"),
        str(tree / "images"),
        "--single-label",
        "--select-last",
        *SMALL,
        "--batch-size",
        "8",
        "--workers",
        "1",
    ]
    with pytest.raises(SystemExit, match=rf"^[^\n]*{victim.name}[^\n]*$"):
        main([*arguments, "--out", str(tmp_path / "run")])
    os.remove(victim)
    main([*arguments, "--on-missing", "skip", "--out", str(tmp_path / "run")])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["skipped"] == 1
    assert config["options"]["arguments"]["on_missing"] == "skip"
    assert config["data"]["name"] == "images"


def test_published_lists(trees, tmp_path):
    tree = tmp_path / "tree"
    list_tree(tree, n_classes=21, multi_label=True)
    main = runpy.run_path(str(script("nus_wide")))["main"]
    main(
        [
            str(tree / "images"),
            "--lists",
            str(tree / "lists"),
            *SMALL,
            "--batch-size",
            "8",
            "--out",
            str(tmp_path / "run"),
        ]
    )
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n_queries"] == 10
