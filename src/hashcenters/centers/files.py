"""Centers in files: safetensors with where they come from and a checksum, never pickle."""

from __future__ import annotations

import hashlib
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

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
        checksum: SHA-256 of shape and bits, hexadecimal; equal centers have equal checksums.
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
    signs = centers.detach().cpu().to(torch.int8).contiguous()
    checksum = _checksum(signs)
    metadata = {"format": _FORMAT, "construction": construction, "sha256": checksum}
    if seed is not None:
        metadata["seed"] = str(seed)
    save_file({"centers": signs}, path, metadata=metadata)
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
    checksum = _checksum(signs)
    if checksum != metadata.get("sha256"):
        raise ValueError(
            f"path={str(path)!r} was changed after it was written: its centers have the checksum {checksum}, written "
            f"was {metadata.get('sha256')}; make or copy them again"
        )
    seed = metadata.get("seed")
    return SavedCenters(
        signs.to(torch.float32), None if seed is None else int(seed), metadata.get("construction", ""), checksum
    )


def _checksum(signs: Tensor) -> str:
    """SHA-256 of shape and values of an int8 tensor of ±1."""
    digest = hashlib.sha256("x".join(map(str, signs.shape)).encode())
    digest.update(signs.to(torch.int8).numpy().tobytes())
    return digest.hexdigest()
