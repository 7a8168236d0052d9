"""What is on the disk, of images and videos alike: missing files, absent data sets, lists as text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["OnMissing", "absent", "present", "read_text"]

OnMissing = Literal["stop", "skip"]


def present(root: Path, paths: Sequence[str], on_missing: OnMissing, *, kind: str = "images") -> list[bool]:
    """Say which files exist, under the policy for those that do not.

    Args:
        root: folder that the paths are relative to.
        paths: the files to look for.
        on_missing: ``"stop"`` or ``"skip"``.
        kind: what the files are, for the message.

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
            f"{len(gone):,} of {len(paths):,} {kind} are missing in {str(root)!r}: {shown}; complete the folder, or "
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
