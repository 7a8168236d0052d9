"""What counts as good input, and the words in which bad input is refused.

Shapes and dtypes are checked always. Values (NaN, label range) are checked at once on the CPU; inside ``torch.compile``
and on CUDA they become asynchronous device assertions, because no training step may wait for the device.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor

__all__ = [
    "check_centers",
    "check_count",
    "check_finite",
    "check_labels",
    "check_logits",
    "check_matrix",
    "require",
    "shown",
]


def require(condition: Tensor, message: str) -> None:
    """Refuse input whose values break a rule.

    Args:
        condition: bool tensor of shape (), true where the input is good.
        message: what to tell the caller.

    Raises:
        ValueError: ``condition`` is false and lies on the CPU outside ``torch.compile``. Compiled, and on CUDA, the
            failure surfaces as the ``RuntimeError`` of ``torch._assert_async``; other devices have no such assertion
            and their values go unchecked.

    Examples:
        >>> require(torch.tensor(1) > 0, "never shown")
    """
    if torch.compiler.is_compiling() or condition.device.type == "cuda":
        torch._assert_async(condition, message)
    elif condition.device.type == "cpu" and not bool(condition):
        raise ValueError(message)


def check_count(value: object, name: str, *, least: int = 1) -> int:
    """Return ``value`` as an int that is at least ``least``.

    Args:
        value: what the caller passed.
        name: the argument's name, for the message.
        least: the smallest value allowed.

    Returns:
        The value.

    Raises:
        TypeError: ``value`` is not an integer (a bool is not).
        ValueError: ``value`` is smaller than ``least``.

    Examples:
        >>> check_count(64, "n_bits")
        64
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # of arrays and tensors too, unless they hold one integer
        number = None
    if number is None:
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN (infinities are left to the caller: a saturated logit is still a code).

    Args:
        values: float tensor of any shape.
        name: the argument's name, for the message.

    Raises:
        ValueError: a value is NaN.

    Examples:
        >>> check_finite(torch.zeros(2, 8), "logits")
    """
    message = f"{name} contain NaN; look for a diverged loss or a bad input sample"
    if values.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.isnan(values.sum()):
        return  # a NaN makes the sum NaN: most batches pass at a sixth of the cost of a look at every value
    require(~torch.isnan(values).any(), message)


def check_logits(logits: Tensor, n_bits: int, name: str = "logits", *, values: bool = True) -> None:
    """Refuse anything but a float matrix of ``n_bits`` columns without NaN.

    Args:
        logits: tensor to check, expected float (N, n_bits).
        n_bits: code length.
        name: the argument's name, for the message.
        values: look for NaN too; ``False`` is for callers that will see it in what they compute.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not of shape (N, n_bits), or NaN inside.

    Examples:
        >>> check_logits(torch.zeros(2, 8), 8)
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"{name} must be a floating-point tensor of shape (N, {n_bits}), got {got}")
    if logits.ndim != 2 or logits.shape[1] != n_bits:
        raise ValueError(f"{name} must have shape (N, n_bits={n_bits}), got {tuple(logits.shape)}")
    if values:
        check_finite(logits, name)


def check_centers(centers: Tensor) -> None:
    """Refuse anything but a float matrix of ±1.

    Args:
        centers: tensor to check, expected float (n_classes, n_bits) with values ±1.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not two-dimensional, empty, or a value other than -1 and +1.

    Examples:
        >>> check_centers(torch.tensor([[1.0, -1.0]]))
    """
    if not isinstance(centers, Tensor) or not centers.is_floating_point():
        raise TypeError(
            f"centers must be a floating-point tensor of shape (n_classes, n_bits), got {_kind_and_advice(centers)}"
        )
    if centers.ndim != 2 or 0 in centers.shape:
        raise ValueError(f"centers must have shape (n_classes, n_bits), neither of them 0, got {tuple(centers.shape)}")
    require(
        (centers.abs() == 1).all(),
        "centers must hold only -1 and +1; of 0/1 bits make 2 * bits - 1, of learned centers their signs",
    )


