"""UCF101 from its unpacked archives and official split files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from hashcenters.checks import check_count
from hashcenters.data.files import OnMissing, absent, present, read_text
from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.protocol import TABLE_1

__all__ = ["ucf101"]

_LAYOUT = """
ucf101/                            the root
├── UCF-101/                       or the class folders directly in the root
│   ├── ApplyEyeMakeup/
│   │   ├── v_ApplyEyeMakeup_g01_c01.avi
│   │   └── ...
│   └── ...                        101 folders
└── ucfTrainTestlist/
    ├── classInd.txt
    ├── trainlist01.txt            and 02, 03
    └── testlist01.txt             and 02, 03
"""


def ucf101(root: str | Path, *, split: int = 1, on_missing: OnMissing = "stop") -> ItemSplits:
    """Read UCF101 from the official archives' folders.

    As in the paper (Sec. 4.1) the training videos are also the database, the test videos the queries: 9,537 and 3,783
    in split 1 (the paper rounds). Classes are numbered as in ``classInd.txt``, from 0. Upper and lower case of folders
    and files may differ from the lists: copies of the data set spell HandstandPushups in two ways.

    Args:
        root: folder that holds ``ucfTrainTestlist`` and the class folders, in itself or in ``UCF-101``.
        split: official split, 1, 2 or 3; the paper's is 1.
        on_missing: what to do about videos that are listed but not there: ``"stop"``, or ``"skip"`` and record them.

    Returns:
        The splits, with int64 labels and ``top_k=100``; paths are relative to ``root`` and spelled as on the disk.

    Raises:
        FileNotFoundError: a list or the class folders are absent, or a video with ``on_missing="stop"``.
        ValueError: there is no such split, ``classInd.txt`` does not number its classes 1, 2, ..., a line of a list is
            not "Class/name.avi" with or without the number of its class, or a video is listed twice.

    Examples:
        >>> ucf101("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: 'nowhere/ucfTrainTestlist/classInd.txt' does not exist. The expected layout is
        ucf101/                            the root
        ...
    """
    root = Path(root)
    if check_count(split, "split") > 3:
        raise ValueError(f"split must be 1, 2 or 3 (UCF101 has three official splits), got {split}")
    lists = root / "ucfTrainTestlist"
    files = [lists / name for name in ("classInd.txt", f"trainlist0{split}.txt", f"testlist0{split}.txt")]
    for file in files:
        if not file.is_file():
            raise absent(file, _LAYOUT)
    classes = _read_classes(files[0])
    listed_before: set[str] = set()
    train, queries = (_read_list(file, classes, listed_before) for file in files[1:])

    spelled = _Spelling(root, "UCF-101/" if (root / "UCF-101").is_dir() else "")
    if not any(spelled.folder(name) for name in classes):
        raise absent(root / "UCF-101" / classes[0], _LAYOUT)
    paths = [spelled.path(path) for path in (*train, *queries)]
    labels = torch.tensor([*train.values(), *queries.values()], dtype=torch.int64)
    found = present(root, paths, on_missing, kind="videos")
    listed = ItemList(root, tuple(paths), labels, classes)
    rows = [row for row, there in enumerate(found) if there]
    database = listed.subset([row for row in rows if row < len(train)])
    asked = listed.subset([row for row in rows if row >= len(train)])
    skipped = tuple(path for path, there in zip(paths, found, strict=True) if not there)
    return ItemSplits("ucf101", database, asked, database, TABLE_1["ucf101"].top_k, skipped)


class _Spelling:
    """Finds folders and files whatever their case; every folder is listed once."""

    def __init__(self, root: Path, prefix: str) -> None:
        self._root, self._prefix = root, prefix
        self._names: dict[str, dict[str, str]] = {}
        self._folders = self._listing(root / prefix)

    @staticmethod
    def _listing(folder: Path) -> dict[str, str]:
        """Map every name, and every name in lower case, to the name on the disk; the former wins."""
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return {name.lower(): name for name in names} | {name: name for name in names}

    def folder(self, name: str) -> str | None:
        """Return the name of a class folder as it is on the disk."""
        found = self._folders.get(name, self._folders.get(name.lower()))
        return found if found and (self._root / self._prefix / found).is_dir() else None

    def path(self, listed: str) -> str:
        """Return "Class/name.avi" from the root, spelled as on the disk; as listed where it is not there."""
        name, _, video = listed.partition("/")
        folder = self.folder(name)
        if folder is None:
            return self._prefix + listed
        if folder not in self._names:
            self._names[folder] = self._listing(self._root / self._prefix / folder)
        names = self._names[folder]
        return f"{self._prefix}{folder}/{names.get(video, names.get(video.lower(), video))}"


def _read_classes(file: Path) -> tuple[str, ...]:
    """Return the classes of ``classInd.txt`` in the order of their numbers."""
    names: dict[int, str] = {}
    seen: set[str] = set()
    for number, line in enumerate(read_text(file), start=1):
        parts = line.split()
        if len(parts) != 2 or not (parts[0].isascii() and parts[0].isdigit()) or "/" in parts[1]:
            raise ValueError(
                f'{file}:{number}: the line must be a number and a class, such as "1 ApplyEyeMakeup", got {line!r}; '
                "unpack the official lists again"
            )
        index, name = int(parts[0]), parts[1]
        if index in names or name.lower() in seen:
            raise ValueError(f"{file}:{number}: number and class must come once, got {line!r} again; drop the line")
        names[index] = name
        seen.add(name.lower())
    if set(names) != set(range(1, len(names) + 1)):
        raise ValueError(
            f"{file}: the classes must be numbered 1..{len(names)} without gaps, got {min(names)}..{max(names)}; "
            "unpack the official lists again"
        )
    return tuple(names[index] for index in sorted(names))


def _read_list(file: Path, classes: Sequence[str], before: set[str]) -> dict[str, int]:
    """Return the videos of a list as "Class/name.avi" with their labels, 0-based; none may have come before."""
    labels = {name.lower(): label for label, name in enumerate(classes)}
    videos: dict[str, int] = {}
    for number, line in enumerate(read_text(file), start=1):
        parts = line.split()
        folder, _, video = parts[0].partition("/") if parts else ("", "", "")
        if len(parts) not in (1, 2) or not video or "/" in video or "\\" in line or video in (".", ".."):
            raise ValueError(
                f'{file}:{number}: the line must be "Class/name.avi", in a training list with the number of the class '
                f"after it, got {line!r}; unpack the official lists again"
            )
        label = labels.get(folder.lower())
        if label is None:
            raise ValueError(f"{file}:{number}: class {folder!r} is not in classInd.txt; take lists of one release")
        if len(parts) == 2 and parts[1] != str(label + 1):
            raise ValueError(
                f"{file}:{number}: {folder!r} has the number {label + 1} in classInd.txt, but {parts[1]!r} here; take "
                "lists of one release"
            )
        if parts[0].lower() in before:
            raise ValueError(
                f"{file}:{number}: {parts[0]!r} is listed a second time, here or in the training list; drop one of its "
                "lines"
            )
        before.add(parts[0].lower())
        videos[parts[0]] = label
    return videos
