"""How good a set of centers is, beside the best that is possible."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hashcenters.centers.bounds import max_min_distance
from hashcenters.centers.measures import column_classes, distance_range, satisfies_definition_1, to_signs
from hashcenters.checks import check_centers

__all__ = ["CenterReport", "center_report"]


@dataclass(frozen=True, eq=False)
class CenterReport:
    """What is known about a set of centers. Distances are Hamming distances in bits, over all pairs, counted.

    Of a single center, which has no pair, all three distances are n_bits.

    Attributes:
        n_classes: number of centers.
        n_bits: their length.
        min_distance: least distance of two centers.
        mean_distance: mean distance; at most n_bits / 2 * n_classes / (n_classes - 1) for an even number of classes.
        max_distance: greatest distance.
        upper_bound: no n_classes words of n_bits bits have a larger min_distance.
        bound_name: what proves that: a function of ``hashcenters.centers.bounds``, "pigeonhole" where there are more
            classes than words, or "one class".
        ratio: min_distance / upper_bound; 1 where both are 0.
        is_optimal: whether min_distance equals the bound. Where it does not, better centers may or may not exist.
        satisfies_definition_1: whether the mean distance is at least n_bits / 2 (Definition 1 of the paper), decided
            in integers.
        bit_balance: float64 array (n_bits,): of each bit, the share of centers in which it is +1.
        n_distinct_bits: how many bits are left when constant bits and copies, also inverted ones, are taken away.
        construction: where the centers come from.
        seconds: wall time it took to make the centers, where this is known, and to measure them.
    """

    n_classes: int
    n_bits: int
    min_distance: int
    mean_distance: float
    max_distance: int
    upper_bound: int
    bound_name: str
    ratio: float
    is_optimal: bool
    satisfies_definition_1: bool
    bit_balance: NDArray[np.float64]
    n_distinct_bits: int
    construction: str
    seconds: float

    def as_dict(self) -> dict[str, float | str | bool]:
        """Return the numbers, of the balance its extremes, as a flat mapping for logs and tables.

        Returns:
            Field names to values, with ``bit_balance_min`` and ``bit_balance_max``.
        """
        return {
            "n_classes": self.n_classes,
            "n_bits": self.n_bits,
            "min_distance": self.min_distance,
            "mean_distance": self.mean_distance,
            "max_distance": self.max_distance,
            "upper_bound": self.upper_bound,
            "bound_name": self.bound_name,
            "ratio": self.ratio,
            "is_optimal": self.is_optimal,
            "satisfies_definition_1": self.satisfies_definition_1,
            "bit_balance_min": float(self.bit_balance.min()),
            "bit_balance_max": float(self.bit_balance.max()),
            "n_distinct_bits": self.n_distinct_bits,
            "construction": self.construction,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        verdict = f"{self.ratio:.0%} of the bound (at most {self.upper_bound}: {self.bound_name})"
        if self.is_optimal:
            verdict = f"optimal (at most {self.upper_bound}: {self.bound_name})"
        if self.n_classes == 1:
            verdict = "a single center has no pair"
        elif self.upper_bound == 0:
            verdict = f"more classes than the {2**self.n_bits} words: some must coincide"
        holds = "at least" if self.satisfies_definition_1 else "below"
        low, high = float(self.bit_balance.min()), float(self.bit_balance.max())
        rows = [
            ("min distance", f"{self.min_distance}", verdict),
            ("mean distance", f"{self.mean_distance:.3f}", f"{holds} n_bits / 2 = {self.n_bits / 2:g} (Definition 1)"),
            ("max distance", f"{self.max_distance}", ""),
            ("ones per bit", f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}", ""),
            ("different bits", f"{self.n_distinct_bits}", f"of {self.n_bits}"),
        ]
        width = max(len(value) for _, value, _ in rows)
        lines = [f"{self.n_classes} centers of {self.n_bits} bits: {self.construction} ({self.seconds:.2f} s)"]
        lines += [f"  {name:<14}  {value:>{width}}  {note}".rstrip() for name, value, note in rows]
        return "\n".join(lines)


def center_report(centers: Tensor) -> CenterReport:
    """Measure anybody's centers and compare them with what is possible.

    Args:
        centers: float (n_classes, n_bits) of ±1, on any device.

    Returns:
        The report; its ``seconds`` are those of the measuring.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor.
        ValueError: ``centers`` is not two-dimensional, is empty or holds something other than ±1.

    Examples:
        >>> import torch
        >>> report = center_report(torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]))
        >>> report.min_distance, report.upper_bound, report.bound_name, report.is_optimal
        (2, 2, 'plotkin', True)
    """
    check_centers(centers)
    return report_on(to_signs(centers), "given", perf_counter())


def report_on(words: NDArray[np.int8], construction: str, started: float) -> CenterReport:
    """Measure words.

    Args:
        words: int8 (n_classes, n_bits) of ±1.
        construction: where they come from.
        started: ``perf_counter()`` when their making began.

    Returns:
        The report.
    """
    n_classes, n_bits = words.shape
    least, greatest = distance_range(words)
    ones = (words > 0).sum(axis=0, dtype=np.int64)
    n_pairs = n_classes * (n_classes - 1) // 2
    mean = int((ones * (n_classes - ones)).sum()) / n_pairs if n_pairs else float(n_bits)
    seconds = perf_counter() - started
    classes = column_classes(words > 0)
    varying = np.unique(classes[(ones > 0) & (ones < n_classes)]).size
    if n_classes == 1:
        bound, name = n_bits, "one class"
    elif (n_classes - 1).bit_length() > n_bits:
        bound, name = 0, "pigeonhole"
    else:
        bound, name = max_min_distance(n_classes, n_bits)
    return CenterReport(
        n_classes=n_classes,
        n_bits=n_bits,
        min_distance=least,
        mean_distance=mean,
        max_distance=greatest,
        upper_bound=bound,
        bound_name=name,
        ratio=least / bound if bound else 1.0,
        is_optimal=least == bound,
        satisfies_definition_1=satisfies_definition_1(words),
        bit_balance=ones / n_classes,
        n_distinct_bits=int(varying),
        construction=construction,
        seconds=seconds,
    )
