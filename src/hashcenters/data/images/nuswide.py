"""NUS-WIDE straight from its official concept and tag files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hashcenters.checks import check_count
from hashcenters.data.images.files import OnMissing, absent, present, random_order, read_text
from hashcenters.data.items import ItemList, ItemSplits, check_entry
from hashcenters.data.protocol import TABLE_1

__all__ = ["nus_wide"]

_LAYOUT = """
nus_wide/
├── Concepts81.txt                   or ConceptsList/Concepts81.txt
├── ItemList/
│   ├── Imagelist.txt                with AllLabels
│   ├── TrainImagelist.txt           with TrainTestLabels
│   └── TestImagelist.txt
├── AllLabels/                       or Groundtruth/AllLabels/
│   └── Labels_<concept>.txt
├── TrainTestLabels/                 or Groundtruth/TrainTestLabels/; one of the two is enough
│   ├── Labels_<concept>_Train.txt
│   └── Labels_<concept>_Test.txt
└── Flickr/                          or images/, with or without the concept folders
    └── <concept>/*.jpg
"""


def nus_wide(
    root: str | Path,
    *,
    n_concepts: int = 21,
    n_queries_per_class: int = 100,
    n_train_per_class: int = 500,
    database: Literal["all", "disjoint"] = "all",
    on_missing: OnMissing = "stop",
    seed: int = 0,
) -> ItemSplits:
    """Read NUS-WIDE with the labels of its most frequent concepts.

    What is known of the protocol: the paper takes "images from the 21 most frequent categories" (Sec. 4.1), with 10,000
    training images, 2,040 queries and a database of 149,685 (Table 1). The older works it follows keep the images that
    carry at least one of the 21 concepts (195,834 of 269,648), draw 100 queries and 500 training images of each class,
    and search in all others; where 149,685 comes from is not said, that rule gives 193,734.

    What is a choice here: the draws themselves (seeded); that they go class by class, in label order, among the images
    not drawn yet, so that they give exactly 2,100 and 10,500; that concepts as frequent as each other go by name; that
    an image listed twice counts once, by its first row. Many of the photographs have left Flickr, so copies differ: see
    ``on_missing``.

    Args:
        root: folder that holds the official files; the layout is in the error where it is absent.
        n_concepts: how many of the most frequent concepts to keep, counted over all images.
        n_queries_per_class: queries drawn for each concept.
        n_train_per_class: training images drawn for each concept.
        database: ``"all"``: everything but the queries, or ``"disjoint"``: without the training images too.
        on_missing: what to do about images that are not on the disk: ``"stop"``, or ``"skip"`` and record them.
        seed: 0..2**63 - 1; draws queries and training images.

    Returns:
        The splits, with multi-hot labels in the order of ``Concepts81.txt``, and ``top_k=5000``.

    Raises:
        FileNotFoundError: a file is missing, or an image with ``on_missing="stop"``.
        ValueError: a label is not 0 or 1, label files and image list have different lengths, there are fewer concepts
            or images than wanted, or ``database`` is neither of the two.

    Examples:
        >>> nus_wide("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: 'nowhere/Concepts81.txt' does not exist. The expected layout is
        nus_wide/
        ...
    """
    root = Path(root)
    check_count(n_concepts, "n_concepts")
    check_count(n_queries_per_class, "n_queries_per_class")
    check_count(n_train_per_class, "n_train_per_class")
    if database not in ("all", "disjoint"):
        raise ValueError(f'database must be "all" or "disjoint", got {database!r}')
    concepts = [line.strip() for line in read_text(_find(root, "Concepts81.txt", "ConceptsList/Concepts81.txt"))]
    if n_concepts > len(concepts):
        raise ValueError(f"n_concepts must be at most the number of concepts, {len(concepts)}, got {n_concepts}")
    names, tags = _read_tags(root, concepts)

    frequency = tags.sum(axis=0).tolist()
    by_frequency = sorted(range(len(concepts)), key=lambda k: (-frequency[k], concepts[k]))
    kept = sorted(by_frequency[:n_concepts])
    classes = tuple(concepts[k] for k in kept)
    folder = _find(root, "Flickr", "images")
    with os.scandir(folder) as entries:
        flat = not any(entry.is_dir() for entry in entries)
    files: dict[str, int] = {}
    for row in np.flatnonzero(tags[:, kept].any(axis=1)).tolist():
        files.setdefault(f"{folder.name}/{names[row].rpartition('/')[2] if flat else names[row]}", row)
    paths = sorted(files)  # by name: the two sets of label files hold the images in different orders
    labels = tags[[files[path] for path in paths]][:, kept]

    there = present(root, paths, on_missing)
    free = np.array(there, dtype=bool)
    order = np.array(random_order(len(paths), seed), dtype=np.int64)
    drawn: list[list[int]] = []
    for what, wanted in (("n_queries_per_class", n_queries_per_class), ("n_train_per_class", n_train_per_class)):
        rows: list[int] = []
        for k, name in enumerate(classes):
            mine = order[free[order] & (labels[order, k] == 1)][:wanted]
            if len(mine) < wanted:
                raise ValueError(
                    f"{what}={wanted} images are wanted of each class, but {name!r} has {len(mine)} left; complete the "
                    "folder or take fewer"
                )
            free[mine] = False
            rows += mine.tolist()
        drawn.append(sorted(rows))
    queries, train = drawn
    every = ItemList(root, tuple(paths), torch.from_numpy(labels), classes)
    if database == "all":
        free[train] = True
    return ItemSplits(
        "nus_wide",
        every.subset(train),
        every.subset(queries),
        every.subset(np.flatnonzero(free).tolist()),
        TABLE_1["nus_wide"].top_k,
        tuple(path for path, found in zip(paths, there, strict=True) if not found),
    )


def _find(root: Path, *places: str) -> Path:
    """Return the first of several places that exists."""
    for place in places:
        if (root / place).exists():
            return root / place
    raise absent(root / places[0], _LAYOUT)


def _read_tags(root: Path, concepts: list[str]) -> tuple[list[str], NDArray[np.uint8]]:
    """Return every image's name and its row of 0 and 1, uint8 (n_images, n_concepts)."""
    if any((root / place).is_dir() for place in ("AllLabels", "Groundtruth/AllLabels")):
        labels, parts = _find(root, "AllLabels", "Groundtruth/AllLabels"), [("Imagelist.txt", "")]
    else:
        labels = _find(root, "TrainTestLabels", "Groundtruth/TrainTestLabels")
        parts = [("TrainImagelist.txt", "_Train"), ("TestImagelist.txt", "_Test")]
    names: list[str] = []
    tables = []
    for image_list, ending in parts:
        listed = _find(root, f"ItemList/{image_list}")
        mine = []
        for number, line in enumerate(read_text(listed), 1):
            try:
                mine.append(check_entry(line.strip().replace("\\", "/")))  # the official lists are from Windows
            except ValueError as error:
                raise ValueError(f"{listed}:{number}: {error}") from error
        table = np.zeros((len(mine), len(concepts)), dtype=np.uint8)
        for k, concept in enumerate(concepts):
            file = _find(root, f"{labels.relative_to(root).as_posix()}/Labels_{concept}{ending}.txt")
            column = [line.strip() for line in read_text(file)]
            if len(column) != len(mine):
                raise ValueError(
                    f"{file} must have a line for each of the {len(mine)} images of {image_list}, got {len(column)}"
                )
            wrong = next((i for i, value in enumerate(column) if value not in ("0", "1")), None)
            if wrong is not None:
                raise ValueError(f"{file}:{wrong + 1}: a label must be 0 or 1, got {column[wrong]!r}")
            table[:, k] = np.frombuffer("".join(column).encode("ascii"), dtype=np.uint8) - ord("0")
        names += mine
        tables.append(table)
    return names, np.concatenate(tables)
