"""Polarization: push every bit beyond a margin, to the side that the hash center names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.centers.randomness import check_seed
from hashcenters.centers.semantic import majority_vote, tie_table
from hashcenters.checks import check_centers, check_labels, check_logits
from hashcenters.losses.options import Reduction, check_not_empty, check_reduction, check_weight, precise, reduce

__all__ = ["DPNLoss"]


class DPNLoss(nn.Module):
    """Polarization loss of Deep Polarized Network: a hinge for every bit.

    Called as ``loss(logits, labels)``. With the logits z of a sample and the center c of its class:

        L = sum_k max(0, margin - z_k c_k) + regularization_weight * mean_k z_k²

    The hinge bounds the Hamming distance to the center: at margin 1, every wrong bit adds at least 1. There is no tanh:
    a bit beyond the margin has no gradient, and a wrong bit has the same gradient at every size.

    With multi-hot labels the center of a sample is the majority vote of its classes' centers, draws decided as in
    ``hashcenters.multilabel_centers``. The paper's other options (a classification term, targets re-estimated from the
    codes, ternary codes) are left out. Computed in float32 (float64 stays float64), also under autocast.

    Args:
        centers: float (n_classes, n_bits) of ±1; random signs in the paper.
        margin: at least 0; 1 in the paper.
        regularization_weight: weight of the mean square of the logits, at least 0; 0 is the paper's loss, and the
            authors' notes say that 1e-3 helps a little.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``. A sample's loss is a sum over bits.
        seed: 0..2**63 - 1; decides draws between the classes of a sample.

    Attributes:
        centers: buffer, float32 (n_classes, n_bits).
        seed: buffer, int64 scalar.
        tie_bits: buffer, uint8 (n_classes, n_bits), see ``hashcenters.centers.tie_table``. All three are in
            ``state_dict``.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float, every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: centers, logits or labels of a wrong type.
        ValueError: centers other than ±1, a bad option, shapes that do not fit, NaN, labels out of range, a row without
            labels (the message names such rows), or the mean of an empty batch. On CUDA and under ``torch.compile``,
            values that break a rule are a RuntimeError.

    Source: Fan et al., "Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes", IJCAI 2020.

    Examples:
        >>> from hashcenters.centers import HashCenterGenerator
        >>> loss = DPNLoss(HashCenterGenerator(4, method="paper")(3))
        >>> loss
        DPNLoss(n_classes=3, n_bits=4, margin=1.0, regularization_weight=0.0, reduction='mean', seed=0)
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(0.7500)
        >>> loss(logits, torch.tensor([[0, 1, 0], [1, 1, 1]]))
        tensor(1.7500)
    """

    centers: Tensor
    seed: Tensor
    tie_bits: Tensor

    def __init__(
        self,
        centers: Tensor,
        *,
        margin: float = 1.0,
        regularization_weight: float = 0.0,
        reduction: Reduction = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_centers(centers)
        check_weight(margin, "margin")
        check_weight(regularization_weight, "regularization_weight")
        check_reduction(reduction)
        seed = check_seed(seed)
        self.margin = margin
        self.regularization_weight = regularization_weight
        self.reduction: Reduction = reduction
        self.register_buffer("centers", centers.detach().to(torch.float32, copy=True))
        self.register_buffer("seed", torch.tensor(seed, device=centers.device))
        self.register_buffer("tie_bits", tie_table(*centers.shape, seed=seed).to(centers.device))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        n_classes, n_bits = self.centers.shape
        check_logits(logits, n_bits)
        check_labels(labels, n_classes, n_rows=logits.shape[0])
        check_not_empty(logits, self.reduction)
        if labels.ndim == 1:
            target_codes = self.centers[labels.to(torch.int64)]
        else:
            target_codes = majority_vote(labels, self.centers, self.tie_bits)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            samples = F.relu(self.margin - values * target_codes.to(values.dtype)).sum(dim=1)
            if self.regularization_weight != 0:
                samples = torch.add(samples, values.square().mean(dim=1), alpha=self.regularization_weight)
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        n_classes, n_bits = self.centers.shape
        seed = "?" if self.seed.is_meta else int(self.seed)  # a meta tensor has no value
        return (
            f"n_classes={n_classes}, n_bits={n_bits}, margin={self.margin}, "
            f"regularization_weight={self.regularization_weight}, reduction={self.reduction!r}, seed={seed}"
        )
