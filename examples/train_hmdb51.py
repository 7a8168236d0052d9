"""HMDB51: its columns of Table 5 of the paper, Figs. 7 and 8.

    python examples/train_hmdb51.py --synthetic                                   # a few minutes on two cores
    python examples/train_hmdb51.py /data/hmdb51 --weights mfnet3d_kinetics.pth   # CSQ, MFNet3D, 64 bits
    python examples/train_hmdb51.py /data/hmdb51 --method srh --backbone resnet50 --bits 16
    accelerate launch examples/train_hmdb51.py /data/hmdb51 --backbone slow_r50 --preset ours --mixed-precision bf16

The folder holds testTrainMulti_7030_splits/*.txt and brush_hair/*.avi and so on, in itself or in hmdb51_org.
A run that was stopped goes on with --resume; `python -m hashcenters.report runs/hmdb51/*` puts runs beside the paper's
numbers.

Without data and GPU, --synthetic writes real encoded videos in the same layout: a picture moves, its direction is the
class, and no single frame tells it. Then everything is as with HMDB51: lists, decoding, training, evaluation, pictures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.videos import hmdb51
from hashcenters.training.command_line import (
    add_run_arguments,
    add_video_arguments,
    options_from,
    recipe_from,
    stopping,
)
from hashcenters.training.videos import checked_videos, make_synthetic, train_on_videos


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn binary codes of HMDB51, and search with them.")
    parser.add_argument("root", type=Path, nargs="?", help="HMDB51 folder, with the videos and the official splits")
    add_video_arguments(parser)
    add_run_arguments(parser, backbone="mfnet3d", out=Path("runs/hmdb51"), video=True)
    args = parser.parse_args(argv)
    if (args.root is None) != args.synthetic:
        parser.error("give the folder of HMDB51, or --synthetic")
    with stopping(parser):
        if args.synthetic:
            make_synthetic(args, layout="hmdb51")
        splits = checked_videos(hmdb51(args.root, split=args.split, on_missing=args.on_missing), args)
        if args.counts:
            print(splits.report())
            return
        recipe = recipe_from(args, splits)
        train_on_videos(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
