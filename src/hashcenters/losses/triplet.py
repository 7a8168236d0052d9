"""Triplets: a sample is nearer to a similar one than to a dissimilar one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count
from hashcenters.losses.options import Reduction, check_positive, check_reduction, precise, reduce
from hashcenters.losses.pairwise import check_batch, relax

__all__ = ["DNNHLoss", "DivideAndEncodeHead"]


class DNNHLoss(nn.Module):
    r"""Triplet ranking (Lai et al., CVPR 2015, "DNNH" or "NINH").

    With h = sigmoid(2z) = (1 + tanh z)/2 in [0, 1], over all triplets (i, p, n) of the batch in which p ≠ i shares a
    label with i and n ≠ i does not:

    * loss = mean of max(0, margin + \|h_i - h_p\|² - \|h_i - h_n\|²).

    With ``epsilon`` below 0.5, h is first set to 0 below 0.5 - epsilon and to 1 above 0.5 + epsilon, and has no
    gradient there: the paper's piecewise threshold, after its description. The default leaves h alone, as the port
    caffe-dnnh does. Their sigmoid is of z, not of 2z: half as steep, which the last layer makes up for.

    The sum over all triplets takes O(N² log N) time and O(N²) memory.

    Args:
        margin: above 0, in squared distance, that is in bits. The paper has 1, the port 2 at 12 bits.
        epsilon: half width of the band that the threshold leaves alone, in (0, 0.5].
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``. A sample's loss is the sum over its triplets
            times N / (number of triplets), so the mean over samples is the mean over triplets.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits; 0 for a batch
          without triplets.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, relaxed codes outside [-1, 1], labels out of range, or
            the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> loss = DNNHLoss()
        >>> loss
        DNNHLoss(margin=1.0, epsilon=0.5, from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.)
        >>> loss(logits, torch.tensor([0, 1, 1]))
        tensor(1.7831)
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        epsilon: float = 0.5,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive(margin, "margin")
        if not 0 < epsilon <= 0.5:
            raise ValueError(f"epsilon must lie in (0, 0.5], got {epsilon}")
        check_reduction(reduction)
        self.margin = margin
        self.epsilon = epsilon
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            codes = relax(precise(logits), self.from_logits)  # twice the distance from h to 1/2
            if self.epsilon < 0.5:
                codes = torch.where(codes.abs() > 2 * self.epsilon, codes.detach().sign(), codes)
            square = (codes * codes).sum(dim=1)
            distances = (square[:, None] + square[None, :] - codes @ codes.T * 2) / 4
            itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
            return reduce(_triplet_sums(distances, similar & ~itself, ~similar & ~itself, self.margin), self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"margin={self.margin}, epsilon={self.epsilon}, from_logits={self.from_logits}, "
            f"reduction={self.reduction!r}"
        )


class DivideAndEncodeHead(nn.Module):
    """Turn features into logits, every bit from its own slice of them (Lai et al., CVPR 2015).

    A linear layer with ReLU makes n_bits slices of ``slice_width`` features; a linear map of its own turns each slice
    into one logit. The source has slices of 50, and a network that ends in features of that size; here the first layer
    lets any backbone do, and ``slice_width=None`` divides the features as they are.

    Args:
        in_features: width of the features.
        n_bits: code length, the width of the logits.
        slice_width: features a bit. None: in_features / n_bits, without the first layer.

    Attributes:
        in_features: width of the features.
        n_bits: code length.
        slice_width: features a bit.
        project: the first layer, or None.
        weight: parameter (n_bits, slice_width).
        bias: parameter (n_bits,).

    Shape:
        * features: float (N, in_features).
        * returns: logits (N, n_bits), unbounded, in the dtype of the layers.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width below 1, ``slice_width=None`` where n_bits does not divide in_features, or, in the call,
            features of another shape.

    Examples:
        >>> head = DivideAndEncodeHead(512, 64)
        >>> head
        DivideAndEncodeHead(
          in_features=512, n_bits=64, slice_width=50
          (project): Linear(in_features=512, out_features=3200, bias=True)
        )
        >>> head(torch.zeros(2, 512)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, n_bits: int, *, slice_width: int | None = 50) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        self.project: nn.Linear | None = None
        if slice_width is None:
            if self.in_features % self.n_bits:
                raise ValueError(
                    f"in_features must be a multiple of n_bits={self.n_bits} with slice_width=None, got "
                    f"{self.in_features}; give a slice_width"
                )
            self.slice_width = self.in_features // self.n_bits
        else:
            self.slice_width = check_count(slice_width, "slice_width")
            self.project = nn.Linear(self.in_features, self.n_bits * self.slice_width)
        bound = self.slice_width**-0.5  # as nn.Linear(slice_width, 1) does
        self.weight = nn.Parameter(torch.empty(self.n_bits, self.slice_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.n_bits).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, in_features)."""
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(
                f"features must have shape (N, in_features={self.in_features}), got {tuple(features.shape)}; "
                "pool feature maps before the head"
            )
        if self.project is not None:
            features = F.relu(self.project(features))
        slices = features.reshape(len(features), self.n_bits, self.slice_width)
        logits = torch.einsum("nbw,bw->nb", slices, self.weight)
        return logits + self.bias.to(logits.dtype)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"in_features={self.in_features}, n_bits={self.n_bits}, slice_width={self.slice_width}"


def _triplet_sums(distances: Tensor, similar: Tensor, dissimilar: Tensor, margin: float) -> Tensor:
    """Return for every row N / (number of triplets) times its sum of hinges.

    A row's dissimilar distances are sorted; the hinge of a similar one, at distance d, is open to those below
    d + margin, and their number and sum are all that it takes.
    """
    thresholds = distances + margin
    ordered = distances.masked_fill(~dissimilar, torch.inf).sort(dim=1).values
    n_open = torch.searchsorted(ordered.detach(), thresholds.detach().contiguous())
    sums = F.pad(ordered.masked_fill(ordered.isinf(), 0).cumsum(dim=1), (1, 0)).gather(1, n_open)
    hinges = (thresholds * n_open - sums).clamp(min=0)  # rounding can make an empty sum negative
    n_triplets = (similar.sum(dim=1) * dissimilar.sum(dim=1)).sum()
    return hinges.masked_fill(~similar, 0).sum(dim=1) * (len(distances) / n_triplets.clamp(min=1).to(distances.dtype))
