import copy
import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters.centers import HashCenterGenerator, multilabel_centers
from hashcenters.losses.margin import DPNLoss
from references import semantic_center_by_loop


def by_formula(logits, target_codes, margin, weight):
    """The loss of every sample, one bit at a time."""
    losses = []
    for z, c in zip(logits.tolist(), target_codes.tolist(), strict=True):
        hinges = [max(0.0, margin - a * b) for a, b in zip(z, c, strict=True)]
        losses.append(sum(hinges) + weight * sum(a * a for a in z) / len(z))
    return torch.tensor(losses, dtype=torch.float64)


def sets(n_rows, n_classes, share=0.3):
    """Random label sets, every row with at least one class."""
    labels = torch.rand(n_rows, n_classes) < share
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("margin", "weight"), [(1.0, 0.0), (0.0, 0.0), (0.3, 1e-3), (2.0, 5.0)])
def test_equals_the_formula(dtype, tolerance, margin, weight):
    centers, logits = HashCenterGenerator(24)(10), torch.randn(40, 24, dtype=torch.float64).to(dtype)
    labels = torch.randint(10, (40,))
    expected = by_formula(logits, centers[labels], margin, weight)
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        loss = DPNLoss(centers, margin=margin, regularization_weight=weight, reduction=reduction)(logits, labels)
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.double(), reduced, rtol=tolerance, atol=0)


def test_equals_the_hinge_of_torch():
    """hinge_embedding_loss takes max(0, margin - x) where the target is -1."""
    centers, labels = HashCenterGenerator(16)(12), torch.randint(12, (50,))
    logits = torch.randn(50, 16)
    products = logits * centers[labels]
    expected = F.hinge_embedding_loss(products, torch.full_like(products, -1), margin=1.0) * 16
    torch.testing.assert_close(DPNLoss(centers)(logits, labels), expected)


def test_bounds_the_distance_to_the_center():
    centers, labels = HashCenterGenerator(16)(12), torch.randint(12, (500,))
    logits = torch.randn(500, 16) * torch.logspace(-3, 1, 500)[:, None]
    distances = ((logits >= 0) != (centers[labels] > 0)).sum(dim=1)
    assert (DPNLoss(centers, reduction="none")(logits, labels) >= distances).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_gradients(weight, reduction):
    """Away from the kink at the margin."""
    centers = HashCenterGenerator(8)(5)
    logits = torch.randn(4, 8, dtype=torch.float64)
    logits = torch.where((logits.abs() - 1).abs() < 0.01, 0.5, logits).requires_grad_()
    loss = DPNLoss(centers, regularization_weight=weight, reduction=reduction)
    for labels in (torch.tensor([0, 4, 2, 2]), sets(4, 5)):
        assert torch.autograd.gradcheck(lambda z, labels=labels: loss(z, labels), logits)


def test_gradient_is_the_same_at_every_size_and_ends_at_the_margin():
    loss = DPNLoss(torch.ones(1, 4), reduction="sum")
    logits = torch.tensor([[-100.0, 0.0, 0.99, 1.01]], requires_grad=True)
    loss(logits, torch.tensor([0])).backward()
    assert logits.grad.tolist() == [[-1, -1, -1, 0]]


