"""Which samples make a batch: of tensors in memory, of a data set on disk, and held out for validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hashcenters.centers.randomness import BATCH_STREAM, SPLIT_STREAM, check_seed, random_stream
from hashcenters.checks import check_count

__all__ = ["EpochBatches", "TensorBatches", "held_out_split", "permutation"]


class TensorBatches:
    """Batches of tensors in memory, in an order that depends on the seed and the number of the pass alone.

    A ``DataLoader`` that shuffles draws from torch's global generator, so its order changes with whatever else draws
    from it; and it collects a batch sample by sample, where this takes it by one index.

    Args:
        tensors: at least one, all with the same number of rows; such as images (N, ...) and labels (N,).
        batch_size: samples in a batch.
        shuffle: a new order in every pass; otherwise that of the tensors.
        drop_last: leave out the last batch of a pass where it is smaller than the others.
        seed: 0..2**63 - 1; decides the orders. torch's generators are not used.

    Attributes:
        epoch: number of the next pass, from 0. Every pass adds 1; set it to repeat one, or to go on after a restart.

    Raises:
        TypeError: not tensors, or a number that is not an int.
        ValueError: no tensors, differing numbers of rows, a number out of range, or not enough rows for one batch.

    Examples:
        >>> batches = TensorBatches(torch.arange(6), torch.arange(6) * 10, batch_size=2, seed=0)
        >>> for inputs, labels in batches:
        ...     print(inputs.tolist(), labels.tolist())
        [0, 3] [0, 30]
        [2, 1] [20, 10]
        [5, 4] [50, 40]
        >>> len(batches), batches.epoch
        (3, 1)
    """

    def __init__(
        self, *tensors: Tensor, batch_size: int, shuffle: bool = True, drop_last: bool = True, seed: int = 0
    ) -> None:
        if not tensors:
            raise ValueError("tensors must be at least one, such as images and labels")
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.ndim == 0:
                got = "one of shape ()" if isinstance(tensor, Tensor) else type(tensor).__name__
                raise TypeError(f"tensors must be tensors with a row a sample, got {got}")
        n_rows = {len(tensor) for tensor in tensors}
        if len(n_rows) > 1:
            raise ValueError(f"tensors must have the same number of rows, got {', '.join(map(str, sorted(n_rows)))}")
        self.tensors = tensors
        self.n_samples = n_rows.pop()
        self.batch_size = check_count(batch_size, "batch_size")
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = check_seed(seed)
        self.epoch = 0
        if not len(self):
            raise ValueError(
                f"{self.n_samples} samples do not fill one batch of batch_size={batch_size}; "
                "take a smaller one or drop_last=False"
            )

    def __len__(self) -> int:
        """Number of batches in a pass."""
        return self.n_samples // self.batch_size if self.drop_last else -(-self.n_samples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = permutation(self.n_samples, self.seed, BATCH_STREAM, self.epoch) if self.shuffle else None
        self.epoch += 1
        return self._batches(order)

    def _batches(self, order: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
        for number in range(len(self)):
            rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
            if order is None:
                yield tuple(tensor[rows] for tensor in self.tensors)
            else:
                yield tuple(tensor[order[rows].to(tensor.device)] for tensor in self.tensors)


class EpochBatches:
    """Keys of batches for a ``DataLoader(batch_sampler=...)``: one training run, whatever the number of processes.

    A batch of the run is ``batch_size`` samples of all processes together. Each process gets its share, in parts where
    gradients are accumulated; so the steps of the optimizer are those of one process that takes whole batches, as far
    as a sample's gradient does not depend on the others of its part: batch normalization, and losses that compare the
    samples of a batch (pairs, triplets), see the part alone. A sample
    is named by (epoch, index), from which a dataset such as ``hashcenters.data.images.ImageDataset`` makes the same
    augmentation in every process and worker. The order depends on the seed and the epoch alone; samples that do not
    fill a batch are left out of that epoch.

    Args:
        n_samples: size of the data set.
        batch_size: samples of a step of the optimizer, a multiple of ``n_processes`` times ``n_accumulated``.
        seed: 0..2**63 - 1; decides the orders.
        process: the number of this process, from 0.
        n_processes: how many there are.
        n_accumulated: parts of a process's share of a batch, each of which it passes through the network by itself.

    Attributes:
        epoch: number of the next pass, from 0. Every pass adds 1; set it to go on after a restart.

    Raises:
        TypeError: a number that is not an int.
        ValueError: a number out of range, a batch that cannot be divided, or not enough samples for one.

    Examples:
        >>> batches = EpochBatches(5, batch_size=2)
        >>> list(batches), list(batches)
        ([[(0, 0), (0, 3)], [(0, 2), (0, 1)]], [[(1, 1), (1, 2)], [(1, 4), (1, 3)]])
        >>> list(EpochBatches(5, batch_size=2, process=1, n_processes=2))
        [[(0, 3)], [(0, 1)]]
    """

    def __init__(
        self,
        n_samples: int,
        *,
        batch_size: int,
        seed: int = 0,
        process: int = 0,
        n_processes: int = 1,
        n_accumulated: int = 1,
    ) -> None:
        self.n_samples = check_count(n_samples, "n_samples")
        self.batch_size = check_count(batch_size, "batch_size")
        self.seed = check_seed(seed)
        self.process = check_count(process, "process", least=0)
        self.n_processes = check_count(n_processes, "n_processes")
        self.n_accumulated = check_count(n_accumulated, "n_accumulated")
        self.epoch = 0
        if process >= n_processes:
            raise ValueError(f"process must be less than n_processes={n_processes}, got {process}")
        if batch_size % (n_processes * n_accumulated):
            raise ValueError(
                f"batch_size={batch_size} must be a multiple of n_processes * n_accumulated = "
                f"{n_processes} * {n_accumulated}: it is divided among the processes and their parts"
            )
        if n_samples < batch_size:
            raise ValueError(
                f"{n_samples} samples do not fill one batch of batch_size={batch_size}; take a smaller one"
            )

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer in a pass."""
        return self.n_samples // self.batch_size

    def __len__(self) -> int:
        """Number of batches, or parts of them, in a pass."""
        return self.n_steps * self.n_accumulated

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        self.epoch += 1
        order = permutation(self.n_samples, self.seed, BATCH_STREAM, epoch).tolist()
        size = self.batch_size // (self.n_processes * self.n_accumulated)
        for part in range(len(self)):
            first = (part * self.n_processes + self.process) * size
            yield [(epoch, index) for index in order[first : first + size]]


