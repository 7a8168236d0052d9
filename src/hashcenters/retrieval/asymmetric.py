"""Ranking binary codes by the real-valued logits of a query: the query need not be rounded, only the database is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hashcenters.checks import check_count
from hashcenters.retrieval.codes import (
    MAX_BITS,
    Activation,
    Codes,
    PackedArray,
    WordArray,
    exact_weights,
    to_packed,
    to_words,
)
from hashcenters.retrieval.histogram import CountArray
from hashcenters.retrieval.labels import Labels, to_label_rows
from hashcenters.retrieval.metrics import AveragePrecision, FloatArray, average_precision
from hashcenters.retrieval.result import APDenominator

__all__ = ["asymmetric_average_precision"]


_SCORE_BYTES = 1 << 26  # scores of a chunk of queries against all distinct codes
_BLOCK_VALUES = 1 << 20  # values of the codes that are unpacked at a time


class _Database(NamedTuple):
    """Items grouped by code: equal codes are tied whatever the query, so each is scored once."""

    codes: PackedArray  # (n_codes, n_bytes), distinct
    starts: npt.NDArray[np.intp]  # (n_codes,), the first item of each code
    sizes: CountArray  # (n_codes,)
    labels: npt.NDArray[Any]  # (n_items,) class ids, or uint64 (n_items, n_words) label sets; in the order of codes


def asymmetric_average_precision(
    query_logits: Tensor | npt.NDArray[Any],
    codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    top_k: int | None = None,
    denominator: APDenominator = "retrieved",
    activation: Activation = "none",
) -> AveragePrecision:
    r"""Average precision where real-valued queries z rank binary codes b by the inner product <z, b>, highest first.

    Items with equal codes are tied, and so are items with equal scores; expected, best and worst are exact over the
    orders of ties, as in ``hashcenters.retrieval.metrics.average_precision``. Ties are far fewer than with Hamming
    distances, to which the ranking falls back where all \|z_j\| of a query are equal.

    With ``activation="none"`` the order is that of likelihood: the relaxed code says bit j is 1 with probability
    sigmoid(2 z_j), and log P(b) = <z, b> minus what does not depend on b. With ``"tanh"`` it is that of the Euclidean
    distance between the relaxed code tanh(z) and b, where sure bits weigh alike.

    Scores are exact sums: within a query, logits are rounded to multiples of 2^-46 (64 bits; 2^-42 for 1024) of the
    power of two above the largest. So ties do not depend on the order of summation or on the processor.

    Memory: 64 MB of scores at a time (one query's, where these are more), the packed codes, and a few numbers an item.

    Args:
        query_logits: (n_queries, n_bits) floating point, n_bits at most 1024. torch or numpy; not changed.
        codes: the database, (n_items, n_bits) logits, tanh outputs or ±1 (a value >= 0 is bit 1) or bool; or packed
            uint8 (n_items, ceil(n_bits / 8)).
        query_labels: integer class ids (n_queries,), or multi-hot (n_queries, n_classes).
        database_labels: the same kind for the items. An item is relevant where it shares a label with the query.
        top_k: how many items count; None, or more than there are, means all.
        denominator: what the sum of precisions is divided by, as in ``average_precision``.
        activation: what is applied to the logits first.

    Returns:
        Expected, best and worst AP of every query, float64 (n_queries,) each. A query without relevant items has 0;
        one without labels too, and the caller may leave it out.

    Raises:
        TypeError: a dtype that is none of these, or ``top_k`` not an int.
        ValueError: shapes that do not fit each other, an empty database, logits that are NaN or (with
            ``activation="none"``) infinite, labels of two kinds, or an unknown option.

    Examples:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 1, -1], [1, -1, 1], [-1, 1, 1]])
        >>> logits = torch.tensor([[2.0, 0.5, 0.1]])  # all three are at Hamming distance 1
        >>> asymmetric_average_precision(logits, codes, torch.tensor([1]), torch.tensor([1, 0, 1]))
        AveragePrecision(expected=array([0.83333333]), best=array([0.83333333]), worst=array([0.83333333]))
    """
    if activation not in get_args(Activation):
        raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
    if denominator not in get_args(APDenominator):
        raise ValueError(f"denominator must be one of {', '.join(get_args(APDenominator))}, got {denominator!r}")
    if top_k is not None:
        top_k = check_count(top_k, "top_k")
    weights = exact_weights(_query_values(query_logits, activation))
    n_queries, n_bits = weights.shape
    packed = to_packed(codes, n_bits)
    if not len(packed):
        raise ValueError("codes must hold at least one item, got none")
    wanted, n_classes = _label_rows("query_labels", query_labels, n_queries)
    labels, n_database_classes = _label_rows("database_labels", database_labels, len(packed))
    if n_classes != n_database_classes:
        raise ValueError(
            "query_labels and database_labels must both be class ids (n,) or multi-hot of one width, got shapes "
            f"{tuple(query_labels.shape)} and {tuple(database_labels.shape)}"
        )
    database = _group(packed, labels)
    limit = len(packed) if top_k is None else min(top_k, len(packed))
    result = np.zeros((3, n_queries))
    for query, scores in enumerate(_scores(weights, database.codes)):
        items, relevant = _ranked_counts(scores, database, wanted[query], limit)
        ap = average_precision(items[None], relevant[None], top_k=limit, denominator=denominator)
        result[:, query] = np.concatenate(ap)
    return AveragePrecision(*result)


def _query_values(logits: Tensor | npt.NDArray[Any], activation: Activation) -> FloatArray:
    if isinstance(logits, Tensor):
        is_float = logits.is_floating_point()
    elif isinstance(logits, np.ndarray):
        is_float = np.issubdtype(logits.dtype, np.floating)
    else:
        raise TypeError(f"query_logits must be a torch tensor or a numpy array, got {type(logits).__name__}")
    if not is_float:
        raise TypeError(
            f"query_logits must be floating point, got {logits.dtype}; binary queries have Hamming distances"
        )
    if logits.ndim != 2 or not 1 <= logits.shape[1] <= MAX_BITS:
        raise ValueError(
            f"query_logits must have shape (n_queries, n_bits) with n_bits from 1 to {MAX_BITS}, got "
            f"{tuple(logits.shape)}"
        )
    array = logits.detach().cpu().double().numpy() if isinstance(logits, Tensor) else logits
    values: FloatArray = array.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError("query_logits contain NaN; look for a diverged loss or a bad input sample")
    if activation == "tanh":
        np.tanh(values, out=values)
    elif np.isinf(values).any():
        raise ValueError("query_logits must be finite to be summed, got infinity; activation='tanh' makes it 1")
    return values


def _label_rows(name: str, labels: Labels, n_rows: int) -> tuple[npt.NDArray[Any], int | None]:
    """Return class ids and None, or label sets as words and the number of classes."""
    try:
        rows, n_classes = to_label_rows(labels, n_rows)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    return (rows if n_classes is None else to_words(rows)), n_classes


def _group(packed: PackedArray, labels: npt.NDArray[Any]) -> _Database:
    words: WordArray = to_words(packed)
    order = np.lexsort(words.T)
    ordered = words[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    sizes = np.diff(starts, append=len(order)).astype(np.int64)
    return _Database(packed[order[starts]], starts, sizes, labels[order])


def _scores(weights: FloatArray, codes: PackedArray) -> Iterator[FloatArray]:
    """Score all codes, query by query, into one buffer; chunks of queries share the unpacking of the codes."""
    n_queries, n_bits = weights.shape
    n_rows = max(1, _SCORE_BYTES // (8 * len(codes)))
    n_columns = max(1, _BLOCK_VALUES // n_bits)
    buffer = np.empty((min(n_rows, n_queries), len(codes)))
    for first in range(0, n_queries, n_rows):
        chunk = weights[first : first + n_rows]
        scores = buffer[: len(chunk)]
        for start in range(0, len(codes), n_columns):
            bits = np.unpackbits(codes[start : start + n_columns], axis=1, count=n_bits)
            # Bits 0 and 1 give the same order as -1 and +1: <z, 2b - 1> is 2 <z, b> minus the sum of z.
            scores[:, start : start + n_columns] = chunk @ bits.astype(np.float64).T
        yield from scores


def _ranked_counts(
    scores: FloatArray, database: _Database, wanted: npt.NDArray[Any], limit: int
) -> tuple[CountArray, CountArray]:
    """Count all and relevant items at each score, highest first; the last bucket may hold all beyond the limit."""
    labels = database.labels
    is_relevant = labels == wanted if labels.ndim == 1 else (labels & wanted).any(axis=1)
    relevant = np.add.reduceat(is_relevant, database.starts, dtype=np.int64)
    sizes, rest = database.sizes, np.zeros((2, 0), np.int64)
    if limit < len(scores):  # a code has an item at least: the first ``limit`` codes, and what ties with them, suffice
        near = scores >= np.partition(scores, len(scores) - limit)[len(scores) - limit]
        totals = np.array([[sizes.sum()], [relevant.sum()]])
        scores, sizes, relevant = scores[near], sizes[near], relevant[near]
        rest = totals - [[sizes.sum()], [relevant.sum()]]
    order = np.argsort(-scores)
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    buckets = np.add.reduceat(np.stack((sizes[order], relevant[order])), starts, axis=1)
    items, hits = np.concatenate((buckets, rest), axis=1)
    return items, hits
