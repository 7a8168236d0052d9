import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.losses.pairwise import DCHLoss, DHNLoss, DPSHLoss, HashNetLoss, PairwiseSimilarityLoss, similar_pairs

LOSSES = [
    PairwiseSimilarityLoss,
    lambda **options: PairwiseSimilarityLoss(quantization_weight=0.7, scale=0.3, **options),
    DHNLoss,
    DPSHLoss,
    lambda **options: DPSHLoss(quantization_weight=3, **options),
    HashNetLoss,
    lambda **options: HashNetLoss(balanced=False, scale=0.2, **options),
    DCHLoss,
    lambda **options: DCHLoss(balanced=False, gamma=3, quantization_weight=2, **options),
]


def batch(n_rows=12, n_bits=16, n_classes=5, *, multi=False, dtype=torch.float64, scale=1.0):
    logits = (torch.randn(n_rows, n_bits, dtype=torch.float64) * scale).to(dtype)
    if multi:
        return logits, torch.rand(n_rows, n_classes) < 0.25  # some rows without labels
    return logits, torch.randint(n_classes, (n_rows,))


def share(a, b):
    return a == b if isinstance(a, int) else any(x and y for x, y in zip(a, b, strict=True))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def by_double_loop(loss, logits, labels):
    """Losses of samples from the formulas, in plain Python."""
    z, y, n_bits = logits.double().tolist(), labels.tolist(), logits.shape[1]
    n, name = len(z), type(loss).__name__
    beta = (1 + loss.growth * (int(loss.step) // 200) * 200) ** loss.power if name == "HashNetLoss" else 1
    h = z if name in ("DHNLoss", "DPSHLoss") else [[math.tanh(beta * x) for x in row] for row in z]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    n_similar = sum(share(y[i], y[j]) for i, j in pairs)

    def distance(a, b, least):
        return n_bits / 2 * max(1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)), least)

    samples = [0.0] * n
    for i, j in pairs:
        s = share(y[i], y[j])
        if name == "DCHLoss":
            d = distance(h[i], h[j], 1e-6)
            term = s * math.log(d / loss.gamma) + math.log(1 + loss.gamma / d)
        else:
            scale = getattr(loss, "scale", 0.5)  # DPSH: theta is half the product
            scale = 10 / n_bits if scale is None else scale
            x = scale * dot(h[i], h[j])
            term = math.log(1 + math.exp(x)) - s * x
        if getattr(loss, "balanced", False):
            term *= len(pairs) / (n_similar if s else len(pairs) - n_similar)
        samples[i] += term / (n - 1)
    for i, row in enumerate(h):
        if name == "DCHLoss":
            q = math.log(1 + distance([abs(x) for x in row], [1.0] * n_bits, 0) / loss.gamma)
        elif name == "DPSHLoss":
            q = sum(((1 if x >= 0 else -1) - x) ** 2 for x in row) / n_bits
        else:
            q = sum(math.log(math.cosh(abs(x) - 1)) for x in row) / (1 if name == "DHNLoss" else n_bits)
        samples[i] += getattr(loss, "quantization_weight", 0) * q
    return torch.tensor(samples, dtype=torch.float64)


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_equals_the_double_loop(make, multi, dtype, tolerance):
    logits, labels = batch(multi=multi, dtype=dtype)
    for steps in (0, 250):
        for reduction in ("none", "mean", "sum"):
            loss = make(reduction=reduction)
            if isinstance(loss, HashNetLoss):
                loss.advance(steps)
            expected = by_double_loop(loss, logits, labels)
            if reduction != "none":
                expected = expected.mean() if reduction == "mean" else expected.sum()
            value = loss(logits, labels)
            assert value.dtype == dtype
            torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", LOSSES)
