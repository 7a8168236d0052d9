import copy
import math

import pytest
import torch
import torch.nn.functional as F

from hashcenters import CentralSimilarityLoss
from hashcenters.losses.learned import FaceCenterLoss, MagnetCenterLoss, RepMetCenterLoss, binarize_centers

KINDS = [FaceCenterLoss, MagnetCenterLoss, RepMetCenterLoss]


def sets(n_rows, n_classes, share=0.3):
    """Random label sets, every row with at least one class."""
    labels = torch.rand(n_rows, n_classes) < share
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,))] = True
    return labels


def as_sets(labels):
    return [[c] for c in labels.tolist()] if labels.ndim == 1 else [row.nonzero()[:, 0].tolist() for row in labels]


def square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def face_by_formula(logits, labels, centers, weight, bias, center_weight):
    """The loss of every sample, one class at a time; multi-hot labels have sigmoids in place of the softmax."""
    losses = []
    for z, classes in zip(logits.tolist(), as_sets(labels), strict=True):
        scores = [sum(a * b for a, b in zip(z, w, strict=True)) + b for w, b in zip(weight, bias, strict=True)]
        if labels.ndim == 1:
            loss = math.log(sum(math.exp(s) for s in scores)) - scores[classes[0]]
        else:
            loss = sum(math.log1p(math.exp(-s if c in classes else s)) for c, s in enumerate(scores))
        losses.append(loss + center_weight / 2 * square(z, mean([centers[c] for c in classes])))
    return torch.tensor(losses, dtype=torch.float64)


def face_centers_by_formula(logits, labels, centers, rate):
    """The centers after a batch, one class at a time."""
    moved = []
    for j, center in enumerate(centers):
        residuals = [
            [a - b for a, b in zip(mean([centers[c] for c in classes]), z, strict=True)]
            for z, classes in zip(logits.tolist(), as_sets(labels), strict=True)
            if j in classes
        ]
        step = [sum(column) / (1 + len(residuals)) for column in zip(*residuals, strict=True)] or [0.0] * len(center)
        moved.append([a - rate * b for a, b in zip(center, step, strict=True)])
    return torch.tensor(moved, dtype=torch.float64)


def magnet_by_formula(logits, labels, clusters, margin):
    """The loss of every sample; ``clusters[c]`` are the stored clusters of class c."""
    rows, members = logits.tolist(), {}
    for i, classes in enumerate(as_sets(labels)):
        for c in classes:
            gaps = [square(rows[i], cluster) for cluster in clusters[c]]
            members.setdefault((c, gaps.index(min(gaps))), []).append(i)
    means = {key: mean([rows[i] for i in group]) for key, group in members.items()}
    pairs = [(i, key) for key, group in members.items() for i in group]
    variance = sum(square(rows[i], means[key]) for i, key in pairs) / (len(pairs) - 1)
    losses = []
    for i, classes in enumerate(as_sets(labels)):
        if all(c in classes for c, _ in means):  # no rival
            losses.append(0.0)
            continue
        others = sum(math.exp(-square(rows[i], m) / (2 * variance)) for (c, _), m in means.items() if c not in classes)
        terms = [
            -math.log(math.exp(-square(rows[i], means[key]) / (2 * variance) - margin) / others)
            for j, key in pairs
            if j == i
        ]
        losses.append(sum(max(0.0, term) for term in terms) / len(terms))
    return torch.tensor(losses, dtype=torch.float64)


def repmet_by_formula(logits, labels, points, margin, variance):
    losses = []
    for z, classes in zip(logits.tolist(), as_sets(labels), strict=True):
        others = [point for c, group in enumerate(points) if c not in classes for point in group]
        if not others:
            losses.append(0.0)
            continue
        total = sum(math.exp(-square(z, point) / (2 * variance)) for point in others)
        terms = []
        for c in classes:
            nearest = min(square(z, point) for point in points[c])
            terms.append(max(0.0, -math.log(math.exp(-nearest / (2 * variance)) / total) + margin))
        losses.append(sum(terms) / len(terms))
    return torch.tensor(losses, dtype=torch.float64)


def reductions(expected):
    return {"none": expected, "mean": expected.mean(), "sum": expected.sum()}.items()


BATCHES = [
    (dtype, tolerance, labels)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4))
    for labels in ("classes", "sets")
]


