"""The one training loop: a network, a loss, a loader, an optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from hashcenters.checks import check_count
from hashcenters.models.hasher import moved, pair

try:
    from accelerate import Accelerator
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; training needs accelerate: pip install "hashcenters[training]"', name=error.name
    ) from error

__all__ = ["Epoch", "LossFunction", "Schedule", "fit", "trainable_parameters"]

# On an accelerator, reading a loss waits for the device; that happens once in so many batches.
_BATCHES_BETWEEN_READS = 64

# Where an accelerator keeps what it has prepared.
_HELD = ("_models", "_optimizers", "_schedulers", "_dataloaders")

LossFunction = Callable[[Tensor, Tensor], Tensor]


class Schedule(Protocol):
    """What moves the learning rate: any of ``torch.optim.lr_scheduler`` that steps without a metric."""

    def step(self) -> object:
        """Go on by one step of the optimizer."""


class Epoch(NamedTuple):
    """One pass over the training data.

    Attributes:
        epoch: its number, from 1.
        loss: mean over samples of the loss, each batch's at the weights before its step.
        n_samples: samples seen in it, of all processes.
        seconds: time of its training, ``after_epoch`` left out.
        total_seconds: sum of ``seconds`` up to and with this epoch.
    """

    epoch: int
    loss: float
    n_samples: int
    seconds: float
    total_seconds: float


def fit(
    network: nn.Module,
    loss_fn: LossFunction,
    loader: Iterable[Any],
    *,
    optimizer: Optimizer,
    n_epochs: int,
    schedule: Schedule | None = None,
    accelerator: Accelerator | None = None,
    clip_norm: float | None = None,
    after_epoch: Callable[[Epoch], object] | None = None,
    progress: bool = False,
) -> list[Epoch]:
    """Train a network with a loss.

    Every batch: the loss of ``network(inputs)`` and the labels, its gradient, clipping, a step of the optimizer, a step
    of the schedule, and ``loss_fn.advance()`` where there is such a method (``HashNetLoss``). In one process the
    weights afterwards are, to the last bit, those of the same loop written by hand; no random generator is seeded or
    drawn from here.

    Args:
        network: module from inputs to logits. It is moved to the accelerator's device, trained in place and left in
            train mode, frozen parts with batch normalization included: to keep their statistics, compute their
            features beforehand.
        loss_fn: called as ``loss_fn(logits, labels)``, returns a scalar. A module is moved and set to train mode too;
            its own parameters, such as learned centers, must be in the optimizer: see ``trainable_parameters``.
        loader: yields pairs of inputs (a tensor, or a list of them) and labels in whatever form the loss takes: class
            ids, multi-hot rows, target codes. A ``DataLoader``, a list of batches, ``TensorBatches``; an iterator
            serves one epoch. In several processes a ``DataLoader`` is divided among them, each keeping its batch size;
            any other loader must yield the batches of its own process.
        optimizer: over the parameters to train.
        n_epochs: passes over the loader, at least 1.
        schedule: stepped after every step of the optimizer. Make it for all batches of the run, ``n_epochs`` times
            ``len(loader)``, whatever the number of processes.
        accelerator: where and how to train: device, processes, precision. None makes ``Accelerator()``, which takes the
            GPU if there is one, and what ``accelerate launch`` says.
        clip_norm: limit of the norm of all gradients together; None leaves them as they are.
        after_epoch: called with every epoch, in every process; it may evaluate the network, which is put back into
            train mode afterwards. Its time does not count.
        progress: show a bar of batches on stderr, in the main process.

    Returns:
        The epochs, in order.

    Raises:
        TypeError: a batch is not such a pair, or ``n_epochs`` is not an int.
        ValueError: an option out of range, an empty loader, parameters of the loss that the optimizer lacks, an
            optimizer for another network, a loss that is not a scalar or not finite, input that the loss refuses; the
            last three name epoch and batch, both from 1. A loss that is not finite stops training before its step on
            the CPU, and within 64 batches on other devices.

    Examples:
        >>> from hashcenters import CentralSimilarityLoss, HashCenterGenerator
        >>> from hashcenters.training import TensorBatches
        >>> _ = torch.manual_seed(0)
        >>> labels = torch.arange(64) % 4
        >>> inputs = torch.eye(4)[labels] + torch.randn(64, 4) / 4
        >>> network = torch.nn.Linear(4, 16)
        >>> history = fit(
        ...     network,
        ...     CentralSimilarityLoss(HashCenterGenerator(16)(4)),
        ...     TensorBatches(inputs, labels, batch_size=16),
        ...     optimizer=torch.optim.SGD(network.parameters(), lr=5.0),
        ...     n_epochs=10,
        ... )
        >>> print(f"{history[0].loss:.2f} to {history[-1].loss:.2f}, {history[-1].n_samples} samples an epoch")
        0.65 to 0.17, 64 samples an epoch
    """
    n_epochs = check_count(n_epochs, "n_epochs")
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise ValueError(f"clip_norm must be finite and above 0, got {clip_norm}")
    if n_epochs > 1 and isinstance(loader, Iterator):
        raise ValueError(f"the loader is an iterator, which serves one epoch, not n_epochs={n_epochs}; pass a list")
    _check_optimizer(optimizer, network, loss_fn)
    accelerator = Accelerator() if accelerator is None else accelerator
    if accelerator.gradient_accumulation_steps != 1:
        raise ValueError(
            f"accelerator must have gradient_accumulation_steps=1, got {accelerator.gradient_accumulation_steps}: "
            "fit takes a step every batch"
        )
    history: list[Epoch] = []
    with _prepared(accelerator, network, loss_fn, loader, optimizer, schedule) as run:
        for epoch in range(1, n_epochs + 1):
            start = time.perf_counter()
            loss, n_samples = run.train(epoch, clip_norm, progress)
            seconds = time.perf_counter() - start
            total_seconds = seconds + (history[-1].total_seconds if history else 0.0)
            history.append(Epoch(epoch, loss, n_samples, seconds, total_seconds))
            if after_epoch is not None:
                after_epoch(history[-1])
                network.train()
    return history


def trainable_parameters(*modules: object) -> list[nn.Parameter]:
    """Collect what an optimizer must have to train several modules together, such as a network and its loss.

    Args:
        modules: modules; anything else, such as a loss that is a function, has no parameters.

    Returns:
        Their parameters that require gradients, each once.

    Examples:
        >>> network, loss_fn = torch.nn.Linear(4, 2), torch.nn.PReLU()
        >>> optimizer = torch.optim.SGD(trainable_parameters(network, loss_fn), lr=0.1)
        >>> [tuple(parameter.shape) for parameter in optimizer.param_groups[0]["params"]]
        [(2, 4), (2,), (1,)]
    """
    found: dict[int, nn.Parameter] = {}
    for module in modules:
        if isinstance(module, nn.Module):
            found.update((id(parameter), parameter) for parameter in module.parameters() if parameter.requires_grad)
    return list(found.values())


def _check_optimizer(optimizer: Optimizer, network: nn.Module, loss_fn: LossFunction) -> None:
    """Refuse an optimizer that trains something else than the caller means."""
    has = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if isinstance(loss_fn, nn.Module):
        named = loss_fn.named_parameters()
        missing = [name for name, parameter in named if parameter.requires_grad and id(parameter) not in has]
        if missing:
            raise ValueError(
                f"optimizer lacks parameters of loss_fn: {', '.join(missing)}; build it on "
                "trainable_parameters(network, loss_fn), or freeze them by loss_fn.requires_grad_(False)"
            )
    trainable = trainable_parameters(network)
    if trainable and not any(id(parameter) in has for parameter in trainable):
        raise ValueError("optimizer has no parameter of the network: was it built on another, or before a copy?")


class _Run:
    """What an accelerator has made of the caller's objects, and the passes over the loader."""

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        loss_fn: LossFunction,
        loader: Iterable[Any],
        optimizer: Any,  # noqa: ANN401 -- accelerate is untyped
        schedule: Schedule | None,
        advance: Callable[[], object] | None,
    ) -> None:
        self.accelerator = accelerator
        self.network = network
        self.loss_fn = loss_fn
        self.loader = loader
        self.optimizer = optimizer
        self.schedule = schedule
        self.advance = advance
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def train(self, epoch: int, clip_norm: float | None, progress: bool) -> tuple[float, int]:
        """Pass over the loader once; return the mean loss and the number of samples, of all processes."""
        for module in (self.network, self.loss_fn):
            if isinstance(module, nn.Module):
                module.train()
        device = self.accelerator.device
        losses = _Losses(epoch, device)
        hidden = not (progress and self.accelerator.is_main_process)
        with tqdm(self.loader, f"epoch {epoch}", unit="batch", leave=False, disable=hidden) as batches:
            for number, batch in enumerate(batches):
                inputs, labels = pair(batch, number + 1)
                labels = labels.to(device, non_blocking=True)
                logits = self.network(moved(inputs, device))
                try:
                    loss = self.loss_fn(logits, labels)
                except ValueError as error:
                    raise ValueError(f"epoch {epoch}, batch {number + 1}: {error}") from error
                losses.add(loss, len(labels))
                self.optimizer.zero_grad()
                self.accelerator.backward(loss)
                if clip_norm is not None:
                    self.accelerator.clip_grad_norm_(self.parameters, clip_norm)
                self.optimizer.step()
                if self.schedule is not None:
                    self.schedule.step()
                if self.advance is not None:
                    self.advance()
        losses.read()
        if not losses.n_samples:
            raise ValueError(
                f"the loader is empty: it yielded no batch in epoch {epoch} (drop_last with too few samples?)"
            )
        if self.accelerator.num_processes == 1:
            return losses.total / losses.n_samples, losses.n_samples
        sums = torch.tensor([losses.total, float(losses.n_samples)], device=device)
        total, n_samples = self.accelerator.reduce(sums, "sum").tolist()
        return total / n_samples, round(n_samples)


