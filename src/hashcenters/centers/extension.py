"""New classes beside old ones whose centers stay where they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hashcenters.centers.bounds import max_min_distance
from hashcenters.centers.measures import min_distance, satisfies_definition_1, to_lanes, to_signs
from hashcenters.centers.randomness import EXTENSION_STREAM, random_stream
from hashcenters.checks import check_centers, check_count, shown

__all__ = ["ExtendedCenters", "extend_centers"]

# Up to so many bits all words are candidates.
_ALL_BITS = 18
_POOL = 1 << 14
# Elementary steps that the climbs for one distance may take.
_BUDGET = 1 << 27


class ExtendedCenters(NamedTuple):
    """Old and new centers.

    Attributes:
        centers: like the old ones, (n_classes + n_new, n_bits): the old ones first, unchanged.
        min_distance: least Hamming distance of two of them, in bits.
        previous_min_distance: that of the old ones alone (n_bits for a single one).
        upper_bound: no set of as many words has a larger min_distance, also if all were free to move.
        satisfies_definition_1: whether the mean distance of all is at least n_bits / 2. It is where words of equal
            distance allow it; the old ones stay, so it cannot always be had.
    """

    centers: Tensor
    min_distance: int
    previous_min_distance: int
    upper_bound: int
    satisfies_definition_1: bool


def extend_centers(centers: Tensor, n_new: int, *, n_bits: int, seed: int) -> ExtendedCenters:
    """Add centers, as far apart as can be found.

    Tried at falling distances are: to pack candidates greedily, namely the words of the smallest affine code that holds
    the old centers (if these come from a linear code, its other words are there), complements, and random words, with
    few bits all words; to double that affine code by a word far from it, again and again; to climb to single words.

    Args:
        centers: float (n_classes, n_bits) of ±1.
        n_new: how many to add.
        n_bits: code length.
        seed: of the search.

    Returns:
        All centers, and the distance that remains.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor, or ``n_new`` is not an integer.
        ValueError: ``centers`` are not ±1 or not of n_bits bits, ``n_new`` is below 1, or there are not as many codes.

    Examples:
        >>> centers = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1]])
        >>> extend_centers(centers, 2, n_bits=4, seed=0).min_distance
        2
    """
    check_centers(centers)
    n_new = check_count(n_new, "n_new")
    if centers.shape[1] != n_bits:
        raise ValueError(f"centers must have n_bits={n_bits} bits as the generator, got shape {tuple(centers.shape)}")
    total = len(centers) + n_new
    if (total - 1).bit_length() > n_bits:
        raise ValueError(
            f"n_new must leave room: {len(centers)} centers and n_new={shown(n_new)} are more than the 2**{n_bits} "
            "different codes; take more bits"
        )
    old = to_signs(centers)
    bound = max_min_distance(total, n_bits).distance
    before = min_distance(old)
    # Old centers that coincide do not keep the new ones from being apart.
    new = _new_words(old, n_new, min(bound, before) if before else bound, seed)
    words = np.concatenate([old, new])
    added = torch.from_numpy(new).to(device=centers.device, dtype=centers.dtype)
    return ExtendedCenters(
        torch.cat([centers.detach(), added]), min_distance(words), before, bound, satisfies_definition_1(words)
    )


def _new_words(old: NDArray[np.int8], n_new: int, highest: int, seed: int) -> NDArray[np.int8]:
    """Return int8 (n_new, n_bits) for the largest distance, at most ``highest``, at which so many are found."""
    from hashcenters.centers.packing import lower, pack

    stream = random_stream(seed, EXTENSION_STREAM, *old.shape)
    span = _affine_span(old)
    pool = _candidates(old, span, n_new, stream)
    lanes = np.ascontiguousarray(to_lanes(pool).T)
    near = np.full(len(pool), old.shape[1], dtype=np.int64)
    for word in np.ascontiguousarray(to_lanes(old).T):
        lower(lanes, word, near)
    for target in range(highest, 0, -1):
        new = _pack(old, pool, lanes, near, n_new, target, stream)
        if new is None and target > 1:
            new = _grow(old, span, n_new, target, stream)
        if new is None:
            continue
        if not satisfies_definition_1(np.concatenate([old, new])):
            lean = pool.astype(np.int32) @ old.sum(axis=0, dtype=np.int32)
            balancing = np.argsort(lean, kind="stable")  # the word that leans most against the old ones first
            order = np.empty(n_new, dtype=np.int64)
            if pack(lanes[balancing], near[balancing], target, order) == n_new:
                balanced = pool[balancing[order]]
                new = balanced if satisfies_definition_1(np.concatenate([old, balanced])) else new
        return new
    raise RuntimeError(f"{len(pool)} candidates hold fewer than n_new={n_new} new words; please report this")


def _grow(
    old: NDArray[np.int8], span: NDArray[np.int8], n_new: int, target: int, stream: np.random.Philox
) -> NDArray[np.int8] | None:
    """Double an affine code that holds the old centers until it has enough words, or return None.

    If w is at least the target away from all words of the code, so are the words of the code moved to w, which are as
    far from each other as the code's own.
    """
    from hashcenters.centers.packing import climb

    n_old, n_bits = old.shape
    present = {word.tobytes() for word in old}
    # With a word, a linear code has all its distances: the least is that to any one of them.
    if len(span) < 2 or len(present) < n_old or int((span[1:] != span[0]).sum(axis=1).min()) < target:
        return None
    if not present <= {word.tobytes() for word in span}:
        return None
    n_steps = 400
    while len(span) < n_old + n_new:
        for _ in range(max(1, min(64, _BUDGET // (n_steps * span.size)))):
            word = (stream.random_raw(n_bits) & np.uint64(1)).astype(np.int8) * np.int8(2) - np.int8(1)
            if climb(word, span, target, n_steps, stream.random_raw(n_steps)):
                break
        else:
            return None
        span = np.concatenate([span, span * (span[0] * word)])
    fresh = np.array([word.tobytes() not in present for word in span])
    words: NDArray[np.int8] = span[fresh][:n_new]
    return words


def _pack(
    old: NDArray[np.int8],
    pool: NDArray[np.int8],
    lanes: NDArray[np.uint64],
    near: NDArray[np.int64],
    n_new: int,
    target: int,
    stream: np.random.Philox,
) -> NDArray[np.int8] | None:
    """Return words at least ``target`` apart, or None if not as many are found."""
    from hashcenters.centers.packing import climb, lower, pack

    chosen = np.empty(n_new, dtype=np.int64)
    count = pack(lanes, near, target, chosen)
    words: NDArray[np.int8] = pool[chosen[:count]]
    if count == n_new or target == 1 or len(pool) == 1 << old.shape[1]:
        return words if count == n_new else None
    # Climb to the rest from the best candidates left.
    near = near.copy()
    for place in chosen[:count]:
        lower(lanes, lanes[place], near)
    n_steps = 200
    budget = _BUDGET
    while count < n_new:
        others = np.concatenate([old, words])
        cost = n_steps * others.size
        found = None
        for start in np.argsort(-near, kind="stable")[:16]:
            if budget < cost:
                return None
            budget -= cost
            word = pool[start].copy()
            if climb(word, others, target, n_steps, stream.random_raw(n_steps)):
                found = word
                break
        if found is None:
            return None
        words = np.concatenate([words, found[None]])
        count += 1
        lower(lanes, np.ascontiguousarray(to_lanes(found[None]).T)[0], near)
    return words


def _candidates(
    old: NDArray[np.int8], span: NDArray[np.int8], n_new: int, stream: np.random.Philox
) -> NDArray[np.int8]:
    """Return int8 (n, n_bits): words that may serve, the most promising first."""
    n_bits = old.shape[1]
    if n_bits <= _ALL_BITS or (len(old) + n_new) >> max(0, n_bits - 4):
        octets = np.arange(1 << n_bits, dtype="<u4").view(np.uint8).reshape(-1, 4)
        bits = np.unpackbits(octets, axis=1, count=n_bits, bitorder="little").view(np.int8)
        every: NDArray[np.int8] = (bits * np.int8(2) - np.int8(1)) * old[:1]
        return every  # the first is the first old center's complement
    n_random = max(_POOL, 4 * n_new)
    raw = stream.random_raw((n_random, -(-n_bits // 64)))
    random = np.unpackbits(raw.astype("<u8").view(np.uint8), axis=1, count=n_bits, bitorder="little").view(np.int8)
    pool: NDArray[np.int8] = np.concatenate([span, -old, -span, random * np.int8(2) - np.int8(1)])
    return pool


def _affine_span(old: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the sums of an odd number of old words, as many as fit, in the order of a basis."""
    first = old[0]
    basis: list[int] = []
    members = []
    for word in old[1:]:
        value = int.from_bytes(np.packbits(word != first).tobytes(), "big")
        for other in basis:
            value = min(value, value ^ other)
        if value:
            basis = sorted([*basis, value], reverse=True)
            members.append(word * first)
        if 1 << len(members) >= _POOL:
            break
    span: NDArray[np.int8] = first[None]
    for member in members:
        span = np.concatenate([span, span * member])
    return span
