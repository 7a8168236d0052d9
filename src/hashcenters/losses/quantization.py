"""Quantization terms that any loss can carry along."""

from __future__ import annotations

import torch
from torch import Tensor

from hashcenters.centers.randomness import SWD_STREAM, check_seed, random_bits
from hashcenters.checks import check_logits

__all__ = ["swd_quantization"]


def swd_quantization(logits: Tensor, *, from_logits: bool = True, seed: int | None = None) -> Tensor:
    """Compute how far the values of every bit are, over the batch, from fair signs.

    The squared Wasserstein-2 distance between the batch's values of a bit and ±1, averaged over bits. In one dimension
    that is the mean square of differences between sorted lists, so each value is drawn to the sign of its rank: the
    term asks for saturated codes and for balanced bits at once. Add it to a loss of the same logits with a weight of
    0.1 (as the authors do)::

        loss(logits, labels) + 0.1 * swd_quantization(logits)

    The ±1 side is the fair coin itself (the default), or as in the paper a sample of N random signs for every bit,
    whose counts vary about N/2.

    Bits that are not balanced over the classes of a batch pay even when saturated. Against the fair coin, the middle
    value of a batch of odd size is drawn to 0 (half of it belongs to each side). Computed in float32 (float64 stays
    float64), also under autocast.

    Args:
        logits: float (N, n_bits), N at least 1; see ``from_logits``.
        from_logits: True for unbounded logits, whose relaxed codes tanh z are compared; False to compare the values as
            they are: relaxed codes, or the output of a batch normalization.
        seed: None for the fair coin; 0..2**63 - 1 for a sample of signs. Pass the number of the training step, so that
            each step has a sample of its own; one seed has the same signs on every platform. The sample is drawn on the
            CPU, which ``torch.compile`` refuses.

    Returns:
        float32 (float64 for float64 logits) scalar, at least 0.

    Raises:
        TypeError: logits that are not a floating-point tensor, or a seed that is not an integer.
        ValueError: logits that are not a matrix or hold NaN, no samples or no bits, or a seed out of range.

    Source: the channel-wise variant ("swdC") of Doan et al., "One Loss for Quantization: Deep Hashing with Discrete
    Wasserstein Distributional Matching", CVPR 2022.

    Examples:
        >>> logits = torch.tensor([[3.0, 3.0], [-3.0, 3.0], [0.1, -3.0], [-2.0, -3.0]])
        >>> swd_quantization(logits)
        tensor(0.1015)
        >>> swd_quantization(logits, seed=1)
        tensor(0.1513)
        >>> swd_quantization(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), from_logits=False)
        tensor(0.)
    """
    n_bits = logits.shape[1] if isinstance(logits, Tensor) and logits.ndim == 2 else 1
    check_logits(logits, n_bits)
    if 0 in logits.shape:
        raise ValueError(f"logits must hold at least one sample and one bit, got shape {tuple(logits.shape)}")
    n_rows = logits.shape[0]
    with torch.autocast(logits.device.type, enabled=False):
        values = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
        if from_logits:
            values = values.tanh()
        values = values.sort(dim=0).values
        if seed is None:
            ranks = torch.arange(n_rows, device=values.device)
            signs = (2 * ranks + 1 - n_rows).sign().to(values.dtype)[:, None]
            # Half of the middle value goes to each sign: ((x - 1)² + (x + 1)²) / 2 = x² + 1.
            return (values - signs).square().mean() + (n_rows % 2) / n_rows
        sample = torch.from_numpy(random_bits(check_seed(seed), n_rows, n_bits, stream=SWD_STREAM))
        signs = sample.sort(dim=0).values.to(values) * 2 - 1
        return (values - signs).square().mean()
