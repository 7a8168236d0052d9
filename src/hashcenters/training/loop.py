"""The one training loop: a network, a loss, a loader, an optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from hashcenters.checks import check_count
from hashcenters.models.hasher import moved, pair
from hashcenters.retrieval.distributed import is_active
from hashcenters.training.batches import EpochBatches

try:
    from accelerate import Accelerator
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; training needs accelerate: pip install "hashcenters[training]"', name=error.name
    ) from error

__all__ = ["Epoch", "LossFunction", "Schedule", "fit", "make_accelerator", "trainable_parameters"]

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
    channels_last: bool = False,
    history: Sequence[Epoch] = (),
    after_epoch: Callable[[Epoch], object] | None = None,
    progress: bool = False,
) -> list[Epoch]:
    """Train a network with a loss.

    Every batch: the loss of ``network(inputs)`` and the labels, its gradient, clipping, a step of the optimizer, a step
    of the schedule, and ``loss_fn.advance()`` where there is such a method (``HashNetLoss``). In one process the
    weights afterwards are, to the last bit, those of the same loop written by hand; no random generator is seeded or
    drawn from here.

    With ``Accelerator(gradient_accumulation_steps=n)`` a step is taken every n batches, on the mean of their losses;
    the last batches of an epoch make a step however many they are. With ``mixed_precision`` the network runs under
    autocast and the loss in float32.

    Args:
        network: module from inputs to logits. It is moved to the accelerator's device, trained in place and left in
            train mode, frozen parts with batch normalization included: to keep their statistics, compute their
            features beforehand.
        loss_fn: called as ``loss_fn(logits, labels)``, returns a scalar. A module is moved and set to train mode too;
            its own parameters, such as learned centers, must be in the optimizer: see ``trainable_parameters``.
        loader: yields pairs of inputs (a tensor, or a list of them) and labels in whatever form the loss takes: class
            ids, multi-hot rows, target codes. A ``DataLoader``, a list of batches, ``TensorBatches``; an iterator
            serves one epoch. In several processes a ``DataLoader`` is divided among them, each keeping its batch size;
            any other loader must yield the batches of its own process, as one with ``EpochBatches`` does.
        optimizer: over the parameters to train.
        n_epochs: passes over the loader, at least 1; those of ``history`` count.
        schedule: stepped after every step of the optimizer that is taken. Make it for all steps of the run: in one
            process ``n_epochs`` times ``len(loader)`` over the batches of a step. Where a ``DataLoader`` is divided
            here, ``len(loader)`` is that before.
        accelerator: where and how to train: device, processes, precision. None takes the GPU if there is one, and what
            ``accelerate launch`` or ``torchrun`` says.
        clip_norm: limit of the norm of all gradients together; None leaves them as they are.
        channels_last: keep the network's weights and the batches of images (N, C, H, W) or clips (N, C, T, H, W) in
            channels-last layout, which is quicker on many GPUs.
        history: epochs that were trained before an interruption, as ``fit`` returned them or ``after_epoch`` got them.
            Training goes on with the next one; network, loss, optimizer, schedule and loader must be as they were then.
        after_epoch: called with every epoch, in every process, when the networks of all are the same to the last
            buffer; it may evaluate the network, which is put back into train mode afterwards. Its time does not count.
        progress: show a bar of batches on stderr, in the main process.

    Returns:
        The epochs, those of ``history`` included, in order.

    Raises:
        TypeError: a batch is not such a pair, or ``n_epochs`` is not an int.
        RuntimeError: a worker process of the loader died.
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
    accelerator = make_accelerator() if accelerator is None else accelerator
    if is_active() and accelerator.num_processes == 1:
        raise ValueError(
            "accelerator works alone in a job of several processes; without a GPU it must be made with cpu=True"
        )
    done = list(history)
    if [epoch.epoch for epoch in done] != list(range(1, len(done) + 1)):
        raise ValueError(f"history must hold the epochs 1, 2, ... in order, got {[epoch.epoch for epoch in done]}")
    if channels_last:
        _to_channels_last(network)
    with _prepared(accelerator, network, loss_fn, loader, optimizer, schedule) as run:
        run.channels_last = channels_last
        for epoch in range(len(done) + 1, n_epochs + 1):
            start = time.perf_counter()
            loss, n_samples = run.train(epoch, clip_norm, _title(epoch, n_epochs, done) if progress else None)
            seconds = time.perf_counter() - start
            total_seconds = seconds + (done[-1].total_seconds if done else 0.0)
            done.append(Epoch(epoch, loss, n_samples, seconds, total_seconds))
            _share_buffers(network, accelerator)
            if after_epoch is not None:
                after_epoch(done[-1])
                network.train()
    return done


