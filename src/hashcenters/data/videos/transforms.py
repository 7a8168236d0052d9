"""From the frames of a clip to what a network reads: CSQ's transform and plain ones.

All frames of a clip are cut, flipped and coloured alike. Pixels stay uint8 until the colours change: they resize
several times as fast. What is random comes from torch's global generator, see ``VideoDataset``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hashcenters.checks import check_count

__all__ = [
    "CSQ_MEAN",
    "CSQ_STD",
    "KINETICS_MEAN",
    "KINETICS_STD",
    "csq_clip_transform",
    "plain_clip_transform",
    "whole_clip_transform",
]

CSQ_MEAN: Final = (124 / 255, 117 / 255, 104 / 255)
CSQ_STD: Final = (1 / (0.0167 * 255),) * 3
KINETICS_MEAN: Final = (0.45,) * 3
KINETICS_STD: Final = (0.225,) * 3


def csq_clip_transform(train: bool, *, size: int = 224, flip: bool = True) -> Callable[[Tensor], Tensor]:
    """Transform clips as the released video code of CSQ does, which has it from the Multi-Fiber network's.

    In training a clip becomes a square, then a random factor of 0.8..1.25 (inverted in half of the cases) stretches its
    width and shrinks its height, the shorter side being drawn from 224..288 pixels; a random 224 x 224 is cut out and
    flipped in half of the cases; hue, lightness and saturation move by up to 15 of 180, 35 of 255 and 25 of 255, where
    hue stops at red instead of going round. Otherwise the clip is squeezed into 256 x 256 and its middle cut out.
    Bilinear, without a filter against aliasing, as in OpenCV. Then the mean (124, 117, 104) / 255 and the standard
    deviation 1 / (0.0167 * 255).

    Where this differs: colours are not rounded to 8 bits on the way, and the last possible place of the cut can be
    drawn. The released evaluation takes ImageNet's mean and standard deviation by mistake; here training and evaluation
    agree.

    Args:
        train: with the random part.
        size: pixels of a side of the result; the other sizes keep their ratio to 224.
        flip: mirror half of the training clips; not where left and right are different classes.

    Returns:
        Function from uint8 (3, T, H, W) to float32 (3, T, size, size).

    Raises:
        TypeError: ``size`` is not an integer; or, when called, the clip is not a uint8 tensor.
        ValueError: ``size`` is less than 1; or, when called, the clip has another shape, or is empty.

    Examples:
        >>> clip = torch.zeros(3, 16, 240, 320, dtype=torch.uint8)
        >>> csq_clip_transform(train=True)(clip).shape
        torch.Size([3, 16, 224, 224])
        >>> csq_clip_transform(train=False, size=32)(clip)[:, 0, 0, 0]
        tensor([-2.0708, -1.9539, -1.7368])
    """
    check_count(size, "size")
    return partial(_csq_trained, size=size, flip=flip) if train else partial(_csq_evaluated, size=size)


def plain_clip_transform(
    train: bool, *, size: int = 112, flip: bool = True, least_area: float = 0.35
) -> Callable[[Tensor], Tensor]:
    """Transform clips as most video networks do, those of pytorchvideo among them.

    In training a random part of aspect 3/4 to 4/3 is resized to ``size`` x ``size`` and flipped in half of the cases.
    Otherwise the shorter side becomes 8/7 of ``size`` (256 for 224; the aspect ratio is kept) and the middle is cut
    out. Bilinear, filtered against aliasing. Then Kinetics' mean 0.45 and standard deviation 0.225.

    Args:
        train: with the random part.
        size: pixels of a side of the result.
        flip: mirror half of the training clips; not where left and right are different classes.
        least_area: smallest share of the frame that the random part may have, in (0, 1].

    Returns:
        Function from uint8 (3, T, H, W) to float32 (3, T, size, size).

    Raises:
        TypeError: ``size`` is not an integer; or, when called, the clip is not a uint8 tensor.
        ValueError: ``size`` is less than 1, or ``least_area`` outside (0, 1]; or, when called, the clip has another
            shape, or is empty.

    Examples:
        >>> clip = torch.full((3, 8, 240, 320), 255, dtype=torch.uint8)
        >>> plain_clip_transform(train=True, size=64)(clip).shape
        torch.Size([3, 8, 64, 64])
        >>> plain_clip_transform(train=False)(clip)[:, 0, 0, 0]
        tensor([2.4444, 2.4444, 2.4444])
    """
    check_count(size, "size")
    if not 0 < least_area <= 1:
        raise ValueError(f"least_area must lie in (0, 1], got {least_area}")
    if train:
        return partial(_plain_trained, size=size, flip=flip, least_area=least_area)
    return partial(_plain_evaluated, size=size)


def whole_clip_transform(*, size: int = 112) -> Callable[[Tensor], Tensor]:
    """Transform clips without a loss of what is at the borders: the whole frame, nothing random.

    The frame is resized to ``size`` x ``size``, whatever its aspect; bilinear, filtered against aliasing. Then the mean
    0.45 and standard deviation 0.225 of Kinetics.

    Args:
        size: pixels of a side of the result.

    Returns:
        Function from uint8 (3, T, H, W) to float32 (3, T, size, size).

    Raises:
        TypeError: ``size`` is not an integer; or, when called, the clip is not a uint8 tensor.
        ValueError: ``size`` is less than 1; or, when called, the clip has another shape, or is empty.

    Examples:
        >>> clip = torch.full((3, 8, 24, 32), 255, dtype=torch.uint8)
        >>> whole_clip_transform(size=32)(clip).shape
        torch.Size([3, 8, 32, 32])
    """
    check_count(size, "size")
    return partial(_whole, size=size)


# Functions of the module, not nested ones: workers that are spawned receive them by pickle.


def _csq_trained(clip: Tensor, size: int, flip: bool) -> Tensor:
    frames = _frames_of(clip)
    ratio = _between(0.8, 1.25)
    if _coin():
        ratio = 1 / ratio
    shorter = _between(size, size * 288 / 224)
    width, height = shorter * max(ratio * ratio, 1), shorter * max(1 / (ratio * ratio), 1)
    frames = _resized(frames, int(height + 1), int(width + 1))
    frames = _cut(frames, _below(frames.shape[2] - size + 1), _below(frames.shape[3] - size + 1), size, size)
    if flip and _coin():
        frames = frames.flip(3)
    shifts = [round(_between(-most, most)) / of for most, of in ((15, 180), (35, 255), (25, 255))]
    return _standardized(_shifted_in_hls(_clip_of(frames), *shifts), CSQ_MEAN, CSQ_STD)


def _csq_evaluated(clip: Tensor, size: int) -> Tensor:
    side = round(size * 256 / 224)
    return _standardized(_clip_of(_middle(_resized(_frames_of(clip), side, side), size)), CSQ_MEAN, CSQ_STD)


def _plain_trained(clip: Tensor, size: int, flip: bool, least_area: float) -> Tensor:
    frames = _frames_of(clip)
    frames = _cut(frames, *_random_part(frames.shape[2], frames.shape[3], least_area))
    frames = _resized(frames, size, size, smooth=True)
    if flip and _coin():
        frames = frames.flip(3)
    return _standardized(_clip_of(frames), KINETICS_MEAN, KINETICS_STD)


def _plain_evaluated(clip: Tensor, size: int) -> Tensor:
    frames = _frames_of(clip)
    height, width = frames.shape[2:]
    factor = round(size * 8 / 7) / min(height, width)
    frames = _resized(frames, round(height * factor), round(width * factor), smooth=True)
    return _standardized(_clip_of(_middle(frames, size)), KINETICS_MEAN, KINETICS_STD)


def _whole(clip: Tensor, size: int) -> Tensor:
    return _standardized(_clip_of(_resized(_frames_of(clip), size, size, smooth=True)), KINETICS_MEAN, KINETICS_STD)


def _frames_of(clip: Tensor) -> Tensor:
    """View a clip (3, T, H, W) as a batch (T, 3, H, W), channels last in memory where it comes from a decoder."""
    if not isinstance(clip, Tensor) or clip.dtype != torch.uint8:
        got = clip.dtype if isinstance(clip, Tensor) else type(clip).__name__
        raise TypeError(f"clip must be a uint8 tensor of shape (3, T, H, W), got {got}")
    if clip.ndim != 4 or clip.shape[0] != 3 or 0 in clip.shape:
        raise ValueError(
            f"clip must have shape (3, T, H, W), none of them 0, got {tuple(clip.shape)}; frames (T, H, W, 3) become "
            "one by permute(3, 0, 1, 2)"
        )
    return clip.transpose(0, 1)


def _clip_of(frames: Tensor) -> Tensor:
    return frames.transpose(0, 1)


def _resized(frames: Tensor, height: int, width: int, smooth: bool = False) -> Tensor:
    if frames.shape[2:] == (height, width):
        return frames
    frames = frames.contiguous(memory_format=torch.channels_last)  # what the kernels for bytes want
    return interpolate(frames, (height, width), mode="bilinear", antialias=smooth)


def _cut(frames: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return frames[:, :, top : top + height, left : left + width]


def _middle(frames: Tensor, size: int) -> Tensor:
    height, width = frames.shape[2:]
    return _cut(frames, round((height - size) / 2), round((width - size) / 2), size, size)


def _random_part(height: int, width: int, least_area: float) -> tuple[int, int, int, int]:
    """Draw top, left, height and width; the whole frame, cut to the nearest allowed aspect, where ten draws miss it."""
    part = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    for _ in range(10):
        area = height * width * _between(least_area, 1)
        aspect = math.exp(_between(math.log(3 / 4), math.log(4 / 3)))
        drawn = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < drawn[0] <= height and 0 < drawn[1] <= width:
            part = drawn
            break
    return _below(height - part[0] + 1), _below(width - part[1] + 1), *part


def _between(least: float, most: float) -> float:
    return least + (most - least) * torch.rand((), dtype=torch.float64).item()


def _below(n: int) -> int:
    return int(torch.randint(n, ()).item())


def _coin() -> bool:
    return bool(torch.rand(()).item() < 0.5)


def _shifted_in_hls(clip: Tensor, hue: float, lightness: float, saturation: float) -> Tensor:
    """Move colours; the shifts are parts of the whole range, which every value stops at the ends of.

    Args:
        clip: uint8 (3, T, H, W).
        hue: added to the hue, of 0..1 once round the circle.
        lightness: added to the lightness, of 0..1.
        saturation: added to the saturation, of 0..1.

    Returns:
        float32 of the same shape, 0..255.
    """
    shifted = torch.empty(clip.shape, dtype=torch.float32)
    for frame in range(clip.shape[1]):  # one at a time stays in the cache
        red, green, blue = clip[:, frame].to(torch.float32).div_(255).unbind(0)
        most, least = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
        span, light = most - least, (most + least) / 2
        divisor = span.clamp(min=1e-6)  # gray has span 0: hue and saturation become 0
        near_red = (green - blue).div_(divisor)
        sextant = torch.where(
            most == red,
            torch.where(near_red < 0, near_red + 6, near_red),
            torch.where(most == green, (blue - red).div_(divisor).add_(2), (red - green).div_(divisor).add_(4)),
        )
        sextant.add_(6 * hue).clamp_(0, 6)
        full = span.div_((2 * light).sub_(1).abs_().neg_().add_(1).clamp_(min=1e-6))
        light.add_(lightness).clamp_(0, 1)
        reach = full.add_(saturation).clamp_(0, 1).mul_(torch.minimum(light, 1 - light))
        least, span = light.sub_(reach), reach.mul_(2)
        for channel, share in enumerate(
            ((sextant - 3).abs_().sub_(1), 2 - (sextant - 2).abs_(), 2 - (sextant - 4).abs_())
        ):
            torch.addcmul(least, span, share.clamp_(0, 1), out=shifted[channel, frame])
    return shifted.mul_(255)


def _standardized(clip: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(clip / 255 - mean) / std`` in two passes over the pixels instead of five; writes into a float clip."""
    scale = torch.tensor([1 / (255 * s) for s in std]).view(3, 1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(3, 1, 1, 1)
    return clip.to(torch.float32, memory_format=torch.contiguous_format).mul_(scale).add_(shift)
