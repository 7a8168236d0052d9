"""The transform that a timm network was trained with. Needs the extras ``images`` and ``timm``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor, nn

from hashcenters.checks import check_count

try:
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; timm_transform needs timm: pip install "hashcenters[images,timm]"', name=error.name
    ) from error

__all__ = ["timm_transform"]


def timm_transform(network: nn.Module, train: bool, *, size: int | None = None) -> Callable[[Image.Image], Tensor]:
    """Transform images as timm does for one of its networks.

    Mean, standard deviation, size, crop and filter come from the network's own configuration, which need not be
    ImageNet's usual: EfficientNet-Lite0 wants mean and standard deviation 0.5.

    Args:
        network: a timm model, or a ``Hasher`` on one (``image_hasher`` makes them).
        train: with timm's default augmentation: a random part resized, flips, colour jitter of 0.4.
        size: pixels of a side of the result; None takes the network's.

    Returns:
        Function from a PIL image of mode RGB to float32 (3, size, size). Its randomness comes from the global
        generators of torch and Python, see ``ImageDataset``.

    Raises:
        ValueError: the network is none of timm's, or ``size`` is less than 1.

    Examples:
        >>> from hashcenters.models.image import image_hasher
        >>> transform = timm_transform(image_hasher("lite0", 16), train=False)
        >>> transform(Image.new("RGB", (500, 375), (255, 255, 255))).amax((1, 2))
        tensor([1., 1., 1.])
    """
    backbone = getattr(network, "backbone", network)
    if not hasattr(backbone, "pretrained_cfg"):
        raise ValueError(
            f"network must be a timm model or a Hasher on one, got {type(backbone).__name__}, which does not say what "
            "images it wants; take csq_transform or deephash_transform"
        )
    resolve: Any = resolve_model_data_config  # has no types
    config = resolve(backbone)
    if size is not None:
        config["input_size"] = (3, check_count(size, "size"), size)
    transform: Callable[[Image.Image], Any] = create_transform(**config, is_training=train)
    return transform
