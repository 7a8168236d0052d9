"""Optimizers and learning rates of a recipe: groups of parameters, and schedules that resume."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from hashcenters.checks import check_count

__all__ = ["OptimizerName", "ScheduleName", "make_optimizer", "make_schedule", "parameter_groups"]

OptimizerName = Literal["adam", "adamw", "rmsprop", "sgd"]
ScheduleName = Literal["constant", "cosine", "step"]


def parameter_groups(
    network: nn.Module,
    loss_fn: nn.Module | None = None,
    *,
    lr: float,
    backbone_multiplier: float = 1.0,
    loss_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Sort what is to be trained into groups, each with its own learning rate.

    A pretrained backbone wants smaller steps than a head that starts from random weights: the paper's released code
    gives it 0.01 to 0.05 of the head's. A multiplier of 0 freezes: its parameters are in no group, so they stay as they
    are. They still require gradients, since inputs are not changed here; ``network.backbone.requires_grad_(False)``
    saves the work of computing them. Batch normalization goes on estimating its statistics either way.

    Args:
        network: what is trained. The parameters of ``network.backbone``, where there is one (see
            ``hashcenters.models.Hasher``), are the backbone; all others are the head.
        loss_fn: a loss that may have parameters of its own, such as a classifier.
        lr: learning rate of the head, above 0.
        backbone_multiplier: the backbone's learning rate as a multiple of ``lr``, at least 0.
        loss_multiplier: that of the parameters of the loss.

    Returns:
        Groups for an optimizer, each a dict of ``name`` (``"backbone"``, ``"head"`` or ``"loss"``), ``params`` and
        ``lr``. Frozen parameters and empty groups are left out; a parameter that is in several places comes once.

    Raises:
        ValueError: ``lr`` is not above 0, a multiplier is negative or not finite, or nothing is left to train.

    Examples:
        >>> from hashcenters import HashHead
        >>> from hashcenters.models import Hasher
        >>> network = Hasher(nn.Linear(8, 4), HashHead(4, 16))
        >>> groups = parameter_groups(network, lr=1e-3, backbone_multiplier=0.1)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('backbone', 2, 0.0001), ('head', 6, 0.001)]
    """
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be finite and above 0, got {lr}")
    for name, value in (("backbone_multiplier", backbone_multiplier), ("loss_multiplier", loss_multiplier)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least 0 (0 freezes), got {value}")
    seen: set[int] = set()

    def fresh(module: object) -> list[nn.Parameter]:
        found = []
        for parameter in module.parameters() if isinstance(module, nn.Module) else ():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found.append(parameter)
        return found

    # The order matters: the head is what the backbone has not taken.
    sorted_out = (
        ("backbone", fresh(getattr(network, "backbone", None)), backbone_multiplier),
        ("head", fresh(network), 1.0),
        ("loss", fresh(loss_fn), loss_multiplier),
    )
    groups = [
        {"name": name, "params": parameters, "lr": lr * multiplier}
        for name, parameters, multiplier in sorted_out
        if parameters and multiplier > 0
    ]
    if not groups:
        raise ValueError("network and loss_fn have no parameters to train; set requires_grad, or a multiplier above 0")
    return groups


def make_optimizer(
    name: OptimizerName, groups: list[dict[str, Any]], *, weight_decay: float = 0.0, momentum: float = 0.9
) -> Optimizer:
    """Make an optimizer of groups of parameters.

    Args:
        name: ``"adam"`` and ``"adamw"`` with PyTorch's betas (0.9, 0.999), ``"rmsprop"``, or ``"sgd"`` with Nesterov's
            momentum.
        groups: from ``parameter_groups``; each has its ``lr``.
        weight_decay: added to the gradient as L2 penalty, with ``"adamw"`` apart from it; at least 0.
        momentum: of ``"sgd"`` and ``"rmsprop"``, in [0, 1); the others do not look at it.

    Returns:
        The optimizer.

    Raises:
        ValueError: an unknown name, or a value out of range.

    Examples:
        >>> groups = parameter_groups(nn.Linear(4, 2), lr=0.1)
        >>> optimizer = make_optimizer("sgd", groups, momentum=0.9)
        >>> optimizer.param_groups[0]["name"], optimizer.param_groups[0]["nesterov"]
        ('head', True)
    """
    if name not in get_args(OptimizerName):
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, get_args(OptimizerName)))}, got {name!r}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be finite and at least 0, got {weight_decay}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, weight_decay=weight_decay, momentum=momentum)
    return torch.optim.SGD(groups, weight_decay=weight_decay, momentum=momentum, nesterov=momentum > 0)


