"""Runs on videos: clips of a recipe, several a video averaged, and thumbnails for pictures."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.moving import moving_objects, write_moving_videos
from hashcenters.data.videos import (
    VideoDataset,
    clip_span,
    csq_clip_transform,
    frame_counts,
    plain_clip_transform,
    read_frames,
    whole_clip_transform,
)
from hashcenters.models.hasher import Hasher
from hashcenters.retrieval.result import RetrievalResult
from hashcenters.training.recipes import Recipe
from hashcenters.training.run import MakeDataset, RunOptions, train_and_evaluate

__all__ = [
    "ClipAverage",
    "checked_videos",
    "make_synthetic",
    "train_on_videos",
    "video_datasets",
    "video_thumbnails",
]

# What a small run on synthetic videos takes where the command line says nothing else.
_SMALL = {
    "preset": "ours",
    "method": "csq",
    "pretrained": False,
    "n_frames": 8,
    "frame_stride": 1,
    "n_clips": 1,
    "image_size": 32,
    "flip": False,
    "transform": "whole-clip",
    "lr": 2e-3,
    "backbone_multiplier": 1.0,
    "n_epochs": 5,
    "batch_size": 32,
    "n_bits": 16,
}
_N_TRAIN, _N_TEST = 2000, 400
_WAIT = 600  # seconds


class ClipAverage(Hasher):
    """A hasher that takes several clips of a video and averages their logits.

    Args:
        network: the hasher of single clips; shared, not copied.

    Shape:
        * clips: (N, n_clips, C, T, H, W); or (N, C, T, H, W), one clip a video.
        * returns: logits (N, n_bits).

    Raises:
        ValueError: in the call, clips of another number of dimensions.

    Examples:
        >>> import torch
        >>> from hashcenters import HashHead
        >>> model = ClipAverage(Hasher(torch.nn.Flatten(), HashHead(3 * 4 * 8 * 8, 16)))
        >>> model(torch.zeros(2, 5, 3, 4, 8, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(self, network: Hasher) -> None:
        nn.Module.__init__(self)
        self.network = network

    @property
    def n_bits(self) -> int:
        """Code length."""
        return self.network.n_bits

    def forward(self, clips: Tensor) -> Tensor:
        """Return the mean logits (N, n_bits) of the clips of each video."""
        if clips.ndim == 5:
            logits: Tensor = self.network(clips)
            return logits
        if clips.ndim != 6:
            raise ValueError(f"clips must have shape (N, n_clips, C, T, H, W), got {tuple(clips.shape)}")
        logits = self.network(clips.flatten(0, 1))
        return torch.unflatten(logits, 0, (clips.shape[0], clips.shape[1])).mean(dim=1)


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Samples as in training, the same ones each time."""

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.dataset[0, index]


def video_datasets(recipe: Recipe) -> Callable[[Hasher], MakeDataset]:
    """Return what ``train_and_evaluate`` makes video data sets with.

    Args:
        recipe: names clips, transform and size.

    Returns:
        Function from the network to a maker of data sets.
    """

    def transform(train: bool) -> Callable[[Tensor], Tensor]:
        if recipe.transform == "csq-clip":
            return csq_clip_transform(train, size=recipe.image_size, flip=recipe.flip)
        if recipe.transform == "whole-clip":
            return whole_clip_transform(size=recipe.image_size)
        return plain_clip_transform(train, size=recipe.image_size, flip=recipe.flip)

    def make_dataset(
        items: ItemList, *, train: bool, targets: Tensor | None = None, database: bool = False
    ) -> Dataset[Any]:
        augmented = train or (database and recipe.augmented_database)
        dataset = VideoDataset(
            items,
            transform(augmented),
            length=recipe.n_frames,
            stride=recipe.frame_stride,
            n_clips=1 if augmented else recipe.n_clips,
            train=augmented,
            targets=targets,
            seed=recipe.seed,
            on_short=recipe.on_short,
        )
        return _Augmented(dataset) if augmented and not train else dataset

    return lambda network: make_dataset


def video_thumbnails(splits: ItemSplits, *, size: int = 112) -> Callable[[int, str], Image.Image]:
    """Return what ``train_and_evaluate`` draws neighbours with: the first frame of a video.

    Args:
        splits: the videos.
        size: pixels of the longer side.

    Returns:
        Function from a position and ``"queries"`` or ``"database"`` to a small image.
    """

    def thumbnail(position: int, split: str) -> Image.Image:
        videos = splits.queries if split == "queries" else splits.database
        small = Image.fromarray(read_frames(videos.absolute(position), [0])[0].numpy())
        small.thumbnail((size, size))
        return small

    return thumbnail


def train_on_videos(splits: ItemSplits, recipe: Recipe, options: RunOptions) -> RetrievalResult | None:
    """Do a whole run on videos: ``train_and_evaluate`` with the recipe's clips, and thumbnails.

    Args:
        splits: the videos.
        recipe: how to train.
        options: where to, and on what machine.

    Returns:
        The metrics of the test queries; None where the folder has them already.
    """
    return train_and_evaluate(
        splits,
        recipe,
        options,
        make_datasets=video_datasets(recipe),
        thumbnail=video_thumbnails(splits),
        encoder=ClipAverage if recipe.n_clips > 1 else None,
    )


def make_synthetic(args: argparse.Namespace, *, layout: Literal["hmdb51", "ucf101"]) -> None:
    """Write small videos in the layout of a data set, and set what a run on them needs where the arguments say nothing.

    Args:
        args: what ``add_video_arguments`` and ``add_run_arguments`` parsed; ``root`` and what is None are set.
        layout: whose folders and lists.
    """
    args.root = args.out_base.parent / f"{layout}-synthetic-videos"
    for name, value in _SMALL.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.channels_last = True  # half the time on a CPU
    args.select_last = args.select_last or not args.select_on_test  # a tenth less to train on would be missed
    args.out_base = args.out_base.parent / f"{layout}-synthetic"
    if int(os.environ.get("LOCAL_RANK", 0)) == 0 and not args.root.exists():
        args.root.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{args.root.name}.", dir=args.root.parent))
        write_moving_videos(unfinished, moving_objects(), n_train=_N_TRAIN, n_test=_N_TEST, seed=0, layout=layout)
        try:
            unfinished.rename(args.root)
        except OSError:  # another run was quicker
            shutil.rmtree(unfinished)
    for _ in range(_WAIT * 5):  # another process of this machine may be writing them
        if args.root.exists():
            return
        time.sleep(0.2)
    raise RuntimeError(f"{args.root} was not written within {_WAIT} seconds; see what the first process says")


def checked_videos(splits: ItemSplits, args: argparse.Namespace) -> ItemSplits:
    """Decode every video where the arguments ask for it, and do what they say about broken and short ones.

    Args:
        splits: the videos.
        args: what ``add_video_arguments`` parsed.

    Returns:
        The splits, without broken videos, and with ``--on-short stop`` without those that are shorter than a clip.

    Raises:
        OSError: there are such, and the policy is to stop.
    """
    if args.synthetic:  # not to be taken for the data set whose layout it has
        splits = replace(splits, name=f"{splits.name}-synthetic")
    if not args.check_videos:
        return splits
    counts = frame_counts(splits.queries) | frame_counts(splits.database)
    span = clip_span(args.n_frames or Recipe.n_frames, args.frame_stride or Recipe.frame_stride)
    short = [path for path, n_frames in counts.items() if 0 < n_frames < span]
    broken = sorted(path for path, n_frames in counts.items() if not n_frames)
    if args.on_short == "stop":
        broken = sorted((*broken, *short))
    elif short:
        print(f"{len(short)} videos have fewer frames than a clip spans, {span}; --on-short says what happens to them")
    if broken and args.on_missing == "stop":
        named = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        raise OSError(
            f"{len(broken)} videos cannot be read or are too short: {named}; mend them, or leave them out by "
            "--on-missing skip"
        )
    return splits.without(broken) if broken else splits
