"""How alike classes are: from mean features or from a confusion matrix."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hashcenters.checks import check_count, check_labels, check_matrix

__all__ = ["similarity_from_confusion", "similarity_from_features"]

Metric = Literal["gaussian", "distance", "cosine"]


def similarity_from_features(
    features: Tensor, labels: Tensor, n_classes: int, *, metric: Metric = "gaussian"
) -> Tensor:
    """How alike classes are, from the mean feature vector of each.

    Args:
        features: float (N, n_features): pixels, embeddings of the class names, the features of a trained network.
        labels: int64 (N,), classes 0..n_classes-1, or multi-hot (N, n_classes), where a sample counts in each of its
            classes; each class at least once.
        n_classes: number of classes.
        metric: of the class means, with d their Euclidean distance: ``"gaussian"``, exp(-(d / t)^2) where t is the
            distance that a fifth of all pairs stay below, so that only near classes count; ``"distance"``, -d; or
            ``"cosine"``, the cosine of the angle between them.

    Returns:
        float64 (n_classes, n_classes) on the CPU, symmetric; larger is more alike. Sums of floats may differ in the
        last bits between machines, and centers placed by them with it; keep the similarity or the centers to repeat.

    Raises:
        TypeError: ``features`` are not floating-point or ``labels`` not integers.
        ValueError: shapes disagree, a label is out of range, a class has no sample, a value is not finite, a mean is
            zero (cosine), or ``metric`` is another word.

    Examples:
        >>> features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
        >>> similarity_from_features(features, torch.tensor([0, 0, 1]), 2, metric="distance")
        tensor([[-0., -3.],
                [-3., -0.]], dtype=torch.float64)
    """
    n_classes = check_count(n_classes, "n_classes")
    if metric not in ("gaussian", "distance", "cosine"):
        raise ValueError(f"metric must be 'gaussian', 'distance' or 'cosine', got {metric!r}")
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"features must be a floating-point tensor of shape (N, n_features), got {got}")
    if features.ndim != 2:
        raise ValueError(f"features must have shape (N, n_features), got {tuple(features.shape)}")
    check_labels(labels, n_classes, n_rows=len(features))
    labels = labels.detach().cpu()
    member = labels.double() if labels.ndim == 2 else F.one_hot(labels.long(), n_classes).double()
    counts = member.sum(dim=0)
    if bool((counts == 0).any()):
        missing = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"every class needs a sample; labels have none of {_listed(missing)}")
    # On the CPU: not every accelerator has float64.
    means = member.T @ features.detach().cpu().double() / counts[:, None]
    if not bool(torch.isfinite(means).all()):
        raise ValueError("features must be finite, got NaN or infinity")
    if metric == "cosine":
        norms = means.norm(dim=1, keepdim=True)
        if bool((norms == 0).any()):
            raise ValueError("metric='cosine' needs class means that are not zero; take metric='gaussian'")
        means = means / norms
        cosines: Tensor = means @ means.T
        return (cosines + cosines.T) / 2
    distances = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    distances = (distances + distances.T) / 2
    if metric == "distance":
        return -distances
    rows, columns = torch.triu_indices(n_classes, n_classes, 1)
    pairs = distances[rows, columns].sort().values
    # Where a fifth of the means coincide, the smallest distance that is not 0 sets the scale.
    scale = pairs[(pairs[len(pairs) // 5 :] == 0).sum() + len(pairs) // 5 :][:1]
    return torch.exp(-((distances / scale) ** 2)) if len(scale) else torch.ones_like(distances)


def similarity_from_confusion(confusion: Tensor) -> Tensor:
    """How alike classes are, from how often a classifier takes one for the other.

    Args:
        confusion: counts or shares (n_classes, n_classes), true class by row, predicted class by column; at least 0.

    Returns:
        float64 (n_classes, n_classes), symmetric: the mean of P(j | i) and P(i | j), rows normalised to sum 1 first.

    Raises:
        ValueError: not a square matrix, a negative or infinite entry, or a row that sums to zero.

    Examples:
        >>> similarity_from_confusion(torch.tensor([[3, 1], [2, 2]]))
        tensor([[0.7500, 0.3750],
                [0.3750, 0.5000]], dtype=torch.float64)
    """
    matrix = check_matrix(confusion, "confusion").cpu().double()
    if bool((matrix < 0).any()):
        raise ValueError("confusion must hold counts or shares of at least 0, got a negative entry")
    totals = matrix.sum(1, keepdim=True)
    if bool((totals == 0).any()):
        empty = (totals[:, 0] == 0).nonzero().flatten().tolist()
        raise ValueError(f"every class needs a sample; confusion has empty rows {_listed(empty)}")
    shares = matrix / totals
    return (shares + shares.T) / 2


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
