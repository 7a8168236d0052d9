"""NUS-WIDE: its columns of Table 2 of the paper, one command for each entry.

    python examples/train_nus_wide.py /data/nus_wide                                  # CSQ, ResNet-50, 64 bits
    python examples/train_nus_wide.py /data/nus_wide --method hashnet --bits 32
    accelerate launch examples/train_nus_wide.py /data/nus_wide --preset ours --mixed-precision bf16

The folder holds the official lists (Concepts81.txt, ItemList/, AllLabels/ or TrainTestLabels/) and the images in
Flickr/. Many of them are no longer online: --on-missing skip leaves out and counts what is absent. A run that was
stopped goes on with --resume; `python -m hashcenters.report runs/nus_wide/*` puts runs beside the paper's numbers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.images import nus_wide, read_lists
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
    parser = argparse.ArgumentParser(description="Learn binary codes of NUS-WIDE, and search with them.")
    parser.add_argument("root", type=Path, help="NUS-WIDE folder, with the official lists and Flickr/")
    parser.add_argument("--train-per-class", type=int, default=500, metavar="N", help="default: %(default)s")
    parser.add_argument("--queries-per-class", type=int, default=100, metavar="N", help="default: %(default)s")
    add_data_arguments(parser)
    add_run_arguments(parser, backbone="resnet50", out=Path("runs/nus_wide"))
    args = parser.parse_args(argv)
    with stopping(parser):
        if args.lists is None:
            splits = nus_wide(
                args.root,
                n_train_per_class=args.train_per_class,
                n_queries_per_class=args.queries_per_class,
                database=args.database,
                on_missing=args.on_missing,
                seed=args.data_seed,
            )
        else:
            splits = read_lists(args.lists, args.root, name="nus_wide", top_k=5000, on_missing=args.on_missing)
        splits = checked_images(splits, args)
        if args.counts:
            print(splits.report())
            return
        recipe = recipe_from(args, splits)
        train_on_images(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
