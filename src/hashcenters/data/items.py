"""Labelled files of a data set, and the three lists of a retrieval experiment: of items, of videos."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hashcenters.checks import check_count, check_labels
from hashcenters.data.protocol import data_imbalance, describe

__all__ = ["ItemList", "ItemSplits", "check_entry"]

_UNTIDY = re.compile(r"(^|/)(\.?/|\.$)|/$")


@dataclass(frozen=True, eq=False)
class ItemList:
    """Items in a folder, and their labels.

    Attributes:
        root: folder that the paths are relative to.
        paths: one path an item, "/" between its parts, none twice, none that leaves the root.
        labels: int64 (N,) class indices, or uint8 multi-hot (N, n_classes).
        class_names: one name a class, in label order.

    Raises:
        TypeError: ``labels`` are not a tensor, or class indices that are not integers.
        ValueError: lengths differ, a label is out of range, an entry leaves the root, or one comes twice.

    Examples:
        >>> items = ItemList(Path("photos"), ("a/1.jpg", "b/1.jpg"), torch.tensor([0, 1]), ("cat", "dog"))
        >>> len(items), items.n_classes, items.multi_label
        (2, 2, False)
        >>> items.subset([1]).paths
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
            raise ValueError(f"paths must name every item once, got {twice!r} twice; drop one of its rows")
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
        """Whether an item may carry several labels (multi-hot rows)."""
        return self.labels.ndim == 2

    def subset(self, rows: Sequence[int] | Tensor) -> ItemList:
        """Take some of the items, in the order given.

        Args:
            rows: their indices, none twice; or a bool tensor (N,).

        Returns:
            The shorter list, with the same root and classes.

        Raises:
            IndexError: there is no such row.
            ValueError: a row comes twice, or a mask has not one value an item.

        Examples:
            >>> items = ItemList(Path("."), ("a.jpg", "b.jpg"), torch.tensor([0, 0]), ("cat",))
            >>> items.subset(torch.tensor([False, True])).paths
            ('b.jpg',)
        """
        index = torch.as_tensor(rows)
        if index.dtype == torch.bool and index.shape != (len(self),):
            raise ValueError(f"rows given as a mask must have shape ({len(self)},), got {tuple(index.shape)}")
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.to(torch.int64)
        paths = tuple(self.paths[row] for row in index.tolist())
        return ItemList(self.root, paths, self.labels[index], self.class_names)

    def absolute(self, index: int) -> Path:
        """Return the path of an item with the root in front.

        Args:
            index: number of the item.

        Returns:
            The path.

        Examples:
            >>> ItemList(Path("photos"), ("a.jpg",), torch.tensor([0]), ("cat",)).absolute(0).as_posix()
            'photos/a.jpg'
        """
        return self.root / self.paths[index]


