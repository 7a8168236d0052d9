"""Codes and labels in, retrieval metrics out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch

from hashcenters.checks import check_count
from hashcenters.retrieval import distributed
from hashcenters.retrieval.codes import MAX_BITS, Codes, PackedArray, packed_width, to_packed, to_words
from hashcenters.retrieval.labels import Labels, label_kind, to_ids, to_label_rows
from hashcenters.retrieval.result import (
    APDenominator,
    Gain,
    MeanAveragePrecision,
    PrecisionRecall,
    QueryAveragePrecision,
    RetrievalResult,
)

if TYPE_CHECKING:  # it loads numba, which waits for the first compute()
    from hashcenters.retrieval.histogram import CountArray

__all__ = ["HammingRetrievalEvaluator"]


class HammingRetrievalEvaluator:
    """Rank a database by Hamming distance from each query, and say how good the ranking is.

    An item is relevant to a query where they share at least one label. Tied items are treated exactly: every metric is
    the expectation over their orders, so neither the order of the database nor that of the ``add`` calls changes any
    bit of the result. The state is the packed codes and the labels; ``compute`` needs O(n_bits) numbers a query more
    (with ``gain`` as many for each number of labels that can be shared), and never ranks or stores a queries x items
    matrix.

    In many processes (``torch.distributed``), each adds its own part of the database and of the queries, uneven or
    empty ones too, and all call ``compute`` of evaluators with the same settings: the result is the same everywhere, to
    the last bit that of one process. A sampler that repeats items to even out the parts is made up for by ``ids``,
    which are exchanged too (8 bytes an item). The state lives in this object alone:
    a process that starts anew begins with a fresh evaluator and adds its whole part again, and nothing counts twice.

    Args:
        n_bits: code length, 1 to 1024.
        top_k: how many items count in average precision and in the curves at n; None for all. Of several, the first
            gives ``map`` and its bounds, ``map_at`` has them all, and the curves reach to the largest.
        radius: the Hamming radius to report beside the curves over all radii; the paper's is 2.
        ap_denominator: average precision divides by the relevant items among the first top_k (``"retrieved"``: the
            paper, HashNet, DeepHash), by all relevant items (``"relevant"``), or by min(top_k, these) (``"min"``).
        exclude_self: every query is itself in the database: one relevant item at distance 0 is taken out of its
            counts.
        gain: also compute the graded metrics (nDCG, ACG, WAP), where an item that shares s labels with the query is
            worth 2^s - 1 (``"exponential"``) or s (``"linear"``) in nDCG; ACG and WAP are linear by definition. For
            multi-hot labels.
        device: where to count. None is the CPU, in compiled loops; a torch device counts there in plain torch, which
            pays on an accelerator alone. The counts, and so the results, are the same. Graded metrics are counted on
            the CPU.

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
        top_k: int | Sequence[int | None] | None = None,
        radius: int = 2,
        ap_denominator: APDenominator = "retrieved",
        exclude_self: bool = False,
        gain: Gain | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.n_bits = check_count(n_bits, "n_bits")
        if self.n_bits > MAX_BITS:
            raise ValueError(f"n_bits must be at most {MAX_BITS}, got {n_bits}")
        self.top_ks = _check_top_ks(top_k)
        self.radius = check_count(radius, "radius", least=0)
        if ap_denominator not in get_args(APDenominator):
            raise ValueError(
                f"ap_denominator must be one of {', '.join(get_args(APDenominator))}, got {ap_denominator!r}"
            )
        if gain is not None and gain not in get_args(Gain):
            raise ValueError(f"gain must be None or one of {', '.join(get_args(Gain))}, got {gain!r}")
        if gain is not None and exclude_self:
            raise ValueError("exclude_self does not go with gain: graded metrics count the query's own labels too")
        self.ap_denominator = ap_denominator
        self.exclude_self = exclude_self
        self.gain = gain
        self.device = None if device is None else torch.empty(0, device=device).device  # fails now, not after encoding
        self.reset()

    @property
    def top_k(self) -> int | None:
        """The first of ``top_ks``."""
        return self.top_ks[0]

    def __repr__(self) -> str:
        top_k = self.top_k if len(self.top_ks) == 1 else self.top_ks
        return (
            f"{type(self).__name__}({self.n_bits}, top_k={top_k}, radius={self.radius}, "
            f"ap_denominator={self.ap_denominator!r}, exclude_self={self.exclude_self}, gain={self.gain!r})"
        )

    def reset(self) -> None:
        """Forget all codes and labels."""
        self._database, self._queries = _Rows(packed_width(self.n_bits)), _Rows(packed_width(self.n_bits))
        self._n_classes: int | None = None
        self._kind_known = False

    def add_database(self, codes: Codes, labels: Labels, *, ids: Labels | None = None) -> None:
        """Add items to be found.

        Args:
            codes: (n, n_bits) logits, tanh outputs or ±1 (a value >= 0 is bit 1) or bool; or packed uint8
                (n, ceil(n_bits / 8)). torch or numpy; not changed.
            labels: integer class ids (n,), at least 0; or multi-hot (n, n_classes) of 0 and 1. The same kind in every
                call. An item without labels is relevant to no query.
            ids: integers (n,), a name for each item, in every call or in none. Of items with one name, the first
                counts, and in several processes that of the lowest rank.

        Raises:
            TypeError: a dtype that is none of these.
            ValueError: wrong shape, NaN, floats without any negative value, packed codes where others are meant or
                the reverse, labels out of range, or of another kind or width than before; ids in some calls only.
        """
        self._add("database", codes, labels, ids)

    def add_queries(self, codes: Codes, labels: Labels, *, ids: Labels | None = None) -> None:
        """Add queries; codes and labels as in ``add_database``.

        A query without labels (a multi-hot row of zeros) is counted, but left out of every mean.

        Args:
            codes: (n, n_bits), or packed.
            labels: (n,) or (n, n_classes).
            ids: integers (n,), in every call or in none; names of queries, not of items.

        Raises:
            TypeError: a dtype that is none of those.
            ValueError: a shape or value that is none of those.
        """
        self._add("queries", codes, labels, ids)

    def merge(self, other: HammingRetrievalEvaluator) -> None:
        """Add everything that another evaluator was given; that one stays as it is, and its settings play no part.

        Args:
            other: an evaluator of the same n_bits, from this process or unpickled from another.

        Raises:
            TypeError: ``other`` is not an evaluator.
            ValueError: another n_bits, another kind of labels, or ids on one side only.
        """
        if not isinstance(other, HammingRetrievalEvaluator):
            raise TypeError(f"other must be a HammingRetrievalEvaluator, got {type(other).__name__}")
        if other.n_bits != self.n_bits:
            raise ValueError(f"other must have n_bits={self.n_bits} like this evaluator, got {other.n_bits}")
        if other is self:
            raise ValueError("other must be another evaluator: merging this one with itself would count all twice")
        if other._kind_known:
            self._check_kind(other._n_classes)
        for name in ("database", "queries"):
            self._rows(name).check_ids(other._rows(name).has_ids, name)
        for name in ("database", "queries"):
            self._rows(name).extend(other._rows(name))
        if other._kind_known:
            self._kind_known, self._n_classes = True, other._n_classes

    def compute(self, *, sync: bool = True) -> RetrievalResult:
        """Evaluate all queries against the whole database; adding more afterwards is fine.

        Args:
            sync: in a ``torch.distributed`` job, evaluate what all processes were given together; every process has
                to call ``compute``. False evaluates this process's own queries against its own items.

        Returns:
            All metrics.

        Raises:
            ValueError: no database items, no queries, no query with a label, or ``exclude_self`` where a query has no
                item with its own code and label in the database; in several processes, evaluators of different
                settings or kinds of labels.
            RuntimeError: another process failed to count its items; its own error says why.
        """
        together = sync and distributed.is_active()
        queries, items = self._gathered() if together else (self._queries.unique(), self._database.unique())
        n_items = len(items.codes)
        if together:
            n_items = int(distributed.sum_over_ranks(np.array([n_items]))[0])
        if not n_items:
            raise ValueError("the database is empty: call add_database before compute")
        if not len(queries.codes):
            raise ValueError("there are no queries: call add_queries before compute")
        labeled = queries.labels.any(axis=1) if queries.labels.ndim == 2 else np.ones(len(queries.codes), np.bool_)
        if not labeled.any():
            raise ValueError("no query has a label: every row of the queries' multi-hot labels is 0")
        # Means of floats depend on the order of the summands; a canonical order makes the result independent of it.
        places = np.flatnonzero(labeled)
        places = places[_canonical_order(queries.codes[places], queries.labels[places])]
        codes, labels = queries.codes[places], queries.labels[places]
        counts, gains = self._all_counts(codes, items, labels, together)
        return self._result(counts[0], counts[1], gains, labels, places, len(queries.codes), n_items)

    def _all_counts(
        self, codes: PackedArray, items: _Joined, labels: npt.NDArray[Any], together: bool
    ) -> tuple[CountArray, CountArray | None]:
        """Return counts of items and of relevant items, and with ``gain`` those by level, of all processes."""
        failure: BaseException | None = None
        counts, gains = np.zeros((2, 0, 0), np.int64), None
        try:
            counts, gains = self._own_counts(codes, items.codes, labels, items.labels)
        except BaseException as error:  # the others wait for this process
            if not together:
                raise
            failure = error
        if not together:
            return counts, gains
        failed = distributed.gather(None if failure is None else repr(failure))
        if failure is not None:
            raise failure
        if any(failed):
            raise RuntimeError(f"other processes failed to count their items: {[one for one in failed if one]}")
        if gains is not None:
            most = max(distributed.gather(gains.shape[2]))
            gains = distributed.sum_over_ranks(np.pad(gains, ((0, 0), (0, 0), (0, most - gains.shape[2]))))
        return distributed.sum_over_ranks(counts), gains

    def _own_counts(
        self, codes: PackedArray, items: PackedArray, labels: npt.NDArray[Any], item_labels: npt.NDArray[Any]
    ) -> tuple[CountArray, CountArray | None]:
        """Return the counts against this process's items."""
        arguments = (codes, items, labels, item_labels)
        # Plain counts without levels are quicker; with levels, they are the sums over the levels.
        if self.gain is None:
            return self._count(*arguments), None
        from hashcenters.retrieval.histogram import gain_histograms

        gains = gain_histograms(*arguments, n_bits=self.n_bits)
        return np.stack([gains.sum(axis=2), gains[:, :, 1:].sum(axis=2)]), gains

    def _count(
        self, codes: PackedArray, items: PackedArray, labels: npt.NDArray[Any], item_labels: npt.NDArray[Any]
    ) -> CountArray:
        """Return counts of items and of relevant items, int64 (2, n_queries, n_bits + 1)."""
        if self.device is None:
            from hashcenters.retrieval.histogram import distance_histograms

            return np.stack(distance_histograms(codes, items, labels, item_labels, n_bits=self.n_bits))
        from hashcenters.retrieval.torch_histogram import torch_distance_histograms

        tensors = (torch.from_numpy(array).to(self.device) for array in (codes, items, labels, item_labels))
        counts: CountArray = torch.stack(torch_distance_histograms(*tensors, n_bits=self.n_bits)).cpu().numpy()
        return counts

    def _gathered(self) -> tuple[_Joined, _Joined]:
        """Return the queries of all processes, and of this process's items those that no lower rank has."""
        queries, items = self._queries.unique(), self._database.unique()
        states = distributed.gather((repr(self), self._n_classes if self._kind_known else "unknown"))
        kinds = {kind for _, kind in states if kind != "unknown"}
        if len({settings for settings, _ in states}) > 1 or len(kinds) > 1:
            raise ValueError(f"all processes must have the same settings and kind of labels, got {states} by rank")
        every = [part for part in distributed.gather(queries) if len(part.codes)]
        has_ids = distributed.gather((len(items.codes) > 0, items.ids is not None))
        if len({ids for filled, ids in has_ids if filled}) > 1 or len({part.ids is not None for part in every}) > 1:
            raise ValueError("ids must be given in all processes or in none")
        if any(ids for _, ids in has_ids):
            own = distributed.owned_here(np.zeros(0, np.int64) if items.ids is None else items.ids)
            items = items.at(np.flatnonzero(own))
        if every:
            queries = _join(every)
        # A process without data learns the kind of labels from the others.
        n_classes = next(iter(kinds), None)
        if isinstance(n_classes, int) and items.labels.ndim == 1 and not len(items.codes):
            items = items._replace(labels=np.zeros((0, packed_width(n_classes)), np.uint8))
        return queries, items

    def _result(
        self,
        items: CountArray,
        relevant: CountArray,
        gains: CountArray | None,
        labels: npt.NDArray[Any],
        places: npt.NDArray[np.int64],
        n_queries: int,
        n_items: int,
    ) -> RetrievalResult:
        """Turn counts into metrics; row i of the counts belongs to query ``places[i]``."""
        from hashcenters.retrieval import graded, metrics

        if self.exclude_self:
            if n_items == 1:
                raise ValueError("exclude_self leaves nothing to find in a database of 1 item")
            items, relevant = metrics.exclude_self(items, relevant)
        aps = {
            k: metrics.average_precision(items, relevant, top_k=k, denominator=self.ap_denominator) for k in self.top_ks
        }
        map_at = {k: MeanAveragePrecision(*(float(values.mean()) for values in ap)) for k, ap in aps.items()}
        longest = None if None in self.top_ks else max(k for k in self.top_ks if k is not None)
        per_query = np.full((3, n_queries), np.nan)
        per_query[:, places] = np.stack(aps[self.top_k])
        ndcg_at, acg_at, wap_at = {}, {}, {}
        if gains is not None and self.gain is not None:
            for k in self.top_ks:
                ndcg_at[k] = float(graded.ndcg(gains, top_k=k, gain=self.gain).mean())
                acg_at[k] = float(graded.average_cumulative_gain(gains, top_k=n_items if k is None else k).mean())
                wap = graded.weighted_average_precision(gains, top_k=k, denominator=self.ap_denominator)
                wap_at[k] = float(wap.mean())
        ball = metrics.within_radius(items, relevant)
        recall = torch.from_numpy(ball.recall)
        return RetrievalResult(
            map=map_at[self.top_k].expected,
            map_best=map_at[self.top_k].best,
            map_worst=map_at[self.top_k].worst,
            map_at=map_at,
            map_by_class=_by_class(aps[self.top_k].expected, labels),
            per_query=QueryAveragePrecision(*torch.from_numpy(per_query)),
            precision_at_n=torch.from_numpy(metrics.precision_at_n(items, relevant, top_k=longest)),
            recall_at_n=torch.from_numpy(metrics.recall_at_n(items, relevant, top_k=longest)),
            precision_recall=PrecisionRecall(torch.from_numpy(ball.precision_nonempty), recall),
            precision_within_radius=torch.from_numpy(ball.precision),
            recall_within_radius=recall.clone(),
            candidates_within_radius=torch.from_numpy(items.sum(axis=0).cumsum() / len(items)),
            empty_share=torch.from_numpy(ball.empty_share),
            ndcg_at=ndcg_at,
            acg_at=acg_at,
            wap_at=wap_at,
            n_queries=n_queries,
            n_without_labels=n_queries - len(items),
            n_without_relevant=int((relevant.sum(axis=1) == 0).sum()),
            n_database=n_items,
            n_bits=self.n_bits,
            top_k=self.top_k,
            radius=self.radius,
            ap_denominator=self.ap_denominator,
        )

    def _rows(self, name: str) -> _Rows:
        return self._database if name == "database" else self._queries

    def _add(self, name: str, codes: Codes, labels: Labels, ids: Labels | None) -> None:
        packed = to_packed(codes, self.n_bits)
        if codes.dtype in (torch.uint8, np.uint8):
            packed = packed.copy()  # the caller's own memory
        rows, n_classes = to_label_rows(labels, len(packed))
        names = None if ids is None else to_ids(ids, len(packed))
        self._check_kind(n_classes)
        if not len(packed):
            return
        self._rows(name).check_ids(ids is not None, name)
        self._kind_known, self._n_classes = True, n_classes
        self._rows(name).add(_Joined(packed, rows, names))

    def _check_kind(self, n_classes: int | None) -> None:
        if self._kind_known and n_classes != self._n_classes:
            raise ValueError(
                f"labels must be of one kind in every call: got {label_kind(n_classes)} after "
                f"{label_kind(self._n_classes)}"
            )


