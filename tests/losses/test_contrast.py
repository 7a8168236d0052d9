import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters.centers import HashCenterGenerator, multilabel_centers
from hashcenters.losses import CenterContrastLoss, CentralSimilarityLoss, HashNetLoss, OrthoHashLoss


def by_formula(logits, sets, centers, target_codes, scale, margin, central_weight, pair_weight):
    """Return the loss of every sample, one number at a time; pair_weight None leaves the pairs out."""
    z, centers, targets = logits.tolist(), centers.tolist(), target_codes.tolist()
    n, n_bits = len(z), len(z[0])
    losses = []
    for row, own, target in zip(z, sets, targets, strict=True):
        length = math.sqrt(sum(a * a for a in row) * n_bits)
        scores = [
            scale * (sum(a * b for a, b in zip(row, c, strict=True)) / length - margin * (k in own))
            for k, c in enumerate(centers)
        ]
        total = sum(math.exp(score) for score in scores)
        contrast = -sum(math.log(math.exp(scores[k]) / total) for k in own) / len(own)
        central = sum(math.log(1 + math.exp(-2 * a * c)) for a, c in zip(row, target, strict=True)) / n_bits
        losses.append(contrast + central_weight * central)
    if pair_weight is not None:
        h = [[math.tanh(a) for a in row] for row in z]
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        counts = {s: sum(bool(sets[i] & sets[j]) == s for i, j in pairs) for s in (True, False)}
        for i, j in pairs:
            x = 10 / n_bits * sum(a * b for a, b in zip(h[i], h[j], strict=True))
            similar = bool(sets[i] & sets[j])
            # The mean over the kind's pairs, spread over samples so that the mean over samples is that mean.
            losses[i] += pair_weight * math.log(1 + math.exp(-x if similar else x)) * n / counts[similar]
    return torch.tensor(losses, dtype=torch.float64)


def random_sets(n_rows, n_classes):
    labels = torch.rand(n_rows, n_classes) < 0.3
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


OPTIONS = [{}, {"scale": 3.0, "margin": 0.0}, {"central_weight": 0.5, "pair_weight": 1.5, "margin": 0.4}]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("several", [False, True])
def test_equals_the_formula(dtype, tolerance, options, several):
    centers, logits = HashCenterGenerator(24)(10), torch.randn(30, 24, dtype=torch.float64) * 3
    labels = random_sets(30, 10) if several else torch.randint(10, (30,))
    sets = [set(row.nonzero()[:, 0].tolist()) for row in labels] if several else [{c} for c in labels.tolist()]
    weights = options.get("central_weight", 240 / 6400), options.get("pair_weight", 3.0) if several else None
    expected = by_formula(
        logits,
        sets,
        centers,
        multilabel_centers(labels, centers, seed=5),
        options.get("scale", 8.0),
        options.get("margin", 0.2),
        *weights,
    )
    for reduction, reduced in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        loss = CenterContrastLoss(centers, reduction=reduction, seed=5, **options)(logits.to(dtype), labels)
        assert loss.dtype == dtype
        torch.testing.assert_close(loss.double(), reduced, rtol=tolerance, atol=tolerance * 10)


def test_alone_the_contrast_is_orthohash_and_cross_entropy_of_cosines():
    centers, logits, labels = HashCenterGenerator(16)(12), torch.randn(50, 16), torch.randint(12, (50,))
    loss = CenterContrastLoss(centers, scale=7.0, central_weight=0)
    torch.testing.assert_close(loss(logits, labels), OrthoHashLoss(centers, scale=7.0)(logits, labels))
    cosines = F.cosine_similarity(logits[:, None], centers[None], dim=2)
    loss = CenterContrastLoss(centers, scale=7.0, margin=0, central_weight=0)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(7 * cosines, labels))


def test_the_other_terms_are_those_of_their_losses():
    centers, logits, labels = HashCenterGenerator(32)(9), torch.randn(40, 32), random_sets(40, 9)
    bare = CenterContrastLoss(centers, central_weight=0, pair_weight=0)(logits, labels)
    central = CenterContrastLoss(centers, central_weight=2, pair_weight=0, seed=3)(logits, labels) - bare
    expected = CentralSimilarityLoss(centers, quantization_weight=0, seed=3)(logits, labels)
    torch.testing.assert_close(central, 2 * expected)
    pairs = CenterContrastLoss(centers, central_weight=0, pair_weight=2)(logits, labels) - bare
    torch.testing.assert_close(pairs, 2 * HashNetLoss()(logits, labels), rtol=1e-5, atol=1e-5)


def test_class_ids_and_one_hot_rows_differ_by_the_pairs_alone():
    centers, logits, labels = HashCenterGenerator(16)(6), torch.randn(20, 16), torch.randint(6, (20,))
    rows = F.one_hot(labels, 6)
    without = CenterContrastLoss(centers, pair_weight=0)
    torch.testing.assert_close(without(logits, labels), without(logits, rows))
    assert CenterContrastLoss(centers)(logits, rows) > without(logits, rows)
    torch.testing.assert_close(CenterContrastLoss(centers)(logits, labels), without(logits, labels))


