"""Runs on images: the transforms of a recipe, and thumbnails for pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from hashcenters.data.images import ImageDataset, ItemList, ItemSplits, csq_transform, deephash_transform, open_image
from hashcenters.data.images.timm_transforms import timm_transform
from hashcenters.models.hasher import Hasher
from hashcenters.retrieval.result import RetrievalResult
from hashcenters.training.recipes import Recipe
from hashcenters.training.run import MakeDataset, RunOptions, train_and_evaluate

__all__ = ["image_datasets", "image_thumbnails", "train_on_images"]


def train_on_images(splits: ItemSplits, recipe: Recipe, options: RunOptions) -> RetrievalResult | None:
    """Do a whole run on images: ``train_and_evaluate`` with the recipe's transforms, and thumbnails.

    Args:
        splits: the images.
        recipe: how to train.
        options: where to, and on what machine.

    Returns:
        The metrics of the test queries; None where the folder has them already.
    """
    return train_and_evaluate(
        splits, recipe, options, make_datasets=image_datasets(recipe), thumbnail=image_thumbnails(splits)
    )


def image_datasets(recipe: Recipe) -> Callable[[Hasher], MakeDataset]:
    """Return what ``train_and_evaluate`` makes image data sets with.

    Args:
        recipe: names the transform and the size.

    Returns:
        Function from the network to a maker of data sets.
    """

    def for_network(network: Hasher) -> MakeDataset:
        def transform(train: bool) -> Any:  # noqa: ANN401 -- from a PIL image to a tensor
            if recipe.transform == "timm":
                return timm_transform(network.backbone, train, size=recipe.image_size)
            make = csq_transform if recipe.transform == "csq" else deephash_transform
            return make(train, size=recipe.image_size)

        def make_dataset(
            items: ItemList, *, train: bool, targets: Tensor | None = None, database: bool = False
        ) -> ImageDataset:
            return ImageDataset(items, transform(train), targets=targets, seed=recipe.seed)

        return make_dataset

    return for_network


def image_thumbnails(splits: ItemSplits, *, size: int = 112) -> Callable[[int, str], Image.Image]:
    """Return what ``train_and_evaluate`` draws neighbours with.

    Args:
        splits: the images.
        size: pixels of the longer side.

    Returns:
        Function from a position and ``"queries"`` or ``"database"`` to a small image.
    """

    def thumbnail(position: int, split: str) -> Image.Image:
        images = splits.queries if split == "queries" else splits.database
        small = open_image(images.absolute(position))
        small.thumbnail((size, size))
        return small

    return thumbnail
