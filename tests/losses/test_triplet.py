import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.losses.triplet import DivideAndEncodeHead, DNNHLoss


def batch(n_rows=10, n_bits=12, n_classes=4, *, multi=False, dtype=torch.float64):
    logits = torch.randn(n_rows, n_bits, dtype=torch.float64).to(dtype)
    if multi:
        return logits, torch.rand(n_rows, n_classes) < 0.3  # some rows without labels
    return logits, torch.randint(n_classes, (n_rows,))


def triplets(labels):
    y = labels.tolist()
    share = [[a == b if isinstance(a, int) else any(map(min, a, b)) for b in y] for a in y]
    n = range(len(y))
    return [(i, p, m) for i in n for p in n for m in n if i not in (p, m) and share[i][p] and not share[i][m]]


def by_triple_loop(logits, labels, margin=1.0, epsilon=0.5):
    """Losses of samples from the formula, in plain Python."""
    h = [[1 / (1 + math.exp(-2 * x)) for x in row] for row in logits.double().tolist()]
    h = [[0 if x < 0.5 - epsilon else 1 if x > 0.5 + epsilon else x for x in row] for row in h]
    found, samples = triplets(labels), [0.0] * len(h)
    for i, p, m in found:
        near, far = (sum((x - y) ** 2 for x, y in zip(h[i], h[j], strict=True)) for j in (p, m))
        samples[i] += max(0, margin + near - far) * len(h) / len(found)
    return torch.tensor(samples, dtype=torch.float64)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("margin", [0.1, 1, 50])
@pytest.mark.parametrize("epsilon", [0.5, 0.2])
def test_equals_the_triple_loop(multi, dtype, tolerance, margin, epsilon):
    logits, labels = batch(multi=multi, dtype=dtype)
    expected = by_triple_loop(logits, labels, margin, epsilon)
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        value = DNNHLoss(margin=margin, epsilon=epsilon, reduction=reduction)(logits, labels)
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), reduced, rtol=tolerance, atol=tolerance)


@given(n_rows=st.integers(1, 6), n_bits=st.integers(1, 4), n_classes=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_equals_the_triple_loop_at_small_sizes(n_rows, n_bits, n_classes, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(-1, 2, (n_rows, n_bits), generator=random).double()  # many equal distances
    for labels in (
        torch.randint(n_classes, (n_rows,), generator=random),
        torch.randint(2, (n_rows, n_classes), generator=random),
    ):
        expected = by_triple_loop(logits, labels)
        torch.testing.assert_close(DNNHLoss(reduction="none")(logits, labels), expected)


def test_equals_the_stock_hinge():
    """The mean over triplets is torch's triplet loss with squared distances."""
    logits, labels = batch()
    anchor, positive, negative = (torch.sigmoid(logits * 2)[list(rows)] for rows in zip(*triplets(labels), strict=True))
    expected = F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: ((a - b) ** 2).sum(dim=1), margin=2.0
    )
    torch.testing.assert_close(DNNHLoss(margin=2)(logits, labels), expected)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("epsilon", [0.5, 0.3])
def test_gradient(multi, epsilon):
    logits, labels = batch(6, 4, 3, multi=multi)
    for reduction in ("mean", "none"):
        loss = DNNHLoss(epsilon=epsilon, reduction=reduction)
        assert loss(logits, labels).sum() > 0
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, labels), logits.requires_grad_())


def test_the_threshold_stops_gradients_outside_its_band():
    leaf = torch.tensor([[0.1, 2.0], [-0.1, -2.0], [0.2, 2.0]], requires_grad=True)
    DNNHLoss(epsilon=0.2)(leaf, torch.tensor([0, 0, 1])).backward()
    assert (leaf.grad[:, 0] != 0).all()
    assert (leaf.grad[:, 1] == 0).all()


def test_permutation_of_samples_and_classes():
    for multi in (False, True):
        logits, labels = batch(multi=multi)
        order = torch.randperm(10)
        samples = DNNHLoss(reduction="none")(logits, labels)
        torch.testing.assert_close(DNNHLoss(reduction="none")(logits[order], labels[order]), samples[order])
        renamed = labels[:, torch.randperm(4)] if multi else torch.randperm(1000)[labels]
        torch.testing.assert_close(DNNHLoss()(logits, renamed), samples.mean())


def test_class_ids_are_one_hot_rows():
    logits, labels = batch()
    expected = DNNHLoss()(logits, labels)
    for same in (F.one_hot(labels, 4), F.one_hot(labels, 4).bool(), F.one_hot(labels, 4).float()):
        assert torch.equal(DNNHLoss()(logits, same), expected)


def test_batches_without_triplets():
    logits = torch.randn(4, 6)
    for rows, labels in (
        (4, torch.zeros(4).long()),
        (4, torch.arange(4)),
        (4, torch.zeros(4, 3)),
        (1, torch.tensor([0])),
    ):
        leaf = logits[:rows].clone().requires_grad_()
        value = DNNHLoss()(leaf, labels)
        value.backward()
        assert value == 0
        assert not leaf.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """The loss of half-precision logits is the loss of their values, and so is its gradient, also through the head."""
    head, features = DivideAndEncodeHead(10, 16, slice_width=4), torch.randn(12, 10)
    for labels in (torch.randint(4, (12,)), torch.rand(12, 5) < 0.3):
        with torch.autocast("cpu", dtype=dtype):
            logits = head(features)
            assert logits.dtype == dtype
            logits.retain_grad()
            value = DNNHLoss()(logits, labels)
        value.backward()
        exact = logits.detach().double().requires_grad_()
        expected = DNNHLoss()(exact, labels)
        expected.backward()
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=0.02, atol=1e-4)
        assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