def batch(labels, n_rows, n_classes, n_bits, dtype):
    torch.manual_seed(5)
    chosen = torch.randint(n_classes, (n_rows,)) if labels == "classes" else sets(n_rows, n_classes)
    return torch.randn(n_rows, n_bits, dtype=torch.float64).to(dtype), chosen


@pytest.mark.parametrize(("dtype", "tolerance", "labels"), BATCHES)
@pytest.mark.parametrize("options", [{}, {"center_weight": 0.7, "center_rate": 1.0}, {"center_weight": 0.0}])
def test_face_equals_the_formula(dtype, tolerance, labels, options):
    logits, labels = batch(labels, 30, 6, 5, dtype)
    for reduction in ("none", "mean", "sum"):
        loss = FaceCenterLoss(6, 5, reduction=reduction, **options)
        loss.feature_centers.copy_(torch.randn(6, 5))
        centers = loss.feature_centers.double().tolist()
        weight, bias = loss.classifier.weight.tolist(), loss.classifier.bias.tolist()
        expected = face_by_formula(logits, labels, centers, weight, bias, options.get("center_weight", 0.003))
        value = loss(logits, labels)
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), dict(reductions(expected))[reduction], rtol=tolerance, atol=1e-9)
        moved = face_centers_by_formula(logits, labels, centers, options.get("center_rate", 0.5))
        torch.testing.assert_close(loss.feature_centers, moved.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance", "labels"), BATCHES)
@pytest.mark.parametrize(("n_clusters", "margin"), [(1, 1.0), (1, 0.0), (3, 2.0)])
def test_magnet_equals_the_formula(dtype, tolerance, labels, n_clusters, margin):
    logits, labels = batch(labels, 30, 4, 5, dtype)
    for reduction in ("none", "mean", "sum"):
        loss = MagnetCenterLoss(4, 5, n_clusters=n_clusters, margin=margin, reduction=reduction)
        loss.clusters.copy_(torch.randn(4, n_clusters, 5))
        loss.filled.fill_(True)
        expected = magnet_by_formula(logits, labels, loss.clusters.tolist(), margin)
        assert (expected > 0).sum() > 10
        value = loss(logits, labels)
        assert value.dtype == dtype
        torch.testing.assert_close(
            value.double(), dict(reductions(expected))[reduction], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("dtype", "tolerance", "labels"), BATCHES)
@pytest.mark.parametrize("options", [{}, {"n_representatives": 3, "margin": 0.0}, {"variance": 3.0, "margin": 0.2}])
def test_repmet_equals_the_formula(dtype, tolerance, labels, options):
    logits, labels = batch(labels, 30, 6, 5, dtype)
    for reduction in ("none", "mean", "sum"):
        loss = RepMetCenterLoss(6, 5, reduction=reduction, init_scale=1.0, **options)
        margin, variance = options.get("margin", 1.0), options.get("variance", 0.5)
        expected = repmet_by_formula(logits, labels, loss.representatives.tolist(), margin, variance)
        assert (expected > 0).sum() > 10
        value = loss(logits, labels)
        assert value.dtype == dtype
        torch.testing.assert_close(
            value.double(), dict(reductions(expected))[reduction], rtol=tolerance, atol=tolerance
        )


def test_limits_are_stock_operations():
    logits, labels = torch.randn(40, 16), torch.randint(8, (40,))
    face = FaceCenterLoss(8, 16, center_weight=0.0)
    torch.testing.assert_close(face(logits, labels), F.cross_entropy(face.classifier(logits), labels))
    repmet = RepMetCenterLoss(2, 16, margin=50.0)  # no hinge closes: differences of distances
    classes = labels % 2
    own, other = repmet.representatives[classes, 0], repmet.representatives[1 - classes, 0]
    expected = 50 + (logits - own).square().sum(dim=1) - (logits - other).square().sum(dim=1)
    torch.testing.assert_close(repmet(logits, classes), expected.mean())


def test_magnet_does_not_change_with_scale_and_place():
    """With a variance squared once more (a bug of several ports) it would."""
    logits, labels = torch.randn(40, 16), torch.randint(5, (40,))
    loss = MagnetCenterLoss(5, 16)
    expected = loss(logits, labels)
    assert expected > 0.5
    for factor in (2.0**-5, 2.0**10):
        torch.testing.assert_close(loss(logits * factor + 3 * factor, labels), expected, rtol=1e-4, atol=0)


def prepared(kind, n_classes, n_bits, **options):
    """A loss in evaluation mode (the state stands still), with points about where the logits are."""
    loss = kind(n_classes, n_bits, **options).eval()
    for name, tensor in loss.state_dict().items():
        tensor.copy_(torch.ones_like(tensor) if name in ("seen", "filled") else torch.randn_like(tensor))
    return loss


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind, reduction):
    loss = prepared(kind, 3, 4, reduction=reduction).double()
    logits = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    parameters = tuple(loss.parameters())
    for labels in (torch.tensor([0, 1, 2, 2, 0, 1, 1, 2]), sets(8, 3)):

        def of(z, *values, labels=labels):
            named = dict(zip([name for name, _ in loss.named_parameters()], values, strict=True))
            return torch.func.functional_call(loss, named, (z, labels))

        assert torch.autograd.gradcheck(of, (logits, *parameters))
    of(logits, *parameters).sum().backward()
    assert logits.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in parameters)