class _Factor:
    """What the learning rates are multiplied by at a step. Its attributes are what ``LambdaLR`` stores and loads."""

    def __init__(
        self, name: str, n_steps: int, steps_per_epoch: int, step_epochs: int, step_factor: float, warmup_steps: int
    ) -> None:
        self.name = name
        self.n_steps = n_steps
        self.steps_per_epoch = steps_per_epoch
        self.step_epochs = step_epochs
        self.step_factor = step_factor
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.name == "step":
            return warm * self.step_factor ** (step // self.steps_per_epoch // self.step_epochs)
        if self.name == "cosine" and step > self.warmup_steps:
            done = min(1.0, (step - self.warmup_steps) / (self.n_steps - self.warmup_steps))
            return (1 + math.cos(math.pi * done)) / 2
        return warm


def make_schedule(
    name: ScheduleName,
    optimizer: Optimizer,
    *,
    n_epochs: int,
    steps_per_epoch: int,
    step_epochs: int = 10,
    step_factor: float = 0.7,
    warmup_steps: int = 0,
) -> LRScheduler:
    """Make a schedule of the learning rates, to be stepped after every step of the optimizer.

    With s steps done, every group's learning rate is its own times

    * ``"constant"``: 1;
    * ``"cosine"``: (1 + cos(pi t))/2, t going from 0 after the warm-up to 1 at the end;
    * ``"step"``: step_factor ** (epoch // step_epochs), epochs counted from 0, as in the paper's released code.

    While s < ``warmup_steps`` it rises linearly instead: by (s + 1)/(warmup_steps + 1), times the factor of ``"step"``.

    Args:
        name: one of the above.
        optimizer: whose learning rates to set.
        n_epochs: epochs of the run.
        steps_per_epoch: steps of the optimizer in an epoch.
        step_epochs: epochs between two changes; of ``"step"`` alone.
        step_factor: what a change multiplies by, in (0, 1]; of ``"step"`` alone.
        warmup_steps: steps of the warm-up. At most half of the run, whatever is asked for: a run made short for a look
            still reaches its full learning rate.

    Returns:
        The schedule. Its ``state_dict`` holds plain numbers; loaded into one of the same optimizer, it goes on as if
        never stopped.

    Raises:
        TypeError: a count that is not an int.
        ValueError: an unknown name, or a value out of range.

    Examples:
        >>> optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
        >>> schedule = make_schedule("step", optimizer, n_epochs=3, steps_per_epoch=2, step_epochs=1, step_factor=0.5)
        >>> rates = []
        >>> for _ in range(6):
        ...     rates.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    """
    if name not in get_args(ScheduleName):
        raise ValueError(f"schedule must be one of {', '.join(map(repr, get_args(ScheduleName)))}, got {name!r}")
    steps_per_epoch = check_count(steps_per_epoch, "steps_per_epoch")
    n_steps = check_count(n_epochs, "n_epochs") * steps_per_epoch
    warmup_steps = min(check_count(warmup_steps, "warmup_steps", least=0), n_steps // 2)
    step_epochs = check_count(step_epochs, "step_epochs")
    if not 0 < step_factor <= 1:
        raise ValueError(f"step_factor must lie in (0, 1], got {step_factor}")
    return LambdaLR(optimizer, _Factor(name, n_steps, steps_per_epoch, step_epochs, step_factor, warmup_steps))
