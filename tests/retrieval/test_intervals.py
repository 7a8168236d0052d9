import numpy as np
import pytest
import scipy.stats
import torch

from hashcenters.retrieval import intervals
from hashcenters.retrieval.intervals import bootstrap_interval


def values_of(n, seed=0):
    return np.random.default_rng(seed).beta(0.6, 0.4, n)


def test_equals_scipy_within_monte_carlo_error():
    values, n_resamples = values_of(200), 20_000
    ours = bootstrap_interval(values, level=0.9, n_resamples=n_resamples)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=n_resamples, method="percentile", rng=1, vectorized=True
    ).confidence_interval
    # Standard deviation of a quantile: sqrt(q (1 - q) / n) / density, here of a normal; five of the difference's.
    deviation = values.std() / np.sqrt(len(values))
    density = scipy.stats.norm.pdf(scipy.stats.norm.ppf(0.05)) / deviation
    tolerance = 5 * np.sqrt(2) * np.sqrt(0.05 * 0.95 / n_resamples) / density
    assert tolerance < deviation / 5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_every_resample_is_made_of_the_values_by_the_seeds_words():
    values, n_resamples = values_of(7), 40
    words = np.random.Philox(np.random.SeedSequence(3, spawn_key=(101,))).random_raw(n_resamples * 4)
    means = []
    for row in words.reshape(n_resamples, 4).tolist():
        halves = [half for word in row for half in (word % 2**32, word >> 32)][:7]
        means.append(sum(values[half * 7 >> 32] for half in halves) / 7)
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(bootstrap_interval(values, n_resamples=n_resamples, seed=3), expected, rtol=1e-14)


def test_neither_chunks_nor_the_kind_of_values_matter(monkeypatch):
    values = values_of(101)
    interval = bootstrap_interval(values)
    assert bootstrap_interval(torch.from_numpy(values)) == interval
    assert bootstrap_interval(values, seed=1) != interval
    for chunk in (1, 1000):
        monkeypatch.setattr(intervals, "_CHUNK", chunk)
        assert bootstrap_interval(values) == interval


def test_draws_are_uniform():
    # Means of indicators: each value is drawn equally often, within five standard deviations.
    n, n_resamples = 5, 20_000
    for i in range(n):
        means = intervals._resampled_means(np.eye(n)[i], n_resamples, 0)
        deviation = np.sqrt(0.2 * 0.8 / (n * n_resamples))
        assert abs(means.mean() - 0.2) < 5 * deviation


def test_one_query_and_equal_values():
    assert bootstrap_interval(np.array([0.25])) == (0.25, 0.25)
    assert bootstrap_interval(np.ones(30, np.int64)) == (1.0, 1.0)
    assert bootstrap_interval(torch.ones(30, dtype=torch.bfloat16)) == (1.0, 1.0)


def test_a_higher_level_gives_a_wider_interval():
    values = values_of(50)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < values.mean() < narrow.high < wide.high


def test_wrong_values_are_refused():
    with pytest.raises(TypeError, match="values must be a torch tensor or a numpy array, got list"):
        bootstrap_interval([0.5])
    for wrong in (np.array(["a"]), np.array([1j]), torch.tensor([1j])):
        with pytest.raises(TypeError, match="values must be real numbers, got"):
            bootstrap_interval(wrong)
    for wrong in (np.zeros((2, 2)), np.zeros(0), torch.zeros(()), torch.zeros(0)):
        with pytest.raises(ValueError, match=r"values must have shape \(n_queries,\) with at least one query, got \("):
            bootstrap_interval(wrong)
    with pytest.raises(ValueError, match="values must be finite, got NaN or infinity for 2 of 3 queries"):
        bootstrap_interval(np.array([np.nan, 1.0, np.inf]))


def test_wrong_options_are_refused():
    values = np.ones(3)
    for wrong in ("0.95", True, None):
        with pytest.raises(TypeError, match="level must be a float, got"):
            bootstrap_interval(values, level=wrong)
    for wrong in (0, 1, 95, float("nan")):
        with pytest.raises(ValueError, match="level must lie between 0 and 1, got"):
            bootstrap_interval(values, level=wrong)
    with pytest.raises(ValueError, match=r"n_resamples must be at least 2 / \(1 - level\) = 20 for level=0.9, got 19"):
        bootstrap_interval(values, level=0.9, n_resamples=19)
    assert bootstrap_interval(values, level=0.9, n_resamples=20) == (1.0, 1.0)
    with pytest.raises(TypeError, match="n_resamples must be an int, got 2000.0"):
        bootstrap_interval(values, n_resamples=2000.0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        bootstrap_interval(values, seed=-1)
