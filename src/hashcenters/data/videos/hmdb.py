"""HMDB51 from its unpacked archives and official split files."""

from __future__ import annotations

from pathlib import Path

import torch

from hashcenters.checks import check_count
from hashcenters.data.files import OnMissing, absent, present, read_text
from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.protocol import TABLE_1

__all__ = ["hmdb51"]

_LAYOUT = """
hmdb51/                            the root
├── hmdb51_org/                    or the class folders directly in the root
│   ├── brush_hair/                unpack every class's own .rar too
│   │   ├── April_09_brush_hair_u_nm_np1_ba_goo_0.avi
│   │   └── ...
│   └── ...                        51 folders
└── testTrainMulti_7030_splits/
    ├── brush_hair_test_split1.txt
    └── ...                        one file a class and split
"""
_UNUSED, _TRAIN, _TEST = "0", "1", "2"


def hmdb51(root: str | Path, *, split: int = 1, on_missing: OnMissing = "stop") -> ItemSplits:
    """Read HMDB51 from the official archives' folders.

    As in the paper (Sec. 4.1) the training videos are also the database, the test videos the queries. Each split has 70
    and 30 videos of each of 51 classes: 3,570 and 1,530 (the paper rounds). The videos marked 0 in the split files are
    not used. Classes are numbered in alphabetical order.

    Args:
        root: folder that holds ``testTrainMulti_7030_splits`` and the class folders, in itself or in ``hmdb51_org``.
        split: official split, 1, 2 or 3; the paper's is 1.
        on_missing: what to do about videos that are listed but not there: ``"stop"``, or ``"skip"`` and record them.

    Returns:
        The splits, with int64 labels and ``top_k=70``; paths are relative to ``root``.

    Raises:
        FileNotFoundError: the split files or the class folders are absent, or a video with ``on_missing="stop"``.
        ValueError: there is no such split, a line of a split file is not "name.avi 0", "1" or "2", or a video is
            listed twice.

    Examples:
        >>> hmdb51("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: 'nowhere/testTrainMulti_7030_splits' does not exist. The expected layout is
        hmdb51/                            the root
        ...
    """
    root = Path(root)
    if check_count(split, "split") > 3:
        raise ValueError(f"split must be 1, 2 or 3 (HMDB51 has three official splits), got {split}")
    lists = root / "testTrainMulti_7030_splits"
    if not lists.is_dir():
        raise absent(lists, _LAYOUT)
    ending = f"_test_split{split}.txt"
    classes = tuple(sorted({file.name.rpartition("_test_split")[0] for file in lists.glob("?*_test_split[123].txt")}))
    for name in classes or ("<class>",):
        if not (lists / f"{name}{ending}").is_file():  # its class would be missed by nobody
            raise absent(lists / f"{name}{ending}", _LAYOUT)
    folder = "hmdb51_org/" if (root / "hmdb51_org").is_dir() else ""
    if not any((root / folder / name).is_dir() for name in classes):
        raise absent(root / "hmdb51_org" / classes[0], _LAYOUT)

    paths: list[str] = []
    labels: list[int] = []
    trains: list[bool] = []
    for label, name in enumerate(classes):
        for video, use in _read_split(lists / f"{name}{ending}").items():
            if use != _UNUSED:
                paths.append(f"{folder}{name}/{video}")
                labels.append(label)
                trains.append(use == _TRAIN)
    found = present(root, paths, on_missing, kind="videos")
    listed = ItemList(root, tuple(paths), torch.tensor(labels, dtype=torch.int64), classes)
    there, train = torch.tensor(found), torch.tensor(trains)
    database, queries = listed.subset(there & train), listed.subset(there & ~train)
    skipped = tuple(path for path, is_there in zip(paths, found, strict=True) if not is_there)
    return ItemSplits("hmdb51", database, queries, database, TABLE_1["hmdb51"].top_k, skipped)


def _read_split(file: Path) -> dict[str, str]:
    """Return the use of each video of a class: 0, 1 or 2 as a string."""
    uses: dict[str, str] = {}
    for number, line in enumerate(read_text(file), start=1):
        parts = line.rsplit(maxsplit=1)  # from the right: names may hold spaces
        name = parts[0].strip() if len(parts) == 2 else ""
        plain = name not in ("", ".", "..") and "/" not in name and "\\" not in name
        if not plain or parts[1] not in (_UNUSED, _TRAIN, _TEST):
            raise ValueError(
                f'{file}:{number}: the line must be "name.avi" and 0 (unused), 1 (training) or 2 (test), got {line!r}; '
                "unpack the official split files again"
            )
        if name in uses:
            raise ValueError(f"{file}:{number}: {name!r} is listed a second time; drop one of its lines")
        uses[name] = parts[1]
    return uses
