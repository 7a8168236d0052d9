import copy
import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters.losses.video import DHLoss, DLSTMLoss, DVHLoss
from hashcenters.models.sequence import DifferentialLSTMHead, MeanPoolHead, TemporalFusionHead

LOSSES = [
    DHLoss,
    lambda **options: DHLoss(
        quantization_weight=0.7, variance_weight=0.3, correlation_weight=2, label_weight=1.5, **options
    ),
    DVHLoss,
    lambda **options: DVHLoss(margin=0.6, quantization_weight=2, **options),
    lambda **options: DVHLoss(quantization_weight=0, **options),
    DLSTMLoss,
    lambda **options: DLSTMLoss(scale=0.7, **options),
]


def batch(n_rows=12, n_bits=8, n_classes=5, *, multi=False, dtype=torch.float64):
    logits = torch.randn(n_rows, n_bits, dtype=torch.float64).to(dtype)
    if multi:
        return logits, torch.rand(n_rows, n_classes) < 0.25  # some rows without labels
    return logits, torch.randint(n_classes, (n_rows,))


def share(a, b):
    return a == b if isinstance(a, int) else any(x and y for x, y in zip(a, b, strict=True))


def square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def signs(row):
    return [1 if x >= 0 else -1 for x in row]


def by_loop(loss, logits, labels):
    """The mean over samples, from the formulas, in plain Python."""
    h, y, k = [[math.tanh(x) for x in row] for row in logits.double().tolist()], labels.tolist(), logits.shape[1]
    pairs = [(i, j) for i in range(len(h)) for j in range(len(h)) if i != j]
    if isinstance(loss, DLSTMLoss):
        return mean(
            [math.log(1 + math.exp(loss.scale * (1 if share(y[i], y[j]) else -1) * square(h[i], h[j]) / k))
             for i, j in pairs]
        )  # fmt: skip
    quantization = mean([square(row, signs(row)) for row in h])
    if isinstance(loss, DVHLoss):
        terms = []
        for i, j in pairs:
            d = square(h[i], h[j]) / (4 * k)
            terms.append(d if share(y[i], y[j]) else max(0.0, loss.margin - d))
        return mean(terms) + loss.quantization_weight * quantization / k
    between = mean([square(h[i], h[j]) for i, j in pairs if not share(y[i], y[j])])
    within = mean([square(h[i], h[j]) for i, j in pairs if share(y[i], y[j])])
    variance = mean([square(row, [0.0] * k) for row in h])
    correlation = sum((mean([row[a] * row[b] for row in h]) - (a == b)) ** 2 for a in range(k) for b in range(k))
    return (
        loss.quantization_weight * quantization
        - loss.variance_weight / 2 * (variance + loss.label_weight * (between - within))
        + loss.correlation_weight / 2 * correlation
    )


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_the_loop(make, multi, dtype, tolerance):
    logits, labels = batch(multi=multi, dtype=dtype)
    before = logits.clone(), labels.clone()
    expected = by_loop(make(), logits, labels)
    for reduction, value in (("mean", expected), ("sum", expected * 12)):
        result = make(reduction=reduction)(logits, labels)
        assert result.dtype == dtype
        assert result.item() == pytest.approx(value, rel=tolerance, abs=tolerance)
    samples = make(reduction="none")(logits, labels)
    assert (samples.shape, samples.dtype) == ((12,), dtype)
    assert samples.mean().item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert torch.equal(before[0], logits)
    assert torch.equal(before[1], labels)


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("multi", [False, True])
def test_gradient(make, multi):
    logits, labels = batch(6, 4, 3, multi=multi)
    for reduction in ("mean", "none"):
        assert torch.autograd.gradcheck(lambda x, r=reduction: make(reduction=r)(x, labels), logits.requires_grad_())


@pytest.mark.parametrize("make", LOSSES)
def test_permutation_of_samples_bits_and_classes(make):
    for multi in (False, True):
        logits, labels = batch(multi=multi)
        order = torch.randperm(12)
        samples = make(reduction="none")(logits, labels)
        torch.testing.assert_close(make(reduction="none")(logits[order], labels[order]), samples[order])
        torch.testing.assert_close(make(reduction="none")(logits[:, torch.randperm(8)], labels), samples)
        renamed = labels[:, torch.randperm(5)] if multi else torch.randperm(1000)[labels]
        torch.testing.assert_close(make(reduction="none")(logits, renamed), samples)


@pytest.mark.parametrize("make", LOSSES)
def test_class_ids_are_one_hot_rows(make):
    logits, labels = batch()
    expected = make()(logits, labels)
    hot = F.one_hot(labels, 5)
    for same in (hot, hot.bool(), hot.float(), labels.to(torch.uint8)):
        assert torch.equal(make()(logits, same), expected)


