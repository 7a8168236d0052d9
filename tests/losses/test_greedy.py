import copy
import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters.losses.greedy import GreedyHashLoss


def sets(n_rows, n_classes):
    """Random label sets, every row with at least one class."""
    labels = torch.rand(n_rows, n_classes) < 0.3
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


def by_formula(loss, logits, labels):
    """The loss of every sample, one class at a time; labels are multi-hot."""
    weights, biases = loss.classifier.weight.double().tolist(), loss.classifier.bias.double().tolist()
    losses = []
    for z, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        b = [1 if a >= 0 else -1 for a in z]
        scores = [sum(p * q for p, q in zip(w, b, strict=True)) + v for w, v in zip(weights, biases, strict=True)]
        total = sum(math.exp(score) for score in scores)
        entropy = sum(-math.log(math.exp(s) / total) for s, positive in zip(scores, y, strict=True) if positive)
        penalty = sum(abs(abs(a) - 1) ** 3 for a in z) / len(z)
        losses.append(entropy / sum(y) + loss.penalty_weight * penalty)
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("weight", [0.0, 0.1, 3.0])
def test_equals_the_formula(dtype, tolerance, weight):
    logits = (torch.randn(40, 12, dtype=torch.float64) * 2).to(dtype)
    logits[:5, :3] = 0
    classes, multi_hot = torch.randint(7, (40,)), sets(40, 7)
    for labels, hot in (
        (classes, F.one_hot(classes, 7)),
        (multi_hot, multi_hot.long()),
        (multi_hot.float(), multi_hot),
    ):
        for reduction in ("none", "mean", "sum"):
            loss = GreedyHashLoss(7, 12, penalty_weight=weight, reduction=reduction)
            expected = by_formula(loss, logits, hot)
            if reduction != "none":
                expected = expected.mean() if reduction == "mean" else expected.sum()
            value = loss(logits, labels)
            assert value.dtype == dtype
            torch.testing.assert_close(value.detach().double(), expected, rtol=tolerance, atol=tolerance)


def test_without_penalty_it_is_cross_entropy_of_the_codes_and_passes_their_gradient_on():
    loss, labels = GreedyHashLoss(7, 12, penalty_weight=0), torch.randint(7, (40,))
    logits = torch.randn(40, 12) * torch.logspace(-20, 20, 12)  # signs are exact at every size
    logits[0] = 0
    logits.requires_grad_()
    codes = torch.where(logits >= 0, 1.0, -1.0).requires_grad_()
    expected = F.cross_entropy(loss.classifier(codes), labels)
    value = loss(logits, labels)
    torch.testing.assert_close(value, expected)
    for slope, wanted in zip(
        torch.autograd.grad(value, [logits, *loss.parameters()]),
        torch.autograd.grad(expected, [codes, *loss.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(slope, wanted)


def test_gradients():
    """Of the classifier, and of the penalty where a classifier of zeros leaves it alone."""
    loss, labels = GreedyHashLoss(5, 6).double(), sets(4, 5)
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    weight, bias = loss.classifier.weight, loss.classifier.bias

    def of_classifier(weight, bias):
        return torch.func.functional_call(
            loss, {"classifier.weight": weight, "classifier.bias": bias}, (logits.detach(), labels)
        )

    assert torch.autograd.gradcheck(of_classifier, (weight, bias))
    torch.nn.init.zeros_(weight)
    for labels in (torch.randint(5, (4,)), sets(4, 5)):
        assert torch.autograd.gradcheck(lambda z, labels=labels: loss(z, labels), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    loss, features, layer = GreedyHashLoss(10, 16), torch.randn(32, 12), torch.nn.Linear(12, 16)
    for labels in (torch.randint(10, (32,)), sets(32, 10)):
        with torch.autocast("cpu", dtype=dtype):
            logits = layer(features)
            logits.retain_grad()
            value = loss(logits, labels)
        value.backward()
        exact = logits.detach().double().requires_grad_()
        expected = loss(exact, labels)
        expected.backward()
        assert (logits.dtype, value.dtype, expected.dtype) == (dtype, torch.float32, torch.float64)
        torch.testing.assert_close(value, expected.float())
        torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0.01, atol=1e-5)
    cast = copy.deepcopy(loss).to(dtype)
    assert cast(logits, labels).dtype == torch.float32


def test_works_compiled():
    torch.compiler.reset()
    loss, leaf = GreedyHashLoss(12, 16), torch.randn(30, 16, requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for labels in (torch.randint(12, (30,)), sets(30, 12)):
        results = [
            (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, labels) for f in (compiled, loss))
        ]
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("multi", [False, True])
def test_network_and_classifier_learn_codes_of_classes(multi):
    labels = torch.arange(40) % 4
    features = F.one_hot(labels, 4).float() + torch.randn(40, 4) * 0.1
    network, loss = torch.nn.Linear(4, 16), GreedyHashLoss(4, 16)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(network(features), F.one_hot(labels, 4) if multi else labels).backward()
        optimizer.step()
    logits = network(features).detach()
    distance = ((logits >= 0)[:, None] != (logits >= 0)[None]).sum(dim=2)
    similar = labels[:, None] == labels
    assert distance[similar].max() < distance[~similar].min()
    assert (logits.abs() - 1).abs().mean() < 0.4  # the penalty is flat near 1


def test_state_and_inputs():
    loss, logits, labels = GreedyHashLoss(6, 8), torch.randn(20, 8), sets(20, 6).float()
    before = logits.clone(), labels.clone()
    value = loss(logits, labels)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])
    assert sorted(name for name, _ in loss.named_parameters()) == ["classifier.bias", "classifier.weight"]
    other = GreedyHashLoss(6, 8)
    assert other(logits, labels) != value
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert other(logits, labels) == value
    assert "n_classes=6, n_bits=8, penalty_weight=0.1, reduction='mean'" in repr(loss.to("meta"))


def test_bad_calls_are_refused():
    loss, labels = GreedyHashLoss(6, 8), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(torch.full((2, 8), math.nan), labels)
    with pytest.raises(ValueError, match="logits must be finite, got infinity"):
        loss(torch.full((2, 8), math.inf), labels)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
        loss(torch.zeros(2, 9), labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples"):
        loss(torch.zeros(2, 8), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="every row of labels must have at least one class"):
        loss(torch.zeros(2, 8), torch.tensor([[1] * 6, [0] * 6]))
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    for reduction, shape in (("sum", ()), ("none", (0,))):
        empty = GreedyHashLoss(6, 8, reduction=reduction)(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
        assert empty.shape == shape
    for sizes, name in (((0, 8), "n_classes"), ((6, 0), "n_bits")):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            GreedyHashLoss(*sizes)
    with pytest.raises(TypeError, match="n_bits must be an int"):
        GreedyHashLoss(6, 8.0)
    for weight in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"penalty_weight must be finite and at least 0, got {weight}"):
            GreedyHashLoss(6, 8, penalty_weight=weight)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        GreedyHashLoss(6, 8, reduction="batch")
