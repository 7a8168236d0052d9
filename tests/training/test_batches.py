import itertools

import pytest
import torch

from hashcenters.training import TensorBatches
from hashcenters.training.batches import permutation


def rows(batches):
    return [batch[0].tolist() for batch in batches]


def test_every_pass_has_every_row_once_in_a_new_order():
    batches = TensorBatches(torch.arange(100), torch.arange(100) * 2, batch_size=10, seed=3)
    first, second = rows(batches), rows(batches)
    assert len(batches) == len(first) == 10
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(100))
    assert first != second
    assert all(torch.equal(2 * images, labels) for images, labels in batches)
    assert batches.epoch == 3


def test_the_order_depends_on_seed_and_epoch_alone():
    data = torch.arange(50)
    batches, other = (TensorBatches(data, batch_size=5, seed=seed) for seed in (3, 4))
    passes = [rows(batches) for _ in range(3)]
    assert rows(other) != passes[0]
    batches.epoch = 1
    torch.manual_seed(99)
    next(iter(TensorBatches(data, batch_size=5)))  # others in between
    assert [rows(batches), rows(batches)] == passes[1:]


def test_an_unfinished_pass_counts():
    batches = TensorBatches(torch.arange(50), batch_size=5)
    iter(batches)
    assert batches.epoch == 1


def test_without_shuffling_and_with_the_last():
    batches = TensorBatches(torch.arange(7), batch_size=3, shuffle=False, drop_last=False)
    assert rows(batches) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(batches) == 3
    assert rows(TensorBatches(torch.arange(7), batch_size=3, shuffle=False)) == [[0, 1, 2], [3, 4, 5]]


def test_batches_are_not_views_of_shuffled_data():
    data = torch.arange(6)
    for (batch,) in TensorBatches(data, batch_size=2):
        batch.zero_()
    assert data.tolist() == list(range(6))


def test_torch_s_generators_are_left_alone():
    state = torch.get_rng_state()
    rows(TensorBatches(torch.arange(6), batch_size=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_permutation_is_one_and_fair():
    firsts = torch.stack([permutation(4, seed, 0) for seed in range(400)])
    assert torch.equal(firsts.sort(dim=1).values, torch.arange(4).expand(400, 4))
    counts = torch.stack([firsts[:, 0].eq(value).sum() for value in range(4)])
    assert counts.min() > 60  # of 100 expected, 4.6 standard deviations


def test_errors():
    with pytest.raises(ValueError, match="tensors must be at least one, such as images and labels"):
        TensorBatches(batch_size=1)
    with pytest.raises(TypeError, match="tensors must be tensors with a row a sample, got list"):
        TensorBatches([1], batch_size=1)
    with pytest.raises(TypeError, match=r"tensors must be tensors with a row a sample, got one of shape \(\)"):
        TensorBatches(torch.tensor(1), batch_size=1)
    with pytest.raises(ValueError, match="tensors must have the same number of rows, got 2, 3"):
        TensorBatches(torch.zeros(3), torch.zeros(2), batch_size=1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        TensorBatches(torch.zeros(3), batch_size=0)
    with pytest.raises(ValueError, match="3 samples do not fill one batch of batch_size=4; take a smaller one or drop"):
        TensorBatches(torch.zeros(3), batch_size=4)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        TensorBatches(torch.zeros(3), batch_size=1, seed=-1)
