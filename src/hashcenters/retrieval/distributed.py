"""What the processes of ``torch.distributed`` tell each other when they evaluate together."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

__all__ = ["gather", "is_active", "owned_here", "sum_over_ranks"]

_Value = TypeVar("_Value")


def is_active() -> bool:
    """Tell whether this process belongs to a group of at least two.

    Returns:
        Whether ``torch.distributed`` is initialised with more than one process.

    Examples:
        >>> is_active()
        False
    """
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(value: _Value) -> list[_Value]:
    """Give every process the values of all.

    Args:
        value: anything that can be pickled; the processes of a job trust each other.

    Returns:
        The values by rank.
    """
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def sum_over_ranks(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Add up the arrays of all processes: integers, so to the last bit, in whatever order.

    Args:
        counts: int64 array of one shape in every process.

    Returns:
        The sum, the same in every process.
    """
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.from_numpy(counts).to(device, copy=True)
    dist.all_reduce(total)
    summed: npt.NDArray[np.int64] = total.cpu().numpy()
    return summed


def owned_here(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Say which of its ids this process counts: those that no process of lower rank holds.

    Args:
        ids: int64 (n,), different from each other.

    Returns:
        bool (n,).
    """
    lower = gather(ids)[: dist.get_rank()]
    return ~np.isin(ids, np.concatenate(lower)) if lower else np.ones(len(ids), dtype=np.bool_)
