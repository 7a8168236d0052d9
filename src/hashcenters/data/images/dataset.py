"""The data set of images that a loader reads.

Needs the extra ``images``.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils.data import Dataset

from hashcenters.centers.randomness import check_seed
from hashcenters.checks import check_count
from hashcenters.data.images.decoding import open_image
from hashcenters.data.items import ItemList
from hashcenters.data.seeding import seeded

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageDataset"]


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images of a list, decoded and transformed one at a time.

    ``dataset[index]`` draws what is random in the transform from the global generators, as torchvision always does.
    ``dataset[epoch, index]`` makes it depend on (seed, epoch, index) alone: whichever worker reads the image, however
    many there are, in whatever order, interrupted or not. For this the generators of torch, numpy and Python are
    seeded for the one call and put back afterwards (about 90 microseconds an image).

    Args:
        images: what to read.
        transform: turns a PIL image of mode RGB into a tensor, such as ``csq_transform(train=True)``.
        targets: tensor with a row an image, which takes the label's place (CNNH's codes, say); None gives the labels.
        seed: 0..2**63 - 1; what is random in the transform, for keys (epoch, index).

    Raises:
        ValueError: ``targets`` has not one row an image.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (4, 4), (255, 0, 0)).save(f"{folder}/red.png")
        ...     images = ItemList(Path(folder), ("red.png",), torch.tensor([0]), ("red",))
        ...     dataset = ImageDataset(images, lambda image: torch.tensor(image.getpixel((0, 0))))
        ...     len(dataset), dataset[0], dataset[3, 0]
        (1, (tensor([255,   0,   0]), tensor(0)), (tensor([255,   0,   0]), tensor(0)))
    """

    def __init__(
        self,
        images: ItemList,
        transform: Callable[[Image.Image], Tensor],
        *,
        targets: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        if targets is not None and (targets.ndim == 0 or len(targets) != len(images)):
            raise ValueError(
                f"targets must have one row an image: {len(images)} images, targets of shape {tuple(targets.shape)}"
            )
        self.images = images
        self.transform = transform
        self.targets = targets
        self.seed = check_seed(seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Read an image.

        Args:
            key: index of the image, or (epoch, index).

        Returns:
            The transformed image; its label, or its row of ``targets``.

        Raises:
            IndexError: there is no such image.
            ImageReadError: the file is missing or broken.
        """
        if isinstance(key, tuple):
            epoch, index = key
            with seeded(self.seed, check_count(epoch, "epoch", least=0), self._row(index)):
                return self._read(self._row(index))
        return self._read(self._row(key))

    def _row(self, index: int) -> int:
        row, n_rows = operator.index(index), len(self.images)
        if not -n_rows <= row < n_rows:
            raise IndexError(f"index must lie in 0..{n_rows - 1} (n={n_rows} images), got {row}")
        return row % n_rows

    def _read(self, row: int) -> tuple[Tensor, Tensor]:
        image = self.transform(open_image(os.path.join(self.images.root, self.images.paths[row])))
        return image, (self.images.labels if self.targets is None else self.targets)[row]
