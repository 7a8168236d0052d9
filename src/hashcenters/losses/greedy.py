"""Classification of the codes themselves, with a gradient that passes the sign as if it were not there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count, check_labels, check_logits, require
from hashcenters.losses.options import Reduction, check_not_empty, check_reduction, check_weight, precise, reduce

__all__ = ["GreedyHashLoss"]


class GreedyHashLoss(nn.Module):
    r"""GreedyHash (Su et al., NeurIPS 2018): cross-entropy of a linear classifier of the signs of the logits.

    Called as ``loss(logits, labels)``. With the codes b = sign z (sign 0 = 1), y the multi-hot labels of a sample
    (one-hot of a class index) and a linear classifier (W, v) that the loss holds:

        L = -sum_c (y_c / \|y\|_1) log softmax_c(W b + v) + penalty_weight * mean_k \|\|z_k\| - 1\|³

    In the backward pass the gradient with respect to b is handed to z unchanged; the penalty keeps z near b, where that
    is nearly right. Several labels share the cross-entropy, as in ``OrthoHashLoss``; the paper has one label a sample.

    The classifier learns with the network: give its parameters to the optimizer,
    ``Adam([*network.parameters(), *loss.parameters()])``, and move the loss to the network's device. Retrieval does not
    need it.

    Args:
        n_classes: number of classes.
        n_bits: code length.
        penalty_weight: weight of the penalty, at least 0; 0.1 as in the authors' code.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Attributes:
        classifier: ``nn.Linear(n_bits, n_classes)``, started as torch does.

    Shape:
        * logits: float (N, n_bits), finite.
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float, every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: a size that is not an integer, logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN or infinite logits, labels out of range, a row without
            labels, or the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Source: Su et al., "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN", NeurIPS 2018.

    Examples:
        >>> loss = GreedyHashLoss(3, 4)
        >>> loss
        GreedyHashLoss(
          n_classes=3, n_bits=4, penalty_weight=0.1, reduction='mean'
          (classifier): Linear(in_features=4, out_features=3, bias=True)
        )
        >>> _ = nn.init.zeros_(loss.classifier.weight), nn.init.zeros_(loss.classifier.bias)
        >>> logits = torch.tensor([[1.0, -1.0, 1.0, -1.0], [2.0, 2.0, 0.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(1.1361, grad_fn=<MeanBackward0>)
    """

    def __init__(
        self, n_classes: int, n_bits: int, *, penalty_weight: float = 0.1, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.n_classes = check_count(n_classes, "n_classes")
        self.n_bits = check_count(n_bits, "n_bits")
        check_weight(penalty_weight, "penalty_weight")
        check_reduction(reduction)
        self.penalty_weight = penalty_weight
        self.reduction: Reduction = reduction
        self.classifier = nn.Linear(self.n_bits, self.n_classes)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        check_logits(logits, self.n_bits)
        require(torch.isfinite(logits).all(), "logits must be finite, got infinity; look for a diverged loss")
        check_labels(labels, self.n_classes, n_rows=logits.shape[0])
        check_not_empty(logits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            if labels.ndim == 1:
                positives = F.one_hot(labels.to(torch.int64), self.n_classes).to(values.dtype)
            else:
                positives = labels.to(values.dtype)
            sizes = positives.sum(dim=1, keepdim=True)
            require((sizes > 0).all(), "every row of labels must have at least one class, got a row without any")
            weight, bias = self.classifier.weight.to(values.dtype), self.classifier.bias.to(values.dtype)
            scores = F.linear(_signs(values), weight, bias)
            samples = F.cross_entropy(scores, positives / sizes, reduction="none")
            if self.penalty_weight:
                samples = samples + (values.abs() - 1).abs().pow(3).mean(dim=1) * self.penalty_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        return (
            f"n_classes={self.n_classes}, n_bits={self.n_bits}, penalty_weight={self.penalty_weight}, "
            f"reduction={self.reduction!r}"
        )


def _signs(values: Tensor) -> Tensor:
    """Return exact signs, sign 0 = 1, whose gradient is that of the values: what is added is 0."""
    signs = torch.where(values >= 0, 1.0, -1.0).to(values.dtype)
    return signs + (values - values.detach())
