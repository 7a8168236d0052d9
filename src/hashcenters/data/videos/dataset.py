"""The data set of videos that a loader reads. Needs the extra ``video``."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hashcenters.centers.randomness import check_seed
from hashcenters.checks import check_count
from hashcenters.data.items import ItemList
from hashcenters.data.seeding import seeded
from hashcenters.data.videos.decoding import VideoReadError, count_frames, read_frames
from hashcenters.data.videos.sampling import OnShort, clip_indices, clip_span

__all__ = ["VideoDataset", "frame_counts", "unreadable_videos"]


class VideoDataset(Dataset[tuple[Tensor, Tensor]]):
    """Clips of the videos of a list, decoded and transformed one video at a time.

    ``dataset[index]`` draws what is random in windows and transform from the global generators, as torchvision always
    does. ``dataset[epoch, index]`` makes it depend on (seed, epoch, index) alone: whichever worker reads the video,
    however many there are, in whatever order, interrupted or not.

    A video's frames are counted when it is first read, once in every process. Workers that end with the epoch forget
    their counts: keep them (``persistent_workers=True``), or pass ``counts``.

    Args:
        videos: what to read.
        transform: turns uint8 (3, length, H, W) into a tensor, such as ``csq_clip_transform(train=True)``. It is called
            once a clip.
        length: frames of a clip.
        stride: distance of a clip's neighbours, in frames of the video.
        n_clips: clips of a video.
        train: draw windows at random; otherwise they are spread evenly, a single one over the middle.
        targets: tensor with a row a video, which takes the label's place; None gives the labels.
        seed: 0..2**63 - 1; what is random, for keys (epoch, index).
        on_short: what to do with a video shorter than a clip: ``"loop"`` it, ``"hold"`` its last frame, or ``"stop"``.
        counts: frames of a video by its path, such as ``frame_counts(videos)`` returns; the others are counted.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small, ``on_short`` is unknown, or ``targets`` has not one row a video.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import av
        >>> with tempfile.TemporaryDirectory() as folder, av.open(f"{folder}/gray.avi", "w") as file:
        ...     stream = file.add_stream("mpeg4", rate=25, width=32, height=16, pix_fmt="yuv420p")
        ...     image = av.VideoFrame.from_ndarray(torch.zeros(16, 32, 3, dtype=torch.uint8).numpy(), format="rgb24")
        ...     for _ in range(8):
        ...         file.mux(stream.encode(image))
        ...     file.mux(stream.encode())
        ...     file.close()
        ...     videos = ItemList(Path(folder), ("gray.avi",), torch.tensor([0]), ("gray",))
        ...     dataset = VideoDataset(videos, lambda clip: clip / 255, length=4, n_clips=2)
        ...     dataset[0][0].shape, dataset[0][1], frame_counts(videos)
        (torch.Size([2, 3, 4, 16, 32]), tensor(0), {'gray.avi': 8})
    """

    def __init__(
        self,
        videos: ItemList,
        transform: Callable[[Tensor], Tensor],
        *,
        length: int = 16,
        stride: int = 2,
        n_clips: int = 1,
        train: bool = False,
        targets: Tensor | None = None,
        seed: int = 0,
        on_short: OnShort = "loop",
        counts: Mapping[str, int] | None = None,
    ) -> None:
        if targets is not None and (targets.ndim == 0 or len(targets) != len(videos)):
            raise ValueError(
                f"targets must have one row a video: {len(videos)} videos, targets of shape {tuple(targets.shape)}"
            )
        if on_short not in ("loop", "hold", "stop"):
            raise ValueError(f'on_short must be "loop", "hold" or "stop", got {on_short!r}')
        self.videos = videos
        self.transform = transform
        self.span = clip_span(length, stride)
        self.length = length
        self.stride = stride
        self.n_clips = check_count(n_clips, "n_clips")
        self.train = train
        self.targets = targets
        self.seed = check_seed(seed)
        self.on_short = on_short
        self._counts = dict(counts or {})

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Read the clip or clips of a video.

        Args:
            key: index of the video, or (epoch, index).

        Returns:
            The transformed clip, of shape (3, length, height, width) by the transforms of this library; for
            ``n_clips`` > 1 the clips, stacked in front. And the label, or the row of ``targets``.

        Raises:
            IndexError: there is no such video.
            VideoReadError: the file is missing or broken, has fewer frames than ``counts`` say, or is shorter than a
                clip and ``on_short`` is ``"stop"``.
        """
        if isinstance(key, tuple):
            epoch, index = key
            with seeded(self.seed, check_count(epoch, "epoch", least=0), self._row(index)):
                return self._read(self._row(index))
        return self._read(self._row(key))

    def _row(self, index: int) -> int:
        row, n_rows = operator.index(index), len(self.videos)
        if not -n_rows <= row < n_rows:
            raise IndexError(f"index must lie in 0..{n_rows - 1} (n={n_rows} videos), got {row}")
        return row % n_rows

    def _read(self, row: int) -> tuple[Tensor, Tensor]:
        entry = self.videos.paths[row]
        path = os.path.join(self.videos.root, entry)
        n_frames = self._counts.get(entry, 0)
        if n_frames < 1:  # not known; or broken, and counting it says how
            n_frames = self._counts[entry] = count_frames(path)
        if n_frames < self.span and self.on_short == "stop":
            raise VideoReadError(
                f"video {path!r} has {n_frames} frames, a clip of length={self.length} at stride={self.stride} needs "
                f"{self.span}; take shorter clips, leave it out by splits.without([{entry!r}]), or choose "
                'on_short="loop" or "hold"'
            )
        indices = clip_indices(
            n_frames,
            length=self.length,
            stride=self.stride,
            how="random" if self.train else "uniform",
            n_clips=self.n_clips,
            short=self.on_short,
        )
        frames = read_frames(path, indices.flatten()).permute(3, 0, 1, 2)
        clips = [self.transform(clip) for clip in frames.view(3, *indices.shape, *frames.shape[2:]).unbind(1)]
        clip = clips[0] if self.n_clips == 1 else torch.stack(clips)
        return clip, (self.videos.labels if self.targets is None else self.targets)[row]