@given(n_rows=st.integers(1, 6), n_bits=st.integers(1, 6), n_classes=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_equals_the_double_loop_at_small_sizes(make, n_rows, n_bits, n_classes, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_rows, n_bits, generator=random, dtype=torch.float64)
    loss = make(reduction="none")
    for labels in (
        torch.randint(n_classes, (n_rows,), generator=random),
        torch.randint(2, (n_rows, n_classes), generator=random),
    ):
        torch.testing.assert_close(loss(logits, labels), by_double_loop(loss, logits, labels), rtol=1e-7, atol=1e-7)


def test_limits_are_stock_operations():
    """Unweighted, the pair term is binary cross-entropy of the inner products; balanced, the two kinds' means add."""
    logits, labels = batch()
    similar = labels[:, None] == labels
    pairs = ~torch.eye(12, dtype=torch.bool)
    affinity = 0.5 * logits @ logits.T
    expected = F.binary_cross_entropy_with_logits(affinity[pairs], similar[pairs].double())
    torch.testing.assert_close(DHNLoss(quantization_weight=0)(logits, labels), expected)
    torch.testing.assert_close(DPSHLoss(quantization_weight=0)(logits, labels), expected)
    codes = torch.where(logits >= 0, 1.0, -1.0).double()
    torch.testing.assert_close(DPSHLoss()(logits, labels), expected + 0.1 * F.mse_loss(logits, codes))
    codes = logits.tanh()
    affinity = codes @ codes.T * 10 / 16
    terms = F.binary_cross_entropy_with_logits(affinity, similar.double(), reduction="none")
    torch.testing.assert_close(PairwiseSimilarityLoss()(logits, labels), terms[pairs].mean())
    expected = terms[pairs & similar].mean() + terms[~similar].mean()
    torch.testing.assert_close(HashNetLoss()(logits, labels), expected)
    distance = 8 * (1 - F.cosine_similarity(codes[:, None], codes[None], dim=2))
    expected = (1 + distance / 20).log()[pairs & similar].mean() + (1 + 20 / distance).log()[~similar].mean()
    torch.testing.assert_close(DCHLoss(quantization_weight=0)(logits, labels), expected)


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("multi", [False, True])
def test_gradient(make, multi):
    logits, labels = batch(6, 4, 3, multi=multi)
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(lambda x, r=reduction: make(reduction=r)(x, labels), logits.requires_grad_())


@pytest.mark.parametrize("make", LOSSES)
def test_permutation_of_samples_and_classes(make):
    for multi in (False, True):
        logits, labels = batch(multi=multi)
        order = torch.randperm(12)
        samples = make(reduction="none")(logits, labels)
        torch.testing.assert_close(make(reduction="none")(logits[order], labels[order]), samples[order])
        torch.testing.assert_close(make()(logits[order], labels[order]), make()(logits, labels))
        renamed = labels[:, torch.randperm(5)] if multi else torch.randperm(1000)[labels]
        torch.testing.assert_close(make()(logits, renamed), make()(logits, labels))


@pytest.mark.parametrize("make", LOSSES)
def test_class_ids_are_one_hot_rows(make):
    logits, labels = batch()
    expected = make()(logits, labels)
    for same in (
        F.one_hot(labels, 5),
        F.one_hot(labels, 5).bool(),
        F.one_hot(labels, 5).float(),
        labels.to(torch.uint8),
    ):
        assert torch.equal(make()(logits, same), expected)


@pytest.mark.parametrize("make", LOSSES)
def test_batches_that_lack_a_kind_of_pair(make):
    logits, _ = batch(5, 8)
    for rows, labels in (
        (5, torch.zeros(5, dtype=torch.int64)),
        (5, torch.arange(5)),
        (5, torch.zeros(5, 3)),
        (1, None),
    ):
        labels = torch.tensor([3]) if labels is None else labels
        leaf, loss = logits[:rows].clone().requires_grad_(), make(reduction="none")
        value = loss(leaf, labels)
        torch.testing.assert_close(value.detach(), by_double_loop(loss, logits[:rows], labels))
        value.sum().backward()
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("make", LOSSES)
def test_a_single_sample_has_the_quantization_term_alone(make):
    loss, logits = make(), torch.randn(1, 8, dtype=torch.float64)
    value = loss(logits, torch.tensor([0]))
    if getattr(loss, "quantization_weight", 0):
        assert value > 0
        loss.quantization_weight = 0
    assert loss(logits, torch.tensor([0])) == 0


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(make, dtype):
    """The loss of half-precision logits is the loss of their values, and so is its gradient."""
    layer, features = torch.nn.Linear(10, 16), torch.randn(12, 10)
    for labels in (torch.randint(4, (12,)), torch.rand(12, 5) < 0.3):
        loss = make()
        with torch.autocast("cpu", dtype=dtype):
            logits = layer(features)
            assert logits.dtype == dtype
            logits.retain_grad()
            value = loss(logits, labels)
        value.backward()
        exact = logits.detach().double().requires_grad_()
        loss(exact, labels).backward()
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), loss(exact, labels), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("make", LOSSES)
def test_saturated_and_equal_codes_are_finite(make):
    labels = torch.tensor([0, 0, 1, 1])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for size in (0.0, 1e-8, 1.0, 30.0, 1e4):
            for signs in ([1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]):
                leaf = (torch.tensor(signs)[:, None] * size * torch.ones(4, 8)).to(dtype).requires_grad_()
                value = make()(leaf, labels)
                value.backward()
                assert torch.isfinite(value)
                assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("make", [PairwiseSimilarityLoss, HashNetLoss, DCHLoss])
