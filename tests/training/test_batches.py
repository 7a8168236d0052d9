import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.training import TensorBatches
from hashcenters.training.batches import EpochBatches, held_out_split, permutation


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


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_processes_and_parts_make_the_batches_of_one(n_extra, size, n_processes, n_accumulated, epoch):
    batch_size = size * n_processes * n_accumulated
    n_samples = batch_size + n_extra
    whole = EpochBatches(n_samples, batch_size=batch_size, seed=4)
    whole.epoch = epoch
    expected = list(whole)
    assert len(whole) == len(expected) == whole.n_steps == n_samples // batch_size
    keys = [key for batch in expected for key in batch]
    assert len(set(keys)) == len(keys) == len(expected) * batch_size
    assert {epoch for epoch, _ in keys} == {epoch}
    assert all(0 <= index < n_samples for _, index in keys)

    shares = []
    for process in range(n_processes):
        batches = EpochBatches(
            n_samples,
            batch_size=batch_size,
            seed=4,
            process=process,
            n_processes=n_processes,
            n_accumulated=n_accumulated,
        )
        batches.epoch = epoch
        shares.append(list(batches))
        assert len(batches) == len(shares[-1]) == len(expected) * n_accumulated
        assert batches.epoch == epoch + 1
    for step, batch in enumerate(expected):
        parts = [share[step * n_accumulated + part] for part in range(n_accumulated) for share in shares]
        assert list(itertools.chain(*parts)) == batch


def test_epochs_differ_and_repeat():
    batches = EpochBatches(30, batch_size=10, seed=1)
    first, second = list(batches), list(batches)
    indices = [[index for batch in epoch for _, index in batch] for epoch in (first, second)]
    assert sorted(indices[0]) == sorted(indices[1]) == list(range(30))
    assert indices[0] != indices[1]
    batches.epoch = 1
    assert list(batches) == second
    assert list(EpochBatches(30, batch_size=10, seed=2)) != first


def test_batches_that_cannot_be_divided():
    with pytest.raises(ValueError, match=r"batch_size=10 must be a multiple of n_processes \* n_accumulated = 2 \* 3"):
        EpochBatches(30, batch_size=10, n_processes=2, n_accumulated=3)
    with pytest.raises(ValueError, match="9 samples do not fill one batch of batch_size=10; take a smaller one"):
        EpochBatches(9, batch_size=10)
    with pytest.raises(ValueError, match="process must be less than n_processes=2, got 2"):
        EpochBatches(9, batch_size=2, n_processes=2, process=2)
    with pytest.raises(ValueError, match="n_accumulated must be at least 1, got 0"):
        EpochBatches(9, batch_size=2, n_accumulated=0)


def test_held_out_share_of_multi_hot_labels():
    labels = torch.zeros(50, 3, dtype=torch.uint8)
    training, validation = held_out_split(labels, 0.2, 0)
    assert (len(training), len(validation)) == (40, 10)
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(50))
    with pytest.raises(ValueError, match=r"validation_share must lie in \(0, 1\), got 1"):
        held_out_split(labels, 1, 0)


@given(st.integers(0, 1000))
def test_held_out_samples_leave_every_class_something_to_train_on(seed):
    labels = (torch.rand(30, 8, generator=torch.Generator().manual_seed(seed)) < 0.08).to(torch.uint8)
    labels[0, 3] = labels[1, 4] = 1
    training, validation = held_out_split(labels, 0.4, seed)
    assert torch.equal(labels.any(dim=0), labels[training].any(dim=0))
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(30))
    assert len(validation) <= 12
