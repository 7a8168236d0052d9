import copy
import math
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hashcenters import CentralSimilarityLoss, HashCenterGenerator
from hashcenters.losses import GreedyHashLoss, HashNetLoss
from hashcenters.training import Epoch, TensorBatches, fit, trainable_parameters

N_BITS = 8


def data(n=48):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator), torch.arange(n) % 3


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, N_BITS))


def central():
    return CentralSimilarityLoss(HashCenterGenerator(N_BITS)(3))


def batches(n=48, size=8):
    return [(x, y) for x, y in zip(*(t.split(size) for t in data(n)), strict=True)]


def sgd(network, lr=0.1):
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)


class LearnedCenters(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(3, N_BITS))

    def forward(self, logits, labels):
        return F.mse_loss(logits, self.centers[labels]) - self.centers.mean()


def by_hand(network, loss_fn, loader, optimizer, n_epochs, schedule=None, clip_norm=None):
    """The same, written plainly."""
    losses = []
    network.train()
    for _ in range(n_epochs):
        total, n_samples = 0.0, 0
        for inputs, labels in loader:
            loss = loss_fn(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip_norm)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if hasattr(loss_fn, "advance"):
                loss_fn.advance()
            total, n_samples = total + loss.item() * len(labels), n_samples + len(labels)
        losses.append(total / n_samples)
    return losses


def assert_same(a, b):
    for mine, theirs in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", ["list", "DataLoader", "TensorBatches"])
@pytest.mark.parametrize("make_loss", [central, HashNetLoss, LearnedCenters])
@pytest.mark.parametrize("extras", [False, True])
def test_equals_the_loop_written_by_hand(kind, make_loss, extras):
    results = []
    for train in (by_hand, fit):
        network, loss_fn = small_network(), make_loss()
        loader = {
            "list": lambda: batches(),
            "DataLoader": lambda: DataLoader(TensorDataset(*data()), batch_size=10, shuffle=True),  # a smaller last one
            "TensorBatches": lambda: TensorBatches(*data(), batch_size=8, seed=2),
        }[kind]()
        optimizer = torch.optim.AdamW(trainable_parameters(network, loss_fn), lr=1e-2)
        options = {}
        if extras:
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * len(loader))
            options = {"schedule": schedule, "clip_norm": 0.05}
        torch.manual_seed(5)
        answer = train(network, loss_fn, loader, optimizer=optimizer, n_epochs=3, **options)
        losses = answer if train is by_hand else [epoch.loss for epoch in answer]
        results.append((network, loss_fn, losses, torch.get_rng_state(), optimizer.param_groups[0]["lr"]))
    (network, loss_fn, losses, state, rate), (network_, loss_fn_, losses_, state_, rate_) = results
    assert_same(network, network_)
    assert_same(loss_fn, loss_fn_)
    assert losses == losses_
    assert torch.equal(state, state_)  # nothing else was drawn, nothing seeded
    assert rate == rate_
    assert not extras or rate < 1e-6
    assert losses[-1] < losses[0] or make_loss is HashNetLoss


def test_clipping_bites():
    free, clipped = small_network(), small_network()
    for network, clip_norm in ((free, None), (clipped, 1e-6)):
        fit(network, central(), batches(), optimizer=torch.optim.SGD(network.parameters(), lr=1.0), n_epochs=1,
            clip_norm=clip_norm)  # fmt: skip
    start = small_network()
    moved = [(a[0].weight - start[0].weight).norm().item() for a in (free, clipped)]
    assert 0 < moved[1] <= 6 * 1e-6 < moved[0]


def test_history_counts_from_one_and_sums_time():
    def after_epoch(epoch):
        seen.append(epoch)
        time.sleep(0.2)

    seen = []
    network = small_network()
    history = fit(network, central(), batches(), optimizer=sgd(network), n_epochs=3, after_epoch=after_epoch)
    assert all(isinstance(epoch, Epoch) for epoch in history)
    assert seen == history
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert [epoch.n_samples for epoch in history] == [48] * 3
    assert all(epoch.seconds > 0 for epoch in history)
    assert history[-1].total_seconds == pytest.approx(sum(epoch.seconds for epoch in history))
    assert history[-1].total_seconds < 0.4  # the pauses are 0.6


def test_after_epoch_may_evaluate():
    network = small_network()
    modes = []

    def after_epoch(epoch):
        modes.append(network.training)
        network.eval()
        with torch.no_grad():
            network(data()[0])

    fit(network, central(), batches(), optimizer=sgd(network), n_epochs=2, after_epoch=after_epoch)
    assert modes == [True, True]
    assert network.training
    assert all(part.training for part in network.modules())
    network.eval()
    fit(network, central(), batches(), optimizer=sgd(network), n_epochs=1)
    assert network.training


def test_the_loss_advances_with_every_step():
    network, loss_fn = small_network(), HashNetLoss()
    fit(network, loss_fn, batches(), optimizer=sgd(network, 0.01), n_epochs=2)
    assert int(loss_fn.step) == 12