def test_gradients_of_several_clusters():
    loss = prepared(MagnetCenterLoss, 3, 4, n_clusters=2)
    logits = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(12) % 3
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits)


@pytest.mark.parametrize("kind", KINDS)
def test_training_updates_do_not_disturb_the_gradient(kind):
    """The state changes in the forward pass; the gradient is that of the state before."""
    logits, labels = torch.randn(30, 8), torch.randint(4, (30,))
    loss = prepared(kind, 4, 8)
    gradients = []
    for training in (False, True):
        leaf = logits.clone().requires_grad_()
        loss.train(training)
        loss(leaf, labels).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert not any(buffer.requires_grad for buffer in loss.buffers())


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind(kind):
    logits, labels = torch.randn(50, 8), torch.randint(6, (50,))
    loss = prepared(kind, 6, 8)
    expected = loss(logits, labels)
    assert torch.equal(loss(logits, labels.to(torch.uint8)), expected)
    multi_hot = F.one_hot(labels, 6)
    if kind is FaceCenterLoss:  # sets of one class have sigmoids, as every set
        expected = loss(logits, multi_hot)
    for dtype in (torch.int64, torch.bool, torch.float32, torch.float16):
        assert torch.equal(loss(logits, multi_hot.to(dtype)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    """The loss of half-precision logits is the loss of their values, and so are the gradient and the new state."""
    loss, features, layer = prepared(kind, 4, 16), torch.randn(32, 12), torch.nn.Linear(12, 16)
    exact_loss, labels = copy.deepcopy(loss), torch.arange(32) % 4
    loss.train(), exact_loss.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(features)
        assert logits.dtype == torch.bfloat16
        logits.retain_grad()
        value = loss(logits, labels)
    value.backward()
    exact = logits.detach().double().requires_grad_()
    expected = exact_loss(exact, labels)
    expected.backward()
    assert (value.dtype, expected.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(value, expected.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits.grad, exact.grad.to(torch.bfloat16), rtol=0.01, atol=1e-5)
    for one, other in zip(loss.state_dict().values(), exact_loss.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    assert loss.to(torch.bfloat16)(logits, labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "options"),
    [(FaceCenterLoss, {"center_weight": 1.0}), (MagnetCenterLoss, {"n_clusters": 3}), (RepMetCenterLoss, {})],
)
def test_works_compiled(kind, options):
    """The gradient too is that of the state before the batch, though the compiled backward pass runs after it moved."""
    torch.compiler.reset()
    loss, leaf = prepared(kind, 4, 8, **options).train(), torch.randn(30, 8, requires_grad=True)
    twin = copy.deepcopy(loss)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for labels in (torch.randint(4, (30,)), sets(30, 4)):
        results = [
            (value, torch.autograd.grad(value, leaf)[0]) for value in (f(leaf, labels) for f in (compiled, loss))
        ]
        torch.testing.assert_close(*results)
    torch.testing.assert_close(twin.state_dict(), loss.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_far_logits_have_finite_losses_and_gradients(kind):
    loss, labels = prepared(kind, 4, 64), torch.arange(8) % 4
    for size in (0.0, 1e-6, 1e4):
        leaf = (torch.randn(8, 64) * size).requires_grad_()
        value = loss(leaf, labels)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(leaf.grad).all()
        loss.zero_grad()


def test_batches_without_rivals_and_of_single_samples():
    one_class, all_classes = torch.zeros(4, dtype=torch.int64), torch.ones(4, 3)
    magnet, repmet = MagnetCenterLoss(3, 8), RepMetCenterLoss(3, 8)
    for loss, labels in ((magnet, one_class), (magnet, all_classes), (repmet, all_classes), (magnet, torch.arange(3))):
        leaf = torch.randn(len(labels), 8, requires_grad=True)
        value = loss(leaf, labels)
        value.backward()
        assert value == 0
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_magnet_keeps_running_means():
    loss, first, second = MagnetCenterLoss(3, 4, momentum=0.25), torch.randn(6, 4), torch.randn(4, 4)
    loss(first, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert loss.filled.tolist() == [[True], [True], [False]]
    torch.testing.assert_close(loss.clusters[0, 0], first[:3].mean(dim=0))
    loss(second, torch.tensor([0, 0, 2, 2]))
    torch.testing.assert_close(loss.clusters[0, 0], 0.75 * first[:3].mean(dim=0) + 0.25 * second[:2].mean(dim=0))
    torch.testing.assert_close(loss.feature_centers[1:], torch.stack([first[3:].mean(dim=0), second[2:].mean(dim=0)]))
    before = copy.deepcopy(loss.state_dict())
    loss.eval()(first, torch.arange(6) % 3)
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0)


def test_refresh_finds_the_clusters():
    """Blobs far apart: k-means finds each class's own, whatever the order of the samples."""
    blobs = torch.randn(3, 2, 6) * 100
    which = torch.arange(60).repeat_interleave(2) % 6  # 20 samples of each blob
    features, labels = blobs.flatten(0, 1)[which] + torch.randn(120, 6), which // 2
    for seed in range(3):
        loss = MagnetCenterLoss(3, 6, n_clusters=2)
        loss.refresh(features, labels, seed=seed)
        assert loss.filled.all()
        for c in range(3):
            gaps = torch.cdist(loss.clusters[c], blobs[c])
            assert gaps.argmin(dim=1).sort().values.tolist() == [0, 1]
            assert gaps.amin(dim=1).max() < 2
        shuffled, order = MagnetCenterLoss(3, 6, n_clusters=2), torch.randperm(120)
        shuffled.refresh(features[order], labels[order], seed=seed)
        torch.testing.assert_close(shuffled.feature_centers, loss.feature_centers, rtol=1e-4, atol=1e-4)
    again = MagnetCenterLoss(3, 6, n_clusters=2)
    again.refresh(features, labels, seed=2)
    assert torch.equal(again.clusters, loss.clusters)
    assert loss(features, labels) == 0


def test_refresh_never_ends_worse_than_single_means_and_takes_sets():
    features, labels = torch.randn(80, 4, requires_grad=True), sets(80, 3)
    one, several = MagnetCenterLoss(3, 4), MagnetCenterLoss(3, 4, n_clusters=4)
    one.refresh(features, labels)
    several.refresh(features, labels)
    for c in range(3):
        rows = features.detach()[labels[:, c]]
        torch.testing.assert_close(one.feature_centers[c], rows.mean(dim=0))
        spread = [torch.cdist(rows, loss.clusters[c]).amin(dim=1).square().sum() for loss in (one, several)]
        assert spread[1] < 0.8 * spread[0]


def test_refresh_with_few_samples():
    loss = MagnetCenterLoss(3, 4, n_clusters=3)
    loss.clusters[2, 0] = 7.0
    loss.filled[2, 0] = True
    rows = torch.randn(3, 4)
    loss.refresh(rows[[0, 0, 1, 2, 1]], torch.tensor([0, 0, 1, 1, 1]))
    assert loss.filled.tolist() == [[True, False, False], [True, True, False], [True, False, False]]
    torch.testing.assert_close(
        loss.feature_centers, torch.stack([rows[0], rows[1:].mean(dim=0), torch.full((4,), 7.0)])
    )
    assert torch.isfinite(loss(torch.randn(9, 4), torch.arange(9) % 3))


@pytest.mark.parametrize("kind", [FaceCenterLoss, MagnetCenterLoss])
def test_an_overflowed_batch_does_not_stay(kind):
    loss, labels = kind(2, 4), torch.tensor([0, 0, 1, 1])
    loss(torch.randn(4, 4), labels)
    before = loss.feature_centers.clone()
    logits = torch.randn(4, 4)
    logits[0, 1] = torch.inf
    loss(logits, labels)
    assert torch.isfinite(loss.feature_centers).all()
    assert (loss.feature_centers[1] != before[1]).any()


@pytest.mark.parametrize("labels", ["classes", "sets"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, {}) for kind in KINDS]
    + [(MagnetCenterLoss, {"n_clusters": 2}), (RepMetCenterLoss, {"n_representatives": 2})],
)
def test_two_phases(kind, options, labels):
    """A linear map learns centers of noisy samples, near which those of the same class lie; then central similarity."""
    hot = F.one_hot(torch.arange(160) % 8, 8).bool() if labels == "classes" else sets(160, 8, share=0.15)
    samples = hot.float() @ torch.randn(8, 20) * 2 + 1.2 * torch.randn(160, 20)
    given = hot.int().argmax(dim=1) if labels == "classes" else hot
    model, loss = torch.nn.Linear(20, 48), kind(8, 48, **options)
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=0.02)
    values = []
    for step in range(150):
        if "n_clusters" in options and step % 50 == 0:
            loss.refresh(model(samples), given)
        value = loss(model(samples), given)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[0] > 0.2
    assert values[-1] < values[0] * 0.9
    centers = loss.centers
    assert centers.shape == (8, 48)
    assert (48 - (centers @ centers.T).fill_diagonal_(-48)).min() / 2 >= 4
    assert torch.equal(binarize_centers(loss.feature_centers), centers)
    single = hot.sum(dim=1) == 1
    nearest = torch.cdist(model(samples)[single], loss.feature_centers).argmin(dim=1)
    assert (nearest == hot[single].int().argmax(dim=1)).float().mean() > 0.8
    assert torch.isfinite(CentralSimilarityLoss(centers)(model(samples), given))


@pytest.mark.parametrize("kind", KINDS)
def test_state_inputs_and_repr(kind):
    logits, labels = torch.randn(20, 8), torch.arange(20) % 4
    before = logits.clone(), labels.clone()
    loss, other = kind(4, 8), kind(4, 8)
    loss(logits, labels)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])
    centers = loss.centers
    assert (centers.dtype, centers.requires_grad) == (torch.float32, False)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert torch.equal(other.centers, centers)
    assert torch.equal(other.feature_centers, loss.feature_centers)
    assert other(logits, labels) == loss(logits, labels)
    assert "n_classes=4, n_bits=8" in repr(loss.to("meta"))


