"""Cross-entropies of cosines to hash centers, and the head that goes with them."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_centers, check_count, check_labels, check_logits, require
from hashcenters.losses.options import Reduction, check_not_empty, check_reduction, check_weight, precise, reduce
from hashcenters.losses.pairwise import sign_gap

__all__ = ["BatchNormHead", "MDSLoss", "OrthoHashLoss"]

MarginType = Literal["cosine", "angular"]

# The smallest sin² θ: the slope of sin θ in cos θ is infinite at θ = 0, so next to it the sine is held constant.
_LEAST_SQUARED_SINE = 1e-6


class BatchNormHead(nn.Module):
    """Turn features into logits as OrthoHash does: a linear layer without bias, then batch normalization.

    Normalized over the batch, every bit is on for about half of the samples, so no loss term for balance is needed.
    For a database of another domain, estimate ``norm``'s running mean on that database anew.

    Args:
        in_features: width of the features.
        n_bits: code length, the width of the logits.

    Attributes:
        in_features: width of the features.
        n_bits: code length.
        linear: the linear layer.
        norm: the batch normalization, with a learned scale and shift for every bit.

    Shape:
        * features: float (N, in_features); N at least 2 in training mode.
        * returns: logits (N, n_bits), unbounded.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width below 1, features of another shape, or one sample in training mode.

    Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective",
    NeurIPS 2021.

    Examples:
        >>> head = BatchNormHead(512, 64)
        >>> head(torch.randn(8, 512)).shape
        torch.Size([8, 64])
        >>> head
        BatchNormHead(
          (linear): Linear(in_features=512, out_features=64, bias=False)
          (norm): BatchNorm1d(64, eps=1e-05, momentum=0.1, affine=True, ...)
        )
    """

    def __init__(self, in_features: int, n_bits: int) -> None:
        super().__init__()
        self.in_features = check_count(in_features, "in_features")
        self.n_bits = check_count(n_bits, "n_bits")
        self.linear = nn.Linear(self.in_features, self.n_bits, bias=False)
        self.norm = nn.BatchNorm1d(self.n_bits)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, n_bits) of features (N, in_features)."""
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(
                f"features must have shape (N, in_features={self.in_features}), got {tuple(features.shape)}; "
                "pool feature maps before the head"
            )
        if self.training and features.shape[0] == 1:
            raise ValueError(
                "features must hold at least two samples in training mode, got 1; drop small last batches, or call "
                "head.eval() to use the running statistics"
            )
        logits: Tensor = self.norm(self.linear(features))
        return logits


