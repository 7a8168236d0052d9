"""What is on the disk: missing and broken images, absent data sets, and draws that do not depend on either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hashcenters.centers.randomness import SUBSET_STREAM, check_seed, random_stream
from hashcenters.checks import check_count
from hashcenters.data.images.decoding import ImageReadError, open_image

if TYPE_CHECKING:
    from hashcenters.data.items import ItemList

__all__ = ["OnMissing", "absent", "missing", "present", "random_order", "read_text", "unreadable"]

OnMissing = Literal["stop", "skip"]


def missing(images: ItemList) -> list[str]:
    """List the images whose files do not exist.

    Args:
        images: the list to look at; nothing is opened.

    Returns:
        Their paths, in the order of the list.

    Examples:
        >>> import torch
        >>> from hashcenters.data.images import ItemList
        >>> missing(ItemList(Path("nowhere"), ("a.jpg",), torch.tensor([0]), ("cat",)))
        ['a.jpg']
    """
    return [path for path in images.paths if not os.path.isfile(os.path.join(images.root, path))]


def unreadable(images: ItemList, *, n_threads: int = 4) -> list[str]:
    """List the images whose files are missing or cannot be decoded; opens and decodes each.

    Args:
        images: the list to look at.
        n_threads: images decoded at a time.

    Returns:
        Their paths, in the order of the list: leave them out by ``ItemSplits.without``.

    Examples:
        >>> import torch
        >>> from hashcenters.data.images import ItemList
        >>> unreadable(ItemList(Path("nowhere"), ("a.jpg",), torch.tensor([0]), ("cat",)))
        ['a.jpg']
    """

    def broken(path: str) -> bool:
        try:
            open_image(os.path.join(images.root, path))
        except ImageReadError:
            return True
        return False

    with ThreadPoolExecutor(check_count(n_threads, "n_threads")) as pool:
        return [path for path, bad in zip(images.paths, pool.map(broken, images.paths), strict=True) if bad]


def present(root: Path, paths: Sequence[str], on_missing: OnMissing) -> list[bool]:
    """Say which files exist, under the policy for those that do not.

    Args:
        root: folder that the paths are relative to.
        paths: the files to look for.
        on_missing: ``"stop"`` or ``"skip"``.

    Returns:
        Whether each file exists.

    Raises:
        FileNotFoundError: a file is missing and ``on_missing`` is ``"stop"``.
        ValueError: ``on_missing`` is neither.

    Examples:
        >>> present(Path("nowhere"), ["a.jpg"], "skip")
        [False]
    """
    if on_missing not in ("stop", "skip"):
        raise ValueError(f'on_missing must be "stop" or "skip", got {on_missing!r}')
    found = [os.path.isfile(os.path.join(root, path)) for path in paths]
    gone = [path for path, there in zip(paths, found, strict=True) if not there]
    if gone and on_missing == "stop":
        shown = ", ".join(repr(path) for path in gone[:3]) + (", ..." if len(gone) > 3 else "")
        raise FileNotFoundError(
            f"{len(gone):,} of {len(paths):,} images are missing in {str(root)!r}: {shown}; complete the folder, or "
            'leave them out and count them by on_missing="skip"'
        )
    return found


def absent(path: Path, layout: str) -> FileNotFoundError:
    r"""Build the error for a data set that is not there.

    Args:
        path: the file or folder that was looked for.
        layout: the files of the data set, drawn as a tree.

    Returns:
        The error, to be raised.

    Examples:
        >>> print(absent(Path("coco/annotations"), "coco/\n└── annotations/"))
        'coco/annotations' does not exist. The expected layout is
        coco/
        └── annotations/
    """
    return FileNotFoundError(f"{path.as_posix()!r} does not exist. The expected layout is\n{layout.strip()}")


def random_order(n: int, seed: int, *path: int) -> list[int]:
    """Shuffle 0..n-1, the same way on every platform.

    Taking the first k gives nested random subsets; leaving out items that are not on the disk changes the draw by their
    replacements alone.

    Args:
        n: number of items.
        seed: 0..2**63 - 1.
        path: what is drawn; different paths are independent.

    Returns:
        A random permutation.

    Examples:
        >>> random_order(5, 0)
        [3, 4, 0, 2, 1]
    """
    words = random_stream(check_seed(seed), SUBSET_STREAM, *path).random_raw(n)
    order: list[int] = np.argsort(words, kind="stable").tolist()
    return order


def read_text(path: Path) -> list[str]:
    r"""Read the lines of a UTF-8 text file, without those that are blank at its end.

    Args:
        path: the file.

    Returns:
        Its lines, without line ends; a byte order mark is dropped.

    Raises:
        ValueError: the file is not UTF-8, or empty.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("one\ntwo\n", encoding="utf-8")
        ...     read_text(Path(folder, "a.txt"))
        ['one', 'two']
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: the file must be UTF-8 text ({error.reason}); convert it") from error
    lines = text.split("\n")  # splitlines would also cut at characters that a file name may hold
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty; it must hold a line an item")
    return lines