def test_signs_are_of_the_difference_from_the_mean():
    points = torch.randn(9, 12) + 50
    middle = points.double().mean(dim=0).tolist()
    expected = [[1.0 if x >= m else -1.0 for x, m in zip(row, middle, strict=True)] for row in points.tolist()]
    assert binarize_centers(points).tolist() == expected
    assert binarize_centers(points.to(torch.float64).requires_grad_()).tolist() == expected
    assert binarize_centers(torch.tensor([[0.0, 4], [1, 4], [2, 4]])[:2]).tolist() == [[-1, 1], [1, 1]]  # zero: +1
    assert binarize_centers(torch.tensor([[3.0, -2.0]])).tolist() == [[1, 1]]


def test_centers_that_coincide_are_refused():
    points = torch.tensor([[0.0, 0], [9, 9], [0, 9], [8, 7], [1, 1]])
    with pytest.raises(
        RuntimeError, match=r"classes 1 and 3 have the same 2 signs \(3 different centers of 5 classes\)"
    ):
        binarize_centers(points)
    loss = RepMetCenterLoss(3, 1)
    with pytest.raises(
        RuntimeError, match="learn them longer, at more bits or from another start, check that the optim"
    ):
        _ = loss.centers


@pytest.mark.parametrize("kind", [FaceCenterLoss, MagnetCenterLoss])
def test_classes_without_samples_are_refused(kind):
    loss = kind(9, 8)
    loss(torch.randn(4, 8), torch.tensor([0, 2, 2, 0]))
    with pytest.raises(RuntimeError, match=r"7 of 9 classes have no center yet \(classes 1, 3, 4, 5, 6, \.\.\.\)"):
        _ = loss.centers
    loss(torch.randn(6, 8), torch.tensor([1, 3, 4, 5, 6, 7]))
    with pytest.raises(
        RuntimeError, match=r"1 of 9 classes have no center yet \(classes 8\); call the loss in training"
    ):
        _ = loss.centers


