import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import rivals
from hashcenters.centers.randomness import CENTER_STREAM, random_stream
from hashcenters.centers.rivals import bernoulli_words, maxhd_words, mds_distance, mds_words

GENERATORS = [bernoulli_words, maxhd_words, mds_words]


def pair_distances(words):
    """Every pair's Hamming distance, by counting."""
    return [sum(int(a != b) for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(words.tolist(), 2)]


def maxhd_reference(n_classes, n_bits, seed):
    """OrthoHash's rule, one candidate after the other, in exact hundredths."""
    generator = random_stream(seed, CENTER_STREAM)

    def candidates():
        while True:
            yield from rivals._signs(rivals._draw(generator, 4096, n_bits), n_bits).tolist()

    accepted, hundredths, rejections = [], 61, 0
    for word in candidates():
        near = any(
            100 * sum(a != b for a, b in zip(word, other, strict=True)) < hundredths * n_bits for other in accepted
        )
        if near:
            rejections += 1
            if rejections == 10_000:
                hundredths, rejections = hundredths - 1, 0
        else:
            accepted.append(word)
        if len(accepted) == n_classes:
            break
    order = np.argsort(generator.random_raw(n_classes), kind="stable")
    return np.array(accepted, dtype=np.int8)[order]


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize(("n_classes", "n_bits"), [(1, 1), (2, 1), (7, 12), (20, 64), (9, 65), (12, 130)])
def test_words_are_signs_and_follow_the_seed(generate, n_classes, n_bits):
    words = generate(n_classes, n_bits, seed=3)
    assert words.shape == (n_classes, n_bits)
    assert words.dtype == np.int8
    assert set(np.unique(words)) <= {-1, 1}
    assert np.array_equal(words, generate(n_classes, n_bits, seed=3))


@pytest.mark.parametrize("generate", GENERATORS)
def test_seeds_differ(generate):
    assert not np.array_equal(generate(20, 24, seed=0), generate(20, 24, seed=1))


# Fixed for ever: a change here changes everybody's centers.
@pytest.mark.parametrize(
    ("generate", "digest"),
    [(bernoulli_words, "66c3b1b8877aa9a2"), (maxhd_words, "eec40e9cf033bbde"), (mds_words, "6b2acbdd7dc9beca")],
)
def test_words_are_the_same_on_every_platform(generate, digest):
    assert hashlib.sha256(generate(40, 24, seed=5).tobytes()).hexdigest()[:16] == digest


def test_bernoulli_bits_are_fair_and_a_longer_table_begins_like_a_shorter_one():
    words = bernoulli_words(4000, 100, seed=1)
    assert abs(words.mean()) < 5 / math.sqrt(words.size)
    assert np.abs(words.mean(0)).max() < 5 / math.sqrt(4000)
    assert np.array_equal(words[:10], bernoulli_words(10, 100, seed=1))


@pytest.mark.parametrize(("n_classes", "n_bits"), [(5, 8), (12, 12), (10, 70), (30, 16)])
def test_maxhd_follows_the_rule(n_classes, n_bits):
    assert np.array_equal(maxhd_words(n_classes, n_bits, seed=2), maxhd_reference(n_classes, n_bits, 2))


def test_maxhd_reaches_what_its_authors_code_reaches():
    assert min(pair_distances(maxhd_words(10, 16, seed=0))) >= 7
    assert min(pair_distances(maxhd_words(100, 64, seed=0))) >= 25


def test_maxhd_gives_up_by_its_rule():
    with pytest.raises(
        ValueError, match=r"maxhd found only \d+ of n_classes=200 words of n_bits=8 at a distance of 0.2"
    ):
        maxhd_words(200, 8, seed=0)


# Table of the distances that MDS aims at.
@pytest.mark.parametrize(
    ("n_classes", "distances"),
    [
        (100, (4, 10, 17, 24)),
        (196, (4, 10, 16, 23)),
        (555, (3, 9, 15, 21)),
        (21, (6, 12, 19, 26)),
        (80, (5, 11, 17, 24)),
        (101, (4, 10, 17, 24)),
        (51, (5, 11, 18, 25)),
    ],
)
def test_mds_distance_is_the_published_one(n_classes, distances):
    assert tuple(mds_distance(n_classes, n_bits) for n_bits in (16, 32, 48, 64)) == distances


@given(st.integers(2, 5000), st.integers(13, 200))
def test_mds_distance_is_at_most_a_step_above_gilbert_varshamov(n_classes, n_bits):
    guaranteed = 0
    while (n_classes - 1) * sum(math.comb(n_bits, i) for i in range(guaranteed + 1)) < 2**n_bits:
        guaranteed += 1
    assert mds_distance(n_classes, n_bits) <= guaranteed + 1


@pytest.mark.parametrize(("n_classes", "n_bits"), [(100, 16), (100, 24), (100, 32), (80, 32)])
def test_mds_reaches_its_goal(n_classes, n_bits):
    assert min(pair_distances(mds_words(n_classes, n_bits, seed=0))) >= mds_distance(n_classes, n_bits)


def test_mds_keeps_a_start_that_is_good_enough():
    words = mds_words(100, 64, seed=0).astype(int)
    assert np.array_equal(words[:64] @ words[:64].T, 64 * np.eye(64))  # Sylvester's rows ...
    assert np.array_equal(words[64:], -words[:36])  # ... and their complements


def test_mds_without_sweeps_is_its_start_and_a_sweep_never_brings_the_nearest_nearer():
    start = mds_words(60, 20, seed=4, max_sweeps=0)
    words, least = start.astype(np.float64), min(pair_distances(start))
    points = np.random.default_rng(0).uniform(-1, 1, words.shape)
    for _ in range(3):
        rivals._sweep(words, points, 20.0 - 2 * mds_distance(60, 20), 1e-2, 1.05, 1e7, 1.618, 1e-3)
        assert set(np.unique(words)) == {-1.0, 1.0}
        assert min(pair_distances(words)) >= least
        least = min(pair_distances(words))
    assert least > min(pair_distances(start))


def test_solver_without_binding_constraints_takes_the_signs_of_the_cost():
    random = np.random.default_rng(0)
    for _ in range(20):
        others = np.sign(random.standard_normal((5, 10)))
        cost = random.choice([-1.0, 1.0], 10) * random.uniform(0.5, 1.5, 10)
        inverse = np.linalg.inv(2 * np.eye(10) + others.T @ others)
        start = random.uniform(-1, 1, 10)
        word = rivals._solve_word(others, others.T.copy(), inverse, cost, start, 10.0, 1e-2, 1.05, 1e7, 1.618, 1e-3)
        assert np.array_equal(word, -np.sign(cost))


def test_solver_keeps_away_from_the_other_words():
    # Without the constraint the answer is -cost = others[0]; it must differ in two bits at least.
    others = np.ones((1, 8))
    cost = -np.ones(8) - 0.1 * np.arange(8)
    inverse = np.linalg.inv(2 * np.eye(8) + others.T @ others)
    start = np.full(8, 0.1)
    word = rivals._solve_word(others, others.T.copy(), inverse, cost, start, 4.0, 1e-2, 1.05, 1e7, 1.618, 1e-3)
    assert word @ others[0] <= 4.0


@given(st.integers(1, 40), st.integers(0, 1000))
def test_inverse_is_the_inverse(size, seed):
    rows = np.sign(np.random.default_rng(seed).standard_normal((2 * size, size)))
    matrix = 2 * np.eye(size) + rows.T @ rows
    np.testing.assert_allclose(rivals._inverse(matrix) @ matrix, np.eye(size), atol=1e-9)


@given(st.integers(2, 20), st.integers(1, 40), st.integers(0, 1000))
def test_score_is_mean_plus_least_minus_variance(n_classes, n_bits, seed):
    words = np.where(np.random.default_rng(seed).random((n_classes, n_bits)) < 0.5, -1.0, 1.0)
    distances = pair_distances(words)
    score = rivals._score(words)
    assert score.min_distance == min(distances)
    assert score.total == pytest.approx(np.mean(distances) + min(distances) - np.var(distances), abs=1e-9)


@pytest.mark.parametrize("generate", GENERATORS)
def test_bad_arguments_are_refused(generate):
    with pytest.raises(ValueError, match="n_classes=17 words of n_bits=4 cannot differ: there are only 16"):
        generate(17, 4)
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        generate(0, 4)
    with pytest.raises(TypeError, match="n_bits must be an int, got 4.0"):
        generate(3, 4.0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        generate(3, 4, seed=-1)


def test_mds_refuses_a_negative_number_of_sweeps():
    with pytest.raises(ValueError, match="max_sweeps must be at least 0, got -1"):
        mds_words(3, 4, max_sweeps=-1)
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        mds_distance(3, 0)
