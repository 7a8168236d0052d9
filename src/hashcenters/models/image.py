"""Hashers on image backbones: any timm model by name, or a module of yours. Needs the extra ``timm``."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from hashcenters.heads import HashHead
from hashcenters.models.hasher import Hasher

try:
    import timm
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; image_hasher needs timm: pip install "hashcenters[timm]"', name=error.name) from error

__all__ = ["image_hasher"]


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
            classifier is left out. Or any module that turns images into features (N, ``in_features``).
        n_bits: code length.
        pretrained: start from timm's pretrained weights (downloaded once, then cached). timm names only.
        in_features: width of the features; required with a module of yours. A timm model knows its own.
        in_chans: channels of an image; timm adapts pretrained weights to them. timm names only.
        image_size: pixels of a side, or (height, width), for the models whose layers depend on it (transformers,
            mixers); convolutional networks take any size and ignore it. timm names only.
        hidden_features: widths of the head's hidden layers, see ``hashcenters.HashHead``.
        dropout: dropout probability after each hidden layer of the head.

    Returns:
        Module from images (N, in_chans, height, width) to logits (N, n_bits).

    Raises:
        ValueError: timm has no such model or weights, ``in_features`` is missing or not yours to give, or an option
            that only timm models have comes with a module.
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
        reason = str(error).split(". ")[0].strip()
        raise RuntimeError(
            f"the pretrained weights of {name!r} are not on this machine and no download is possible "
            f"({type(error).__name__}: {reason}). Run once with network access and carry the cache over (HF_HOME, by "
            "default ~/.cache/huggingface), or pass pretrained=False and load weights of yours with load_state_dict"
        ) from error


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