def test_bad_feature_centers_are_refused():
    with pytest.raises(TypeError, match=r"feature_centers must be a floating-point tensor .* got torch\.int64"):
        binarize_centers(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="got list"):
        binarize_centers([[1.0]])
    for shape in ((3,), (0, 3), (3, 0), (2, 3, 4)):
        with pytest.raises(
            ValueError, match=r"feature_centers must have shape \(n_classes, n_bits\), neither of them 0"
        ):
            binarize_centers(torch.zeros(shape))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="feature_centers must be finite, got NaN or infinity"):
            binarize_centers(torch.tensor([[0.0, value]]))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_calls_are_refused(kind):
    loss, labels = kind(6, 8), torch.tensor([0, 5])
    calls = [loss, loss.refresh] if kind is MagnetCenterLoss else [loss]
    for call in calls:
        with pytest.raises(ValueError, match="logits contain NaN"):
            call(torch.full((2, 8), math.nan), labels)
        with pytest.raises(ValueError, match=r"logits must have shape \(N, n_bits=8\), got \(2, 9\)"):
            call(torch.zeros(2, 9), labels)
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5 \(n_classes=6\)"):
            call(torch.zeros(2, 8), torch.tensor([0, 6]))
        with pytest.raises(ValueError, match="labels must have one row a sample: 2 samples"):
            call(torch.zeros(2, 8), torch.tensor([0, 1, 2]))
        with pytest.raises(ValueError, match="every row of labels must have at least one class, got a row without any"):
            call(torch.zeros(2, 8), torch.tensor([[1] * 6, [0] * 6]))
    with pytest.raises(ValueError, match="logits must hold at least one sample to take a mean"):
        loss(torch.zeros(0, 8), labels[:0])
    for reduction, shape in (("sum", ()), ("none", (0,))):
        empty = kind(6, 8, reduction=reduction)(torch.zeros(0, 8), labels[:0])
        assert empty.shape == shape
        assert empty.sum() == 0


