"""What an evaluation found, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from torch import Tensor

__all__ = [
    "APDenominator",
    "Gain",
    "MeanAveragePrecision",
    "PrecisionRecall",
    "QueryAveragePrecision",
    "RetrievalResult",
]

APDenominator: TypeAlias = Literal["retrieved", "relevant", "min"]
Gain: TypeAlias = Literal["exponential", "linear"]


class MeanAveragePrecision(NamedTuple):
    """Mean average precision over queries.

    Attributes:
        expected: its mean over all orders of tied items.
        best: its highest value over tie orders, chosen query by query.
        worst: its lowest.
    """

    expected: float
    best: float
    worst: float


class QueryAveragePrecision(NamedTuple):
    """Average precision of the first ``top_k`` of each query, float64 (n_queries,), in the order they were added.

    Queries of several processes come by rank. A query without a label has NaN.

    Attributes:
        expected: mean over all orders of tied items.
        best: the highest value that any order gives.
        worst: the lowest.
    """

    expected: Tensor
    best: Tensor
    worst: Tensor


class PrecisionRecall(NamedTuple):
    """The precision-recall curve by radius, float64 (n_bits + 1,) each: everything within radius r is retrieved.

    Attributes:
        precision: averaged over the queries whose ball is not empty; NaN where all balls are empty.
        recall: averaged over all evaluated queries.
    """

    precision: Tensor
    recall: Tensor


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What ``hashcenters.HammingRetrievalEvaluator.compute`` found.

    Values are shares in 0..1, but for ACG and WAP, numbers of labels, and the candidates, numbers of items. Means run
    over the evaluated queries: those that have a label, ``n_queries - n_without_labels`` of them.

    Attributes:
        map: mean average precision of the first ``top_k``, expected over all orders of tied items.
        map_best: its highest value over tie orders, chosen query by query.
        map_worst: its lowest value.
        map_at: the three for every ``top_k`` that was asked for.
        map_by_class: mean of the queries' expected average precision for each class that has queries.
        per_query: average precision of every query.
        precision_at_n: float64 (min(top_k, n_database),), expected precision of the first n; element n - 1 is for n.
            Of several ``top_k`` the largest counts. With ``exclude_self`` one item fewer can be found.
        recall_at_n: the same for recall.
        precision_recall: precision and recall by radius 0..n_bits.
        precision_within_radius: float64 (n_bits + 1,), precision in the ball of each radius, where an empty ball
            counts 0.
        recall_within_radius: float64 (n_bits + 1,), recall in the ball of each radius.
        candidates_within_radius: float64 (n_bits + 1,), mean number of items in the ball of each radius: what a search
            has to visit for that recall.
        empty_share: float64 (n_bits + 1,), share of queries whose ball is empty.
        ndcg_at: by ``top_k``, expected normalised discounted cumulative gain; empty unless ``gain`` was given, as are
            the next two.
        acg_at: by ``top_k``, expected average cumulative gain, the mean number of labels shared with the first k.
        wap_at: by ``top_k``, expected weighted average precision, the mean of ACG@i over the relevant ranks i.
        n_queries: number of queries given; those that repeat an id left out.
        n_without_labels: queries left out because they have no label.
        n_without_relevant: evaluated queries that no database item is relevant to; they count 0.
        n_database: number of database items given, those that ``exclude_self`` leaves out included.
        n_bits: code length.
        top_k: cut of ``map`` and of the curves at n; None for all items.
        radius: the radius that ``as_dict`` and printing report; beyond n_bits, all items are inside.
        ap_denominator: what average precision divides by.
    """

    map: float
    map_best: float
    map_worst: float
    map_at: dict[int | None, MeanAveragePrecision]
    map_by_class: dict[int, float]
    per_query: QueryAveragePrecision
    precision_at_n: Tensor
    recall_at_n: Tensor
    precision_recall: PrecisionRecall
    precision_within_radius: Tensor
    recall_within_radius: Tensor
    candidates_within_radius: Tensor
    empty_share: Tensor
    ndcg_at: dict[int | None, float]
    acg_at: dict[int | None, float]
    wap_at: dict[int | None, float]
    n_queries: int
    n_without_labels: int
    n_without_relevant: int
    n_database: int
    n_bits: int
    top_k: int | None
    radius: int
    ap_denominator: APDenominator

    def as_dict(self) -> dict[str, float]:
        """Return the scalars under readable keys, for a logger or a JSON file.

        Returns:
            Plain floats: ``map@k``, ``map_best@k``, ``map_worst@k`` for every k (``map`` alone where it is None),
            ``precision@n`` and ``recall@n`` at n = 1 and at the last n, ``precision@r2``, ``recall@r2``,
            ``candidates@r2`` and ``empty@r2`` for radius 2, ``ndcg@k``, ``acg@k`` and ``wap@k`` where they were
            computed, and the counts.

        Examples:
            >>> import torch
            >>> from hashcenters import HammingRetrievalEvaluator
            >>> evaluator = HammingRetrievalEvaluator(8, top_k=2)
            >>> codes = torch.tensor([[-1.0] * 8, [1.0] * 8])
            >>> evaluator.add_database(codes, torch.tensor([0, 1]))
            >>> evaluator.add_queries(codes, torch.tensor([0, 1]))
            >>> evaluator.compute().as_dict()["map@2"]
            1.0
        """
        at = min(self.radius, self.n_bits)
        scalars: dict[str, float] = {}
        for k, values in self.map_at.items():
            cut = _cut(k)
            scalars |= {f"map{cut}": values.expected, f"map_best{cut}": values.best, f"map_worst{cut}": values.worst}
        for name, graded in (("ndcg", self.ndcg_at), ("acg", self.acg_at), ("wap", self.wap_at)):
            scalars |= {f"{name}{_cut(k)}": value for k, value in graded.items()}
        for n in (1, len(self.precision_at_n)):
            scalars[f"precision@{n}"] = float(self.precision_at_n[n - 1])
            scalars[f"recall@{n}"] = float(self.recall_at_n[n - 1])
        return scalars | {
            f"precision@r{self.radius}": float(self.precision_within_radius[at]),
            f"recall@r{self.radius}": float(self.recall_within_radius[at]),
            f"candidates@r{self.radius}": float(self.candidates_within_radius[at]),
            f"empty@r{self.radius}": float(self.empty_share[at]),
            "n_queries": float(self.n_queries),
            "n_without_labels": float(self.n_without_labels),
            "n_without_relevant": float(self.n_without_relevant),
            "n_database": float(self.n_database),
        }

    def map_interval(self, level: float = 0.95, *, n_resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
        """Bootstrap a confidence interval of ``map`` over the queries.

        Args:
            level: share of resampled means that lie inside, between 0 and 1.
            n_resamples: how many times queries are drawn with replacement.
            seed: of the drawing; the order of the queries does not matter.

        Returns:
            Lower and upper end.

        Raises:
            TypeError: ``n_resamples`` or ``seed`` is not an integer.
            ValueError: an argument is out of range.
        """
        from hashcenters.retrieval.intervals import bootstrap_interval

        values = self.per_query.expected.numpy()
        return bootstrap_interval(np.sort(values[~np.isnan(values)]), level=level, n_resamples=n_resamples, seed=seed)

    def __str__(self) -> str:
        at, last = min(self.radius, self.n_bits), len(self.precision_at_n)
        span = f"{self.map_worst:.4f} to {self.map_best:.4f} by the order of ties"
        empty = f"{self.empty_share[at]:.1%} of the balls are empty"
        rows = [(f"mAP{_cut(self.top_k)}", self.map, span)]
        for k, values in list(self.map_at.items())[1:]:
            rows += [(f"mAP{_cut(k)}", values.expected, f"{values.worst:.4f} to {values.best:.4f}")]
        for name, graded in (("nDCG", self.ndcg_at), ("ACG", self.acg_at), ("WAP", self.wap_at)):
            rows += [(f"{name}{_cut(k)}", value, "") for k, value in graded.items()]
        rows += [(f"precision@{n}", float(self.precision_at_n[n - 1]), "") for n in sorted({1, last})]
        rows += [(f"recall@{last}", float(self.recall_at_n[-1]), "")]
        rows += [(f"precision, radius {self.radius}", float(self.precision_within_radius[at]), empty)]
        rows += [(f"recall, radius {self.radius}", float(self.recall_within_radius[at]), "")]
        width = max(len(name) for name, _, _ in rows)
        lines = [
            f"{self.n_queries} queries, {self.n_database} items, {self.n_bits} bits, "
            f"AP divided by {_DIVISORS[self.ap_denominator]}"
        ]
        lines += [f"  {name:<{width}}  {value:.4f}  {note}".rstrip() for name, value, note in rows]
        if self.n_without_labels:
            lines.append(f"  {self.n_without_labels} queries without labels left out")
        if self.n_without_relevant:
            lines.append(f"  {self.n_without_relevant} queries without relevant items count 0")
        return "\n".join(lines)


_DIVISORS: dict[APDenominator, str] = {
    "retrieved": "the relevant items retrieved",
    "relevant": "all relevant items",
    "min": "min(top_k, relevant items)",
}


def _cut(k: int | None) -> str:
    return "" if k is None else f"@{k}"