class _Losses:
    """The losses of an epoch's batches, added up and checked; on an accelerator a few at a time."""

    def __init__(self, epoch: int, device: torch.device) -> None:
        self.epoch = epoch
        self.wait = 1 if device.type == "cpu" else _BATCHES_BETWEEN_READS
        self.total = 0.0
        self.n_samples = 0
        self.n_batches = 0
        self.unread: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, n_samples: int) -> None:
        """Take in a batch's loss; it may be checked later."""
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            place = f"epoch {self.epoch}, batch {self.n_batches + len(self.unread) + 1}"
            raise ValueError(f'{place}: loss_fn must return a scalar tensor, such as with reduction="mean", got {got}')
        self.unread.append((loss.detach(), n_samples))
        if len(self.unread) >= self.wait:
            self.read()

    def read(self) -> None:
        """Wait for the losses taken in, check them and add them up."""
        if not self.unread:
            return
        values = torch.stack([loss for loss, _ in self.unread]).tolist()
        for value, (_, n_samples) in zip(values, self.unread, strict=True):
            self.n_batches += 1
            if not math.isfinite(value):
                raise ValueError(
                    f"epoch {self.epoch}, batch {self.n_batches}: the loss is {value}; lower the learning rate, pass "
                    "clip_norm, or look for a bad input sample"
                )
            self.total += value * n_samples
            self.n_samples += n_samples
        self.unread = []