@pytest.mark.parametrize("make", LOSSES)
def test_batches_that_lack_a_kind_of_pair(make):
    logits, _ = batch(5, 8)
    for labels in (torch.zeros(5, dtype=torch.int64), torch.arange(5), torch.zeros(5, 3), torch.tensor([3])):
        leaf = logits[: len(labels)].clone().requires_grad_()
        value = make()(leaf, labels)
        assert value.item() == pytest.approx(by_loop(make(), leaf.detach(), labels), abs=1e-12)
        value.backward()
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("make", LOSSES)
def test_empty_batches(make):
    leaf, labels = torch.zeros(0, 8, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    assert make(reduction="none")(leaf, labels).shape == (0,)
    value = make(reduction="sum")(leaf, labels)
    value.backward()
    assert value == 0
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        make()(leaf, labels)


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
def test_saturated_equal_and_infinite_codes_are_finite(make):
    labels = torch.tensor([0, 0, 1, 1])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for size in (0.0, 1e-8, 1.0, 30.0, 1e4, math.inf):
            for column in ([1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]):
                values = torch.zeros(4, 8) if size == 0 else torch.tensor(column)[:, None] * size * torch.ones(4, 8)
                leaf = values.to(dtype).requires_grad_()
                value = make()(leaf, labels)
                value.backward()
                assert torch.isfinite(value)
                assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("make", LOSSES)
def test_relaxed_codes(make):
    logits, labels = batch()
    torch.testing.assert_close(make(from_logits=False)(logits.tanh(), labels), make()(logits, labels))
    with pytest.raises(ValueError, match=r"logits must lie in \[-1, 1\] with from_logits=False, got one outside"):
        make(from_logits=False)(torch.full((2, 4), -1.01), torch.tensor([0, 0]))


def hadamard(n_copies):
    """Rows of the Hadamard matrix of order 4 as saturated logits, each in several copies."""
    rows = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64) * 50
    return rows.repeat_interleave(n_copies, 0), torch.arange(4).repeat_interleave(n_copies)


def test_values_at_perfect_codes():
    logits, labels = hadamard(3)  # classes differ in half of the bits; bits are uncorrelated
    assert DVHLoss(margin=0.5)(logits, labels) == pytest.approx(0, abs=1e-12)
    similar, others = 12 * 2, 12 * 9
    for scale in (0.5, 10):
        expected = (similar * math.log(2) + others * math.log1p(math.exp(-2 * scale))) / (similar + others)
        assert DLSTMLoss(scale=scale)(logits, labels).item() == pytest.approx(expected)
    # Q = C = S1 = 0, V = 4 and S0 = 8.
    assert DHLoss(correlation_weight=5)(logits, labels).item() == pytest.approx(-6)
    assert DHLoss(label_weight=0)(logits, labels).item() == pytest.approx(-2)
    assert DHLoss(variance_weight=0)(logits, labels).item() == pytest.approx(0, abs=1e-12)


def test_the_least_losses():
    same = torch.zeros(4, dtype=torch.int64)
    for logits in (torch.full((4, 8), 0.2), torch.full((4, 8), 9.0)):
        assert DLSTMLoss()(logits, same).item() == pytest.approx(math.log(2))
        assert DVHLoss(quantization_weight=0)(logits, same) == 0
    # Two opposite codes are as far apart as codes can be; more classes cannot all be.
    opposite = torch.tensor([[50.0] * 8, [-50.0] * 8])
    assert DLSTMLoss()(opposite, torch.arange(2)).item() == pytest.approx(math.log1p(math.exp(-40)), rel=1e-3)
    assert DHLoss(correlation_weight=0)(opposite, torch.arange(2)).item() == pytest.approx(-8 * (1 + 4) / 2)


def test_equal_codes_have_no_distance_below_zero():
    """In float32 |a|² + |b|² - 2ab rounds to either side of 0."""
    logits, labels = torch.randn(20, 1, 61).expand(20, 8, 61), torch.zeros(8, dtype=torch.int64)
    for row in logits:
        assert (DVHLoss(quantization_weight=0, reduction="none")(row, labels) >= 0).all()
        assert (DLSTMLoss(scale=100, reduction="none")(row, labels) >= torch.tensor(2.0).log()).all()


def test_deep_hashing_is_bounded_below():
    """Its loss falls while logits grow, to a floor that no logits pass."""
    for n_bits in (1, 4, 16):
        logits = torch.randn(6, n_bits, dtype=torch.float64, requires_grad=True)
        labels, loss = torch.tensor([0, 0, 1, 1, 2, 2]), DHLoss(variance_weight=0.7, label_weight=1.3)
        optimizer = torch.optim.Adam([logits], lr=1)
        for _ in range(200):
            optimizer.zero_grad()
            value = loss(logits, labels)
            value.backward()
            optimizer.step()
        assert -0.7 * n_bits * (1 + 4 * 1.3) / 2 < value < 0
        assert torch.isfinite(logits).all()


