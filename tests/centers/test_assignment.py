import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import quadratic_assignment

from hashcenters.centers.annealing import _gain
from hashcenters.centers.assignment import _distances, assign_centers, closeness_correlation, semantic_centers
from hashcenters.centers.rivals import bernoulli_words, maxhd_words
from hashcenters.centers.similarity import similarity_from_features
from hashcenters.data.synthetic import DEBIAN_FOLDER, two_garments


def random_similarity(n_classes, seed):
    matrix = np.random.default_rng(seed).random((n_classes, n_classes))
    return torch.from_numpy((matrix + matrix.T) / 2)


def centers_of(n_classes, n_bits, seed):
    return torch.from_numpy(bernoulli_words(n_classes, n_bits, seed=seed)).float()


def cost(centers, similarity):
    """Sum over pairs of similarity times distance."""
    return sum(
        float(similarity[i, j]) * int((centers[i] != centers[j]).sum())
        for i, j in itertools.combinations(range(len(centers)), 2)
    )


def misfit(centers, similarity, min_distance):
    """SHC's objective with the targets of semantic_centers."""
    n_classes, n_bits = centers.shape
    pairs = list(itertools.combinations(range(n_classes), 2))
    likeness = [float(similarity[i, j]) for i, j in pairs]
    low, high = -1 / (n_classes - 1), 1 - 2 * min_distance / n_bits
    mean = np.mean(likeness)
    return sum(
        (low + (like - mean) / (max(likeness) - mean) * (high - low) - float(centers[i] @ centers[j]) / n_bits) ** 2
        for like, (i, j) in zip(likeness, pairs, strict=True)
    )


@given(st.integers(3, 12), st.integers(2, 40), st.integers(0, 100))
def test_correlation_is_pearsons_over_pairs(n_classes, n_bits, seed):
    centers, similarity = centers_of(n_classes, n_bits + 4, seed), random_similarity(n_classes, seed)
    pairs = list(itertools.combinations(range(n_classes), 2))
    like = np.array([float(similarity[i, j]) for i, j in pairs])
    near = np.array([-float((centers[i] != centers[j]).sum()) for i, j in pairs])
    result = closeness_correlation(centers, similarity)
    if np.ptp(near) == 0:
        assert math.isnan(result)
    else:
        like, near = like - like.mean(), near - near.mean()
        assert result == pytest.approx((like * near).sum() / math.sqrt((like**2).sum() * (near**2).sum()), abs=1e-9)


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(5, 9), st.integers(0, 1000))
def test_small_assignments_are_optimal(n_classes, n_bits, seed):
    centers, similarity = centers_of(n_classes, n_bits, seed), random_similarity(n_classes, seed)
    best = min(cost(centers[list(order)], similarity) for order in itertools.permutations(range(n_classes)))
    # Similarities are rounded to 2^-20 of their range.
    assert cost(assign_centers(centers, similarity), similarity) == pytest.approx(best, abs=1e-4)


@settings(max_examples=15)
@given(st.integers(1, 20), st.integers(5, 30), st.integers(0, 1000))
def test_assignment_is_a_permutation_and_never_worse(n_classes, n_bits, seed):
    centers, similarity = centers_of(n_classes, n_bits, seed), random_similarity(n_classes, seed)
    before = centers.clone(), similarity.clone()
    assigned = assign_centers(centers, similarity, seed=seed)
    assert sorted(assigned.tolist()) == sorted(centers.tolist())
    assert assigned.dtype == centers.dtype
    assert cost(assigned, similarity) <= cost(centers, similarity) + 1e-4
    assert torch.equal(before[0], centers)
    assert torch.equal(before[1], similarity)


def test_exchange_gain_is_the_change_of_the_sum():
    random = np.random.default_rng(0)
    like = random.integers(0, 1 << 20, (9, 9))
    like = np.triu(like, 1) + np.triu(like, 1).T
    placed = _distances(centers_of(9, 20, 0))
    for first, second in itertools.permutations(range(9), 2):
        order = np.arange(9)
        order[[first, second]] = order[[second, first]]
        change = (like * placed[np.ix_(order, order)]).sum() - (like * placed).sum()
        assert 2 * _gain(like.astype(np.float32), placed.astype(np.float32), first, second) == change


def test_only_the_symmetric_part_off_the_diagonal_and_no_scale_counts():
    centers, similarity = centers_of(15, 16, 0), random_similarity(15, 0)
    assigned = assign_centers(centers, similarity)
    skew = torch.triu(torch.rand(15, 15, dtype=torch.float64), 1)
    assert torch.equal(assigned, assign_centers(centers, similarity + skew - skew.T))
    assert torch.equal(assigned, assign_centers(centers, similarity + torch.diag(torch.arange(15.0))))
    assert torch.equal(assigned, assign_centers(centers, 4 * similarity))


def test_order_is_kept_where_nothing_can_be_gained():
    centers = centers_of(8, 16, 0)
    assert torch.equal(assign_centers(centers, torch.ones(8, 8)), centers)
    hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert torch.equal(assign_centers(hadamard, random_similarity(4, 0)), hadamard)
    assert torch.equal(assign_centers(centers[:1], torch.ones(1, 1)), centers[:1])


def test_assignment_finds_a_planted_order():
    # Thermometer codes lie on a line.
    centers = torch.where(torch.arange(29) < torch.arange(30)[:, None], 1.0, -1.0)
    planted = torch.from_numpy(np.random.default_rng(1).permutation(30))
    similarity = (centers @ centers.T)[planted][:, planted]
    assert closeness_correlation(centers, similarity) < 0.3
    assert closeness_correlation(assign_centers(centers, similarity), similarity) > 0.999


