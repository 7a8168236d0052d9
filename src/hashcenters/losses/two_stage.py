"""Target codes found from labels first, a network that learns them second."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hashcenters.centers.randomness import CNNH_STREAM, check_seed, random_stream
from hashcenters.checks import check_count, check_logits, require
from hashcenters.losses.options import Reduction, check_not_empty, check_reduction, precise, reduce
from hashcenters.losses.pairwise import check_pair_labels

__all__ = ["CNNHLoss", "cnnh_codes"]


def cnnh_codes(labels: Tensor, n_bits: int, *, n_iterations: int = 10, seed: int = 0) -> Tensor:
    r"""Find a code for every training sample whose inner products tell which samples share a label: CNNH's first stage.

    With s_ij = 1 for samples that share a label and -1 for others, it lowers

        \|\|S - H H^T / n_bits\|\|_F²,    H in [-1, 1]^(N x n_bits)

    from a random start, one entry of H at a time by a Newton step, clipped to [-1, 1], and returns the signs of H.

    Choices made here: an iteration takes the samples in random order and the bits of each in turn; every single step
    that would raise the objective is left out, so it never rises; where the objective curves downwards, the entry goes
    to the end of [-1, 1] that lies downhill.

    S is not stored: it is constant over samples with equal labels. An entry costs O(n_bits + the number of distinct
    label sets that share a label with the sample's), an iteration N x n_bits times that: the default ten take about
    2 s on one core at 60,000 samples of 10 classes and 64 bits, and 20 s at 5,000 samples with 3,000 different sets.

    Codes belong to samples: put them into the data set, in the order of ``labels`` (see ``CNNHLoss``). Nothing makes
    the codes of two classes differ: count the distinct rows at short code lengths, and try another seed.

    Args:
        labels: integer class ids (N,), at least 0; or multi-hot (N, n_classes), bool, integer or float of 0 and 1. A
            row without labels is similar to nothing, itself included.
        n_bits: code length.
        n_iterations: passes over all entries.
        seed: 0..2**63 - 1; decides the start and the order. The same seed gives the same codes.

    Returns:
        float32 (N, n_bits) of ±1, on the labels' device.

    Raises:
        TypeError: labels are not a tensor, class ids or a count are not integers.
        ValueError: labels of another shape or out of range, no samples, or a count or seed out of range.

    Source: Xia et al., "Supervised Hashing for Image Retrieval via Image Representation Learning", AAAI 2014.

    Examples:
        >>> cnnh_codes(torch.tensor([0, 1, 0, 1]), 6)
        tensor([[ 1.,  1., -1., -1., -1.,  1.],
                [-1., -1.,  1.,  1.,  1., -1.],
                [ 1.,  1., -1., -1., -1.,  1.],
                [-1., -1.,  1.,  1.,  1., -1.]])
    """
    codes, _ = relaxed_codes(labels, n_bits, n_iterations=n_iterations, seed=seed)
    return torch.from_numpy(np.where(codes >= 0, np.float32(1), np.float32(-1))).to(labels.device)


def relaxed_codes(
    labels: Tensor, n_bits: int, *, n_iterations: int, seed: int
) -> tuple[NDArray[np.float64], list[float]]:
    """Return H (N, n_bits), and the objective at the start and after every iteration; see ``cnnh_codes``."""
    n_bits, n_iterations = check_count(n_bits, "n_bits"), check_count(n_iterations, "n_iterations")
    seed = check_seed(seed)
    check_pair_labels(labels)
    if not len(labels):
        raise ValueError("labels must hold at least one sample, got none")
    sets, starts, neighbors = _label_sets(labels.detach().cpu())

    stream = random_stream(seed, CNNH_STREAM)
    codes = (stream.random_raw((len(sets), n_bits)) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    sweep = _compiled_sweep()
    objectives = [sweep(codes, np.empty(0, np.int64), sets, starts, neighbors)]
    for _ in range(n_iterations):
        order = np.argsort(stream.random_raw(len(sets)), kind="stable")
        objectives.append(sweep(codes, order, sets, starts, neighbors))
    return codes, objectives


class CNNHLoss(nn.Module):
    """Convolutional neural network hashing (Xia et al., AAAI 2014), second stage: regression on the target codes.

    Called as ``loss(logits, target_codes)``, with the codes that ``cnnh_codes`` found for the samples of the batch in
    the place of labels. The loss of a sample is the mean over bits of (tanh z - target)². Computed in float32 (float64
    stays float64), also under autocast.

    A target belongs to a sample, so it travels with it: build the data set of images and codes, in one order, and let
    the loader shuffle both, as in the example. Codes kept in a table beside a shuffled loader end at other images.

    The paper's second form (CNNH+), which adds class labels to the targets of the regression, is left out.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * target_codes: float (N, n_bits) of ±1.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: logits or target codes of a wrong type; labels in the place of target codes.
        ValueError: an unknown reduction, shapes that do not fit, NaN, target codes other than ±1, or the mean of an
            empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> images, labels = torch.randn(60, 10), torch.arange(60) % 3
        >>> loader = DataLoader(TensorDataset(images, cnnh_codes(labels, 16)), batch_size=20, shuffle=True)
        >>> network, loss_fn = nn.Linear(10, 16), CNNHLoss()
        >>> optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        >>> for batch, target_codes in loader:
        ...     loss = loss_fn(network(batch), target_codes)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> loss_fn
        CNNHLoss(reduction='mean')
        >>> loss_fn(torch.tensor([[9.0, -9.0]]), torch.tensor([[1.0, 1.0]]))
        tensor(2.)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target_codes: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for target codes (N, n_bits) of ±1."""
        n_bits = logits.shape[1] if isinstance(logits, Tensor) and logits.ndim == 2 else 0
        check_logits(logits, max(n_bits, 1))
        advice = (
            "CNNH takes the codes of the batch's samples, not labels; put cnnh_codes(labels, n_bits) in the data set"
        )
        if not isinstance(target_codes, Tensor) or not target_codes.is_floating_point():
            got = target_codes.dtype if isinstance(target_codes, Tensor) else type(target_codes).__name__
            raise TypeError(
                f"target_codes must be a floating-point tensor (N, n_bits) of -1 and +1, got {got}; {advice}"
            )
        if target_codes.shape != logits.shape:
            raise ValueError(
                f"target_codes must have the shape of logits, {tuple(logits.shape)}, got {tuple(target_codes.shape)}; "
                + advice
            )
        require((target_codes.abs() == 1).all(), f"target_codes must hold only -1 and +1; {advice}")
        check_not_empty(logits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            samples = (torch.tanh(values) - target_codes.to(values.dtype)).square().mean(dim=1)
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the option."""
        return f"reduction={self.reduction!r}"


def _label_sets(labels: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples' label sets; set a shares a label with the sets neighbors[starts[a]:starts[a + 1]]."""
    if labels.ndim == 1:
        ids, sets = np.unique(labels.numpy(), return_inverse=True)
        return sets.astype(np.int64), np.arange(len(ids) + 1), np.arange(len(ids))
    packed = np.packbits((labels != 0).numpy(), axis=1)
    _, first, sets = np.unique(packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    distinct = (labels[torch.from_numpy(first)] != 0).to(torch.float32)
    blocks = torch.split(distinct, 1024)
    shared = [(rows @ distinct.T).nonzero() for rows in blocks]
    # A set without labels shares none, not even with itself, and still has its place.
    counts = np.concatenate(
        [np.bincount(some[:, 0].numpy(), minlength=len(rows)) for some, rows in zip(shared, blocks, strict=True)]
    )
    return sets.astype(np.int64), np.concatenate([[0], counts.cumsum()]), torch.cat(shared)[:, 1].numpy()


_Sweep: TypeAlias = Callable[
    [NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], float
]


@functools.cache
def _compiled_sweep() -> _Sweep:
    from hashcenters.compiling import compiled  # loads numba

    return compiled(_sweep)


def _sweep(
    codes: NDArray[np.float64],
    order: NDArray[np.int64],
    sets: NDArray[np.int64],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.int64],
) -> float:
    """Improve the entries of H in place, sample by sample in the given order; return the objective.

    With L = H H^T - n_bits S, a step t at H_ij changes the sum of squares of L by
    4 t L_i.H_.j + 2 t² (H_.j.H_.j + H_ij² + L_ii) + 4 t³ H_ij + t⁴. All of it follows from the products of the columns
    of H and from the columns' sums over the samples of every label set.
    """
    n_rows, n_bits = codes.shape
    n_sets = len(starts) - 1
    gram = np.zeros((n_bits, n_bits))
    sums = np.zeros((n_bits, n_sets))
    totals = np.zeros(n_bits)
    for i in range(n_rows):
        for j in range(n_bits):
            sums[j, sets[i]] += codes[i, j]
            totals[j] += codes[i, j]
            for k in range(n_bits):
                gram[j, k] += codes[i, j] * codes[i, k]

    for i in order:
        own = sets[i]
        itself = -1.0  # S_ii: -1 without labels
        for at in range(starts[own], starts[own + 1]):
            if neighbors[at] == own:
                itself = 1.0
        length = 0.0
        for j in range(n_bits):
            length += codes[i, j] * codes[i, j]
        for j in range(n_bits):
            near = 0.0
            for at in range(starts[own], starts[own + 1]):
                near += sums[j, neighbors[at]]
            slope = -n_bits * (2 * near - totals[j])
            for k in range(n_bits):
                slope += codes[i, k] * gram[j, k]
            old = codes[i, j]
            curvature = gram[j, j] + old * old + length - n_bits * itself
            if curvature > 0:
                new = min(max(old - slope / curvature, -1.0), 1.0)
            elif slope != 0:
                new = -1.0 if slope > 0 else 1.0
            else:
                new = old
            step = new - old
            if step == 0 or step * (4 * slope + step * (2 * curvature + step * (4 * old + step))) > 0:
                continue
            for k in range(n_bits):
                if k != j:
                    gram[j, k] += step * codes[i, k]
                    gram[k, j] = gram[j, k]
            gram[j, j] += new * new - old * old
            length += new * new - old * old
            sums[j, own] += step
            totals[j] += step
            codes[i, j] = new

    squares, agreement = 0.0, 0.0
    for j in range(n_bits):
        for k in range(n_bits):
            squares += gram[j, k] * gram[j, k]
        agreement -= totals[j] * totals[j]
        for a in range(n_sets):
            for at in range(starts[a], starts[a + 1]):
                agreement += 2 * sums[j, a] * sums[j, neighbors[at]]
    return float(squares / n_bits**2 - 2 * agreement / n_bits + float(n_rows) ** 2)
