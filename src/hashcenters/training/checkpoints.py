"""Where training stands, on disk: written as a whole or not at all."""

from __future__ import annotations

import io
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hashcenters.training.files import write_atomically
from hashcenters.training.loop import Epoch

__all__ = ["Checkpoint", "load_checkpoint", "random_state", "restore_random_state", "save_checkpoint"]

_FORMAT = 1

# What reading a file that was cut off or is something else may end in.
_DAMAGE = (RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


@dataclass
class Checkpoint:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        history: epochs done.
        stage: which loss is being trained, 0 or, after the first of two, 1.
        network: state of the network.
        loss: state of the loss: learned centers, a schedule of its own.
        optimizer: state of the optimizer.
        schedule: state of the learning rate's schedule.
        scaler: state of the gradient scaler of float16, or None.
        random: by process, the state of the global random generators, see ``random_state``.
        records: lines of the log, one an epoch.
        best_epoch: the epoch selected so far; 0 before the first validation.
        best_map: its mAP.
    """

    history: list[Epoch]
    stage: int
    network: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any] | None
    random: list[dict[str, Any]]
    records: list[dict[str, Any]]
    best_epoch: int
    best_map: float


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a kill or a full disk meanwhile leaves the file that was there.

    Args:
        path: file to write.
        checkpoint: what to write.

    Raises:
        OSError: it cannot be written; the message says that the last checkpoint is intact.
    """
    content = vars(checkpoint) | {"history": [tuple(epoch) for epoch in checkpoint.history], "format": _FORMAT}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Args:
        path: file to read.

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or of another version.
    """
    data = io.BytesIO(Path(path).read_bytes())
    try:
        content = torch.load(data, map_location="cpu", weights_only=True)
        version = content.pop("format")
    except _DAMAGE as error:
        raise ValueError(
            f"{path} is no checkpoint, or a damaged one ({type(error).__name__}); delete it to train from the beginning"
        ) from error
    if version != _FORMAT:
        raise ValueError(f"{path} has format {version}, this version of hashcenters reads {_FORMAT}")
    return Checkpoint(history=[Epoch(*values) for values in content.pop("history")], **content)


def random_state() -> dict[str, Any]:
    """Return the states of the global generators of Python, numpy, torch and its GPUs, of plain values and tensors."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *(float(value) for value in rest)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the global generators into a state that ``random_state`` returned.

    Args:
        state: the state; GPUs that it does not know are left alone.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    generator = (name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached)
    np.random.set_state(generator)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
