"""The comparison of centers runs on tiny files; its table, its CSV and its picture say the same."""

import csv
import gzip
import math
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from hashcenters import HashCenterGenerator
from hashcenters.centers import center_report, closeness_correlation, similarity_from_features

SCRIPT = Path(__file__).parents[1] / "examples" / "compare_centers.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Fashion-MNIST's four files with few images: a pattern for each class, and noise."""
    folder = tmp_path_factory.mktemp("fashion")
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 28, 28))
    for prefix, size in (("train", 100), ("t10k", 50)):
        labels = np.arange(size) % 10
        images = patterns[labels] + random.integers(0, 56, (size, 28, 28))
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
            data = header + array.astype(np.uint8).tobytes()
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder


@pytest.fixture(scope="module")
def similarity(script, root):
    images, labels = script["pairs"](root, "train", 1500).tensors
    return similarity_from_features(images.flatten(1), labels, 100)


def test_table_csv_and_picture(script, root, similarity, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    options = ["--bits", "16", "--methods", "paper", "auto+assigned", "--seeds", "1", "--epochs", "1"]
    script["main"](["--root", str(root), *options, "--pairs", "1500", "--out", str(out)])

    with (out / "compare_centers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(script["Run"]._fields)
    assert [(row["n_bits"], row["method"], row["seed"]) for row in rows] == [
        ("16", "paper", "0"),
        ("16", "auto+assigned", "0"),
    ]
    expected = (
        HashCenterGenerator(16, method="paper", seed=0)(100),
        HashCenterGenerator(16, seed=0)(100, similarity=similarity),
    )
    for row, centers in zip(rows, expected, strict=True):
        assert int(row["min_distance"]) == center_report(centers).min_distance
        assert float(row["correlation"]) == closeness_correlation(centers, similarity)
        assert 0.05 < float(row["map_1k"]) <= 1  # chance is 0.01
        assert 0.05 < float(row["map_all"]) <= 1
        assert float(row["train_s"]) > 0

    printed = capsys.readouterr().out.splitlines()
    assert " ".join(printed[0].split()) == "bits method distance correlation mAP@1k mAP@all centers train"
    for line, row in zip(printed[1:3], rows, strict=True):
        cells = line.replace("±", "").split()
        assert cells[:3] == [row["n_bits"], row["method"], row["min_distance"]]
        numbers = [float(row[name]) for name in ("correlation", "map_1k", "map_all")]
        assert [float(cells[place]) for place in (3, 4, 6)] == [round(number, 3) for number in numbers]
        assert cells[5] == cells[7] == "nan"  # a single seed has no spread
    assert (out / "compare_centers.png").read_bytes().startswith(b"\x89PNG")
    assert "compare_centers.png" in printed[-1]


def test_absent_files_are_explained_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--root", str(tmp_path), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "apt install dataset-fashion-mnist" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_method_makes_the_centers_it_names(script, similarity):
    for method in script["METHODS"]:
        name, _, assigned = method.partition("+")
        centers = script["make_centers"](method, 16, similarity, 3)
        generator = HashCenterGenerator(16, method=name, seed=3)
        plain = None if name == "semantic" else generator(100)
        if plain is not None and not assigned:
            assert torch.equal(centers, plain)
        else:
            assert torch.equal(centers, generator(100, similarity=similarity))
            assert closeness_correlation(centers, similarity) > 0.2
        if assigned:  # the same words in another order
            assert sorted(centers.tolist()) == sorted(plain.tolist())


def test_training_follows_the_seed_and_learns(script, root):
    training = script["pairs"](root, "train", 1500)
    centers = HashCenterGenerator(16)(100)
    first, again, other = (script["train"](training, centers, 2, seed) for seed in (0, 0, 1))
    weights, same, different = (network.head.layers[-1].weight for network in (first, again, other))
    assert torch.equal(weights, same)
    assert not torch.equal(weights, different)
    images, labels = training.tensors
    with torch.no_grad():
        wrong = ((first.eval()(images) >= 0) != (centers[labels] > 0)).float().mean()
    assert wrong < 0.3  # chance is 0.5


def test_table_row_and_points_are_means_over_seeds(script):
    def run(n_bits, method, seed, map_1k):
        return script["Run"](n_bits, method, seed, 6 - seed, 0.1 * seed, map_1k, map_1k + 0.1, 1.0 + seed, 9.0)

    runs = [run(16, "auto", seed, value) for seed, value in enumerate((0.2, 0.3, 0.4))]
    assert " ".join(script["table_row"](runs).split()) == "16 auto 4 0.100 0.300 ± 0.100 0.400 ± 0.100 2.00 9.0"
    assert math.isnan(script["mean_std"]([0.5])[1])

    table = {
        (n_bits, method): [run(n_bits, method, seed, n_bits / 100 + seed / 10) for seed in range(2)]
        for n_bits in (16, 32)
        for method in ("auto", "auto+assigned", "semantic")
    }
    _, ax = plt.subplots()
    script["draw"](table, ax)
    assert ax.get_legend_handles_labels()[1] == ["auto", "auto+assigned", "semantic"]
    for points in ax.containers:
        assert points.lines[0].get_ydata() == pytest.approx([0.21, 0.37])
        low, high = points.lines[2][0].get_segments()[0][:, 1]
        assert high - low == pytest.approx(2 * 0.1 / math.sqrt(2))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["16 bits", "32 bits"]
    plt.close("all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bits", "16", "6"], "--bits must be at least 7, got 6"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--pairs", "1000"], "--pairs must be at least 1500, got 1000"),
        (["--methods", "semantic+assigned"], "invalid choice: 'semantic+assigned'"),
    ],
)
def test_options_are_checked(script, capsys, options, message):
    with pytest.raises(SystemExit):
        script["main"](options)
    assert message in capsys.readouterr().err
