"""ImageNet-100: Tables 2, 3, 4, 6 and 7 of the paper, Figs. 5, 7 and 8, one command for each entry.

    python examples/train_imagenet.py /data/imagenet                                  # CSQ, ResNet-50, 64 bits
    python examples/train_imagenet.py /data/imagenet --method hashnet --bits 32 --backbone alexnet
    accelerate launch examples/train_imagenet.py /data/imagenet --preset ours --mixed-precision bf16

The folder holds train/n01440764/*.JPEG, val/n01440764/*.JPEG and so on. A run that was stopped goes on with --resume;
`python -m hashcenters.report runs/imagenet100/*` puts runs beside the paper's numbers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.images import imagenet100, read_lists
from hashcenters.training.command_line import (
    add_data_arguments,
    add_run_arguments,
    checked_images,
    options_from,
    recipe_from,
    stopping,
)
from hashcenters.training.images import train_on_images


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn binary codes of ImageNet-100, and search with them.")
    parser.add_argument("root", type=Path, help="ImageNet folder, with train/ and val/")
    parser.add_argument("--train-per-class", type=int, default=100, metavar="N", help="the released lists have 130")
    add_data_arguments(parser)
    add_run_arguments(parser, backbone="resnet50", out=Path("runs/imagenet100"))
    args = parser.parse_args(argv)
    with stopping(parser):
        if args.lists is None:
            splits = imagenet100(
                args.root,
                n_train_per_class=args.train_per_class,
                database=args.database,
                on_missing=args.on_missing,
                seed=args.data_seed,
            )
        else:
            splits = read_lists(
                args.lists, args.root, name="imagenet100", top_k=1000, multi_label=False, on_missing=args.on_missing
            )
        splits = checked_images(splits, args)
        if args.counts:
            print(splits.report())
            return
        recipe = recipe_from(args, splits)
        train_on_images(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
