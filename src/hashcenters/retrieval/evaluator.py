"""Codes and labels in, retrieval metrics out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hashcenters.checks import check_count
from hashcenters.retrieval.codes import MAX_BITS, PackedArray, pack_bits, to_packed, to_words
from hashcenters.retrieval.result import APDenominator, PrecisionRecall, RetrievalResult

if TYPE_CHECKING:  # it loads numba, which waits for the first compute()
    from hashcenters.retrieval.histogram import DistanceHistograms

__all__ = ["HammingRetrievalEvaluator"]

Codes: TypeAlias = Tensor | npt.NDArray[Any]
Labels: TypeAlias = Tensor | npt.NDArray[Any]


class HammingRetrievalEvaluator:
    """Rank a database by Hamming distance from each query, and say how good the ranking is.

    An item is relevant to a query where they share at least one label. Tied items are treated exactly: every metric is
    the expectation over their orders, so neither the order of the database nor that of the ``add`` calls changes any
    bit of the result. The state is the packed codes and the labels; ``compute`` needs O(n_bits) numbers a query more,
    and never ranks or stores a queries x items matrix.

    Args:
        n_bits: code length, 1 to 1024.
        top_k: how many items count in average precision and in the curves at n; None for all.
        radius: the Hamming radius to report beside the curves over all radii; the paper's is 2.
        ap_denominator: average precision divides by the relevant items among the first top_k (``"retrieved"``: the
            paper, HashNet, DeepHash), by all relevant items (``"relevant"``), or by min(top_k, these) (``"min"``).
        exclude_self: every query is itself in the database: one relevant item at distance 0 is taken out of its
            counts.

    Raises:
        TypeError: a number that is not an int.
        ValueError: a number out of range, or an unknown ``ap_denominator``.

    Examples:
        >>> evaluator = HammingRetrievalEvaluator(4)
        >>> codes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]])
        >>> evaluator.add_database(codes, torch.tensor([0, 1, 1]))
        >>> evaluator.add_queries(torch.tensor([[0.3, 0.9, 2.0, -0.1]]), torch.tensor([1]))
        >>> result = evaluator.compute()
        >>> print(f"{result.map:.4f}")  # relevant at ranks 1 and 3
        0.8333
    """

    def __init__(
        self,
        n_bits: int,
        *,
        top_k: int | None = None,
        radius: int = 2,
        ap_denominator: APDenominator = "retrieved",
        exclude_self: bool = False,
    ) -> None:
        self.n_bits = check_count(n_bits, "n_bits")
        if self.n_bits > MAX_BITS:
            raise ValueError(f"n_bits must be at most {MAX_BITS}, got {n_bits}")
        self.top_k = None if top_k is None else check_count(top_k, "top_k")
        self.radius = check_count(radius, "radius", least=0)
        if ap_denominator not in get_args(APDenominator):
            raise ValueError(
                f"ap_denominator must be one of {', '.join(get_args(APDenominator))}, got {ap_denominator!r}"
            )
        self.ap_denominator = ap_denominator
        self.exclude_self = exclude_self
        self.reset()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_bits}, top_k={self.top_k}, radius={self.radius}, "
            f"ap_denominator={self.ap_denominator!r}, exclude_self={self.exclude_self})"
        )

    def reset(self) -> None:
        """Forget all codes and labels."""
        self._database = _Rows()
        self._queries = _Rows()
        self._n_classes: int | None = None
        self._kind_known = False

    def add_database(self, codes: Codes, labels: Labels) -> None:
        """Add items to be found.

        Args:
            codes: (n, n_bits) logits, tanh outputs or ±1 (a value >= 0 is bit 1) or bool; or packed uint8
                (n, ceil(n_bits / 8)). torch or numpy; not changed.
            labels: integer class ids (n,), at least 0; or multi-hot (n, n_classes) of 0 and 1. The same kind in every
                call. An item without labels is relevant to no query.

        Raises:
            TypeError: a dtype that is none of these.
            ValueError: wrong shape, NaN, floats without any negative value, packed codes where others are meant or
                the reverse, labels out of range, or of another kind or width than before.
        """
        self._add(self._database, codes, labels)

    def add_queries(self, codes: Codes, labels: Labels) -> None:
        """Add queries; codes and labels as in ``add_database``.

        A query without labels (a multi-hot row of zeros) is counted, but left out of every mean.

        Args:
            codes: (n, n_bits), or packed.
            labels: (n,) or (n, n_classes).

        Raises:
            TypeError: a dtype that is none of those.
            ValueError: a shape or value that is none of those.
        """
        self._add(self._queries, codes, labels)

    def compute(self) -> RetrievalResult:
        """Evaluate all queries against the whole database; adding more afterwards is fine.

        Returns:
            All metrics.

        Raises:
            ValueError: no database items, no queries, no query with a label, or ``exclude_self`` where a query has no
                item with its own code and label in the database.
        """
        from hashcenters.retrieval.histogram import distance_histograms

        if not self._database.n_rows:
            raise ValueError("the database is empty: call add_database before compute")
        if not self._queries.n_rows:
            raise ValueError("there are no queries: call add_queries before compute")
        codes, labels = self._queries.joined()
        if labels.ndim == 2:
            labeled = labels.any(axis=1)
            codes, labels = codes[labeled], labels[labeled]
            if not len(codes):
                raise ValueError("no query has a label: every row of the queries' multi-hot labels is 0")
        # Means of floats depend on the order of the summands; a canonical order makes the result independent of it.
        order = _canonical_order(codes, labels)
        items, item_labels = self._database.joined()
        return self._result(distance_histograms(codes[order], items, labels[order], item_labels, n_bits=self.n_bits))

    def _result(self, counts: DistanceHistograms) -> RetrievalResult:
        from hashcenters.retrieval import metrics

        items, relevant = counts
        if self.exclude_self:
            if self._database.n_rows == 1:
                raise ValueError("exclude_self leaves nothing to find in a database of 1 item")
            items, relevant = metrics.exclude_self(items, relevant)
        ap = metrics.average_precision(items, relevant, top_k=self.top_k, denominator=self.ap_denominator)
        ball = metrics.within_radius(items, relevant)
        recall = torch.from_numpy(ball.recall)
        return RetrievalResult(
            map=float(ap.expected.mean()),
            map_best=float(ap.best.mean()),
            map_worst=float(ap.worst.mean()),
            precision_at_n=torch.from_numpy(metrics.precision_at_n(items, relevant, top_k=self.top_k)),
            recall_at_n=torch.from_numpy(metrics.recall_at_n(items, relevant, top_k=self.top_k)),
            precision_recall=PrecisionRecall(torch.from_numpy(ball.precision_nonempty), recall),
            precision_within_radius=torch.from_numpy(ball.precision),
            recall_within_radius=recall.clone(),
            empty_share=torch.from_numpy(ball.empty_share),
            n_queries=self._queries.n_rows,
            n_without_labels=self._queries.n_rows - len(items),
            n_without_relevant=int((relevant.sum(axis=1) == 0).sum()),
            n_database=self._database.n_rows,
            n_bits=self.n_bits,
            top_k=self.top_k,
            radius=self.radius,
            ap_denominator=self.ap_denominator,
        )

    def _add(self, rows: _Rows, codes: Codes, labels: Labels) -> None:
        packed = to_packed(codes, self.n_bits)
        if codes.dtype in (torch.uint8, np.uint8):
            packed = packed.copy()  # the caller's own memory
        ids, n_classes = _to_label_rows(labels, len(packed))
        if self._kind_known and n_classes != self._n_classes:
            raise ValueError(
                f"labels must be of one kind in every call: got {_label_kind(n_classes)} after "
                f"{_label_kind(self._n_classes)}"
            )
        self._kind_known, self._n_classes = True, n_classes
        rows.add(packed, ids)


class _Rows:
    """Packed codes and labels, gathered batch by batch."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._batches: list[tuple[PackedArray, npt.NDArray[Any]]] = []

    def add(self, packed: PackedArray, labels: npt.NDArray[Any]) -> None:
        self.n_rows += len(packed)
        self._batches.append((packed, labels))

    def joined(self) -> tuple[PackedArray, npt.NDArray[Any]]:
        if len(self._batches) > 1:
            codes, labels = zip(*self._batches, strict=True)
            self._batches = [(np.concatenate(codes), np.concatenate(labels))]
        return self._batches[0]


