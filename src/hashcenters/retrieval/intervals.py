"""How far a mean over queries can be trusted: it would have come out differently with other queries."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hashcenters.centers.randomness import BOOTSTRAP_STREAM, check_seed, random_stream
from hashcenters.checks import check_count

__all__ = ["Interval", "bootstrap_interval"]

_CHUNK = 1 << 20  # values drawn at a time


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


def bootstrap_interval(
    values: Tensor | npt.NDArray[Any], *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values``, one value a query (Efron, 1979).

    Draws as many values as there are, with replacement, ``n_resamples`` times, and returns the (1 - level) / 2 and
    (1 + level) / 2 quantiles of the means. It answers for the choice of queries alone, not for the choice of the
    database or the seed of a training; and of two methods evaluated on the same queries, compare the interval of their
    differences, not two intervals. With fewer than about 30 queries it is too narrow.

    The draws depend on the seed and the number of values only, on every platform. A value's chance to be drawn deviates
    from 1 / n by less than n / 2^32 of it.

    Args:
        values: (n_queries,) finite numbers, e.g. the average precision of every query. torch or numpy; not changed.
        level: the interval's confidence, between 0 and 1.
        n_resamples: how many means; enough for one beyond either end: at least 2 / (1 - level).
        seed: 0..2**63 - 1.

    Returns:
        The lower and the upper end.

    Raises:
        TypeError: ``values`` neither a tensor nor an array of real numbers, ``level`` not a number, or a count or seed
            that is not an int.
        ValueError: ``values`` of another shape, empty or not finite, or ``level``, ``n_resamples`` or ``seed`` out of
            range.

    Examples:
        >>> interval = bootstrap_interval(np.linspace(0.0, 1.0, 101))
        >>> print(f"{interval.low:.3f} to {interval.high:.3f}")  # the normal one is 0.443 to 0.557
        0.446 to 0.556
    """
    sample = _check_values(values)
    if isinstance(level, bool) or not isinstance(level, int | float):
        raise TypeError(f"level must be a float, got {level!r} of type {type(level).__name__}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    n_resamples = check_count(n_resamples, "n_resamples")
    least = math.ceil(2 / (1 - level) - 1e-6)  # 2 / (1 - 0.9) is 20 and a rounding
    if n_resamples < least:
        raise ValueError(f"n_resamples must be at least 2 / (1 - level) = {least} for level={level}, got {n_resamples}")
    means = _resampled_means(sample, n_resamples, check_seed(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _check_values(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        is_real = not values.is_complex()
    elif isinstance(values, np.ndarray):
        is_real = values.dtype.kind in "biuf"
    else:
        raise TypeError(f"values must be a torch tensor or a numpy array, got {type(values).__name__}")
    if not is_real:
        raise TypeError(f"values must be real numbers, got {values.dtype}")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values must have shape (n_queries,) with at least one query, got {tuple(values.shape)}")
    array = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values.astype(np.float64)
    n_bad = int(np.count_nonzero(~np.isfinite(array)))
    if n_bad:
        raise ValueError(f"values must be finite, got NaN or infinity for {n_bad} of {len(array)} queries")
    return array


def _resampled_means(sample: npt.NDArray[np.float64], n_resamples: int, seed: int) -> npt.NDArray[np.float64]:
    n = len(sample)
    n_words = (n + 1) // 2  # a 64-bit word decides on two draws
    stream = random_stream(seed, BOOTSTRAP_STREAM)
    rows = max(1, _CHUNK // n)
    means = np.empty(n_resamples)
    for first in range(0, n_resamples, rows):
        chunk = means[first : first + rows]
        words: npt.NDArray[np.uint64] = stream.random_raw(len(chunk) * n_words).reshape(len(chunk), n_words)
        halves = words.astype("<u8", copy=False).view("<u4")[:, :n]  # little-endian on every platform
        draws = halves.astype(np.uint64) * np.uint64(n) >> np.uint64(32)
        chunk[:] = sample[draws.astype(np.intp)].mean(axis=1)
    return means