class _Joined(NamedTuple):
    """Packed codes, labels (ids or packed sets), and names of the rows where they have some."""

    codes: PackedArray
    labels: npt.NDArray[Any]
    ids: npt.NDArray[np.int64] | None

    def at(self, rows: npt.NDArray[np.int64]) -> _Joined:
        return _Joined(self.codes[rows], self.labels[rows], None if self.ids is None else self.ids[rows])


class _Rows:
    """Codes, labels and perhaps names, gathered batch by batch."""

    def __init__(self, width: int) -> None:
        self.n_rows = 0
        self.has_ids: bool | None = None  # unknown before the first batch
        self._batches: list[_Joined] = []
        self._nothing = _Joined(np.zeros((0, width), np.uint8), np.zeros(0, np.int64), None)

    def check_ids(self, has_ids: bool | None, name: str) -> None:
        if None not in (has_ids, self.has_ids) and has_ids != self.has_ids:
            raise ValueError(f"ids must be given in every call that adds to the {name}, or in none")

    def add(self, batch: _Joined) -> None:
        self.has_ids = batch.ids is not None
        self.n_rows += len(batch.codes)
        self._batches.append(batch)

    def extend(self, other: _Rows) -> None:
        for batch in other._batches:
            self.add(batch)

    def unique(self) -> _Joined:
        """Return all rows, of those with one name the first."""
        if not self._batches:
            return self._nothing
        self._batches = [_join(self._batches)]
        self.n_rows = len(self._batches[0].codes)
        return self._batches[0]


