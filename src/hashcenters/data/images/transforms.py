"""From a PIL image to what a network reads: the transforms of CSQ and of DeepHash-pytorch.

They work on uint8 tensors, which resize twice as fast as PIL images and differ from them by rounding. JPEG's reduced
decoding (Pillow's ``draft``) is left out: it only helps photographs twice as large as what is wanted, and those of
ImageNet, COCO and NUS-WIDE are not. Needs the extra ``images``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hashcenters.checks import check_count

try:
    from torchvision.transforms import InterpolationMode, v2
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; image transforms need torchvision: pip install "hashcenters[images]"', name=error.name
    ) from error

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "csq_transform", "deephash_transform"]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


def csq_transform(train: bool, *, size: int = 224) -> Callable[[Image.Image], Tensor]:
    """Transform images as the released code of CSQ does.

    The image is squeezed into a square of 255 pixels (its aspect ratio is lost). In training a random part of 8 to
    100 % of it, of aspect 3/4 to 4/3, is resized to 224 x 224 and flipped in half of the cases; otherwise the middle
    224 x 224 are cut out. Then ImageNet's mean and standard deviation. The released code cuts its middle at
    (255 - 224 - 1) / 2 = 15 pixels, the usual one used here at 16. It names no filter for the square; bicubic is
    Pillow's own since 7.0.

    Args:
        train: with the random part.
        size: pixels of a side of the result; the square keeps the ratio 255 : 224.

    Returns:
        Function from a PIL image of mode RGB to float32 (3, size, size). Its randomness comes from torch's global
        generator, see ``ImageDataset``.

    Raises:
        ValueError: ``size`` is less than 1.

    Examples:
        >>> csq_transform(train=False)(Image.new("RGB", (500, 375))).shape
        torch.Size([3, 224, 224])
    """
    square = round(check_count(size, "size") * 255 / 224)
    steps: list[Any] = [_pixels, v2.Resize((square, square), InterpolationMode.BICUBIC, antialias=True)]
    if train:
        steps += [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    else:
        steps.append(v2.CenterCrop(size))
    return _composed(steps)


def deephash_transform(train: bool, *, size: int = 224) -> Callable[[Image.Image], Tensor]:
    """Transform images as DeepHash-pytorch does, whose re-run of CSQ is the strongest published.

    The shorter side becomes 256 pixels (the aspect ratio is kept). In training the image is flipped in half of the
    cases and a random 224 x 224 is cut out; otherwise the middle. Then ImageNet's mean and standard deviation.

    Args:
        train: with the flip and the random place.
        size: pixels of a side of the result; the shorter side keeps the ratio 256 : 224.

    Returns:
        Function from a PIL image of mode RGB to float32 (3, size, size). Its randomness comes from torch's global
        generator, see ``ImageDataset``.

    Raises:
        ValueError: ``size`` is less than 1.

    Examples:
        >>> deephash_transform(train=True, size=64)(Image.new("RGB", (500, 375))).shape
        torch.Size([3, 64, 64])
    """
    shorter = round(check_count(size, "size") * 256 / 224)
    steps: list[Any] = [_pixels, v2.Resize(shorter, antialias=True)]
    steps += [v2.RandomHorizontalFlip(), v2.RandomCrop(size)] if train else [v2.CenterCrop(size)]
    return _composed(steps)


def _composed(steps: list[Any]) -> Callable[[Image.Image], Tensor]:
    transform: Callable[[Image.Image], Tensor] = v2.Compose([*steps, _Standardized(IMAGENET_MEAN, IMAGENET_STD)])
    return transform


def _pixels(image: Image.Image) -> Tensor:
    """Return uint8 (3, height, width), channels last in memory as the fast kernels want it."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class _Standardized:
    """``(image / 255 - mean) / std`` in two passes over the pixels instead of five."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.scale = torch.tensor([1 / (255 * s) for s in std]).view(3, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(3, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        return image.contiguous().to(torch.float32).mul_(self.scale).add_(self.shift)
