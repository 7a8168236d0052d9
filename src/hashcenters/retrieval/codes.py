"""The bit layout of codes: the one place that knows which value is which bit, and which bit is where in a byte.

A value ``>= 0`` is bit 1 (so a zero logit is 1, and +1 after ``binarize``). Packed codes are uint8 of shape
(n, ceil(n_bits / 8)) in the order of ``numpy.packbits``: bit 0 is the highest bit of byte 0; the bits that fill up the
last byte are 0.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hashcenters.checks import check_count

__all__ = ["binarize", "hamming_distance", "pack", "to_packed", "unpack"]

Activation: TypeAlias = Literal["none", "tanh"]
Codes: TypeAlias = Tensor | npt.NDArray[Any]
BitArray: TypeAlias = npt.NDArray[np.bool_]
PackedArray: TypeAlias = npt.NDArray[np.uint8]
WordArray: TypeAlias = npt.NDArray[np.uint64]

MAX_BITS = 1024  # the longest code that is searched and evaluated
_ROWS = 1024  # packed at a time
_BYTE_WEIGHTS = (128, 64, 32, 16, 8, 4, 2, 1)


def packed_width(n_bits: int) -> int:
    """Return the number of bytes that ``n_bits`` bits take: ceil(n_bits / 8)."""
    return (n_bits + 7) // 8


def binarize(codes: Tensor) -> Tensor:
    """Round values to the nearer corner of the cube: +1 where ``codes >= 0``, else -1.

    Unlike ``torch.sign`` it knows no third symbol: zero (and minus zero) is +1.

    Args:
        codes: logits, tanh outputs or ±1, floating point of any shape; or bool (True is +1).

    Returns:
        float32 tensor of ±1, same shape and device.

    Raises:
        TypeError: neither floating point nor bool.
        ValueError: a value is NaN.

    Examples:
        >>> binarize(torch.tensor([[-0.3, 0.0, 2.5]]))
        tensor([[-1.,  1.,  1.]])
    """
    return _bits(codes).to(torch.float32).mul_(2).sub_(1)


def pack(codes: Tensor) -> Tensor:
    """Pack codes to one bit a value.

    Every value ``>= 0`` becomes bit 1, so zeros and ones must come as bool, not as floats.

    Args:
        codes: (n, n_bits) logits, tanh outputs or ±1, floating point; or bool.

    Returns:
        uint8 tensor (n, ceil(n_bits / 8)) in ``numpy.packbits`` order, unused bits of the last byte 0, same device.

    Raises:
        TypeError: neither floating point nor bool.
        ValueError: not two-dimensional, no columns, or a value is NaN.

    Examples:
        >>> pack(torch.tensor([[-1.0, -1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]]))
        tensor([[ 10, 128]], dtype=torch.uint8)
    """
    bits = _bits(codes)
    if bits.ndim != 2 or bits.shape[1] == 0:
        raise ValueError(f"codes must have shape (n, n_bits) with n_bits at least 1, got {tuple(bits.shape)}")
    return torch.from_numpy(pack_bits(bits.numpy())) if bits.device.type == "cpu" else _pack_on_device(bits)


def unpack(packed: Tensor, n_bits: int) -> Tensor:
    """Undo ``pack``.

    Args:
        packed: uint8 tensor (n, ceil(n_bits / 8)).
        n_bits: code length.

    Returns:
        float32 tensor (n, n_bits) of ±1, same device.

    Raises:
        TypeError: not uint8, or ``n_bits`` not an int.
        ValueError: wrong width, or a bit behind the last one is set.

    Examples:
        >>> unpack(torch.tensor([[10, 128]], dtype=torch.uint8), 9)
        tensor([[-1., -1., -1., -1.,  1., -1.,  1., -1.,  1.]])
    """
    n_bits = check_count(n_bits, "n_bits")
    if not isinstance(packed, Tensor) or packed.dtype != torch.uint8:
        raise TypeError(f"packed must be a uint8 tensor, got {_kind(packed)}")
    if packed.ndim != 2 or packed.shape[1] != packed_width(n_bits):
        raise ValueError(
            f"packed must have shape (n, {packed_width(n_bits)}) for n_bits={n_bits}, got {tuple(packed.shape)}"
        )
    weights = torch.tensor(_BYTE_WEIGHTS, dtype=torch.uint8, device=packed.device)
    bits = (packed[:, :, None] & weights).ne_(0).flatten(1)
    if bool(bits[:, n_bits:].any()):
        raise ValueError(_tail_message("packed", n_bits))
    return bits[:, :n_bits].to(torch.float32).mul_(2).sub_(1)


def hamming_distance(queries: Tensor, database: Tensor) -> Tensor:
    """Count the bits in which each query differs from each item.

    For looking at a few thousand codes: the result is a full matrix. The evaluator counts without it.

    Args:
        queries: (n_queries, n_bits) floating point (bit 1 where ``>= 0``) or bool, or packed uint8.
        database: (n_items, n_bits), or packed uint8 where the queries are packed.

    Returns:
        int64 tensor (n_queries, n_items).

    Raises:
        TypeError: a dtype other than floating point, bool and uint8, or one side packed and the other not.
        ValueError: not two-dimensional, different widths, or NaN.

    Examples:
        >>> hamming_distance(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]]))
        tensor([[1, 3]])
    """
    if (queries.dtype == torch.uint8) != (database.dtype == torch.uint8):
        raise TypeError(
            f"queries and database must both be packed uint8 or both be unpacked, got {queries.dtype} and "
            f"{database.dtype}; pack() or unpack() one side"
        )
    if queries.ndim != 2 or database.ndim != 2 or queries.shape[1] != database.shape[1]:
        raise ValueError(
            f"queries and database must be matrices of one width, got {tuple(queries.shape)} and "
            f"{tuple(database.shape)}"
        )
    if queries.dtype == torch.uint8:
        n_bits = 8 * queries.shape[1]
        queries, database = unpack(queries, n_bits), unpack(database, n_bits)
    # The scalar product of ±1 vectors is n_bits - 2 * distance, exact in float32.
    with torch.autocast(queries.device.type, enabled=False):
        products = binarize(queries) @ binarize(database).T
    return (queries.shape[1] - products).div_(2).to(torch.int64)


def to_packed(codes: Tensor | npt.NDArray[Any], n_bits: int, *, name: str = "codes") -> PackedArray:
    """Take codes in any form the library knows and return them packed.

    Float rows are packed by ``>= 0``. A float batch without any negative value is refused, because codes written as 0
    and 1 would all read as 1; where every value is meant to be bit 1, ``codes >= 0`` says so.

    Args:
        codes: (n, n_bits) logits, tanh outputs or ±1 (any floating dtype) or bool; or packed uint8
            (n, ceil(n_bits / 8)). A torch tensor on any device, or a numpy array. Not changed.
        n_bits: code length.
        name: the argument's name, for the messages.

    Returns:
        Packed codes, a numpy uint8 array (n, ceil(n_bits / 8)); it may share memory with packed input.

    Raises:
        TypeError: neither a tensor nor an array, or an integer dtype other than uint8.
        ValueError: wrong width, NaN, a float batch without any negative value, or packed codes with a bit set behind
            the last one.

    Examples:
        >>> to_packed(torch.tensor([[0.1, -0.2, 0.3]]), 3)
        array([[160]], dtype=uint8)
    """
    n_bits = check_count(n_bits, "n_bits")
    is_float, is_bool, is_byte = _dtype_kind(codes, name)
    _check_width(codes, n_bits, name, packed=is_byte)
    if is_bool:
        return pack_bits(_to_numpy(codes))
    if is_float:
        if isinstance(codes, Tensor) and codes.device.type == "cpu" and codes.dtype in (torch.float32, torch.float64):
            codes = codes.detach().numpy()  # numpy compares three times as fast
        if isinstance(codes, np.ndarray):
            return _pack_floats(codes, name)
        _check_signs(float(codes.min()) if codes.numel() else -1.0, name)
        return pack_bits(_to_numpy(codes >= 0))
    packed: PackedArray = np.ascontiguousarray(_to_numpy(codes))
    if (packed[:, -1] & _tail_mask(n_bits)).any():
        raise ValueError(_tail_message(name, n_bits))
    return packed


def pack_bits(bits: BitArray) -> PackedArray:
    """Pack a bool matrix row by row in the library's layout: codes, and label sets too."""
    return np.packbits(bits, axis=1)


