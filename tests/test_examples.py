"""The examples run, and leave behind what they say."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hashcenters import HammingRetrievalEvaluator
from hashcenters.models import image_hasher

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def mnist():
    return runpy.run_path(str(EXAMPLES / "train_mnist.py"))


def test_train_mnist(mnist, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    mnist["main"](["--limit", "800", "--epochs", "3", "--bits", "40", "--out", str(out)])

    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    assert "mAP" in printed
    for picture in ("curves.png", "center_distances.png", "codes_2d.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
        assert picture in printed

    # The codes alone give the metrics again.
    codes = np.load(out / "codes.npz")
    assert codes["database"].shape == (640, 5)
    assert codes["query"].shape == (160, 5)
    assert codes["database"].dtype == np.uint8
    assert np.bincount(codes["query_labels"]).tolist() == [16] * 10
    assert np.bincount(codes["database_labels"]).tolist() == [64] * 10
    evaluator = HammingRetrievalEvaluator(40)
    evaluator.add_database(codes["database"], codes["database_labels"])
    evaluator.add_queries(codes["query"], codes["query_labels"])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == evaluator.compute().as_dict()
    assert 0.4 < metrics["map"] <= 1  # chance is 0.1

    # The weights alone give the codes again.
    model = image_hasher("resnet10t", 40, in_chans=1)
    model.load_state_dict(load_file(out / "model.safetensors"))
    _, queries = mnist["small_mnist"](800, 0)
    again, labels = model.encode(torch.utils.data.DataLoader(queries, batch_size=256), progress=False)
    assert np.array_equal(again.numpy(), codes["query"])
    assert np.array_equal(labels.numpy(), codes["query_labels"])


def test_small_mnist_is_split_by_seed_without_overlap(mnist):
    (train, queries), (again, _), (other, _) = (mnist["small_mnist"](None, seed) for seed in (0, 0, 1))
    assert train.tensors[0].shape == (4000, 1, 32, 32)
    assert queries.tensors[0].shape == (1000, 1, 32, 32)
    assert torch.bincount(train.tensors[1]).tolist() == [400] * 10
    assert torch.equal(train.tensors[0], again.tensors[0])
    assert not torch.equal(train.tensors[0], other.tensors[0])
    digits = {image.numpy().tobytes() for part in (train, queries) for image in part.tensors[0]}
    assert len(digits) == 5000
    assert train.tensors[0].mean().abs() < 0.5


def test_full_mnist_without_network(mnist, monkeypatch, tmp_path):
    def refuse(root, train, download):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(SystemExit, match=r"cannot be downloaded: Error downloading train-images(.|\n)*--full out"):
        mnist["main"](["--full", "--out", str(tmp_path)])


def test_full_mnist_reads_both_parts(mnist, monkeypatch):
    class Fake:
        def __init__(self, root, train, download):
            assert root == "data"
            assert download
            self.data = torch.full((12 if train else 6, 28, 28), 255, dtype=torch.uint8)
            self.targets = torch.arange(len(self.data)) % 10

    monkeypatch.setattr("torchvision.datasets.MNIST", Fake)
    train, queries = mnist["full_mnist"](None)
    assert train.tensors[0].shape == (12, 1, 32, 32)
    assert queries.tensors[0].shape == (6, 1, 32, 32)
    torch.testing.assert_close(train.tensors[0][0, 0, 16, 16], torch.tensor((1 - 0.1307) / 0.3081))
    torch.testing.assert_close(train.tensors[0][0, 0, 0, 0], torch.tensor(-0.1307 / 0.3081))


def test_limit_is_checked(mnist, capsys):
    with pytest.raises(SystemExit):
        mnist["main"](["--limit", "50"])
    assert "--limit must be at least 100, got 50" in capsys.readouterr().err
