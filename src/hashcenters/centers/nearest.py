"""From codes back to classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hashcenters.checks import check_centers, check_logits, require

__all__ = ["NearestCenter", "nearest_center"]

# Inner products held at once: 16 MB of float32, whatever the number of codes.
_BLOCK_ELEMENTS = 2**22


class NearestCenter(NamedTuple):
    """The class whose center is nearest to each code, and how far away that center is.

    Attributes:
        classes: int64 (N,).
        distances: int64 (N,), Hamming distances in bits, 0..n_bits.
    """

    classes: Tensor
    distances: Tensor


def nearest_center(codes: Tensor, centers: Tensor) -> NearestCenter:
    """Assign every code to its nearest center in Hamming distance (section 3.1 of the paper).

    Args:
        codes: float (N, n_bits), logits or ±1, of which the sign counts (a zero is +1); or bool (N, n_bits).
        centers: float (n_classes, n_bits) of ±1, on the device of the codes.

    Returns:
        Classes and distances, both int64 (N,) on the device of the codes. Of several nearest centers, the one of the
        lowest class counts.

    Raises:
        TypeError: codes that are neither float nor bool, or centers that are not float.
        ValueError: shapes that do not fit, NaN, float codes of 0 and 1 (every bit of which would read as +1), or
            centers other than ±1.

    Examples:
        >>> centers = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0]])
        >>> nearest_center(torch.tensor([[0.3, -2.0, 0.1, -0.4], [5.0, 0.0, -1.0, 2.0]]), centers)
        NearestCenter(classes=tensor([1, 0]), distances=tensor([0, 1]))
    """
    check_centers(centers)
    n_classes, n_bits = centers.shape
    if not isinstance(codes, Tensor) or not (codes.is_floating_point() or codes.dtype == torch.bool):
        got = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        advice = {"torch.uint8": f"; unpack packed codes first: hashcenters.retrieval.unpack(codes, {n_bits})"}
        advice["ndarray"] = "; pass torch.from_numpy(codes)"
        raise TypeError(
            f"codes must be a float or bool tensor of shape (N, n_bits={n_bits}), got {got}{advice.get(str(got), '')}"
        )
    if codes.dtype == torch.bool:
        if codes.ndim != 2 or codes.shape[1] != n_bits:
            raise ValueError(f"codes must have shape (N, n_bits={n_bits}), got {tuple(codes.shape)}")
        bits = codes
    else:
        check_logits(codes, n_bits, name="codes")
        is_zero, is_one = codes == 0, codes == 1
        require(
            ~((is_zero | is_one).all() & is_zero.any() & is_one.any()),
            "codes hold only 0 and 1, and as floats both read as +1; pass codes.bool() or 2 * codes - 1",
        )
        bits = codes >= 0

    # <b, c> = n_bits - 2 d for b, c in ±1: small integers, exact in float32, so no (N, n_classes, n_bits) tensor.
    columns = centers.detach().to(torch.float32).T
    classes, distances = [], []
    with torch.autocast(bits.device.type, enabled=False):
        for block in torch.split(bits, max(1, _BLOCK_ELEMENTS // n_classes)):
            inner, nearest = torch.max((block.to(torch.float32) * 2 - 1) @ columns, dim=1)  # the first of equal maxima
            classes.append(nearest)
            distances.append((n_bits - inner.to(torch.int64)) // 2)
    return NearestCenter(torch.cat(classes), torch.cat(distances))