@pytest.mark.parametrize("seed", range(3))
def test_assignment_beats_scipys(seed):
    centers, similarity = torch.from_numpy(maxhd_words(60, 16, seed=seed)).float(), random_similarity(60, seed)
    apart = (16 - centers @ centers.T).numpy() / 2
    order = quadratic_assignment(
        similarity.fill_diagonal_(0).numpy(), apart, method="faq", options={"rng": np.random.default_rng(0)}
    ).col_ind
    assert cost(assign_centers(centers, similarity, seed=seed), similarity) < cost(centers[order], similarity)


def test_seeds_repeat_and_differ():
    centers, similarity = centers_of(40, 16, 0), random_similarity(40, 0)
    one = assign_centers(centers, similarity, seed=1)
    assert torch.equal(one, assign_centers(centers, similarity, seed=1))
    assert not torch.equal(one, assign_centers(centers, similarity, seed=2))


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="the files of dataset-fashion-mnist are absent")
def test_two_garments_are_placed_by_their_similarity():
    images, labels = two_garments(DEBIAN_FOLDER, split="train").tensors
    similarity = similarity_from_features(images.flatten(1).float() / 255, labels, 100, metric="distance")
    centers = torch.from_numpy(maxhd_words(100, 16, seed=0)).float()
    assert abs(closeness_correlation(centers, similarity)) < 0.1
    assert closeness_correlation(assign_centers(centers, similarity), similarity) >= 0.4


@settings(max_examples=15)
@given(st.integers(2, 12), st.integers(8, 30), st.integers(0, 1000), st.booleans())
def test_semantic_centers_keep_the_rules_and_fit_better(n_classes, n_bits, seed, definition_1):
    centers, similarity = centers_of(n_classes, n_bits, seed), random_similarity(n_classes, seed)
    distances = [int((a != b).sum()) for a, b in itertools.combinations(centers, 2)]
    definition_1 = definition_1 and np.mean(distances) >= n_bits / 2
    words = semantic_centers(
        similarity, centers, min_distance=min(distances), seed=seed, definition_1=bool(definition_1)
    )
    found = [int((a != b).sum()) for a, b in itertools.combinations(words, 2)]
    assert words.abs().eq(1).all()
    assert min(found) >= min(distances)
    assert not definition_1 or np.mean(found) >= n_bits / 2
    if n_classes > 2:
        # Targets are rounded to 1/256 of a bit.
        slack = 0.02 * len(found)
        assert misfit(words, similarity, min(distances)) <= misfit(centers, similarity, min(distances)) + slack


def test_semantic_centers_raise_the_correlation_more_than_assignment():
    similarity = random_similarity(40, 0)
    centers = assign_centers(torch.from_numpy(maxhd_words(40, 32, seed=0)).float(), similarity)
    before = centers.clone()
    words = semantic_centers(similarity, centers, min_distance=10, definition_1=False)
    assert torch.equal(before, centers)
    assert closeness_correlation(words, similarity) > closeness_correlation(centers, similarity) + 0.2
    assert torch.equal(words, semantic_centers(similarity, centers, min_distance=10, definition_1=False))
    assert not torch.equal(words, semantic_centers(similarity, centers, min_distance=10, definition_1=False, seed=1))


def test_semantic_centers_stay_where_nothing_may_move():
    centers = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert torch.equal(semantic_centers(random_similarity(4, 0), centers, min_distance=1), centers)
    assert torch.equal(semantic_centers(torch.ones(4, 4), centers, min_distance=1), centers)
    assert torch.equal(semantic_centers(torch.ones(1, 1), centers[:1], min_distance=1, definition_1=True), centers[:1])


@pytest.mark.parametrize(
    "call",
    [
        assign_centers,
        closeness_correlation,
        lambda centers, similarity: semantic_centers(similarity, centers, min_distance=0, definition_1=False),
    ],
)
def test_bad_similarities_and_centers_are_refused(call):
    centers = centers_of(5, 8, 0)
    with pytest.raises(ValueError, match=r"similarity must have shape \(n_classes=5, n_classes=5\), got \(5, 4\)"):
        call(centers, torch.ones(5, 4))
    with pytest.raises(TypeError, match=r"similarity must be a tensor of shape .*, got list"):
        call(centers, [[1.0]])
    with pytest.raises(ValueError, match="similarity must be finite"):
        call(centers, torch.full((5, 5), math.nan))
    with pytest.raises(ValueError, match=r"similarity must have shape \(n_classes=5, n_classes=5\), got \(4, 4\)"):
        call(centers, torch.ones(4, 4))
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        call(0.5 * centers, torch.ones(5, 5))


def test_bad_seeds_and_distances_are_refused():
    centers, similarity = centers_of(5, 8, 0), random_similarity(5, 0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        assign_centers(centers, similarity, seed=-1)
    with pytest.raises(ValueError, match="min_distance must be at least 0, got -2"):
        semantic_centers(similarity, centers, min_distance=-2)
    with pytest.raises(ValueError, match="centers must be at least min_distance=8 apart to begin with, got"):
        semantic_centers(similarity, centers, min_distance=8)
    with pytest.raises(ValueError, match="mean distance of the centers is below n_bits / 2 = 4.0"):
        semantic_centers(similarity, torch.ones(5, 8), min_distance=0)


def test_huge_and_tiny_similarities_are_scaled():
    centers, similarity = centers_of(20, 16, 0), random_similarity(20, 0)
    assigned = assign_centers(centers, similarity)
    for scale in (1e308, 1e-200):
        assert torch.equal(assign_centers(centers, similarity * scale), assigned)
    assert torch.equal(assign_centers(centers, 0 * similarity), centers)
