"""The compiled loops of this folder, in the one module that loads numba: import it when it is first used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashcenters.compiling import compiled, popcount

__all__ = ["distance_range", "orbit_labels", "tabu", "weight_table"]

_BLOCK = 4096


@compiled
def distance_range(lanes: NDArray[np.uint64], n_bits: int) -> tuple[int, int]:
    """Return the least and greatest distance of the columns of a uint64 array (lanes, words), of two words at least.

    Both are kept per place of a block, so that the inner loop has no reduction and becomes vector code.
    """
    n_lanes, n_words = lanes.shape
    low = np.full(_BLOCK, n_bits, dtype=np.int64)
    high = np.zeros(_BLOCK, dtype=np.int64)
    count = np.empty(_BLOCK, dtype=np.int64)
    for start in range(0, n_words, _BLOCK):
        size = min(n_words - start, _BLOCK)
        last = lanes[n_lanes - 1, start : start + size]
        for i in range(start + size):
            if n_lanes > 1:
                count[:size] = 0
                for lane in range(n_lanes - 1):
                    word = lanes[lane, i]
                    block = lanes[lane, start : start + size]
                    for j in range(size):
                        count[j] += np.int64(popcount(word ^ block[j]))
            word = lanes[n_lanes - 1, i]
            if n_lanes > 1:
                for j in range(max(0, i + 1 - start), size):
                    distance = count[j] + np.int64(popcount(word ^ last[j]))
                    low[j] = min(low[j], distance)
                    high[j] = max(high[j], distance)
            elif i < start:
                for j in range(size):
                    distance = np.int64(popcount(word ^ last[j]))
                    low[j] = min(low[j], distance)
                    high[j] = max(high[j], distance)
            else:
                for j in range(i + 1 - start, size):
                    distance = np.int64(popcount(word ^ last[j]))
                    low[j] = min(low[j], distance)
                    high[j] = max(high[j], distance)
    return int(low.min()), int(high.max())


@compiled
def orbit_labels(
    successor: NDArray[Any], sizes: NDArray[Any], representatives: NDArray[Any]
) -> tuple[NDArray[np.int32], int]:
    """Number the orbits of a permutation of 0..n-1 (0 apart): fill sizes and least members, return labels and count."""
    labels = np.full(successor.size, -1, dtype=np.int32)
    count = 0
    for start in range(1, successor.size):
        if labels[start] >= 0:
            continue
        value, size = start, 0
        while labels[value] < 0:
            labels[value] = count
            size += 1
            value = successor[value]
        sizes[count] = size
        representatives[count] = start
        count += 1
    return labels, count


@compiled
def weight_table(words: NDArray[Any], labels: NDArray[Any], table: NDArray[Any]) -> None:
    """Add up, for each word, how many columns of each orbit it meets in an odd number of places."""
    for row in range(words.size):
        for column in range(1, labels.size):
            bits = words[row] & column
            bits ^= bits >> 16
            bits ^= bits >> 8
            bits ^= bits >> 4
            table[labels[column], row] += (0x6996 >> (bits & 15)) & 1


@compiled
def tabu(
    table: NDArray[Any],
    chosen: NDArray[Any],
    weights: NDArray[Any],
    target: int,
    margin: int,
    n_steps: int,
    state: np.uint64,
) -> int:
    """Swap orbits until every word has weight >= target or the steps are used up; return the steps left.

    The cost that each swap makes least is the sum of squares of what words lack to ``target + margin``.
    """
    n_orbits, n_words = table.shape
    used = np.zeros(n_orbits, dtype=np.int32)
    for orbit in chosen:
        used[orbit] += 1
    allow_twice = chosen.size > n_orbits
    until = np.zeros(n_orbits, dtype=np.int64)
    lack = np.empty(n_words, dtype=np.int32)
    for turn in range(n_steps):
        if weights.min() >= target:
            return n_steps - turn
        state ^= (state << np.uint64(13)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        state ^= state >> np.uint64(7)
        state ^= (state << np.uint64(17)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        place = int((state >> np.uint64(20)) % np.uint64(chosen.size))
        old = chosen[place]
        for word in range(n_words):
            weights[word] -= table[old, word]
            lack[word] = target + margin - weights[word]
        used[old] -= 1
        until[old] = turn + 4 + int((state >> np.uint64(50)) & np.uint64(7))
        best, best_cost = old, np.int64(1) << 60
        offset = int((state >> np.uint64(30)) % np.uint64(n_orbits))  # ties go to the first one met
        for index in range(n_orbits):
            orbit = index + offset
            if orbit >= n_orbits:
                orbit -= n_orbits
            if until[orbit] > turn or (used[orbit] and not allow_twice):
                continue
            cost = np.int64(0)
            row = table[orbit]
            for block in range(0, n_words, 1024):
                part = np.int32(0)
                for word in range(block, min(n_words, block + 1024)):
                    short = max(np.int32(0), lack[word] - np.int32(row[word]))
                    part += min(short * short, np.int32(1000))
                cost += part
                if cost >= best_cost:
                    break
            if cost < best_cost:
                best, best_cost = orbit, cost
        chosen[place] = best
        used[best] += 1
        for word in range(n_words):
            weights[word] += table[best, word]
    return 0
