"""Finding the nearest codes without ranking the others. Loads numba: import it where it is needed.

Items stand in the order in which ties are to be decided. One pass over them keeps, for every query, those that can
still be among its k nearest: once k are nearer than some distance, only still nearer ones can follow, because a tie
is decided for the item that came first. What is kept is thinned out when it reaches twice k, and put in order by
counting, never by comparing. Nothing of size n_items x n_queries is allocated, and the items may lie in a file that is
mapped into memory.

How it is fast: codes are laid out word by word in a part of the database that stays in the L2 cache while a chunk of
queries passes over it; distances are computed a block at a time, which the compiler turns into vector instructions;
and 64 items are compared with the limit at once, so that only those that are near enough are ever looked at singly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from hashcenters.compiling import compiled, popcount
from hashcenters.retrieval.codes import PackedArray, WordArray, to_words
from hashcenters.retrieval.histogram import announced_compilation

__all__ = ["Neighbors", "Ranges", "nearest", "within_radius"]

IntArray: TypeAlias = npt.NDArray[np.int64]
_Llvm: TypeAlias = Any  # what numba and llvmlite hand around has no types
_Distances: TypeAlias = npt.NDArray[np.uint16]

_BLOCK = 2048  # items whose distances are buffered at a time, a multiple of 64; the buffer stays in the L1 cache
_OUTER_WORDS = 1 << 16  # words of the database (512 KB) that stay in the L2 cache while queries pass over them
_CHUNK = 256  # queries of one task
_CHUNK_BYTES = 1 << 25  # what the kept items of one task may take
_SMALL = 1 << 18  # query-item pairs below which starting threads costs more than it gains
_FAR = 65535  # farther than any item
_ITEM_BYTES = 10  # a kept item: int64 position, uint16 distance


class Neighbors(NamedTuple):
    """The k nearest items of every query, by distance, then by position.

    Attributes:
        distances: int64 (n_queries, k); -1 behind the last item.
        positions: int64 (n_queries, k), rows of the database; -1 behind the last item.
    """

    distances: IntArray
    positions: IntArray


class Ranges(NamedTuple):
    """All items within a radius of every query, by distance, then by position.

    Attributes:
        offsets: int64 (n_queries + 1,): those of query i stand from ``offsets[i]`` to ``offsets[i + 1]``.
        distances: int64 (n_found,).
        positions: int64 (n_found,), rows of the database.
    """

    offsets: IntArray
    distances: IntArray
    positions: IntArray


def nearest(queries: PackedArray, database: PackedArray, k: int, *, n_bits: int) -> Neighbors:
    """Find the k nearest items of every query; of tied items those that stand first.

    Runs on as many threads as ``torch.get_num_threads()`` says; the result does not depend on their number.

    Args:
        queries: packed uint8 (n_queries, ceil(n_bits / 8)).
        database: packed uint8 (n_items, ceil(n_bits / 8)), C-contiguous; it may be mapped from a file.
        k: number of neighbors, at least 1.
        n_bits: code length.

    Returns:
        Distances and positions.

    Examples:
        >>> queries = np.array([[0b1110_0000]], np.uint8)
        >>> database = np.array([[0], [0b1100_0000], [0b0110_0000]], np.uint8)
        >>> nearest(queries, database, 2, n_bits=8)
        Neighbors(distances=array([[1, 1]]), positions=array([[1, 2]]))
    """
    n_queries, n_items = len(queries), len(database)
    query_words = to_words(queries)
    rows, words = _views(database)
    n_parts = _n_parts(n_queries, n_items)
    found = min(k, n_items)
    distances = np.full((n_parts, n_queries, found), _FAR, np.int64)
    positions = np.full((n_parts, n_queries, found), -1, np.int64)

    def find(part: int, first: int, last: int) -> None:
        begin, end = part * n_items // n_parts, (part + 1) * n_items // n_parts
        outer = _outer(query_words.shape[1])
        _nearest(rows, words, query_words, first, last, begin, end, outer, n_bits, distances[part], positions[part])

    with announced_compilation(_nearest):
        find(0, 0, 0)
    chunk = max(1, min(_CHUNK, _CHUNK_BYTES // (2 * _ITEM_BYTES * max(1, found))))
    _run(find, n_queries, n_items, n_parts, chunk)
    if n_parts == 1:
        best = Neighbors(distances[0], positions[0])
    else:  # a stable sort leaves ties in the order of the parts, which is that of the items
        joined = np.concatenate(list(distances), axis=1)
        order = np.argsort(joined, axis=1, kind="stable")[:, :found]
        best = Neighbors(
            np.take_along_axis(joined, order, axis=1),
            np.take_along_axis(np.concatenate(list(positions), axis=1), order, axis=1),
        )
    if found == k:
        return best
    filler = np.full((n_queries, k - found), -1, np.int64)
    return Neighbors(np.hstack([best.distances, filler]), np.hstack([best.positions, filler]))


def within_radius(queries: PackedArray, database: PackedArray, radius: int, *, n_bits: int) -> Ranges:
    """Find all items whose distance from a query is at most ``radius``.

    Threads as in ``nearest``. A first pass counts, a second one puts every item where it belongs.

    Args:
        queries: packed uint8 (n_queries, ceil(n_bits / 8)).
        database: packed uint8 (n_items, ceil(n_bits / 8)), C-contiguous; it may be mapped from a file.
        radius: the largest distance, at least 0.
        n_bits: code length.

    Returns:
        Offsets, distances and positions.

    Examples:
        >>> queries = np.array([[0b1110_0000]], np.uint8)
        >>> database = np.array([[0], [0b1100_0000], [0b1110_0000]], np.uint8)
        >>> within_radius(queries, database, 1, n_bits=8)
        Ranges(offsets=array([0, 2]), distances=array([0, 1]), positions=array([2, 1]))
    """
    n_queries, n_items = len(queries), len(database)
    query_words = to_words(queries)
    rows, words = _views(database)
    n_parts = _n_parts(n_queries, n_items)
    limit = min(radius, n_bits) + 1
    outer = _outer(query_words.shape[1])
    # Query, distance, part: in this order their items follow each other in the result.
    counts = np.zeros((n_queries, limit, n_parts), np.int64)

    def count(part: int, first: int, last: int) -> None:
        begin, end = part * n_items // n_parts, (part + 1) * n_items // n_parts
        _count_within(rows, words, query_words, first, last, begin, end, outer, counts[:, :, part])

    with announced_compilation(_count_within):
        count(0, 0, 0)
    _run(count, n_queries, n_items, n_parts, _CHUNK)
    ends = counts.cumsum().reshape(counts.shape)
    offsets = np.zeros(n_queries + 1, np.int64)
    offsets[1:] = ends[:, -1, -1]
    places = ends - counts  # where the next item of each kind goes
    distances, positions = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)

    def place(part: int, first: int, last: int) -> None:
        begin, end = part * n_items // n_parts, (part + 1) * n_items // n_parts
        next_places = places[:, :, part]
        _place_within(rows, words, query_words, first, last, begin, end, outer, next_places, distances, positions)

    with announced_compilation(_place_within):
        place(0, 0, 0)
    _run(place, n_queries, n_items, n_parts, _CHUNK)
    return Ranges(offsets, distances, positions)


def _views(database: PackedArray) -> tuple[PackedArray, WordArray]:
    """Return read-only bytes and, where whole words make up a code, the same memory as words, else none.

    Mapped files are read-only, and kernels are compiled for one kind of memory, so all of it is declared so.
    """
    rows = np.asarray(database).view(np.ndarray)
    words: WordArray = rows.view(np.uint64) if rows.shape[1] % 8 == 0 else np.empty((0, 1), np.uint64)
    rows, words = rows.view(), words.view()
    rows.setflags(write=False)
    words.setflags(write=False)
    return rows, words


def _outer(n_words: int) -> int:
    return max(_BLOCK, _OUTER_WORDS // n_words // _BLOCK * _BLOCK)


def _n_parts(n_queries: int, n_items: int) -> int:
    """Return into how many parts to cut the database: where queries are few, threads share it."""
    n_threads = torch.get_num_threads()
    if n_queries >= 2 * n_threads or n_queries * n_items < _SMALL:
        return 1
    return n_threads


def _run(task: Callable[[int, int, int], None], n_queries: int, n_items: int, n_parts: int, chunk: int) -> None:
    """Call ``task(part, first, last)`` for every part of the database and chunk of queries, on all threads."""
    n_threads = torch.get_num_threads()
    if n_threads > 1 and n_parts == 1:
        chunk = min(chunk, -(-n_queries // (4 * n_threads)))
    tasks: Iterable[tuple[int, int]] = itertools.product(range(n_parts), range(0, n_queries, max(1, chunk)))
    if n_threads == 1 or n_queries * n_items < _SMALL:
        for part, first in tasks:
            task(part, first, min(first + chunk, n_queries))
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(lambda at: task(at[0], at[1], min(at[1] + chunk, n_queries)), tasks):
            pass  # a kernel's exception surfaces here


def _mask_of_nearer(typing_context: object, buffer: types.Type, start: types.Type, limit: types.Type) -> _Llvm:
    """Compare 64 distances with a limit: bit j is set where ``buffer[start + j] < limit``.

    Written as LLVM's own vectors, for it finds no such instructions in a loop; it takes what the processor has.
    """

    def generate(context: _Llvm, builder: _Llvm, signature: _Llvm, arguments: _Llvm) -> _Llvm:
        half, vector = ir.IntType(32), ir.VectorType(ir.IntType(16), 64)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())
        unset = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(unset, arguments[2], ir.Constant(half, 0))
        limits = builder.shuffle_vector(one, unset, ir.Constant(ir.VectorType(half, 64), [0] * 64))
        return builder.bitcast(builder.icmp_unsigned("<", builder.load(place, align=2), limits), ir.IntType(64))

    return types.uint64(buffer, types.int64, types.uint16), generate


def _lowest_bit(typing_context: object, word: types.Type) -> _Llvm:
    """Return the place of the lowest bit set in a uint64 that is not 0."""

    def generate(context: _Llvm, builder: _Llvm, signature: _Llvm, arguments: _Llvm) -> _Llvm:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


_nearer = cast(Callable[[_Distances, int, np.uint16], np.uint64], intrinsic(_mask_of_nearer))
_lowest = cast(Callable[[np.uint64], int], intrinsic(_lowest_bit))


@compiled
def _load(rows: PackedArray, words: WordArray, start: int, stop: int, out: WordArray) -> None:
    """Lay the codes ``start`` to ``stop`` out word by word: first words side by side, then second words, and so on."""
    n = stop - start
    if len(words):
        for w in range(len(out)):
            column, source = out[w, :n], words[start:stop, w]
            for j in range(n):
                column[j] = source[j]
        return
    out[:, :n] = 0
    for b in range(rows.shape[1]):
        column, bytes_, shift = out[b // 8, :n], rows[start:stop, b], np.uint64(8 * (b % 8))
        for j in range(n):
            column[j] |= np.uint64(bytes_[j]) << shift


@compiled
def _distances(query: WordArray, words: WordArray, start: int, stop: int, out: _Distances) -> None:
    """Compute the distances of the items ``start`` to ``stop``, and fill up with far ones to a multiple of 64."""
    n = stop - start
    word, items = query[0], words[0, start:stop]
    near = out[:n]
    for j in range(n):
        near[j] = np.uint16(popcount(word ^ items[j]))
    for w in range(1, len(words)):
        word, items = query[w], words[w, start:stop]
        for j in range(n):
            near[j] += np.uint16(popcount(word ^ items[j]))
    for j in range(n, -(-n // 64) * 64):
        out[j] = _FAR


@compiled
def _thin(distances: _Distances, positions: IntArray, n_kept: int, limit: int, n_at_limit: int) -> int:
    """Drop what is farther than ``limit``, and all but the first ``n_at_limit`` as far; return how many are left."""
    n = 0
    for i in range(n_kept):
        distance = distances[i]
        if distance < limit or (distance == limit and n_at_limit > 0):
            n_at_limit -= distance == limit
            distances[n] = distance
            positions[n] = positions[i]
            n += 1
    return n


@compiled
def _nearest(
    rows: PackedArray,
    words: WordArray,
    queries: WordArray,
    first: int,
    last: int,
    begin: int,
    end: int,
    outer: int,
    n_bits: int,
    distances: IntArray,
    positions: IntArray,
) -> None:
    """Find the nearest of the items ``begin`` to ``end`` for the queries ``first`` to ``last``."""
    k, n_queries = distances.shape[1], last - first
    room = min(2 * k, end - begin)
    kept_distances = np.empty((n_queries, room), np.uint16)
    kept_positions = np.empty((n_queries, room), np.int64)
    n_kept = np.zeros(n_queries, np.int64)
    counts = np.zeros((n_queries, n_bits + 2), np.int64)  # kept items by distance
    limits = np.full(n_queries, n_bits + 1, np.int64)  # only what is nearer can still be among the k nearest
    n_nearer = np.zeros(n_queries, np.int64)  # kept items nearer than the limit, fewer than k
    buffer, loaded = np.empty(_BLOCK, np.uint16), np.empty((queries.shape[1], outer), np.uint64)
    for outer_start in range(begin, end, outer):
        outer_stop = min(outer_start + outer, end)
        if n_queries:
            _load(rows, words, outer_start, outer_stop, loaded)
        for q in range(n_queries):
            limit, nearer, n, count = limits[q], n_nearer[q], n_kept[q], counts[q]
            near, where = kept_distances[q], kept_positions[q]
            for start in range(0, outer_stop - outer_start, _BLOCK):
                stop = min(start + _BLOCK, outer_stop - outer_start)
                _distances(queries[first + q], loaded, start, stop, buffer)
                for s in range(0, stop - start, 64):
                    mask = _nearer(buffer, s, np.uint16(limit))
                    while mask:
                        j = s + _lowest(mask)
                        mask &= mask - np.uint64(1)
                        distance = buffer[j]
                        if distance >= limit:  # it has come down since the comparison
                            continue
                        if n == room:
                            n = _thin(near, where, n, limit, k - nearer)
                        near[n] = distance
                        where[n] = outer_start + start + j
                        n += 1
                        count[distance] += 1
                        nearer += 1
                        while nearer >= k:
                            limit -= 1
                            nearer -= count[limit]
            limits[q], n_nearer[q], n_kept[q] = limit, nearer, n
    for q in range(n_queries):
        limit, count = limits[q], counts[q]
        n = _thin(kept_distances[q], kept_positions[q], n_kept[q], limit, k - n_nearer[q])
        place = 0
        for d in range(n_bits + 1):  # from counts to places: the items of each distance begin where nearer ones end
            place, count[d] = place + count[d], place
        for i in range(n):
            distance = kept_distances[q, i]
            distances[first + q, count[distance]] = distance
            positions[first + q, count[distance]] = kept_positions[q, i]
            count[distance] += 1


@compiled
def _count_within(
    rows: PackedArray,
    words: WordArray,
    queries: WordArray,
    first: int,
    last: int,
    begin: int,
    end: int,
    outer: int,
    counts: IntArray,
) -> None:
    """Count the items ``begin`` to ``end`` at each distance that ``counts`` has a column for."""
    limit = np.uint16(counts.shape[1])
    buffer, loaded = np.empty(_BLOCK, np.uint16), np.empty((queries.shape[1], outer), np.uint64)
    for outer_start in range(begin, end, outer):
        outer_stop = min(outer_start + outer, end)
        if last > first:
            _load(rows, words, outer_start, outer_stop, loaded)
        for query in range(first, last):
            for start in range(0, outer_stop - outer_start, _BLOCK):
                stop = min(start + _BLOCK, outer_stop - outer_start)
                _distances(queries[query], loaded, start, stop, buffer)
                for s in range(0, stop - start, 64):
                    mask = _nearer(buffer, s, limit)
                    while mask:
                        counts[query, buffer[s + _lowest(mask)]] += 1
                        mask &= mask - np.uint64(1)


@compiled
def _place_within(
    rows: PackedArray,
    words: WordArray,
    queries: WordArray,
    first: int,
    last: int,
    begin: int,
    end: int,
    outer: int,
    places: IntArray,
    distances: IntArray,
    positions: IntArray,
) -> None:
    """Put the items ``begin`` to ``end`` at the ``places`` of their query and distance, which move on."""
    limit = np.uint16(places.shape[1])
    buffer, loaded = np.empty(_BLOCK, np.uint16), np.empty((queries.shape[1], outer), np.uint64)
    for outer_start in range(begin, end, outer):
        outer_stop = min(outer_start + outer, end)
        if last > first:
            _load(rows, words, outer_start, outer_stop, loaded)
        for query in range(first, last):
            for start in range(0, outer_stop - outer_start, _BLOCK):
                stop = min(start + _BLOCK, outer_stop - outer_start)
                _distances(queries[query], loaded, start, stop, buffer)
                for s in range(0, stop - start, 64):
                    mask = _nearer(buffer, s, limit)
                    while mask:
                        j = s + _lowest(mask)
                        mask &= mask - np.uint64(1)
                        distance = buffer[j]
                        place = places[query, distance]
                        places[query, distance] = place + 1
                        distances[place] = distance
                        positions[place] = outer_start + start + j
