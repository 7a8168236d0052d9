"""Centers of samples: a class's own center, or the vote of several classes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from hashcenters.centers.randomness import (
    SAMPLE_TIE_STREAM,
    TIE_TABLE_STREAM,
    check_seed,
    random_bits,
)
from hashcenters.checks import check_centers, check_count, check_labels, require

__all__ = ["majority_vote", "multilabel_centers", "tie_table"]

Ties = Literal["label_set", "sample", "shared"]


def multilabel_centers(labels: Tensor, centers: Tensor, *, seed: int = 0, ties: Ties = "label_set") -> Tensor:
    """Give every sample its semantic hash center: per bit, the majority of its classes' centers.

    Section 3.2 of the paper, Fig. 4. Where the vote is a draw, a fair coin decides. With ``ties="label_set"`` that coin
    depends only on the seed and the sample's set of classes: the same set has the same center in every batch, process
    and run, and the coins of two different sets are independent (see ``tie_table``). With ``ties="sample"`` every
    sample has coins of its own, as in the paper: row i of the call uses row i of the seed's coins, so pass all samples
    at once. With ``ties="shared"`` all samples have the same coins, one for each bit, as in the paper's released code:
    every draw at a bit is decided alike, so label sets that have nothing in common share those bits. Inside
    ``torch.compile`` use ``hashcenters.CentralSimilarityLoss`` or ``majority_vote``: their
    random bits are a tensor.

    Args:
        labels: multi-hot (N, n_classes), bool, integer or float 0 and 1, every row with at least one class; or class
            indices int64 (N,), for which this is ``centers[labels]``.
        centers: float (n_classes, n_bits) of ±1, on the device of the labels.
        seed: 0..2**63 - 1; decides draws.
        ties: ``"label_set"``, ``"sample"`` or ``"shared"``.

    Returns:
        float32 (N, n_bits) of ±1, on the device of the labels.

    Raises:
        TypeError: labels or centers of a wrong type.
        ValueError: labels that do not fit the centers, a row without labels (the message names such rows), centers
            other than ±1, or unknown ``ties``. On CUDA, labels of wrong value are a RuntimeError.

    Examples:
        >>> centers = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
        >>> multilabel_centers(torch.tensor([[1, 1, 1], [0, 1, 0], [1, 1, 0]]), centers)
        tensor([[ 1.,  1.,  1., -1.],
                [ 1., -1.,  1., -1.],
                [ 1.,  1.,  1.,  1.]])
        >>> multilabel_centers(torch.tensor([[1, 1, 0], [1, 0, 1]]), centers, ties="shared")
        tensor([[ 1., -1.,  1.,  1.],
                [ 1.,  1.,  1.,  1.]])
    """
    check_centers(centers)
    n_classes, n_bits = centers.shape
    check_labels(labels, n_classes)
    seed = check_seed(seed)
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be one of {', '.join(map(repr, get_args(Ties)))}, got {ties!r}")
    if labels.ndim == 1:
        return centers.detach().to(torch.float32)[labels.to(torch.int64)]
    if ties == "label_set":
        return majority_vote(labels, centers, tie_table(n_classes, n_bits, seed=seed).to(centers.device))
    # The shared row is the first sample's: it depends on nothing but the seed and n_bits.
    n_rows = 1 if ties == "shared" else labels.shape[0]
    rows = random_bits(seed, n_rows, n_bits, stream=SAMPLE_TIE_STREAM)
    coins = torch.from_numpy(rows).to(labels.device).expand(labels.shape[0], -1)
    with torch.autocast(labels.device.type, enabled=False):
        return _vote(_indicators(labels), centers, coins / 2 - 0.25)


def tie_table(n_classes: int, n_bits: int, *, seed: int = 0) -> Tensor:
    """Return the random bits that decide draws between the classes of a sample.

    The coin of a set of classes at bit j is the parity of the sum of the table over the set's rows, at column j
    (tabulation hashing). So every coin of a non-empty set is fair, the coins of two different sets are independent, and
    the coins of a whole batch are one matrix product with the labels. (Coins of three sets, one of them the symmetric
    difference of the other two, do depend on each other.)

    Args:
        n_classes: number of classes.
        n_bits: code length.
        seed: 0..2**63 - 1. Row c depends only on (seed, c, n_bits), not on the number of classes.

    Returns:
        uint8 (n_classes, n_bits) of 0 and 1 on the CPU; uint8, because an integer buffer survives
        ``loss.to(torch.bfloat16)`` and every communication library can send it.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.

    Examples:
        >>> tie_table(2, 8)
        tensor([[1, 0, 1, 0, 0, 0, 1, 0],
                [1, 1, 0, 1, 1, 0, 0, 1]], dtype=torch.uint8)
    """
    n_classes, n_bits = check_count(n_classes, "n_classes"), check_count(n_bits, "n_bits")
    return torch.from_numpy(random_bits(check_seed(seed), n_classes, n_bits, stream=TIE_TABLE_STREAM))


def majority_vote(labels: Tensor, centers: Tensor, tie_bits: Tensor) -> Tensor:
    """Let the classes of every sample vote on each bit, draws decided by a tie table.

    The work of ``multilabel_centers`` for callers that have checked labels and centers and keep the table: two
    matrix products, exact in float32 also under autocast, on every device and under ``torch.compile(fullgraph=True)``.

    Args:
        labels: multi-hot (N, n_classes) of 0 and 1, any dtype.
        centers: float (n_classes, n_bits) of ±1.
        tie_bits: (n_classes, n_bits) of 0 and 1, any dtype, from ``tie_table``.

    Returns:
        float32 (N, n_bits) of ±1.

    Raises:
        ValueError: a row without labels (under ``torch.compile`` and on CUDA a RuntimeError).

    Examples:
        >>> labels, centers = torch.tensor([[1, 1]]), torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
        >>> majority_vote(labels, centers, torch.tensor([[1, 1, 1], [1, 1, 0]]))
        tensor([[ 1., -1.,  1.]])
    """
    # Halves are exact in every float format, so the parity of a sum is the fractional part of a sum of halves.
    with torch.autocast(labels.device.type, enabled=False):
        indicators = _indicators(labels)
        return _vote(indicators, centers, (indicators @ (tie_bits.to(torch.float32) / 2)).frac_().sub_(0.25))


def _vote(indicators: Tensor, centers: Tensor, coins: Tensor) -> Tensor:
    """Sign of the sum of each sample's centers, draws by float32 coins of ±1/4, which it takes over; not in autocast.

    All sums are multiples of 1/4 below 2**22: exact in float32, in any order, with TF32 too.
    """
    _require_labels(indicators.sum(dim=1))
    return coins.addmm_(indicators, centers.detach().to(torch.float32)).sign_()


def _indicators(labels: Tensor) -> Tensor:
    """Return 0 and 1 in float32."""
    # The CPU converts bytes five times as fast as bools.
    return (labels.view(torch.uint8) if labels.dtype == torch.bool else labels).to(torch.float32)


def _require_labels(sizes: Tensor) -> None:
    """Refuse samples without labels, by name where looking at values is free."""
    if torch.compiler.is_compiling() or sizes.device.type != "cpu":
        require((sizes > 0).all(), "every row of labels must have at least one class, got a row without any")
        return
    if not sizes.numel() or sizes.amin().item() > 0:
        return
    rows = (sizes == 0).nonzero()[:, 0].tolist()
    if rows:
        named = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise ValueError(
            f"every row of labels must have at least one class: {len(rows)} of {len(sizes)} rows have none "
            f"(row {named}); drop these samples"
        )
