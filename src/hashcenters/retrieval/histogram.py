"""Counting how far the database lies from every query, without ever ranking it.

One pass of XOR and population count over packed codes gives, for every query, how many items and how many relevant
items lie at each distance 0..n_bits. Every metric of Hamming ranking follows from these counts, and counts of
separate parts of a database add up.

How it is fast: two queries share one joint table, so that one increment counts two distances; distances are computed
a block of items at a time into a small buffer, which the compiler turns into vector instructions; relevant items are
found without a comparison, in the query's own class of a database that is grouped by class, or, for label sets, by a
bit beside the distance in the table's index.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from hashcenters.checks import check_count
from hashcenters.compiling import compiled, popcount
from hashcenters.retrieval.codes import MAX_BITS, PackedArray, WordArray, packed_width, to_words

__all__ = ["DistanceHistograms", "distance_histograms"]

CountArray: TypeAlias = npt.NDArray[np.int64]
_Bounds: TypeAlias = npt.NDArray[np.int64]
_Symbols: TypeAlias = npt.NDArray[np.uint32]

_BLOCK = 2048  # items whose distances are buffered at a time; the buffer stays in the L1 cache
_OUTER_WORDS = 1 << 17  # words of the database (1 MB) that stay in the L2 cache while a chunk of queries passes over
_CHUNK = 64  # queries of one task
_MAX_JOINT_SYMBOLS = 192  # beyond this a joint table of two queries no longer pays
_PATIENCE = 1.0  # seconds of silence before a compilation is announced
_SMALL = 1 << 18  # query-item pairs below which starting threads costs more than it gains


class _CacheStats(Protocol):
    cache_misses: dict[object, int]


class _Dispatcher(Protocol):
    """What a compiled function is to numba."""

    signatures: list[object]
    stats: _CacheStats


class DistanceHistograms(NamedTuple):
    """Counts by distance, for every query.

    Attributes:
        items: int64 (n_queries, n_bits + 1), database items at each Hamming distance.
        relevant: int64 (n_queries, n_bits + 1), those of them that share a label with the query.
    """

    items: CountArray
    relevant: CountArray


def distance_histograms(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    *,
    n_bits: int,
) -> DistanceHistograms:
    """Count, for every query, all and relevant items at each Hamming distance.

    Runs on as many threads as ``torch.get_num_threads()`` says. The counts are exact integers: they depend neither on
    the number of threads nor on the order of the database. Memory grows with the inputs and the result; nothing of
    size n_items x n_queries is allocated.

    Args:
        queries: packed uint8 (n_queries, ceil(n_bits / 8)).
        database: packed uint8 (n_items, ceil(n_bits / 8)).
        query_labels: integer class ids (n_queries,); or label sets, uint8 (n_queries, n_label_bytes), one bit a class.
        database_labels: the same for the items. An item is relevant where the ids are equal or the sets meet.
        n_bits: code length, 1 to 1024.

    Returns:
        The counts of all items and of relevant items.

    Raises:
        ValueError: ``n_bits`` above 1024, or shapes that do not fit each other.

    Examples:
        >>> queries = np.array([[0b11110000]], dtype=np.uint8)
        >>> database = np.array([[0b11110000], [0b11100000], [0b00001111]], dtype=np.uint8)
        >>> counts = distance_histograms(queries, database, np.array([1]), np.array([1, 0, 1]), n_bits=8)
        >>> counts.items
        array([[1, 1, 0, 0, 0, 0, 0, 0, 1]])
        >>> counts.relevant
        array([[1, 0, 0, 0, 0, 0, 0, 0, 1]])
    """
    n_bits = check_count(n_bits, "n_bits")
    if n_bits > MAX_BITS:
        raise ValueError(f"n_bits must be at most {MAX_BITS}, got {n_bits}")
    _check_rows("queries", queries, query_labels, n_bits)
    _check_rows("database", database, database_labels, n_bits)
    if query_labels.shape[1:] != database_labels.shape[1:]:
        raise ValueError(
            "query_labels and database_labels must both be class ids (n,) or label sets of one width, got shapes "
            f"{query_labels.shape} and {database_labels.shape}"
        )
    count = _count_by_class if query_labels.ndim == 1 else _count_by_label_set
    return count(queries, database, query_labels, database_labels, n_bits)


def _check_rows(name: str, packed: PackedArray, labels: npt.NDArray[Any], n_bits: int) -> None:
    if packed.ndim != 2 or packed.shape[1] != packed_width(n_bits) or packed.dtype != np.uint8:
        raise ValueError(
            f"{name} must be uint8 of shape (n, {packed_width(n_bits)}) for n_bits={n_bits}, got {packed.dtype} of "
            f"shape {packed.shape}"
        )
    is_ids = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    is_sets = labels.ndim == 2 and labels.dtype == np.uint8 and labels.shape[1] > 0
    if not (is_ids or is_sets) or len(labels) != len(packed):
        raise ValueError(
            f"labels of the {name} must be integer class ids (n,) or label sets packed to uint8 (n, n_label_bytes), "
            f"n = {len(packed)}, got {labels.dtype} of shape {labels.shape}"
        )


def _symbol_counts(
    queries: PackedArray, item_words: WordArray, query_sets: WordArray, item_sets: WordArray, n_symbols: int
) -> CountArray:
    """Count for every query how often each symbol occurs: the distance d, or with label sets 2 d + (1 if relevant)."""
    query_words = to_words(queries)
    counts = np.zeros((len(queries), n_symbols), np.int64)
    shift = np.uint64((n_symbols - 1).bit_length() if n_symbols <= _MAX_JOINT_SYMBOLS else 16)
    outer = max(_BLOCK, _OUTER_WORDS // (len(item_words) + len(item_sets)))

    def count(first: int, last: int) -> None:
        _count_symbols(query_words, item_words, query_sets, item_sets, shift, first, last, outer, counts)

    _run(_count_symbols, count, len(queries), item_words.shape[1])
    return counts


def _count_by_class(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    n_bits: int,
) -> DistanceHistograms:
    order, grouped = _group(database_labels)
    starts = np.searchsorted(grouped, query_labels, side="left")
    stops = np.searchsorted(grouped, query_labels, side="right")
    query_words, item_words = to_words(queries), _word_rows(to_words(database[order]))
    no_sets = np.zeros((len(queries), 0), np.uint64)
    items = _symbol_counts(queries, item_words, no_sets, np.zeros((0, 1), np.uint64), n_bits + 1)
    relevant = np.zeros_like(items)

    def count(first: int, last: int) -> None:
        _count_slices(query_words, item_words, starts, stops, first, last, relevant)

    _run(_count_slices, count, len(queries), int((stops - starts).max(initial=0)))
    return DistanceHistograms(items, relevant)


def _count_by_label_set(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    n_bits: int,
) -> DistanceHistograms:
    item_words, item_sets = _word_rows(to_words(database)), _word_rows(to_words(database_labels))
    symbols = _symbol_counts(queries, item_words, to_words(query_labels), item_sets, 2 * (n_bits + 1))
    relevant = np.ascontiguousarray(symbols[:, 1::2])
    return DistanceHistograms(symbols[:, 0::2] + relevant, relevant)


def _group(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return the order that sorts class ids, and the sorted ids."""
    narrow = labels
    if len(labels) and labels.min() >= 0 and labels.max() < 1 << 16:
        narrow = labels.astype(np.uint16)  # 16-bit keys are sorted by radix, in linear time
    order = np.argsort(narrow, kind="stable")
    return order, labels[order]