def test_a_loss_may_be_a_function():
    network = small_network()
    history = fit(network, lambda z, y: F.cross_entropy(z, y), batches(), optimizer=sgd(network), n_epochs=5)
    assert history[-1].loss < history[0].loss


@pytest.mark.parametrize("kind", ["multi-hot", "codes"])
def test_labels_of_other_kinds(kind):
    inputs, labels = data()
    network = small_network()
    if kind == "multi-hot":
        loss_fn, targets = central(), F.one_hot(labels, 3)
    else:
        loss_fn, targets = nn.MSELoss(), HashCenterGenerator(N_BITS)(3)[labels]
    history = fit(network, loss_fn, TensorBatches(inputs, targets, batch_size=8), optimizer=sgd(network), n_epochs=5)
    assert history[-1].loss < history[0].loss


def test_inputs_may_be_lists():
    class TwoPaths(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, N_BITS)

        def forward(self, paths):
            first, second = paths
            paths.clear()  # as some networks do
            return self.layer(first + second)

    network = TwoPaths()
    loader = [([x, -x / 2], y) for x, y in batches()]
    history = fit(network, central(), loader, optimizer=sgd(network), n_epochs=2)
    assert [epoch.n_samples for epoch in history] == [48, 48]


def test_a_generator_serves_one_epoch():
    network = small_network()
    (epoch,) = fit(network, central(), iter(batches()), optimizer=sgd(network), n_epochs=1)
    assert epoch.n_samples == 48
    with pytest.raises(ValueError, match="the loader is an iterator, which serves one epoch, not n_epochs=2; pass a"):
        fit(network, central(), (batch for batch in batches()), optimizer=sgd(network), n_epochs=2)


def test_an_empty_loader():
    network = small_network()
    with pytest.raises(ValueError, match=r"the loader is empty: it yielded no batch in epoch 1 \(drop_last"):
        fit(network, central(), [], optimizer=sgd(network), n_epochs=1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_its_step(value):
    network = small_network()
    before = []

    def loss_fn(logits, labels):
        before.append(copy.deepcopy(network.state_dict()))
        return logits.mean() * (value if len(before) == 9 else 1)

    with pytest.raises(ValueError, match=r"epoch 2, batch 3: the loss is -?(nan|inf); lower the learning rate, pass"):
        fit(network, loss_fn, batches(), optimizer=sgd(network), n_epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before[-1].values(), network.state_dict().values(), strict=True))


def test_other_devices_read_the_loss_now_and_then(monkeypatch):
    from hashcenters.training.loop import _Losses

    losses = _Losses(2, torch.device("meta"))
    for number in range(63):
        losses.add(torch.tensor(math.nan if number == 40 else 1.0), 4)
    assert losses.n_samples == 0
    with pytest.raises(ValueError, match="epoch 2, batch 41: the loss is nan"):
        losses.add(torch.tensor(1.0), 4)
    losses = _Losses(1, torch.device("meta"))
    for value in range(70):
        losses.add(torch.tensor(float(value)), 2)
    losses.read()
    losses.read()
    assert (losses.total, losses.n_samples) == (2 * sum(range(70)), 140)


def test_what_the_loss_refuses_names_its_place():
    network = small_network()
    loader = batches()
    loader[2] = (loader[2][0], loader[2][1] + 3)
    with pytest.raises(ValueError, match=r"epoch 1, batch 3: labels must lie in 0..2 \(n_classes=3\)"):
        fit(network, central(), loader, optimizer=sgd(network), n_epochs=1)


@pytest.mark.parametrize(("answer", "got"), [(torch.zeros(8), r"shape \(8,\)"), (1.0, "float")])
def test_a_loss_that_is_no_scalar(answer, got):
    network = small_network()
    with pytest.raises(ValueError, match=f"epoch 1, batch 1: loss_fn must return a scalar tensor, .* got {got}"):
        fit(network, lambda logits, labels: answer, batches(), optimizer=sgd(network), n_epochs=1)


def test_batches_that_are_no_pairs():
    network = small_network()
    with pytest.raises(TypeError, match=r"the loader must yield \(inputs, labels\) pairs, got 3 of them in batch 1"):
        fit(network, central(), [(*batches()[0], 1)], optimizer=sgd(network), n_epochs=1)


def test_parameters_of_the_loss_that_the_optimizer_lacks():
    network, loss_fn = small_network(), LearnedCenters()
    with pytest.raises(ValueError, match="optimizer lacks parameters of loss_fn: centers; build it on trainable_par"):
        fit(network, loss_fn, batches(), optimizer=sgd(network), n_epochs=1)
    loss_fn.requires_grad_(False)
    fit(network, loss_fn, batches(), optimizer=sgd(network), n_epochs=1)
    assert not loss_fn.centers.any()
    loss_fn.requires_grad_(True)
    optimizer = torch.optim.SGD(trainable_parameters(network, loss_fn), lr=0.1)
    fit(network, loss_fn, batches(), optimizer=optimizer, n_epochs=1)
    assert loss_fn.centers.all()