def _canonical_order(packed: PackedArray, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return an order of queries that depends on what they are, not on when they came."""
    keys = [*to_words(packed).T, *(to_words(labels).T if labels.ndim == 2 else [labels])]
    return np.lexsort(keys)


def _label_kind(n_classes: int | None) -> str:
    return "class ids (n,)" if n_classes is None else f"multi-hot rows of {n_classes} classes"


def _to_label_rows(labels: Labels, n_rows: int) -> tuple[npt.NDArray[Any], int | None]:
    """Return int64 class ids and None, or label sets packed to one bit a class and the number of classes."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        values: npt.NDArray[Any] = (labels.float() if labels.dtype == torch.bfloat16 else labels).numpy()
    elif isinstance(labels, np.ndarray):
        values = labels
    else:
        raise TypeError(f"labels must be a torch tensor or a numpy array, got {type(labels).__name__}")
    if values.ndim not in (1, 2) or len(values) != n_rows or 0 in values.shape[1:]:
        raise ValueError(
            f"labels must be class ids (n,) or multi-hot (n, n_classes), one row for each of the {n_rows} codes, got "
            f"shape {values.shape}"
        )
    if values.ndim == 2:
        if values.dtype != np.bool_:
            if not ((values == 0) | (values == 1)).all():
                raise ValueError("multi-hot labels (n, n_classes) must hold only 0 and 1; class ids have shape (n,)")
            values = values == 1
        return pack_bits(values), values.shape[1]
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"labels of shape (n,) are class ids and must be integers, got {values.dtype}")
    if n_rows and int(values.min()) < 0:
        raise ValueError(f"labels of shape (n,) are class ids and must be at least 0, got {values.min()}")
    if n_rows and int(values.max()) >= 2**63:
        raise ValueError(f"labels of shape (n,) are class ids and must be smaller than 2**63, got {values.max()}")
    return values.astype(np.int64), None
