import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hashcenters import CentralSimilarityLoss, HammingRetrievalEvaluator, HashCenterGenerator
from hashcenters.training import TensorBatches, WeightSweep, fit, sweep_quantization_weight
from hashcenters.training.batches import held_out_split

CENTERS = HashCenterGenerator(16)(4)


def data(n=200):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 4
    return torch.eye(4)[labels] + torch.randn(n, 4, generator=generator) / 3, labels


def make_network():
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 16))


def train(network, loss_fn, batches):
    fit(network, loss_fn, batches, optimizer=torch.optim.SGD(network.parameters(), lr=0.5), n_epochs=2)


def sweep(images, labels, **options):
    options = {"train": train, "weights": (0.0, 0.5, 5.0), "batch_size": 20, **options}
    return sweep_quantization_weight(make_network, CENTERS, images, labels, **options)


def test_equals_training_and_evaluation_by_hand():
    images, labels = data()
    state = torch.get_rng_state()
    result = sweep(images, labels, seed=3, top_k=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert result.weights == (0.0, 0.5, 5.0)
    assert (result.n_train, result.n_validation) == (180, 20)
    training, validation = held_out_split(labels, 0.1, 3)
    for weight, found in zip(result.weights, result.maps, strict=True):
        torch.manual_seed(3)
        network = make_network()
        loss_fn = CentralSimilarityLoss(CENTERS, quantization_weight=weight, seed=3)
        train(network, loss_fn, TensorBatches(images[training], labels[training], batch_size=20, seed=3))
        network.eval()
        evaluator = HammingRetrievalEvaluator(16, top_k=50)
        with torch.no_grad():
            evaluator.add_database(network(images[training]), labels[training])
            evaluator.add_queries(network(images[validation]), labels[validation])
        assert evaluator.compute().map == found
    assert len(set(result.maps)) > 1
    assert result.maps[result.weights.index(result.best)] == max(result.maps)
    assert sweep(images, labels, seed=3, top_k=50) == result


def test_the_networks_of_all_weights_start_alike():
    starts, batches_seen, weights_seen = [], [], []

    def watch(network, loss_fn, batches):
        starts.append(network[0].weight.detach().clone())
        batches_seen.append(next(iter(batches))[0])
        weights_seen.append(loss_fn.quantization_weight)

    sweep(*data(), train=watch)
    assert weights_seen == [0.0, 0.5, 5.0]
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert all(torch.equal(batch, batches_seen[0]) for batch in batches_seen)


def test_multi_hot_labels():
    images, labels = data()
    rows = F.one_hot(labels, 4) | F.one_hot(labels.roll(7), 4)
    result = sweep(images, rows, validation_share=0.25)
    assert (result.n_train, result.n_validation) == (150, 50)
    assert all(0 < value <= 1 for value in result.maps)


def test_the_split_takes_its_share_of_every_class():
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor([1, 2, 10, 44, 45]))
    training, validation = held_out_split(labels, 0.1, 0)
    assert torch.equal(torch.cat([training, validation]).sort().values, torch.arange(102))
    assert torch.equal(training, training.sort().values)
    assert torch.bincount(labels[validation], minlength=5).tolist() == [0, 0, 1, 4, 5]
    assert not torch.equal(held_out_split(labels, 0.1, 1)[1], validation)
    assert torch.bincount(labels[held_out_split(labels, 0.9, 0)[0]]).tolist() == [1, 1, 1, 4, 4]


def test_the_first_of_equal_weights_is_best():
    assert WeightSweep((0.1, 0.2, 0.3), (0.5, 0.6, 0.6), 9, 1).best == 0.2


def test_errors():
    images, labels = data()
    with pytest.raises(ValueError, match="weights must hold at least one weight to try"):
        sweep(images, labels, weights=())
    with pytest.raises(ValueError, match="weights must be finite and at least 0, got -1"):
        sweep(images, labels, weights=(0, -1))
    with pytest.raises(ValueError, match=r"validation_share must lie in \(0, 1\), got 1"):
        sweep(images, labels, validation_share=1)
    with pytest.raises(
        ValueError, match="validation_share=0.001 of 200 samples holds out none, rounded for each class; take"
    ):
        sweep(images, labels, validation_share=0.001)
    with pytest.raises(ValueError, match="labels must have one row a sample: 200 samples, labels of shape"):
        sweep(images, labels[1:])
    with pytest.raises(ValueError, match="180 samples do not fill one batch of batch_size=500"):
        sweep(images, labels, batch_size=500)


def test_refuses_a_network_that_was_trained_before():
    shared = make_network()
    images, labels = data()
    with pytest.raises(ValueError, match="make_network must return a new network every time"):
        sweep_quantization_weight(lambda: shared, CENTERS, images, labels, train=train, batch_size=20)
