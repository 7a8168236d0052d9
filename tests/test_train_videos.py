"""The scripts of the paper's video runs, whole, on small encoded videos in the official layouts."""

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

from hashcenters.data.moving import moving_objects, write_moving_videos
from hashcenters.report.__main__ import main as report

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ["--no-pretrained", "--frames", "6", "--stride", "1", "--image-size", "32", "--bits", "16", "--no-flip"]
SMALL += ["--epochs", "3", "--batch-size", "16", "--validate-every", "1", "--validation-share", "0.2"]
SMALL += ["--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for layout in ("hmdb51", "ucf101"):
        write_moving_videos(folder / layout, moving_objects()[:50], n_train=48, n_test=16, seed=0, layout=layout)
    return folder


def arguments(trees, name, out, *more):
    return [str(trees / name), *SMALL, "--out", str(out), *more]


def train(trees, name, out, *more):
    runpy.run_path(str(EXAMPLES / f"train_{name}.py"))["main"](arguments(trees, name, out, *more))


def killed(trees, name, out, *more):
    command = [sys.executable, str(EXAMPLES / f"train_{name}.py"), *arguments(trees, name, out, *more)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (out / "log.jsonl").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), [("hmdb51", ["--clips", "2"]), ("ucf101", ["--preset", "csq-official"])])
def test_train_kill_resume_evaluate_report(name, more, trees, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(trees, name, whole, *more)
    killed(trees, name, stopped, *more)
    assert not (stopped / "metrics.json").exists()
    train(trees, name, stopped, *more, "--resume")
    assert (whole / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()
    metrics, others = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, stopped))
    for numbers in (metrics, others):
        del numbers["seconds_training"]
    assert metrics == others
    assert metrics["top_k"] == (70 if name == "hmdb51" else 100)
    codes = np.load(whole / "codes.npz")
    assert codes["database"].shape == (48, 2)
    assert codes["query"].shape == (16, 2)
    for picture in ("curves.png", "centers.png", "neighbors.png", "training.png"):
        assert (stopped / picture).read_bytes().startswith(b"\x89PNG"), picture
    report([str(whole), str(stopped), "--out", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {"hmdb51": "HMDB51", "ucf101": "UCF101"}[name] in page
    assert f"{metrics['map']:.3f}" in page
    if name == "ucf101":
        assert "match no head" in page


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dh", "srh", "dvh", "dlstm", "csq"])
def test_methods_over_frames(method, trees, tmp_path):
    backbone = "frames:resnet10t" if method == "csq" else "resnet10t"
    train(trees, "hmdb51", tmp_path / "run", "--backbone", backbone, "--method", method, "--epochs", "1")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 < metrics["map"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [["--centers", "semantic", "--preset", "ours"], ["--method", "itq", "--preset", "csq-official"]]
)
def test_features_of_frames(more, trees, tmp_path):
    train(trees, "hmdb51", tmp_path / "run", "--backbone", "frames:resnet10t", *more, "--epochs", "1")
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_two_processes(trees, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = tmp_path / "run"
    command = [*launch, str(EXAMPLES / "train_hmdb51.py"), *arguments(trees, "hmdb51", out, "--epochs", "2")]
    answer = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    one = tmp_path / "one"
    for file in out.iterdir():  # the same weights, evaluated by one process
        if file.name not in ("metrics.json", "codes.npz"):
            one.mkdir(exist_ok=True)
            (one / file.name).write_bytes(file.read_bytes())
    train(trees, "hmdb51", one, "--epochs", "2", "--resume")
    codes, others = np.load(out / "codes.npz"), np.load(one / "codes.npz")
    assert all(np.array_equal(codes[name], others[name]) for name in codes)
    maps = [json.loads((folder / "metrics.json").read_text())["map"] for folder in (out, one)]
    assert maps[0] == maps[1]


def test_a_folder_or_synthetic_videos(capsys):
    main = runpy.run_path(str(EXAMPLES / "train_hmdb51.py"))["main"]
    for wrong in ([], ["somewhere", "--synthetic"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "give the folder of HMDB51, or --synthetic" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="testTrainMulti_7030_splits"):
        main(["nowhere"])


def test_counts(trees, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(trees, "ucf101", tmp_path / "run", "--counts")
    assert "ucf101: 8 classes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert torch.get_num_threads() >= 1
