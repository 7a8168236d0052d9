"""Exact frames of a video file, by PyAV. Needs the extra ``video``.

A frame's number is its place among the frames that decode, counted from 0. Nothing else is exact on every file: headers
of AVI files state more frames than there are, and seeking in those with B-frames lands one to three frames away.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

try:
    import av
    from av.video.reformatter import VideoReformatter
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; videos need PyAV: pip install "hashcenters[video]"', name=error.name) from error

__all__ = ["VideoReadError", "count_frames", "read_frames"]


class VideoReadError(OSError):
    """A video file is missing, broken or too short; the message names it, its trouble and the way on.

    The only argument is the message, so that the error reaches the main process from a loader's worker as it is.
    """


def read_frames(path: str | Path, indices: Sequence[int] | Tensor) -> Tensor:
    """Decode the frames asked for, in the order asked for.

    The file is decoded from its start to the last of them, by one thread; no other frame is converted or kept. Data
    that does not decode is passed over, as players do, so that of a truncated file the frames before the cut remain.
    Tags that ask for rotation are ignored.

    Args:
        path: file to read; its first video stream counts.
        indices: numbers of the frames, from 0; in any order, and as often as you like.

    Returns:
        uint8 (n, H, W, 3), red first.

    Raises:
        TypeError: ``indices`` are not integers.
        ValueError: ``indices`` are empty, not one-dimensional, or negative.
        VideoReadError: the file is missing or no video, changes its frame size, or ends before the last index.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, av.open(f"{folder}/gray.avi", "w") as file:
        ...     stream = file.add_stream("mpeg4", rate=25, width=32, height=16, pix_fmt="yuv420p")
        ...     for value in (0, 100, 200):
        ...         image = torch.full((16, 32, 3), value, dtype=torch.uint8)
        ...         file.mux(stream.encode(av.VideoFrame.from_ndarray(image.numpy(), format="rgb24")))
        ...     file.mux(stream.encode())
        ...     file.close()
        ...     frames = read_frames(f"{folder}/gray.avi", [2, 0, 0])
        >>> frames.shape, (frames[:, 0, 0, 0] > 150).tolist()
        (torch.Size([3, 16, 32, 3]), [True, False, False])
    """
    places: dict[int, list[int]] = {}
    wanted = _checked(indices)
    for place, index in enumerate(wanted):
        places.setdefault(index, []).append(place)
    frames, n_frames, last = torch.empty(0), 0, max(places)
    reformatter = VideoReformatter()  # keeps its tables from frame to frame
    with closing(_decoded(path)) as decoded:
        for frame in decoded:
            if n_frames in places:
                pixels = torch.from_numpy(reformatter.reformat(frame, format="rgb24").to_ndarray())
                if len(frames) == 0:
                    frames = pixels.new_empty((len(wanted), *pixels.shape))
                frames[places[n_frames]] = pixels
            if n_frames == last:
                return frames
            n_frames += 1
    raise VideoReadError(
        f"video {str(path)!r} ends after {n_frames} frames (counted by decoding; headers may state more), but frame "
        f"{last} was asked for; ask for what count_frames(path) allows, and renew stored counts if the file has changed"
    )


def count_frames(path: str | Path) -> int:
    """Count the frames of a video that decode.

    Decodes all of them. Counting packets would be faster, but a packet may hold no frame, two of them, or one that is
    broken.

    Args:
        path: file to read; its first video stream counts.

    Returns:
        The number of frames, at least 1; ``read_frames`` takes every index below it.

    Raises:
        VideoReadError: the file is missing, no frame of it decodes, or it changes its frame size.

    Examples:
        >>> count_frames("nowhere.avi")
        Traceback (most recent call last):
        hashcenters.data.videos.decoding.VideoReadError: video 'nowhere.avi' is missing. ...
    """
    return sum(1 for _ in _decoded(path))


def _checked(indices: Sequence[int] | Tensor) -> list[int]:
    values = torch.as_tensor(indices)
    if values.numel() == 0 or values.ndim != 1:
        raise ValueError(f"indices must name at least one frame, in one dimension, got shape {tuple(values.shape)}")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"indices must be integers, got {values.dtype}")
    numbers: list[int] = values.tolist()
    if min(numbers) < 0:
        raise ValueError(f"indices must be at least 0 (frames are not counted from the end), got {min(numbers)}")
    return numbers


def _decoded(path: str | Path) -> Generator[av.VideoFrame, None, None]:
    """Yield the frames in the order of their display; the file is closed whatever happens."""
    size: tuple[int, int] | None = None
    try:
        # "file:", because a path with a colon would be taken for an address
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            if not container.streams.video or _shows_stills(container.format.name):
                raise VideoReadError(_broken(path, "it holds no video"))
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoReadError(_broken(path, "its codec is unknown"))
            stream.codec_context.thread_type = "SLICE"  # threads that take a frame each would return them later
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):  # the last one is empty and fetches what the decoder still holds
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    continue
                for frame in frames:
                    if size is None:
                        size = frame.width, frame.height
                    elif size != (frame.width, frame.height):
                        change = f"its frames change from {size} to {(frame.width, frame.height)} pixels"
                        raise VideoReadError(_broken(path, change))
                    yield frame
    except VideoReadError:
        raise
    except FileNotFoundError as error:
        raise VideoReadError(_trouble(path, "is missing")) from error
    except (av.FFmpegError, OSError) as error:
        raise VideoReadError(_broken(path, error.strerror or str(error))) from error
    if size is None:
        raise VideoReadError(_broken(path, "none of its frames decodes"))


def _shows_stills(container: str) -> bool:
    """Whether FFmpeg's reader takes pictures, or text to be drawn, for a video of one frame."""
    return container in ("image2", "tty") or container.endswith("_pipe")


def _broken(path: str | Path, why: str) -> str:
    return _trouble(path, f"cannot be read ({why})")


def _trouble(path: str | Path, what: str) -> str:
    return (
        f"video {str(path)!r} {what}. hashcenters.data.videos.unreadable_videos(videos) lists missing and broken ones, "
        "splits.without(...) leaves them out"
    )