@pytest.mark.parametrize(
    ("n_classes", "n_bits", "weight"),
    [(10, 64, 0.1), (100, 64, 1.0), (100, 16, 0.25), (10, 16, 0.025), (99, 64, 0.99), (1000, 64, 1.0)],
)
def test_default_weight_of_the_central_term(n_classes, n_bits, weight):
    centers = HashCenterGenerator(n_bits, method="bernoulli")(n_classes)
    assert CenterContrastLoss(centers).central_weight == pytest.approx(weight)
    assert CenterContrastLoss(centers, central_weight=0.0).central_weight == 0


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients(several, reduction):
    logits = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    labels = random_sets(5, 4) if several else torch.randint(4, (5,))
    loss = CenterContrastLoss(HashCenterGenerator(8)(4), reduction=reduction)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), (logits,))


@pytest.mark.parametrize("several", [False, True])
def test_descent_reaches_the_centers(several):
    centers = HashCenterGenerator(32)(5)
    labels = random_sets(20, 5) if several else torch.randint(5, (20,))
    loss, logits = (
        CenterContrastLoss(centers, central_weight=0.2, pair_weight=0.1),
        torch.randn(20, 32, requires_grad=True),
    )
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    agreement = ((logits >= 0) == (multilabel_centers(labels, centers) > 0)).float().mean()
    assert agreement > (0.85 if several else 0.999)


@pytest.mark.parametrize("several", [False, True])
def test_extreme_logits_have_finite_gradients(several):
    centers = HashCenterGenerator(8)(3)
    logits = torch.tensor([[0.0] * 8, [1e30] * 8, [-1e-30] * 8, [3e38, -3e38] * 4], requires_grad=True)
    labels = random_sets(4, 3) if several else torch.tensor([0, 1, 2, 0])
    CenterContrastLoss(centers, reduction="none")(logits, labels)[:3].sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("several", [False, True])
def test_autocast_computes_in_float32(several):
    centers, logits = HashCenterGenerator(32)(8), torch.randn(16, 32).bfloat16()
    labels = random_sets(16, 8) if several else torch.randint(8, (16,))
    loss = CenterContrastLoss(centers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, labels)
    assert inside.dtype == torch.float32
    assert inside == loss(logits.float(), labels)


def test_state_survives_a_reload_and_inputs_are_left_alone():
    centers, logits, labels = HashCenterGenerator(16)(7), torch.randn(12, 16), random_sets(12, 7)
    loss, other = CenterContrastLoss(centers, seed=1), CenterContrastLoss(-centers, seed=2)
    copies = centers.clone(), logits.clone(), labels.clone()
    assert other(logits, labels) != loss(logits, labels)
    other.load_state_dict(loss.state_dict())
    assert other(logits, labels) == loss(logits, labels)
    assert all(torch.equal(a, b) for a, b in zip((centers, logits, labels), copies, strict=True))
    assert set(loss.state_dict()) == {"centers", "tie_bits"}
    assert not list(loss.parameters())


def test_repr():
    text = repr(CenterContrastLoss(HashCenterGenerator(16)(10), margin=0.3))
    assert "margin=0.3, central_weight=0.025, pair_weight=3.0" in text


@pytest.mark.parametrize(("options", "message"), [
    ({"scale": 0.0}, "scale must be finite and above 0, got 0.0"),
    ({"margin": -0.1}, "margin must be finite and at least 0, got -0.1"),
    ({"central_weight": math.nan}, "central_weight must be finite and at least 0, got nan"),
    ({"pair_weight": math.inf}, "pair_weight must be finite and at least 0, got inf"),
    ({"reduction": "max"}, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
    ({"seed": -1}, "seed must be"),
])  # fmt: skip
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        CenterContrastLoss(HashCenterGenerator(16)(10), **options)


@pytest.mark.parametrize(("logits", "labels", "message"), [
    (torch.zeros(2, 8), torch.tensor([0, 1]), "n_bits=16"),
    (torch.zeros(2, 16), torch.tensor([0, 5]), "labels"),
    (torch.zeros(2, 16), torch.tensor([0, 1, 2]), "labels"),
    (torch.full((1, 16), math.nan), torch.tensor([0]), "NaN"),
    (torch.zeros(2, 16), torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]), "at least one class|without labels"),
    (torch.zeros(0, 16), torch.zeros(0, dtype=torch.int64), "at least one sample"),
])  # fmt: skip
def test_refuses_bad_input(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        CenterContrastLoss(HashCenterGenerator(16)(5))(logits, labels)
    with pytest.raises(ValueError, match="-1 and \\+1"):
        CenterContrastLoss(torch.zeros(3, 4))
