"""Which class gets which center: similar classes closer, without moving the centers or nearly so.

Both searches here are annealed by threshold accepting on whole numbers, so ties, rounding and the order of summation
play no part, and the same seed gives the same centers on every platform.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hashcenters.centers.measures import to_signs
from hashcenters.centers.randomness import ASSIGNMENT_STREAM, SEMANTIC_STREAM, check_seed, random_stream
from hashcenters.checks import check_centers, check_count, check_matrix

__all__ = ["assign_centers", "closeness_correlation", "semantic_centers"]

# Similarities become whole numbers 0..2^20: fine enough that nothing is lost, small enough that sums are exact.
_LEVELS = 1 << 20
_CHUNK = 1 << 18


def assign_centers(centers: Tensor, similarity: Tensor, *, seed: int = 0) -> Tensor:
    """Permute the centers so that similar classes get near ones. Distances between centers stay as they are.

    Minimises the sum over pairs of classes of similarity times distance of their centers, a quadratic assignment
    problem, by annealed exchanges of two classes' centers (about 0.5 s for 100 classes, 15 s for 1,000, and never more
    than 12e9 elementary steps). The result is never worse than the order given. Where all similarities, or all
    distances, are equal, that order is kept.

    Args:
        centers: float (n_classes, n_bits) of ±1.
        similarity: (n_classes, n_classes), larger for classes that are more alike, on any scale; of an asymmetric one
            the symmetric part counts. The diagonal is ignored.
        seed: of the search.

    Returns:
        The rows of ``centers`` in another order: row c is the center of class c.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor, or ``seed`` not an integer.
        ValueError: ``centers`` are not ±1, ``similarity`` is not square, finite and of the centers' size, or ``seed``
            is negative.

    Examples:
        >>> centers = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1], [1, 1, 1, -1], [-1, -1, -1, 1]])
        >>> similarity = torch.eye(4)
        >>> similarity[0, 1] = similarity[1, 0] = similarity[2, 3] = similarity[3, 2] = 0.8
        >>> assigned = assign_centers(centers, similarity)
        >>> int((assigned[0] != assigned[1]).sum()), int((assigned[2] != assigned[3]).sum())
        (1, 1)
    """
    check_centers(centers)
    seed = check_seed(seed)
    n_classes = len(centers)
    likeness = _whole(_symmetric(similarity, n_classes))
    distances = _distances(centers)
    if n_classes == 1 or not likeness.any() or _spread(distances) == 0:
        return centers.clone(memory_format=torch.contiguous_format)
    order = _anneal_assignment(likeness, distances, seed)
    return centers[torch.from_numpy(order).to(centers.device)]


def semantic_centers(
    similarity: Tensor, centers: Tensor, *, min_distance: int, seed: int = 0, definition_1: bool = True
) -> Tensor:
    """Centers whose distances follow the similarity of their classes, none nearer than ``min_distance`` (SHC's idea).

    Minimises the sum over pairs of (t_ij - <c_i, c_j> / n_bits)^2, subject to distance >= min_distance for every pair,
    by annealed flips of single bits from the given centers, which should be far apart and assigned already. The target
    t is a linear map of the similarity: its mean over pairs is -1 / (n_classes - 1), the mean cosine of balanced
    centers, and its largest value 1 - 2 min_distance / n_bits, the largest cosine allowed.

    Args:
        similarity: (n_classes, n_classes), larger for classes that are more alike, on any scale; of an asymmetric one
            the symmetric part counts. The diagonal is ignored.
        centers: float (n_classes, n_bits) of ±1, at least ``min_distance`` apart; where they are exactly that far
            apart nothing can move.
        min_distance: least distance of the result. SHC takes the Gilbert-Varshamov value.
        seed: of the search.
        definition_1: also keep the mean distance at n_bits / 2 or more (Definition 1 of the paper).

    Returns:
        New centers like ``centers``.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor, or a number is not an integer.
        ValueError: ``centers`` are not ±1, are nearer than ``min_distance`` or miss Definition 1 where it is asked
            for; ``similarity`` is not square, finite and of the centers' size; or a number is negative.

    Source:
        "Semantic hash centers" (SHC), arXiv:2507.08404, for the objective; the search is ours.

    Examples:
        >>> centers = torch.tensor([[1.0, 1, 1, 1, 1, 1], [1, 1, 1, -1, -1, -1], [-1, -1, -1, 1, 1, -1]])
        >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
        >>> words = semantic_centers(similarity, centers, min_distance=2)
        >>> (6 - words @ words.T) / 2
        tensor([[0., 2., 5.],
                [2., 0., 5.],
                [5., 5., 0.]])
    """
    check_centers(centers)
    seed = check_seed(seed)
    min_distance = check_count(min_distance, "min_distance", least=0)
    n_classes, n_bits = centers.shape
    likeness = _whole(_symmetric(similarity, n_classes))
    words = to_signs(centers).astype(np.float64)
    off = ~np.eye(n_classes, dtype=bool)
    if n_classes > 1 and (found := int(_distances(centers)[off].min())) < min_distance:
        raise ValueError(f"centers must be at least min_distance={min_distance} apart to begin with, got {found}")
    most = n_classes * n_bits if definition_1 else n_bits * n_classes**2
    if float((words.sum(0) ** 2).sum()) > most:
        raise ValueError(
            f"the mean distance of the centers is below n_bits / 2 = {n_bits / 2}, which definition_1=True forbids; "
            "pass definition_1=False or other centers"
        )
    if n_classes == 1 or not likeness.any():
        return centers.clone()
    targets = _targets(likeness, n_bits, min_distance)
    _anneal_words(words, targets, min_distance, most, seed)
    return torch.from_numpy(words).to(centers)


def closeness_correlation(centers: Tensor, similarity: Tensor) -> float:
    """Pearson's correlation, over all pairs of classes, of their similarity and minus their centers' Hamming distance.

    Args:
        centers: float (n_classes, n_bits) of ±1.
        similarity: (n_classes, n_classes); of an asymmetric one the symmetric part counts. The diagonal is ignored.

    Returns:
        -1..1, larger when similar classes have nearer centers; NaN where all similarities or all distances are equal.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor.
        ValueError: ``centers`` are not ±1, or ``similarity`` is not square, finite and of the centers' size.

    Examples:
        >>> centers = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]])
        >>> similarity = torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.3], [0.2, 0.3, 1.0]])
        >>> round(closeness_correlation(centers, similarity), 3)
        0.98
    """
    check_centers(centers)
    pairs = np.triu_indices(len(centers), 1)
    likeness = _symmetric(similarity, len(centers))[pairs]
    closeness = -_distances(centers)[pairs].astype(np.float64)
    if len(likeness) == 0 or np.ptp(likeness) == 0 or np.ptp(closeness) == 0:
        return math.nan
    return float(np.corrcoef(likeness, closeness)[0, 1])


def _symmetric(similarity: Tensor, n_classes: int) -> NDArray[np.float64]:
    """The symmetric part as float64."""
    matrix = check_matrix(similarity, "similarity", n_classes).detach().cpu().double().numpy()
    matrix = matrix / max(float(np.abs(matrix).max()), 1e-300)  # no sum or difference overflows
    symmetric: NDArray[np.float64] = (matrix + matrix.T) / 2
    return symmetric


def _distances(centers: Tensor) -> NDArray[np.int64]:
    """Hamming distances (n_classes, n_classes)."""
    words = to_signs(centers).astype(np.float32)
    distances: NDArray[np.int64] = ((words.shape[1] - words @ words.T) / 2).astype(np.int64)
    return distances


def _whole(likeness: NDArray[np.float64]) -> NDArray[np.int64]:
    """Similarities as whole numbers 0..2^20, the diagonal 0; all 0 where they do not differ."""
    off = ~np.eye(len(likeness), dtype=bool)
    result = np.zeros(likeness.shape, dtype=np.int64)
    values = likeness[off]
    if len(values) and (spread := np.ptp(values)) > 0:
        result[off] = np.rint((values - values.min()) / spread * _LEVELS).astype(np.int64)
    return result


def _spread(matrix: NDArray[np.int64]) -> int:
    """Standard deviation of the entries off the diagonal, rounded down, in 1/1024: exact on every platform."""
    values = matrix[~np.eye(len(matrix), dtype=bool)]
    count, total, squares = len(values), int(values.sum()), int((values * values).sum())
    return math.isqrt((count * squares - total * total) << 20) // count


def _anneal_assignment(likeness: NDArray[np.int64], distances: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The best order of the centers found: class c gets center ``order[c]``."""
    from hashcenters.centers.annealing import exchange

    n_classes = len(likeness)
    # float32 holds the entries exactly; sums are taken in float64, exactly too.
    likeness32, placed = likeness.astype(np.float32), distances.astype(np.float32)
    order, best = np.arange(n_classes), np.arange(n_classes)
    n_steps = min(4_000 * n_classes**2, 400_000 * math.isqrt(n_classes), 12_000_000_000 // n_classes)
    # An exchange changes the sum by about this much: where to begin, neither frozen nor random. Among few classes all
    # exchanges may be worse than that, so there the start is hotter.
    start = float(
        (_spread(likeness >> 6) * _spread(distances) * math.isqrt(n_classes)) >> (12 if n_classes < 16 else 14)
    )
    state = np.zeros(2)  # current and best value, relative to the start
    generator = random_stream(seed, ASSIGNMENT_STREAM)
    for first in range(0, n_steps, _CHUNK):
        raw = generator.random_raw(min(_CHUNK, n_steps - first))
        exchange(likeness32, placed, order, best, raw, first, n_steps, start, state)
    return best


def _targets(likeness: NDArray[np.int64], n_bits: int, min_distance: int) -> NDArray[np.int64]:
    """Inner products to aim at, in 1/256."""
    n_classes = len(likeness)
    n_pairs = n_classes * (n_classes - 1)
    total, most = int(likeness.sum()), int(likeness.max())
    # Pairs of mean similarity aim at -n_bits / (n_classes - 1), the most similar one at n_bits - 2 min_distance.
    centered = likeness * n_pairs - total
    top = most * n_pairs - total
    low, high = -256 * n_bits // (n_classes - 1), 256 * (n_bits - 2 * min_distance)
    targets = np.floor(low + centered / top * max(high - low, 0)).astype(np.int64)
    np.fill_diagonal(targets, 0)
    return targets


def _anneal_words(
    words: NDArray[np.float64], targets: NDArray[np.int64], min_distance: int, most: int, seed: int
) -> None:
    """Flip bits of ``words`` in place towards the targets."""
    from hashcenters.centers.annealing import flip

    n_classes, n_bits = words.shape
    residuals = targets.astype(np.float64) - 256.0 * (words @ words.T)
    products = words @ words.T
    columns = np.ascontiguousarray(words.T)
    n_steps = min(20_000 * n_classes * n_bits // 8, 4_000_000_000 // n_classes)
    start = float(math.isqrt(n_classes) * _spread(residuals.astype(np.int64)) >> 11)
    sums, before = words.sum(0), words.copy()
    generator = random_stream(seed, SEMANTIC_STREAM)
    total_change = 0.0
    for first in range(0, n_steps, _CHUNK):
        raw = generator.random_raw(min(_CHUNK, n_steps - first))
        total_change += flip(
            words,
            columns,
            residuals,
            products,
            sums,
            raw,
            first,
            n_steps,
            start,
            float(n_bits - 2 * min_distance),
            most,
        )
    if total_change > 0:
        words[:] = before