def test_correlation_is_with_the_identity():
    """Independent bits pay nothing and bits that are all alike pay most: a matrix of ones would have it reversed."""
    logits, labels = hadamard(1)
    loss = DHLoss(quantization_weight=0, variance_weight=0, correlation_weight=2)
    assert loss(logits, labels) == pytest.approx(0, abs=1e-12)
    assert loss(logits[:, 1:2].expand(4, 4), labels).item() == pytest.approx(12)


def test_distance_does_not_depend_on_the_code_length():
    logits, labels = batch(n_bits=4)
    for make in LOSSES[2:]:
        torch.testing.assert_close(make()(logits.repeat(1, 16), labels), make()(logits, labels))


CASES = [
    (lambda: DHLoss(correlation_weight=0.1), MeanPoolHead),
    (DVHLoss, TemporalFusionHead),
    (DLSTMLoss, DifferentialLSTMHead),
]


def clips(n, centers, generator):
    labels = torch.arange(n) % 4
    return centers[labels][:, None] + torch.randn(n, 3, 6, generator=generator), labels


@pytest.mark.parametrize(("make", "head"), CASES)
def test_training_separates_classes(make, head):
    """After 60 steps codes of a class are near each other and far from others, for clips that were not seen."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(4, 6, generator=generator) * 2
    model, loss = head(6, 16), make()
    untrained = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        frames, labels = clips(32, centers, generator)
        optimizer.zero_grad()
        loss(model(frames), labels).backward()
        optimizer.step()
    frames, labels = clips(80, centers, generator)
    same = labels[:, None] == labels

    def gap(network):
        with torch.no_grad():
            codes = torch.where(network(frames) >= 0, 1.0, -1.0)
        distances = (16 - codes @ codes.T) / 32
        return (distances[~same].mean() - distances[same].mean()).item()

    assert gap(model) > 0.3
    assert gap(model) > gap(untrained) + 0.1


def test_repr():
    assert repr(DVHLoss(margin=0.3, reduction="sum")) == (
        "DVHLoss(margin=0.3, quantization_weight=0.01, from_logits=True, reduction='sum')"
    )
    assert repr(DLSTMLoss(scale=2, from_logits=False)) == "DLSTMLoss(scale=2, from_logits=False, reduction='mean')"
    assert repr(DHLoss(label_weight=0)) == (
        "DHLoss(quantization_weight=0.001, variance_weight=1.0, correlation_weight=0.3, label_weight=0, "
        "from_logits=True, reduction='mean')"
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((DHLoss, f"{name}_weight") for name in ("quantization", "variance", "correlation", "label")),
        (DVHLoss, "quantization_weight"),
    ],
)
def test_bad_weights_are_refused(make, name):
    for value in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be finite and at least 0, got {value}"):
            make(**{name: value})


def test_bad_options_are_refused():
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"margin must be finite and above 0, got {value}"):
            DVHLoss(margin=value)
        with pytest.raises(ValueError, match=f"scale must be finite and above 0, got {value}"):
            DLSTMLoss(scale=value)
    for make in (DHLoss, DVHLoss, DLSTMLoss):
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'max'"):
            make(reduction="max")


@pytest.mark.parametrize("make", [DHLoss, DVHLoss, DLSTMLoss])
def test_bad_input_is_refused(make):
    loss, ids = make(), torch.tensor([0, 1])
    for logits, labels, error, message in (
        (torch.zeros(2, 4, dtype=torch.int64), ids, TypeError, "logits must be a floating-point tensor"),
        (torch.zeros(4), ids, ValueError, r"logits must have shape \(N, n_bits\)"),
        (torch.zeros(2, 0), ids, ValueError, r"logits must have shape \(N, n_bits\)"),
        (torch.full((2, 4), math.nan), ids, ValueError, "logits contain NaN"),
        (torch.zeros(3, 4), ids, ValueError, "labels must have one row a sample: 3 samples"),
        (torch.zeros(2, 4), -ids, ValueError, "must be at least 0, got a negative one"),
        (torch.zeros(2, 4), ids.float(), TypeError, "are class ids and must be integers"),
        (torch.zeros(2, 4), torch.tensor([[2, 0], [0, 1]]), ValueError, "multi-hot labels must hold only 0 and 1"),
    ):
        with pytest.raises(error, match=message):
            loss(logits, labels)


@pytest.mark.parametrize("make", LOSSES)
def test_compiles(make):
    logits, labels = batch()
    compiled = torch.compile(make(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, labels), make()(logits, labels))
