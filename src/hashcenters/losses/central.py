"""Central similarity: pull every sample to its hash center."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.centers.randomness import check_seed
from hashcenters.centers.semantic import majority_vote, tie_table
from hashcenters.checks import check_centers, check_finite, check_labels, check_logits, require
from hashcenters.losses.options import Reduction, check_not_empty, check_reduction, check_weight, precise, reduce

__all__ = ["CentralSimilarityLoss", "central_similarity_loss"]

Quantization = Literal["log_cosh", "squared"]

# What rounding may add to a relaxed code of length 1.
_TOLERANCE = 1e-3


def central_similarity_loss(
    logits: Tensor,
    target_codes: Tensor,
    *,
    quantization_weight: float = 1e-4,
    quantization: Quantization = "log_cosh",
    from_logits: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Compute the central similarity loss of logits to a target code for every sample.

    With h = sigmoid(2z) = (1 + tanh z)/2 and the target bit c' in {0, 1}, averaged over bits and batch:

    * L_C = -[c' log h + (1 - c') log(1 - h)] (Eq. 3 with the minus sign that the paper forgot);
    * L_Q = log cosh(\|2h - 1\| - 1) (Eq. 4), or (\|2h - 1\| - 1)² with ``quantization="squared"``, as in the paper's
      released code: near 0 it is twice the other;
    * L_T = L_C + quantization_weight * L_Q (Eq. 5; Eq. 3 divides by n_bits and Eq. 4 does not, so
      quantization_weight is n_bits times the paper's λ₁).

    Both terms are computed from z without forming h, in float32 (float64 stays float64), also under autocast: they and
    their gradients are right for saturated codes, where logarithms of a rounded h are not.

    Args:
        logits: float (N, n_bits), unbounded; with ``from_logits=False`` relaxed codes tanh z in [-1, 1].
        target_codes: float (N, n_bits) of ±1.
        quantization_weight: weight of L_Q, at least 0.
        quantization: ``"log_cosh"`` or ``"squared"``, which L_Q.
        from_logits: whether ``logits`` are logits or relaxed codes. Relaxed codes are for models that end in tanh: a
            saturated one has lost its gradient.
        reduction: ``"mean"`` over samples, ``"sum"`` over samples, or ``"none"``. A sample's loss is a mean over bits.

    Returns:
        float32 (float64 for float64 logits) scalar, or (N,) with ``reduction="none"``.

    Raises:
        TypeError: an input is not a floating-point tensor.
        ValueError: shapes that differ, NaN, target codes other than ±1, relaxed codes outside [-1, 1], the mean of an
            empty batch, or a bad option. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> logits = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
        >>> target_codes = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
        >>> central_similarity_loss(logits, target_codes)
        tensor(0.2102)
        >>> central_similarity_loss(logits, target_codes, reduction="none")
        tensor([0.0725, 0.3478])
        >>> central_similarity_loss(logits.tanh(), target_codes, from_logits=False)
        tensor(0.2102)
    """
    check_weight(quantization_weight, "quantization_weight")
    _check_quantization(quantization)
    check_reduction(reduction)
    if not isinstance(target_codes, Tensor) or not target_codes.is_floating_point():
        got = target_codes.dtype if isinstance(target_codes, Tensor) else type(target_codes).__name__
        raise TypeError(f"target_codes must be a floating-point tensor of shape (N, n_bits), got {got}")
    if target_codes.ndim != 2:
        raise ValueError(f"target_codes must have shape (N, n_bits), got {tuple(target_codes.shape)}")
    check_logits(logits, target_codes.shape[1], values=not _nan_shows(logits, from_logits))
    if logits.shape != target_codes.shape:
        raise ValueError(
            f"logits and target_codes must have the same shape, got {tuple(logits.shape)} and "
            f"{tuple(target_codes.shape)}"
        )
    require((target_codes.abs() == 1).all(), "target_codes must hold only -1 and +1")
    return _loss(logits, target_codes, quantization_weight, quantization, from_logits, reduction)


