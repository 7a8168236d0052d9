"""Your own images: three lists, one command, the same recipes and results as in the paper's experiments.

    python examples/train_lists.py LISTS ROOT --name photos --single-label
    python examples/train_lists.py LISTS ROOT --name photos --preset ours --backbone lite0 --bits 32

LISTS holds train.txt, test.txt (the queries) and database.txt; a line is a path below ROOT, then 0 or 1 for each class:
`cats/1.jpg 0 1 0`. `hashcenters.data.images.write_list` writes such lists.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.data.images import read_lists
from hashcenters.training.command_line import (
    add_run_arguments,
    options_from,
    recipe_from,
    stopping,
)
from hashcenters.training.images import train_on_images


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn binary codes of your images, and search with them.")
    parser.add_argument("lists", type=Path, help="folder of train.txt, test.txt and database.txt")
    parser.add_argument("root", type=Path, help="folder that the images' paths are relative to")
    parser.add_argument("--name", default="images", help="what to call the data (default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=1000, help="items that mAP looks at (default: %(default)s)")
    parser.add_argument("--single-label", action="store_true", help="every image has one class")
    parser.add_argument("--on-missing", choices=("stop", "skip"), default="stop", help="what to do about absent images")
    add_run_arguments(parser, backbone="resnet50", out=Path("runs/lists"))
    args = parser.parse_args(argv)
    with stopping(parser):
        splits = read_lists(
            args.lists,
            args.root,
            name=args.name,
            top_k=args.top_k,
            multi_label=not args.single_label,
            on_missing=args.on_missing,
        )
        recipe = recipe_from(args, splits)
        train_on_images(splits, recipe, options_from(args, recipe))


if __name__ == "__main__":
    main()