def frame_counts(videos: ItemList, *, n_threads: int = 4) -> dict[str, int]:
    """Count the frames of every video; decodes all of them.

    Args:
        videos: the list to look at.
        n_threads: videos decoded at a time.

    Returns:
        Frames by path, in the order of the list; 0 for a file that is missing or holds no frame that decodes.

    Raises:
        TypeError: ``n_threads`` is not an integer.
        ValueError: ``n_threads`` is less than 1.

    Examples:
        >>> from pathlib import Path
        >>> frame_counts(ItemList(Path("nowhere"), ("a.avi",), torch.tensor([0]), ("run",)))
        {'a.avi': 0}
    """

    def count(path: str) -> int:
        try:
            return count_frames(os.path.join(videos.root, path))
        except VideoReadError:
            return 0

    with ThreadPoolExecutor(check_count(n_threads, "n_threads")) as pool:
        return dict(zip(videos.paths, pool.map(count, videos.paths), strict=True))


def unreadable_videos(videos: ItemList, *, n_threads: int = 4) -> list[str]:
    """List the videos whose files are missing or hold no frame that decodes; opens and decodes each.

    Args:
        videos: the list to look at.
        n_threads: videos decoded at a time.

    Returns:
        Their paths, in the order of the list: leave them out by ``ItemSplits.without``.

    Raises:
        TypeError: ``n_threads`` is not an integer.
        ValueError: ``n_threads`` is less than 1.

    Examples:
        >>> from pathlib import Path
        >>> unreadable_videos(ItemList(Path("nowhere"), ("a.avi",), torch.tensor([0]), ("run",)))
        ['a.avi']
    """
    return [path for path, n_frames in frame_counts(videos, n_threads=n_threads).items() if n_frames == 0]
