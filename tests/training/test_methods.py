import dataclasses
import itertools

import pytest
import torch
from torch import nn

from hashcenters import CentralSimilarityLoss, HashCenterGenerator, HashHead
from hashcenters.centers import multilabel_centers
from hashcenters.losses import (
    BatchNormHead,
    CenterContrastLoss,
    CNNHLoss,
    DCHLoss,
    DHNLoss,
    DivideAndEncodeHead,
    DNNHLoss,
    DPNLoss,
    DPSHLoss,
    FaceCenterLoss,
    GreedyHashLoss,
    HashNetLoss,
    MagnetCenterLoss,
    MDSLoss,
    OrthoHashLoss,
    PairwiseSimilarityLoss,
    RepMetCenterLoss,
    central_similarity_loss,
)
from hashcenters.training.methods import (
    DEEP_METHODS,
    FRAME_METHODS,
    SHALLOW_METHODS,
    make_network,
    make_plan,
    make_shallow,
    second_loss,
)
from hashcenters.training.optimization import make_optimizer, parameter_groups
from hashcenters.training.recipes import PRESETS, Recipe, preset

METHODS = [method for method in DEEP_METHODS if method not in FRAME_METHODS]
N_CLASSES, WIDTH = 5, 12
SINGLE = torch.arange(40) % N_CLASSES
MULTI = torch.eye(N_CLASSES, dtype=torch.bool)[SINGLE] | torch.eye(N_CLASSES, dtype=torch.bool)[torch.arange(40) // 8]
SIMILARITY = torch.rand(N_CLASSES, N_CLASSES, generator=torch.Generator().manual_seed(0))


def recipe_of(method, dataset="coco", name="csq-official", **values):
    recipe = preset(name, dataset, method=method, backbone="resnet10t", n_bits=16)
    return dataclasses.replace(recipe, pretrained=False, **values)


def plan_of(recipe, labels=MULTI, similarity=SIMILARITY):
    return make_plan(recipe, labels, N_CLASSES, WIDTH, similarity=similarity)


KINDS = {
    "csq": CentralSimilarityLoss,
    "ours": CenterContrastLoss,
    "csq-no-lq": CentralSimilarityLoss,
    "csq+lp": nn.Module,
    "lp+lq": PairwiseSimilarityLoss,
    "cnnh": CNNHLoss,
    "dnnh": DNNHLoss,
    "dhn": DHNLoss,
    "dpsh": DPSHLoss,
    "hashnet": HashNetLoss,
    "dch": DCHLoss,
    "orthohash": OrthoHashLoss,
    "mds": MDSLoss,
    "dpn": DPNLoss,
    "greedyhash": GreedyHashLoss,
    "face": FaceCenterLoss,
    "magnet": MagnetCenterLoss,
    "repmet": RepMetCenterLoss,
}


@pytest.mark.parametrize(("method", "labels"), [*itertools.product(METHODS, (SINGLE, MULTI))])
def test_every_method_lowers_its_loss(method, labels):
    torch.manual_seed(0)
    recipe = recipe_of(method, dataset="imagenet100" if labels.ndim == 1 else "nus_wide", name="csq-paper")
    plan = plan_of(recipe, labels)
    if labels.ndim == 1:
        assert isinstance(plan.loss_fn, KINDS[method])
    assert plan.learns_centers == (method in ("face", "magnet", "repmet"))
    assert (plan.centers is not None) == (method in ("csq", "csq-no-lq", "csq+lp", "ours", "orthohash", "mds", "dpn"))
    network = nn.Sequential(nn.Linear(30, WIDTH), plan.head or HashHead(WIDTH, 16, hidden_features=()))
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(1))
    targets = labels if plan.targets is None else plan.targets
    optimizer = make_optimizer("adam", parameter_groups(network, plan.loss_fn, lr=0.02))
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = plan.loss_fn(network(x), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_rebuilt_plan_takes_the_state(method):
    """What resuming rests on: same targets and centers, and a state that fits."""
    recipe = recipe_of(method, name="csq-paper")
    first, second = plan_of(recipe), plan_of(recipe)
    second.loss_fn.load_state_dict(first.loss_fn.state_dict())
    for a, b in ((first.targets, second.targets), (first.centers, second.centers)):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_plan(name):
    for dataset, labels in (("imagenet100", SINGLE), ("coco", MULTI)):
        plan = plan_of(recipe_of("csq", dataset=dataset, name=name), labels)
        assert plan.centers.shape == (N_CLASSES, 16)


def test_heads():
    head = plan_of(recipe_of("dnnh")).head
    assert isinstance(head, DivideAndEncodeHead)
    assert (head.in_features, head.n_bits) == (WIDTH, 16)
    assert isinstance(plan_of(recipe_of("orthohash")).head, BatchNormHead)
    assert plan_of(recipe_of("hashnet")).head is None


@pytest.mark.parametrize("ties", ["sample", "shared"])
def test_targets_follow_the_ties(ties):
    plan = plan_of(recipe_of("csq", ties=ties, seed=3))
    centers = HashCenterGenerator(16, method="paper", seed=3)(N_CLASSES)
    assert torch.equal(plan.centers, centers)
    assert torch.equal(plan.targets, multilabel_centers(MULTI, centers, seed=3, ties=ties))
    logits = torch.randn(40, 16)
    expected = central_similarity_loss(logits, plan.targets, quantization_weight=0.05, quantization="squared")
    torch.testing.assert_close(plan.loss_fn(logits, plan.targets), expected)


def test_ties_by_label_set_and_single_labels_need_no_targets():
    plan = plan_of(recipe_of("csq", ties="label_set", seed=3))
    assert plan.targets is None
    logits = torch.randn(40, 16)
    targets = multilabel_centers(MULTI, plan.centers, seed=3)
    expected = central_similarity_loss(logits, targets, quantization_weight=0.05, quantization="squared")
    torch.testing.assert_close(plan.loss_fn(logits, MULTI), expected)
    assert plan_of(recipe_of("csq"), SINGLE).targets is None


def test_terms_of_table_6():
    logits = 2 * torch.randn(40, 16)
    central = {"quantization_weight": 0.05, "quantization": "squared"}
    full = plan_of(recipe_of("csq+lp"))
    expected = CentralSimilarityLoss(full.centers, **central)(logits, MULTI)
    torch.testing.assert_close(full.loss_fn(logits, MULTI), expected + 0.2 * PairwiseSimilarityLoss()(logits, MULTI))
    no_lq = plan_of(recipe_of("csq-no-lq", ties="label_set"))
    expected = CentralSimilarityLoss(no_lq.centers, quantization_weight=0)(logits, MULTI)
    torch.testing.assert_close(no_lq.loss_fn(logits, MULTI), expected)
    pairs = plan_of(recipe_of("lp+lq"))
    expected = PairwiseSimilarityLoss(quantization_weight=0.05)(logits, MULTI)
    torch.testing.assert_close(pairs.loss_fn(logits, MULTI), expected)


def test_the_second_loss():
    recipe = recipe_of("face", seed=4)
    learned = HashCenterGenerator(16)(N_CLASSES)
    loss_fn = second_loss(recipe, learned)
    assert (loss_fn.quantization_weight, loss_fn.quantization, int(loss_fn.seed)) == (0.05, "squared", 4)
    placeholder = second_loss(recipe, torch.ones(N_CLASSES, 16))
    placeholder.load_state_dict(loss_fn.state_dict())
    logits = torch.randn(40, 16)
    torch.testing.assert_close(placeholder(logits, MULTI), loss_fn(logits, MULTI), rtol=0, atol=0)


def test_balanced_centers():
    recipe = preset("csq-official", "coco", backbone="resnet10t", seed=1)
    labels = torch.arange(160) % 80
    centers = make_plan(recipe, labels, 80, WIDTH).centers
    assert centers.shape == (80, 64)
    assert torch.equal(centers.sum(dim=1), torch.zeros(80))
    distances = (64 - (centers @ centers.T)[tuple(torch.triu_indices(80, 80, 1))]) / 2
    assert distances.min() >= 20
    assert distances.mean() >= 32
    assert torch.equal(centers, make_plan(recipe, labels, 80, WIDTH).centers)
    other = make_plan(dataclasses.replace(recipe, seed=2), labels, 80, WIDTH).centers
    assert not torch.equal(centers, other)
    placed = dataclasses.replace(recipe, place_centers=True)
    moved = make_plan(placed, labels, 80, WIDTH, similarity=torch.rand(80, 80)).centers
    assert {tuple(row) for row in moved.tolist()} == {tuple(row) for row in centers.tolist()}
    assert not torch.equal(moved, centers)


def test_centers_that_are_not_to_be_found():
    recipe = dataclasses.replace(preset("csq-official", "coco"), n_bits=8)
    with pytest.raises(ValueError, match="1000 draws of 80 random balanced centers of 8 bits had two nearer than 5/16"):
        make_plan(recipe, torch.arange(80), 80, WIDTH)


def test_methods_that_cannot_train():
    with pytest.raises(ValueError, match="method 'ksh' has no loss: fit make_shallow"):
        plan_of(recipe_of("ksh"))
    with pytest.raises(ValueError, match="similarity is required with place_centers=True"):
        plan_of(recipe_of("ours"), similarity=None)
    for method in ("hashnet", "orthohash"):
        with pytest.raises(ValueError, match=f"batch_size must be at least 2 with method '{method}', which compares"):
            plan_of(recipe_of(method, batch_size=1))
    for method in ("face", "magnet", "repmet"):
        with pytest.raises(ValueError, match=r"n_classes must be at most 2\*\*n_bits = 4, .*, got 5; take more bits"):
            plan_of(recipe_of(method, n_bits=2))
    with pytest.raises(ValueError, match=r"n_classes must be at most 2\*\*n_bits"):
        plan_of(recipe_of("csq", n_bits=2))


@pytest.mark.parametrize("method", ["csq", "hashnet", "mds", "cnnh", "face"])
def test_labels_that_nothing_can_be_learned_from(method):
    recipe = recipe_of(method)
    with pytest.raises(ValueError, match="labels must hold samples of at least two classes to tell apart, got 1"):
        plan_of(recipe, torch.zeros(40, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must hold samples of at least two classes to tell apart, got 1"):
        plan_of(recipe, torch.eye(5)[:1].repeat(40, 1))
    without = MULTI.clone()
    without[[3, 9]] = False
    with pytest.raises(ValueError, match="every row of labels must have at least one class: 2 have none; drop them"):
        plan_of(recipe, without)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.4"):
        plan_of(recipe, SINGLE + 1)


@pytest.mark.parametrize(("n_hidden", "dropout"), [(0, 0.0), (2, 0.5), (3, 0.25)])
def test_networks(n_hidden, dropout):
    network = make_network(recipe_of("csq", hidden_layers=n_hidden, dropout=dropout))
    shapes = [tuple(layer.weight.shape) for layer in network.head.layers]
    assert shapes == [(512, 512)] * n_hidden + [(16, 512)]
    assert network.head.dropout.p == dropout
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 16)


def test_a_linear_head_with_its_spread():
    torch.manual_seed(0)
    head = make_network(recipe_of("csq", name="deephash")).head
    assert 0.009 < float(head.layers[0].weight.detach().std()) < 0.011
    assert not head.layers[0].bias.detach().any()


def test_a_head_of_the_method():
    head = BatchNormHead(512, 16)
    network = make_network(recipe_of("orthohash"), head)
    assert network.head is head
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 16)


def test_alexnet_and_transformers_get_their_size():
    with torch.device("meta"):
        recipe = recipe_of("csq")
        alexnet = make_network(dataclasses.replace(recipe, backbone="alexnet", image_size=64))
        assert alexnet(torch.zeros(2, 3, 64, 64)).shape == (2, 16)
        transformer = make_network(dataclasses.replace(recipe, backbone="vit_tiny_patch16_224", image_size=64))
        assert transformer(torch.zeros(2, 3, 64, 64)).shape == (2, 16)


@pytest.mark.parametrize("method", SHALLOW_METHODS)
def test_shallow_methods(method):
    features = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 3 * torch.eye(8)[SINGLE]
    for labels in (SINGLE, MULTI.long()):
        estimator = make_shallow(recipe_of(method, seed=6))
        assert (estimator.n_bits, estimator.random_state) == (16, 6)
        codes = estimator.fit(features.numpy(), labels.numpy()).transform(features.numpy())
        assert codes.shape == (40, 16)
        assert set(codes.flatten().tolist()) <= {-1.0, 1.0}


def test_deep_methods_are_not_shallow():
    with pytest.raises(ValueError, match="method 'csq' trains a network: see make_plan; shallow are itq-cca, bre"):
        make_shallow(Recipe(preset="mine", dataset="photos"))
