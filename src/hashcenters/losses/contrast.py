"""Contrast of hash centers: the library's own loss, for few classes, many classes and label sets alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.centers.randomness import check_seed
from hashcenters.centers.semantic import majority_vote, tie_table
from hashcenters.checks import check_centers, check_labels, check_logits
from hashcenters.losses.cosine import center_cosines
from hashcenters.losses.options import (
    Reduction,
    check_not_empty,
    check_positive,
    check_reduction,
    check_weight,
    precise,
    reduce,
)
from hashcenters.losses.pairwise import mean_over_pairs, similar_pairs, surprise

__all__ = ["CenterContrastLoss"]

# With this many classes times bits or more the central term counts in full.
_FULL_CODE = 6400


class CenterContrastLoss(nn.Module):
    r"""Center contrast: nearer to the own center than to any other, near it at all, and label sets that overlap close.

    Called as ``loss(logits, labels)``, in the place of ``CentralSimilarityLoss``. It is the preset ``ours`` of the
    benchmark, meant for centers placed by similarity.

    Central similarity says where a sample's own center is, bit by bit, and nothing about the others. An image that may
    be of two classes then gets, in every bit, the vote of the likelier one, and the second class is as far away as
    all the rest. Ranking wants more: a code whose distances to *all* centers follow how likely the classes are. So the
    first term is a softmax over the centers, with a margin on the classes y of the sample (y the multi-hot labels,
    one-hot of a class id), as in OrthoHash:

    * contrast = -sum_c (y_c / \|y\|_1) log softmax_c(scale * (cos(z, c) - margin * y_c)).

    The cosine leaves the length of z free, so codes are as good as in OrthoHash without its batch normalization. The
    softmax names one class; it does not say which bits. With many classes its gradient is thin and bits are learned
    late, which is where CSQ leads. So L_C of ``central_similarity_loss``, a mean over bits, stays in:

    * central = mean over bits of log(1 + exp(-2 z c)), c the center of the class or of the label set.

    Its weight is 1 for 100 classes and 64 bits and grows up to there with n_classes * n_bits, the bits that the
    network has to learn by heart: with few of them a strong pull to one vertex only hides the second class again.

    For label sets, neither term says that two sets share a label: majority votes of overlapping sets agree in few bits
    more than chance. Pairs say it. With h = tanh z and a = 10 / n_bits, s_ij = 1 where samples share a label and 0
    elsewhere:

    * pairs = mean over similar pairs of log(1 + exp(-a h_i·h_j)) + mean over other pairs of log(1 + exp(a h_i·h_j)).

    It is there for multi-hot labels alone, since for class ids it repeats what the centers say (and did harm on
    validation data). Loss = contrast + central_weight * central + pair_weight * pairs. Scale, margin and weights were
    chosen on parts of the training images; "Which method?" in the documentation has the ablation.

    Args:
        centers: float (n_classes, n_bits) of ±1; best placed by similarity, see ``similarity_from_features``.
        scale: of the cosines, above 0.
        margin: at least 0, subtracted from the cosine of the sample's own classes.
        central_weight: at least 0; None (default) means min(1, n_classes * n_bits / 6400).
        pair_weight: at least 0; of the pairs, with multi-hot labels.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.
        seed: 0..2**63 - 1; decides draws between the classes of a sample, as in ``multilabel_centers``.

    Attributes:
        centers: buffer, float32 (n_classes, n_bits).
        tie_bits: buffer, uint8 (n_classes, n_bits), see ``hashcenters.centers.tie_table``. Both are in ``state_dict``.
        central_weight: the weight in use, a float.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float, every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: centers, logits or labels of a wrong type.
        ValueError: centers other than ±1, a bad option, shapes that do not fit, NaN, labels out of range, a row without
            labels, or the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Source: this library. Parts: Yuan et al., CVPR 2020 (central similarity); Hoe et al., NeurIPS 2021 (cosine and
    margin); Cao et al., ICCV 2017 (weighted pairs).

    Examples:
        >>> from hashcenters.centers import HashCenterGenerator
        >>> loss = CenterContrastLoss(HashCenterGenerator(4, method="paper")(3))
        >>> loss
        CenterContrastLoss(n_classes=3, n_bits=4, scale=8.0, margin=0.2, central_weight=0.001875,
        pair_weight=3.0, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(0.0185)
        >>> loss(logits, torch.tensor([[0, 1, 0], [1, 1, 1]]))
        tensor(3.8250)
    """

    centers: Tensor
    tie_bits: Tensor

    def __init__(
        self,
        centers: Tensor,
        *,
        scale: float = 8.0,
        margin: float = 0.2,
        central_weight: float | None = None,
        pair_weight: float = 3.0,
        reduction: Reduction = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_centers(centers)
        check_positive(scale, "scale")
        check_weight(margin, "margin")
        if central_weight is None:
            central_weight = min(1.0, centers.numel() / _FULL_CODE)
        check_weight(central_weight, "central_weight")
        check_weight(pair_weight, "pair_weight")
        check_reduction(reduction)
        self.scale = scale
        self.margin = margin
        self.central_weight = central_weight
        self.pair_weight = pair_weight
        self.reduction: Reduction = reduction
        self.register_buffer("centers", centers.detach().to(torch.float32, copy=True))
        self.register_buffer("tie_bits", tie_table(*centers.shape, seed=check_seed(seed)).to(centers.device))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        n_classes, n_bits = self.centers.shape
        check_logits(logits, n_bits)
        check_labels(labels, n_classes, n_rows=logits.shape[0])
        check_not_empty(logits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            centers = self.centers.to(values.dtype)
            if labels.ndim == 1:
                target_codes = centers[labels.to(torch.int64)]
                own = F.one_hot(labels.to(torch.int64), n_classes).to(values.dtype)
            else:
                target_codes = majority_vote(labels, self.centers, self.tie_bits).to(values.dtype)
                own = labels.to(values.dtype)
            cosines = center_cosines(values, centers)
            share = own / own.sum(dim=1, keepdim=True)
            samples = F.cross_entropy((cosines - own * self.margin) * self.scale, share, reduction="none")
            if self.central_weight:
                central = F.softplus(values * target_codes * -2, threshold=40).mean(dim=1)
                samples = torch.add(samples, central, alpha=self.central_weight)
            if self.pair_weight and labels.ndim == 2:
                relaxed = torch.tanh(values)
                similar = similar_pairs(labels)
                terms = surprise(relaxed @ relaxed.T * (10 / n_bits), similar)
                pairs = mean_over_pairs(terms, similar, balanced=True)
                samples = torch.add(samples, pairs, alpha=self.pair_weight)
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        n_classes, n_bits = self.centers.shape
        return (
            f"n_classes={n_classes}, n_bits={n_bits}, scale={self.scale}, margin={self.margin}, "
            f"central_weight={self.central_weight}, pair_weight={self.pair_weight}, reduction={self.reduction!r}"
        )
