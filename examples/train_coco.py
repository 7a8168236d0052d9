"""MS COCO: its columns of Table 2 of the paper, and Fig. 7, one command for each entry.

    python examples/train_coco.py /data/coco                                          # CSQ, ResNet-50, 64 bits
    python examples/train_coco.py /data/coco --method dch --bits 16
    accelerate launch examples/train_coco.py /data/coco --preset ours --mixed-precision bf16

The folder holds annotations/instances_train2014.json and instances_val2014.json, train2014/*.jpg and val2014/*.jpg. A
run that was stopped goes on with --resume; `python -m hashcenters.report runs/coco/*` puts runs beside the paper's
numbers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.images import coco, read_lists
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
    parser = argparse.ArgumentParser(description="Learn binary codes of MS COCO, and search with them.")
    parser.add_argument("root", type=Path, help="COCO folder, with annotations/ and images")
    parser.add_argument("--year", choices=("2014", "2017"), default="2014", help="default: %(default)s")
    parser.add_argument("--train", type=int, default=10_000, metavar="N", help="training images (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=5_000, metavar="N", help="test queries (default: %(default)s)")
    add_data_arguments(parser)
    add_run_arguments(parser, backbone="resnet50", out=Path("runs/coco"))
    args = parser.parse_args(argv)
    with stopping(parser):
        if args.lists is None:
            splits = coco(
                args.root,
                year=args.year,
                n_train=args.train,
                n_queries=args.queries,
                database=args.database,
                on_missing=args.on_missing,
                seed=args.data_seed,
            )
        else:
            splits = read_lists(args.lists, args.root, name="coco", top_k=5000, on_missing=args.on_missing)
        splits = checked_images(splits, args)
        if args.counts:
            print(splits.report())
            return
        recipe = recipe_from(args, splits)
        train_on_images(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
