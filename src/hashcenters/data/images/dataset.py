"""Image lists, the three lists of a retrieval experiment, and the data set that a loader reads.

Needs the extra ``images``.
"""

from __future__ import annotations

import operator
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hashcenters.centers.randomness import AUGMENTATION_STREAM, check_seed, random_stream
from hashcenters.checks import check_count, check_labels
from hashcenters.data.images.decoding import check_entry, open_image
from hashcenters.data.images.protocol import data_imbalance, describe

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageDataset", "ImageList", "ImageSplits", "seeded"]


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images in a folder, and their labels.

    Attributes:
        root: folder that the paths are relative to.
        paths: one path an image, "/" between its parts, none twice, none that leaves the root.
        labels: int64 (N,) class indices, or uint8 multi-hot (N, n_classes).
        class_names: one name a class, in label order.

    Raises:
        TypeError: ``labels`` are not a tensor, or class indices that are not integers.
        ValueError: lengths differ, a label is out of range, an entry leaves the root, or one comes twice.

    Examples:
        >>> images = ImageList(Path("photos"), ("a/1.jpg", "b/1.jpg"), torch.tensor([0, 1]), ("cat", "dog"))
        >>> len(images), images.n_classes, images.multi_label
        (2, 2, False)
        >>> images.subset([1]).paths
        ('b/1.jpg',)
    """

    root: Path
    paths: tuple[str, ...]
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        paths = tuple(check_entry(path) for path in self.paths)
        check_labels(self.labels, len(self.class_names), n_rows=len(paths))
        if len(set(paths)) != len(paths):
            seen: set[str] = set()
            twice = next(path for path in paths if path in seen or seen.add(path))  # type: ignore[func-returns-value]
            raise ValueError(f"paths must name every image once, got {twice!r} twice; drop one of its rows")
        dtype = torch.int64 if self.labels.ndim == 1 else torch.uint8
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "labels", self.labels.to(dtype))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image may carry several labels (multi-hot rows)."""
        return self.labels.ndim == 2

    def subset(self, rows: Sequence[int] | Tensor) -> ImageList:
        """Take some of the images, in the order given.

        Args:
            rows: their indices, none twice; or a bool tensor (N,).

        Returns:
            The shorter list, with the same root and classes.

        Raises:
            IndexError: there is no such row.
            ValueError: a row comes twice, or a mask has not one value an image.

        Examples:
            >>> images = ImageList(Path("."), ("a.jpg", "b.jpg"), torch.tensor([0, 0]), ("cat",))
            >>> images.subset(torch.tensor([False, True])).paths
            ('b.jpg',)
        """
        index = torch.as_tensor(rows)
        if index.dtype == torch.bool and index.shape != (len(self),):
            raise ValueError(f"rows given as a mask must have shape ({len(self)},), got {tuple(index.shape)}")
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.to(torch.int64)
        paths = tuple(self.paths[row] for row in index.tolist())
        return ImageList(self.root, paths, self.labels[index], self.class_names)

    def absolute(self, index: int) -> Path:
        """Return the path of an image with the root in front.

        Args:
            index: number of the image.

        Returns:
            The path.

        Examples:
            >>> ImageList(Path("photos"), ("a.jpg",), torch.tensor([0]), ("cat",)).absolute(0).as_posix()
            'photos/a.jpg'
        """
        return self.root / self.paths[index]


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """The three lists of a retrieval experiment: what trains, what asks, what is searched.

    Training images may be in the database (in the paper's experiments they are). A query in the database would find
    itself, and one in the training set would be known: both are refused.

    Attributes:
        name: ``"imagenet100"``, ``"coco"``, ``"nus_wide"``, or yours.
        train: images to learn from.
        queries: images to search with.
        database: images to search in.
        top_k: length of the ranking that the paper's mAP looks at.
        skipped: paths that were left out because their files are missing or broken.

    Raises:
        ValueError: a list is empty, the lists have different classes, or a query is also in another list.

    Examples:
        >>> def images(*paths: str) -> ImageList:
        ...     return ImageList(Path("."), paths, torch.arange(len(paths)) % 2, ("cat", "dog"))
        >>> splits = ImageSplits("pets", images("1.jpg", "2.jpg", "3.jpg"), images("4.jpg"), images("1.jpg"), top_k=1)
        >>> splits.counts()["train"], splits.counts()["train_in_database"]
        (3.0, 1.0)
    """

    name: str
    train: ImageList
    queries: ImageList
    database: ImageList
    top_k: int
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count(self.top_k, "top_k")
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for name in ("train", "queries", "database"):
            images: ImageList = getattr(self, name)
            if len(images) == 0:
                raise ValueError(f"{name} must hold at least one image, got none")
            if images.class_names != self.train.class_names or images.multi_label != self.train.multi_label:
                raise ValueError(
                    f"train and {name} must have the same classes and kind of labels, got {_kind(self.train)} and "
                    f"{_kind(images)}"
                )
        asked = _files(self.queries)
        for name in ("train", "database"):
            shared = asked & _files(getattr(self, name))
            if shared:
                raise ValueError(
                    f"queries and {name} must not share images, but {len(shared)} of {len(asked)} queries are in both, "
                    f"such as {min(shared)!r}; leave them out of one list"
                )

    def counts(self) -> dict[str, float]:
        """Count what the lists hold.

        Returns:
            ``train``, ``queries``, ``database``, ``n_classes``, ``train_in_database`` (training images that are also in
            the database), ``labels_per_image`` (mean, training set), ``data_imbalance`` (dissimilar pairs a similar
            pair, training set; Table 1's DI) and ``skipped``.
        """
        train = self.train
        return {
            "train": float(len(train)),
            "queries": float(len(self.queries)),
            "database": float(len(self.database)),
            "n_classes": float(train.n_classes),
            "train_in_database": float(len(_files(train) & _files(self.database))),
            "labels_per_image": float(train.labels.sum() / len(train)) if train.multi_label else 1.0,
            "data_imbalance": data_imbalance(train.labels),
            "skipped": float(len(self.skipped)),
        }

    def report(self) -> str:
        """Say what was found beside the paper's Table 1, and name every difference.

        Returns:
            Several lines of text.
        """
        return describe(self.name, self.counts())

    def without(self, paths: Iterable[str]) -> ImageSplits:
        """Leave images out of all three lists, and record them as skipped.

        Args:
            paths: paths as in the lists, such as ``unreadable(splits.database)`` returns.

        Returns:
            The splits that remain.

        Examples:
            >>> def images(*paths: str) -> ImageList:
            ...     return ImageList(Path("."), paths, torch.zeros(len(paths), dtype=torch.int64), ("cat",))
            >>> splits = ImageSplits("cats", images("1.jpg", "2.jpg"), images("3.jpg"), images("1.jpg", "4.jpg"), 1)
            >>> splits = splits.without(["1.jpg"])
            >>> splits.train.paths, splits.database.paths, splits.skipped
            (('2.jpg',), ('4.jpg',), ('1.jpg',))
        """
        gone = set(paths)
        lists = (self.train, self.queries, self.database)
        found = {path for images in lists for path in images.paths if path in gone}
        train, queries, database = (
            images.subset([row for row, path in enumerate(images.paths) if path not in gone]) for images in lists
        )
        return ImageSplits(self.name, train, queries, database, self.top_k, (*self.skipped, *sorted(found)))


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of a list, decoded and transformed one at a time.

    ``dataset[index]`` draws what is random in the transform from the global generators, as torchvision always does.
    ``dataset[epoch, index]`` makes it depend on (seed, epoch, index) alone: whichever worker reads the image, however
    many there are, in whatever order, interrupted or not. For this the generators of torch, numpy and Python are
    seeded for the one call and put back afterwards (about 90 microseconds an image).

    Args:
        images: what to read.
        transform: turns a PIL image of mode RGB into a tensor, such as ``csq_transform(train=True)``.
        targets: tensor with a row an image, which takes the label's place (CNNH's codes, say); None gives the labels.
        seed: 0..2**63 - 1; what is random in the transform, for keys (epoch, index).

    Raises:
        ValueError: ``targets`` has not one row an image.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (4, 4), (255, 0, 0)).save(f"{folder}/red.png")
        ...     images = ImageList(Path(folder), ("red.png",), torch.tensor([0]), ("red",))
        ...     dataset = ImageDataset(images, lambda image: torch.tensor(image.getpixel((0, 0))))
        ...     len(dataset), dataset[0], dataset[3, 0]
        (1, (tensor([255,   0,   0]), tensor(0)), (tensor([255,   0,   0]), tensor(0)))
    """

    def __init__(
        self,
        images: ImageList,
        transform: Callable[[Image.Image], Tensor],
        *,
        targets: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        if targets is not None and (targets.ndim == 0 or len(targets) != len(images)):
            raise ValueError(
                f"targets must have one row an image: {len(images)} images, targets of shape {tuple(targets.shape)}"
            )
        self.images = images
        self.transform = transform
        self.targets = targets
        self.seed = check_seed(seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Read an image.

        Args:
            key: index of the image, or (epoch, index).

        Returns:
            The transformed image; its label, or its row of ``targets``.

        Raises:
            IndexError: there is no such image.
            ImageReadError: the file is missing or broken.
        """
        if isinstance(key, tuple):
            epoch, index = key
            with seeded(self.seed, check_count(epoch, "epoch", least=0), self._row(index)):
                return self._read(self._row(index))
        return self._read(self._row(key))

    def _row(self, index: int) -> int:
        row, n_rows = operator.index(index), len(self.images)
        if not -n_rows <= row < n_rows:
            raise IndexError(f"index must lie in 0..{n_rows - 1} (n={n_rows} images), got {row}")
        return row % n_rows

    def _read(self, row: int) -> tuple[Tensor, Tensor]:
        image = self.transform(open_image(os.path.join(self.images.root, self.images.paths[row])))
        return image, (self.images.labels if self.targets is None else self.targets)[row]


@contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed the global CPU generators of torch, numpy and Python for a while, then put them back.

    Args:
        seed: 0..2**63 - 1.
        epoch: at least 0.
        index: number of the sample, at least 0.

    Yields:
        Nothing; inside, what the three generators draw depends on the three numbers alone.

    Examples:
        >>> with seeded(0, 1, 2):
        ...     first = torch.rand(())
        >>> with seeded(0, 1, 2):
        ...     bool(torch.rand(()) == first)
        True
    """
    words = random_stream(seed, AUGMENTATION_STREAM, epoch, index).random_raw(3).tolist()
    state = torch.default_generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(words[0])  # torch.manual_seed would seed every accelerator too
        np.random.seed(words[1] >> 32)  # noqa: NPY002
        random.seed(words[2])
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])


def _files(images: ImageList) -> set[str]:
    """Name the files of a list so that lists with different roots can be compared."""
    root = os.path.realpath(images.root)
    return {os.path.join(root, path) for path in images.paths}


def _kind(images: ImageList) -> str:
    names = images.class_names
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} classes ({shown}) with {'multi-hot' if images.multi_label else 'single'} labels"
