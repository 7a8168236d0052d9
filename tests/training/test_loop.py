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
from hashcenters.training.loop import _title

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
    with pytest.raises(ValueError, match=r"history must hold the epochs 1, 2, \.\.\. in order, got \[2\]"):
        fit(network, central(), batches(), n_epochs=3, history=[Epoch(2, 0.5, 48, 1.0, 1.0)], **options)


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


def plain_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, N_BITS))


@pytest.mark.parametrize("n", [48, 40])  # 40 samples in parts of 4: the last step has two of four parts
def test_accumulated_parts_make_the_step_of_the_whole(n):
    results = []
    for size, parts in ((16, 1), (4, 4)):
        network = plain_network()
        steps = torch.optim.lr_scheduler.StepLR(optimizer := sgd(network), 1, gamma=0.9)
        fit(network, central(), batches(n, size), optimizer=optimizer, n_epochs=2, schedule=steps, clip_norm=0.1,
            accelerator=Accelerator(cpu=True, gradient_accumulation_steps=parts))  # fmt: skip
        results.append((network, optimizer.param_groups[0]["lr"]))
    (whole, rate), (parts_network, parts_rate) = results
    for mine, theirs in zip(whole.parameters(), parts_network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert rate == parts_rate
    Accelerator(cpu=True, gradient_accumulation_steps=1)  # accelerate keeps the number for the process


def test_goes_on_after_an_interruption():
    whole, network = small_network(), small_network()
    optimizer = sgd(whole)
    torch.manual_seed(3)
    history = fit(whole, central(), batches(), optimizer=optimizer, n_epochs=4)

    optimizer = sgd(network)
    torch.manual_seed(3)
    first = fit(network, central(), batches(), optimizer=optimizer, n_epochs=2)
    second = fit(network, central(), batches(), optimizer=optimizer, n_epochs=4, history=first)
    assert_same(whole, network)
    assert [epoch.loss for epoch in second] == [epoch.loss for epoch in history]
    assert second[:2] == first
    assert second[3].total_seconds == pytest.approx(sum(epoch.seconds for epoch in second))
    assert fit(network, central(), batches(), optimizer=optimizer, n_epochs=4, history=second) == second


def test_channels_last():
    seen = []

    class Watch(nn.Conv2d):
        def forward(self, x):
            seen.append((x.is_contiguous(memory_format=torch.channels_last), x.is_contiguous()))
            return super().forward(x)

    images = torch.randn(8, 3, 6, 5)
    loader = [(images, torch.arange(8) % 3)]
    results = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(Watch(3, N_BITS, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        fit(network, central(), loader, optimizer=sgd(network), n_epochs=3, channels_last=channels_last)
        results.append(network[0].weight)
    assert seen == [(False, True)] * 3 + [(True, False)] * 3
    assert results[1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(results[0], results[1])
    assert images.is_contiguous()

    clips = [(torch.randn(2, 3, 4, 4, 4), torch.tensor([0, 1]))]
    network = nn.Sequential(nn.Conv3d(3, N_BITS, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    fit(network, central(), clips, optimizer=sgd(network), n_epochs=1, channels_last=True)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


DEADLY = """
import os, signal, sys
import torch
from torch.utils.data import DataLoader, Dataset
from hashcenters import CentralSimilarityLoss, HashCenterGenerator
from hashcenters.training import fit

class Deadly(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.randn(6), index % 3
class Broken(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        raise RuntimeError("a sample of its own mind")

network, loss_fn = torch.nn.Linear(6, 8), CentralSimilarityLoss(HashCenterGenerator(8)(3))
for loader in (DataLoader(Deadly(), batch_size=2, num_workers=1), DataLoader(Broken(), batch_size=2)):
    try:
        fit(network, loss_fn, loader, optimizer=torch.optim.SGD(network.parameters(), lr=0.1), n_epochs=1)
    except RuntimeError as error:
        print(str(error).replace(chr(10), " "))
"""


def test_a_dead_worker_of_the_loader():
    # In a process of its own: torch tells of a worker's death by a signal, at any moment.
    answer = subprocess.run([sys.executable, "-c", DEADLY], capture_output=True, text=True, check=False)
    dead, broken = answer.stdout.splitlines()
    assert dead.startswith("epoch 1: a worker of the loader died ("), answer
    assert dead.endswith("take fewer workers or smaller batches, and go on from the last checkpoint")
    assert broken == "a sample of its own mind"


class Short(DataLoader):
    def __iter__(self):
        yield next(super().__iter__())


def test_a_loader_that_ends_early():
    network = small_network()
    loader = Short(TensorDataset(*data()), batch_size=8)
    with pytest.raises(RuntimeError, match="epoch 1: the loader yielded 1 of its 6 batches"):
        fit(network, central(), loader, optimizer=sgd(network), n_epochs=1)


class Slow(list):
    def __iter__(self):
        for batch in super().__iter__():
            time.sleep(0.11)  # longer than a bar waits before it is drawn again
            yield batch


def test_the_bar_tells_speed_and_time_left(capsys):
    network = small_network()
    fit(network, central(), Slow(batches()), optimizer=sgd(network), n_epochs=3, progress=True)
    printed = capsys.readouterr().err
    assert "epoch 2/3, then 0:00:01 to go" in printed
    assert "samples/s" in printed
    assert "6/6" in printed
    assert (
        _title(3, 90, [Epoch(1, 0.5, 48, 50.0, 50.0), Epoch(2, 0.5, 48, 50.0, 100.0)])
        == "epoch 3/90, then 1:12:30 to go"
    )


TWO = """
import sys
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from hashcenters import CentralSimilarityLoss, HashCenterGenerator
from hashcenters.losses import GreedyHashLoss
from hashcenters.training import fit, trainable_parameters
from hashcenters.training.batches import EpochBatches

class Data(torch.utils.data.Dataset):
    inputs, labels = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 3
    def __getitem__(self, key):
        epoch, index = key
        return self.inputs[index] + epoch, self.labels[index]

torch.set_num_threads(1)
folder, n_accumulated, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=n_accumulated)
torch.manual_seed(accelerator.process_index)  # processes that begin with different weights
network = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
loss_fn = GreedyHashLoss(3, 8) if kind == "greedy" else CentralSimilarityLoss(HashCenterGenerator(8)(3))
batches = EpochBatches(50, batch_size=16, seed=2, process=accelerator.process_index,
                       n_processes=accelerator.num_processes, n_accumulated=n_accumulated)
optimizer = torch.optim.SGD(trainable_parameters(network, loss_fn), lr=0.1, momentum=0.9)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.95)
gradients = []
optimizer.register_step_pre_hook(lambda *_: gradients.append(
    [p.grad.clone() for p in trainable_parameters(network, loss_fn)]))
history = fit(network, loss_fn, DataLoader(Data(), batch_sampler=batches), optimizer=optimizer, n_epochs=2,
              schedule=schedule, accelerator=accelerator)
torch.save({"gradients": gradients, "weights": network.state_dict(), "lr": optimizer.param_groups[0]["lr"],
            "losses": [(e.loss, e.n_samples) for e in history], "n": accelerator.num_processes},
           f"{folder}/{accelerator.num_processes}-{n_accumulated}-{accelerator.process_index}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["central", "greedy"])
def test_two_processes_take_the_steps_of_one(kind, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    for command in ([sys.executable, str(script), str(tmp_path), "1", kind], [*launch, str(tmp_path), "1", kind],
                    [*launch, str(tmp_path), "2", kind]):  # fmt: skip
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
    one = torch.load(tmp_path / "1-1-0.pt")
    assert one["n"] == 1
    assert len(one["gradients"]) == 6
    for name in ("2-1-0", "2-1-1", "2-2-0", "2-2-1"):
        other = torch.load(tmp_path / f"{name}.pt")
        assert other["n"] == 2
        torch.testing.assert_close(other["gradients"], one["gradients"])
        torch.testing.assert_close(other["weights"], one["weights"])
        assert other["lr"] == one["lr"]
        torch.testing.assert_close(torch.tensor(other["losses"]), torch.tensor(one["losses"]))
