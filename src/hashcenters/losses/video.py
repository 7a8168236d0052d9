"""Losses of the video baselines in Table 5 of the CSQ paper, for logits of the heads in ``models.sequence``.

DH, DVH and DLSTM have a loss here. SRH has none, for its formula could not be verified: train its ``RecurrentHead``
with a pairwise loss that is there already, such as ``PairwiseSimilarityLoss`` or ``DPSHLoss``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters.losses.options import Reduction, check_positive, check_reduction, check_weight, precise, reduce
from hashcenters.losses.pairwise import check_batch, mean_over_pairs, relax, sign_gap

__all__ = ["DHLoss", "DLSTMLoss", "DVHLoss"]


class DHLoss(nn.Module):
    r"""Deep Hashing (DH): saturated bits of much variance, little correlated, far apart where labels differ.

    With u = tanh z, K = n_bits, U the matrix (N, K) of all u of the batch, and sign 0 = 1:

    * Q = mean over samples of \|u - sign u\|²;
    * V = mean over samples of \|u\|²;
    * S0, S1 = mean over the dissimilar, the similar pairs i ≠ j of \|u_i - u_j\|²; 0 for a kind the batch lacks;
    * C = the sum of squares of U'U/N - I;
    * loss = quantization_weight * Q - variance_weight/2 * (V + label_weight * (S0 - S1)) + correlation_weight/2 * C.

    The loss goes below 0, though never below -n_bits * variance_weight * (1 + 4 label_weight) / 2. Labels matter
    through S0 and S1 alone: ``label_weight=0`` is the unsupervised form.

    After the paper's description, not verified against code: DH in the CSQ paper is Qin et al., "Fast action retrieval
    from videos via feature disaggregation", CVIU 2017, of which it says that it exploits "the correlations among
    different feature dimensions". Its formula is not available to this library. In its place stands the objective of
    another "Deep Hashing", of images (Liong et al., "Deep Hashing for Compact Binary Codes Learning", CVPR 2015), in
    the supervised form of the port cisip-FIRe, whose other weights are the defaults, with these changes:

    * C takes the place of the port's penalty on the last layer's weights W, which a loss of logits does not see;
    * C compares with the identity; the port compares WW' with a matrix of ones, which draws all bits together;
    * V is a mean over samples, where the port has the sum; a sample makes no pair with itself.

    The weight of C is ours: with the port's 0.001 for its penalty, bits that all say the same are rewarded, and on
    synthetic features (10 to 50 classes, 16 to 64 bits) codes retrieved far worse.

    Pair it with ``MeanPoolHead``.

    Args:
        quantization_weight: weight of Q, at least 0.
        variance_weight: weight of V, S0 and S1, at least 0.
        correlation_weight: weight of C, at least 0.
        label_weight: weight of S0 and S1 against V, at least 0.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; S0 and S1 are weighted means over a sample's
            pairs, and C, which belongs to the batch, is part of every sample's loss.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, relaxed codes outside [-1, 1], labels out of range, or
            the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> loss = DHLoss()
        >>> loss
        DHLoss(quantization_weight=0.001, variance_weight=1.0, correlation_weight=0.3, label_weight=1.0,
        from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(-3.5622)
        >>> loss(logits, torch.tensor([0, 1, 1]))
        tensor(0.9847)
    """

    def __init__(
        self,
        *,
        quantization_weight: float = 0.001,
        variance_weight: float = 1.0,
        correlation_weight: float = 0.3,
        label_weight: float = 1.0,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_weight(quantization_weight, "quantization_weight")
        check_weight(variance_weight, "variance_weight")
        check_weight(correlation_weight, "correlation_weight")
        check_weight(label_weight, "label_weight")
        check_reduction(reduction)
        self.quantization_weight = quantization_weight
        self.variance_weight = variance_weight
        self.correlation_weight = correlation_weight
        self.label_weight = label_weight
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        n_rows, n_bits = logits.shape
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            codes = relax(values, self.from_logits)
            squares = _square_distances(codes)
            scatter = mean_over_pairs(torch.where(similar, -squares, squares), similar, balanced=True)
            spread = codes.square().sum(dim=1) + scatter * self.label_weight
            gap = sign_gap(values, self.from_logits).square().sum(dim=1)
            excess = codes.T @ codes / max(n_rows, 1) - torch.eye(n_bits, dtype=codes.dtype, device=codes.device)
            samples = (
                gap * self.quantization_weight
                - spread * (self.variance_weight / 2)
                + excess.square().sum() * (self.correlation_weight / 2)
            )
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"quantization_weight={self.quantization_weight}, variance_weight={self.variance_weight}, "
            f"correlation_weight={self.correlation_weight}, label_weight={self.label_weight}, "
            f"from_logits={self.from_logits}, reduction={self.reduction!r}"
        )


class DVHLoss(nn.Module):
    r"""Deep video hashing (Liong et al., TMM 2017): contrast of pairs and a quantization term.

    With h = tanh z, d_ij = \|h_i - h_j\|² / (4 n_bits), which for saturated codes is the share of bits that differ,
    over all pairs i ≠ j:

    * L = mean of d_ij for samples that share a label, and of max(0, margin - d_ij) for others;
    * Q = mean over samples and bits of (h - sign h)², with sign 0 = 1;
    * the loss is L + quantization_weight * Q.

    After the paper's description, not verified against code: the abstract has a small distance within a class, a large
    one between classes, and little loss between the real-valued and the binary codes. The squared distance, its hinge,
    tanh, the division by n_bits, the margin and the weight are this library's. Random codes differ in half of their
    bits; a margin well below that retrieved better than one of a half on synthetic features.

    Pair it with ``TemporalFusionHead``.

    Args:
        margin: above 0, in shares of bits.
        quantization_weight: weight of Q, at least 0.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's L is a mean over its pairs.

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
        >>> loss = DVHLoss()
        >>> loss
        DVHLoss(margin=0.25, quantization_weight=0.01, from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.0043)
        >>> loss(logits, torch.tensor([0, 1, 1]))
        tensor(0.3362)
    """

    def __init__(
        self,
        *,
        margin: float = 0.25,
        quantization_weight: float = 0.01,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive(margin, "margin")
        check_weight(quantization_weight, "quantization_weight")
        check_reduction(reduction)
        self.margin = margin
        self.quantization_weight = quantization_weight
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            values = precise(logits)
            distances = _square_distances(relax(values, self.from_logits)) / (4 * logits.shape[1])
            terms = torch.where(similar, distances, F.relu(self.margin - distances))
            samples = mean_over_pairs(terms, similar, balanced=False)
            if self.quantization_weight:
                samples = samples + sign_gap(values, self.from_logits).square().mean(dim=1) * self.quantization_weight
            return reduce(samples, self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"margin={self.margin}, quantization_weight={self.quantization_weight}, "
            f"from_logits={self.from_logits}, reduction={self.reduction!r}"
        )


class DLSTMLoss(nn.Module):
    r"""DLSTM (Zhuang et al., ICPR 2016): logistic loss of the distances of pairs.

    With h = tanh z, d_ij = \|h_i - h_j\|² / n_bits in [0, 4], b = ``scale``, l_ij = 1 for samples that share a label
    and -1 for others, over all pairs i ≠ j:

    * loss = mean of log(1 + exp(b l_ij d_ij)).

    A similar pair has at best log 2, at d = 0: the loss of a perfect code is above 0. No term draws h to its sign.

    After the paper's description, not verified against code: the form is that of the authors' slides; which sign l has
    for which pairs is inferred from what makes sense. The slides compare hidden states of the LSTM, which lie in
    (-1, 1) and are quantized after training; tanh of the logits has their place here. The division by n_bits and the
    default of b are this library's.

    Pair it with ``DifferentialLSTMHead``.

    Args:
        scale: b, above 0.
        from_logits: True for unbounded logits z, False for relaxed codes tanh z in [-1, 1].
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``; a sample's loss is a mean over its pairs.

    Shape:
        * logits: float (N, n_bits).
        * labels: class ids (N,), or multi-hot (N, n_classes); a row without labels is similar to nothing.
        * returns: scalar, or (N,) with ``reduction="none"``; float32, or float64 for float64 logits; 0 for a single
          sample.

    Raises:
        TypeError: logits or labels of a wrong type.
        ValueError: a bad option, shapes that do not fit, NaN, relaxed codes outside [-1, 1], labels out of range, or
            the mean of an empty batch. On CUDA and under ``torch.compile``, values that break a rule are a
            RuntimeError.

    Examples:
        >>> loss = DLSTMLoss()
        >>> loss
        DLSTMLoss(scale=10.0, from_logits=True, reduction='mean')
        >>> logits = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-1.0, 2.0]])
        >>> loss(logits, torch.tensor([0, 0, 1]))
        tensor(0.3200)
        >>> loss(logits, torch.tensor([0, 1, 1]))
        tensor(10.4244)
    """

    def __init__(
        self,
        *,
        scale: float = 10.0,
        from_logits: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive(scale, "scale")
        check_reduction(reduction)
        self.scale = scale
        self.from_logits = from_logits
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        similar = check_batch(logits, labels, self.reduction)
        with torch.autocast(logits.device.type, enabled=False):
            codes = relax(precise(logits), self.from_logits)
            scaled = _square_distances(codes) * (self.scale / logits.shape[1])
            terms = F.softplus(torch.where(similar, scaled, -scaled), threshold=40)
            return reduce(mean_over_pairs(terms, similar, balanced=False), self.reduction)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"scale={self.scale}, from_logits={self.from_logits}, reduction={self.reduction!r}"


def _square_distances(codes: Tensor) -> Tensor:
    """Return the squared distances (N, N) between rows."""
    square = codes.square().sum(dim=1)
    return (square[:, None] + square[None, :] - codes @ codes.T * 2).clamp(min=0)  # rounding may go below