def test_multilabel_targets_are_the_vote_of_the_classes():
    centers, labels, logits = HashCenterGenerator(16)(12), sets(300, 12), torch.randn(300, 16)
    loss = DPNLoss(centers, reduction="none", seed=9)
    rows = [semantic_center_by_loop(row.nonzero()[:, 0].tolist(), centers, loss.tie_bits) for row in labels]
    expected = by_formula(logits, torch.tensor(rows), 1.0, 0.0)
    for dtype in (torch.bool, torch.int64, torch.float32):
        torch.testing.assert_close(loss(logits, labels.to(dtype)).double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.tensor(rows), multilabel_centers(labels, centers, seed=9))
    classes = torch.randint(12, (300,))
    assert torch.equal(loss(logits, classes), loss(logits, F.one_hot(classes, 12)))
    assert torch.equal(loss(logits, classes), loss(logits, classes.to(torch.uint8)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """Sums of many bits stay exact, where half precision has lost the last ones."""
    centers, labels = HashCenterGenerator(256)(10), sets(32, 10)
    loss, features, layer = DPNLoss(centers), torch.randn(32, 12), torch.nn.Linear(12, 256)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(features)
        assert logits.dtype == dtype
        logits.retain_grad()
        value = loss(logits, labels)
    value.backward()
    exact = logits.detach().double().requires_grad_()
    expected = loss(exact, labels)
    expected.backward()
    assert (value.dtype, expected.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(value, expected.float())
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype))
    cast = copy.deepcopy(loss).to(dtype)
    assert (cast.centers.dtype, cast.seed.dtype, cast.tie_bits.dtype) == (dtype, torch.int64, torch.uint8)
    assert torch.equal(cast(logits, labels), value)


def test_works_compiled():
    centers, leaf = HashCenterGenerator(16)(12), torch.randn(30, 16, requires_grad=True)
    loss = DPNLoss(centers, regularization_weight=1e-3, seed=3)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for labels in (torch.randint(12, (30,)), sets(30, 12)):
        results = [
            (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, labels) for f in (compiled, loss))
        ]
        torch.testing.assert_close(*results)
    with pytest.raises(RuntimeError, match="logits contain NaN"):
        compiled(leaf.detach() * math.nan, torch.zeros(30, dtype=torch.int64))


def test_it_pulls_codes_to_centers():
    centers = HashCenterGenerator(16)(8)
    logits = torch.zeros(8, 16, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=1)
    for _ in range(20):
        optimizer.zero_grad()
        DPNLoss(centers)(logits, torch.arange(8)).backward()
        optimizer.step()
    assert torch.equal(logits.detach().sign(), centers)
    assert DPNLoss(centers)(logits, torch.arange(8)) == 0


def test_state_inputs_and_repr():
    centers, labels, logits = HashCenterGenerator(12)(10), sets(200, 10).float(), torch.randn(200, 12)
    before = [x.clone() for x in (centers, labels, logits)]
    loss, other = DPNLoss(centers, seed=1), DPNLoss(centers, seed=2)
    value = loss(logits, labels)
    assert all(torch.equal(x, y) for x, y in zip((centers, labels, logits), before, strict=True))
    assert other(logits, labels) != value
    assert list(loss.state_dict()) == ["centers", "seed", "tie_bits"]
    assert not list(loss.parameters())
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert other(logits, labels) == value
    assert "seed=1" in repr(other)
    assert "seed=?" in repr(other.to("meta"))
    centers *= -1
    assert torch.equal(loss.centers, -centers)


def test_bad_calls_are_refused():
    loss, labels = DPNLoss(HashCenterGenerator(8)(6)), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(torch.full((2, 8), math.nan), labels)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
        loss(torch.zeros(2, 9), labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples"):
        loss(torch.zeros(2, 8), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"1 of 2 rows have none \(row 1\)"):
        loss(torch.zeros(2, 8), torch.tensor([[1] * 6, [0] * 6]))
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    for reduction, shape in (("sum", ()), ("none", (0,))):
        empty = DPNLoss(loss.centers, reduction=reduction)(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
        assert empty.shape == shape
        assert empty.sum() == 0


def test_bad_options_are_refused():
    centers = torch.ones(3, 8)
    for name in ("margin", "regularization_weight"):
        for value in (-0.1, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be finite and at least 0, got {value}"):
                DPNLoss(centers, **{name: value})
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        DPNLoss(centers, reduction="batch")
    with pytest.raises(ValueError, match="seed must be at least 0"):
        DPNLoss(centers, seed=-1)
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        DPNLoss(centers * 0)
    with pytest.raises(TypeError, match="centers must be a floating-point tensor"):
        DPNLoss(centers.long())
