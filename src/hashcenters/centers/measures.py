"""What a set of words is measured by: distances over all pairs, Definition 1, columns that repeat."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["column_classes", "distance_range", "min_distance", "satisfies_definition_1", "to_lanes", "to_signs"]


def to_signs(centers: Tensor) -> NDArray[np.int8]:
    """Take centers as an array, from any device and floating dtype.

    Args:
        centers: float (n, n_bits) of ±1.

    Returns:
        int8 array (n, n_bits) of ±1, contiguous.

    Examples:
        >>> to_signs(torch.tensor([[1.0, -1.0]], dtype=torch.bfloat16))
        array([[ 1, -1]], dtype=int8)
    """
    signs: NDArray[np.int8] = centers.detach().cpu().to(torch.int8).contiguous().numpy()
    return signs


def to_lanes(words: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Pack words of ±1, 64 bits a lane, the unused last bits 0.

    Args:
        words: int8 array (n, n_bits) of ±1.

    Returns:
        uint64 array (ceil(n_bits / 64), n): a column for each word. How bits lie in a lane depends on the platform.

    Examples:
        >>> to_lanes(np.ones((3, 70), dtype=np.int8)).shape
        (2, 3)
    """
    packed = np.packbits(words > 0, axis=1)
    lanes = np.zeros((packed.shape[0], -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    lanes[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(lanes.view(np.uint64).T)


def distance_range(words: NDArray[np.int8]) -> tuple[int, int]:
    """Return the least and the greatest Hamming distance over all pairs, counted, in memory that grows with n alone.

    Args:
        words: int8 array (n, n_bits) of ±1.

    Returns:
        The two distances; n_bits twice for a single word.

    Examples:
        >>> distance_range(np.array([[1, 1, 1], [1, -1, -1], [-1, -1, -1]], dtype=np.int8))
        (1, 3)
    """
    from hashcenters.centers.distances import distance_range as compiled_range

    n_words, n_bits = words.shape
    if n_words == 1:
        return n_bits, n_bits
    least, greatest = compiled_range(to_lanes(words), n_bits)
    return int(least), int(greatest)


def min_distance(words: NDArray[np.int8]) -> int:
    """Return the least Hamming distance over all pairs, counted.

    Args:
        words: int8 array (n, n_bits) of ±1.

    Returns:
        The least distance; n_bits for a single word.

    Examples:
        >>> min_distance(np.array([[1, 1, 1], [1, -1, -1]], dtype=np.int8))
        2
    """
    return distance_range(words)[0]


def satisfies_definition_1(words: NDArray[np.int8]) -> bool:
    """Tell, in integers, whether the mean distance of ±1 words is at least half their length.

    Args:
        words: int8 array (n, n_bits) of ±1.

    Returns:
        Whether ||sum of the words||^2 <= n * n_bits.

    Examples:
        >>> satisfies_definition_1(np.array([[1, 1], [1, 1]], dtype=np.int8))
        False
    """
    sums = words.sum(axis=0, dtype=np.int64)
    return int(sums @ sums) <= words.size


def column_classes(words: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the columns so that equal and complementary ones share a number.

    Args:
        words: bool array (n, n_bits).

    Returns:
        int64 array (n_bits,), numbers from 0 without a gap.

    Examples:
        >>> column_classes(np.array([[True, False, True], [False, True, True]])).tolist()
        [1, 1, 0]
    """
    columns = np.packbits(words ^ words[:1], axis=0).T
    return np.unique(np.ascontiguousarray(columns), axis=0, return_inverse=True)[1].reshape(-1)
