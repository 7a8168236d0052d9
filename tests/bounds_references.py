"""To be appended to tests/references.py: the slow, obvious versions for test_bounds.py."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linprog


def largest_code(n: int, d: int, weight: int | None = None) -> int:
    """A(n, d) or A(n, d, weight) by exhaustive search, for d >= 2 and a handful of bits."""
    words = [w for w in range(2**n) if weight is None or w.bit_count() == weight]
    best = 0

    def extend(size: int, candidates: list[int]) -> None:
        nonlocal best
        best = max(best, size)
        while candidates and size + len({w >> 1 for w in candidates}) > best:  # w and w ^ 1 cannot both be chosen
            word, *candidates = candidates
            extend(size + 1, [w for w in candidates if (w ^ word).bit_count() >= d])

    if weight is None:  # a code may be translated so that it holds the zero word
        extend(1, [w for w in words if w.bit_count() >= d])
    else:
        extend(0, words)
    return best


def krawtchouk_sum(n: int, k: int, x: int) -> int:
    """K_k(x), the sum of (-1)^(u.v) over all u of weight k, for a v of weight x."""
    return sum((-1) ** j * math.comb(x, j) * math.comb(n - x, k - j) for j in range(k + 1))


def linear_programme(n: int, d: int) -> float:
    """Delsarte's bound in floating point: all distances, all degrees, maximised directly."""
    distances = range(d, n + 1)
    rows = [[-krawtchouk_sum(n, k, i) for i in distances] for k in range(n + 1)]
    right = [math.comb(n, k) for k in range(n + 1)]
    return 1 - float(linprog([-1] * len(distances), A_ub=rows, b_ub=right, method="highs-ipm").fun)


def greedy_code(n: int, d: int, size: int, order: np.ndarray) -> list[int]:
    """Up to ``size`` words at mutual distance >= d, taken in the given order."""
    code: list[int] = []
    for word in map(int, order):
        if len(code) == size:
            break
        if all((word ^ other).bit_count() >= d for other in code):
            code.append(word)
    return code
