"""The options that the example scripts share, and how they become a recipe and a run."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hashcenters.data.images import ItemSplits, unreadable
from hashcenters.training.recipes import DEEP_METHODS, FRAME_METHODS, PRESETS, SHALLOW_METHODS, Recipe, preset
from hashcenters.training.run import RunOptions, Splits

__all__ = [
    "add_data_arguments",
    "add_run_arguments",
    "add_video_arguments",
    "checked_images",
    "options_from",
    "recipe_from",
    "stopping",
]

# Arguments that replace a field of the recipe, where they are given.
_OVERRIDES = (
    "n_epochs",
    "batch_size",
    "lr",
    "backbone_multiplier",
    "quantization_weight",
    "centers",
    "transform",
    "image_size",
    "pretrained",
    "n_frames",
    "frame_stride",
    "n_clips",
    "flip",
    "on_short",
    "weights",
)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what any reader of images can be told on the command line.

    Args:
        parser: where to add them.
    """
    data = parser.add_argument_group("data")
    data.add_argument(
        "--lists",
        type=Path,
        metavar="FOLDER",
        help="take train.txt, test.txt and database.txt from there, as they are; the images of their lines are in root",
    )
    data.add_argument(
        "--database", choices=("all", "disjoint"), default="all", help="search in the training images too, or not"
    )
    data.add_argument(
        "--on-missing", choices=("stop", "skip"), default="stop", help="what to do about absent images (default: stop)"
    )
    data.add_argument(
        "--check-images",
        action="store_true",
        help="decode every image first; --on-missing says what to do about broken ones",
    )
    data.add_argument("--counts", action="store_true", help="print what was found beside the paper's Table 1, and stop")
    data.add_argument("--data-seed", type=int, default=0, help="which images train and ask (default: %(default)s)")


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a run on videos can be told besides, before or after ``add_run_arguments``.

    Args:
        parser: where to add them.
    """
    clips = parser.add_argument_group("clips")
    clips.add_argument(
        "--synthetic", action="store_true", help="make small videos first, and train a small run on them"
    )
    clips.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="official split (default: %(default)s)")
    clips.add_argument(
        "--on-missing", choices=("stop", "skip"), default="stop", help="what to do about absent videos (default: stop)"
    )
    clips.add_argument(
        "--check-videos",
        action="store_true",
        help="decode every video first; --on-missing says what to do about broken ones",
    )
    clips.add_argument(
        "--on-short",
        choices=("loop", "hold", "stop"),
        help="what to do with a video shorter than a clip: loop it, hold its last frame, or stop (default: loop)",
    )
    clips.add_argument(
        "--counts", action="store_true", help="print what was found beside the paper's Table 1, and stop"
    )
    clips.add_argument("--frames", type=int, dest="n_frames", help="frames of a clip")
    clips.add_argument("--stride", type=int, dest="frame_stride", help="distance of a clip's neighbours, in frames")
    clips.add_argument(
        "--clips", type=int, dest="n_clips", help="clips of a video that are averaged when it is encoded"
    )
    clips.add_argument("--no-flip", action="store_false", dest="flip", default=None, help="never mirror a clip")
    clips.add_argument("--weights", help="file with weights of MFNet3D to begin with: .pth, .tar or .safetensors")


def add_run_arguments(parser: argparse.ArgumentParser, *, backbone: str, out: Path, video: bool = False) -> None:
    """Add what any run can be told on the command line.

    Args:
        parser: where to add them.
        backbone: the default backbone.
        out: the folder in which runs are written by default.
        video: whether the run is on videos.
    """
    presets = [name for name in PRESETS if not (video and name == "deephash")]
    methods = [name for name in (*DEEP_METHODS, *SHALLOW_METHODS) if video or name not in FRAME_METHODS]
    transforms = ("csq-clip", "plain-clip", "whole-clip") if video else ("csq", "deephash", "timm")
    known = (
        "mfnet3d, any pytorchvideo model, frames:NAME of a timm model" if video else "alexnet, lite0 or any timm model"
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--preset", choices=presets, help="where all values come from (default: csq-paper)")
    recipe.add_argument("--method", choices=methods, help="default: csq; with --preset ours, ours")
    recipe.add_argument("--backbone", default=backbone, help=f"{known} (default: %(default)s)")
    recipe.add_argument("--bits", type=int, dest="n_bits", help="code length (default: 64)")
    recipe.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    recipe.add_argument("--epochs", type=int, dest="n_epochs", help="instead of the preset's")
    recipe.add_argument("--batch-size", type=int, help="samples of a step, of all processes together")
    recipe.add_argument("--lr", type=float, help="learning rate of the head")
    recipe.add_argument("--backbone-multiplier", type=float, help="the backbone's learning rate, as a multiple of it")
    recipe.add_argument("--quantization-weight", type=float, help="weight of L_Q")
    recipe.add_argument("--centers", help="method of HashCenterGenerator")
    recipe.add_argument("--transform", choices=transforms, help="how images or clips are cropped and normalised")
    recipe.add_argument("--image-size", type=int, help="pixels of a side")
    recipe.add_argument("--no-pretrained", action="store_false", dest="pretrained", default=None, help="random weights")

    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, help=f"folder of the run (default: {out}/METHOD-BACKBONE-BITS-PRESET)")
    run.set_defaults(out_base=out)
    run.add_argument("--resume", action="store_true", help="go on with the run in that folder, or start it")
    select = run.add_mutually_exclusive_group()
    select.add_argument(
        "--select-on-test",
        action="store_true",
        help="choose the epoch by mAP of the test queries, as peers do; optimistic, and the results say so",
    )
    select.add_argument("--select-last", action="store_true", help="take the last epoch; hold no training samples out")
    run.add_argument(
        "--validation-share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="training samples to hold out (default: %(default)s)",
    )
    run.add_argument("--validate-every", type=int, default=5, metavar="EPOCHS", help="default: %(default)s")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    run.add_argument(
        "--workers",
        type=int,
        default=min(4, cores // 2),
        help="processes that load and decode (default: half of the cores, at most 4)",
    )
    run.add_argument(
        "--threads",
        type=int,
        help="threads of torch on the CPU (default: half of the cores; more wait for each other where others compute)",
    )
    run.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="pass a batch through in N parts, to save memory"
    )
    run.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no", help="default: %(default)s")
    run.add_argument("--channels-last", action="store_true", help="layout that many GPUs prefer")
    run.add_argument("--compile", action="store_true", help="torch.compile the network")
    run.add_argument("--tensorboard", action="store_true", help="write curves for TensorBoard too")
    run.add_argument("--quiet", action="store_true", help="no bars, no words")


def checked_images(splits: ItemSplits, args: argparse.Namespace) -> ItemSplits:
    """Decode every image where the arguments ask for it, and do what they say about broken ones.

    Args:
        splits: the images.
        args: what ``add_data_arguments`` parsed.

    Returns:
        The splits, without broken images.

    Raises:
        OSError: some are broken, and the policy is to stop.
    """
    if not args.check_images:
        return splits
    broken = [path for images in (splits.queries, splits.database, splits.train) for path in unreadable(images)]
    broken = sorted(set(broken))
    if broken and args.on_missing == "stop":
        named = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        raise OSError(
            f"{len(broken)} images cannot be read: {named}; mend them, or leave them out by --on-missing skip"
        )
    return splits.without(broken) if broken else splits


def recipe_from(args: argparse.Namespace, splits: Splits) -> Recipe:
    """Build the recipe that the arguments ask for.

    Args:
        args: what ``add_run_arguments`` parsed.
        splits: the data, whose name and kind of labels the presets look at.

    Returns:
        The preset, with the values given in place of its own.
    """
    name = args.preset or "csq-paper"
    method = args.method or ("ours" if name == "ours" else "csq")
    backbone = args.backbone
    if method in FRAME_METHODS and backbone == "mfnet3d":  # these look at frames, one by one
        backbone = "resnet50"
    recipe = preset(
        name,
        splits.name,
        method=method,
        backbone=backbone,
        n_bits=64 if args.n_bits is None else args.n_bits,
        seed=args.seed,
        multi_label=splits.train.labels.ndim == 2,
        video=hasattr(args, "n_clips"),
    )
    given: dict[str, Any] = {"place_centers": True} if args.centers == "semantic" else {}
    given |= {name: getattr(args, name) for name in _OVERRIDES if getattr(args, name, None) is not None}
    changed = dataclasses.replace(recipe, **given)
    if changed.place_centers and not changed.pretrained and changed.weights is None and args.centers is None:
        # Random weights know nothing of how classes look.
        changed = dataclasses.replace(changed, place_centers=False, centers="auto")
    differences = recipe.changes(changed)
    if differences:
        words = ", ".join(f"{name} is {new!r}, not {old!r}" for name, (old, new) in differences.items())
        note = f"Changed from the preset, whatever else is said here: {words}."
        changed = dataclasses.replace(changed, quirks=(*changed.quirks, note))
    return changed


def options_from(args: argparse.Namespace, recipe: Recipe) -> RunOptions:
    """Build the options of the run that the arguments ask for.

    Args:
        args: what ``add_run_arguments`` parsed.
        recipe: names the folder, unless the arguments do.

    Returns:
        The options.
    """
    name = f"{recipe.method}-{recipe.backbone}-{recipe.n_bits}-{recipe.preset}"
    return RunOptions(
        folder=args.out or args.out_base / name.replace("/", "_").replace(":", "_"),
        resume=args.resume,
        selection="test" if args.select_on_test else "last" if args.select_last else "held-out",
        validation_share=args.validation_share,
        validate_every=args.validate_every,
        n_workers=args.workers,
        n_threads=_threads(args.threads),
        n_accumulated=args.accumulate,
        mixed_precision=args.mixed_precision,
        channels_last=args.channels_last,
        compile=args.compile,
        tensorboard=args.tensorboard,
        progress=not args.quiet,
        arguments={name: _plain(value) for name, value in vars(args).items() if name != "out_base"},
    )


def _threads(asked: int | None) -> int | None:
    if asked is not None or torch.accelerator.is_available() or "OMP_NUM_THREADS" in os.environ:
        return asked
    return max(1, torch.get_num_threads() // 2)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextmanager
def stopping(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Around the work of a script: what the user can mend ends in its message, without a traceback.

    Args:
        parser: knows the script's name.

    Yields:
        Nothing.

    Raises:
        SystemExit: an error that its message explains: of arguments, files, data, missing packages.

    Examples:
        >>> with stopping(argparse.ArgumentParser("train.py")):
        ...     raise FileNotFoundError("there is no folder data/imagenet")
        Traceback (most recent call last):
        SystemExit: train.py: there is no folder data/imagenet
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{parser.prog}: stopped; the same command with --resume goes on after the last whole epoch\n"
        )
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise  # a bug of a library: NotImplementedError, RecursionError
        if int(os.environ.get("RANK", 0)):  # the main process says it
            raise SystemExit(1) from error
        raise SystemExit(f"{parser.prog}: {_said(error)}") from error


# What the library calls things, and the option that sets them.
_OPTIONS = (
    ('on_missing="skip"', "--on-missing skip"),
    (
        "hashcenters.data.videos.unreadable_videos(videos) lists missing and broken ones, splits.without(...) "
        "leaves them out",
        "--check-videos --on-missing skip leaves such videos out",
    ),
    ("video_backbones() lists all", "frames:NAME takes an image network"),
    ("pass pretrained=False and load weights of yours with load_state_dict", "pass --no-pretrained"),
    ("n_train_per_class=", "--train-per-class "),
    ("n_queries_per_class=", "--queries-per-class "),
    ("n_train=", "--train "),
    ("n_queries=", "--queries "),
    ("validation_share=", "--validation-share "),
    ("batch_size=", "--batch-size "),
)


def _said(error: BaseException) -> str:
    """Return an error's message in the words of the command line."""
    words = str(error)
    if "in DataLoader worker process" in words:  # torch hands over the worker's traceback; the message is its last line
        words = words.rstrip().splitlines()[-1].partition(": ")[2]
    for name, option in _OPTIONS:
        words = words.replace(name, option)
    return words
