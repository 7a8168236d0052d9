"""Centers in files: safetensors with where they come from and a checksum, never pickle."""

from __future__ import annotations

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hashcenters.centers.measures import to_signs
from hashcenters.centers.randomness import check_seed
from hashcenters.checks import check_centers

__all__ = ["SavedCenters", "load_centers", "save_centers"]

_FORMAT = "hashcenters.centers.1"


class SavedCenters(NamedTuple):
    """What a file of centers holds.

    Attributes:
        centers: float32 (n_classes, n_bits) of ±1, on the CPU.
        seed: the seed that made them, or None where it was not given.
        construction: how they were made.
        checksum: SHA-256 of the centers and of the other two, hexadecimal.
    """

    centers: Tensor
    seed: int | None
    construction: str
    checksum: str


def save_centers(
    centers: Tensor, path: str | PathLike[str], *, seed: int | None = None, construction: str = ""
) -> SavedCenters:
    """Write centers to a safetensors file: one int8 tensor ``centers`` of ±1, and the rest as metadata.

    Args:
        centers: float (n_classes, n_bits) of ±1.
        path: the file; an existing one is replaced.
        seed: the seed that made them, if any.
        construction: how they were made, for instance ``report.construction``.

    Returns:
        What was written.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor, ``seed`` is not an integer, or ``construction`` not a
            string.
        FileNotFoundError: the folder does not exist.
        ValueError: ``centers`` are not ±1, or ``seed`` is out of range.

    Examples:
        >>> import tempfile
        >>> from hashcenters import HashCenterGenerator
        >>> centers = HashCenterGenerator(64, seed=7)(100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = save_centers(centers, f"{folder}/centers.safetensors", seed=7)
        ...     loaded = load_centers(f"{folder}/centers.safetensors")
        >>> torch.equal(loaded.centers, centers), loaded.seed, loaded.checksum == saved.checksum
        (True, 7, True)
    """
    from safetensors.torch import save_file

    check_centers(centers)
    if seed is not None:
        seed = check_seed(seed)
    if not isinstance(construction, str):
        raise TypeError(f"construction must be a string, got {type(construction).__name__}")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} lies in a folder that does not exist; make it first")
    signs = torch.from_numpy(to_signs(centers))
    metadata = {"format": _FORMAT, "construction": construction, "seed": "" if seed is None else str(seed)}
    checksum = _checksum(signs, metadata)
    save_file({"centers": signs}, path, metadata=metadata | {"sha256": checksum})
    return SavedCenters(signs.to(torch.float32), seed, construction, checksum)


def load_centers(path: str | PathLike[str]) -> SavedCenters:
    """Read centers that ``save_centers`` wrote, and prove that they are the same.

    Args:
        path: the file.

    Returns:
        The centers and where they come from.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a file of centers, cut short, or changed since it was written.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"path={str(path)!r} is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            signs = file.get_tensor("centers") if "centers" in file.keys() else None  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"path={str(path)!r} is not a safetensors file or is damaged: {error}") from error
    if metadata.get("format") != _FORMAT or signs is None:
        raise ValueError(
            f"path={str(path)!r} is not a file of save_centers: its format is {metadata.get('format')!r}, "
            f"expected {_FORMAT!r}"
        )
    written = metadata.pop("sha256", None)
    checksum = _checksum(signs, metadata)
    if checksum != written:
        raise ValueError(
            f"path={str(path)!r} was changed after it was written: its checksum is {checksum}, written was {written}; "
            "make or copy the centers again"
        )
    seed = int(metadata["seed"]) if metadata["seed"] else None
    return SavedCenters(signs.to(torch.float32), seed, metadata["construction"], checksum)


def _checksum(signs: Tensor, metadata: dict[str, str]) -> str:
    """SHA-256 of dtype, shape and values, and of the metadata."""
    header = json.dumps([str(signs.dtype), list(signs.shape), sorted(metadata.items())])
    digest = hashlib.sha256(header.encode())
    digest.update(signs.numpy().tobytes())
    return digest.hexdigest()
