"""Slow and obvious versions, for the tests (to be appended to tests/references.py)."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray


def slow_least_distance(words: NDArray[np.generic]) -> int:
    """Count the places in which each pair of rows differs."""
    return min(int((a != b).sum()) for a, b in combinations(words, 2))


def slow_mean_distance_is_half(words: NDArray[np.int8]) -> bool:
    """Definition 1 as it is written: the mean over all pairs is at least half the length."""
    distances = [int((a != b).sum()) for a, b in combinations(words, 2)]
    return 2 * sum(distances) >= len(distances) * words.shape[1]


def slow_gilbert_varshamov(n_classes: int, n_bits: int) -> int:
    """Largest d for which balls of radius d - 1 about n_classes - 1 words cannot cover the space."""
    d = 0
    while d < n_bits and (n_classes - 1) * sum(comb(n_bits, i) for i in range(d + 1)) < 2**n_bits:
        d += 1
    return d


def algorithm_1(n_classes: int, n_bits: int, seed: int) -> NDArray[np.int8]:
    """The paper's centers: Hadamard rows where n_bits is a power of two and large enough, else random half ones."""
    rng = np.random.default_rng(seed)
    if n_bits & (n_bits - 1) == 0 and n_classes <= 2 * n_bits:
        matrix = np.array([[1]], dtype=np.int8)
        while matrix.shape[0] < n_bits:
            matrix = np.block([[matrix, matrix], [matrix, -matrix]]).astype(np.int8)
        return np.concatenate([matrix, -matrix])[:n_classes]
    row = np.where(np.arange(n_bits) < n_bits // 2, 1, -1).astype(np.int8)
    return np.stack([rng.permutation(row) for _ in range(n_classes)])
