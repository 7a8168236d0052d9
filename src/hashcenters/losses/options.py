"""What the losses share: the options they take, and how the losses of samples become one."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Reduction", "check_not_empty", "check_positive", "check_reduction", "check_weight", "precise", "reduce"]

Reduction = Literal["mean", "sum", "none"]


def check_positive(value: float, name: str) -> None:
    """Refuse an option that is not finite and above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be finite and above 0, got {value}")


def check_weight(value: float, name: str) -> None:
    """Refuse an option that is not finite and at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value}")


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction must be one of {', '.join(map(repr, get_args(Reduction)))}, got {reduction!r}")


def check_not_empty(logits: Tensor, reduction: Reduction) -> None:
    """Refuse to take the mean of an empty batch."""
    if reduction == "mean" and logits.shape[0] == 0:
        raise ValueError(
            'logits must hold at least one sample to take a mean; skip empty batches or use reduction="sum"'
        )


def precise(logits: Tensor) -> Tensor:
    """Return logits in float32, or in float64 if they are that."""
    return logits if logits.dtype == torch.float64 else logits.to(torch.float32)


def reduce(samples: Tensor, reduction: Reduction) -> Tensor:
    """Reduce the losses of samples."""
    if reduction == "none":
        return samples
    return samples.mean() if reduction == "mean" else samples.sum()
