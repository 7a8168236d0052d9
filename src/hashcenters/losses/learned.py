"""Centers learned from data (Table 7 of the CSQ paper): losses that learn them, and the step from them to ±1.

They are used in two phases. A network whose head gives n_bits values is trained with one of these losses; the signs of
its learned class centers are then the centers on which central similarity trains a network::

    face = FaceCenterLoss(n_classes=10, n_bits=64)
    optimizer = torch.optim.Adam([*model.parameters(), *face.parameters()])
    ...  # train on face(model(images), labels)
    loss = CentralSimilarityLoss(face.centers)
    ...  # train on loss(model(images), labels)
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from hashcenters.centers.randomness import check_seed, random_words
from hashcenters.checks import check_count, check_labels, check_logits, require
from hashcenters.losses.options import (
    Reduction,
    check_not_empty,
    check_positive,
    check_reduction,
    check_weight,
    precise,
    reduce,
)

__all__ = ["FaceCenterLoss", "MagnetCenterLoss", "RepMetCenterLoss", "binarize_centers"]

# A stream of its own, beside those of hashcenters.centers.randomness.
_KMEANS_STREAM: Final = 9
# Passes of k-means; it has settled before.
_MOST_PASSES: Final = 50
# A smaller variance counts as this, so that a batch of one sample a cluster has a finite gradient.
_LEAST_VARIANCE: Final = 1e-6


def binarize_centers(feature_centers: Tensor) -> Tensor:
    """Turn learned centers into hash centers: their difference from the mean over classes, by sign (zero gives +1).

    Args:
        feature_centers: float (n_classes, n_bits), finite: one point of the feature space for every class.

    Returns:
        float32 (n_classes, n_bits) of ±1, all rows different, on the device of ``feature_centers``.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: another shape, no classes or no bits, NaN or infinity.
        RuntimeError: two classes get the same signs; the message names them.

    Source: ours; the CSQ paper leaves the step to a supplement, and gives no formula. How far apart the centers are is
    shown by ``hashcenters.center_report``.

    Examples:
        >>> binarize_centers(torch.tensor([[5.0, 2.0], [6.0, 1.0], [7.0, 3.0]]))
        tensor([[-1.,  1.],
                [ 1., -1.],
                [ 1.,  1.]])
    """
    if not isinstance(feature_centers, Tensor) or not feature_centers.is_floating_point():
        got = feature_centers.dtype if isinstance(feature_centers, Tensor) else type(feature_centers).__name__
        raise TypeError(f"feature_centers must be a floating-point tensor of shape (n_classes, n_bits), got {got}")
    if feature_centers.ndim != 2 or 0 in feature_centers.shape:
        raise ValueError(
            "feature_centers must have shape (n_classes, n_bits), neither of them 0, got "
            f"{tuple(feature_centers.shape)}"
        )
    if not bool(torch.isfinite(feature_centers).all()):
        raise ValueError("feature_centers must be finite, got NaN or infinity; look for a diverged loss")
    points = feature_centers.detach().to(torch.float64)
    centers = torch.where(points >= points.mean(dim=0), 1.0, -1.0).to(torch.float32)
    distinct, groups = torch.unique(centers, dim=0, return_inverse=True)
    if len(distinct) < len(centers):
        first: dict[int, int] = {}
        one, other = next(
            (first[group], row) for row, group in enumerate(groups.tolist()) if first.setdefault(group, row) != row
        )
        raise RuntimeError(
            f"learned centers of classes {one} and {other} have the same {centers.shape[1]} signs "
            f"({len(distinct)} different centers of {len(centers)} classes); learn them longer, at more bits or from "
            "another start, check that the optimizer has the parameters of the loss too, or take fixed centers of "
            "HashCenterGenerator"
        )
    return centers


class FaceCenterLoss(nn.Module):
    r"""Center loss (Wen et al., ECCV 2016; "Face Center" of the CSQ paper): a classifier, and a pull to class means.

    Called as ``loss(logits, labels)``. For the features f = logits of a sample of class y:

    * loss = cross-entropy of a linear classifier on f + (center_weight / 2) \|f - c_y\|²;
    * after it, in training mode, every class j with n_j samples in the batch moves its center without gradient,
      c_j ← c_j - center_rate * sum over its samples of (c_j - f) / (1 + n_j).

    The classifier's weights are parameters of this loss, so **give them to the optimizer**:
    ``[*model.parameters(), *loss.parameters()]``. The centers are a buffer: they start at 0, need no optimizer, and
    are in ``state_dict``. Values that are not finite do not move them.

    Samples with several classes are our extension: the classifier's term is the sum over classes of binary
    cross-entropies, c_y the mean of the sample's centers, and a center moves by the residuals of its samples,
    c_y - f in place of c_j - f.

    Args:
        n_classes: number of classes.
        n_bits: width of the logits.
        center_weight: λ, at least 0; 0.003 in the source.
        center_rate: α, in (0, 1]; 0.5 in the source.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``. The source takes sums.

    Attributes:
        classifier: linear layer from n_bits features to n_classes scores.
        feature_centers: buffer, float32 (n_classes, n_bits): the learned centers c.
        seen: buffer, bool (n_classes,): which classes have had samples.
        centers: float32 (n_classes, n_bits) of ±1, see ``binarize_centers``.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: integer class ids (N,), or multi-hot (N, n_classes), every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: sizes, logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, labels out of range, a row without labels, or the mean of
            an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.
        RuntimeError: ``centers`` of classes that have had no samples, or of two classes with the same signs.

    Examples:
        >>> loss = FaceCenterLoss(n_classes=2, n_bits=4)
        >>> loss
        FaceCenterLoss(
          n_classes=2, n_bits=4, center_weight=0.003, center_rate=0.5, reduction='mean'
          (classifier): Linear(in_features=4, out_features=2, bias=True)
        )
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, 1.0], [1.0, 1.0, -1.0, 1.0]])
        >>> loss(logits, torch.tensor([0, 1])).shape
        torch.Size([])
        >>> loss.feature_centers
        tensor([[ 0.5000, -0.2500,  0.5000,  0.2500],
                [ 0.2500,  0.2500, -0.2500,  0.2500]])
        >>> loss.centers
        tensor([[ 1., -1.,  1.,  1.],
                [-1.,  1., -1.,  1.]])
    """

    feature_centers: Tensor
    seen: Tensor

    def __init__(
        self,
        n_classes: int,
        n_bits: int,
        *,
        center_weight: float = 0.003,
        center_rate: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.n_classes = check_count(n_classes, "n_classes")
        self.n_bits = check_count(n_bits, "n_bits")
        check_weight(center_weight, "center_weight")
        _check_rate(center_rate, "center_rate")
        check_reduction(reduction)
        self.center_weight = center_weight
        self.center_rate = center_rate
        self.reduction: Reduction = reduction
        self.classifier = nn.Linear(self.n_bits, self.n_classes)
        self.register_buffer("feature_centers", torch.zeros(self.n_classes, self.n_bits))
        self.register_buffer("seen", torch.zeros(self.n_classes, dtype=torch.bool))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes); training moves the centers."""
        positives = _check_batch(logits, labels, self.n_classes, self.n_bits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            positives = positives.to(values.dtype)
            centers = self.feature_centers.to(values.dtype, copy=True)
            # Not centers[labels]: a compiled backward pass repeats that (not a product) after the buffer has changed.
            targets = (positives @ centers) / positives.sum(dim=1, keepdim=True)
            residuals = values - targets
            weight, bias = self.classifier.weight.to(values.dtype), self.classifier.bias.to(values.dtype)
            scores = F.linear(values, weight, bias)
            if labels.ndim == 1:
                classified = F.cross_entropy(scores, labels.to(torch.int64), reduction="none")
            else:
                classified = F.binary_cross_entropy_with_logits(scores, positives, reduction="none").sum(dim=1)
            if self.training:
                with torch.no_grad():
                    sums, counts = _sums(residuals, positives)
                    moved = centers + self.center_rate * sums / (1 + counts)[:, None]
                    _update(self.feature_centers, moved)
                    self.seen.logical_or_(counts > 0)
            return reduce(classified + self.center_weight / 2 * residuals.square().sum(dim=1), self.reduction)

    @property
    def centers(self) -> Tensor:
        """The learned centers as float32 (n_classes, n_bits) of ±1."""
        _check_seen(self.seen)
        return binarize_centers(self.feature_centers)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        return (
            f"n_classes={self.n_classes}, n_bits={self.n_bits}, center_weight={self.center_weight}, "
            f"center_rate={self.center_rate}, reduction={self.reduction!r}"
        )


class MagnetCenterLoss(nn.Module):
    r"""Magnet loss (Rippel et al., ICLR 2016): nearer to the own cluster than to the clusters of other classes.

    Called as ``loss(logits, labels)``. For the features r = logits of a batch of N samples, μ(r) the mean of those
    samples of the batch that are in the same cluster of the same class, and σ² = sum over samples of
    \|r - μ(r)\|² / (N - 1):

    * loss = max(0, -log(exp(-\|r - μ(r)\|² / (2σ²) - margin) / sum of exp(-\|r - μ'\|² / (2σ²)))),

    the sum over the clusters μ' of other classes in the batch. Gradients go through μ and σ² as well, so the loss does
    not change when all features are scaled or moved. (σ² is a variance already: ports that square it again are wrong.)

    A sample's cluster is that of its class whose stored center is nearest. Stored centers are running means of the
    batches' clusters, updated in training mode without gradient. With ``n_clusters=1`` that is all; with more, a class
    has one cluster until ``refresh`` divides it by k-means: call it before each epoch, with features of the training
    set. The source also draws batches by its clusters; here the batch is what you pass, and should hold several samples
    of a class: a cluster of one sample is not pulled, and a batch of such clusters has loss 0. So has one class alone.

    Samples with several classes are our extension: they count in a cluster of each of their classes, σ² is over all
    such pairs (their number in place of N), and the sample's loss is the mean over its classes.

    Args:
        n_classes: number of classes.
        n_bits: width of the logits.
        n_clusters: clusters a class. The sources have several; hash centers are one a class, and one cluster is enough.
        margin: α, at least 0; 1 in the source.
        momentum: weight of the batch in the running means, in (0, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Attributes:
        clusters: buffer, float32 (n_classes, n_clusters, n_bits): the stored cluster centers.
        filled: buffer, bool (n_classes, n_clusters): which of them are in use.
        feature_centers: float32 (n_classes, n_bits): for every class the mean of its clusters that are in use.
        centers: float32 (n_classes, n_bits) of ±1, see ``binarize_centers``.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: integer class ids (N,), or multi-hot (N, n_classes), every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: sizes, logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, labels out of range, a row without labels, or the mean of
            an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.
        RuntimeError: ``feature_centers`` or ``centers`` of classes that have had no samples, or ``centers`` of two
            classes with the same signs.

    Examples:
        >>> loss = MagnetCenterLoss(n_classes=2, n_bits=3)
        >>> loss
        MagnetCenterLoss(n_classes=2, n_bits=3, n_clusters=1, margin=1.0, momentum=0.1, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0, 2.0], [1.0, -1.0, 2.0], [1.0, 1.0, 2.0], [2.0, 2.0, 2.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> loss(logits, labels)
        tensor(0.)
        >>> loss.refresh(logits, labels)
        >>> loss.feature_centers
        tensor([[ 1.5000, -1.0000,  2.0000],
                [ 1.5000,  1.5000,  2.0000]])
        >>> loss.centers
        tensor([[ 1., -1.,  1.],
                [ 1.,  1.,  1.]])
    """

    clusters: Tensor
    filled: Tensor

    def __init__(
        self,
        n_classes: int,
        n_bits: int,
        *,
        n_clusters: int = 1,
        margin: float = 1.0,
        momentum: float = 0.1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.n_classes = check_count(n_classes, "n_classes")
        self.n_bits = check_count(n_bits, "n_bits")
        self.n_clusters = check_count(n_clusters, "n_clusters")
        check_weight(margin, "margin")
        _check_rate(momentum, "momentum")
        check_reduction(reduction)
        self.margin = margin
        self.momentum = momentum
        self.reduction: Reduction = reduction
        self.register_buffer("clusters", torch.zeros(self.n_classes, self.n_clusters, self.n_bits))
        self.register_buffer("filled", torch.zeros(self.n_classes, self.n_clusters, dtype=torch.bool))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes); training moves the clusters."""
        positives = _check_batch(logits, labels, self.n_classes, self.n_bits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            members = self._members(values.detach(), positives).to(values.dtype)
            counts = members.sum(dim=0)
            means = (members.T @ values) / counts.clamp(min=1)[:, None]
            distances = _squared_distances(values, means)
            n_pairs = counts.sum()
            variance = (distances * members).sum() / (n_pairs - 1).clamp(min=1)
            scaled = distances / (2 * variance.clamp(min=_LEAST_VARIANCE))
            others = (~positives).repeat_interleave(self.n_clusters, dim=1) & (counts > 0)
            samples = _margin_loss(scaled, members, scaled, others, self.margin)
            if self.training:
                with torch.no_grad():
                    self._track(*_sums(values, members))
            return reduce(samples, self.reduction)

    def refresh(self, features: Tensor, labels: Tensor, *, seed: int = 0) -> None:
        """Set the clusters of every class by k-means on features of the training set.

        The first centers are drawn as k-means++ does. A class with fewer different samples than ``n_clusters`` uses
        fewer clusters; a class without samples keeps those it has. With one cluster a class this is the class's mean,
        exactly: worth a call before ``centers`` is read.

        Args:
            features: float (N, n_bits), finite: logits of the model, detached or not.
            labels: integer class ids (N,), or multi-hot (N, n_classes), every row with at least one class.
            seed: 0..2**63 - 1, for the draws.

        Raises:
            TypeError: features, labels or seed of a wrong type.
            ValueError: shapes that do not fit, NaN or infinity, labels out of range, a row without labels, or a seed
                out of range.
        """
        positives = _check_batch(features, labels, self.n_classes, self.n_bits, "sum")
        require(torch.isfinite(features).all(), "features must be finite, got infinity; look for a diverged loss")
        words = random_words(check_seed(seed), self.n_classes, self.n_clusters, stream=_KMEANS_STREAM)
        shares = (words >> 11) * 2.0**-53  # uniform in [0, 1)
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            for c in positives.any(dim=0).nonzero()[:, 0].tolist():
                means = _kmeans(features[positives[:, c]].to(torch.float64), shares[c].tolist())
                self.clusters[c, : len(means)] = means.to(self.clusters)
                self.filled[c] = torch.arange(self.n_clusters, device=self.filled.device) < len(means)

    @property
    def feature_centers(self) -> Tensor:
        """The mean of every class's clusters, float32 (n_classes, n_bits)."""
        _check_seen(self.filled.any(dim=1))
        weights = self.filled.to(torch.float32)[:, :, None]
        return (self.clusters.to(torch.float32) * weights).sum(dim=1) / weights.sum(dim=1)

    @property
    def centers(self) -> Tensor:
        """The learned centers as float32 (n_classes, n_bits) of ±1."""
        return binarize_centers(self.feature_centers)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        return (
            f"n_classes={self.n_classes}, n_bits={self.n_bits}, n_clusters={self.n_clusters}, margin={self.margin}, "
            f"momentum={self.momentum}, reduction={self.reduction!r}"
        )

    def _members(self, values: Tensor, positives: Tensor) -> Tensor:
        """Tell in bool (N, n_classes * n_clusters) which clusters the samples are in: one for each of their classes."""
        if self.n_clusters == 1:
            return positives
        distances = _squared_distances(values, self.clusters.flatten(0, 1).to(values.dtype))
        distances = distances.view(-1, self.n_classes, self.n_clusters).masked_fill(~self.filled, torch.inf)
        nearest = distances.argmin(dim=2)  # cluster 0 of a class that has none yet
        indices = torch.arange(self.n_clusters, device=values.device)
        return ((nearest[:, :, None] == indices) & positives[:, :, None]).flatten(1)

    def _track(self, sums: Tensor, counts: Tensor) -> None:
        """Move the stored clusters towards the means of the batch; a new cluster starts there."""
        means = sums / counts.clamp(min=1)[:, None]
        present, filled = (counts > 0)[:, None], self.filled.flatten()[:, None]
        old = self.clusters.flatten(0, 1).to(means.dtype)
        moved = torch.where(filled, torch.lerp(old, means, self.momentum), means)
        _update(self.clusters, torch.where(present, moved, old).view_as(self.clusters))
        self.filled.logical_or_(present.view_as(self.filled))


class RepMetCenterLoss(nn.Module):
    r"""RepMet's embedding loss (Karlinsky et al., CVPR 2019): nearer to a representative of the class than to others.

    Called as ``loss(logits, labels)``. Every class has ``n_representatives`` points of the feature space. With
    d = \|z - r\|² for the features z = logits of a sample:

    * loss = max(0, -log(exp(-d₀ / (2σ²)) / sum of exp(-d / (2σ²))) + margin),

    d₀ the distance to the nearest representative of the sample's class, the sum over the representatives of all other
    classes.

    A class without samples keeps where it started and what it was pushed by; its center says nothing.

    The representatives are parameters of this loss: they are learned, so **give them to the optimizer**:
    ``[*model.parameters(), *loss.parameters()]``. They start at random (normal, of size ``init_scale``, from torch's
    global generator); left out of the optimizer they stay there, and ``centers`` are random signs.

    Samples with several classes are our extension: the loss is the mean over their classes, and all of these are left
    out of the sum.

    Args:
        n_classes: number of classes.
        n_bits: width of the logits.
        n_representatives: representatives a class. The source has several; hash centers are one a class, and of several
            some may stay nearest to no sample, while their mean counts all.
        margin: α, at least 0; 1 in the source.
        variance: σ², above 0; 0.5 in the source.
        init_scale: standard deviation of the representatives' first values, above 0.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Attributes:
        representatives: parameter, float32 (n_classes, n_representatives, n_bits).
        feature_centers: float32 (n_classes, n_bits): the mean of every class's representatives, detached.
        centers: float32 (n_classes, n_bits) of ±1, see ``binarize_centers``.

    Shape:
        * logits: float (N, n_bits), unbounded.
        * labels: integer class ids (N,), or multi-hot (N, n_classes), every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits; 0 for a sample
          that has every class.

    Raises:
        TypeError: sizes, logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, labels out of range, a row without labels, or the mean of
            an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.
        RuntimeError: ``centers`` of two classes with the same signs.

    Examples:
        >>> loss = RepMetCenterLoss(n_classes=2, n_bits=3)
        >>> loss
        RepMetCenterLoss(n_classes=2, n_bits=3, n_representatives=1, margin=1.0, variance=0.5, init_scale=0.1,
        reduction='mean')
        >>> points = torch.tensor([[[1.0, -1.0, 0.0]], [[1.0, 1.0, 0.5]]])
        >>> loss.load_state_dict({"representatives": points})
        <All keys matched successfully>
        >>> loss(torch.tensor([[1.0, 0.0, 0.0], [1.0, -1.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.3750, grad_fn=<MeanBackward0>)
        >>> loss.centers
        tensor([[ 1., -1., -1.],
                [ 1.,  1.,  1.]])
    """

    def __init__(
        self,
        n_classes: int,
        n_bits: int,
        *,
        n_representatives: int = 1,
        margin: float = 1.0,
        variance: float = 0.5,
        init_scale: float = 0.1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.n_classes = check_count(n_classes, "n_classes")
        self.n_bits = check_count(n_bits, "n_bits")
        self.n_representatives = check_count(n_representatives, "n_representatives")
        check_weight(margin, "margin")
        check_positive(variance, "variance")
        check_positive(init_scale, "init_scale")
        check_reduction(reduction)
        self.margin = margin
        self.variance = variance
        self.init_scale = init_scale
        self.reduction: Reduction = reduction
        points = torch.randn(self.n_classes, self.n_representatives, self.n_bits)
        self.representatives = nn.Parameter(points * init_scale)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        positives = _check_batch(logits, labels, self.n_classes, self.n_bits, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            points = self.representatives.flatten(0, 1).to(values.dtype)
            scaled = _squared_distances(values, points) / (2 * self.variance)
            nearest = scaled.view(-1, self.n_classes, self.n_representatives).amin(dim=2)
            others = (~positives).repeat_interleave(self.n_representatives, dim=1)
            samples = _margin_loss(nearest, positives.to(values.dtype), scaled, others, self.margin)
            return reduce(samples, self.reduction)

    @property
    def feature_centers(self) -> Tensor:
        """The mean of every class's representatives, float32 (n_classes, n_bits)."""
        return self.representatives.detach().to(torch.float32).mean(dim=1)

    @property
    def centers(self) -> Tensor:
        """The learned centers as float32 (n_classes, n_bits) of ±1."""
        return binarize_centers(self.feature_centers)

    def extra_repr(self) -> str:
        """Show sizes and options."""
        return (
            f"n_classes={self.n_classes}, n_bits={self.n_bits}, n_representatives={self.n_representatives}, "
            f"margin={self.margin}, variance={self.variance}, init_scale={self.init_scale}, "
            f"reduction={self.reduction!r}"
        )


def _check_rate(value: float, name: str) -> None:
    """Refuse a rate of moving that stands still or overshoots."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


def _check_batch(logits: Tensor, labels: Tensor, n_classes: int, n_bits: int, reduction: Reduction) -> Tensor:
    """Refuse a bad batch; tell in bool (N, n_classes) which classes the samples have."""
    check_logits(logits, n_bits)
    check_labels(labels, n_classes, n_rows=logits.shape[0])
    check_not_empty(logits, reduction)
    if labels.ndim == 1:
        return labels.to(torch.int64)[:, None] == torch.arange(n_classes, device=labels.device)
    positives = labels > 0
    require(positives.any(dim=1).all(), "every row of labels must have at least one class, got a row without any")
    return positives


def _check_seen(seen: Tensor) -> None:
    """Refuse the centers of classes without samples."""
    missing = (~seen).nonzero()[:, 0].tolist()
    if missing:
        some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise RuntimeError(
            f"{len(missing)} of {len(seen)} classes have no center yet (classes {some}); call the loss in training "
            "mode on samples of every class first"
        )


def _sums(values: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums and counts of a batch's finite rows in every class or cluster, over all processes."""
    sane = values.isfinite().all(dim=1, keepdim=True)
    counted = members * sane
    sums, counts = counted.T @ torch.where(sane, values, 0), counted.sum(dim=0)
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(sums)
        distributed.all_reduce(counts)
    return sums, counts


def _update(buffer: Tensor, values: Tensor) -> None:
    """Set a buffer to new values where they are finite: a batch that overflowed must not stay in it for ever."""
    buffer.copy_(torch.where(values.isfinite(), values.to(buffer.dtype), buffer))


def _squared_distances(values: Tensor, points: Tensor) -> Tensor:
    """Return (N, M) squared Euclidean distances, measured from the middle of the points to lose no digits."""
    middle = points.detach().mean(dim=0)
    values, points = values - middle, points - middle
    lengths = values.square().sum(dim=1)[:, None] + points.square().sum(dim=1)
    return (lengths - 2 * (values @ points.T)).clamp(min=0)


def _margin_loss(own: Tensor, members: Tensor, scaled: Tensor, others: Tensor, margin: float) -> Tensor:
    """Return for every sample the mean over its members of max(0, own + margin + log sum of exp(-scaled) of others)."""
    rivals = others.any(dim=1, keepdim=True)
    # All terms of a row without rivals stay in, and the row is then left out: its log-sum has no gradient at -inf.
    pushes = torch.logsumexp((-scaled).masked_fill(~others & rivals, -torch.inf), dim=1, keepdim=True)
    terms = F.relu(own + (pushes + margin)) * members
    return (terms.sum(dim=1) / members.sum(dim=1)).masked_fill(~rivals[:, 0], 0)


def _kmeans(samples: Tensor, shares: list[float]) -> Tensor:
    """Return at most len(shares) means of float64 samples (n, n_bits), n at least 1; a share decides a first center."""
    middle = samples.mean(dim=0)
    samples = samples - middle
    centers = samples[:0]
    gaps = torch.ones_like(samples[:, 0])
    for share in shares:
        total = gaps.cumsum(dim=0)
        if total[-1] <= 0:
            break  # every sample is a center already
        chosen = int(torch.searchsorted(total, total[-1] * share, right=True).clamp(max=len(samples) - 1))
        newest = (samples - samples[chosen]).square().sum(dim=1)  # exactly 0 at its copies
        gaps = torch.minimum(gaps, newest) if len(centers) else newest
        centers = torch.cat([centers, samples[chosen : chosen + 1]])
    nearest = torch.full_like(gaps, -1, dtype=torch.int64)
    for _ in range(_MOST_PASSES):
        previous, nearest = nearest, _squared_distances(samples, centers).argmin(dim=1)
        members = F.one_hot(nearest, len(centers)).to(samples.dtype)
        counts = members.sum(dim=0)
        used = counts > 0
        centers = (members.T @ samples)[used] / counts[used][:, None]
        if torch.equal(nearest, previous):
            break
    return centers + middle