def to_words(packed: PackedArray) -> WordArray:
    """View packed rows as uint64 words, filled up with zeros: (n, bytes) -> (n, ceil(bytes / 8)).

    The order of the bits inside a word is the machine's own; XOR, AND and population counts do not depend on it.
    """
    missing = -packed.shape[1] % 8
    if missing:
        packed = np.pad(packed, ((0, 0), (0, missing)))
    words = np.ascontiguousarray(packed).view(np.uint64)
    return np.require(words, requirements=["C", "A", "W"])  # kernels are compiled for this one memory layout


def exact_weights(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale each query to integers so small that sums of n_bits of them are exact in float64, in any order.

    Equal scores are then equal, whatever the processor. Divide a sum by the scale of its query to have it back.

    Args:
        values: float64 (n_queries, n_bits), finite.

    Returns:
        The integers as float64, each row times a power of two.
    """
    n_bits = values.shape[1]
    _, exponents = np.frexp(np.abs(values).max(axis=1))  # every |value| < 2**exponent
    weights: npt.NDArray[np.float64] = np.rint(np.ldexp(values, 53 - n_bits.bit_length() - exponents[:, None]))
    return weights


def _bits(codes: Tensor) -> Tensor:
    """Return ``codes >= 0`` without a graph, after the checks that need no n_bits."""
    if not isinstance(codes, Tensor) or not (codes.is_floating_point() or codes.dtype == torch.bool):
        raise TypeError(f"codes must be a floating-point or bool tensor, got {_kind(codes)}")
    codes = codes.detach()
    if codes.dtype == torch.bool:
        return codes
    if codes.numel() and bool(codes.amin().isnan()):
        raise ValueError(_nan_message("codes"))
    return codes >= 0


def _pack_on_device(bits: Tensor) -> Tensor:
    n, n_bits = bits.shape
    filled = torch.nn.functional.pad(bits, (0, -n_bits % 8)).view(n, packed_width(n_bits), 8)
    weights = torch.tensor(_BYTE_WEIGHTS, dtype=torch.uint8, device=bits.device)
    return (filled * weights).sum(-1, dtype=torch.uint8)


def _to_numpy(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _dtype_kind(codes: Tensor | npt.NDArray[Any], name: str) -> tuple[bool, bool, bool]:
    """Return (is floating point, is bool, is uint8); refuse the rest."""
    if isinstance(codes, Tensor):
        kinds = codes.is_floating_point(), codes.dtype == torch.bool, codes.dtype == torch.uint8
    elif isinstance(codes, np.ndarray):
        kinds = np.issubdtype(codes.dtype, np.floating), codes.dtype == np.bool_, codes.dtype == np.uint8
    else:
        raise TypeError(f"{name} must be a torch tensor or a numpy array, got {type(codes).__name__}")
    if not any(kinds):
        raise TypeError(
            f"{name} must be floating point (logits, tanh outputs, ±1), bool, or packed uint8, got {codes.dtype}; "
            f"of 0/1 integers make bool by `{name} == 1`, of ±1 integers by `{name} > 0`"
        )
    return kinds


def _check_width(codes: Tensor | npt.NDArray[Any], n_bits: int, name: str, *, packed: bool) -> None:
    shape = tuple(codes.shape)
    width = packed_width(n_bits) if packed else n_bits
    if len(shape) == 2 and shape[1] == width:
        return
    if packed:
        advice = ""
        if len(shape) == 2 and shape[1] == n_bits:
            advice = f"; it has one column a bit, so pass 0/1 bits as bool ({name} == 1) or logits as floats"
        raise ValueError(
            f"{name} of dtype uint8 are packed, shape (n, {width}) for n_bits={n_bits}, got {shape}{advice}"
        )
    advice = ""
    if len(shape) == 2 and shape[1] == packed_width(n_bits):
        advice = "; it has the width of packed codes, which must be uint8"
    raise ValueError(f"{name} of dtype {codes.dtype} must have shape (n, n_bits={n_bits}), got {shape}{advice}")


def _pack_floats(codes: npt.NDArray[Any], name: str) -> PackedArray:
    """Check and pack a block of rows at a time, which stays in the cache for both."""
    packed = np.empty((len(codes), packed_width(codes.shape[1])), np.uint8)
    least = np.inf if len(codes) else -1.0
    for start in range(0, len(codes), _ROWS):
        rows = codes[start : start + _ROWS]
        least = np.minimum(least, rows.min())  # NaN where any value is NaN
        packed[start : start + _ROWS] = np.packbits(rows >= 0, axis=1)
    _check_signs(float(least), name)
    return packed


def _check_signs(least: float, name: str) -> None:
    """Refuse floats by their least value, which is NaN where any is."""
    if np.isnan(least):
        raise ValueError(_nan_message(name))
    if least >= 0:
        raise ValueError(
            f"{name} are floats without any negative value (the least is {least:g}): bits written as 0.0 and 1.0, or "
            f"sigmoid outputs, would all read as 1, since a value >= 0 is bit 1; pass logits, tanh outputs or ±1, or "
            f"bool: {name} > 0.5 for 0/1; {name} >= 0 where all bits may really be 1, as in a batch of one class whose "
            f"center is all +1"
        )


def _tail_mask(n_bits: int) -> int:
    """Ones where the last byte has no bits of the code."""
    return 0xFF >> ((n_bits - 1) % 8 + 1)


def _tail_message(name: str, n_bits: int) -> str:
    return (
        f"{name} have a bit set behind bit {n_bits - 1}, where packed codes of n_bits={n_bits} must be 0: check n_bits "
        f"and the bit order (numpy.packbits, big-endian); pass 0/1 bits as bool"
    )


def _nan_message(name: str) -> str:
    return f"{name} contain NaN; look for a diverged loss or a bad input sample"


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
