"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_atomically", "write_json"]


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a kill, a crash or a full disk leaves the old content or the new, never a part.

    The data go to a temporary file in the same folder, are flushed to the disk, and take the file's name at last.
    Only one process may write a file at a time.

    Args:
        path: file to write; its folder must exist.
        data: its content.

    Raises:
        OSError: the file cannot be written; of the kind that the system reported, with its number.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.bin", b"old")
        ...     write_atomically(Path(folder) / "a.bin", b"new")
        ...     [file.name for file in Path(folder).iterdir()], (Path(folder) / "a.bin").read_bytes()
        (['a.bin'], b'new')
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a kill leaves, the next write takes
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        rest = "the previous file is intact" if os.path.exists(path) else "nothing was written"
        words = f"{path} could not be written ({error.strerror or error}); {rest}"
        raise (OSError(words) if error.errno is None else OSError(error.errno, words)) from error
    if os.name == "posix":  # the new name too is to survive a loss of power; not every file system can promise it
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write a value as JSON, by ``write_atomically``. NaN and infinities, which JSON has not, become null.

    Args:
        path: file to write; its folder must exist.
        value: dictionaries, sequences, strings, numbers, booleans and None.

    Raises:
        TypeError: something in it is none of these.
        OSError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "a.json", {"map": 0.5, "loss": math.nan})
        ...     json.loads((Path(folder) / "a.json").read_text())
        {'map': 0.5, 'loss': None}
    """
    # ASCII alone: file names that are no valid unicode can be written too.
    write_atomically(path, (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode("ascii"))


def _finite(value: object) -> Any:  # noqa: ANN401 -- JSON has no narrower type
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
