"""Small encoded videos whose frames carry their number, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

_BLOCK = 16  # a macroblock: coarse quantizers keep its mean
_N_BITS = 8


def numbered_frames(n, *, height=48, seed=0):
    """Frames uint8 (n, height, 128, 3): eight blocks that write the frame's number, over a moving noisy texture."""
    draw = np.random.default_rng(seed)
    texture = draw.integers(0, 256, (height, 4 * 128, 3), dtype=np.uint8)
    frames = np.stack([np.roll(texture, 3 * k, axis=1)[:, : _BLOCK * _N_BITS] for k in range(n)])
    for k in range(n):
        for bit in range(_N_BITS):
            frames[k, :_BLOCK, _BLOCK * bit : _BLOCK * (bit + 1)] = 255 * (k >> bit & 1)
    return frames


def number_in(frame):
    """Read a frame's number off its blocks; the frame is (H, W, 3), possibly scaled."""
    pixels = np.asarray(frame, dtype=np.float64).mean(axis=2)
    side = pixels.shape[1] / _N_BITS
    inner = [slice(int(side * (bit + 0.25)), int(side * (bit + 0.75))) for bit in range(_N_BITS)]
    rows = slice(int(side * 0.25), int(side * 0.75))
    return sum(int(pixels[rows, columns].mean() > 127) << bit for bit, columns in enumerate(inner))


def write_clip(path, frames, *, codec="mpeg4", bframes=0, fourcc=None, fps=25):
    """Encode frames uint8 (n, H, W, 3); the suffix of the path names the container.

    ``codec`` is a name of FFmpeg's ("h264" takes x264), ``bframes`` the most B-frames in a row.
    """
    path = Path(path)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264" if codec == "h264" else codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"bf": str(bframes)}
        if codec == "h264":
            stream.options |= {"crf": "20"}
        else:
            stream.options |= {"qmin": "2", "qmax": "4"}
            stream.bit_rate = 2_000_000
        if bframes and codec != "h264":
            stream.options |= {"b_strategy": "0"}  # as many as allowed, not as many as help
        if fourcc is not None:
            stream.codec_context.codec_tag = fourcc
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        file.mux(stream.encode())
    return path


def numbered_clip(path, n=40, **options):
    """Write a video of numbered frames."""
    return write_clip(path, numbered_frames(n), **options)


def state_frames_in_avi(path, n_frames):
    """Make the header of an AVI file claim a number of frames: in ``avih``, in ``strh`` and by its index's size."""
    data = bytearray(Path(path).read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(tag) + offset
        data[at : at + 4] = struct.pack("<I", n_frames)
    Path(path).write_bytes(bytes(data))


_NOT_CODED = bytes.fromhex("000001b6504f")  # an MPEG-4 picture that displays nothing


def pack_b_frames(source, path):
    """Rewrite an MPEG-4 AVI with single B-frames as DivX 5 does: each rides in the packet of the frame before it.

    The packet that follows holds a "not coded" picture.
    """
    pictures = _packets(source)
    starts = [picture.index(b"\0\0\1\xb6") for picture in pictures]
    mark = b"\0\0\1\xb2DivX503b1393p"
    packed = [pictures[0][: starts[0]] + mark + pictures[0][starts[0] :]]
    for start, picture in zip(starts[1:], pictures[1:], strict=True):
        if picture[start + 4] >> 6 == 2:
            packed[-1] += picture
            packed.append(_NOT_CODED)
        else:
            packed.append(picture)
    return _write_packets(source, path, packed)


def append_not_coded(source, path, n):
    """Let an MPEG-4 AVI end in packets that display nothing."""
    return _write_packets(source, path, _packets(source) + [_NOT_CODED] * n)


def _packets(source):
    with av.open(str(source)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def _write_packets(source, path, packets):
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.codec_context.codec_tag = old.streams.video[0].codec_context.codec_tag
        for k, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, k, k, k == 0
            packet.time_base = old.streams.video[0].time_base
            new.mux(packet)
    return Path(path)


def stated_frames(path):
    """Number of frames that the header claims."""
    with av.open(str(path)) as file:
        return file.streams.video[0].frames


def picture_types(path):
    """Types of the decoded pictures in the order of display, such as "IBBP"."""
    with av.open(str(path)) as file:
        return "".join(PictureType(frame.pict_type).name for frame in file.decode(video=0))
