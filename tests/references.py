"""The slow, obvious versions that the library is checked against."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import linprog


def hadamard_by_definition(order):
    """Sylvester's matrix of a power of two: entry (i, j) is (-1) to the number of ones that i and j share."""
    return [[(-1) ** bin(i & j).count("1") for j in range(order)] for i in range(order)]


def algorithm_1(n_classes, n_bits, seed):
    """Algorithm 1 of the paper, one iteration a center, with the library's source of random words."""
    words = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,)))
    is_power_of_two = n_bits in [2**n for n in range(20)]
    h_k = hadamard_by_definition(n_bits) if is_power_of_two else None
    h_2k = h_k + [[-entry for entry in row] for row in h_k] if is_power_of_two else None
    centers = []
    for i in range(n_classes):
        if n_classes <= n_bits and is_power_of_two:
            center = h_k[i]
        elif n_bits < n_classes <= 2 * n_bits and is_power_of_two:
            center = h_2k[i]
        else:
            keys = [int(words.random_raw()) for _ in range(n_bits)]
            coin = int(words.random_raw()) % 2
            shuffled = sorted(range(n_bits), key=keys.__getitem__)
            n_ones = (n_bits + coin) // 2
            center = [1 if position in shuffled[:n_ones] else -1 for position in range(n_bits)]
        centers.append(center)
    return torch.tensor(centers, dtype=torch.float32)


def nearest_center_by_loop(bits, centers):
    """Class and Hamming distance of the nearest center for every row of bools, the lowest class among equals."""
    result = []
    for row in bits.tolist():
        distances = [sum(bit != (c > 0) for bit, c in zip(row, center, strict=True)) for center in centers.tolist()]
        result.append((distances.index(min(distances)), min(distances)))
    return result


def semantic_center_by_loop(classes, centers, tie_bits):
    """Vote of a list of classes bit by bit, draws by the parity of the classes' tie bits."""
    result = []
    for j in range(centers.shape[1]):
        vote = sum(int(centers[c, j]) for c in classes)
        coin = sum(int(tie_bits[c, j]) for c in classes) % 2
        result.append(1.0 if vote > 0 or (vote == 0 and coin == 1) else -1.0)
    return result


def central_similarity_by_equations(logits, target_codes, weight):
    """Loss of every sample from Eqs. 3 (with its minus sign) to 5, means over bits, in float64 by the letter."""
    losses = []
    for row, target in zip(logits.double().tolist(), target_codes.tolist(), strict=True):
        central = quantization = 0.0
        for z, code in zip(row, target, strict=True):
            h, bit = (1 + math.tanh(z)) / 2, (code + 1) / 2
            central -= bit * math.log(h) + (1 - bit) * math.log(1 - h)
            quantization += math.log(math.cosh(abs(2 * h - 1) - 1))
        losses.append((central + weight * quantization) / len(row))
    return torch.tensor(losses, dtype=torch.float64)


def histograms_by_loop(query_bits, database_bits, is_relevant):
    """Items and relevant items at each distance, pair by pair; ``is_relevant(i, j)`` tells of query i and item j."""
    n_bits = query_bits.shape[1]
    items = np.zeros((len(query_bits), n_bits + 1), dtype=np.int64)
    relevant = np.zeros_like(items)
    for i, query in enumerate(query_bits):
        for j, item in enumerate(database_bits):
            distance = int((query != item).sum())
            items[i, distance] += 1
            relevant[i, distance] += is_relevant(i, j)
    return items, relevant


def average_precision_of_list(hits, top_k, denominator):
    """AP of one ranked list of 0 and 1 from its definition."""
    cut = hits if top_k is None else hits[:top_k]
    total = sum(sum(cut[: i + 1]) / (i + 1) for i, hit in enumerate(cut) if hit)
    divisor = {"retrieved": sum(cut), "relevant": sum(hits), "min": min(len(cut), sum(hits))}[denominator]
    return total / divisor if divisor else 0.0


def lists_of_all_permutations(items, relevant):
    """The ranked list of hits for every permutation of one query's database: a stable sort of each by distance."""
    database = [(d, int(i < p)) for d, (n, p) in enumerate(zip(items, relevant, strict=True)) for i in range(n)]
    return [[hit for _, hit in sorted(order, key=lambda item: item[0])] for order in itertools.permutations(database)]


def graded_lists_of_all_permutations(counts):
    """Ranked lists of shared labels for every permutation of a database, given as counts[distance][shared labels]."""
    database = [(d, s) for d, levels in enumerate(counts) for s, n in enumerate(levels) for _ in range(n)]
    return [[s for _, s in sorted(order, key=lambda item: item[0])] for order in itertools.permutations(database)]