class OrthoHashLoss(nn.Module):
    r"""Cross-entropy of the cosines between logits and hash centers, with a margin on the classes of the sample.

    Called as ``loss(logits, labels)``. With cos θ_c = z·c / (\|z\| \|c\|) for the center c of every class, y the
    multi-hot labels of a sample (one-hot of a class index), s the scale and m the margin:

        L = -sum_c (y_c / \|y\|_1) log softmax_c(s * u),    u_c = cos θ_c - m y_c   (or cos(θ_c + m y_c), angular)

    Drawing a logit vector to the direction of a center of ±1 also draws its entries to one length, so there is no
    quantization term. The loss has a floor above 0, because cosines end at 1.

    Only the direction of z counts: logits may be as large as their format allows (an infinite one counts as the largest
    finite one), and a row of zeros has cosine 0 to every center and a finite gradient. Computed in float32 (float64
    stays float64), also under autocast.

    Args:
        centers: float (n_classes, n_bits) of ±1; orthogonal or nearly orthogonal ones in the paper.
        scale: s, positive. None (default) means sqrt(n_bits), which is the 8 of the authors' code at 64 bits; their
            other suggestion is sqrt(2) * log(n_classes - 1).
        margin: m, at least 0; 0.2 as in the authors' code. In radians for the angular margin.
        margin_type: ``"cosine"`` (OrthoCos) subtracts the margin from the cosine, ``"angular"`` (OrthoArc) adds it to
            the angle. Within 0.001 of 0 and π the angular loss takes an angle's sine to be 0.001.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Attributes:
        centers: buffer, float32 (n_classes, n_bits), in ``state_dict``. Several labels need no vote, so there is no
            seed: every center of a sample's set has its share of the cross-entropy.
        scale: s as a float.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float, every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: centers, logits or labels of a wrong type.
        ValueError: centers other than ±1, a bad option, shapes that do not fit, NaN, labels out of range, a row without
            labels, or the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective",
    NeurIPS 2021; margins, scale and the labels' shares as in the authors' code.

    Examples:
        >>> from hashcenters.centers import HashCenterGenerator
        >>> loss = OrthoHashLoss(HashCenterGenerator(4, method="paper")(3))
        >>> loss
        OrthoHashLoss(n_classes=3, n_bits=4, scale=2, margin=0.2, margin_type='cosine', reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(0.4184)
        >>> loss(logits, torch.tensor([[0, 1, 0], [1, 1, 1]]))
        tensor(1.0353)
    """

    centers: Tensor

    def __init__(
        self,
        centers: Tensor,
        *,
        scale: float | None = None,
        margin: float = 0.2,
        margin_type: MarginType = "cosine",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_centers(centers)
        if scale is None:
            scale = math.sqrt(centers.shape[1])
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, or None for sqrt(n_bits), got {scale}")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be finite and at least 0, got {margin}")
        if margin_type not in get_args(MarginType):
            raise ValueError(f"margin_type must be one of 'cosine', 'angular', got {margin_type!r}")
        check_reduction(reduction)
        self.scale = scale
        self.margin = margin
        self.margin_type: MarginType = margin_type
        self.reduction: Reduction = reduction
        self.register_buffer("centers", centers.detach().to(torch.float32, copy=True))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        n_classes, n_bits = self.centers.shape
        check_logits(logits, n_bits)
        check_labels(labels, n_classes, n_rows=logits.shape[0])
        check_not_empty(logits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            if labels.ndim == 1:
                positives = F.one_hot(labels.to(torch.int64), n_classes).to(values.dtype)
            else:
                positives = labels.to(values.dtype)
            sizes = positives.sum(dim=1, keepdim=True)
            require((sizes > 0).all(), "every row of labels must have at least one class, got a row without any")
            cosines = center_cosines(values, self.centers.to(values.dtype))
            if self.margin_type == "cosine":
                cosines = cosines - positives * self.margin
            else:
                sines = (1 - cosines * cosines).clamp(min=_LEAST_SQUARED_SINE).sqrt()
                turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
                cosines = torch.where(positives > 0, turned, cosines)
            return F.cross_entropy(cosines * self.scale, positives / sizes, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        n_classes, n_bits = self.centers.shape
        return (
            f"n_classes={n_classes}, n_bits={n_bits}, scale={self.scale:.6g}, margin={self.margin}, "
            f"margin_type={self.margin_type!r}, reduction={self.reduction!r}"
        )


class MDSLoss(nn.Module):
    r"""Binary cross-entropies of a softmax over cosines to hash centers, for centers of minimal distance separation.

    Called as ``loss(logits, labels)``. With u = tanh z, y the multi-hot labels of a sample (one-hot of a class index),
    C classes and s the scale:

        L = -mean_c [y_c log p_c + (1 - y_c) log(1 - p_c)] + quantization_weight * mean_k (1 - \|u_k\|)²,
        p = softmax_c(s cos(u, center_c))

    The shares p of a sample add to 1: with m labels the first term is least at p_c = 1/m for each of them, and a row
    without labels is drawn to equal shares of all classes. log(1 - p) is taken from the scores, so it stays finite
    where p rounds to 1.

    The authors' further term, which from epoch 9 on compares positive pairs with a memory of earlier outputs, is left
    out. The centers they optimise come from ``HashCenterGenerator(n_bits, method="mds")``; any others do.

    Args:
        centers: float (n_classes, n_bits) of ±1, at least two classes.
        scale: s, positive. None (default) means sqrt(n_bits), as in the authors' code.
        quantization_weight: weight of the second term, at least 0.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``. A sample's loss is a mean over classes.

    Attributes:
        centers: buffer, float32 (n_classes, n_bits), in ``state_dict``.
        scale: s as a float.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: centers, logits or labels of a wrong type.
        ValueError: centers other than ±1 or of one class, a bad option, shapes that do not fit, NaN, labels out of
            range, or the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Source: Wang et al., "Deep Hashing with Minimal-Distance-Separated Hash Centers", CVPR 2023; weights as in the
    authors' code.

    Examples:
        >>> from hashcenters.centers import HashCenterGenerator
        >>> loss = MDSLoss(HashCenterGenerator(4, method="paper")(3))
        >>> loss
        MDSLoss(n_classes=3, n_bits=4, scale=2, quantization_weight=0.0001, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(0.1646)
        >>> loss(logits, torch.tensor([[0, 1, 0], [1, 1, 1]]))
        tensor(0.8736)
    """

    centers: Tensor

    def __init__(
        self,
        centers: Tensor,
        *,
        scale: float | None = None,
        quantization_weight: float = 1e-4,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_centers(centers)
        if len(centers) < 2:
            raise ValueError("centers must hold at least two classes: the share of a single one is always 1, got 1")
        if scale is None:
            scale = math.sqrt(centers.shape[1])
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, or None for sqrt(n_bits), got {scale}")
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.scale = scale
        self.quantization_weight = quantization_weight
        self.reduction: Reduction = reduction
        self.register_buffer("centers", centers.detach().to(torch.float32, copy=True))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        n_classes, n_bits = self.centers.shape
        check_logits(logits, n_bits)
        check_labels(labels, n_classes, n_rows=logits.shape[0])
        check_not_empty(logits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            positives = F.one_hot(labels.to(torch.int64), n_classes) if labels.ndim == 1 else labels
            scores = center_cosines(torch.tanh(values), self.centers.to(values.dtype)) * self.scale
            inside, outside = _log_shares(scores)
            samples = -torch.where(positives > 0, inside, outside).mean(dim=1)
            if self.quantization_weight:
                gap = sign_gap(values, from_logits=True)
                samples = samples + gap.square().mean(dim=1) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        n_classes, n_bits = self.centers.shape
        return (
            f"n_classes={n_classes}, n_bits={n_bits}, scale={self.scale:.6g}, "
            f"quantization_weight={self.quantization_weight}, reduction={self.reduction!r}"
        )


def _log_shares(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p), (N, n_classes), of p = softmax(scores)."""
    top = F.one_hot(scores.argmax(dim=1), scores.shape[1]).to(torch.bool)
    lead = scores - scores.masked_fill(top, -math.inf).logsumexp(dim=1, keepdim=True)
    logs = F.log_softmax(scores, dim=1)
    # Only the largest share can round to 1: its odds to all others are exp(lead). The others are at most one half, and
    # one half stands in for the largest, whose value and gradient of log1p may be infinite.
    rest = torch.log1p(-torch.exp(logs.masked_fill(top, -math.log(2))))
    return torch.where(top, F.logsigmoid(lead), logs), torch.where(top, F.logsigmoid(-lead), rest)


def center_cosines(logits: Tensor, centers: Tensor) -> Tensor:
    """Return the cosines (N, n_classes) of logits (N, n_bits) to centers of ±1, of any finite or infinite size."""
    limit = torch.finfo(logits.dtype).max
    logits = logits.clamp(-limit, limit)
    # The cosine does not depend on the length, so a constant may take it out before squares over- or underflow.
    size = logits.detach().abs().amax(dim=1, keepdim=True)
    logits = logits / torch.where(size == 0, 1, size)
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    length = torch.where(length == 0, 1, length)
    return (logits @ centers.T) / (length * math.sqrt(centers.shape[1]))
