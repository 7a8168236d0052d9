import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from hashcenters.losses.pairwise import similar_pairs
from hashcenters.losses.two_stage import CNNHLoss, cnnh_codes, relaxed_codes


def squares(codes, similarity):
    return ((similarity - codes @ codes.T / codes.shape[1]) ** 2).sum()


def by_matrix(labels, n_bits, n_iterations, seed):
    """The first stage with S and L = H H^T - n_bits S as full matrices, computed anew for every entry."""
    similarity = np.where(similar_pairs(labels).numpy(), 1.0, -1.0)
    stream = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(32,)))
    codes = (stream.random_raw((len(labels), n_bits)) >> np.uint64(11)) / 2**52 - 1
    objectives = [squares(codes, similarity)]
    for _ in range(n_iterations):
        for i in np.argsort(stream.random_raw(len(labels)), kind="stable"):
            for j in range(n_bits):
                error = codes @ codes.T - n_bits * similarity
                slope = 4 * error[i] @ codes[:, j]
                curvature = 4 * (codes[:, j] @ codes[:, j] + codes[i, j] ** 2 + error[i, i])
                tried = codes.copy()
                if curvature > 0:
                    tried[i, j] = np.clip(codes[i, j] - slope / curvature, -1, 1)
                elif slope:
                    tried[i, j] = -np.sign(slope)
                if squares(tried, similarity) <= squares(codes, similarity):
                    codes = tried
        objectives.append(squares(codes, similarity))
    return codes, objectives


LABELS = {
    "classes": torch.tensor([3, 0, 7, 3, 0, 3, 9, 7, 7, 0, 3, 9]),
    "several": torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]),
    "one class": torch.zeros(6, dtype=torch.int64),
    "one sample": torch.tensor([4]),
    "all different": torch.arange(7),
    "two samples": torch.tensor([1, 0]),  # fewer samples than bits: curvature can be negative
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize(("n_bits", "seed"), [(1, 0), (5, 3), (16, 2**62)])
def test_first_stage_equals_full_matrices(labels, n_bits, seed):
    codes, objectives = relaxed_codes(labels, n_bits, n_iterations=3, seed=seed)
    expected, values = by_matrix(labels, n_bits, 3, seed)
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(objectives, values, rtol=1e-9, atol=1e-8)
    signs = cnnh_codes(labels, n_bits, n_iterations=3, seed=seed)
    assert signs.dtype == torch.float32
    np.testing.assert_array_equal(signs.numpy(), np.where(expected >= 0, 1, -1))


@pytest.mark.parametrize("n_bits", [8, 33])
def test_objective_never_rises_and_is_that_of_the_result(n_bits):
    for labels in (torch.randint(10, (300,)), torch.rand(300, 12) < 0.1):
        codes, objectives = relaxed_codes(labels, n_bits, n_iterations=10, seed=0)
        assert (np.diff(objectives) <= 1e-6).all()
        assert objectives[-1] < 0.9 * objectives[0]
        similarity = np.where(similar_pairs(labels).numpy(), 1.0, -1.0)
        assert objectives[-1] == pytest.approx(squares(codes, similarity), rel=1e-9)
        assert np.abs(codes).max() <= 1


def test_codes_tell_classes_apart():
    labels = torch.randint(10, (500,))
    codes = cnnh_codes(labels, 64)
    products, similar = codes @ codes.T / 64, similar_pairs(labels)
    assert products[similar].mean() > 0.9
    assert products[~similar].mean() < 0.05
    assert (cnnh_codes(torch.zeros(50, dtype=torch.int64), 16).unique(dim=0)).shape == (1, 16)


def test_several_labels_and_label_types():
    labels = torch.rand(200, 9) < 0.15  # two bytes of bits
    expected = cnnh_codes(labels, 16)
    products, similar = expected @ expected.T / 16, similar_pairs(labels)
    assert products[similar].mean() > products[~similar].mean() + 0.4
    for dtype in (torch.int64, torch.uint8, torch.float32, torch.bfloat16):
        assert torch.equal(cnnh_codes(labels.to(dtype), 16), expected)
    ids = torch.randint(6, (50,))
    expected = cnnh_codes(ids, 16)
    for same in (ids.to(torch.uint8), ids + 2**40, F.one_hot(ids.flip(0), 6).flip(0)):
        codes = cnnh_codes(same, 16)
        # Sums over label sets in another order round differently, so one-hot rows are only nearly the same problem.
        assert torch.equal(codes, expected) or (same.ndim == 2 and (codes == expected).float().mean() > 0.95)


def test_more_label_sets_than_a_block():
    labels = ((torch.arange(1500)[:, None] >> torch.arange(11)) & 1).bool()
    codes, objectives = relaxed_codes(labels, 2, n_iterations=1, seed=0)
    similarity = np.where(similar_pairs(labels).numpy(), 1.0, -1.0)
    assert objectives[-1] == pytest.approx(squares(codes, similarity), rel=1e-9)


def test_seeds_and_inputs():
    labels = torch.randint(10, (100,))
    before = labels.clone()
    codes = cnnh_codes(labels, 32, seed=5)
    assert torch.equal(codes, cnnh_codes(labels, 32, seed=5))
    assert not torch.equal(codes, cnnh_codes(labels, 32, seed=6))
    assert torch.equal(labels, before)