@dataclass(frozen=True, eq=False)
class ItemSplits:
    """The three lists of a retrieval experiment: what trains, what asks, what is searched.

    Training items may be in the database (in the paper's experiments they are). A query in the database would find
    itself, and one in the training set would be known: both are refused.

    Attributes:
        name: ``"imagenet100"``, ``"coco"``, ``"nus_wide"``, or yours.
        train: items to learn from.
        queries: items to search with.
        database: items to search in.
        top_k: length of the ranking that the paper's mAP looks at.
        skipped: paths that were left out because their files are missing or broken.

    Raises:
        ValueError: a list is empty, the lists have different classes, or a query is also in another list.

    Examples:
        >>> def items(*paths: str) -> ItemList:
        ...     return ItemList(Path("."), paths, torch.arange(len(paths)) % 2, ("cat", "dog"))
        >>> splits = ItemSplits("pets", items("1.jpg", "2.jpg", "3.jpg"), items("4.jpg"), items("1.jpg"), top_k=1)
        >>> splits.counts()["train"], splits.counts()["train_in_database"]
        (3.0, 1.0)
    """

    name: str
    train: ItemList
    queries: ItemList
    database: ItemList
    top_k: int
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count(self.top_k, "top_k")
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for name in ("train", "queries", "database"):
            items: ItemList = getattr(self, name)
            if len(items) == 0:
                raise ValueError(f"{name} must hold at least one item, got none")
            if items.class_names != self.train.class_names or items.multi_label != self.train.multi_label:
                raise ValueError(
                    f"train and {name} must have the same classes and kind of labels, got {_kind(self.train)} and "
                    f"{_kind(items)}"
                )
        asked = _files(self.queries)
        for name in ("train", "database"):
            shared = asked & _files(getattr(self, name))
            if shared:
                raise ValueError(
                    f"queries and {name} must not share items, but {len(shared)} of {len(asked)} queries are in both, "
                    f"such as {min(shared)!r}; leave them out of one list"
                )

    def counts(self) -> dict[str, float]:
        """Count what the lists hold.

        Returns:
            ``train``, ``queries``, ``database``, ``n_classes``, ``train_in_database`` (training items that are also in
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

    def without(self, paths: Iterable[str]) -> ItemSplits:
        """Leave items out of all three lists, and record them as skipped.

        Args:
            paths: paths as in the lists, such as ``unreadable(splits.database)`` returns.

        Returns:
            The splits that remain.

        Examples:
            >>> def items(*paths: str) -> ItemList:
            ...     return ItemList(Path("."), paths, torch.zeros(len(paths), dtype=torch.int64), ("cat",))
            >>> splits = ItemSplits("cats", items("1.jpg", "2.jpg"), items("3.jpg"), items("1.jpg", "4.jpg"), 1)
            >>> splits = splits.without(["1.jpg"])
            >>> splits.train.paths, splits.database.paths, splits.skipped
            (('2.jpg',), ('4.jpg',), ('1.jpg',))
        """
        gone = set(paths)
        lists = (self.train, self.queries, self.database)
        found = {path for items in lists for path in items.paths if path in gone}
        train, queries, database = (
            items.subset([row for row, path in enumerate(items.paths) if path not in gone]) for items in lists
        )
        return ItemSplits(self.name, train, queries, database, self.top_k, (*self.skipped, *sorted(found)))


def check_entry(entry: str) -> str:
    """Return an entry of an item list in its plain form, or refuse it where it could leave the root.

    The test looks at the text alone: a root or class folder that is a symbolic link to another disk is fine.

    Args:
        entry: path of an item relative to the root, "/" between its parts.

    Returns:
        The entry without "./" and doubled separators.

    Raises:
        ValueError: the entry is empty, absolute (``/a``, ``C:a``, ``//server``), holds a ".." part, a backslash (a
            separator on one platform only) or a character that no file name has (NUL, line ends).

    Examples:
        >>> check_entry("./train/n01440764/a.JPEG")
        'train/n01440764/a.JPEG'
    """
    if "\\" in entry:
        raise ValueError(f'item paths must use "/" between folders, got {entry!r}')
    if entry[:1] == "/" or entry[1:2] == ":":
        raise ValueError(f"item paths must be relative to the root, got {entry!r}; cut the root off")
    if ".." in entry and ".." in entry.split("/"):
        raise ValueError(f"item paths must stay inside the root, got {entry!r}")
    if "\0" in entry or "\n" in entry or "\r" in entry:
        raise ValueError(f"item paths must be one line without NUL, got {entry!r}")
    if entry == "" or _UNTIDY.search(entry):
        tidy = "/".join(part for part in entry.split("/") if part not in ("", "."))
        if tidy == "" or entry[-1] == "/":
            raise ValueError(f"item paths must name a file, got {entry!r}")
        return tidy
    return entry


def _files(items: ItemList) -> set[str]:
    """Name the files of a list so that lists with different roots can be compared."""
    root = os.path.realpath(items.root)
    return {os.path.join(root, path) for path in items.paths}


def _kind(items: ItemList) -> str:
    names = items.class_names
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} classes ({shown}) with {'multi-hot' if items.multi_label else 'single'} labels"
