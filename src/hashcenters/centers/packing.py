"""The compiled loops that add words to given ones. Loads numba: import it when it is first used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashcenters.compiling import compiled, popcount

__all__ = ["climb", "lower", "pack"]


@compiled
def lower(pool: NDArray[np.uint64], word: NDArray[np.uint64], near: NDArray[np.int64]) -> None:
    """Lower ``near`` to the distance from each word of the pool (rows) to one word, where that is less."""
    for i in range(pool.shape[0]):
        distance = np.int64(0)
        for lane in range(pool.shape[1]):
            distance += np.int64(popcount(pool[i, lane] ^ word[lane]))
        near[i] = min(near[i], distance)


@compiled
def pack(pool: NDArray[np.uint64], near: NDArray[np.int64], target: int, chosen: NDArray[np.int64]) -> int:
    """Take words of the pool in order, each at least ``target`` from the given ones and those taken; return how many.

    ``near`` holds the distances to the given words; ``chosen`` is filled with the places of those taken.
    """
    count = 0
    for i in range(pool.shape[0]):
        if near[i] < target:
            continue
        far = True
        for place in range(count):
            distance = np.int64(0)
            for lane in range(pool.shape[1]):
                distance += np.int64(popcount(pool[i, lane] ^ pool[chosen[place], lane]))
            if distance < target:
                far = False
                break
        if far:
            chosen[count] = i
            count += 1
            if count == chosen.size:
                break
    return count


@compiled
def climb(word: NDArray[np.int8], others: NDArray[np.int8], target: int, n_steps: int, raw: NDArray[np.uint64]) -> bool:
    """Flip bits of ``word`` until it is at least ``target`` from all others; return whether that was reached.

    Each step flips the bit that makes least the sum of squares of what distances lack to the target; a flipped bit
    rests for some steps.
    """
    n_others, n_bits = others.shape
    products = np.zeros(n_others, dtype=np.int64)
    for other in range(n_others):
        total = 0
        for bit in range(n_bits):
            total += word[bit] * others[other, bit]
        products[other] = total
    most = n_bits - 2 * target
    rests_until = np.zeros(n_bits, dtype=np.int64)
    change = np.empty(n_bits, dtype=np.int64)
    for step in range(n_steps):
        cost = np.int64(0)
        change[:] = 0
        for other in range(n_others):
            excess = products[other] - most
            if excess > 0:
                cost += excess * excess
            if excess <= -2:
                continue
            # A bit in which both agree brings the product down by 2, another one up by 2.
            up = (excess + 2) * (excess + 2) - max(excess, 0) ** 2
            down = max(excess - 2, 0) ** 2 - max(excess, 0) ** 2
            for bit in range(n_bits):
                change[bit] += down if word[bit] == others[other, bit] else up
        if cost == 0:
            return True
        best, least = -1, np.int64(1) << 62
        first = np.int64(raw[step] % np.uint64(n_bits))
        for shift in range(n_bits):
            bit = (first + shift) % n_bits
            if change[bit] < least and (rests_until[bit] <= step or cost + change[bit] == 0):
                best, least = bit, change[bit]
        if best < 0:
            return False
        rests_until[best] = step + 2 + np.int64((raw[step] >> np.uint64(40)) % np.uint64(1 + n_bits // 4))
        for other in range(n_others):
            products[other] -= 2 * word[best] * others[other, best]
        word[best] = -word[best]
    return False