def test_saturated_codes_are_finite():
    labels, signs = torch.tensor([0, 0, 1]), torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])
    for size in (0.0, 30.0, 1e30, math.inf):
        leaf = (torch.where(signs > 0, size, -size)).requires_grad_()
        value = DNNHLoss()(leaf, labels)
        value.backward()
        torch.testing.assert_close(value.item(), 1.5 if size else 1.0)  # hinges 1 + 1 - 1 and 1 + 1 - 0
        assert torch.isfinite(leaf.grad).all()


def test_relaxed_codes():
    logits, labels = batch()
    torch.testing.assert_close(DNNHLoss(from_logits=False)(logits.tanh(), labels), DNNHLoss()(logits, labels))
    with pytest.raises(ValueError, match=r"logits must lie in \[-1, 1\] with from_logits=False, got one outside"):
        DNNHLoss(from_logits=False)(torch.full((2, 4), -1.01), torch.tensor([0, 0]))


def test_works_compiled():
    compiled = torch.compile(DNNHLoss(), fullgraph=True, backend="aot_eager")
    for multi in (False, True):
        logits, labels = batch(multi=multi, dtype=torch.float32)
        leaf = logits.requires_grad_()
        pair = (compiled(leaf, labels), DNNHLoss()(leaf, labels))
        torch.testing.assert_close(*[(value, torch.autograd.grad(value, leaf)[0]) for value in pair])


def test_it_separates_classes():
    labels = torch.arange(12) % 3
    features, head = torch.randn(12, 20), DivideAndEncodeHead(20, 8)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        DNNHLoss()(head(features), labels).backward()
        optimizer.step()
    codes = head(features) >= 0
    distance = (codes[:, None] != codes[None]).sum(dim=2)
    similar = labels[:, None] == labels
    assert distance[similar].max() < distance[~similar].min()


def test_inputs_stay():
    logits, labels = batch(multi=True)
    before = logits.clone(), labels.clone()
    DNNHLoss(epsilon=0.1)(logits, labels)
    DNNHLoss(from_logits=False, epsilon=0.1)(logits.tanh_(), labels)
    assert torch.equal(logits, before[0].tanh())
    assert torch.equal(labels, before[1])


def test_bad_calls_of_the_loss_are_refused():
    loss, logits = DNNHLoss(), torch.zeros(2, 8)
    with pytest.raises(TypeError, match=r"logits must be a floating-point tensor of shape \(N, n_bits\)"):
        loss(logits.bool(), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(logits * math.nan, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples"):
        loss(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
        loss(logits, torch.full((2, 3), 2))
    empty, none = torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(empty, none)
    assert DNNHLoss(reduction="sum")(empty, none) == 0
    assert DNNHLoss(reduction="none")(empty, none).shape == (0,)


def test_bad_options_are_refused():
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"margin must be finite and above 0, got {value}"):
            DNNHLoss(margin=value)
    for value in (0, 0.6, math.nan):
        with pytest.raises(ValueError, match=rf"epsilon must lie in \(0, 0.5\], got {value}"):
            DNNHLoss(epsilon=value)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        DNNHLoss(reduction="batch")


@pytest.mark.parametrize("slice_width", [None, 5])
def test_every_bit_of_the_head_sees_its_own_slice(slice_width):
    head, features = DivideAndEncodeHead(12, 4, slice_width=slice_width), torch.randn(7, 12)
    width = 3 if slice_width is None else 5
    hidden = features if slice_width is None else head.project(features).clamp(min=0)
    expected = [
        [dot + head.bias[k].item() for k, dot in enumerate((row.view(4, width) * head.weight).sum(dim=1).tolist())]
        for row in hidden
    ]
    torch.testing.assert_close(head(features), torch.tensor(expected))
    assert head(features[:0]).shape == (0, 4)
    bound = width**-0.5
    assert head.weight.abs().max() <= bound
    names = ["weight", "bias"] if slice_width is None else ["weight", "bias", "project.weight", "project.bias"]
    assert list(head.state_dict()) == names
    assert head.double()(features.double()).dtype == torch.float64


def test_gradient_of_the_head():
    head = DivideAndEncodeHead(6, 3, slice_width=2).double()
    assert torch.autograd.gradcheck(head, torch.randn(4, 6, dtype=torch.float64, requires_grad=True))


def test_bad_calls_of_the_head_are_refused():
    with pytest.raises(ValueError, match=r"in_features must be a multiple of n_bits=4 with slice_width=None, got 10"):
        DivideAndEncodeHead(10, 4, slice_width=None)
    for name, sizes in (("in_features", (0, 4, 2)), ("n_bits", (8, 0, 2)), ("slice_width", (8, 4, 0))):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            DivideAndEncodeHead(*sizes[:2], slice_width=sizes[2])
    with pytest.raises(TypeError, match="slice_width must be an int, got 2.5"):
        DivideAndEncodeHead(8, 4, slice_width=2.5)
    for shape in ((8,), (2, 7), (2, 8, 1)):
        with pytest.raises(ValueError, match=r"features must have shape \(N, in_features=8\), got .*pool feature maps"):
            DivideAndEncodeHead(8, 4)(torch.zeros(shape))
