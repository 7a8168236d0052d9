"""Labels and names of rows as the evaluation keeps them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hashcenters.retrieval.codes import pack_bits

__all__ = ["Labels", "label_kind", "to_ids", "to_label_rows"]

Labels: TypeAlias = Tensor | npt.NDArray[Any]


def to_ids(ids: Labels, n_rows: int) -> npt.NDArray[np.int64]:
    """Return names of rows as int64 (n,).

    Args:
        ids: integers (n,), torch or numpy.
        n_rows: the n they must have.

    Returns:
        The names.

    Raises:
        ValueError: another shape, not integers, or too large.

    Examples:
        >>> to_ids(torch.tensor([7, 3]), 2)
        array([7, 3])
    """
    values = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if values.shape != (n_rows,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"ids must be integers of shape (n,), one for each of the {n_rows} codes, got {values.dtype} of shape "
            f"{values.shape}"
        )
    if len(values) and int(values.max()) >= 2**63:
        raise ValueError(f"ids must be smaller than 2**63, got {values.max()}")
    return values.astype(np.int64)


def label_kind(n_classes: int | None) -> str:
    """Name the kind of labels, for messages: class ids (None), or label sets of so many classes."""
    return "class ids (n,)" if n_classes is None else f"multi-hot rows of {n_classes} classes"


def to_label_rows(labels: Labels, n_rows: int) -> tuple[npt.NDArray[Any], int | None]:
    """Take labels in any form the library knows.

    Args:
        labels: integer class ids (n,), at least 0; or multi-hot (n, n_classes) of 0 and 1. torch or numpy.
        n_rows: the n they must have.

    Returns:
        int64 class ids (n,) and None; or label sets packed to one bit a class, uint8 (n, ceil(n_classes / 8)), and the
        number of classes.

    Raises:
        TypeError: neither a tensor nor an array, or class ids that are not integers.
        ValueError: wrong shape, a negative or huge class id, or a multi-hot value other than 0 and 1.

    Examples:
        >>> to_label_rows(torch.tensor([[1, 0, 1]]), 1)
        (array([[160]], dtype=uint8), 3)
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        values: npt.NDArray[Any] = (labels.float() if labels.dtype == torch.bfloat16 else labels).numpy()
    elif isinstance(labels, np.ndarray):
        values = labels
    else:
        raise TypeError(f"labels must be a torch tensor or a numpy array, got {type(labels).__name__}")
    if values.ndim not in (1, 2) or len(values) != n_rows or 0 in values.shape[1:]:
        raise ValueError(
            f"labels must be class ids (n,) or multi-hot (n, n_classes), one row for each of the {n_rows} codes, got "
            f"shape {values.shape}"
        )
    if values.ndim == 2:
        if values.dtype != np.bool_:
            if not ((values == 0) | (values == 1)).all():
                raise ValueError("multi-hot labels (n, n_classes) must hold only 0 and 1; class ids have shape (n,)")
            values = values == 1
        return pack_bits(values), values.shape[1]
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"labels of shape (n,) are class ids and must be integers, got {values.dtype}")
    if n_rows and int(values.min()) < 0:
        raise ValueError(f"labels of shape (n,) are class ids and must be at least 0, got {values.min()}")
    if n_rows and int(values.max()) >= 2**63:
        raise ValueError(f"labels of shape (n,) are class ids and must be smaller than 2**63, got {values.max()}")
    return values.astype(np.int64), None
