"""What a recipe's method trains with: network, centers, loss. Needs the extra ``timm``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hashcenters.centers.assignment import assign_centers
from hashcenters.centers.generator import HashCenterGenerator
from hashcenters.centers.randomness import CENTER_STREAM, random_stream
from hashcenters.centers.semantic import multilabel_centers
from hashcenters.checks import check_count, check_labels
from hashcenters.heads import HashHead
from hashcenters.losses.central import CentralSimilarityLoss, Quantization, central_similarity_loss
from hashcenters.losses.contrast import CenterContrastLoss
from hashcenters.losses.cosine import BatchNormHead, MDSLoss, OrthoHashLoss
from hashcenters.losses.greedy import GreedyHashLoss
from hashcenters.losses.learned import FaceCenterLoss, MagnetCenterLoss, RepMetCenterLoss
from hashcenters.losses.margin import DPNLoss
from hashcenters.losses.pairwise import DCHLoss, DHNLoss, DPSHLoss, HashNetLoss, PairwiseSimilarityLoss
from hashcenters.losses.triplet import DivideAndEncodeHead, DNNHLoss
from hashcenters.losses.two_stage import CNNHLoss, cnnh_codes
from hashcenters.losses.video import DHLoss, DLSTMLoss, DVHLoss
from hashcenters.models.hasher import Hasher
from hashcenters.models.image import image_hasher
from hashcenters.models.sequence import (
    DifferentialLSTMHead,
    FrameAverage,
    FrameEncoder,
    MeanPoolHead,
    RecurrentHead,
    TemporalFusionHead,
)
from hashcenters.training.recipes import DEEP_METHODS, FRAME_METHODS, SHALLOW_METHODS, Recipe

__all__ = ["DEEP_METHODS", "SHALLOW_METHODS", "Plan", "make_network", "make_plan", "make_shallow", "second_loss"]

_LEARNED = {"face": FaceCenterLoss, "magnet": MagnetCenterLoss, "repmet": RepMetCenterLoss}
# Losses of the samples of a batch among each other, and the head that normalizes over a batch.
_COMPARING = (
    *("csq+lp", "lp+lq", "dnnh", "dhn", "dpsh", "hashnet", "dch", "magnet", "orthohash"),
    *("dh", "srh", "dvh", "dlstm"),
)
_FRAME_HEADS = {"dh": MeanPoolHead, "srh": RecurrentHead, "dvh": TemporalFusionHead, "dlstm": DifferentialLSTMHead}
_PAIR_WEIGHT = 0.2  # of L_P beside L_C: the default of the paper's released code
_BALANCED_DRAWS = 1000


class Plan(NamedTuple):
    """How a method trains a network.

    Attributes:
        loss_fn: called with the logits of a batch, and its labels or the rows of ``targets``.
        head: from features to logits, in the place of the network's own; None leaves that.
        targets: float32 (n_train, n_bits) of ±1, a row a training sample, for the loss in the place of labels; or None.
        centers: float32 (n_classes, n_bits) of ±1, where the method has fixed ones; or None.
        learns_centers: the first half of the epochs learns centers, ``loss_fn.centers``; the second trains towards
            their signs, by ``second_loss``.
    """

    loss_fn: nn.Module
    head: nn.Module | None = None
    targets: Tensor | None = None
    centers: Tensor | None = None
    learns_centers: bool = False


def make_plan(
    recipe: Recipe, labels: Tensor, n_classes: int, in_features: int, *, similarity: Tensor | None = None
) -> Plan:
    """Make what a deep method trains with, and refuse what cannot be trained, before it begins.

    Random initial weights, of heads and of losses that have parameters, come from PyTorch's global generator, as those
    of any layer do; centers and targets depend on the recipe's seed alone.

    * Central similarity on label sets takes the recipe's ``ties``: draws by label set are the loss's own work, the
      others need a target for every sample. All other losses, and ``"csq+lp"``, whose pairs need the labels, draw by
      label set; so does the second half of learned centers.
    * ``"csq-no-lq"`` has no L_Q; ``"csq+lp"`` is L_C + 0.2 L_P + L_Q and ``"lp+lq"`` L_P + L_Q, always with log cosh in
      the latter (Table 6 of the paper; 0.2 is the released code's default).
    * ``"cnnh"`` finds the codes of all training samples first. No matrix of pairs is made, but 10,000 samples with
      almost as many different label sets take minutes and 2 GB (``hashcenters.losses.cnnh_codes``).

    Args:
        recipe: method, code length, centers, weights, seed.
        labels: of the training samples, in their order: integer (N,), or multi-hot (N, n_classes) without empty rows.
        n_classes: number of classes.
        in_features: width of the features that a head gets.
        similarity: (n_classes, n_classes), how alike the classes are; needed where ``recipe.place_centers`` is set and
            the method has fixed centers.

    Returns:
        The plan.

    Raises:
        TypeError: labels that are no tensor of a known type.
        ValueError: a shallow method, labels out of range or without a class, samples of one class only, more classes
            than codes, centers that cannot be made, no ``similarity``, or a batch of one sample where samples are
            compared.

    Examples:
        >>> recipe = Recipe(preset="mine", dataset="photos", method="csq", n_bits=16)
        >>> plan = make_plan(recipe, torch.arange(30) % 3, 3, 512)
        >>> type(plan.loss_fn).__name__, plan.centers.shape, plan.targets, plan.head
        ('CentralSimilarityLoss', torch.Size([3, 16]), None, None)
    """
    method, n_bits, seed = recipe.method, recipe.n_bits, recipe.seed
    if method in SHALLOW_METHODS:
        raise ValueError(f"method {method!r} has no loss: fit make_shallow(recipe) to features")
    _check_training_labels(labels, n_classes)
    if method in _COMPARING and recipe.batch_size < 2:
        raise ValueError(f"batch_size must be at least 2 with method {method!r}, which compares samples, got 1")
    weight = recipe.quantization_weight

    match method:
        case "csq" | "csq-no-lq":
            return _central(recipe, labels, _centers(recipe, n_classes, similarity))
        case "csq+lp":
            centers = _centers(recipe, n_classes, similarity)
            return Plan(_CentralAndPairs(second_loss(recipe, centers), PairwiseSimilarityLoss()), centers=centers)
        case "ours":
            centers = _centers(recipe, n_classes, similarity)
            return Plan(CenterContrastLoss(centers, seed=seed), centers=centers)
        case "orthohash":
            centers = _centers(recipe, n_classes, similarity)
            return Plan(OrthoHashLoss(centers), head=BatchNormHead(in_features, n_bits), centers=centers)
        case "mds":
            centers = _centers(recipe, n_classes, similarity)
            return Plan(MDSLoss(centers), centers=centers)
        case "dpn":
            centers = _centers(recipe, n_classes, similarity)
            return Plan(DPNLoss(centers, seed=seed), centers=centers)
        case "face" | "magnet" | "repmet":
            if (n_classes - 1).bit_length() > n_bits:
                raise ValueError(
                    f"n_classes must be at most 2**n_bits = {2**n_bits}, the number of different codes, got "
                    f"{n_classes}; take more bits"
                )
            return Plan(_LEARNED[method](n_classes, n_bits), learns_centers=True)
        case "lp+lq":
            return Plan(PairwiseSimilarityLoss(quantization_weight=weight))
        case "cnnh":
            return Plan(CNNHLoss(), targets=cnnh_codes(labels, n_bits, seed=seed))
        case "dnnh":
            return Plan(DNNHLoss(), head=DivideAndEncodeHead(in_features, n_bits))
        case "dhn":
            return Plan(DHNLoss())
        case "dpsh":
            return Plan(DPSHLoss())
        case "hashnet":
            return Plan(HashNetLoss())
        case "dch":
            return Plan(DCHLoss())
        case "greedyhash":
            return Plan(GreedyHashLoss(n_classes, n_bits))
        case "dh":
            return Plan(DHLoss())
        case "srh":  # its own loss could not be verified
            return Plan(DPSHLoss())
        case "dvh":
            return Plan(DVHLoss())
        case "dlstm":
            return Plan(DLSTMLoss())
    raise AssertionError(method)  # a recipe has no other


def second_loss(recipe: Recipe, centers: Tensor) -> CentralSimilarityLoss:
    """Make central similarity of a recipe to given centers: the loss of the second half where centers are learned.

    Args:
        recipe: quantization, its weight, seed.
        centers: float (n_classes, n_bits) of ±1. Any will do where a ``state_dict`` with the right ones is loaded next.

    Returns:
        The loss; it takes labels, and draws ties by label set.

    Raises:
        TypeError: centers that are no floating-point tensor.
        ValueError: centers other than ±1.

    Examples:
        >>> loss_fn = second_loss(Recipe(preset="mine", dataset="photos"), torch.ones(3, 8))
        >>> loss_fn.centers.shape, loss_fn.quantization
        (torch.Size([3, 8]), 'log_cosh')
    """
    return CentralSimilarityLoss(
        centers, quantization_weight=recipe.quantization_weight, quantization=recipe.quantization, seed=recipe.seed
    )


def make_network(recipe: Recipe, head: nn.Module | None = None) -> Hasher:
    """Make the backbone and head of a recipe. Random weights come from PyTorch's global generator.

    Args:
        recipe: backbone, pretrained, image_size, and the head's n_bits, hidden_layers, dropout and head_std.
        head: in the place of the recipe's, from ``Plan.head``.

    Returns:
        The network, from images (N, 3, height, width) to logits (N, n_bits).

    Raises:
        ValueError: an unknown backbone.
        ImportError: the weights of ``"lite0"`` are not installed.
        RuntimeError: pretrained weights can be neither found nor downloaded.

    Examples:
        >>> recipe = Recipe(preset="mine", dataset="photos", backbone="resnet10t", pretrained=False, hidden_layers=1)
        >>> [tuple(layer.weight.shape) for layer in make_network(recipe).head.layers]
        [(512, 512), (64, 512)]
    """
    if recipe.modality == "video":
        clips = _video_network(recipe)
        if head is not None:
            clips.head = head  # type: ignore[assignment]
        return clips
    network = image_hasher(
        recipe.backbone, recipe.n_bits, pretrained=recipe.pretrained, image_size=recipe.image_size, hidden_features=()
    )
    if head is not None:
        network.head = head  # type: ignore[assignment]
        return network
    network.head = _head(recipe, network.head.in_features)
    return network


def _video_network(recipe: Recipe) -> Hasher:
    """Make the network of a recipe for clips."""
    if recipe.weights is not None and recipe.backbone != "mfnet3d":
        raise ValueError(f"weights are for backbone 'mfnet3d', got {recipe.backbone!r}")
    if recipe.method in FRAME_METHODS or recipe.backbone.startswith("frames:"):
        name = recipe.backbone.removeprefix("frames:")
        frames = image_hasher(
            name, recipe.n_bits, pretrained=recipe.pretrained, image_size=recipe.image_size, hidden_features=()
        )
        width = frames.head.in_features
        if recipe.method in FRAME_METHODS:
            return FrameEncoder(frames.backbone, _FRAME_HEADS[recipe.method](width, recipe.n_bits))
        return Hasher(FrameAverage(frames.backbone), _head(recipe, width))
    from hashcenters.models.video import video_hasher  # pytorchvideo is needed here alone

    mfnet = recipe.backbone == "mfnet3d"
    if mfnet and recipe.pretrained and recipe.weights is None:
        raise ValueError(
            "no hub has weights of 'mfnet3d': set weights to a file (--weights), or pretrained=False (--no-pretrained)"
        )
    network = video_hasher(
        recipe.backbone,
        recipe.n_bits,
        pretrained=recipe.pretrained and not mfnet,  # whose weights are a file
        clip_frames=recipe.n_frames,
        clip_size=recipe.image_size,
        hidden_features=(),
    )
    network.head = _head(recipe, network.head.in_features)
    if recipe.weights is not None:
        from hashcenters.models.multifiber import MFNet3D, load_mfnet3d

        assert isinstance(network.backbone, MFNet3D)
        load_mfnet3d(recipe.weights, network=network.backbone)
    return network


def _head(recipe: Recipe, width: int) -> HashHead:
    own = HashHead(width, recipe.n_bits, hidden_features=(width,) * recipe.hidden_layers, dropout=recipe.dropout)
    if recipe.head_std is not None:
        for name, parameter in own.layers[-1].named_parameters():
            if name == "bias":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=recipe.head_std)
    return own


def make_shallow(recipe: Recipe) -> Any:  # noqa: ANN401 -- scikit-learn is untyped
    """Make the estimator of a shallow method; it learns from features. Needs the extra ``shallow``.

    Args:
        recipe: method, n_bits, seed.

    Returns:
        The estimator: ``fit(X, y).transform(X)`` are codes of ±1.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: the method is a deep one.

    Examples:
        >>> make_shallow(Recipe(preset="mine", dataset="photos", method="itq-cca", n_bits=16))
        ITQCCA(n_bits=16)
    """
    from hashcenters import shallow  # scikit-learn is needed here alone

    estimators = {
        "itq-cca": shallow.ITQCCA,
        "bre": shallow.BRE,
        "ksh": shallow.KSH,
        "sdh": shallow.SDH,
        "lsh": shallow.LSH,
        "itq": shallow.ITQ,
    }
    if recipe.method not in estimators:
        raise ValueError(
            f"method {recipe.method!r} trains a network: see make_plan; shallow are {', '.join(estimators)}"
        )
    return estimators[recipe.method](n_bits=recipe.n_bits, random_state=recipe.seed)


class _CentralToTargets(nn.Module):
    """Central similarity to a target code for every sample."""

    def __init__(self, *, quantization_weight: float, quantization: Quantization) -> None:
        super().__init__()
        self.quantization_weight = quantization_weight
        self.quantization: Quantization = quantization

    def forward(self, logits: Tensor, target_codes: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for target codes (N, n_bits) of ±1."""
        return central_similarity_loss(
            logits, target_codes, quantization_weight=self.quantization_weight, quantization=self.quantization
        )


class _CentralAndPairs(nn.Module):
    """L_C + L_Q + 0.2 L_P."""

    def __init__(self, central: CentralSimilarityLoss, pairs: PairwiseSimilarityLoss) -> None:
        super().__init__()
        self.central = central
        self.pairs = pairs

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (N, n_bits) for labels (N,) or (N, n_classes)."""
        loss: Tensor = self.central(logits, labels) + _PAIR_WEIGHT * self.pairs(logits, labels)
        return loss


def _central(recipe: Recipe, labels: Tensor, centers: Tensor) -> Plan:
    weight = 0.0 if recipe.method == "csq-no-lq" else recipe.quantization_weight
    if labels.ndim == 1 or recipe.ties == "label_set":
        loss_fn = CentralSimilarityLoss(
            centers, quantization_weight=weight, quantization=recipe.quantization, seed=recipe.seed
        )
        return Plan(loss_fn, centers=centers)
    targets = multilabel_centers(labels.cpu(), centers, seed=recipe.seed, ties=recipe.ties)
    to_targets = _CentralToTargets(quantization_weight=weight, quantization=recipe.quantization)
    return Plan(to_targets, targets=targets, centers=centers)


def _centers(recipe: Recipe, n_classes: int, similarity: Tensor | None) -> Tensor:
    if recipe.place_centers and similarity is None:
        raise ValueError("similarity is required with place_centers=True; see hashcenters.similarity_from_features")
    placed_by = similarity if recipe.place_centers else None
    if recipe.centers != "balanced":
        generator = HashCenterGenerator(recipe.n_bits, method=recipe.centers, seed=recipe.seed)
        return generator(n_classes, similarity=placed_by)
    centers = _balanced_centers(n_classes, recipe.n_bits, recipe.seed)
    return centers if placed_by is None else assign_centers(centers, placed_by, seed=recipe.seed)


def _balanced_centers(n_classes: int, n_bits: int, seed: int) -> Tensor:
    """Draw random halves of the bits until all are 5/16 of them apart, and half on average: 20 and 32 of 64 bits."""
    pairs = np.triu_indices(n_classes, 1)
    for draw in range(_BALANCED_DRAWS):
        keys = random_stream(seed, CENTER_STREAM, draw).random_raw((n_classes, n_bits))
        ranks = keys.argsort(axis=1, kind="stable").argsort(axis=1)
        words = np.where(ranks < n_bits // 2, 1, -1)
        distances = (n_bits - (words @ words.T)[pairs]) // 2
        if 16 * distances.min() >= 5 * n_bits and 2 * distances.mean() >= n_bits:
            return torch.from_numpy(words.astype(np.float32))
    raise ValueError(
        f"{_BALANCED_DRAWS} draws of {n_classes} random balanced centers of {n_bits} bits had two nearer than 5/16 of "
        "the bits each time; take centers='auto', or more bits"
    )


def _check_training_labels(labels: Tensor, n_classes: int) -> None:
    """Refuse labels that no method can learn from."""
    check_labels(labels, check_count(n_classes, "n_classes"))
    if labels.ndim == 2:
        n_without = int((labels.sum(dim=1) == 0).sum())
        if n_without:
            raise ValueError(f"every row of labels must have at least one class: {n_without} have none; drop them")
    present = torch.bincount(labels.to(torch.int64)) > 0 if labels.ndim == 1 else (labels != 0).any(dim=0)
    n_present = int(present.sum())
    if n_present < 2:
        raise ValueError(f"labels must hold samples of at least two classes to tell apart, got {n_present}")
