"""Batches of a data set that fits into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hashcenters.centers.randomness import BATCH_STREAM, check_seed, random_stream
from hashcenters.checks import check_count

__all__ = ["TensorBatches", "permutation"]


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
