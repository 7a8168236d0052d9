"""UCF101: its columns of Tables 5, 6 and 7 of the paper, Figs. 6 to 8.

    python examples/train_ucf101.py --synthetic                                   # a few minutes on two cores
    python examples/train_ucf101.py /data/ucf101 --weights mfnet3d_kinetics.pth   # CSQ, MFNet3D, 64 bits
    python examples/train_ucf101.py /data/ucf101 --method srh --backbone resnet50 --bits 16
    accelerate launch examples/train_ucf101.py /data/ucf101 --backbone slow_r50 --preset ours --mixed-precision bf16

The folder holds ucfTrainTestlist/*.txt and ApplyEyeMakeup/*.avi and so on, in itself or in UCF-101.
A run that was stopped goes on with --resume; `python -m hashcenters.report runs/ucf101/*` puts runs beside the paper's
numbers.

Without data and GPU, --synthetic writes real encoded videos in the same layout: a picture moves, its direction is the
class, and no single frame tells it. Then everything is as with UCF101: lists, decoding, training, evaluation, pictures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.videos import ucf101
from hashcenters.training.command_line import (
    add_run_arguments,
    add_video_arguments,
    options_from,
    recipe_from,
    stopping,
)
from hashcenters.training.videos import checked_videos, make_synthetic, train_on_videos


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn binary codes of UCF101, and search with them.")
    parser.add_argument("root", type=Path, nargs="?", help="UCF101 folder, with the videos and the official splits")
    add_video_arguments(parser)
    add_run_arguments(parser, backbone="mfnet3d", out=Path("runs/ucf101"), video=True)
    args = parser.parse_args(argv)
    if (args.root is None) != args.synthetic:
        parser.error("give the folder of UCF101, or --synthetic")
    with stopping(parser):
        if args.synthetic:
            make_synthetic(args, layout="ucf101")
        splits = checked_videos(ucf101(args.root, split=args.split, on_missing=args.on_missing), args)
        if args.counts:
            print(splits.report())
            return
        recipe = recipe_from(args, splits)
        train_on_videos(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
