"""Which frames of a video make a clip."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hashcenters.checks import check_count

__all__ = ["OnShort", "Where", "clip_indices", "clip_span"]

Where = Literal["random", "center", "uniform"]
OnShort = Literal["loop", "hold", "stop"]


def clip_span(length: int, stride: int) -> int:
    """Count the frames of the video from a clip's first to its last.

    Args:
        length: frames of the clip.
        stride: distance of neighbours, in frames of the video.

    Returns:
        ``(length - 1) * stride + 1``.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is less than 1.

    Examples:
        >>> clip_span(16, 2)
        31
    """
    return (check_count(length, "length") - 1) * check_count(stride, "stride") + 1


def clip_indices(
    n_frames: int,
    *,
    length: int = 16,
    stride: int = 2,
    how: Where = "center",
    n_clips: int = 1,
    short: OnShort = "loop",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose the frames of one clip or several.

    CSQ's code draws a real number below ``n_frames - span`` and cuts it off, so that it never reads the last frame; in
    its tests a pseudo-random one of the windows that do not overlap is taken, which depends on the loader's workers;
    and of a video shorter than the window (there are some in HMDB51) it repeats one frame, a still. Here every
    window is as likely as every other, tests take the middle, and short videos keep their motion.

    Args:
        n_frames: frames of the video.
        length: frames of a clip.
        stride: distance of neighbours, in frames of the video.
        how: ``"random"``: each window is drawn by itself; ``"center"``: the middle one; ``"uniform"``: evenly spaced
            windows, the first from the video's start and the last up to its end (a single one is the middle one).
        n_clips: number of clips; 1 for ``"center"``.
        short: what to do with a video shorter than a clip. ``"loop"`` starts it again, ``"hold"`` repeats its last
            frame, both from frame 0; ``"stop"`` refuses it.
        generator: source of the random windows; None is torch's global one.

    Returns:
        int64 (n_clips, length), each row ascending unless the video loops.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is less than 1, several clips are asked from the middle, the video is too short and
            ``short`` is ``"stop"``, or ``how`` or ``short`` is unknown.

    Examples:
        >>> clip_indices(20, length=4)
        tensor([[ 6,  8, 10, 12]])
        >>> clip_indices(20, length=4, how="uniform", n_clips=3)
        tensor([[ 0,  2,  4,  6],
                [ 6,  8, 10, 12],
                [13, 15, 17, 19]])
        >>> clip_indices(5, length=4), clip_indices(5, length=4, short="hold")
        (tensor([[0, 2, 4, 1]]), tensor([[0, 2, 4, 4]]))
    """
    check_count(n_frames, "n_frames")
    check_count(n_clips, "n_clips")
    span = clip_span(length, stride)
    if how not in ("random", "center", "uniform"):
        raise ValueError(f'how must be "random", "center" or "uniform", got {how!r}')
    if short not in ("loop", "hold", "stop"):
        raise ValueError(f'short must be "loop", "hold" or "stop", got {short!r}')
    if how == "center" and n_clips > 1:
        raise ValueError(f'n_clips must be 1 for how="center", got {n_clips}; how="uniform" spreads several')
    room = n_frames - span
    if room < 0 and short == "stop":
        raise ValueError(
            f"n_frames must be at least {span} for a clip of length={length} at stride={stride}, got {n_frames}; take "
            'shorter clips, leave the video out, or choose short="loop" or "hold"'
        )
    if how == "random":
        starts = torch.randint(max(room, 0) + 1, (n_clips,), generator=generator)
    elif n_clips == 1:
        starts = torch.tensor([max(room, 0) // 2])
    else:
        starts = torch.arange(n_clips) * max(room, 0) // (n_clips - 1)
    indices = starts[:, None] + torch.arange(length) * stride
    return indices % n_frames if short == "loop" else indices.clamp(max=n_frames - 1)