def ndcg_of_list(shared, top_k, gain):
    """NDCG of one ranked list of numbers of shared labels from its definition."""

    def dcg(ranking):
        gains = [2**s - 1 if gain == "exponential" else s for s in ranking[:top_k]]
        return sum(g / math.log2(1 + rank) for rank, g in enumerate(gains, start=1))

    ideal = dcg(sorted(shared, reverse=True))
    return dcg(shared) / ideal if ideal else 0.0


def average_cumulative_gain_of_list(shared, top_k):
    """ACG of one ranked list of numbers of shared labels from its definition."""
    cut = shared[:top_k]
    return sum(cut) / len(cut) if cut else 0.0


def weighted_average_precision_of_list(shared, top_k, denominator):
    """WAP of one ranked list of numbers of shared labels from its definition."""
    cut = shared if top_k is None else shared[:top_k]
    total = sum(average_cumulative_gain_of_list(shared, i) for i, s in enumerate(cut, start=1) if s)
    retrieved, relevant = sum(s > 0 for s in cut), sum(s > 0 for s in shared)
    divisor = {"retrieved": retrieved, "relevant": relevant, "min": min(len(cut), relevant)}[denominator]
    return total / divisor if divisor else 0.0


def expected_weighted_average_precision_by_sums(counts, top_k):
    """Expected WAP of one query over the relevant items retrieved, by plain sums over ranks and ``math.comb``."""
    before = hits = gain = 0
    total = 0.0

    def bucket(n, p, mean_gain):
        rise = mean_gain * (p - 1) / (n - 1) if n > 1 else 0.0
        return math.fsum(p / n * (gain + mean_gain + (t - 1) * rise) / (before + t) for t in range(1, n + 1))

    for levels in counts:
        n, p, shared = sum(levels), sum(levels[1:]), sum(s * count for s, count in enumerate(levels))
        mean_gain = shared / p if p else 0.0
        places = min(n, top_k - before)
        if places < n:
            value = 0.0
            for x in range(max(0, places - n + p), min(places, p) + 1) if places else [0]:
                chance = math.comb(p, x) * math.comb(n - p, places - x) / math.comb(n, places)
                added = bucket(places, x, mean_gain) if x else 0.0
                value += chance * (total + added) / (hits + x) if hits + x else 0.0
            return value
        total += bucket(n, p, mean_gain) if p else 0.0
        before, hits, gain = before + n, hits + p, gain + shared
    return total / hits if hits else 0.0


def counts_by_score(logits, codes, is_relevant):
    """Items and relevant items of one query at each score <z, b> that occurs, highest first, in exact fractions."""
    scores = [sum(Fraction(z) * int(b) for z, b in zip(logits, code, strict=True)) for code in codes]
    distinct = sorted(set(scores), reverse=True)
    items = [scores.count(score) for score in distinct]
    return items, [sum(r for s, r in zip(scores, is_relevant, strict=True) if s == score) for score in distinct]


def lists_of_all_tie_orders(items, relevant):
    """The ranked lists of hits, each once: every way to place the relevant items of each bucket in it."""
    buckets = []
    for n, p in zip(items, relevant, strict=True):
        buckets.append([[int(i in places) for i in range(n)] for places in itertools.combinations(range(n), p)])
    return [list(itertools.chain(*choice)) for choice in itertools.product(*buckets)]


def expected_average_precision_by_sums(items, relevant, top_k):
    """Expected AP of one query over the relevant items retrieved, by the sums of design and ``math.comb``."""
    before = hits = 0
    total = 0.0
    for n, p in zip(items, relevant, strict=True):
        places = min(n, top_k - before)
        if places < n:
            value = 0.0
            for x in range(max(0, places - n + p), min(places, p) + 1):
                chance = math.comb(p, x) * math.comb(n - p, places - x) / math.comb(n, places)
                if hits + x:
                    value += chance * (total + bucket_by_sum(before, hits, places, x)) / (hits + x)
            return value
        total += bucket_by_sum(before, hits, n, p)
        before, hits = before + n, hits + p
    return total / hits if hits else 0.0


def bucket_by_sum(before, hits, n, p):
    """What n tied items, p of them relevant, are expected to add to AP's numerator after ``before`` items."""
    if p == 0:
        return 0.0
    rise = (p - 1) / (n - 1) if n > 1 else 0.0
    return p / n * math.fsum((hits + 1 + (i - 1) * rise) / (before + i) for i in range(1, n + 1))


