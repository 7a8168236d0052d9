"""Counting how far the database lies from every query, without ever ranking it.

One pass of XOR and population count over packed codes gives, for every query, how many items and how many relevant
items lie at each distance 0..n_bits. Every metric of Hamming ranking follows from these counts, and counts of
separate parts of a database add up.

How it is fast: two queries share one joint table, so that one increment counts two distances; distances are computed
a block of items at a time into a small buffer, four items to a word, which the compiler turns into vector instructions;
relevant items are found without a comparison, in the query's own class of a database that is grouped by class, or, for
label sets, by a bit beside the distance in the table's index.
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

__all__ = ["DistanceHistograms", "distance_histograms", "gain_histograms"]

CountArray: TypeAlias = npt.NDArray[np.int64]
_Bounds: TypeAlias = npt.NDArray[np.int64]
_Table: TypeAlias = npt.NDArray[np.uint32]

_BLOCK = 512  # words of the buffer of distances, 2,048 items: it stays in the L1 cache beside the table
_OUTER_WORDS = 1 << 17  # words of the database (1 MB) that stay in the L2 cache while a chunk of queries passes over
_CHUNK = 64  # queries of one task
_MAX_JOINT_WIDTH = 8  # bits of a symbol: of two together a lane and a table hold no more
_MAX_SHARED = (1 << 16) - 1  # what 16 bits hold
_IN_EACH_LANE = np.uint64(0x0001_0001_0001_0001)
_HIGHEST = np.uint64(15)  # of the bits of a lane
_ALL_BUT_HIGHEST = np.uint64(0x7FFF_7FFF_7FFF_7FFF)
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
    n_bits = _check_arguments(queries, database, query_labels, database_labels, n_bits)
    count = _count_by_class if query_labels.ndim == 1 else _count_by_label_set
    return count(queries, database, query_labels, database_labels, n_bits)


def gain_histograms(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    *,
    n_bits: int,
) -> CountArray:
    """Count, for every query, the items that share exactly s labels with it at each Hamming distance.

    Graded metrics follow from these counts. Level 0 holds the items that are not relevant; the sum over the levels from
    1 on is the ``relevant`` of ``distance_histograms``, and the sum over all levels its ``items``.

    Args:
        queries: packed uint8 (n_queries, ceil(n_bits / 8)).
        database: packed uint8 (n_items, ceil(n_bits / 8)).
        query_labels: integer class ids (n_queries,); or label sets, uint8 (n_queries, n_label_bytes), one bit a class.
        database_labels: the same for the items. Equal class ids are one shared label.
        n_bits: code length, 1 to 1024.

    Returns:
        int64 (n_queries, n_bits + 1, n_levels): element [i, d, s] counts the items at distance d from query i that
        share s labels with it. n_levels is 1 + the largest number of labels that any pair shares, but at least 2.

    Raises:
        ValueError: ``n_bits`` above 1024, shapes that do not fit each other, or label sets that may share more than
            65,535 labels.

    Examples:
        >>> queries = np.array([[0b11110000]], dtype=np.uint8)
        >>> database = np.array([[0b11110000], [0b11100000], [0b11010000]], dtype=np.uint8)
        >>> query_sets = np.array([[0b110]], dtype=np.uint8)
        >>> sets = np.array([[0b111], [0b010], [0b001]], dtype=np.uint8)
        >>> gain_histograms(queries, database, query_sets, sets, n_bits=8)[0, :2]
        array([[0, 0, 1],
               [1, 1, 0]])
    """
    n_bits = _check_arguments(queries, database, query_labels, database_labels, n_bits)
    if query_labels.ndim == 1:
        items, relevant = _count_by_class(queries, database, query_labels, database_labels, n_bits)
        return np.stack([items - relevant, relevant], axis=2)
    return _count_gains(queries, database, query_labels, database_labels, n_bits)


def _check_arguments(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    n_bits: int,
) -> int:
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
    return n_bits


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
    """Count for every query how often each symbol occurs: the distance, with the bit above it set where relevant."""
    query_words = to_words(queries)
    counts = np.zeros((len(queries), n_symbols), np.int64)
    width = (n_symbols - 1).bit_length()
    outer = _outer_block(item_words, item_sets)
    joint = width <= _MAX_JOINT_WIDTH

    def count(first: int, last: int) -> None:
        _count_symbols(query_words, item_words, query_sets, item_sets, width, joint, first, last, outer, counts)

    run_on_threads(_count_symbols, count, len(queries), item_words.shape[1])
    return counts


def _outer_block(item_words: WordArray, item_sets: WordArray) -> int:
    """Return how many items of each quarter stay in the L2 cache while a chunk of queries passes over them.

    A query has few labels, so it reads few of the pieces of the sets. Folding tables for smaller blocks would not pay.
    """
    return max(_BLOCK, _OUTER_WORDS // (4 * len(item_words) + min(len(item_sets), 4)))


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
    query_words, item_words = to_words(queries), _word_rows(to_words(database)[order])
    no_sets = np.zeros((len(queries), 0), np.uint64)
    items = _symbol_counts(queries, item_words, no_sets, np.zeros((0, 1), np.uint64), n_bits + 1)
    relevant = np.zeros_like(items)

    def count(first: int, last: int) -> None:
        _count_slices(query_words, item_words, starts, stops, first, last, relevant)

    run_on_threads(_count_slices, count, len(queries), int((stops - starts).max(initial=0)))
    return DistanceHistograms(items, relevant)


def _count_by_label_set(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[Any],
    database_labels: npt.NDArray[Any],
    n_bits: int,
) -> DistanceHistograms:
    item_words, item_sets = _word_rows(to_words(database)), _set_lanes(database_labels)
    query_sets = _pieces(query_labels) * _IN_EACH_LANE
    offset = 1 << n_bits.bit_length()  # the bit above the distance
    symbols = _symbol_counts(queries, item_words, query_sets, item_sets, offset + n_bits + 1)
    relevant = np.ascontiguousarray(symbols[:, offset:])
    return DistanceHistograms(symbols[:, : n_bits + 1] + relevant, relevant)


def _count_gains(
    queries: PackedArray,
    database: PackedArray,
    query_labels: npt.NDArray[np.uint8],
    database_labels: npt.NDArray[np.uint8],
    n_bits: int,
) -> CountArray:
    query_words, item_words = to_words(queries), _word_rows(to_words(database))
    query_sets, item_sets = to_words(query_labels), _word_rows(to_words(database_labels))
    bound = min(_largest_set(query_labels), _largest_set(database_labels))
    if bound > _MAX_SHARED:
        raise ValueError(f"label sets may share at most {_MAX_SHARED} labels, got sets of {bound}")
    counts = np.zeros((len(queries), n_bits + 1, max(bound + 1, 2)), np.int64)
    outer = _outer_block(item_words, item_sets)

    def count(first: int, last: int) -> None:
        _count_shared(query_words, item_words, query_sets, item_sets, first, last, outer, counts)

    run_on_threads(_count_shared, count, len(queries), item_words.shape[1])
    occurring = np.flatnonzero(counts.any(axis=(0, 1)))
    largest = int(occurring[-1]) if len(occurring) else 0
    return np.ascontiguousarray(counts[:, :, : max(largest + 1, 2)])


def _largest_set(labels: npt.NDArray[np.uint8]) -> int:
    ones = np.zeros(len(labels), np.int64)
    for column in labels.T:
        ones += _ONES_OF_BYTE[column]
    return int(ones.max(initial=0))


_ONES_OF_BYTE = np.array([byte.bit_count() for byte in range(256)], dtype=np.int64)


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


def _pieces(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Cut label sets into pieces of 16 classes: (n, bytes) -> (n, ceil(bytes / 2))."""
    return np.pad(labels, ((0, 0), (0, labels.shape[1] % 2))).view(np.uint16)


