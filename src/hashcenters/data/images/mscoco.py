"""MS COCO straight from its instances JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from hashcenters.checks import check_count
from hashcenters.data.images.files import OnMissing, absent, present, random_order
from hashcenters.data.items import ItemList, ItemSplits, check_entry
from hashcenters.data.protocol import TABLE_1

__all__ = ["coco"]

_LAYOUT = """
coco/
├── annotations/
│   ├── instances_train{year}.json
│   └── instances_val{year}.json
├── train{year}/                     or images/train{year}/
│   └── *.jpg
└── val{year}/                       or images/val{year}/
    └── *.jpg
"""


def coco(
    root: str | Path,
    *,
    year: Literal["2014", "2017"] = "2014",
    n_train: int = 10_000,
    n_queries: int = 5_000,
    database: Literal["all", "disjoint"] = "all",
    on_missing: OnMissing = "stop",
    seed: int = 0,
) -> ItemSplits:
    """Read MS COCO with the labels of its 80 categories of objects.

    What is known of the protocol: HashNet (ICCV 2017) joins the training and the validation images of 2014 and drops
    those without objects, which leaves 122,218; 5,000 random ones are queries, the rest is the database, and 10,000
    random ones of the database train. The paper has the same sizes for training and queries, and a database of 112,217
    (Table 1) where that rule gives 117,218; why is not said. What is a choice here: the draws themselves (seeded; the
    originals are released as lists, without the database's for CSQ); that an image carries the label of a category if
    any object of it is annotated, crowds included; that the 2017 release, the same images shared out in another way,
    gives the same draws as 2014.

    Args:
        root: folder that holds ``annotations`` and the images.
        year: release to read.
        n_train: training images.
        n_queries: queries.
        database: ``"all"``: everything but the queries, or ``"disjoint"``: without the training images too.
        on_missing: what to do about images that are not on the disk: ``"stop"``, or ``"skip"`` and record them.
        seed: 0..2**63 - 1; draws queries and training images.

    Returns:
        The splits, with multi-hot labels in the order of the category ids, and ``top_k=5000``.

    Raises:
        FileNotFoundError: annotations or an image folder are missing, or an image with ``on_missing="stop"``.
        ValueError: a file is no instances JSON, the two files have different categories or share images, there are too
            few images, or ``year`` or ``database`` is none of those named.

    Examples:
        >>> coco("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: 'nowhere/annotations/instances_train2014.json' does not exist. The expected layout is
        coco/
        ...
    """
    root = Path(root)
    if year not in ("2014", "2017"):
        raise ValueError(f'year must be "2014" or "2017", got {year!r}')
    if database not in ("all", "disjoint"):
        raise ValueError(f'database must be "all" or "disjoint", got {database!r}')
    check_count(n_train, "n_train")
    check_count(n_queries, "n_queries")
    layout = _LAYOUT.format(year=year)
    files = [root / "annotations" / f"instances_{part}{year}.json" for part in ("train", "val")]
    folders = []
    for file, part in zip(files, ("train", "val"), strict=True):
        if not file.is_file():
            raise absent(file, layout)
        folder = next((name for name in (f"{part}{year}", f"images/{part}{year}") if (root / name).is_dir()), None)
        if folder is None:
            raise absent(root / f"{part}{year}", layout)
        folders.append(folder)

    categories: dict[int, str] = {}
    found: dict[int, tuple[str, set[int]]] = {}  # image id: path, category ids
    for file, folder in zip(files, folders, strict=True):
        mine, labeled = _read_instances(file, folder)
        if categories and mine != categories:
            raise ValueError(
                f"{files[0].name} and {file.name} must have the same categories; take both from one release"
            )
        categories = mine
        shared = found.keys() & labeled.keys()
        if shared:
            raise ValueError(
                f"{files[0].name} and {file.name} must not share images, got the id {min(shared)} in both; take both "
                "from one release"
            )
        found.update(labeled)
    column = {category: k for k, category in enumerate(categories)}

    # In the order of the ids, which both releases share.
    ids = sorted(image for image, (_, labels) in found.items() if labels)
    paths = [found[image][0] for image in ids]
    labels = torch.zeros(len(ids), len(column), dtype=torch.uint8)
    rows = [(row, column[label]) for row, image in enumerate(ids) for label in found[image][1]]
    if rows:
        labels[tuple(torch.tensor(rows).T)] = 1

    there = present(root, paths, on_missing)
    order = [row for row in random_order(len(ids), seed) if there[row]]
    if len(order) < n_queries + n_train:
        raise ValueError(
            f"n_queries={n_queries} and n_train={n_train} must fit into the images with labels, but there are "
            f"{len(order):,}; complete the folders or take fewer"
        )
    every = ItemList(root, tuple(paths), labels, tuple(categories.values()))
    searched = sorted(order[n_queries:] if database == "all" else order[n_queries + n_train :])
    return ItemSplits(
        "coco",
        every.subset(sorted(order[n_queries : n_queries + n_train])),
        every.subset(sorted(order[:n_queries])),
        every.subset(searched),
        TABLE_1["coco"].top_k,
        tuple(path for path, found_it in zip(paths, there, strict=True) if not found_it),
    )


def _read_instances(file: Path, folder: str) -> tuple[dict[int, str], dict[int, tuple[str, set[int]]]]:
    """Return the categories by ascending id, and each image's path and category ids."""
    try:
        content: Any = json.loads(file.read_bytes())
        categories = {int(row["id"]): str(row["name"]) for row in content["categories"]}
        images: dict[int, tuple[str, set[int]]] = {
            int(row["id"]): (check_entry(f"{folder}/{row['file_name']}"), set()) for row in content["images"]
        }
        for row in content["annotations"]:
            if row["category_id"] not in categories:
                raise ValueError(f"an object has the category {row['category_id']}, which is not declared")
            images[row["image_id"]][1].add(row["category_id"])
    except (ValueError, KeyError, TypeError) as error:
        what = f"misses the key {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{file} must be a COCO instances JSON with images, annotations and categories: {what}; fetch it anew"
        ) from error
    return dict(sorted(categories.items())), images