def test_infinite_logits_are_saturated_codes(make):
    labels, signs = torch.tensor([0, 0, 1]), torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]])
    leaf = (signs * math.inf).requires_grad_()
    value = make()(leaf, labels)
    value.backward()
    torch.testing.assert_close(value.detach(), make()(signs * 50, labels))
    assert torch.isfinite(leaf.grad).all()


def test_large_affinities_do_not_overflow():
    """log(1 + exp(x)) is x, and its gradient is the other code."""
    leaf = torch.tensor([[40.0, 30.0], [50.0, 20.0]], requires_grad=True)
    value = DHNLoss(quantization_weight=0, reduction="sum")(leaf, torch.tensor([0, 1]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(2600.0))
    torch.testing.assert_close(leaf.grad, leaf.detach().flip(0))
    assert DHNLoss(quantization_weight=0)(leaf, torch.tensor([0, 0])) == 0


def test_dissimilar_samples_with_one_code_have_the_floor_of_dch():
    logits = torch.full((2, 8), 0.3)
    value = DCHLoss(quantization_weight=0)(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(value.item(), math.log(1 + 20 / 4e-6), rtol=1e-5, atol=0)
    value = DCHLoss(quantization_weight=0)(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(value.item(), math.log(1 + 4e-6 / 20), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("make", [
    lambda **options: PairwiseSimilarityLoss(quantization_weight=0.5, **options),
    DCHLoss,
])  # fmt: skip
def test_relaxed_codes(make):
    logits, labels = batch()
    torch.testing.assert_close(make(from_logits=False)(logits.tanh(), labels), make()(logits, labels))
    assert math.isfinite(make(from_logits=False)(torch.full((2, 4), 1.0005), torch.tensor([0, 0])))
    with pytest.raises(ValueError, match=r"logits must lie in \[-1, 1\] with from_logits=False, got one outside"):
        make(from_logits=False)(torch.full((2, 4), -1.01), torch.tensor([0, 0]))


def test_quantization_of_pairwise_is_that_of_central_similarity():
    from hashcenters.losses import central_similarity_loss

    for dtype in (torch.float64, torch.float32):
        logits, labels = batch(dtype=dtype, scale=4)
        both = [central_similarity_loss(logits, torch.ones(12, 16), quantization_weight=w) for w in (100.0, 0.0)]
        pairs = [PairwiseSimilarityLoss(quantization_weight=w)(logits, labels) for w in (100.0, 0.0)]
        torch.testing.assert_close(pairs[0] - pairs[1], both[0] - both[1], rtol=1e-5, atol=1e-5)


def test_log_cosh_is_precise_near_0_and_far():
    for size in (1e-6, 1e-3, 0.5, 0.999, 1.0, 2.0, 80.0):
        logits = torch.full((1, 1), 1 + size, dtype=torch.float64)
        value = DHNLoss(quantization_weight=1.0)(logits, torch.tensor([0]))
        shift = logits.item() - 1
        torch.testing.assert_close(value.item(), math.log1p(2 * math.sinh(shift / 2) ** 2), rtol=1e-12, atol=0)


def test_continuation_of_hashnet():
    loss, seen = HashNetLoss(), []
    for step in range(801):
        if step in (0, 199, 200, 399, 400, 800):
            seen.append(loss.beta)
        loss.advance()
    assert seen == pytest.approx([1, 1, 2**0.5, 2**0.5, 3**0.5, 5**0.5])
    loss.advance(199)
    assert int(loss.step) == 1000
    assert loss.beta == pytest.approx(6**0.5)
    loss.advance(0)
    assert int(loss.step) == 1000
    other = HashNetLoss(growth=0.01, power=2, refresh_every=10)
    other.advance(25)
    assert other.beta == pytest.approx(1.2**2)
    assert HashNetLoss(growth=0).beta == 1


def test_steep_tanh_is_the_sign():
    logits, labels = batch()
    loss = HashNetLoss()
    loss.advance(10**12)
    torch.testing.assert_close(loss(logits, labels), HashNetLoss()(logits.sign() * 50, labels))


def train(model, loss, optimizer, n_steps):
    random = torch.Generator().manual_seed(int(loss.step))
    for _ in range(n_steps):
        features = torch.randn(10, 6, generator=random)
        optimizer.zero_grad()
        loss(model(features), torch.arange(10) % 3).backward()
        optimizer.step()
        loss.advance()


def test_hashnet_resumes_from_a_checkpoint():
    parts = []
    for _ in range(2):
        torch.manual_seed(4)
        model, loss = torch.nn.Linear(6, 8), HashNetLoss(refresh_every=20)
        parts.append((model, loss, torch.optim.SGD(model.parameters(), lr=0.1)))
    (model, loss, optimizer), (resumed, fresh, other) = parts
    train(model, loss, optimizer, 50)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (model, loss, optimizer)], file)
    file.seek(0)
    for part, state in zip((resumed, fresh, other), torch.load(file), strict=True):
        part.load_state_dict(state)
    assert list(loss.state_dict()) == ["step"]
    assert int(fresh.step) == 50
    assert fresh.beta == loss.beta > 1
    train(model, loss, optimizer, 50)
    assert int(fresh.step) == 50  # its own count, not a view of the other's
    train(resumed, fresh, other, 50)
    assert torch.equal(model.weight, resumed.weight)
    assert fresh.beta == loss.beta
    assert "step=100" in repr(fresh)


def test_a_cast_hashnet_keeps_its_count():
    loss = HashNetLoss()
    loss.advance(100_001)  # not a number of bfloat16
    logits, labels = batch()
    cast = copy.deepcopy(loss).to(torch.bfloat16)
    assert int(cast.step) == 100_001
    assert torch.equal(cast(logits, labels), loss(logits, labels))
    assert "step=?" in repr(cast.to("meta"))


@pytest.mark.parametrize("make", LOSSES)
def test_works_compiled(make):
    torch.compiler.reset()
    loss = make()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for multi in (False, True):
        logits, labels = batch(multi=multi, dtype=torch.float32)
        leaf = logits.requires_grad_()
        results = [
            (value, torch.autograd.grad(value, leaf)[0]) for value in (compiled(leaf, labels), loss(leaf, labels))
        ]
        torch.testing.assert_close(*results)
    with pytest.raises(RuntimeError, match="logits contain NaN"):
        compiled(leaf.detach() * math.nan, labels)


@pytest.mark.parametrize("make", [PairwiseSimilarityLoss, DHNLoss, DPSHLoss, HashNetLoss, DCHLoss])
def test_it_separates_classes(make):
    """Plain descent from small random logits ends in codes that are equal within classes and differ between them."""
    labels = torch.arange(12) % 3
    logits = (torch.randn(12, 16) * 0.1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        make()(logits, labels).backward()
        optimizer.step()
    codes = torch.where(logits >= 0, 1, -1)
    distance = (codes[:, None] != codes[None]).sum(dim=2)
    similar = labels[:, None] == labels
    assert distance[similar].max() < distance[~similar].min()


def test_inputs_stay():
    for make in LOSSES:
        for multi in (False, True):
            logits, labels = batch(multi=multi)
            before = logits.clone(), labels.clone()
            make()(logits, labels)
            assert torch.equal(logits, before[0])
            assert torch.equal(labels, before[1])


def test_similar_pairs():
    labels = torch.rand(30, 6) < 0.2
    expected = [[share(a, b) for b in labels.tolist()] for a in labels.tolist()]
    for dtype in (torch.bool, torch.int64, torch.float32, torch.bfloat16):
        assert similar_pairs(labels.to(dtype)).tolist() == expected
    ids = torch.randint(5, (30,))
    assert similar_pairs(ids).tolist() == [[a == b for b in ids.tolist()] for a in ids.tolist()]
    assert similar_pairs(torch.tensor([2**62, 2**62 + 1, 2**62])).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("make", LOSSES)
def test_empty_batches(make):
    empty, none = torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        make()(empty, none)
    assert make(reduction="sum")(empty, none) == 0
    assert make(reduction="none")(empty, none).shape == (0,)


@pytest.mark.parametrize("make", LOSSES)
def test_bad_calls_are_refused(make):
    loss, logits = make(), torch.zeros(2, 8)
    with pytest.raises(
        TypeError, match=r"logits must be a floating-point tensor of shape \(N, n_bits\), got torch.bool"
    ):
        loss(logits.bool(), torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="logits must be a floating-point tensor.*got ndarray"):
        loss(np.zeros((2, 8)), torch.tensor([0, 1]))
    for shape in ((8,), (2, 0), (2, 8, 1)):
        with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits\), n_bits at least 1, got"):
            loss(torch.zeros(shape), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="logits contain NaN"):
        loss(logits * math.nan, torch.tensor([0, 1]))
    for labels in (torch.tensor([0, 1, 2]), torch.zeros(3, 4)):
        with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples, labels of shape"):
            loss(logits, labels)
    with pytest.raises(TypeError, match="labels must be a tensor, got list"):
        loss(logits, [0, 1])
    for labels in (torch.tensor([0.0, 1.0]), torch.tensor([True, False])):
        with pytest.raises(TypeError, match=r"labels of shape \(N,\) are class ids and must be integers, got torch"):
            loss(logits, labels)
    with pytest.raises(ValueError, match=r"labels of shape \(N,\) are class ids and must be at least 0"):
        loss(logits, torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
        loss(logits, torch.full((2, 3), 0.5))
    for shape in ((), (2, 0), (2, 3, 1)):
        with pytest.raises(ValueError, match=r"labels must be class ids \(N,\) or multi-hot \(N, n_classes\), got"):
            loss(logits, torch.zeros(shape))


def test_a_zero_logit_of_dpsh_is_drawn_to_one():
    leaf = torch.zeros(1, 4, requires_grad=True)
    DPSHLoss(quantization_weight=1)(leaf, torch.tensor([0])).backward()
    assert torch.equal(leaf.grad, torch.full((1, 4), -0.5))


@pytest.mark.parametrize("make", [DHNLoss, DPSHLoss])
def test_infinite_logits_are_refused(make):
    with pytest.raises(ValueError, match="logits must be finite, got infinity"):
        make()(torch.tensor([[math.inf]]), torch.tensor([0]))


def test_repr_of_dpsh():
    assert repr(DPSHLoss(quantization_weight=2)) == "DPSHLoss(quantization_weight=2, reduction='mean')"


def test_bad_options_are_refused():
    for make in (PairwiseSimilarityLoss, DHNLoss, DPSHLoss, HashNetLoss, DCHLoss):
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
            make(reduction="batch")
    for make, name in (
        (PairwiseSimilarityLoss, "scale"),
        (DHNLoss, "scale"),
        (HashNetLoss, "scale"),
        (HashNetLoss, "power"),
        (DCHLoss, "gamma"),
    ):
        for value in (0, -1, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be finite and above 0, got {value}"):
                make(**{name: value})
    for make, name in (
        (PairwiseSimilarityLoss, "quantization_weight"),
        (DHNLoss, "quantization_weight"),
        (DPSHLoss, "quantization_weight"),
        (DCHLoss, "quantization_weight"),
        (HashNetLoss, "growth"),
    ):
        for value in (-1, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be finite and at least 0, got {value}"):
                make(**{name: value})
    with pytest.raises(ValueError, match="refresh_every must be at least 1, got 0"):
        HashNetLoss(refresh_every=0)
    with pytest.raises(ValueError, match="n_steps must be at least 0, got -1"):
        HashNetLoss().advance(-1)
    with pytest.raises(TypeError, match="n_steps must be an int, got 0.5"):
        HashNetLoss().advance(0.5)
