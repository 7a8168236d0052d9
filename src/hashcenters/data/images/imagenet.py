"""ImageNet-100 straight from an ImageNet folder."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import torch

from hashcenters.checks import check_count
from hashcenters.data.images.files import OnMissing, absent, present, random_order
from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.protocol import TABLE_1

__all__ = ["IMAGENET100_WNIDS", "imagenet100"]

_LAYOUT = """
imagenet/                          the root: in the official archives ILSVRC/Data/CLS-LOC
├── train/
│   ├── n01514668/
│   │   ├── n01514668_10004.JPEG
│   │   └── ...
│   └── ...                        one folder a class
└── val/
    ├── n01514668/
    │   ├── ILSVRC2012_val_00000911.JPEG
    │   └── ...
    └── ...
"""
_SUFFIXES = (".jpeg", ".jpg", ".png")

# The 100 classes of the HashNet and CSQ protocol, in the order of their lists' labels.
_WNIDS = """
    n01514668 n01537544 n01560419 n01629819 n01632458 n01664065 n01685808 n01687978 n01698640 n01729322
    n01774750 n01797886 n01819313 n01828970 n01944390 n01986214 n02017213 n02018207 n02077923 n02088466
    n02093256 n02094114 n02096177 n02096294 n02097209 n02098105 n02102177 n02105162 n02106550 n02111129
    n02111277 n02113023 n02128385 n02256656 n02281787 n02346627 n02391049 n02408429 n02415577 n02454379
    n02488291 n02526121 n02655020 n02834397 n02840245 n02841315 n02865351 n02871525 n02895154 n02939185
    n02948072 n02965783 n02992211 n03018349 n03045698 n03047690 n03196217 n03223299 n03272562 n03291819
    n03345487 n03445924 n03483316 n03584829 n03680355 n03690938 n03733131 n03743016 n03803284 n03814639
    n03838899 n03857828 n03891332 n03895866 n03899768 n03902125 n03944341 n04026417 n04153751 n04201297
    n04238763 n04254120 n04344873 n04350905 n04366367 n04404412 n04417672 n04435653 n04486054 n04548362
    n04560804 n04579432 n04596742 n07583066 n07584110 n07753113 n07754684 n07836838 n12057211 n13044778
"""
IMAGENET100_WNIDS: Final[tuple[str, ...]] = tuple(_WNIDS.split())


def imagenet100(
    root: str | Path,
    *,
    n_train_per_class: int = 100,
    database: Literal["all", "disjoint"] = "all",
    on_missing: OnMissing = "stop",
    wnids: Sequence[str] | None = None,
    seed: int = 0,
) -> ItemSplits:
    """Read ImageNet-100 from the folders of ImageNet (ILSVRC 2012).

    The paper takes "the same data and settings" as HashNet (Sec. 4.1): 100 classes, 100 random training images each,
    the validation images as queries (Table 1: 5,000), and all training-folder images of these classes as the database
    (128,495, the training images included). Which images train is HashNet's unpublished draw in the paper and a seeded
    one here, so it differs; the authors' released list has 130 a class.

    Args:
        root: folder that holds ``train`` and ``val``, each with one folder a class.
        n_train_per_class: training images of each class: 100 as in the paper, 130 as in the released lists. A smaller
            draw of the same seed is part of a larger one.
        database: ``"all"`` as in the paper, or ``"disjoint"``: without the training images.
        on_missing: what to do about files that are listed but not there (links whose target is gone): ``"stop"``, or
            ``"skip"`` and record them.
        wnids: folder names of other classes, in label order; None takes ``IMAGENET100_WNIDS``.
        seed: 0..2**63 - 1; draws the training images, class by class.

    Returns:
        The splits, with int64 labels and ``top_k=1000``; class names are the folder names.

    Raises:
        FileNotFoundError: a folder is missing, or an image with ``on_missing="stop"``.
        ValueError: the validation images are not sorted into class folders, a class has too few images, ``wnids`` are
            empty or repeat, or ``database`` is neither of the two.

    Examples:
        >>> imagenet100("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: 'nowhere/train' does not exist. The expected layout is
        imagenet/
        ...
    """
    root = Path(root)
    classes = IMAGENET100_WNIDS if wnids is None else tuple(wnids)
    check_count(n_train_per_class, "n_train_per_class")
    if database not in ("all", "disjoint"):
        raise ValueError(f'database must be "all" or "disjoint", got {database!r}')
    if not classes or len(set(classes)) != len(classes) or any(not wnid.isalnum() for wnid in classes):
        raise ValueError(f"wnids must be different names of class folders, at least one, got {list(classes)}")
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise absent(root / split, _LAYOUT)
    _refuse_flat_validation(root, classes)

    lists: dict[str, tuple[list[str], list[int]]] = {}
    skipped: list[str] = []
    for split in ("train", "val"):
        paths, labels = [], []
        for label, wnid in enumerate(classes):
            if not (root / split / wnid).is_dir():
                raise absent(root / split / wnid, _LAYOUT)
            names = sorted(name for name in os.listdir(root / split / wnid) if name.lower().endswith(_SUFFIXES))
            paths += [f"{split}/{wnid}/{name}" for name in names]
            labels += [label] * len(names)
        there = present(root, paths, on_missing)
        skipped += [path for path, found in zip(paths, there, strict=True) if not found]
        lists[split] = (
            [path for path, found in zip(paths, there, strict=True) if found],
            [label for label, found in zip(labels, there, strict=True) if found],
        )

    full, queries = (
        ItemList(root, tuple(paths), torch.tensor(labels, dtype=torch.int64), classes)
        for paths, labels in lists.values()
    )
    rows: list[list[int]] = [[] for _ in classes]
    for row, label in enumerate(full.labels.tolist()):
        rows[label].append(row)
    chosen: list[int] = []
    for wnid, mine in zip(classes, rows, strict=True):
        if len(mine) < n_train_per_class:
            raise ValueError(
                f"n_train_per_class={n_train_per_class} images are wanted of each class, but {wnid} has {len(mine)}; "
                "complete the folder or take fewer"
            )
        # Drawn by the folder's name: the choice within a class does not depend on the other classes or their order.
        order = random_order(len(mine), seed, zlib.crc32(wnid.encode()))
        chosen += sorted(mine[place] for place in order[:n_train_per_class])
    taken = set(chosen)
    searched = full if database == "all" else full.subset([row for row in range(len(full)) if row not in taken])
    top_k = TABLE_1["imagenet100"].top_k
    return ItemSplits("imagenet100", full.subset(chosen), queries, searched, top_k, tuple(skipped))


def _refuse_flat_validation(root: Path, classes: Sequence[str]) -> None:
    if any((root / "val" / wnid).is_dir() for wnid in classes):
        return
    if any(name.startswith("ILSVRC2012_val_") for name in os.listdir(root / "val")):
        raise ValueError(
            f"the validation images of {(root / 'val').as_posix()!r} must be sorted into one folder a class, as in "
            "train; the archive holds them flat. Move each into the folder of its class, as the valprep.sh scripts of "
            "the ImageNet tutorials do"
        )
