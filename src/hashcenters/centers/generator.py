"""Centers from a number of classes and a number of bits."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hashcenters.centers.randomness import CENTER_STREAM, check_seed, random_words
from hashcenters.checks import check_count

__all__ = ["HashCenterGenerator"]

Method = Literal["auto", "paper"]


class HashCenterGenerator:
    """Make hash centers: one ±1 code for every class, far from the others.

    Called as ``generator(n_classes)``, it returns a float32 tensor (n_classes, n_bits) of ±1 on the CPU. The same
    arguments give the same centers on every platform.

    The methods are:

    * ``"paper"``: Algorithm 1 of Yuan et al. (CVPR 2020) to the letter. Where n_bits is a power of two, the first rows
      of the Hadamard matrix H of that order (Sylvester's construction) for n_classes <= n_bits, at distance n_bits/2
      from each other, and the first rows of [H; -H] for n_classes <= 2 n_bits, at distance n_bits/2 or n_bits.
      Otherwise every center has ones at a random half of its bits; two centers are then n_bits/2 apart on average, but
      can be close and, with few bits, equal. For an odd n_bits, "half" is rounded down or up by a fair coin for each
      center.
    * ``"auto"``: the best that the library knows; at present the same as ``"paper"``.

    Args:
        n_bits: code length, at least 1.
        method: ``"auto"`` or ``"paper"``.
        seed: 0..2**63 - 1; decides what is random.

    Raises:
        TypeError: ``n_bits``, ``seed`` or, in the call, ``n_classes`` is not an integer.
        ValueError: one of them is out of range, the method is unknown, or, in the call, there are fewer than n_classes
            different codes (n_classes > 2**n_bits).

    Examples:
        >>> generator = HashCenterGenerator(4)
        >>> generator
        HashCenterGenerator(n_bits=4, method='auto', seed=0)
        >>> generator(3)
        tensor([[ 1.,  1.,  1.,  1.],
                [ 1., -1.,  1., -1.],
                [ 1.,  1., -1., -1.]])
    """

    def __init__(self, n_bits: int, *, method: Method = "auto", seed: int = 0) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(map(repr, get_args(Method)))}, got {method!r}")
        self.n_bits = check_count(n_bits, "n_bits")
        self.method: Method = method
        self.seed = check_seed(seed)

    def __call__(self, n_classes: int) -> Tensor:
        """Return float32 centers (n_classes, n_bits) of ±1."""
        n_classes = check_count(n_classes, "n_classes")
        if (n_classes - 1).bit_length() > self.n_bits:  # n_classes > 2**n_bits, without computing the power
            raise ValueError(
                f"n_classes must be at most 2**n_bits, the number of different codes: n_classes={n_classes}, "
                f"2**{self.n_bits} = {2**self.n_bits}; take more bits"
            )
        return _paper_centers(n_classes, self.n_bits, self.seed)

    def __repr__(self) -> str:
        return f"HashCenterGenerator(n_bits={self.n_bits}, method={self.method!r}, seed={self.seed})"


def _paper_centers(n_classes: int, n_bits: int, seed: int) -> Tensor:
    """Algorithm 1 of the paper. K = 1 counts as a power of two, since the paper gives H_1 = [1]."""
    is_power_of_two = n_bits & (n_bits - 1) == 0
    if not is_power_of_two or n_classes > 2 * n_bits:
        return _random_halves(n_classes, n_bits, seed)
    rows = _sylvester_rows(min(n_classes, n_bits), n_bits)
    return torch.cat([rows, -rows])[:n_classes]


def _sylvester_rows(n_rows: int, order: int) -> Tensor:
    """First rows of Sylvester's Hadamard matrix (Eq. 2, read with the Kronecker product), float32 (n_rows, order)."""
    rows = torch.ones(1, 1, dtype=torch.float32, device="cpu")  # whatever the global defaults are
    while rows.shape[1] < order:
        rows = torch.cat([torch.cat([rows, rows], dim=1), torch.cat([rows, -rows], dim=1)])[:n_rows]
    return rows


def _random_halves(n_classes: int, n_bits: int, seed: int) -> Tensor:
    """Rows with +1 at a random half of the bits, float32 (n_classes, n_bits)."""
    words = random_words(seed, n_classes, n_bits + 1, stream=CENTER_STREAM)
    keys, coins = words[:, :n_bits], words[:, n_bits:] & np.uint64(1)
    n_ones = n_bits // 2 + (coins.astype(np.int64) if n_bits % 2 else 0)
    order = np.argsort(keys, axis=1, kind="stable")
    centers = np.empty((n_classes, n_bits), dtype=np.float32)
    np.put_along_axis(centers, order, np.where(np.arange(n_bits) < n_ones, np.float32(1), np.float32(-1)), axis=1)
    return torch.from_numpy(centers)