def check_labels(labels: Tensor, n_classes: int, *, n_rows: int | None = None) -> None:
    """Refuse anything but class indices (N,) or multi-hot rows (N, n_classes).

    Args:
        labels: integer tensor (N,) with values 0..n_classes-1, or bool, integer or float (N, n_classes) of 0 and 1.
        n_classes: number of classes.
        n_rows: the N that the labels must have, where it is known.

    Raises:
        TypeError: not a tensor, or class indices that are not integers.
        ValueError: wrong shape, an index out of range, or a multi-hot value other than 0 and 1.

    Examples:
        >>> check_labels(torch.tensor([0, 9]), 10, n_rows=2)
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got {_kind_and_advice(labels)}")
    if n_rows is not None and (labels.ndim == 0 or labels.shape[0] != n_rows):
        raise ValueError(f"labels must have one row a sample: {n_rows} samples, labels of shape {tuple(labels.shape)}")
    if labels.ndim == 1:
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"labels of shape (N,) are class indices and must be int64, got {labels.dtype}")
        labels = labels.to(torch.int64)  # n_classes may not fit into a narrower dtype
        if not (_values_are_at_hand(labels) and _lie_within(labels, n_classes - 1)):
            in_range = ((labels >= 0) & (labels < n_classes)).all()
            require(in_range, f"labels must lie in 0..{n_classes - 1} (n_classes={n_classes}), got one outside")
    elif labels.ndim == 2 and labels.shape[1] == n_classes:
        if labels.dtype != torch.bool and not (_values_are_at_hand(labels) and _are_bits(labels)):
            require(((labels == 0) | (labels == 1)).all(), "multi-hot labels must hold only 0 and 1")
    else:
        raise ValueError(
            f"labels must be class indices (N,) or multi-hot (N, n_classes={n_classes}), got {tuple(labels.shape)}"
        )


def check_matrix(matrix: Tensor, name: str, n_classes: int | None = None) -> Tensor:
    """Return a matrix with a row and a column for every class, or refuse it.

    Args:
        matrix: tensor to check, expected (n_classes, n_classes) and finite.
        name: the argument's name, for the message.
        n_classes: number of classes, where it is known.

    Returns:
        The matrix.

    Raises:
        TypeError: not a tensor, or complex.
        ValueError: not square, empty, of another size, or not finite.

    Examples:
        >>> check_matrix(torch.eye(2), "similarity")
        tensor([[1., 0.],
                [0., 1.]])
    """
    size = "n_classes" if n_classes is None else f"n_classes={n_classes}"
    if not isinstance(matrix, Tensor):
        raise TypeError(f"{name} must be a tensor of shape ({size}, {size}), got {_kind_and_advice(matrix)}")
    if matrix.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {matrix.dtype}")
    n_rows = len(matrix) if matrix.ndim else 0
    if matrix.shape != (n_rows, n_rows) or not n_rows or n_classes not in (None, n_rows):
        raise ValueError(f"{name} must have shape ({size}, {size}), got {tuple(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return matrix


def shown(number: int) -> str:
    """Write an int for a message; Python refuses to print very long ones.

    Args:
        number: at least 0.

    Returns:
        Its digits, or its size.

    Examples:
        >>> shown(1024), shown(2**20_000)
        ('1024', 'a number of 20001 bits')
    """
    return str(number) if number.bit_length() <= 1024 else f"a number of {number.bit_length()} bits"


def _kind_and_advice(value: object) -> str:
    """Name a wrong kind of value, and the way out where there is one."""
    if isinstance(value, Tensor):
        return f"{value.dtype}; take values.float(), of bool and 0/1 bits 2.0 * bits - 1"
    name = type(value).__name__
    return f"{name}; pass torch.from_numpy(values)" if name == "ndarray" else name


# Most batches pass these at a fraction of the cost of a look at every value.


def _values_are_at_hand(values: Tensor) -> bool:
    """Whether looking at values waits for nobody."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def _lie_within(integers: Tensor, most: int) -> bool:
    """Whether all lie in 0..most."""
    if integers.numel() == 0:
        return True
    least, greatest = torch.aminmax(integers)
    return least.item() >= 0 and greatest.item() <= most


def _are_bits(values: Tensor) -> bool:
    """Whether all are 0 or 1: the roots of v - v²."""
    if not values.is_floating_point():
        return not values.is_complex() and _lie_within(values, 1)
    values = values.detach()
    return torch.addcmul(values, values, values, value=-1).abs_().sum().item() == 0
