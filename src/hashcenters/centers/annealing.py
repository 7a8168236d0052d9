"""The compiled loops that place centers. Loads numba: import it when it is first used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashcenters.compiling import compiled, compiled_sums

__all__ = ["exchange", "flip"]


@compiled_sums
def _gain(likeness: NDArray[np.float32], placed: NDArray[np.float32], first: int, second: int) -> float:
    """Half the change of the sum when two classes exchange centers. Exact in whole numbers, so in any order."""
    total = 0.0
    for other in range(len(likeness)):
        total += np.float64(likeness[first, other] - likeness[second, other]) * np.float64(
            placed[second, other] - placed[first, other]
        )
    change: float = total + 2.0 * np.float64(likeness[first, second]) * np.float64(placed[first, second])
    return change


@compiled
def exchange(
    likeness: NDArray[np.float32],
    placed: NDArray[np.float32],
    order: NDArray[np.int64],
    best: NDArray[np.int64],
    raw: NDArray[np.uint64],
    n_before: int,
    n_steps: int,
    start: float,
    state: NDArray[np.float64],
) -> None:
    """Threshold accepting over exchanges of two classes, the threshold falling from ``start`` to 0 as a square."""
    n_classes = len(likeness)
    for step in range(len(raw)):
        first = np.int64(raw[step] % np.uint64(n_classes))
        second = np.int64((raw[step] >> np.uint64(32)) % np.uint64(n_classes - 1))
        if second >= first:
            second += 1
        change = _gain(likeness, placed, first, second)
        left = 1.0 - (n_before + step) / n_steps
        if change < start * left * left:
            state[0] += change
            order[first], order[second] = order[second], order[first]
            for other in range(n_classes):
                placed[first, other], placed[second, other] = placed[second, other], placed[first, other]
            for other in range(n_classes):
                placed[other, first], placed[other, second] = placed[other, second], placed[other, first]
            if state[0] < state[1]:
                state[1] = state[0]
                best[:] = order


@compiled_sums
def _pull(residual: NDArray[np.float64], column: NDArray[np.float64]) -> float:
    """Inner product of whole numbers."""
    total = 0.0
    for other in range(len(residual)):
        total += residual[other] * column[other]
    return total


@compiled
def flip(
    words: NDArray[np.float64],
    columns: NDArray[np.float64],
    residuals: NDArray[np.float64],
    products: NDArray[np.float64],
    sums: NDArray[np.float64],
    raw: NDArray[np.uint64],
    n_before: int,
    n_steps: int,
    start: float,
    limit: float,
    most: int,
) -> float:
    """Threshold accepting over single bits; ``residuals`` are targets minus 256 times ``products``."""
    n_classes, n_bits = words.shape
    total_change = 0.0
    for step in range(len(raw)):
        row = np.int64(raw[step] % np.uint64(n_classes))
        bit = np.int64((raw[step] >> np.uint64(32)) % np.uint64(n_bits))
        sign = words[row, bit]
        # Sum over the others of (r + 512 s)^2 - r^2, s = the product of the two bits; divided by 1024.
        change = sign * (_pull(residuals[row], columns[bit]) - residuals[row, row] * sign) + 256.0 * (n_classes - 1)
        left = 1.0 - (n_before + step) / n_steps
        if change >= start * left * left:
            continue
        if most < n_bits * n_classes * n_classes:
            norm = 0.0
            for column in range(n_bits):
                norm += sums[column] * sums[column]
            if norm - 4.0 * sign * sums[bit] + 4.0 > most:
                continue
        allowed = True
        for other in range(n_classes):
            if other != row and products[row, other] - 2.0 * sign * words[other, bit] > limit:
                allowed = False
                break
        if not allowed:
            continue
        total_change += change
        words[row, bit] = -sign
        columns[bit, row] = -sign
        sums[bit] -= 2.0 * sign
        for other in range(n_classes):
            if other != row:
                shift = -2.0 * sign * words[other, bit]
                products[row, other] += shift
                products[other, row] += shift
                residuals[row, other] -= 256.0 * shift
                residuals[other, row] -= 256.0 * shift
    return total_change
