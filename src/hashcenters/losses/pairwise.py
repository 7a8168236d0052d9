"""Pairwise similarity: pull similar samples together and push dissimilar ones apart, without centers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.checks import check_count, check_finite, check_labels, require
from hashcenters.losses.options import (
    Reduction,
    check_not_empty,
    check_positive,
    check_reduction,
    check_weight,
    precise,
    reduce,
)

__all__ = ["DCHLoss", "DHNLoss", "DPSHLoss", "HashNetLoss", "PairwiseSimilarityLoss", "similar_pairs"]

# What rounding may add to a relaxed code of length 1.
_TOLERANCE = 1e-3
# 1 - cosine is not told from 0 below this: rounding in float32 is as large.
_LEAST_GAP = 1e-6
# Vectors shorter than this are not stretched to length 1: the gradient would overflow.
_LEAST_NORM = 1e-6


def similar_pairs(labels: Tensor) -> Tensor:
    """Tell which samples share a label.

    Args:
        labels: integer class ids (N,), at least 0; or multi-hot (N, n_classes), bool, integer or float of 0 and 1. A
            row without labels is similar to nothing, itself included.

    Returns:
        bool (N, N), symmetric.

    Raises:
        TypeError: not a tensor, or class ids that are not integers.
        ValueError: another shape, a negative class id, or a multi-hot value other than 0 and 1. On CUDA and under
            ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> similar_pairs(torch.tensor([4, 7, 4]))
        tensor([[ True, False,  True],
                [False,  True, False],
                [ True, False,  True]])
        >>> similar_pairs(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]]))
        tensor([[ True,  True, False],
                [ True,  True, False],
                [False, False, False]])
    """
    check_pair_labels(labels)
    if labels.ndim == 1:
        return labels[:, None] == labels[None, :]
    hot = labels.to(torch.float32)
    with torch.autocast(hot.device.type, enabled=False):
        return (hot @ hot.T) > 0


class PairwiseSimilarityLoss(nn.Module):
    r"""Pairwise similarity L_P, for the ablation of central similarity in Table 6 of the CSQ paper.

    With h = tanh z, s_ij = 1 for samples that share a label and 0 for others, and a = ``scale``, over all pairs i ≠ j:

    * L_P = mean of log(1 + exp(a h_i·h_j)) - s_ij a h_i·h_j;
    * L_Q = mean over bits of log cosh(\|h\| - 1), the paper's Eq. 4 as in ``central_similarity_loss``;
    * the loss is L_P + quantization_weight * L_Q.

    The rows of Table 6: L_C + L_Q is ``CentralSimilarityLoss`` alone, L_C + L_P + L_Q the sum of it and a multiple of
    this loss (the published code has 0.2 as its option's default), L_P + L_Q this loss with ``quantization_weight``.

    The paper leaves the formula of L_P to its supplement; this is that of the authors' published code, where
    a = 10 / n_bits. That code pairs the two halves of a batch; here every sample meets every other one.

    Args:
        scale: a, above 0; None means 10 / n_bits.
        quantization_weight: weight of L_Q, at least 0.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's L_P is a mean over its pairs.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits. L_P is 0 for a
          single sample.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, relaxed codes outside [-1, 1], labels out of range, or
            the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> loss = PairwiseSimilarityLoss()
        >>> loss
        PairwiseSimilarityLoss(scale=None, quantization_weight=0.0, from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.0006)
        >>> loss(logits, torch.tensor([0, 1, 1]))
        tensor(5.0527)
    """

    def __init__(
        self,
        *,
        scale: float | None = None,
        quantization_weight: float = 0.0,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if scale is not None:
            check_positive(scale, "scale")
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.scale = scale
        self.quantization_weight = quantization_weight
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            codes = relax(values, self.from_logits)
            scale = 10 / logits.shape[1] if self.scale is None else self.scale
            samples = mean_over_pairs(surprise(codes @ codes.T * scale, similar), similar, balanced=False)
            if self.quantization_weight:
                gap = sign_gap(values, self.from_logits)
                samples = samples + _log_cosh(gap).mean(dim=1) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"scale={self.scale}, quantization_weight={self.quantization_weight}, from_logits={self.from_logits}, "
            f"reduction={self.reduction!r}"
        )


class DHNLoss(nn.Module):
    r"""Deep hashing network (Zhu et al., AAAI 2016): pairwise cross-entropy and a quantization term.

    With s_ij = 1 for samples that share a label and 0 for others, and a = ``scale``, over all pairs i ≠ j:

    * L = mean of log(1 + exp(a z_i·z_j)) - s_ij a z_i·z_j;
    * Q = mean over samples of the sum over bits of log cosh(\|z\| - 1);
    * the loss is L + quantization_weight * Q.

    z is taken as it comes, as in the port DeepHash-pytorch, whose scale and weight are the defaults here (its own Q is
    the mean of \|\|z\| - 1\|); for a network that ends in tanh pass its output. The port compares a batch with a memory
    of all training codes, this loss the samples of the batch with each other.

    Args:
        scale: a, above 0.
        quantization_weight: weight of Q, at least 0.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's L is a mean over its pairs.

    Shape:
        * logits: float (N, n_bits), finite.
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits. L is 0 for a
          single sample.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN or infinite logits, labels out of range, or the mean of an
            empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> loss = DHNLoss()
        >>> loss
        DHNLoss(scale=0.5, quantization_weight=0.1, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.1516)
    """

    def __init__(self, *, scale: float = 0.5, quantization_weight: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_positive(scale, "scale")
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.scale = scale
        self.quantization_weight = quantization_weight
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        require(torch.isfinite(logits).all(), "logits must be finite, got infinity; look for a diverged loss")
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            samples = mean_over_pairs(surprise(values @ values.T * self.scale, similar), similar, balanced=False)
            if self.quantization_weight:
                samples = samples + _log_cosh(values.abs() - 1).sum(dim=1) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"scale={self.scale}, quantization_weight={self.quantization_weight}, reduction={self.reduction!r}"


class HashNetLoss(nn.Module):
    r"""HashNet (Cao et al., ICCV 2017): weighted pairwise cross-entropy, with tanh that steepens towards the sign.

    With h = tanh(β z), s_ij = 1 for samples that share a label and 0 for others, and a = ``scale``, over all pairs
    i ≠ j of the batch (S, of which S1 are similar and S0 are not):

    * L = mean of w_ij [log(1 + exp(a h_i·h_j)) - s_ij a h_i·h_j];
    * w_ij = \|S\|/\|S1\| for similar pairs and \|S\|/\|S0\| for others (1 with ``balanced=False``), so L is the mean
      over the similar pairs plus the mean over the others; a kind of pair that the batch lacks adds 0;
    * β = (1 + growth * t)^power, where t is the number of steps, rounded down to a multiple of ``refresh_every``.

    Call ``advance()`` after every optimizer step: without it β stays 1. The count is a buffer, so a run that is resumed
    from ``state_dict`` continues where it was. Defaults are those of the authors' code, with a = 10 / n_bits. The
    paper's further weight for pairs of label sets is left out, as in that code.

    Args:
        scale: a, above 0; None means 10 / n_bits.
        balanced: whether similar and dissimilar pairs get the same total weight.
        growth: how fast β grows, at least 0; 0 keeps β at 1.
        power: exponent of the growth, above 0.
        refresh_every: steps between two changes of β.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's loss is a weighted mean over its
            pairs.

    Attributes:
        step: buffer, int64 scalar: how often ``advance`` was called.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits; 0 for a single
          sample.

    Raises:
        TypeError: logits or labels of a wrong type, or steps that are not integers.
        ValueError: a bad option, shapes that do not fit, NaN, labels out of range, or the mean of an empty batch. On
            CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> loss = HashNetLoss()
        >>> loss
        HashNetLoss(scale=None, balanced=True, growth=0.005, power=0.5, refresh_every=200, reduction='mean', step=0)
        >>> logits, labels = torch.tensor([[0.2, -0.1], [0.1, -0.3], [-0.1, 0.2]]), torch.tensor([0, 0, 1])
        >>> loss(logits, labels)
        tensor(1.1479)
        >>> loss.advance(1000)
        >>> loss.beta
        2.449...
        >>> loss(logits, labels)
        tensor(0.4696)
    """

    step: Tensor

    def __init__(
        self,
        *,
        scale: float | None = None,
        balanced: bool = True,
        growth: float = 0.005,
        power: float = 0.5,
        refresh_every: int = 200,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if scale is not None:
            check_positive(scale, "scale")
        check_weight(growth, "growth")
        check_positive(power, "power")
        check_reduction(reduction)
        self.scale = scale
        self.balanced = balanced
        self.growth = growth
        self.power = power
        self.refresh_every = check_count(refresh_every, "refresh_every")
        self.reduction: Reduction = reduction
        self.register_buffer("step", torch.tensor(0))

    @property
    def beta(self) -> float:
        """The present steepness of tanh; reading it waits for the device."""
        return float(self._beta(torch.float64))

    def advance(self, n_steps: int = 1) -> None:
        """Count optimizer steps, by which β grows.

        Args:
            n_steps: how many, at least 0.

        Raises:
            TypeError: not an integer.
            ValueError: below 0.
        """
        self.step += check_count(n_steps, "n_steps", least=0)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            codes = torch.tanh(values * self._beta(values.dtype))
            scale = 10 / logits.shape[1] if self.scale is None else self.scale
            samples = mean_over_pairs(surprise(codes @ codes.T * scale, similar), similar, balanced=self.balanced)
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options and the count."""
        step = "?" if self.step.is_meta else int(self.step)  # a meta tensor has no value
        return (
            f"scale={self.scale}, balanced={self.balanced}, growth={self.growth}, power={self.power}, "
            f"refresh_every={self.refresh_every}, reduction={self.reduction!r}, step={step}"
        )

    def _beta(self, dtype: torch.dtype) -> Tensor:
        """Return β without waiting for the device."""
        steps = self.step // self.refresh_every * self.refresh_every
        return (steps.to(dtype) * self.growth + 1) ** self.power


class DCHLoss(nn.Module):
    r"""Deep Cauchy hashing (Cao et al., CVPR 2018): similar codes within a small Hamming ball.

    With h = tanh z, the distance d(x, y) = n_bits/2 * (1 - cos(x, y)), g = ``gamma``, s_ij = 1 for samples that share a
    label and 0 for others, over all pairs i ≠ j of the batch (S, of which S1 are similar and S0 are not):

    * L = mean of w_ij [s_ij log(d_ij/g) + log(1 + g/d_ij)]: log(1 + d_ij/g) for similar pairs, log(1 + g/d_ij) for
      others;
    * w_ij = \|S\|/\|S1\| for similar pairs and \|S\|/\|S0\| for others (1 with ``balanced=False``), so L is the mean
      over the similar pairs plus the mean over the others; a kind of pair that the batch lacks adds 0;
    * Q = mean over samples of log(1 + d(\|h\|, 1)/g);
    * the loss is L + quantization_weight * Q.

    Codes closer than 1 - cos = 1e-6 count as that far apart, so that dissimilar samples with one code have a finite
    loss; such a pair has no gradient, nor has it a direction. Codes shorter than 1e-6 count as shorter than length 1.

    Args:
        gamma: g, above 0: the distance at which a Cauchy distribution halves.
        quantization_weight: weight of Q, at least 0.
        balanced: whether similar and dissimilar pairs get the same total weight.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's L is a weighted mean over its pairs.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits. L is 0 for a
          single sample.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, relaxed codes outside [-1, 1], labels out of range, or
            the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> loss = DCHLoss()
        >>> loss
        DCHLoss(gamma=20.0, quantization_weight=0.1, balanced=True, from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(2.4057)
    """

    def __init__(
        self,
        *,
        gamma: float = 20.0,
        quantization_weight: float = 0.1,
        balanced: bool = True,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive(gamma, "gamma")
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.gamma = gamma
        self.quantization_weight = quantization_weight
        self.balanced = balanced
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            codes = relax(precise(logits), self.from_logits)
            half = logits.shape[1] / 2
            unit = F.normalize(codes, dim=1, eps=_LEAST_NORM)
            ratio = (1 - unit @ unit.T).clamp(min=_LEAST_GAP) * (half / self.gamma)
            terms = torch.log1p(torch.where(similar, ratio, 1 / ratio))
            samples = mean_over_pairs(terms, similar, balanced=self.balanced)
            if self.quantization_weight:
                # The cosine of |h| and the vector of ones, whose length is the root of n_bits.
                gap = (1 - unit.abs().sum(dim=1) / math.sqrt(logits.shape[1])).clamp(min=0)
                samples = samples + torch.log1p(gap * (half / self.gamma)) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"gamma={self.gamma}, quantization_weight={self.quantization_weight}, balanced={self.balanced}, "
            f"from_logits={self.from_logits}, reduction={self.reduction!r}"
        )


class DPSHLoss(nn.Module):
    r"""Deep pairwise-supervised hashing (Li et al., IJCAI 2016): likelihood of the pairs and a quantization term.

    With s_ij = 1 for samples that share a label and 0 for others, and θ_ij = z_i·z_j / 2, over all pairs i ≠ j:

    * L = mean of log(1 + exp(θ_ij)) - s_ij θ_ij, the negative log-likelihood of s under the probability sigmoid(θ);
    * Q = mean over samples and bits of (sign z - z)², with sign 0 = 1;
    * the loss is L + quantization_weight * Q.

    The original keeps the outputs of all training samples and compares every sample of a batch with all of them, and it
    sums over pairs, samples and bits instead of taking means, so its weight is on another scale; this loss compares the
    samples of the batch with each other. Means and weight are those of the port DeepHash-pytorch, which has the memory.

    Args:
        quantization_weight: weight of Q, at least 0.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's L is a mean over its pairs.

    Shape:
        * logits: float (N, n_bits), finite.
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits. L is 0 for a
          single sample.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN or infinite logits, labels out of range, or the mean of an
            empty batch. On CUDA and under ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> loss = DPSHLoss()
        >>> loss
        DPSHLoss(quantization_weight=0.1, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.1785)
    """

    def __init__(self, *, quantization_weight: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.quantization_weight = quantization_weight
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        require(torch.isfinite(logits).all(), "logits must be finite, got infinity; look for a diverged loss")
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            samples = mean_over_pairs(surprise(values @ values.T / 2, similar), similar, balanced=False)
            if self.quantization_weight:
                gap = values - torch.where(values >= 0, 1.0, -1.0).to(values.dtype)
                samples = samples + gap.square().mean(dim=1) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"quantization_weight={self.quantization_weight}, reduction={self.reduction!r}"


def check_pair_labels(labels: Tensor) -> None:
    """Refuse labels that ``similar_pairs`` cannot compare."""
    if isinstance(labels, Tensor) and (labels.ndim not in (1, 2) or 0 in labels.shape[1:]):
        raise ValueError(f"labels must be class ids (N,) or multi-hot (N, n_classes), got shape {tuple(labels.shape)}")
    if not isinstance(labels, Tensor) or labels.ndim == 2:
        check_labels(labels, labels.shape[1] if isinstance(labels, Tensor) else 0)
        return
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels of shape (N,) are class ids and must be integers, got {labels.dtype}")
    require((labels >= 0).all(), "labels of shape (N,) are class ids and must be at least 0, got a negative one")


def check_batch(logits: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
    """Check logits and labels of a loss that compares samples; return who is similar to whom, bool (N, N)."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a floating-point tensor of shape (N, n_bits), got {got}")
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must have shape (N, n_bits), n_bits at least 1, got {tuple(logits.shape)}")
    check_finite(logits, "logits")
    similar = similar_pairs(labels)
    if len(labels) != len(logits):
        raise ValueError(
            f"labels must have one row a sample: {len(logits)} samples, labels of shape {tuple(labels.shape)}"
        )
    check_not_empty(logits, reduction)
    return similar


def relax(values: Tensor, from_logits: bool) -> Tensor:
    """Return relaxed codes in [-1, 1]."""
    if from_logits:
        return torch.tanh(values)
    require(
        (values.abs() <= 1 + _TOLERANCE).all(),
        "logits must lie in [-1, 1] with from_logits=False, got one outside; pass from_logits=True for logits",
    )
    return values


def sign_gap(values: Tensor, from_logits: bool) -> Tensor:
    """Return 1 - |h|, how far h = tanh z is from its sign; of z, where a rounded tanh would be 1."""
    return torch.sigmoid(values.abs() * -2) * 2 if from_logits else 1 - values.abs()


def surprise(affinity: Tensor, similar: Tensor) -> Tensor:
    """Return log(1 + exp(x)) - s x: softplus(-x) for similar pairs, softplus(x) for others, without cancellation."""
    return F.softplus(torch.where(similar, -affinity, affinity), threshold=40)


def mean_over_pairs(terms: Tensor, similar: Tensor, *, balanced: bool) -> Tensor:
    """Return for every row the (weighted) mean over the other rows."""
    n_rows = len(terms)
    itself = torch.eye(n_rows, dtype=torch.bool, device=terms.device)
    if balanced:
        n_pairs = n_rows * (n_rows - 1)
        n_similar = (similar & ~itself).sum()
        counts = torch.where(similar, n_similar, n_pairs - n_similar)
        terms = terms * (n_pairs / counts.clamp(min=1).to(terms.dtype))  # a kind without pairs weighs nothing
    return terms.masked_fill(itself, 0).sum(dim=1) / max(n_rows - 1, 1)


def _log_cosh(values: Tensor) -> Tensor:
    """Return log cosh x: -log1p(-tanh² x)/2 near 0, where it is precise, else |x| + log1p(exp(-2|x|)) - log 2."""
    size = values.abs()
    tanh = torch.tanh(size.clamp(max=1))
    near = torch.log1p(-(tanh * tanh)) / -2
    far = size + torch.log1p(torch.exp(size * -2)) - math.log(2)
    return torch.where(size < 1, near, far)
