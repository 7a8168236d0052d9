import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from hashcenters.centers.randomness import random_bits
from hashcenters.losses.quantization import swd_quantization


def by_transport(values, signs):
    """Mean over bits of the cheapest pairing of values and signs; each value is split evenly where signs are more."""
    costs = []
    for column, targets in zip(values.T.tolist(), signs.T.tolist(), strict=True):
        pieces = np.repeat(column, len(targets) // len(column))
        cost = (pieces[:, None] - np.array(targets)) ** 2
        costs.append(cost[linear_sum_assignment(cost)].mean())
    return torch.tensor(float(np.mean(costs)), dtype=torch.float64)


def fair_coin(n_rows, n_bits):
    """Two signs for every value, so that an odd number of values is halved fairly."""
    return torch.cat([torch.ones(n_rows, n_bits), -torch.ones(n_rows, n_bits)])


def sample(n_rows, n_bits, seed):
    return torch.from_numpy(random_bits(seed, n_rows, n_bits, stream=8)) * 2.0 - 1


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32), st.booleans(), st.booleans())
def test_equals_the_cheapest_transport(n_rows, n_bits, seed, from_logits, ties):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_rows, n_bits, generator=random, dtype=torch.float64) * 2
    logits = logits.round() if ties else logits
    values = logits.tanh() if from_logits else logits
    loss = swd_quantization(logits, from_logits=from_logits)
    torch.testing.assert_close(loss, by_transport(values, fair_coin(n_rows, n_bits)))
    loss = swd_quantization(logits, from_logits=from_logits, seed=seed)
    torch.testing.assert_close(loss, by_transport(values, sample(n_rows, n_bits, seed)))


def test_is_the_mean_squared_error_to_the_signs_of_balanced_values():
    values = torch.randn(50, 8).abs() * torch.tensor([1.0, -1.0]).repeat(25)[:, None]
    torch.testing.assert_close(swd_quantization(values, from_logits=False), F.mse_loss(values, values.sign()))


def test_is_0_for_fair_signs_alone():
    signs = torch.tensor([1.0, -1.0]).repeat(8)[:, None].expand(16, 3)
    assert swd_quantization(signs, from_logits=False) == 0
    assert swd_quantization(signs * 100) == 0
    assert swd_quantization(torch.ones(16, 3), from_logits=False) == 2  # half of the values pay 2²
    assert swd_quantization(torch.zeros(16, 3)) == 1
    drawn = sample(16, 3, 5)
    assert swd_quantization(drawn.flip(0), from_logits=False, seed=5) == 0


def test_the_order_of_samples_does_not_count():
    logits = torch.randn(33, 8)
    for seed in (None, 3):
        assert torch.equal(swd_quantization(logits, seed=seed), swd_quantization(logits[torch.randperm(33)], seed=seed))


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("n_rows", [6, 7])
def test_gradients(n_rows, from_logits, seed):
    logits = torch.randn(n_rows, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: swd_quantization(z, from_logits=from_logits, seed=seed), logits)


def test_a_seed_has_one_sample_and_leaves_the_global_generator_alone():
    logits = torch.randn(64, 16)
    state = torch.get_rng_state()
    assert torch.equal(swd_quantization(logits, seed=3), swd_quantization(logits, seed=3))
    assert swd_quantization(logits, seed=3) != swd_quantization(logits, seed=4)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_agree_with_the_fair_coin_on_average():
    """What the counts of many signs vary about N/2 is small, and averages out."""
    logits = torch.randn(4096, 16)
    samples = torch.stack([swd_quantization(logits, seed=seed) for seed in range(20)])
    assert abs(samples.mean() - swd_quantization(logits)) < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    features, layer = torch.randn(32, 12), torch.nn.Linear(12, 16)
    for seed in (None, 1):
        with torch.autocast("cpu", dtype=dtype):
            logits = layer(features)
            assert logits.dtype == dtype
            value = swd_quantization(logits, seed=seed)
        expected = swd_quantization(logits.double(), seed=seed)
        assert (value.dtype, expected.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(value, expected.float())
        value.backward()
        assert torch.isfinite(layer.weight.grad).all()


def test_works_compiled():
    leaf = torch.randn(31, 8, requires_grad=True)
    compiled = torch.compile(swd_quantization, fullgraph=True, backend="aot_eager")
    results = [
        (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf) for f in (compiled, swd_quantization))
    ]
    torch.testing.assert_close(*results)


def test_it_balances_and_saturates():
    """Bits that start mostly on one side end half and half, near ±1."""
    logits = (torch.randn(40, 8) + 1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        swd_quantization(logits).backward()
        optimizer.step()
    assert torch.equal((logits > 0).sum(dim=0), torch.full((8,), 20))
    assert logits.tanh().abs().min() > 0.9


def test_inputs_stay():
    logits = torch.randn(9, 4)
    before = logits.clone()
    for from_logits in (True, False):
        swd_quantization(logits, from_logits=from_logits, seed=1)
    assert torch.equal(logits, before)


def test_bad_calls_are_refused():
    with pytest.raises(TypeError, match="logits must be a floating-point tensor"):
        swd_quantization(torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"logits must be a floating-point tensor.*got ndarray"):
        swd_quantization(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=1\), got \(3,\)"):
        swd_quantization(torch.ones(3))
    with pytest.raises(ValueError, match="logits contain NaN"):
        swd_quantization(torch.full((3, 4), math.nan))
    for shape in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match="logits must hold at least one sample and one bit, got shape"):
            swd_quantization(torch.zeros(shape))
    with pytest.raises(ValueError, match="seed must be at least 0"):
        swd_quantization(torch.ones(3, 4), seed=-1)
    with pytest.raises(TypeError, match="seed must be an int"):
        swd_quantization(torch.ones(3, 4), seed=0.5)
