"""The list format of HashNet, CSQ and DeepHash: a line an image, its path and then 0 or 1 a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hashcenters.checks import check_count
from hashcenters.data.images.files import OnMissing, absent, present, read_text
from hashcenters.data.items import ItemList, ItemSplits, check_entry

__all__ = ["read_list", "read_lists", "write_list"]

_LAYOUT = """
lists/
├── train.txt       a line an image: its path relative to the image root, then 0 or 1 a class
├── test.txt        the queries
└── database.txt
"""


def read_list(
    path: str | Path,
    root: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    n_classes: int | None = None,
    multi_label: bool = True,
) -> ItemList:
    r"""Read a list of images; the files themselves are not looked at.

    A line is ``path 0 0 1 0``: the last ``n_classes`` fields are the labels, and what stands before them is the path,
    spaces and all. Blank lines are passed over. Source: the lists of HashNet (Cao et al., ICCV 2017), which CSQ and
    DeepHash kept.

    Args:
        path: the list.
        root: folder that the paths are relative to.
        class_names: one name a class; None takes "0", "1", ...
        n_classes: number of labels on a line; None takes the length of ``class_names``, or else the number of fields 0
            or 1 at the end of the first line. Give it where paths may end in such a field.
        multi_label: return multi-hot labels; False returns class indices, and every image must have one label.

    Returns:
        The images.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: with file and line: a label is not 0 or 1, lines differ in their number of labels, an image has no
            label (or several with ``multi_label=False``), comes twice or lies outside the root; the file is empty or
            not UTF-8; or ``n_classes`` and ``class_names`` disagree.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "train.txt").write_text("my cat.jpg 1 0\nb/dog.jpg 0 1\n", encoding="utf-8")
        ...     images = read_list(f"{folder}/train.txt", folder, class_names=("cat", "dog"), multi_label=False)
        >>> images.paths, images.labels
        (('my cat.jpg', 'b/dog.jpg'), tensor([0, 1]))
    """
    path = Path(path)
    if n_classes is not None and class_names is not None and n_classes != len(class_names):
        raise ValueError(f"n_classes={n_classes} and class_names must agree, got {len(class_names)} names")
    if class_names is not None:
        n_classes = len(class_names)
    if not path.is_file():
        raise absent(path, _LAYOUT)
    numbered = [(number, line) for number, line in enumerate(read_text(path), 1) if line.strip()]
    inferred = n_classes is None
    if n_classes is None:
        n_classes = _labels_at_end(numbered[0][1])
        if n_classes == 0:
            raise ValueError(
                f"{path}:{numbered[0][0]}: a line must be a path, then 0 or 1 a class, got {numbered[0][1]!r}"
            )
    check_count(n_classes, "n_classes")

    lines: dict[str, int] = {}
    digits = []
    longer = 0  # lines with another 0 or 1 before their labels
    for number, line in numbered:
        where = f"{path}:{number}"
        fields = line.rsplit(None, n_classes)
        label = "".join(fields[1:])
        if len(fields) <= n_classes or len(label) != n_classes or label.strip("01"):
            wrong = next((field for field in fields[1:] if field not in ("0", "1")), fields[0])
            raise ValueError(
                f"{where}: a line must be a path, then n_classes={n_classes} labels 0 or 1, got {wrong!r} among the "
                "labels"
            )
        if _labels_at_end(fields[0]):
            longer += 1
        if longer and (inferred or longer == len(numbered)):
            raise ValueError(
                f"{where}: a line must be a path, then n_classes={n_classes} labels 0 or 1, got more of them; give the "
                "right n_classes"
            )
        if "1" not in label:
            raise ValueError(f"{where}: an image must have a label, got none for {fields[0]!r}; drop the line")
        if not multi_label and label.count("1") != 1:
            raise ValueError(
                f"{where}: with multi_label=False an image must have one label, got {label.count('1')} for "
                f"{fields[0]!r}"
            )
        try:
            entry = check_entry(fields[0].strip())
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if entry in lines:
            raise ValueError(f"{where}: an image must come once, got {entry!r} again (first in line {lines[entry]})")
        lines[entry] = number
        digits.append(label)

    hot = np.frombuffer("".join(digits).encode("ascii"), dtype=np.uint8).reshape(len(digits), n_classes) - ord("0")
    labels = torch.from_numpy(hot if multi_label else hot.argmax(axis=1))
    names = tuple(str(k) for k in range(n_classes)) if class_names is None else tuple(class_names)
    return ItemList(Path(root), tuple(lines), labels, names)


def write_list(images: ItemList, path: str | Path) -> None:
    """Write a list of images in the format that ``read_list`` reads.

    Args:
        images: what to write; class indices become one-hot rows.
        path: the file, replaced if it exists.

    Raises:
        ValueError: a path begins or ends with a space, which the format loses.

    Examples:
        >>> import tempfile
        >>> images = ItemList(Path("photos"), ("a.jpg", "b.jpg"), torch.tensor([1, 0]), ("cat", "dog"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_list(images, f"{folder}/train.txt")
        ...     print(Path(folder, "train.txt").read_text(encoding="utf-8"))
        a.jpg 0 1
        b.jpg 1 0
    """
    for name in images.paths:
        if name != name.strip():
            raise ValueError(f"paths must not begin or end with a space in a list, got {name!r}; rename the file")
    hot = images.labels
    if not images.multi_label:
        hot = torch.nn.functional.one_hot(hot, images.n_classes)
    rows = (" ".join(map(str, row)) for row in hot.tolist())
    text = "".join(f"{name} {row}\n" for name, row in zip(images.paths, rows, strict=True))
    Path(path).write_text(text, encoding="utf-8", newline="\n")


def read_lists(
    folder: str | Path,
    root: str | Path,
    *,
    name: str,
    top_k: int,
    class_names: Sequence[str] | None = None,
    n_classes: int | None = None,
    multi_label: bool = True,
    on_missing: OnMissing = "stop",
) -> ItemSplits:
    """Read the three lists of an experiment: ``train.txt``, ``test.txt`` (the queries) and ``database.txt``.

    Args:
        folder: where the lists are.
        root: folder that the images' paths are relative to.
        name: ``"imagenet100"``, ``"coco"`` or ``"nus_wide"`` for the report to compare with the paper's Table 1, or
            any other name.
        top_k: length of the ranking that mAP looks at; the paper takes 1000, 5000 and 5000.
        class_names: see ``read_list``.
        n_classes: see ``read_list``; None takes what the first line of ``train.txt`` holds.
        multi_label: see ``read_list``; False for ImageNet.
        on_missing: what to do about images that are not on the disk: ``"stop"`` at them, or ``"skip"`` and record them.

    Returns:
        The lists.

    Raises:
        FileNotFoundError: a list is missing, or an image with ``on_missing="stop"``.
        ValueError: a list is malformed (see ``read_list``), or a query is also in another list.

    Examples:
        >>> splits = read_lists("lists", "images", name="coco", top_k=5000)
        Traceback (most recent call last):
        FileNotFoundError: 'lists/train.txt' does not exist. The expected layout is
        lists/
        ...
    """
    folder, root = Path(folder), Path(root)
    for file in ("train.txt", "test.txt"):
        if not (folder / file).is_file():
            raise absent(folder / file, _LAYOUT)
    if not (folder / "database.txt").is_file():
        raise FileNotFoundError(
            f"{(folder / 'database.txt').as_posix()!r} does not exist. The CSQ repository ships train.txt and test.txt "
            "alone; fetch database.txt from the download its README links to, or write your own by write_list, or "
            "read the data set itself by imagenet100, coco or nus_wide"
        )
    lists = []
    for file in ("train.txt", "test.txt", "database.txt"):
        images = read_list(folder / file, root, class_names=class_names, n_classes=n_classes, multi_label=multi_label)
        n_classes = images.n_classes
        lists.append(images)
    every = list(dict.fromkeys(path for images in lists for path in images.paths))
    gone = {path for path, there in zip(every, present(root, every, on_missing), strict=True) if not there}
    train, queries, database = (
        images.subset([row for row, path in enumerate(images.paths) if path not in gone]) for images in lists
    )
    return ItemSplits(
        name, train, queries, database, top_k=top_k, skipped=tuple(path for path in every if path in gone)
    )


def _labels_at_end(line: str) -> int:
    """Count the fields 0 and 1 at the end of a line; the first field is always the path's."""
    fields = line.split()
    count = 0
    while count < len(fields) - 1 and fields[-1 - count] in ("0", "1"):
        count += 1
    return count
