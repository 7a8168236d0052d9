import gzip

import numpy as np
import pytest
import torch

from hashcenters.data.synthetic import GARMENTS, fashion_mnist, read_idx, two_garments

SIZES = {"train": 50, "t10k": 30}


def idx(array):
    """The bytes of an IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


@pytest.fixture(scope="module")
def content():
    random = np.random.default_rng(0)
    return {
        prefix: (random.integers(0, 256, (size, 28, 28)).astype(np.uint8), (np.arange(size) % 10).astype(np.uint8))
        for prefix, size in SIZES.items()
    }


def write(folder, content, *, compressed):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in content.items():
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            data = idx(array)
            path = folder / (f"{name}.gz" if compressed else name)
            path.write_bytes(gzip.compress(data) if compressed else data)


@pytest.fixture
def root(tmp_path, content):
    write(tmp_path, content, compressed=True)
    return tmp_path


@pytest.mark.parametrize(("place", "compressed"), [("", True), ("", False), ("FashionMNIST/raw", False), ("raw", True)])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_files_are_found_and_read(tmp_path, content, place, compressed, split, prefix):
    write(tmp_path / place, content, compressed=compressed)
    images, labels = fashion_mnist(tmp_path, split).tensors
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert np.array_equal(images[:, 0].numpy(), content[prefix][0])
    assert np.array_equal(labels.numpy(), content[prefix][1])
    assert len(GARMENTS) == 10


@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("database", "train"), ("query", "t10k")])
def test_pictures_are_two_garments_of_the_split(root, content, split, prefix):
    images, labels = two_garments(root, split=split, n_pairs=100, seed=1).tensors
    assert images.shape == (100, 1, 28, 56)
    assert images.dtype == torch.uint8
    known = {image.tobytes(): int(label) for image, label in zip(*content[prefix], strict=True)}
    for picture, label in zip(images.numpy()[:, 0], labels.tolist(), strict=True):
        left, right = (known[np.ascontiguousarray(half).tobytes()] for half in (picture[:, :28], picture[:, 28:]))
        assert label == 10 * left + right


def test_multi_label_is_the_set_of_the_two(root):
    images, labels = two_garments(root, split="train", n_pairs=200).tensors
    same, sets = two_garments(root, split="train", n_pairs=200, multi_label=True).tensors
    assert torch.equal(images, same)
    assert sets.dtype == torch.bool
    for label, row in zip(labels.tolist(), sets, strict=True):
        assert set(row.nonzero().flatten().tolist()) == {label // 10, label % 10}
    assert set(sets.sum(1).tolist()) == {1, 2}


def test_pairs_follow_seed_and_split(root):
    def pictures(**changes):
        return two_garments(root, **{"split": "train", "n_pairs": 40, "seed": 0} | changes).tensors[0]

    assert torch.equal(pictures(), pictures())
    assert torch.equal(pictures(), pictures(n_pairs=90)[:40])
    assert not torch.equal(pictures(), pictures(seed=1))
    assert not torch.equal(pictures(), pictures(split="database"))


def test_numbers_of_pairs_by_default(root):
    assert [len(two_garments(root, split=split)) for split in ("train", "database", "query")] == [15_000, 30_000, 2_000]


def test_pairs_are_uniform(root):
    labels = two_garments(root, split="train", n_pairs=50_000).tensors[1]
    counts = torch.bincount(labels, minlength=100)
    assert float(((counts - 500) ** 2 / 500).sum()) < 99 + 5 * (2 * 99) ** 0.5


# Fixed for ever: the same seed gives the same pairs on every platform.
def test_the_drawn_pairs_are_known(root):
    assert two_garments(root, split="train", n_pairs=8).tensors[1].tolist() == [75, 69, 23, 71, 78, 29, 60, 61]


def test_absent_files_are_explained(tmp_path, content):
    for ask in (lambda: fashion_mnist(tmp_path, "train"), lambda: two_garments(tmp_path, split="query")):
        with pytest.raises(
            FileNotFoundError, match=r"(?s)apt install dataset-fashion-mnist.*torchvision.*download=True"
        ):
            ask()


def test_bad_arguments_are_refused(root):
    with pytest.raises(ValueError, match="split must be one of train, test, got 'query'"):
        fashion_mnist(root, "query")
    with pytest.raises(ValueError, match="split must be one of train, database, query, got 'test'"):
        two_garments(root, split="test")
    with pytest.raises(ValueError, match="n_pairs must be at least 1, got 0"):
        two_garments(root, split="train", n_pairs=0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        two_garments(root, split="train", seed=-1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "is not an IDX file of unsigned bytes: it begins with 00 00 0d 01"),
        (b"\x00\x00\x08\x02\x00\x00\x00\x01", "is not an IDX file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"states the shape \(2, 3\) but holds 5 values"),
    ],
)
def test_damaged_files_are_refused(tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


def test_other_files_than_fashion_mnists_are_refused(root):
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(
        ValueError, match=r"are not Fashion-MNIST's: images of shape \(50, 28, 28\), labels of shape \(3,\)"
    ):
        fashion_mnist(root, "train")