def _word_rows(words: WordArray) -> WordArray:
    """Lay the items' first words out side by side, then their second words, and so on: (n, w) -> (w, n)."""
    return np.ascontiguousarray(words.T)


def _run(kernel: Callable[..., None], count: Callable[[int, int], None], n_queries: int, n_items: int) -> None:
    """Call ``count(first, last)`` for chunks of queries, on all threads."""
    with announced_compilation(kernel):
        count(0, 0)
    n_threads = torch.get_num_threads()
    if n_threads == 1 or n_queries * n_items < _SMALL:
        count(0, n_queries)
        return
    # Short chunks where there are few queries, of an even number of them: a pair shares one pass.
    chunk = min(_CHUNK, 2 * -(-n_queries // (4 * n_threads)))
    firsts = range(0, n_queries, chunk)
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(lambda first: count(first, min(first + chunk, n_queries)), firsts):
            pass  # a kernel's exception surfaces here


@contextlib.contextmanager
def announced_compilation(function: Callable[..., None]) -> Iterator[None]:
    """Say on stderr what takes so long, once a process, where the first call of a kernel has to compile it."""
    kernel = cast(_Dispatcher, function)
    if kernel.signatures:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        waited = done.wait(_PATIENCE)
        while not waited and not any(kernel.stats.cache_misses.values()):
            waited = done.wait(0.1)  # loading what an earlier process compiled is no news
        if not waited and not _announced.is_set():
            _announced.set()
            print("hashcenters: compiling kernels for this processor, a few seconds, once", file=sys.stderr)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


_announced = threading.Event()


@compiled
def _joint_distances(x: WordArray, y: WordArray, words: WordArray, start: int, shift: np.uint64, out: _Symbols) -> None:
    """For each item from ``start`` on: its distance to ``x`` times 2**shift, plus its distance to ``y``."""
    n = len(out)
    p, q, items = x[0], y[0], words[0, start : start + n]
    for j in range(n):
        out[j] = np.uint32((popcount(p ^ items[j]) << shift) + popcount(q ^ items[j]))
    for w in range(1, len(words)):
        p, q, items = x[w], y[w], words[w, start : start + n]
        for j in range(n):
            out[j] += np.uint32((popcount(p ^ items[j]) << shift) + popcount(q ^ items[j]))


@compiled
def _add_relevance(
    a: WordArray, b: WordArray, sets: WordArray, start: int, shift: np.uint64, shared: WordArray, out: _Symbols
) -> None:
    """Double both distances in ``out``, and add 1 to each where the item shares a label with its query."""
    n = len(out)
    if len(sets) <= 2:
        a0, b0, items = a[0], b[0], sets[0, start : start + n]
        a1, b1, more = a[-1], b[-1], sets[len(sets) - 1, start : start + n]
        for j in range(n):
            first = np.uint64(((a0 & items[j]) | (a1 & more[j])) != 0)
            second = np.uint64(((b0 & items[j]) | (b1 & more[j])) != 0)
            out[j] = np.uint32((np.uint64(out[j]) << np.uint64(1)) + (first << shift) + second)
        return
    first_shared, second_shared = shared[0, :n], shared[1, :n]
    first_shared[:] = 0
    second_shared[:] = 0
    for w in range(len(sets)):
        a0, b0, items = a[w], b[w], sets[w, start : start + n]
        for j in range(n):
            first_shared[j] |= a0 & items[j]
            second_shared[j] |= b0 & items[j]
    for j in range(n):
        first, second = np.uint64(first_shared[j] != 0), np.uint64(second_shared[j] != 0)
        out[j] = np.uint32((np.uint64(out[j]) << np.uint64(1)) + (first << shift) + second)


@compiled
def _fold(table: _Symbols, width: int, row_sums: _Symbols, column_sums: _Symbols) -> None:
    """Sum the joint table over its columns and over its rows."""
    n = len(row_sums)
    for s in range(n):
        row = table[s * width : s * width + n]
        total = np.uint32(0)
        for t in range(n):
            total += row[t]
        row_sums[s] = total
        if total > 0:
            for t in range(n):
                column_sums[t] += row[t]


@compiled
def _count_symbols(
    queries: WordArray,
    words: WordArray,
    query_sets: WordArray,
    sets: WordArray,
    shift: np.uint64,
    first: int,
    last: int,
    outer: int,
    counts: CountArray,
) -> None:
    """Count the symbols of the queries ``first`` to ``last``, two queries at a time.

    With ``shift`` below 16 both symbols index one joint table, whose margins are the counts; else each has a table.
    """
    n_items, n_symbols = words.shape[1], counts.shape[1]
    buffer, shared = np.empty(_BLOCK, np.uint32), np.empty((2, _BLOCK), np.uint64)
    joint, width = shift < 16, 1 << shift
    low = np.uint32(width - 1)
    first_margin, second_margin = np.empty(n_symbols, np.uint32), np.empty(n_symbols, np.uint32)
    table = np.empty(n_symbols * width if joint else 0, np.uint32)
    for outer_start in range(0, n_items, outer):
        outer_stop = min(outer_start + outer, n_items)
        for query in range(first, last, 2):
            partner = min(query + 1, last - 1)  # the odd one out is paired with itself
            table[:] = 0
            first_margin[:] = 0
            second_margin[:] = 0
            for start in range(outer_start, outer_stop, _BLOCK):
                out = buffer[: min(_BLOCK, outer_stop - start)]
                _joint_distances(queries[query], queries[partner], words, start, shift, out)
                if len(sets):
                    _add_relevance(query_sets[query], query_sets[partner], sets, start, shift, shared, out)
                if joint:
                    for j in range(len(out)):
                        table[out[j]] += np.uint32(1)
                else:
                    for j in range(len(out)):
                        first_margin[out[j] >> np.uint32(16)] += np.uint32(1)
                        second_margin[out[j] & low] += np.uint32(1)
            if joint:
                _fold(table, width, first_margin, second_margin)
            for s in range(n_symbols):
                counts[query, s] += first_margin[s]
                if partner > query:
                    counts[partner, s] += second_margin[s]


@compiled
def _count_slices(
    queries: WordArray, words: WordArray, starts: _Bounds, stops: _Bounds, first: int, last: int, counts: CountArray
) -> None:
    """Count by distance the items of each query's own slice of the database."""
    buffer = np.empty(_BLOCK, np.uint16)
    for query in range(first, last):
        for start in range(starts[query], stops[query], _BLOCK):
            out = buffer[: min(_BLOCK, stops[query] - start)]
            for w in range(len(words)):
                word, items = queries[query, w], words[w, start : start + len(out)]
                for j in range(len(out)):
                    out[j] = np.uint16(popcount(word ^ items[j])) + (out[j] if w else np.uint16(0))
            for j in range(len(out)):
                counts[query, out[j]] += 1
