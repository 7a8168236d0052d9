"""Small data sets made from Fashion-MNIST's files: the garments themselves, and pairs of them side by side.

Two garments side by side are the smallest task with many classes for the bits: 10 garments give 100 ordered pairs, and
classes that share a garment resemble each other. Nothing is downloaded here; the error for absent files says how to get
them. Fashion-MNIST: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from hashcenters.checks import check_count

__all__ = ["GARMENTS", "fashion_mnist", "read_idx", "two_garments"]

GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""The ten classes of Fashion-MNIST, in label order."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's and Ubuntu's package ``dataset-fashion-mnist`` puts the files."""

PairSplit = Literal["train", "database", "query"]

# Split of the pairs -> (Fashion-MNIST's files, default number of pairs, number of the random stream).
_PAIR_SPLITS: dict[str, tuple[Literal["train", "test"], int, int]] = {
    "train": ("train", 15_000, 0),
    "database": ("train", 30_000, 1),
    "query": ("test", 2_000, 2),
}
_FILE_PREFIX = {"train": "train", "test": "t10k"}


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read one file of unsigned bytes in the IDX format of MNIST, gzip-compressed (``.gz``) or plain.

    Args:
        path: the file.

    Returns:
        uint8 array of the shape that the file states.

    Raises:
        ValueError: not an IDX file of unsigned bytes, or its length differs from what its header states.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels-idx1-ubyte"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        ...     read_idx(path)
        array([7, 8, 9], dtype=uint8)
    """
    path = Path(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    # Two zero bytes, the type (8 = unsigned byte), the number of dimensions, then each dimension in four bytes.
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {data[:4].hex(' ') or 'nothing'}"
        )
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3]))
    start = 4 + 4 * data[3]
    if len(data) - start != math.prod(shape):
        raise ValueError(
            f"{path} states the shape {shape} but holds {len(data) - start} values; it is cut short or damaged, "
            "get it again"
        )
    values: NDArray[np.uint8] = np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape).copy()
    return values


def _find(root: Path, name: str) -> Path:
    """The file ``name`` under ``root``: in the folder itself or in torchvision's layout, compressed or not."""
    places = [root / name, root / "FashionMNIST" / "raw" / name, root / "raw" / name]
    for place in places:
        for path in (place, place.with_name(f"{name}.gz")):
            if path.is_file():
                return path
    raise FileNotFoundError(
        f"no {name} or {name}.gz in root={str(root)!r} nor in its FashionMNIST/raw. Two ways to get Fashion-MNIST: "
        f"on Debian and Ubuntu `apt install dataset-fashion-mnist` and root={str(DEBIAN_FOLDER)!r}; elsewhere "
        f"`torchvision.datasets.FashionMNIST({str(root)!r}, download=True)` and the same root"
    )


def _read(root: str | Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,) of one split."""
    prefix = _FILE_PREFIX[split]
    images = read_idx(_find(Path(root), f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_find(Path(root), f"{prefix}-labels-idx1-ubyte"))
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or len(labels) == 0 or labels.max() > 9:
        raise ValueError(
            f"the {split} files in root={str(root)!r} are not Fashion-MNIST's: images of shape {images.shape}, labels "
            f"of shape {labels.shape}; expected (N, 28, 28) and (N,) with labels 0..9"
        )
    return images, labels


def fashion_mnist(root: str | Path, split: Literal["train", "test"]) -> TensorDataset:
    """Fashion-MNIST as one data set in memory.

    Args:
        root: folder with the four ``*-ubyte`` or ``*-ubyte.gz`` files, or the root that was given to
            ``torchvision.datasets.FashionMNIST``.
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000).

    Returns:
        Images, uint8 (N, 1, 28, 28) with values 0..255, and labels, int64 (N,), 0..9 in the order of ``GARMENTS``.

    Raises:
        FileNotFoundError: a file is absent; the message says how to get it.
        ValueError: ``split`` is another word, or a file is damaged.

    Examples:
        >>> images, labels = fashion_mnist("/usr/share/datasets/fashion-mnist", "test").tensors  # doctest: +SKIP
        >>> images.shape, GARMENTS[labels[0]]  # doctest: +SKIP
        (torch.Size([10000, 1, 28, 28]), 'ankle boot')
    """
    if split not in _FILE_PREFIX:
        raise ValueError(f"split must be one of {', '.join(_FILE_PREFIX)}, got {split!r}")
    images, labels = _read(root, split)
    return TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64)))


def two_garments(
    root: str | Path,
    *,
    split: PairSplit,
    n_pairs: int | None = None,
    seed: int = 0,
    multi_label: bool = False,
) -> TensorDataset:
    """Pictures of two garments side by side, drawn at random (every ordered pair of images equally likely).

    Training and database pairs are drawn, independently of each other, from Fashion-MNIST's training images, queries
    from its test images. The same seed gives the same pairs on every platform, and a larger ``n_pairs`` begins with
    the pairs of a smaller one.

    Args:
        root: as for ``fashion_mnist``.
        split: ``"train"``, ``"database"`` or ``"query"``.
        n_pairs: number of pictures; by default 15,000, 30,000 and 2,000.
        seed: which pairs are drawn.
        multi_label: the labels are the set of the two garments instead of the ordered pair.

    Returns:
        Images, uint8 (n_pairs, 1, 28, 56) with values 0..255; labels, int64 (n_pairs,) with values
        10 * left + right, or bool (n_pairs, 10) with one or two labels a row for ``multi_label``.

    Raises:
        FileNotFoundError: a file is absent; the message says how to get it.
        TypeError: ``n_pairs`` or ``seed`` is not an integer.
        ValueError: ``split`` is another word, ``n_pairs`` is below 1, ``seed`` is negative, or a file is damaged.

    Examples:
        >>> root = "/usr/share/datasets/fashion-mnist"
        >>> images, labels = two_garments(root, split="query", n_pairs=5).tensors  # doctest: +SKIP
        >>> images.shape, labels  # doctest: +SKIP
        (torch.Size([5, 1, 28, 56]), tensor([ 5, 56, 20, 43, 18]))
    """
    if split not in _PAIR_SPLITS:
        raise ValueError(f"split must be one of {', '.join(_PAIR_SPLITS)}, got {split!r}")
    source, default_pairs, stream = _PAIR_SPLITS[split]
    n_pairs = check_count(default_pairs if n_pairs is None else n_pairs, "n_pairs")
    seed = check_count(seed, "seed", least=0)
    images, labels = _read(root, source)
    # The remainder of a 64-bit word favours small numbers by less than 1 in 10^14.
    words = np.random.Philox([seed, stream]).random_raw(2 * n_pairs).reshape(n_pairs, 2)
    chosen = (words % np.uint64(len(labels))).astype(np.int64)
    pictures = np.concatenate([images[chosen[:, 0]], images[chosen[:, 1]]], axis=2)[:, None]
    left_right = torch.from_numpy(labels[chosen].astype(np.int64))
    if multi_label:
        targets = torch.zeros(n_pairs, 10, dtype=torch.bool).scatter_(1, left_right, True)
    else:
        targets = 10 * left_right[:, 0] + left_right[:, 1]
    return TensorDataset(torch.from_numpy(pictures), targets)