def held_out_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold some training samples out for validation.

    Args:
        labels: class ids int64 (N,), or multi-hot (N, n_classes).
        share: what to hold out, in (0, 1). With class ids it is the share of every class, rounded, and at least one
            sample of a class stays for training; with multi-hot labels the share of all, less the samples that a class
            would otherwise have none of to train on.
        seed: 0..2**63 - 1.

    Returns:
        The rows to train on and the rows held out, int64, each in ascending order.

    Raises:
        ValueError: a share outside (0, 1), or one too small to hold out a sample.

    Examples:
        >>> held_out_split(torch.arange(6) % 2, 0.4, seed=0)
        (tensor([0, 2, 3, 5]), tensor([1, 4]))
    """
    if not 0 < share < 1:
        raise ValueError(f"validation_share must lie in (0, 1), got {share}")
    order = permutation(len(labels), seed, SPLIT_STREAM)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    kinds = labels.cpu() if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64)
    for kind in torch.unique(kinds):
        members = order[kinds[order] == kind]
        held_out[members[: min(int(share * len(members) + 0.5), len(members) - 1)]] = True
    if labels.ndim == 2:
        hot = labels.cpu() != 0
        for absent in (hot.any(dim=0) & ~hot[~held_out].any(dim=0)).nonzero()[:, 0].tolist():
            if not hot[~held_out, absent].any():  # one that was put back for another class may have it too
                held_out[(held_out & hot[:, absent]).nonzero()[0]] = False
    if not held_out.any():
        raise ValueError(
            f"validation_share={share} of {len(labels)} samples holds out none, rounded for each class; take a larger "
            "share, or hold none out"
        )
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def permutation(n: int, seed: int, *path: int) -> Tensor:
    """Return the numbers 0..n-1 in a random order, the same on every platform.

    Args:
        n: how many.
        seed: 0..2**63 - 1.
        path: what for, see ``hashcenters.centers.randomness.random_stream``.

    Returns:
        int64 tensor (n,).

    Examples:
        >>> permutation(5, 0, BATCH_STREAM, 0).tolist()
        [0, 3, 2, 1, 4]
    """
    words = random_stream(seed, *path).random_raw(n)
    return torch.from_numpy(np.argsort(words, kind="stable").astype(np.int64))