def _set_lanes(labels: npt.NDArray[np.uint8]) -> WordArray:
    """Lay the items' label sets out as ``_distances`` lays out distances: (n, bytes) -> (pieces, n // 4 + n % 4).

    A word holds the pieces of the four items j, + n // 4, + 2 (n // 4) and + 3 (n // 4). The up to three last items
    have a word each.
    """
    pieces = _pieces(labels)
    step = len(pieces) // 4
    quarters = pieces[: 4 * step].reshape(4, step, pieces.shape[1])
    lanes = np.ascontiguousarray(quarters.transpose(2, 1, 0)).view(np.uint64)[:, :, 0]
    rest = pieces[4 * step :].T * _IN_EACH_LANE
    return np.concatenate([lanes, rest], axis=1)


def run_on_threads(
    kernel: Callable[..., None], count: Callable[[int, int], None], n_queries: int, n_items: int
) -> None:
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
def _four(x: np.uint64, a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> np.uint64:
    """Distances from ``x`` to four words, in the four 16-bit lanes of one word."""
    low = popcount(x ^ a) | (popcount(x ^ b) << np.uint64(16))
    lanes: np.uint64 = low | (popcount(x ^ c) << np.uint64(32)) | (popcount(x ^ d) << np.uint64(48))
    return lanes


@compiled
def _distances(query: WordArray, words: WordArray, start: int, step: int, out: WordArray) -> None:
    """Distances from a query to the items start + j + {0, 1, 2, 3} step, in the four lanes of out[j].

    The four come from far apart, so that a run of like items, as in a sorted database of collapsed codes, does not
    increment one counter again and again, each time waiting for the last. Lanes spare the compiler narrowing 64-bit
    counts one by one.
    """
    n = len(out)
    for w in range(len(words)):
        x, row = query[w], words[w, start:]  # slices first: loops over row[start + ...] are not vectorised
        a, b, c, d = row[:n], row[step : step + n], row[2 * step : 2 * step + n], row[3 * step : 3 * step + n]
        if w == 0:
            for j in range(n):
                out[j] = _four(x, a[j], b[j], c[j], d[j])
        else:
            for j in range(n):
                out[j] += _four(x, a[j], b[j], c[j], d[j])


@compiled
def _pair_distances(
    query: WordArray,
    partner: WordArray,
    words: WordArray,
    start: int,
    step: int,
    shift: np.uint64,
    out: WordArray,
) -> None:
    """The same for two queries at once, the first one's distances times 2**shift."""
    n = len(out)
    for w in range(len(words)):
        x, y, row = query[w], partner[w], words[w, start:]
        a, b, c, d = row[:n], row[step : step + n], row[2 * step : 2 * step + n], row[3 * step : 3 * step + n]
        if w == 0:
            for j in range(n):
                out[j] = (_four(x, a[j], b[j], c[j], d[j]) << shift) | _four(y, a[j], b[j], c[j], d[j])
        else:
            for j in range(n):
                out[j] += (_four(x, a[j], b[j], c[j], d[j]) << shift) + _four(y, a[j], b[j], c[j], d[j])


@compiled
def _mark_relevant(
    query: WordArray, sets: WordArray, start: int, bit: np.uint64, shared: WordArray, out: WordArray
) -> None:
    """Set this bit in the lane of every item that shares a label with the query; sets as of ``_set_lanes``."""
    n = len(out)
    shared[:n] = 0
    for w in range(len(sets)):
        x, row = query[w], sets[w, start : start + n]
        if x != 0:  # a query has few labels
            for j in range(n):
                shared[j] |= x & row[j]
    for j in range(n):
        # The sum carries into a lane's highest bit where any lower one is set.
        any_bit = ((shared[j] & _ALL_BUT_HIGHEST) + _ALL_BUT_HIGHEST) | shared[j]
        out[j] |= (any_bit & ~_ALL_BUT_HIGHEST) >> (_HIGHEST - bit)


@compiled
def _count_shared_labels(query: WordArray, sets: WordArray, start: int, step: int, out: WordArray) -> None:
    """Numbers of labels that the query shares with the items, in the lanes of ``_distances``."""
    n = len(out)
    out[:] = 0
    for w in range(len(sets)):
        x, row = query[w], sets[w, start:]
        a, b, c, d = row[:n], row[step : step + n], row[2 * step : 2 * step + n], row[3 * step : 3 * step + n]
        if x == 0:
            continue
        for j in range(n):
            out[j] += _four(np.uint64(0), x & a[j], x & b[j], x & c[j], x & d[j])


@compiled
def _fold(table: _Table, width: int, first: CountArray, second: CountArray) -> None:
    """Add the sums of the joint table's rows to ``first``, and those of its columns to ``second``."""
    n = len(first)
    columns = np.zeros(n, np.uint32)
    for s in range(n):
        row = table[s << width : (s << width) + n]
        total = np.uint32(0)
        for t in range(n):
            total += row[t]
        if total > 0:
            first[s] += total
            for t in range(n):
                columns[t] += row[t]
    second += columns


@compiled
def _count_symbols(
    queries: WordArray,
    words: WordArray,
    query_sets: WordArray,
    sets: WordArray,
    width: int,
    joint: bool,
    first: int,
    last: int,
    outer: int,
    counts: CountArray,
) -> None:
    """Count the symbols of the queries ``first`` to ``last``.

    The symbols of two queries, ``width`` bits each, index one joint table, whose margins are the counts; or each query
    has a table to itself.
    """
    n_items, n_symbols = words.shape[1], counts.shape[1]
    buffer, shared = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    lanes = buffer.view(np.uint16)
    table = np.empty(n_symbols << width if joint else n_symbols, np.uint32)
    spare = np.empty(n_symbols, np.int64)
    shift, highest = np.uint64(width), np.uint64(width - 1)
    step = n_items // 4
    rest = n_items - 4 * step  # up to three items, each in four lanes, of which one counts
    for outer_start in range(0, max(step, 1), outer):
        outer_stop = min(outer_start + outer, step)
        n_blocks = (outer_stop - outer_start + _BLOCK - 1) // _BLOCK
        for query in range(first, last, 2 if joint else 1):
            partner = min(query + 1, last - 1)  # the odd one out is paired with itself
            table[:] = 0
            for block in range(n_blocks + (rest if outer_stop == step else 0)):
                if block < n_blocks:
                    start = word = outer_start + block * _BLOCK
                    n = min(_BLOCK, outer_stop - start)
                    stride, n_lanes = step, 4 * n
                else:
                    word, start = step + block - n_blocks, 4 * step + block - n_blocks
                    n, stride, n_lanes = 1, 0, 1
                out = buffer[:n]
                if joint:
                    _pair_distances(queries[query], queries[partner], words, start, stride, shift, out)
                else:
                    _distances(queries[query], words, start, stride, out)
                if len(sets):
                    _mark_relevant(query_sets[query], sets, word, highest + shift if joint else highest, shared, out)
                    if joint:
                        _mark_relevant(query_sets[partner], sets, word, highest, shared, out)
                for j in range(n_lanes):
                    table[lanes[j]] += np.uint32(1)
            if joint:
                _fold(table, width, counts[query], counts[partner] if partner > query else spare)
            else:
                counts[query] += table


@compiled
def _count_slices(
    queries: WordArray, words: WordArray, starts: _Bounds, stops: _Bounds, first: int, last: int, counts: CountArray
) -> None:
    """Count by distance the items of each query's own slice of the database."""
    buffer = np.empty(_BLOCK, np.uint64)
    lanes = buffer.view(np.uint16)
    table = np.empty(counts.shape[1], np.uint32)
    for query in range(first, last):
        table[:] = 0
        step = (stops[query] - starts[query]) // 4
        for start in range(0, step, _BLOCK):
            n = min(_BLOCK, step - start)
            _distances(queries[query], words, starts[query] + start, step, buffer[:n])
            for j in range(4 * n):
                table[lanes[j]] += np.uint32(1)
        for item in range(starts[query] + 4 * step, stops[query]):
            _distances(queries[query], words, item, 0, buffer[:1])
            table[lanes[0]] += np.uint32(1)
        counts[query] += table


@compiled
def _count_shared(
    queries: WordArray,
    words: WordArray,
    query_sets: WordArray,
    sets: WordArray,
    first: int,
    last: int,
    outer: int,
    counts: CountArray,
) -> None:
    """Count the items by distance and by the number of labels shared, of the queries ``first`` to ``last``."""
    n_items, n_levels = words.shape[1], counts.shape[2]
    buffer, shared_buffer = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    lanes, shared_lanes = buffer.view(np.uint16), shared_buffer.view(np.uint16)
    table = np.empty((counts.shape[1], n_levels), np.uint32)
    step = n_items // 4
    for outer_start in range(0, max(step, 1), outer):
        outer_stop = min(outer_start + outer, step)
        for query in range(first, last):
            table[:] = 0
            for start in range(outer_start, outer_stop, _BLOCK):
                n = min(_BLOCK, outer_stop - start)
                _distances(queries[query], words, start, step, buffer[:n])
                _count_shared_labels(query_sets[query], sets, start, step, shared_buffer[:n])
                for j in range(4 * n):
                    table[lanes[j], shared_lanes[j]] += np.uint32(1)
            if outer_stop == step:
                for item in range(4 * step, n_items):
                    _distances(queries[query], words, item, 0, buffer[:1])
                    _count_shared_labels(query_sets[query], sets, item, 0, shared_buffer[:1])
                    table[lanes[0], shared_lanes[0]] += np.uint32(1)
            counts[query] += table