def test_import_leaves_numba_alone():
    code = "import hashcenters.losses.two_stage, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_calls_of_the_first_stage_are_refused():
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="labels must hold at least one sample, got none"):
        cnnh_codes(labels[:0], 8)
    with pytest.raises(TypeError, match="labels must be a tensor, got list"):
        cnnh_codes([0, 1], 8)
    with pytest.raises(TypeError, match=r"labels of shape \(N,\) are class ids and must be integers"):
        cnnh_codes(labels.float(), 8)
    with pytest.raises(ValueError, match="are class ids and must be at least 0"):
        cnnh_codes(-labels, 8)
    with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
        cnnh_codes(torch.full((2, 3), 0.5), 8)
    with pytest.raises(ValueError, match=r"labels must be class ids \(N,\) or multi-hot"):
        cnnh_codes(torch.zeros(2, 0), 8)
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        cnnh_codes(labels, 0)
    with pytest.raises(ValueError, match="n_iterations must be at least 1, got 0"):
        cnnh_codes(labels, 8, n_iterations=0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        cnnh_codes(labels, 8, seed=-1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_second_stage_is_the_mean_squared_error_of_torch(dtype):
    logits, targets = torch.randn(20, 8, dtype=dtype), torch.randint(2, (20, 8)) * 2.0 - 1
    expected = F.mse_loss(logits.tanh(), targets.to(dtype), reduction="none").mean(dim=1)
    slow = [
        sum((math.tanh(z) - t) ** 2 for z, t in zip(*rows, strict=True)) / 8
        for rows in zip(logits, targets, strict=True)
    ]
    torch.testing.assert_close(expected, torch.tensor(slow, dtype=dtype))
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        value = CNNHLoss(reduction=reduction)(logits, targets)
        assert value.dtype == dtype
        torch.testing.assert_close(value, reduced)
    assert torch.equal(CNNHLoss()(logits * math.inf, targets), CNNHLoss()(logits.sign() * 100, targets))


def test_gradients_of_the_second_stage():
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(2, (4, 6)) * 2.0 - 1
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(lambda z, r=reduction: CNNHLoss(reduction=r)(z, targets), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    features, layer, loss = torch.randn(12, 10), torch.nn.Linear(10, 16), CNNHLoss()
    targets = (torch.randint(2, (12, 16)) * 2 - 1).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(features)
        logits.retain_grad()
        value = loss(logits, targets)
    value.backward()
    exact = logits.detach().double().requires_grad_()
    expected = loss(exact, targets)
    expected.backward()
    assert (logits.dtype, value.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(value, expected.float())
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0.01, atol=1e-5)


def test_works_compiled():
    torch.compiler.reset()
    leaf, targets = torch.randn(12, 8, requires_grad=True), torch.randint(2, (12, 8)) * 2.0 - 1
    compiled = torch.compile(CNNHLoss(), fullgraph=True, backend="aot_eager")
    results = [
        (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, targets) for f in (compiled, CNNHLoss()))
    ]
    torch.testing.assert_close(*results)


def train(features, targets, *, shuffle):
    torch.manual_seed(1)
    network = torch.nn.Linear(6, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    loader = DataLoader(TensorDataset(features, targets), batch_size=10, shuffle=shuffle)
    for _ in range(60):
        for batch, target_codes in loader:
            optimizer.zero_grad()
            CNNHLoss()(network(batch), target_codes).backward()
            optimizer.step()
    return torch.where(network(features) >= 0, 1.0, -1.0)


def test_shuffling_does_not_mix_up_targets():
    labels = torch.randperm(60) % 6
    features, codes = F.one_hot(labels, 6) + torch.randn(60, 6) * 0.05, cnnh_codes(labels, 16)
    places = torch.arange(60)
    order = []
    for place, target_codes in DataLoader(TensorDataset(places, codes), batch_size=7, shuffle=True):
        assert torch.equal(target_codes, codes[place])
        order += place.tolist()
    assert order != sorted(order)
    shuffled, in_order = train(features, codes, shuffle=True), train(features, codes, shuffle=False)
    assert (shuffled == in_order).float().mean() > 0.98
    assert (shuffled == codes).float().mean() > 0.98
    # What a table beside a shuffled loader amounts to:
    assert (train(features, codes[torch.tensor(order)], shuffle=True) == codes).float().mean() < 0.9


def test_bad_calls_of_the_second_stage_are_refused():
    loss, logits, targets = CNNHLoss(), torch.zeros(2, 8), torch.ones(2, 8)
    advice = (
        r"CNNH takes the codes of the batch's samples, not labels; put cnnh_codes\(labels, n_bits\) in the data set"
    )
    for labels, got in ((torch.tensor([0, 1]), "torch.int64"), (torch.ones(2, 8) > 0, "torch.bool"), ([0, 1], "list")):
        with pytest.raises(TypeError, match=f"target_codes must be a floating-point tensor.*got {got}; {advice}"):
            loss(logits, labels)
    with pytest.raises(
        ValueError, match=rf"target_codes must have the shape of logits, \(2, 8\), got \(2, 3\); {advice}"
    ):
        loss(logits, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=f"target_codes must hold only -1 and .1; {advice}"):
        loss(logits, torch.eye(8)[:2])
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(logits * math.nan, targets)
    with pytest.raises(TypeError, match="logits must be a floating-point tensor"):
        loss(logits.long(), targets)
    for shape in ((8,), (2, 0)):
        with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=1\), got"):
            loss(torch.zeros(shape), targets)
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(logits[:0], targets[:0])
    assert CNNHLoss(reduction="none")(logits[:0], targets[:0]).shape == (0,)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        CNNHLoss(reduction="batch")


def test_samples_without_labels_are_like_nothing():
    assert set(cnnh_codes(torch.zeros(4, 3, dtype=torch.int64), 8).flatten().tolist()) <= {-1.0, 1.0}
    labels = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    codes = cnnh_codes(labels, 16)
    assert codes.shape == (4, 16)
    assert (codes @ codes.T).fill_diagonal_(0).max() < 16