def _share_buffers(network: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the first one's buffers: each gathered statistics of batch normalization from its own batches.

    What wraps the network does so before a pass forward, not after the last step.
    """
    if accelerator.num_processes > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def make_accelerator(*, mixed_precision: str = "no", n_accumulated: int = 1) -> Accelerator:
    """Make an accelerator for whatever the machine has.

    Args:
        mixed_precision: "no", "bf16" or "fp16".
        n_accumulated: batches of a step.

    Returns:
        The accelerator. Without a GPU it joins the processes of a job too, which accelerate's own default does not.
    """
    return Accelerator(
        mixed_precision=mixed_precision,
        gradient_accumulation_steps=n_accumulated,
        cpu=not torch.accelerator.is_available(),
    )


def _title(epoch: int, n_epochs: int, done: Sequence[Epoch]) -> str:
    """Name an epoch for its progress bar, with the time that those after it will take."""
    if not done or epoch == n_epochs:
        return f"epoch {epoch}/{n_epochs}"
    left = round(done[-1].total_seconds / len(done) * (n_epochs - epoch))
    return f"epoch {epoch}/{n_epochs}, then {left // 3600}:{left // 60 % 60:02}:{left % 60:02} to go"


def _to_channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions with channels last, in place."""
    for parameter in module.parameters():
        parameter.data = _channels_last(parameter.data)


def _channels_last(value: Any) -> Any:  # noqa: ANN401 -- what a network takes
    if isinstance(value, list):
        return [_channels_last(part) for part in value]
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    return value.contiguous(memory_format=layouts[value.ndim]) if value.ndim in layouts else value


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
        self.channels_last = False
        self.modules = [module for module in (network, loss_fn) if isinstance(module, nn.Module)]
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def train(self, epoch: int, clip_norm: float | None, title: str | None) -> tuple[float, int]:
        """Pass over the loader once; return the mean loss and the number of samples, of all processes."""
        for module in self.modules:
            module.train()
        losses = _Losses(epoch, self.accelerator.device)
        hidden = title is None or not self.accelerator.is_main_process
        n_batches = len(self.loader) if isinstance(self.loader, Sized) else None
        bar = tqdm(self.loader, title, total=n_batches, unit="batch", leave=False, disable=hidden)
        with bar, _dead_workers_named(epoch):
            start, batches = time.perf_counter(), iter(bar)
            while group := list(islice(batches, self.accelerator.gradient_accumulation_steps)):
                self._step(group, losses, clip_norm)
                if not hidden:
                    rate = losses.n_taken / (time.perf_counter() - start) * self.accelerator.num_processes
                    bar.set_postfix_str(f"{rate:.0f} samples/s", refresh=False)
        losses.read()
        if not losses.n_samples:
            raise ValueError(
                f"the loader is empty: it yielded no batch in epoch {epoch} (drop_last with too few samples?)"
            )
        counted = isinstance(self.loader, DataLoader) and not isinstance(self.loader.dataset, IterableDataset)
        if counted and losses.n_seen != n_batches:  # a worker's death can go unnoticed
            raise RuntimeError(f"epoch {epoch}: the loader yielded {losses.n_seen} of its {n_batches} batches")
        if self.accelerator.num_processes == 1:
            return losses.total / losses.n_samples, losses.n_samples
        sums = torch.tensor([losses.total, float(losses.n_samples)], device=self.accelerator.device)
        total, n_samples = self.accelerator.reduce(sums, "sum").tolist()
        return total / n_samples, round(n_samples)

    def _step(self, group: list[Any], losses: _Losses, clip_norm: float | None) -> None:
        """Take a step on the mean of some batches' losses."""
        self.optimizer.zero_grad()
        for number, batch in enumerate(group):
            last = number + 1 == len(group)
            with self._gradients_apart(last):
                loss = self._loss(batch, losses)
                # accelerate divides by the batches of a full step.
                full = self.accelerator.gradient_accumulation_steps
                self.accelerator.backward(loss if len(group) == full else loss * (full / len(group)))
        if clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, clip_norm)
        self.optimizer.step()
        if self.optimizer.step_was_skipped:  # float16 skips steps that overflow
            return
        if self.schedule is not None:
            self.schedule.step()
        if self.advance is not None:
            self.advance()

    def _gradients_apart(self, last: bool) -> ExitStack:
        """Let processes exchange gradients with the last batch of a step only."""
        stack = ExitStack()
        if last or self.accelerator.num_processes == 1:
            return stack
        for module in self.modules:
            stack.enter_context(self.accelerator.no_sync(module))
        return stack

    def _loss(self, batch: Any, losses: _Losses) -> Tensor:  # noqa: ANN401 -- whatever a loader yields
        inputs, labels = pair(batch, losses.n_seen + 1)
        labels = labels.to(self.accelerator.device, non_blocking=True)
        inputs = moved(inputs, self.accelerator.device)
        logits = self.network(_channels_last(inputs) if self.channels_last else inputs)
        try:
            loss = self.loss_fn(logits, labels)
        except ValueError as error:
            raise ValueError(f"epoch {losses.epoch}, batch {losses.n_seen + 1}: {error}") from error
        losses.add(loss, len(labels))
        return loss


@contextmanager
def _dead_workers_named(epoch: int) -> Iterator[None]:
    """Say what to do about a worker's death, which torch reports by a signal: wherever the loop may be."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise RuntimeError(
            f"epoch {epoch}: a worker of the loader died ({error}); most often memory ran out: take fewer workers "
            "or smaller batches, and go on from the last checkpoint"
        ) from error


class _Losses:
    """The losses of an epoch's batches, added up and checked; on an accelerator a few at a time."""

    def __init__(self, epoch: int, device: torch.device) -> None:
        self.epoch = epoch
        self.wait = 1 if device.type == "cpu" else _BATCHES_BETWEEN_READS
        self.total = 0.0
        self.n_samples = 0
        self.n_batches = 0
        self.n_seen = 0  # batches taken in, n_batches of them read
        self.n_taken = 0  # their samples
        self.unread: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, n_samples: int) -> None:
        """Take in a batch's loss; it may be checked later."""
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            place = f"epoch {self.epoch}, batch {self.n_seen + 1}"
            raise ValueError(f'{place}: loss_fn must return a scalar tensor, such as with reduction="mean", got {got}')
        self.n_seen += 1
        self.n_taken += n_samples
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
    divided = isinstance(loader, DataLoader) and isinstance(loader.batch_sampler, EpochBatches)
    if accelerator.num_processes > 1 and isinstance(loader, DataLoader) and not divided:
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
