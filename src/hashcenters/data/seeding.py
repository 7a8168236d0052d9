"""Randomness of one sample, the same in every process and worker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from hashcenters.centers.randomness import AUGMENTATION_STREAM, random_stream

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed the global CPU generators of torch, numpy and Python for a while, then put them back.

    Args:
        seed: 0..2**63 - 1.
        epoch: at least 0.
        index: number of the sample, at least 0.

    Yields:
        Nothing; inside, what the three generators draw depends on the three numbers alone.

    Examples:
        >>> with seeded(0, 1, 2):
        ...     first = torch.rand(())
        >>> with seeded(0, 1, 2):
        ...     bool(torch.rand(()) == first)
        True
    """
    words = random_stream(seed, AUGMENTATION_STREAM, epoch, index).random_raw(3).tolist()
    state = torch.default_generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(words[0])  # torch.manual_seed would seed every accelerator too
        np.random.seed(words[1] >> 32)  # noqa: NPY002
        random.seed(words[2])
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])