def slow_least_distance(words: np.ndarray) -> int:
    """Count the places in which each pair of rows differs."""
    return min(int((a != b).sum()) for a, b in itertools.combinations(words, 2))


def slow_mean_distance_is_half(words: np.ndarray) -> bool:
    """Definition 1 as it is written: the mean over all pairs is at least half the length."""
    distances = [int((a != b).sum()) for a, b in itertools.combinations(words, 2)]
    return 2 * sum(distances) >= len(distances) * words.shape[1]


def slow_gilbert_varshamov(n_classes: int, n_bits: int) -> int:
    """Largest d for which balls of radius d - 1 about n_classes - 1 words cannot cover the space."""
    d = 0
    while d < n_bits and (n_classes - 1) * sum(math.comb(n_bits, i) for i in range(d + 1)) < 2**n_bits:
        d += 1
    return d


def largest_code(n: int, d: int, weight: int | None = None) -> int:
    """A(n, d) or A(n, d, weight) by exhaustive search, for d >= 2 and a handful of bits."""
    words = [w for w in range(2**n) if weight is None or w.bit_count() == weight]
    best = 0

    def extend(size: int, candidates: list[int]) -> None:
        nonlocal best
        best = max(best, size)
        while candidates and size + len({w >> 1 for w in candidates}) > best:  # w and w ^ 1 cannot both be chosen
            word, *candidates = candidates
            extend(size + 1, [w for w in candidates if (w ^ word).bit_count() >= d])

    if weight is None:  # a code may be translated so that it holds the zero word
        extend(1, [w for w in words if w.bit_count() >= d])
    else:
        extend(0, words)
    return best


def krawtchouk_sum(n: int, k: int, x: int) -> int:
    """K_k(x), the sum of (-1)^(u.v) over all u of weight k, for a v of weight x."""
    return sum((-1) ** j * math.comb(x, j) * math.comb(n - x, k - j) for j in range(k + 1))


def linear_programme(n: int, d: int) -> float:
    """Delsarte's bound in floating point: all distances, all degrees, maximised directly."""
    distances = range(d, n + 1)
    rows = [[-krawtchouk_sum(n, k, i) for i in distances] for k in range(n + 1)]
    right = [math.comb(n, k) for k in range(n + 1)]
    return 1 - float(linprog([-1] * len(distances), A_ub=rows, b_ub=right, method="highs-ipm").fun)


def greedy_code(n: int, d: int, size: int, order: np.ndarray) -> list[int]:
    """Up to ``size`` words at mutual distance >= d, taken in the given order."""
    code: list[int] = []
    for word in map(int, order):
        if len(code) == size:
            break
        if all((word ^ other).bit_count() >= d for other in code):
            code.append(word)
    return code


def search_by_sorting(query_bits, database_bits, ids, k):
    """Distances and ids of the k nearest: every pair is compared, every list is sorted by (distance, id)."""
    n_bits = database_bits.shape[1]
    found = []
    for query in query_bits:
        ranked = sorted((int((query != item).sum()), int(i)) for item, i in zip(database_bits, ids, strict=True))
        found.append((ranked + [(n_bits + 1, -1)] * k)[:k])
    rows = np.array(found, dtype=np.int64).reshape(len(query_bits), k, 2)
    return rows[..., 0], rows[..., 1]


def range_search_by_sorting(query_bits, database_bits, ids, radius):
    """Offsets, distances and ids of all items within the radius, each list sorted by (distance, id)."""
    offsets, found = [0], []
    for query in query_bits:
        ranked = sorted((int((query != item).sum()), int(i)) for item, i in zip(database_bits, ids, strict=True))
        found += [pair for pair in ranked if pair[0] <= radius]
        offsets.append(len(found))
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return np.array(offsets), pairs[:, 0], pairs[:, 1]


def gain_histograms_by_loop(query_bits, database_bits, query_sets, sets):
    """Items by distance and by the number of labels shared, pair by pair; sets are rows of bools."""
    shared = [[int((query_set & item_set).sum()) for item_set in sets] for query_set in query_sets]
    n_levels = max(2, 1 + max((s for row in shared for s in row), default=0))
    counts = np.zeros((len(query_bits), query_bits.shape[1] + 1, n_levels), dtype=np.int64)
    for i, query in enumerate(query_bits):
        for j, item in enumerate(database_bits):
            counts[i, int((query != item).sum()), shared[i][j]] += 1
    return counts
