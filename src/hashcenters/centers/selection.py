"""From codes to centers: which blocks to write side by side, and which of their words to take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from hashcenters.centers.constructions import (
    Code,
    add_parity,
    best_10_40_4,
    conference_code,
    construction_x,
    extended_bch,
    hadamard_block,
    julin_12_144_4,
    juxtapose,
    kerdock,
    puncture,
    quadratic_residue,
    repetition,
    shorten,
    subcode,
    u_u_plus_v,
    whole_space,
)
from hashcenters.centers.hadamard import hadamard_construction
from hashcenters.centers.measures import column_classes, min_distance, satisfies_definition_1
from hashcenters.centers.randomness import SELECTION_STREAM, check_seed, random_stream
from hashcenters.centers.search import frozen_codes
from hashcenters.checks import check_count

# Sets of words up to this many are balanced word by word.
_POOL = 1 << 10

# Choices of words tried per code for the sake of different columns.
_TRIES = 32

# Longer words are written in parts.
_LONGEST = 2048

# How far beyond n_bits a plan may reach, to be cut back column by column.
_REACH = 24


@dataclass(frozen=True)
class Block:
    """A code that can be written beside others, known by its parameters until it is needed.

    Attributes:
        n_bits: length.
        distance: least distance.
        spread: expected sum over columns of (ones - zeros)^2 once the words are chosen; small is balanced.
        make: builds the code.
    """

    n_bits: int
    distance: int
    spread: int
    make: Callable[[], Code]


@dataclass(frozen=True)
class Family:
    """A code of 2**log_size words that blocks are cut from, by shortening.

    Attributes:
        n_bits: length.
        log_size: binary logarithm of the number of words.
        distance: least distance.
        closed: whether the complement of every word is in the code.
        make: builds the code.
    """

    n_bits: int
    log_size: int
    distance: int
    closed: bool
    make: Callable[[], Code]


@dataclass(frozen=True)
class Plan:
    """How to make words: blocks side by side, then columns dropped.

    Attributes:
        distance: least distance that the plan promises.
        blocks: the blocks, left to right.
        n_dropped: columns to drop afterwards.
    """

    distance: int
    blocks: tuple[Block, ...]
    n_dropped: int


# Families
# --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _bch_chain(n_bits: int) -> tuple[Code, ...]:
    """Return the extended BCH codes of one length from small to large; the dense ones of great length are left out."""
    # The code changes only where the designed distance passes the least number of a cyclotomic class.
    length = n_bits - 1
    least = [
        s for s in range(1, length, 2) if all(s * (1 << i) % length >= s for i in range(1, n_bits.bit_length() - 1))
    ]
    sparse = n_bits - 8 * (1 << n_bits.bit_length() // 2) if n_bits >= 256 else 0
    chain = []
    for below in [*least[:0:-1], length]:
        if below >= 3 and 2 * below > sparse:
            chain.append(extended_bch(n_bits, below))
    return tuple(sorted(chain, key=lambda code: code.size))


@lru_cache(maxsize=16)
def _simple_families(n_max: int) -> tuple[Family, ...]:
    """Return the linear families that need no others to be built, of lengths that serve ``n_max`` bits."""
    found = [
        Family(code.n_bits, len(code.rows), code.min_distance, True, partial(_same, code))
        for degree in range(3, 11)
        if 1 << degree < 2 * (n_max + _REACH)
        for code in _bch_chain(1 << degree)
    ]
    for prime in (7, 17, 23, 31, 41, 47, 71, 73, 79, 89, 97, 103):
        code = quadratic_residue(prime)
        found.append(Family(prime + 1, len(code.rows), code.min_distance + 1, True, partial(add_parity, code)))
    for code in frozen_codes():
        found.append(Family(code.n_bits, len(code.rows), code.min_distance, False, partial(_same, code)))
        if code.min_distance % 2:
            found.append(
                Family(code.n_bits + 1, len(code.rows), code.min_distance + 1, False, partial(add_parity, code))
            )
    return tuple(found)


def _same(code: Code) -> Code:
    return code


@lru_cache(maxsize=16)
def _families(n_max: int) -> tuple[Family, ...]:
    """Return all families: Kerdock's first, since of equal distance the larger code leaves more choice, then others."""
    found = []
    for n_bits in (16, 64, 256, 1024):
        log_size = 2 * n_bits.bit_length() - 2
        root = 1 << log_size // 4
        found.append(Family(n_bits, log_size, (n_bits - root) // 2, True, partial(kerdock, n_bits)))
    found += _simple_families(n_max)
    for degree in range(3, 11):
        if 1 << degree > n_max + _REACH:
            break
        chain = _bch_chain(1 << degree)
        for i, outer in enumerate(chain):
            for inner in chain[max(0, i - 2) : i]:
                found += _lengthened(partial(_same, outer), inner, outer.min_distance, len(outer.rows))
    for n_bits in (64, 256):
        code = kerdock(n_bits)
        inner = Code(f"RM(1, {n_bits.bit_length() - 1})", n_bits, n_bits // 2, code.rows)
        found += _lengthened(partial(kerdock, n_bits), inner, code.min_distance, 2 * n_bits.bit_length() - 2)
    return tuple(found)


def _lengthened(outer: Callable[[], Code], inner: Code, distance: int, log_size: int) -> Iterator[Family]:
    """Yield what construction X makes of a pair, by tails of growing distance."""
    depth = log_size - len(inner.rows)
    if depth > 12:
        return
    plans = _plans(depth, 48, True)
    reached = 0
    for length in range(depth, 49):
        gain = plans[length].distance
        if gain > reached and gain % 2 == inner.min_distance % 2:
            reached = gain
            best = min(distance + gain, inner.min_distance)
            make = partial(_make_x, outer, inner, depth, length)
            yield Family(inner.n_bits + length, log_size, best, False, make)
            if best == inner.min_distance:
                return


def _make_x(outer: Callable[[], Code], inner: Code, depth: int, length: int) -> Code:
    tail = _pasted(_plans(depth, 48, True)[length], depth)
    return construction_x(outer(), inner, tail)


# Plans
# -----------------------------------------------------------------------------------------------------------------


def _shortened(make: Callable[[], Code], times: int) -> Code:
    code = make()
    for _ in range(times):
        code = shorten(code)
    return code


def _cut(families: tuple[Family, ...], log_size: int, reach: int) -> Iterator[Block]:
    """Yield the best block of 2**log_size words for each length, shortened from larger codes."""
    best: dict[int, tuple[int, int, Family, int]] = {}
    for family in families:
        for times in range(family.log_size - log_size + 1):
            n_bits = family.n_bits - times
            spread = 0 if family.closed and times == 0 else n_bits
            if n_bits <= reach and (family.distance, -spread) > best.get(n_bits, (0, 0))[:2]:
                best[n_bits] = (family.distance, -spread, family, times)
    for n_bits, (distance, spread, family, times) in best.items():
        yield Block(n_bits, distance, -spread, partial(_shortened, family.make, times))


def _trivial(log_size: int, reach: int) -> Iterator[Block]:
    yield Block(log_size, 1, 0, partial(whole_space, log_size))
    yield Block(log_size + 1, 2, 0, partial(_even, log_size + 1))
    if log_size == 1:
        for n_bits in range(1, reach + 1):
            yield Block(n_bits, n_bits, 0, partial(repetition, n_bits))


def _even(n_bits: int) -> Code:
    rows = tuple(0b11 << column for column in range(n_bits - 1))
    return Code(f"even words of {n_bits} bits", n_bits, 2, rows)


def _doubled(log_size: int, n_max: int) -> Iterator[Block]:
    """Yield the best block (u | u + v) for each length."""
    half = n_max // 2
    distances = [_distances(left, n_max)[: half + 1] for left in range(1, log_size)]
    if not distances:
        return
    table = np.stack([np.minimum(2 * us, vs) for us, vs in zip(distances, distances[::-1], strict=True)])
    lefts = table.argmax(axis=0)
    for n_bits in range(2, half + 1):
        left, distance = int(lefts[n_bits]) + 1, int(table[lefts[n_bits], n_bits])
        if distance > 1:
            make = partial(_make_doubled, left, log_size - left, n_bits, n_max)
            yield Block(2 * n_bits, distance, 2 * n_bits, make)


@lru_cache(maxsize=256)
def _distances(log_size: int, n_max: int) -> NDArray[np.int64]:
    return np.array([plan.distance for plan in _plans(log_size, n_max, False)])


def _make_doubled(left: int, right: int, n_bits: int, n_max: int) -> Code:
    u, v = _pasted(_plans(left, n_max, False)[n_bits], left), _pasted(_plans(right, n_max, False)[n_bits], right)
    return u_u_plus_v(u, v)


def _pasted(plan: Plan, log_size: int) -> Code:
    """Return a plan's words as one code of 2**log_size words, block words paired by number."""
    parts = [block.make() for block in plan.blocks if block.distance]
    code = parts[0]
    for part in parts[1:]:
        code = juxtapose(code, part)
    free = sum(block.n_bits for block in plan.blocks if not block.distance)
    code = replace(code, n_bits=code.n_bits + free)  # free columns hold zeros
    for _ in range(plan.n_dropped):
        code = puncture(code)
    n_rows = min(len(code.rows), log_size)
    return subcode(code, n_rows, 1 << log_size - n_rows)


def _best_plans(blocks: list[Block], n_max: int) -> list[Plan]:
    """Return the best plan for every length 0..n_max: an unbounded knapsack of blocks, then columns dropped."""
    reach = n_max + _REACH
    best: dict[int, Block] = {}
    for block in blocks:
        if block.n_bits <= reach and (block.n_bits not in best or _score(block) > _score(best[block.n_bits])):
            best[block.n_bits] = block
    scores = np.full(reach + 1, -1, dtype=np.int64)
    # A column that separates nothing: allowed, so that every length has a plan.
    for length in range(1, reach + 1):
        scores[length] = _score(best[length]) if length in best else -(length + (1 << 20))
    totals = np.zeros(reach + 1, dtype=np.int64)
    last = np.zeros(reach + 1, dtype=np.int64)
    for length in range(1, reach + 1):
        sums = scores[length:0:-1] + totals[:length]  # the longest last block first: few blocks where equal
        last[length] = length - int(np.argmax(sums))
        totals[length] = sums.max()
    pads = {n: Block(n, 0, n, partial(Code, "free columns", n, 0, ((1 << n) - 1,))) for n in range(1, reach + 1)}
    plans: list[Plan] = []
    for length in range(reach + 1):
        step = int(last[length])
        if length == 0:
            plans.append(Plan(0, (), 0))
            continue
        block = best.get(step, pads[step])
        rest = plans[length - step]
        plans.append(Plan(rest.distance + block.distance, (block, *rest.blocks), 0))
    for length in range(reach - 1, 0, -1):
        longer = plans[length + 1]
        if longer.distance - 1 > plans[length].distance:
            plans[length] = Plan(longer.distance - 1, longer.blocks, longer.n_dropped + 1)
    return plans[: n_max + 1]


def _score(block: Block) -> int:
    """Distance first, then balance, as one integer that adds over blocks."""
    return (block.distance << 40) - block.spread


@lru_cache(maxsize=256)
def _plans(log_size: int, n_max: int, simple: bool) -> list[Plan]:
    return _best_plans(_blocks(log_size, n_max, simple), n_max)


@lru_cache(maxsize=256)
def _blocks(log_size: int, n_max: int, simple: bool) -> list[Block]:
    families = _simple_families(n_max) if simple else _families(n_max)
    blocks = [*_trivial(log_size, n_max + _REACH), *_cut(families, log_size, n_max + _REACH)]
    if not simple:
        blocks += _doubled(log_size, n_max)
    if not simple and log_size <= n_max // 2:  # simple blocks are linear: their words are numbered by sums of rows
        for order in _hadamard_orders(n_max + _REACH):
            blocks += _hadamard_blocks(order, 1 << log_size)
    return blocks


@lru_cache(maxsize=8)
def _hadamard_orders(most: int) -> tuple[int, ...]:
    orders = []
    for order in (2, *range(4, most + 1, 4)):
        if hadamard_construction(order) is not None:
            orders.append(order)
    return tuple(orders)


def _hadamard_blocks(order: int, n_classes: int) -> Iterator[Block]:
    """Yield the Hadamard blocks of at least ``n_classes`` words; equidistant words have one spread, however chosen."""
    if n_classes <= 2 * order:
        yield Block(order, order // 2, order * (n_classes % 2), partial(hadamard_block, order, "biorthogonal"))
    if n_classes <= order:
        spread = n_classes * (order - n_classes)
        yield Block(order - 1, order // 2, spread, partial(hadamard_block, order, "simplex"))
    if order > 2 and 2 * n_classes <= order:
        # One more than two simplex codes of half the order, whose columns are chosen apart.
        spread = n_classes * (order - 2 * n_classes) + 1
        yield Block(order - 2, order // 2, spread, partial(hadamard_block, order, "halved"))


@lru_cache(maxsize=512)
def plan_words(n_classes: int, n_bits: int) -> tuple[Plan, ...]:
    """Return ways to make n_classes words of n_bits bits, the most distant first.

    Args:
        n_classes: number of words, at most 2**n_bits.
        n_bits: word length.

    Returns:
        Plans with falling promised distance; the first is the one to use, the others are for a selection that fails.

    Examples:
        >>> plan_words(100, 64)[0].distance
        32
    """
    log_size = max(1, (n_classes - 1).bit_length())
    n_max = _rounded(n_bits)
    blocks = list(_blocks(log_size, n_max, False))
    for order in _hadamard_orders(n_max + _REACH):
        blocks += _hadamard_blocks(order, n_classes)
    linear = _best_plans(blocks, n_bits)[n_bits]
    blocks += _small_blocks(n_classes, n_bits)
    best = _best_plans(blocks, n_bits)[n_bits]
    return (best,) if best.distance == linear.distance else (best, linear)


def _rounded(n_bits: int) -> int:
    """Lengths share their tables: return the next of 32, 64, 128, 256, 384, 512, ..."""
    return next((size for size in (32, 64, 128, 256) if n_bits <= size), -(-n_bits // 128) * 128)


def _small_blocks(n_classes: int, n_bits: int) -> Iterator[Block]:
    """Yield nonlinear blocks whose size is not a power of two: conference, Best's and Julin's codes."""
    for q in range(5, n_bits + _REACH + 1, 4):
        if n_bits <= 2 * q and n_classes <= 2 * q + 2 and _is_prime_power(q):
            yield Block(q, (q - 1) // 2, 2 * n_classes, partial(conference_code, q))
    for times, size in ((0, 40), (1, 20)):
        if n_classes <= size:
            yield Block(10 - times, 4, 20, partial(_shortened, best_10_40_4, times))
    for times, size in ((0, 144), (1, 72)):
        if n_classes <= size:
            yield Block(12 - times, 4, 24, partial(_shortened, julin_12_144_4, times))


def _is_prime_power(q: int) -> bool:
    prime = next((p for p in range(2, int(q**0.5) + 1) if q % p == 0), q)
    while q % prime == 0:
        q //= prime
    return q == 1


# Selection
# -------------------------------------------------------------------------------------------------------------


class _Stream:
    """Random choices made of a Philox generator's raw words: the same on every platform and numpy version."""

    def __init__(self, seed: int, *path: int) -> None:
        self._bits = random_stream(seed, SELECTION_STREAM, *path)

    def raw(self, count: int) -> NDArray[np.uint64]:
        """Return raw 64-bit words."""
        words: NDArray[np.uint64] = self._bits.random_raw(count)
        return words

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Return 0..count-1 in random order."""
        return np.argsort(self.raw(count), kind="stable")

    def sample(self, count: int, size: int) -> NDArray[np.int64]:
        """Return ``count`` different numbers below ``size``, in random order."""
        if size <= 4 * count or size <= 1 << 12:
            return self.permutation(size)[:count]
        chosen = np.empty(0, dtype=np.int64)
        while chosen.size < count:  # duplicates are rare: at most a quarter of the range is taken
            fresh = (self.raw(2 * count) % np.uint64(size)).astype(np.int64)
            every = np.concatenate([chosen, fresh])
            chosen = every[np.sort(np.unique(every, return_index=True)[1])]
        return chosen[:count]

    def bits(self, count: int) -> NDArray[np.bool_]:
        """Return fair coin flips."""
        coins: NDArray[np.bool_] = (self.raw(count) & np.uint64(1)).astype(np.bool_)
        return coins


def select_words(code: Code, n_classes: int, seed: int) -> NDArray[np.int8]:
    """Choose words of a code as centers: Definition 1 holds, and no distance is lost.

    With s the sum of the chosen +-1 words, the mean distance is at least n_bits / 2 exactly if ||s||^2 <= n_classes *
    n_bits. A code that holds all complements gives complement pairs, s = 0 (or one word, if n_classes is odd). A linear
    code without all-zero column sums to zero, and so does each of its cosets by a subcode without one: whole cosets are
    taken, and within the last coset the unused words sum to -s, so that one of them has <s, b> <= 0; the word of least
    <s, b> keeps ||s||^2 <= n_classes * n_bits. Columns and classes are permuted and columns complemented at random.

    Args:
        code: a code of at least ``n_classes`` words.
        n_classes: number of words to choose.
        seed: other seeds give other, equally good words.

    Returns:
        int8 array (n_classes, n_bits) of +-1.

    Raises:
        TypeError: ``n_classes`` or ``seed`` is not an int.
        ValueError: one of them is out of range, the code has fewer words, or it is an explicit list of words (not from
            this package) in which no choice of words with Definition 1 was found.

    Examples:
        >>> words = select_words(kerdock(16), 100, 0)
        >>> int(np.abs(words.sum(axis=0, dtype=np.int64)).max())
        0
    """
    n_classes, seed = check_count(n_classes, "n_classes"), check_seed(seed)
    if n_classes > code.size:
        raise ValueError(f"n_classes must be at most the {code.size} words of {code.name}, got {n_classes}")
    words = _best_columns([code], n_classes, seed, 0)
    if not satisfies_definition_1(words):
        raise ValueError(f"no {n_classes} words of {code.name} were found whose mean distance is {code.n_bits}/2")
    return words


def _best_columns(codes: list[Code], n_classes: int, seed: int, n_dropped: int) -> NDArray[np.int8]:
    """Choose words in each code, write them side by side, drop columns.

    Of several choices in each code the one is kept that makes most columns differ, from each other and each other's
    complement, also from those of the codes before.
    """
    n_bits = sum(code.n_bits for code in codes)
    # Not more columns can differ than there are ways to split the classes in two.
    limit = (1 << min(n_classes - 1, 40)) - 1
    tries = _TRIES if n_classes * n_bits <= 1 << 15 else 2
    words = np.empty((n_classes, 0), dtype=np.bool_)
    for place, code in enumerate(codes):
        best, best_count = words, -1
        for attempt in range(tries):
            stream = _Stream(seed, n_classes, n_bits, place, attempt)
            chosen = _without_constants(_choose(code, n_classes, stream), stream)
            longer = np.concatenate([words, chosen], axis=1)
            count = int(column_classes(longer).max()) + 1
            if count > best_count:
                best, best_count = longer, count
            if count == min(longer.shape[1], limit):
                break
        words = best
    stream = _Stream(seed, n_classes, n_bits)
    keep = _keep_columns(words, n_dropped)
    order = keep[stream.permutation(keep.size)]
    return np.where(words[:, order] ^ stream.bits(keep.size), 1, -1).astype(np.int8)


def _without_constants(words: NDArray[np.bool_], stream: _Stream) -> NDArray[np.bool_]:
    """Fill columns that are constant, and so separate nothing, with as many ones as zeros."""
    constant = np.flatnonzero((words == words[:1]).all(axis=0))
    if words.shape[0] > 1 and constant.size:
        words = words.copy()
        for column in constant:
            words[:, column] = stream.permutation(words.shape[0]) % 2 > 0
    return words


def _keep_columns(words: NDArray[np.bool_], n_dropped: int) -> NDArray[np.int64]:
    """Return the columns to keep: the most uneven ones are dropped, of equally uneven ones those that have a twin.

    Without its most uneven column, words that satisfy Definition 1 still do.
    """
    keep = list(range(words.shape[1]))
    if n_dropped:
        classes = column_classes(words)
        uneven = np.abs(2 * words.sum(axis=0, dtype=np.int64) - words.shape[0])
        for _ in range(n_dropped):
            twins = np.bincount(classes[keep], minlength=len(classes))
            keep.remove(max(keep, key=lambda column: (uneven[column], twins[classes[column]])))
    return np.array(keep)


def _choose(code: Code, n_classes: int, stream: _Stream) -> NDArray[np.bool_]:
    """Return ``n_classes`` words of a code, in random order, as balanced as can be."""
    if code.size < n_classes:  # a free column, that separates nothing
        return np.zeros((n_classes, code.n_bits), dtype=np.bool_)
    if code.rows and code.is_complement_closed:
        return _choose_pairs(code, n_classes, stream)
    if code.rows:
        return _choose_cosets(code, n_classes, stream)
    words = code.words(np.arange(code.size))
    half = code.size // 2
    if bool((words[:half] != words[half:]).all()):  # rows of H, then of -H
        pairs = stream.sample(-(-n_classes // 2), half)
        chosen = np.concatenate([pairs, pairs[: n_classes // 2] + half])
    else:
        chosen = _herd(words, n_classes, stream)
    selected: NDArray[np.bool_] = words[chosen[stream.permutation(n_classes)]]
    return selected


def _choose_pairs(code: Code, n_classes: int, stream: _Stream) -> NDArray[np.bool_]:
    """Return words and their complements; one word alone where n_classes is odd."""
    ones = (1 << code.n_bits) - 1
    basis, rows = Code("", code.n_bits, 1, (ones,)), [ones]
    for row in code.rows:
        if not _in_span(row, basis.rows):
            rows.append(row)
            basis = Code("", code.n_bits, 1, tuple(rows))
    code = Code(code.name, code.n_bits, code.min_distance, tuple(rows), code.cosets)
    pairs = stream.sample(-(-n_classes // 2), code.size // 2)
    chosen = np.concatenate([2 * pairs, 2 * pairs[: n_classes // 2] + 1])
    return code.words(chosen[stream.permutation(n_classes)])


def _in_span(word: int, rows: tuple[int, ...]) -> bool:
    basis: list[int] = []
    for row in (*rows, word):
        rest = row
        for other in basis:
            rest = min(rest, rest ^ other)
        if not rest and row is word:
            return True
        if rest:
            basis = sorted([*basis, rest], reverse=True)
    return False


def _choose_cosets(code: Code, n_classes: int, stream: _Stream) -> NDArray[np.bool_]:
    """Return whole cosets of a small subcode without all-zero column, and part of one more."""
    if code.size <= _POOL:
        words = code.words(np.arange(code.size))
        return words[_herd(words, n_classes, stream)[stream.permutation(n_classes)]]
    order = tuple(code.rows[i] for i in stream.permutation(len(code.rows)))
    code = replace(code, rows=order)
    depth = next((i for i in range(1, len(order) + 1) if replace(code, rows=order[:i]).has_full_rows), 0)
    if not depth or 1 << depth > _POOL:
        return _choose_any(code, n_classes, stream)
    whole, rest = divmod(n_classes, 1 << depth)
    cosets = stream.sample(whole + bool(rest), code.size >> depth) << depth
    chosen = (cosets[:whole, None] + np.arange(1 << depth)).reshape(-1)
    if rest:
        members = cosets[-1] + np.arange(1 << depth)
        chosen = np.concatenate([chosen, members[_herd(code.words(members), rest, stream)]])
    return code.words(chosen[stream.permutation(n_classes)])


def _choose_any(code: Code, n_classes: int, stream: _Stream) -> NDArray[np.bool_]:
    """Return words at random, all but the last few hundred, and those to make up for the others' sum."""
    pool = stream.sample(min(code.size, n_classes + _POOL), code.size)
    first = max(0, n_classes - _POOL // 4)
    words = code.words(pool)
    chosen = np.concatenate([np.arange(first), first + _herd(words[first:], n_classes - first, stream, words[:first])])
    selected: NDArray[np.bool_] = words[chosen[stream.permutation(n_classes)]]
    return selected


def _herd(
    words: NDArray[np.bool_], n_classes: int, stream: _Stream, before: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Choose words one by one, each the one that leans most against the sum so far; ties are drawn.

    If all words sum to zero, the sum s of the chosen ones has ||s||^2 <= n_classes * n_bits after every step: those not
    chosen sum to -s, so that one of them has <s, b> <= 0.
    """
    order = stream.permutation(words.shape[0])
    if n_classes == words.shape[0]:
        return order
    signs = np.where(words[order], np.float32(1), np.float32(-1))
    leaning = np.zeros(words.shape[0], dtype=np.float32)
    if before is not None:  # small integers: exact in float32
        leaning += signs @ (2 * before.sum(axis=0, dtype=np.int64) - before.shape[0]).astype(np.float32)
    chosen = np.empty(n_classes, dtype=np.int64)
    for place in range(n_classes):
        best = int(np.argmin(leaning))
        chosen[place] = best
        leaning += signs @ signs[best]
        leaning[best] = np.inf
    return order[chosen]


# Words
# -----------------------------------------------------------------------------------------------------------------


def best_words(n_classes: int, n_bits: int, seed: int) -> tuple[NDArray[np.int8], str, int]:
    """Return words as far apart as this package knows how to place them.

    Args:
        n_classes: number of words, 1 to 2**n_bits.
        n_bits: word length.
        seed: other seeds give other, equally good words.

    Returns:
        int8 array (n_classes, n_bits) of +-1 that satisfies Definition 1; the construction; the least distance as
        measured over all pairs (n_bits for a single word).

    Raises:
        TypeError: an argument is not an int.
        ValueError: there are fewer than ``n_classes`` words, or an argument is out of range.

    Examples:
        >>> words, construction, distance = best_words(100, 16, 0)
        >>> construction, distance
        ('kerdock(16)', 6)
    """
    n_classes, n_bits, seed = check_count(n_classes, "n_classes"), check_count(n_bits, "n_bits"), check_seed(seed)
    if n_bits < 63 and n_classes > 1 << n_bits:
        raise ValueError(f"n_classes must be at most 2**n_bits = {1 << n_bits} for n_bits={n_bits}, got {n_classes}")
    if n_bits > _LONGEST:  # distances add, and so do the sums of Definition 1
        first, name, _ = best_words(n_classes, _LONGEST, seed)
        rest, rest_name, _ = best_words(n_classes, n_bits - _LONGEST, seed)
        words = np.concatenate([first, rest], axis=1)
        return words, f"{name} | {rest_name}", min_distance(words)
    for plan in plan_words(n_classes, n_bits):
        codes = [block.make() for block in plan.blocks]
        words = _best_columns(codes, n_classes, seed, plan.n_dropped)
        if satisfies_definition_1(words):
            break
    else:
        raise RuntimeError(f"no plan for {n_classes} words of {n_bits} bits kept Definition 1; please report this")
    names = [code.name for code in codes]
    parts = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    suffix = f", {plan.n_dropped} columns dropped" if plan.n_dropped else ""
    return words, " | ".join(parts) + suffix, min_distance(words)
