"""Seeded random words that are the same on every platform and for every numpy version.

numpy promises stable streams for its bit generators and its ``SeedSequence``, not for the methods of ``Generator``; so
everything random about centers is built on raw 64-bit words.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hashcenters.checks import check_count

__all__ = [
    "ASSIGNMENT_STREAM",
    "AUGMENTATION_STREAM",
    "BATCH_STREAM",
    "BOOTSTRAP_STREAM",
    "CENTER_STREAM",
    "CNNH_STREAM",
    "EXTENSION_STREAM",
    "GRID_STREAM",
    "KMEANS_STREAM",
    "MOVING_STREAM",
    "RUN_STREAM",
    "SAMPLE_TIE_STREAM",
    "SELECTION_STREAM",
    "SEMANTIC_STREAM",
    "SHALLOW_STREAM",
    "SPLIT_STREAM",
    "SUBSET_STREAM",
    "SWD_STREAM",
    "TIE_TABLE_STREAM",
    "check_seed",
    "random_bits",
    "random_stream",
    "random_words",
]

# One seed serves several purposes; each has its own stream, so that ties are independent of the centers they decide on.
CENTER_STREAM: Final = 1
TIE_TABLE_STREAM: Final = 2
SAMPLE_TIE_STREAM: Final = 3
ASSIGNMENT_STREAM: Final = 4
SEMANTIC_STREAM: Final = 5
EXTENSION_STREAM: Final = 6
SELECTION_STREAM: Final = 7
SWD_STREAM: Final = 8
KMEANS_STREAM: Final = 9
SHALLOW_STREAM: Final = 16
CNNH_STREAM: Final = 32
BATCH_STREAM: Final = 40
SPLIT_STREAM: Final = 41
AUGMENTATION_STREAM: Final = 42
SUBSET_STREAM: Final = 43
RUN_STREAM: Final = 44
GRID_STREAM: Final = 45
MOVING_STREAM: Final = 46
BOOTSTRAP_STREAM: Final = 101


def check_seed(seed: object) -> int:
    """Return ``seed`` as an int in 0..2**63 - 1, which an int64 buffer can hold.

    Args:
        seed: what the caller passed.

    Returns:
        The seed.

    Raises:
        TypeError: ``seed`` is not an integer.
        ValueError: ``seed`` is negative or 2**63 or more.

    Examples:
        >>> check_seed(0)
        0
    """
    number = check_count(seed, "seed", least=0)
    if number >= 2**63:
        raise ValueError(f"seed must be smaller than 2**63, got {number}")
    return number


def random_stream(seed: int, *path: int) -> np.random.Philox:
    """Open one of a seed's independent streams of raw 64-bit words.

    Args:
        seed: 0..2**63 - 1.
        path: what the words are for, one of the constants of this module first; different paths are independent.

    Returns:
        The bit generator; draw from it by ``random_raw``.

    Examples:
        >>> int(random_stream(0, CENTER_STREAM).random_raw())
        12441188205270234579
    """
    return np.random.Philox(np.random.SeedSequence(seed, spawn_key=path))


def random_words(seed: int, n_rows: int, n_words: int, *, stream: int) -> NDArray[np.uint64]:
    """Draw a table of random 64-bit words; its first rows do not depend on ``n_rows``.

    Args:
        seed: 0..2**63 - 1.
        n_rows: number of rows.
        n_words: words in a row.
        stream: what the words are for; different streams of one seed are independent.

    Returns:
        uint64 array (n_rows, n_words).

    Examples:
        >>> random_words(0, 1, 2, stream=CENTER_STREAM)
        array([[12441188205270234579,  8834087402389068706]], dtype=uint64)
    """
    words: NDArray[np.uint64] = random_stream(seed, stream).random_raw((n_rows, n_words))
    return words


def random_bits(seed: int, n_rows: int, n_bits: int, *, stream: int) -> NDArray[np.uint8]:
    """Draw a table of fair random bits; its first rows do not depend on ``n_rows``.

    Args:
        seed: 0..2**63 - 1.
        n_rows: number of rows.
        n_bits: bits in a row.
        stream: what the bits are for; different streams of one seed are independent.

    Returns:
        uint8 array (n_rows, n_bits) of 0 and 1: the bits of each row's words, lowest bit of the first word first.

    Examples:
        >>> random_bits(0, 2, 8, stream=CENTER_STREAM)
        array([[1, 1, 0, 0, 1, 0, 1, 1],
               [0, 1, 0, 0, 0, 1, 0, 1]], dtype=uint8)
    """
    words = random_words(seed, n_rows, -(-n_bits // 64), stream=stream)
    octets = words.astype("<u8").view(np.uint8)  # little-endian bytes on every platform
    return np.unpackbits(octets, axis=1, count=n_bits, bitorder="little")
