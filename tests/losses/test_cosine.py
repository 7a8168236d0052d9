import copy
import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters.centers import HashCenterGenerator
from hashcenters.losses.cosine import BatchNormHead, MDSLoss, OrthoHashLoss


def by_formula(logits, labels, centers, scale, margin, angular):
    """The loss of every sample, one class at a time; labels are lists of classes."""
    losses = []
    for z, classes in zip(logits.tolist(), labels, strict=True):
        scores = []
        for c, center in enumerate(centers.tolist()):
            dot = sum(a * b for a, b in zip(z, center, strict=True))
            cosine = dot / math.sqrt(sum(a * a for a in z) * len(z))
            if c in classes:
                cosine = math.cos(math.acos(cosine) + margin) if angular else cosine - margin
            scores.append(scale * cosine)
        total = sum(math.exp(score) for score in scores)
        losses.append(sum(-math.log(math.exp(scores[c]) / total) for c in classes) / len(classes))
    return torch.tensor(losses, dtype=torch.float64)


def sets(n_rows, n_classes, share=0.3):
    """Random label sets, every row with at least one class."""
    labels = torch.rand(n_rows, n_classes) < share
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


def gradient(loss, logits, labels):
    leaf = logits.clone().requires_grad_()
    loss(leaf, labels).backward()
    return leaf.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("options", [
    {},
    {"margin": 0.0},
    {"scale": 30.0, "margin": 0.5},
    {"margin_type": "angular"},
    {"margin_type": "angular", "scale": 3.0, "margin": 0.5},
])  # fmt: skip
def test_equals_the_formula(dtype, tolerance, options):
    centers, logits = HashCenterGenerator(24)(10), (torch.randn(40, 24, dtype=torch.float64) * 3).to(dtype)
    scale, margin = options.get("scale", math.sqrt(24)), options.get("margin", 0.2)
    angular = options.get("margin_type") == "angular"
    classes, multi_hot = torch.randint(10, (40,)), sets(40, 10)
    for labels, lists in (
        (classes, [[c] for c in classes.tolist()]),
        (multi_hot, [row.nonzero()[:, 0].tolist() for row in multi_hot]),
    ):
        expected = by_formula(logits, lists, centers, scale, margin, angular)
        for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
            loss = OrthoHashLoss(centers, reduction=reduction, **options)(logits, labels)
            assert loss.dtype == dtype
            torch.testing.assert_close(loss.double(), reduced, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("margin_type", ["cosine", "angular"])
def test_without_margin_it_is_cross_entropy_of_scaled_cosines(margin_type):
    centers, logits, labels = HashCenterGenerator(16)(12), torch.randn(50, 16), torch.randint(12, (50,))
    cosines = F.cosine_similarity(logits[:, None], centers[None], dim=2)
    loss = OrthoHashLoss(centers, scale=7.0, margin=0.0, margin_type=margin_type)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(7 * cosines, labels))
    soft = sets(50, 12).float()
    torch.testing.assert_close(loss(logits, soft), F.cross_entropy(7 * cosines, F.normalize(soft, p=1, dim=1)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("margin_type", ["cosine", "angular"])
def test_gradients(margin_type, reduction):
    centers = HashCenterGenerator(8)(5)
    logits = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    loss = OrthoHashLoss(centers, margin_type=margin_type, reduction=reduction)
    for labels in (torch.tensor([0, 4, 2, 2]), sets(4, 5)):
        assert torch.autograd.gradcheck(lambda z, labels=labels: loss(z, labels), logits)


def test_labels_of_every_kind():
    centers, labels, logits = HashCenterGenerator(16)(20), torch.randint(20, (50,)), torch.randn(50, 16)
    for margin_type in ("cosine", "angular"):
        loss = OrthoHashLoss(centers, margin_type=margin_type)
        expected = loss(logits, labels)
        assert torch.equal(loss(logits, labels.to(torch.uint8)), expected)
        multi_hot = F.one_hot(labels, 20)
        for dtype in (torch.int64, torch.bool, torch.float32, torch.float16):
            assert torch.equal(loss(logits, multi_hot.to(dtype)), expected)


def test_only_the_direction_counts_at_every_size():
    centers, labels = HashCenterGenerator(16)(10), torch.randint(10, (8,))
    loss, logits = OrthoHashLoss(centers), torch.randn(8, 16)
    expected, slope = loss(logits, labels), gradient(loss, logits, labels)
    for factor in (2.0**-100, 2.0**-30, 2.0**30, 2.0**120):
        assert torch.equal(loss(logits * factor, labels), expected)  # powers of two round nothing
        torch.testing.assert_close(gradient(loss, logits * factor, labels) * factor, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("margin_type", ["cosine", "angular"])
def test_zero_saturated_and_infinite_logits(margin_type):
    """A head of zeros learns: its gradient points to the center, from the others, and is finite."""
    centers, labels = HashCenterGenerator(16, method="paper")(4), torch.arange(4)
    loss = OrthoHashLoss(centers, margin_type=margin_type)
    slope = gradient(loss, torch.zeros(4, 16), labels)
    assert torch.isfinite(slope).all()
    assert (-slope * centers).sum(dim=1).min() > 0
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for size in (1.0, torch.finfo(dtype).max, math.inf):
            logits = (centers * size).to(dtype)
            cosines = torch.eye(4) if margin_type == "angular" else torch.eye(4) * 0.8
            if margin_type == "angular":
                cosines = cosines * (math.cos(0.2) - 1e-3 * math.sin(0.2))
            expected = F.cross_entropy(4 * cosines, labels)
            torch.testing.assert_close(loss(logits, labels).float(), expected, rtol=1e-5, atol=1e-6)
            assert torch.isfinite(gradient(loss, logits, labels)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """The loss of half-precision logits is the loss of their values, and a whole step has the right gradient."""
    centers, labels = HashCenterGenerator(16)(10), sets(32, 10)
    loss, features, layer = OrthoHashLoss(centers), torch.randn(32, 12), torch.nn.Linear(12, 16)
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
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0.01, atol=1e-5)
    cast = copy.deepcopy(loss).to(dtype)
    assert cast.centers.dtype == dtype
    assert torch.equal(cast(logits, labels), value)


def test_works_compiled():
    centers, leaf = HashCenterGenerator(16)(12), torch.randn(30, 16, requires_grad=True)
    for margin_type in ("cosine", "angular"):
        torch.compiler.reset()
        loss = OrthoHashLoss(centers, margin_type=margin_type)
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        for labels in (torch.randint(12, (30,)), sets(30, 12)):
            results = [
                (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, labels) for f in (compiled, loss))
            ]
            torch.testing.assert_close(*results)
    with pytest.raises(RuntimeError, match="every row of labels must have at least one class"):
        compiled(leaf, sets(30, 12) & False)


def test_it_pulls_codes_to_centers():
    centers = HashCenterGenerator(16)(8)
    logits = torch.randn(8, 16, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=20)
    for _ in range(200):
        optimizer.zero_grad()
        OrthoHashLoss(centers)(logits, torch.arange(8)).backward()
        optimizer.step()
    assert torch.equal(logits.detach().sign(), centers)


def test_state_inputs_and_repr():
    centers, labels, logits = HashCenterGenerator(8)(6), sets(20, 6).float(), torch.randn(20, 8)
    before = [x.clone() for x in (centers, labels, logits)]
    loss = OrthoHashLoss(centers)
    value = loss(logits, labels)
    assert all(torch.equal(x, y) for x, y in zip((centers, labels, logits), before, strict=True))
    centers *= -1
    assert torch.equal(loss.centers, -centers)
    other = OrthoHashLoss(centers)
    assert other(logits, labels) != value
    assert list(loss.state_dict()) == ["centers"]
    assert not list(loss.parameters())
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert other(logits, labels) == value
    assert "scale=2.82843, margin=0.2" in repr(loss.to("meta"))


def test_bad_calls_are_refused():
    loss, labels = OrthoHashLoss(HashCenterGenerator(8)(6)), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(torch.full((2, 8), math.nan), labels)
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
        empty = OrthoHashLoss(loss.centers, reduction=reduction)(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
        assert empty.shape == shape
        assert empty.sum() == 0


def test_bad_options_are_refused():
    centers = torch.ones(3, 8)
    for scale in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"scale must be positive and finite, or None for sqrt\(n_bits\), got"):
            OrthoHashLoss(centers, scale=scale)
    for margin in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"margin must be finite and at least 0, got {margin}"):
            OrthoHashLoss(centers, margin=margin)
    with pytest.raises(ValueError, match="margin_type must be one of 'cosine', 'angular', got 'arc'"):
        OrthoHashLoss(centers, margin_type="arc")
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        OrthoHashLoss(centers, reduction="batch")
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        OrthoHashLoss(centers * 0)
    with pytest.raises(TypeError, match="centers must be a floating-point tensor"):
        OrthoHashLoss(centers.long())


def test_head_is_a_normalized_linear_map():
    head, features = BatchNormHead(12, 8), torch.randn(64, 12)
    projected = features @ head.linear.weight.T
    expected = (projected - projected.mean(dim=0)) / (projected.var(dim=0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(features), expected, rtol=1e-4, atol=1e-5)
    assert sorted(name for name, _ in head.named_parameters()) == ["linear.weight", "norm.bias", "norm.weight"]
    head.eval()
    assert head(features[:1]).shape == (1, 8)


def test_bad_heads_are_refused():
    head = BatchNormHead(12, 8)
    with pytest.raises(ValueError, match="features must hold at least two samples in training mode, got 1"):
        head(torch.zeros(1, 12))
    with pytest.raises(ValueError, match=r"features must have shape \(N, in_features=12\), got \(2, 12, 7, 7\)"):
        head(torch.zeros(2, 12, 7, 7))
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        BatchNormHead(12, 0)
    with pytest.raises(TypeError, match="in_features must be an int"):
        BatchNormHead(1.5, 8)


def mds_by_formula(logits, labels, centers, scale, weight):
    """The loss of every sample, one class at a time; labels are multi-hot."""
    losses = []
    for z, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        u = [math.tanh(a) for a in z]
        length = math.sqrt(sum(a * a for a in u) * len(u))
        odds = [math.exp(scale * sum(a * b for a, b in zip(u, c, strict=True)) / length) for c in centers.tolist()]
        shares = [odd / sum(odds) for odd in odds]
        terms = [math.log(p) if positive else math.log(1 - p) for p, positive in zip(shares, y, strict=True)]
        losses.append(-sum(terms) / len(terms) + weight * sum((1 - abs(a)) ** 2 for a in u) / len(u))
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("options", [{}, {"scale": 2.5, "quantization_weight": 3.0}, {"quantization_weight": 0.0}])
def test_mds_equals_the_formula(dtype, tolerance, options):
    centers, logits = HashCenterGenerator(24)(10), torch.randn(40, 24, dtype=torch.float64).to(dtype)
    scale, weight = options.get("scale", math.sqrt(24)), options.get("quantization_weight", 1e-4)
    classes, multi_hot = torch.randint(10, (40,)), torch.rand(40, 10) < 0.2  # some rows without labels
    for labels, hot in ((classes, F.one_hot(classes, 10)), (multi_hot, multi_hot)):
        expected = mds_by_formula(logits, hot, centers, scale, weight)
        for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
            loss = MDSLoss(centers, reduction=reduction, **options)(logits, labels)
            assert loss.dtype == dtype
            torch.testing.assert_close(loss.double(), reduced, rtol=tolerance, atol=tolerance)


def test_mds_limits_are_stock_operations():
    """Two classes: the logit of their share is the difference of their scores. Many: cross-entropy of the shares."""
    for n_classes in (2, 12):
        centers, labels = HashCenterGenerator(16)(n_classes), torch.randint(n_classes, (50,))
        logits = torch.randn(50, 16, dtype=torch.float64)
        scores = 4 * F.cosine_similarity(logits.tanh()[:, None], centers.double()[None], dim=2)
        value = MDSLoss(centers, quantization_weight=0)(logits, labels)
        expected = F.binary_cross_entropy(scores.softmax(dim=1), F.one_hot(labels, n_classes).double())
        torch.testing.assert_close(value, expected)
        if n_classes == 2:
            lead = scores[:, 1] - scores[:, 0]
            torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(lead, labels.double()))


def test_mds_gradients():
    centers = HashCenterGenerator(8)(5)
    logits = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    for labels in (torch.tensor([0, 4, 2, 2]), torch.rand(4, 5) < 0.4):
        for reduction in ("mean", "none"):
            loss = MDSLoss(centers, reduction=reduction, quantization_weight=0.5)
            assert torch.autograd.gradcheck(lambda z, loss=loss, labels=labels: loss(z, labels), logits)


@pytest.mark.parametrize("scale", [None, 1e4])
def test_mds_stays_finite_and_has_a_gradient_where_shares_round_to_one(scale):
    centers = HashCenterGenerator(16, method="paper")(4)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for size in (0.0, 1.0, 40.0, math.inf):
            logits = (centers.sign() * size).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf).to(dtype)
            for labels in (torch.arange(4), torch.arange(4).flip(0), torch.zeros(4, 4), torch.ones(4, 4)):
                loss = MDSLoss(centers, scale=scale)
                assert torch.isfinite(loss(logits, labels))
                assert torch.isfinite(gradient(loss, logits, labels)).all()
    loss = MDSLoss(centers, scale=1e4, quantization_weight=0)
    wrong = loss(centers * 40, torch.tensor([1, 2, 3, 0]))  # log(1 - p) and log p are both the lead of the wrong class
    torch.testing.assert_close(wrong, torch.tensor((1e4 + 1e4 - math.log(3) + math.log(3)) / 4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mds_autocast(dtype):
    centers, labels = HashCenterGenerator(16)(10), sets(32, 10)
    loss, features, layer = MDSLoss(centers), torch.randn(32, 12), torch.nn.Linear(12, 16)
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
    assert torch.equal(cast(logits, labels), value)


def test_mds_works_compiled():
    torch.compiler.reset()
    centers, leaf = HashCenterGenerator(16)(12), torch.randn(30, 16, requires_grad=True)
    loss = MDSLoss(centers)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for labels in (torch.randint(12, (30,)), sets(30, 12)):
        results = [
            (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, labels) for f in (compiled, loss))
        ]
        torch.testing.assert_close(*results)


def test_mds_pulls_codes_to_centers():
    centers = HashCenterGenerator(16)(8)
    logits = torch.randn(8, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        MDSLoss(centers)(logits, torch.arange(8)).backward()
        optimizer.step()
    assert torch.equal(logits.detach().sign(), centers)


def test_mds_state_and_inputs():
    centers, labels, logits = HashCenterGenerator(8)(6), sets(20, 6).float(), torch.randn(20, 8)
    before = [x.clone() for x in (centers, labels, logits)]
    loss = MDSLoss(centers)
    value = loss(logits, labels)
    assert all(torch.equal(x, y) for x, y in zip((centers, labels, logits), before, strict=True))
    centers *= -1
    other = MDSLoss(centers)
    assert other(logits, labels) != value
    assert list(loss.state_dict()) == ["centers"]
    assert not list(loss.parameters())
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert other(logits, labels) == value
    assert "scale=2.82843, quantization_weight=0.0001, reduction='mean'" in repr(loss.to("meta"))


def test_bad_calls_of_mds_are_refused():
    loss, labels, centers = MDSLoss(HashCenterGenerator(8)(6)), torch.tensor([0, 5]), torch.ones(3, 8)
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(torch.full((2, 8), math.nan), labels)
    with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
        loss(torch.zeros(2, 9), labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
        loss(torch.zeros(2, 8), torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    for reduction, shape in (("sum", ()), ("none", (0,))):
        empty = MDSLoss(loss.centers, reduction=reduction)(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
        assert empty.shape == shape
    with pytest.raises(ValueError, match="centers must hold at least two classes"):
        MDSLoss(centers[:1])
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        MDSLoss(centers * 0)
    for scale in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"scale must be positive and finite, or None for sqrt\(n_bits\), got"):
            MDSLoss(centers, scale=scale)
    for weight in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"quantization_weight must be finite and at least 0, got {weight}"):
            MDSLoss(centers, quantization_weight=weight)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
        MDSLoss(centers, reduction="batch")
