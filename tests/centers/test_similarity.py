import itertools
import math

import numpy as np
import pytest
import torch

from hashcenters.centers.similarity import similarity_from_confusion, similarity_from_features


@pytest.mark.parametrize("metric", ["gaussian", "distance", "cosine"])
def test_similarity_from_features_is_the_loop(metric):
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((40, 5)) + 1, np.concatenate([np.arange(7), random.integers(0, 7, 33)])
    means = [np.mean([features[k] for k in range(40) if labels[k] == c], axis=0) for c in range(7)]
    apart = np.array([[math.dist(a, b) for b in means] for a in means])
    pairs = sorted(apart[i, j] for i, j in itertools.combinations(range(7), 2))
    expected = {
        "gaussian": np.exp(-((apart / pairs[len(pairs) // 5]) ** 2)),
        "distance": -apart,
        "cosine": np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in means] for a in means]),
    }[metric]
    given_features = torch.from_numpy(features)
    result = similarity_from_features(given_features, torch.from_numpy(labels), 7, metric=metric)
    torch.testing.assert_close(result, torch.from_numpy(expected))
    assert torch.equal(result, result.T)
    assert np.array_equal(given_features.numpy(), features)


def test_gaussian_similarity_ignores_the_scale_and_survives_equal_means():
    features, labels = torch.rand(30, 4, dtype=torch.float64), torch.arange(30) % 10
    one = similarity_from_features(features, labels, 10)
    torch.testing.assert_close(one, similarity_from_features(1000 * features, labels, 10))
    features = torch.zeros(10, 2)
    features[9] = 1.0
    assert similarity_from_features(features, torch.arange(10), 10)[0].tolist() == [1.0] * 9 + [math.exp(-1.0)]
    assert similarity_from_features(torch.ones(3, 2), torch.arange(3), 3).eq(1).all()
    assert similarity_from_features(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), 1).tolist() == [[1.0]]


def test_similarity_from_confusion_is_the_loop():
    confusion = torch.randint(0, 9, (6, 6)) + torch.eye(6, dtype=torch.int64)
    result = similarity_from_confusion(confusion)
    for i, j in itertools.product(range(6), repeat=2):
        expected = (confusion[i, j] / confusion[i].sum() + confusion[j, i] / confusion[j].sum()) / 2
        assert float(result[i, j]) == pytest.approx(float(expected), abs=1e-6)


def test_bad_features_are_refused():
    features, labels = torch.rand(6, 3), torch.arange(6) % 3
    with pytest.raises(ValueError, match="metric must be 'gaussian', 'distance' or 'cosine', got 'dot'"):
        similarity_from_features(features, labels, 3, metric="dot")
    with pytest.raises(TypeError, match=r"features must be a floating-point tensor .*, got torch.int64"):
        similarity_from_features(features.long(), labels, 3)
    with pytest.raises(TypeError, match="are class indices and must be int64, got torch.float32"):
        similarity_from_features(features, labels.float(), 3)
    with pytest.raises(ValueError, match=r"features must have shape \(N, n_features\), got \(6,\)"):
        similarity_from_features(features[:, 0], labels, 3)
    with pytest.raises(ValueError, match=r"labels must have one row a sample: 6 samples, labels of shape \(5,\)"):
        similarity_from_features(features, labels[:5], 3)
    with pytest.raises(ValueError, match=r"labels must lie in 0..1"):
        similarity_from_features(features, labels, 2)
    with pytest.raises(ValueError, match="labels have none of 3, 4, 5, 6, 7 and 2 more"):
        similarity_from_features(features, labels, 10)
    with pytest.raises(ValueError, match="features must be finite"):
        similarity_from_features(features * math.inf, labels, 3)
    with pytest.raises(ValueError, match="metric='cosine' needs class means that are not zero"):
        similarity_from_features(0 * features, labels, 3, metric="cosine")


def test_bad_confusions_are_refused():
    with pytest.raises(ValueError, match=r"confusion must have shape \(n_classes, n_classes\), got \(3, 2\)"):
        similarity_from_confusion(torch.ones(3, 2))
    with pytest.raises(ValueError, match="got a negative entry"):
        similarity_from_confusion(-torch.ones(3, 3))
    with pytest.raises(ValueError, match="confusion has empty rows 1"):
        similarity_from_confusion(torch.tensor([[1, 0], [0, 0]]))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_narrow_labels_and_multi_hot_are_taken(dtype):
    features, labels = torch.rand(30, 4), torch.arange(30) % 6
    expected = similarity_from_features(features, labels, 6)
    assert torch.equal(similarity_from_features(features, labels.to(dtype), 6), expected)
    assert torch.equal(similarity_from_features(features, torch.nn.functional.one_hot(labels), 6), expected)


def test_a_sample_counts_in_each_of_its_classes():
    features, sets = torch.rand(20, 3), torch.rand(20, 4) < 0.5
    sets[:4] |= torch.eye(4, dtype=torch.bool)
    means = torch.stack([features[sets[:, c]].double().mean(dim=0) for c in range(4)])
    result = similarity_from_features(features, sets, 4, metric="distance")
    torch.testing.assert_close(result, -torch.cdist(means, means))
