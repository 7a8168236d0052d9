import copy
import itertools
import json
import math

import pytest
import torch
from torch import nn

from hashcenters import HashHead
from hashcenters.losses import GreedyHashLoss
from hashcenters.models import Hasher
from hashcenters.training.optimization import make_optimizer, make_schedule, parameter_groups


def hasher():
    return Hasher(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), HashHead(5, 4, hidden_features=()))


def names(groups):
    return {group["name"]: (len(group["params"]), group["lr"]) for group in groups}


def test_groups_have_their_rates():
    network, loss_fn = hasher(), GreedyHashLoss(3, 4)
    groups = parameter_groups(network, loss_fn, lr=0.5, backbone_multiplier=0.25, loss_multiplier=2)
    assert names(groups) == {"backbone": (4, 0.125), "head": (2, 0.5), "loss": (2, 1.0)}
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(map(id, [*network.parameters(), *loss_fn.parameters()]))


def test_other_networks_are_all_head():
    assert names(parameter_groups(nn.Linear(3, 2), nn.MSELoss(), lr=0.1)) == {"head": (2, 0.1)}


def test_frozen_parameters_are_left_out():
    network = hasher()
    groups = parameter_groups(network, GreedyHashLoss(3, 4), lr=0.5, backbone_multiplier=0, loss_multiplier=0)
    assert names(groups) == {"head": (2, 0.5)}
    assert all(parameter.requires_grad for parameter in network.parameters())
    network.backbone[0].requires_grad_(False)
    assert names(parameter_groups(network, lr=0.5)) == {"backbone": (2, 0.5), "head": (2, 0.5)}
    network.backbone.requires_grad_(False)
    assert names(parameter_groups(network, lr=0.5)) == {"head": (2, 0.5)}


def test_a_shared_parameter_comes_once():
    network = hasher()
    network.head.layers[0].bias = network.backbone[0].bias
    assert names(parameter_groups(network, network, lr=1.0)) == {"backbone": (4, 1.0), "head": (1, 1.0)}


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_bad_rates(value):
    with pytest.raises(ValueError, match="lr must be finite and above 0, got"):
        parameter_groups(hasher(), lr=value)
    for name in ("backbone_multiplier", "loss_multiplier"):
        with pytest.raises(ValueError, match=rf"{name} must be finite and at least 0 \(0 freezes\), got"):
            parameter_groups(hasher(), lr=0.1, **{name: value})


def test_nothing_to_train():
    with pytest.raises(ValueError, match="network and loss_fn have no parameters to train"):
        parameter_groups(nn.ReLU(), lr=0.1)


@pytest.mark.parametrize(
    ("name", "kind", "option"),
    [
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.5}),
        ("sgd", torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
    ],
)
def test_optimizers_step_as_torch_s(name, kind, option):
    torch.manual_seed(0)
    network = hasher()
    twin = copy.deepcopy(network)
    groups = parameter_groups(network, lr=0.1, backbone_multiplier=0.5)
    ours = make_optimizer(name, groups, weight_decay=0.01, momentum=0.5)
    theirs = kind(
        [{"params": twin.backbone.parameters(), "lr": 0.05}, {"params": twin.head.parameters(), "lr": 0.1}],
        weight_decay=0.01,
        **option,
    )
    assert type(ours) is kind
    x = torch.randn(7, 6)
    for _ in range(3):
        for model, optimizer in ((network, ours), (twin, theirs)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_sgd_without_momentum():
    assert not make_optimizer("sgd", parameter_groups(hasher(), lr=0.1), momentum=0).param_groups[0]["nesterov"]


def test_bad_optimizers():
    groups = parameter_groups(hasher(), lr=0.1)
    with pytest.raises(ValueError, match="optimizer must be one of 'adam', 'adamw', 'rmsprop', 'sgd', got 'lion'"):
        make_optimizer("lion", groups)
    with pytest.raises(ValueError, match="weight_decay must be finite and at least 0, got -1"):
        make_optimizer("adam", groups, weight_decay=-1)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1"):
        make_optimizer("sgd", groups, momentum=1)


def rates(optimizer, schedule, n_steps):
    """Rates of the steps to come, a tuple a step."""
    seen = []
    for _ in range(n_steps):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    return seen


def fresh():
    return make_optimizer("sgd", parameter_groups(hasher(), lr=1.0, backbone_multiplier=0.5), momentum=0)


def test_step_follows_the_released_code():
    optimizer = fresh()
    schedule = make_schedule("step", optimizer, n_epochs=25, steps_per_epoch=3)
    expected = [0.7 ** (epoch // 10) for epoch in range(25) for _ in range(3)]
    seen = rates(optimizer, schedule, 75)
    assert [head for _, head in seen] == pytest.approx(expected)
    assert [backbone for backbone, _ in seen] == pytest.approx([0.5 * rate for rate in expected])


def test_cosine_with_a_warm_up():
    optimizer = fresh()
    schedule = make_schedule("cosine", optimizer, n_epochs=5, steps_per_epoch=4, warmup_steps=4)
    heads = [head for _, head in rates(optimizer, schedule, 20)]
    assert heads[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert heads[12] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(heads[4:]))
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0)
    schedule.step()  # beyond the end it stays there
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0)


def test_cosine_is_torch_s():
    ours, theirs = fresh(), fresh()
    schedule = make_schedule("cosine", ours, n_epochs=5, steps_per_epoch=4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 20)
    expected = rates(theirs, reference, 20)
    for seen, rate in zip(rates(ours, schedule, 20), expected, strict=True):
        assert seen == pytest.approx(rate)


def test_a_warm_up_takes_half_of_a_short_run():
    optimizer = fresh()
    schedule = make_schedule("constant", optimizer, n_epochs=2, steps_per_epoch=3, warmup_steps=1000)
    assert [head for _, head in rates(optimizer, schedule, 6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    optimizer = fresh()
    rate = rates(optimizer, make_schedule("constant", optimizer, n_epochs=1, steps_per_epoch=1, warmup_steps=9), 1)
    assert rate == [(0.5, 1.0)]


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_resumes(name):
    def build():
        optimizer = fresh()
        options = {"n_epochs": 6, "steps_per_epoch": 4, "step_epochs": 2, "step_factor": 0.5, "warmup_steps": 5}
        return optimizer, make_schedule(name, optimizer, **options)

    for stop in (0, 3, 9, 23):
        whole = rates(*build(), 24)
        optimizer, schedule = build()
        begun = rates(optimizer, schedule, stop)
        states = copy.deepcopy(optimizer.state_dict()), json.loads(json.dumps(schedule.state_dict()))
        optimizer, schedule = build()
        optimizer.load_state_dict(states[0])
        schedule.load_state_dict(states[1])
        assert begun + rates(optimizer, schedule, 24 - stop) == whole


def test_bad_schedules():
    good = {"n_epochs": 1, "steps_per_epoch": 1}
    with pytest.raises(ValueError, match="schedule must be one of 'constant', 'cosine', 'step', got 'triangle'"):
        make_schedule("triangle", fresh(), **good)
    for value in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"step_factor must lie in \(0, 1\], got"):
            make_schedule("step", fresh(), **good, step_factor=value)
    for name in ("n_epochs", "steps_per_epoch", "step_epochs"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            make_schedule("step", fresh(), **good | {name: 0})
    with pytest.raises(ValueError, match="warmup_steps must be at least 0, got -1"):
        make_schedule("step", fresh(), **good, warmup_steps=-1)
    with pytest.raises(TypeError, match="n_epochs"):
        make_schedule("step", fresh(), n_epochs=1.5, steps_per_epoch=1)