@contextmanager
def _prepared(
    accelerator: Accelerator,
    network: nn.Module,
    loss_fn: LossFunction,
    loader: Iterable[Any],
    optimizer: Optimizer,
    schedule: Schedule | None,
) -> Iterator[_Run]:
    """Let an accelerator wrap what it must, and take the wrapping off afterwards."""
    modules = [network]
    if isinstance(loss_fn, nn.Module):
        loss_fn.to(accelerator.device)
        if trainable_parameters(loss_fn):  # their gradients are averaged over the processes as the network's are
            modules.append(loss_fn)
    attributes = [set(vars(module)) for module in modules]
    kept = [(held, len(held)) for held in (getattr(accelerator, name) for name in _HELD)]
    prepared = [accelerator.prepare(module) for module in modules]
    wrapped_optimizer = accelerator.prepare(optimizer)
    # A prepared loader fetches ahead and draws from the global generator, so it is used only where it divides the data;
    # and the schedule goes on by the batches of all processes only then.
    if accelerator.num_processes > 1 and isinstance(loader, DataLoader):
        loader = accelerator.prepare(loader)
        schedule = None if schedule is None else accelerator.prepare(schedule)
    try:
        yield _Run(
            accelerator,
            prepared[0],
            prepared[1] if len(prepared) > 1 else loss_fn,
            loader,
            wrapped_optimizer,
            schedule,
            getattr(loss_fn, "advance", None),
        )
    finally:
        for held, n_before in kept:  # what the next run must neither keep alive nor unscale
            del held[n_before:]
        for module, wrapped, before in zip(modules, prepared, attributes, strict=True):
            accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
            # A mark would make another accelerator take the module as it is; a copy would call the original's forward.
            for name in {"_is_accelerate_prepared", "forward"} - before:
                vars(module).pop(name, None)