def test_bad_refreshes_are_refused():
    loss = MagnetCenterLoss(6, 8)
    with pytest.raises(ValueError, match="features must be finite, got infinity"):
        loss.refresh(torch.full((1, 8), torch.inf), torch.tensor([0]))
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        loss.refresh(torch.zeros(1, 8), torch.tensor([0]), seed=-1)
    loss.refresh(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    assert not loss.filled.any()


def test_bad_options_are_refused():
    for kind in KINDS:
        with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
            kind(0, 8)
        with pytest.raises(TypeError, match="n_bits must be an int"):
            kind(3, 8.0)
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'batch'"):
            kind(3, 8, reduction="batch")
    for value in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=rf"center_rate must lie in \(0, 1\], got {value}"):
            FaceCenterLoss(3, 8, center_rate=value)
        with pytest.raises(ValueError, match=rf"momentum must lie in \(0, 1\], got {value}"):
            MagnetCenterLoss(3, 8, momentum=value)
    for value in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"center_weight must be finite and at least 0, got {value}"):
            FaceCenterLoss(3, 8, center_weight=value)
        for kind in (MagnetCenterLoss, RepMetCenterLoss):
            with pytest.raises(ValueError, match=f"margin must be finite and at least 0, got {value}"):
                kind(3, 8, margin=value)
        for name in ("variance", "init_scale"):
            with pytest.raises(ValueError, match=f"{name} must be finite and above 0, got {value}"):
                RepMetCenterLoss(3, 8, **{name: value})
    with pytest.raises(ValueError, match="n_clusters must be at least 1, got 0"):
        MagnetCenterLoss(3, 8, n_clusters=0)
    with pytest.raises(ValueError, match="n_representatives must be at least 1, got 0"):
        RepMetCenterLoss(3, 8, n_representatives=0)


@pytest.mark.parametrize("kind", [FaceCenterLoss, MagnetCenterLoss])
def test_a_row_that_is_not_finite_leaves_no_trace(kind):
    loss, other = kind(3, 4), kind(3, 4)
    other.load_state_dict(loss.state_dict())
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 1, 1, 2, 2])
    spoilt = torch.cat([torch.tensor([[math.inf, 0.0, 0.0, 0.0]]), logits[1:]])
    loss(spoilt, labels)
    other(logits[1:], labels[1:])
    with pytest.raises(RuntimeError, match="0"):  # class 0 has had no sample
        _ = loss.centers
    for name, value in loss.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])
