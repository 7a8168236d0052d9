"""Algorithm 1 of the paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashcenters.centers.randomness import CENTER_STREAM, random_words

__all__ = ["paper_words"]


def paper_words(n_classes: int, n_bits: int, seed: int) -> tuple[NDArray[np.int8], str]:
    """Return Algorithm 1's centers. K = 1 counts as a power of two, since the paper gives H_1 = [1].

    Args:
        n_classes: number of words.
        n_bits: word length K.
        seed: decides the random halves.

    Returns:
        int8 array (n_classes, n_bits) of ±1, and which of its three branches was taken.

    Examples:
        >>> paper_words(3, 4, 0)
        (array([[ 1,  1,  1,  1],
               [ 1, -1,  1, -1],
               [ 1,  1, -1, -1]], dtype=int8), 'Algorithm 1, rows of H')
    """
    is_power_of_two = n_bits & (n_bits - 1) == 0
    if not is_power_of_two or n_classes > 2 * n_bits:
        return _random_halves(n_classes, n_bits, seed), "Algorithm 1, random halves"
    rows = _sylvester_rows(min(n_classes, n_bits), n_bits)
    name = "Algorithm 1, rows of H" if n_classes <= n_bits else "Algorithm 1, rows of [H; -H]"
    return np.concatenate([rows, -rows])[:n_classes], name


def _sylvester_rows(n_rows: int, order: int) -> NDArray[np.int8]:
    """First rows of Sylvester's Hadamard matrix (Eq. 2, read with the Kronecker product), int8 (n_rows, order)."""
    rows = np.ones((1, 1), dtype=np.int8)
    while rows.shape[1] < order:
        rows = np.concatenate([np.concatenate([rows, rows], 1), np.concatenate([rows, -rows], 1)])[:n_rows]
    return rows


def _random_halves(n_classes: int, n_bits: int, seed: int) -> NDArray[np.int8]:
    """Rows with +1 at a random half of the bits, int8 (n_classes, n_bits)."""
    words = random_words(seed, n_classes, n_bits + 1, stream=CENTER_STREAM)
    keys, coins = words[:, :n_bits], words[:, n_bits:] & np.uint64(1)
    n_ones = n_bits // 2 + (coins.astype(np.int64) if n_bits % 2 else 0)
    order = np.argsort(keys, axis=1, kind="stable")
    halves = np.empty((n_classes, n_bits), dtype=np.int8)
    np.put_along_axis(halves, order, np.where(np.arange(n_bits) < n_ones, np.int8(1), np.int8(-1)), axis=1)
    return halves