def test_an_optimizer_for_another_network():
    network = small_network()
    with pytest.raises(ValueError, match="optimizer has no parameter of the network: was it built on another"):
        fit(copy.deepcopy(network), central(), batches(), optimizer=sgd(network), n_epochs=1)


def test_trainable_parameters():
    network, loss_fn = nn.Linear(2, 3), nn.Linear(3, 3)
    loss_fn.weight = nn.Parameter(torch.zeros(3, 3), requires_grad=False)
    found = trainable_parameters(network, loss_fn, network, F.mse_loss)
    assert [id(p) for p in found] == [id(network.weight), id(network.bias), id(loss_fn.bias)]


def test_bad_options():
    network = small_network()
    options = {"optimizer": sgd(network)}
    with pytest.raises(ValueError, match="n_epochs must be at least 1, got 0"):
        fit(network, central(), batches(), n_epochs=0, **options)
    with pytest.raises(TypeError, match="n_epochs must be an int, got 1.5"):
        fit(network, central(), batches(), n_epochs=1.5, **options)
    with pytest.raises(ValueError, match="clip_norm must be finite and above 0, got 0"):
        fit(network, central(), batches(), n_epochs=1, clip_norm=0, **options)
    accelerator = Accelerator(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="accelerator must have gradient_accumulation_steps=1, got 2: fit takes"):
        fit(network, central(), batches(), n_epochs=1, accelerator=accelerator, **options)


def test_the_network_is_left_as_it_was_apart_from_its_weights():
    network, loss_fn = small_network(), LearnedCenters()
    before = [set(vars(module)) for module in (network, loss_fn)]
    optimizer = torch.optim.SGD(trainable_parameters(network, loss_fn), lr=0.1)
    fit(network, loss_fn, batches(), optimizer=optimizer, n_epochs=1, accelerator=Accelerator())
    assert [set(vars(module)) for module in (network, loss_fn)] == before
    copy.deepcopy(network)


def test_a_bar(capsys):
    network = small_network()
    fit(network, central(), batches(), optimizer=sgd(network), n_epochs=2, progress=True)
    assert "epoch 2" in capsys.readouterr().err
    fit(network, central(), batches(), optimizer=sgd(network), n_epochs=2)
    assert capsys.readouterr().err == ""


BF16 = """
import torch
from accelerate import Accelerator
from torch import nn
from hashcenters.losses import GreedyHashLoss, HashNetLoss
from hashcenters.training import fit

seen = []
class Watch(nn.Module):
    def forward(self, x):
        seen.append(x.dtype)
        return x
network = nn.Sequential(nn.Linear(6, 8), Watch())
before = set(vars(network))
loader = [(torch.randn(8, 6), torch.arange(8) % 3)]
accelerator = Accelerator(mixed_precision="bf16", cpu=True)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
fit(network, HashNetLoss(), loader, optimizer=optimizer, n_epochs=2, accelerator=accelerator)
network(loader[0][0])
print(seen, set(vars(network)) - before)
"""


def test_the_accelerator_s_precision_holds_in_training_alone():
    # In a process of its own: accelerate keeps one state a process.
    answer = subprocess.run([sys.executable, "-W", "error", "-c", BF16], capture_output=True, text=True, check=False)
    assert answer.stdout == "[torch.bfloat16, torch.bfloat16, torch.float32] set()\n", answer.stderr


def test_accelerate_is_needed_by_training_alone():
    code = (
        "import sys, hashcenters, hashcenters.models\n"
        "print('accelerate' in sys.modules)\n"
        "sys.modules['accelerate'] = None  # as if it were not installed\n"
        "import hashcenters.training"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout == "False\n"
    message = answer.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert message.endswith('training needs accelerate: pip install "hashcenters[training]"')


def test_refuses_an_optimizer_for_another_network_whose_loss_it_has():
    network, other, loss_fn = nn.Linear(4, 8), nn.Linear(4, 8), GreedyHashLoss(3, 8)
    optimizer = torch.optim.SGD(trainable_parameters(other, loss_fn), lr=0.1)
    batches = [(torch.randn(6, 4), torch.arange(6) % 3)]
    with pytest.raises(ValueError, match="optimizer has no parameter of the network"):
        fit(network, loss_fn, batches, optimizer=optimizer, n_epochs=1)


def test_the_accelerator_keeps_nothing_of_a_run():
    accelerator, batches = Accelerator(cpu=True), [(torch.randn(6, 4), torch.arange(6) % 3)]
    for _ in range(2):
        network, loss_fn = nn.Linear(4, 8), GreedyHashLoss(3, 8)
        optimizer = torch.optim.SGD(trainable_parameters(network, loss_fn), lr=0.1)
        fit(network, loss_fn, batches, optimizer=optimizer, n_epochs=1, accelerator=accelerator)
    assert not accelerator._models
    assert not accelerator._optimizers