def _join(parts: Sequence[_Joined]) -> _Joined:
    """Write rows one below the other, and drop those whose name came before."""
    joined = parts[0]
    if len(parts) > 1:
        codes, labels, ids = zip(*parts, strict=True)
        names = None if parts[0].ids is None else np.concatenate(ids)
        joined = _Joined(np.concatenate(codes), np.concatenate(labels), names)
    if joined.ids is None:
        return joined
    firsts = np.unique(joined.ids, return_index=True)[1]
    return joined if len(firsts) == len(joined.codes) else joined.at(np.sort(firsts))


def _check_top_ks(top_k: int | Sequence[int | None] | None) -> tuple[int | None, ...]:
    if isinstance(top_k, Sequence) and not isinstance(top_k, str | bytes):
        top_ks = tuple(None if k is None else check_count(k, "top_k") for k in top_k)
    else:
        top_ks = (None if top_k is None else check_count(top_k, "top_k"),)
    if not top_ks or len(set(top_ks)) < len(top_ks):
        raise ValueError(f"top_k must be one number or several different ones, got {top_k!r}")
    return top_ks


def _by_class(values: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> dict[int, float]:
    """Return the mean over the queries of each class that has some; a query with several labels counts in each."""
    if labels.ndim == 1:
        classes, members = np.unique(labels, return_inverse=True)
        means = np.bincount(members.reshape(-1), weights=values) / np.bincount(members.reshape(-1))
        return {int(c): float(mean) for c, mean in zip(classes, means, strict=True)}
    member = np.unpackbits(labels, axis=1).astype(np.bool_)
    return {int(c): float(values[member[:, c]].mean()) for c in np.flatnonzero(member.any(axis=0))}


def _canonical_order(packed: PackedArray, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return an order of queries that depends on what they are, not on when they came."""
    keys = [*to_words(packed).T, *(to_words(labels).T if labels.ndim == 2 else [labels])]
    return np.lexsort(keys)