class CentralSimilarityLoss(nn.Module):
    r"""Central similarity quantization: pull every sample to the hash center of its label, or of its set of labels.

    Called as ``loss(logits, labels)``. The terms are those of ``central_similarity_loss``; the target of a sample
    is its class's center, or with multi-hot labels the majority vote of its classes' centers, draws decided as in
    ``hashcenters.multilabel_centers``.

    Args:
        centers: float (n_classes, n_bits) of ±1.
        quantization_weight: weight of L_Q, at least 0 (n_bits times the paper's λ₁).
        quantization: ``"log_cosh"`` as in the paper's Eq. 4, or ``"squared"`` as in its released code.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's loss is a mean over bits.
        seed: 0..2**63 - 1; decides draws between the classes of a sample.

    Attributes:
        centers: buffer, float32 (n_classes, n_bits).
        seed: buffer, int64 scalar.
        tie_bits: buffer, uint8 (n_classes, n_bits), see ``hashcenters.centers.tie_table``. All three are in
            ``state_dict``, so a reloaded loss has the same targets, whatever it was constructed with.

    Shape:
        * logits: float (N, n_bits).
        * labels: int64 (N,), or multi-hot (N, n_classes) bool, integer or float, every row with at least one class.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: centers, logits or labels of a wrong type.
        ValueError: centers other than ±1, a bad option, shapes that do not fit, NaN, labels out of range, a row without
            labels (the message names such rows), relaxed codes outside [-1, 1], or the mean of an empty batch. On CUDA
            and under ``torch.compile``, values that break a rule are a RuntimeError.

    Examples:
        >>> from hashcenters.centers import HashCenterGenerator
        >>> loss = CentralSimilarityLoss(HashCenterGenerator(4, method="paper")(3))
        >>> loss
        CentralSimilarityLoss(n_classes=3, n_bits=4, quantization_weight=0.0001, quantization='log_cosh',
        from_logits=True, reduction='mean', seed=0)
        >>> logits = torch.tensor([[2.0, -1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
        >>> loss(logits, torch.tensor([1, 0]))
        tensor(0.0997)
        >>> loss(logits, torch.tensor([[0, 1, 0], [1, 1, 1]]))
        tensor(0.3497)
    """

    centers: Tensor
    seed: Tensor
    tie_bits: Tensor

    def __init__(
        self,
        centers: Tensor,
        *,
        quantization_weight: float = 1e-4,
        quantization: Quantization = "log_cosh",
        from_logits: bool = True,
        reduction: Reduction = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_centers(centers)
        check_weight(quantization_weight, "quantization_weight")
        _check_quantization(quantization)
        check_reduction(reduction)
        seed = check_seed(seed)
        self.quantization_weight = quantization_weight
        self.quantization: Quantization = quantization
        self.from_logits = from_logits
        self.reduction: Reduction = reduction
        self.register_buffer("centers", centers.detach().to(torch.float32, copy=True))
        self.register_buffer("seed", torch.tensor(seed, device=centers.device))
        self.register_buffer("tie_bits", tie_table(*centers.shape, seed=seed).to(centers.device))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        n_classes, n_bits = self.centers.shape
        check_logits(logits, n_bits, values=not _nan_shows(logits, self.from_logits))
        check_labels(labels, n_classes, n_rows=logits.shape[0])
        if labels.ndim == 1:
            target_codes = self.centers.index_select(0, labels.to(torch.int64))  # a third of the time of indexing
        else:
            target_codes = majority_vote(labels, self.centers, self.tie_bits)
        return _loss(
            logits, target_codes, self.quantization_weight, self.quantization, self.from_logits, self.reduction
        )

    def extra_repr(self) -> str:
        """Show sizes and options."""
        n_classes, n_bits = self.centers.shape
        seed = "?" if self.seed.is_meta else int(self.seed)  # a meta tensor has no value
        return (
            f"n_classes={n_classes}, n_bits={n_bits}, quantization_weight={self.quantization_weight}, "
            f"quantization={self.quantization!r}, from_logits={self.from_logits}, reduction={self.reduction!r}, "
            f"seed={seed}"
        )


def _check_quantization(quantization: str) -> None:
    """Refuse an unknown L_Q."""
    if quantization not in get_args(Quantization):
        known = ", ".join(map(repr, get_args(Quantization)))
        raise ValueError(f"quantization must be one of {known}, got {quantization!r}")


def _fusible() -> bool:
    """Whether gradients may be computed by hand: compilers and torch.func want the plain operations."""
    return not torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active()


def _nan_shows(logits: Tensor, from_logits: bool) -> bool:
    """Whether ``_loss`` refuses NaN by a look at the loss, which is cheaper than one at the logits."""
    return from_logits and _fusible() and isinstance(logits, Tensor) and logits.device.type == "cpu"


def _loss(
    logits: Tensor,
    target_codes: Tensor,
    weight: float,
    quantization: Quantization,
    from_logits: bool,
    reduction: Reduction,
) -> Tensor:
    """Compute the loss of checked inputs."""
    check_not_empty(logits, reduction)
    values = precise(logits)
    targets = target_codes.to(values.dtype)
    loss: Tensor
    if from_logits and _fusible() and not targets.requires_grad:
        loss = _Fused.apply(values, targets, weight, quantization, reduction == "mean")
        if reduction == "sum":
            loss = loss.sum()
        # Terms are never -inf, so nothing but a NaN among the logits makes one of the loss.
        if _nan_shows(logits, from_logits) and math.isnan((loss if loss.ndim == 0 else loss.detach().sum()).item()):
            check_finite(logits, "logits")
        return loss
    with torch.autocast(logits.device.type, enabled=False):
        if from_logits:
            terms = _terms_of_logits(values, targets, weight, quantization)
        else:
            terms = _terms_of_codes(values, targets, weight, quantization)
        if reduction == "mean":
            return terms.mean()
        return reduce(terms.mean(dim=1), reduction)


def _terms_of_logits(logits: Tensor, target_codes: Tensor, weight: float, quantization: Quantization) -> Tensor:
    """L_C + weight * L_Q of every bit: softplus(-2zc) is binary cross-entropy of sigmoid(2z) for c = ±1."""
    exponent = (logits * target_codes) * -2
    central = F.softplus(exponent, threshold=40)  # log1p(exp(x)), and x where float64 cannot tell them apart
    if weight == 0:
        return central
    gap = torch.sigmoid(-exponent.abs()) * 2  # 1 - |tanh z|
    return _add_quantization(central, gap, weight, quantization)


def _terms_of_codes(codes: Tensor, target_codes: Tensor, weight: float, quantization: Quantization) -> Tensor:
    """L_C + weight * L_Q of every bit, with h = (1 + y)/2."""
    length = codes.abs()
    require(
        (length <= 1 + _TOLERANCE).all(),
        "logits must lie in [-1, 1] with from_logits=False, got one outside; pass from_logits=True for logits",
    )
    agreement = (codes * target_codes).clamp(min=torch.finfo(codes.dtype).eps - 1)  # a code that is all wrong: not inf
    central = math.log(2) - torch.log1p(agreement)
    return central if weight == 0 else _add_quantization(central, 1 - length, weight, quantization)


def _add_quantization(central: Tensor, gap: Tensor, weight: float, quantization: Quantization) -> Tensor:
    """Add weight * L_Q of codes of length 1 - gap."""
    if quantization == "squared":
        return torch.addcmul(central, gap, gap, value=weight)
    return torch.add(central, _log_sech_squared(gap), alpha=-weight / 2)


def _log_sech_squared(gap: Tensor) -> Tensor:
    """Return -2 log cosh of values in [0, 1], precise also near 0: 1 / cosh² = 1 - tanh²."""
    # log1p(2 sinh²(gap / 2)) is as precise, but sinh takes ten times as long on the CPU.
    tanh = torch.tanh(gap)
    return torch.log1p(-(tanh * tanh))


class _Fused(torch.autograd.Function):
    """The loss of logits and its slope in one pass: a batch is so small that the number of operations is its time.

    With v = zc and s = sigmoid(-2|v|): L_C = -2 min(v, 0) - log(1 - s) and |tanh z| = 1 - 2s.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        target_codes: Tensor,
        weight: float,
        quantization: Quantization,
        mean: bool,
    ) -> Tensor:
        """Return the mean over bits, and over samples if asked to; keep the slope."""
        agreement = logits * target_codes
        share = logits.abs().mul_(-2).sigmoid_()
        terms = share.neg().log1p_()  # of the loss times -1
        terms.add_(agreement.clamp(max=0), alpha=2)
        gap = slope = None
        if weight > 0:
            gap = share * 2
            if quantization == "squared":
                terms.addcmul_(gap, gap, value=-weight)
            else:
                gap.tanh_()  # log cosh = -log(1 - tanh²)/2
                terms.add_((gap * gap).neg_().log1p_(), alpha=weight / 2)
        if ctx.needs_input_grad[0]:
            # By v: (sign v - 1) - 2 sign v (s + weight * L_Q'(2s) * 2 s (1 - s)), precise also where s is tiny, and
            # -1 at 0, where the kink of L_Q has no part in it.
            if gap is not None:
                rate = 4 * weight if quantization == "squared" else 2 * weight  # L_Q' is twice the gap, or its tanh
                share = torch.addcmul(share, torch.addcmul(share, share, share, value=-1), gap, value=rate)
            sign = agreement.sign_()
            slope = torch.sub(sign, 1).addcmul_(sign, share, value=-2).mul_(target_codes)
        ctx.save_for_backward(logits, target_codes, slope)
        ctx.save_for_forward(logits, target_codes)
        ctx.options = weight, quantization, mean
        return terms.sum().mul_(-1 / terms.numel()) if mean else terms.mean(dim=1).neg_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        """Multiply, or compute the slope anew where it must have a derivative."""
        logits, target_codes, slope = ctx.saved_tensors
        weight, quantization, mean = ctx.options
        if torch.is_grad_enabled():
            slope = _slope(logits, target_codes, weight, quantization) * target_codes * -2
        scaled = grad / slope.numel() if mean else grad[:, None] / slope.shape[1]
        return slope * scaled, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, target_tangent: Tensor | None, *_: None) -> Tensor:  # noqa: ANN401
        """Return the derivative along a direction."""
        logits, target_codes = ctx.saved_tensors
        weight, quantization, mean = ctx.options
        along = tangent * target_codes
        if target_tangent is not None:
            along = along + logits * target_tangent
        terms: Tensor = _slope(logits, target_codes, weight, quantization) * along * -2
        return terms.mean() if mean else terms.mean(dim=1)


def _slope(logits: Tensor, target_codes: Tensor, weight: float, quantization: Quantization) -> Tensor:
    """Return the derivative of every bit's terms by x = -2zc, in operations that have derivatives themselves."""
    exponent = logits * target_codes * -2
    central = torch.sigmoid(exponent)
    if weight == 0:
        return central
    share = torch.sigmoid(-exponent.abs())
    pull = share * 4 if quantization == "squared" else torch.tanh(share * 2)
    return central - pull * exponent.sign() * share * (1 - share) * (2 * weight)
