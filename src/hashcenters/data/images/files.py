"""Missing and broken images, and draws that do not depend on either."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from hashcenters.centers.randomness import SUBSET_STREAM, check_seed, random_stream
from hashcenters.checks import check_count
from hashcenters.data.files import OnMissing, absent, present, read_text
from hashcenters.data.images.decoding import ImageReadError, open_image

if TYPE_CHECKING:
    from hashcenters.data.items import ItemList

__all__ = ["OnMissing", "absent", "missing", "present", "random_order", "read_text", "unreadable"]


def missing(images: ItemList) -> list[str]:
    """List the images whose files do not exist.

    Args:
        images: the list to look at; nothing is opened.

    Returns:
        Their paths, in the order of the list.

    Examples:
        >>> from pathlib import Path
        >>> import torch
        >>> from hashcenters.data.images import ItemList
        >>> missing(ItemList(Path("nowhere"), ("a.jpg",), torch.tensor([0]), ("cat",)))
        ['a.jpg']
    """
    return [path for path in images.paths if not os.path.isfile(os.path.join(images.root, path))]


def unreadable(images: ItemList, *, n_threads: int = 4) -> list[str]:
    """List the images whose files are missing or cannot be decoded; opens and decodes each.

    Args:
        images: the list to look at.
        n_threads: images decoded at a time.

    Returns:
        Their paths, in the order of the list: leave them out by ``ItemSplits.without``.

    Examples:
        >>> from pathlib import Path
        >>> import torch
        >>> from hashcenters.data.images import ItemList
        >>> unreadable(ItemList(Path("nowhere"), ("a.jpg",), torch.tensor([0]), ("cat",)))
        ['a.jpg']
    """

    def broken(path: str) -> bool:
        try:
            open_image(os.path.join(images.root, path))
        except ImageReadError:
            return True
        return False

    with ThreadPoolExecutor(check_count(n_threads, "n_threads")) as pool:
        return [path for path, bad in zip(images.paths, pool.map(broken, images.paths), strict=True) if bad]


def random_order(n: int, seed: int, *path: int) -> list[int]:
    """Shuffle 0..n-1, the same way on every platform.

    Taking the first k gives nested random subsets; leaving out items that are not on the disk changes the draw by their
    replacements alone.

    Args:
        n: number of items.
        seed: 0..2**63 - 1.
        path: what is drawn; different paths are independent.

    Returns:
        A random permutation.

    Examples:
        >>> random_order(5, 0)
        [3, 4, 0, 2, 1]
    """
    words = random_stream(check_seed(seed), SUBSET_STREAM, *path).random_raw(n)
    order: list[int] = np.argsort(words, kind="stable").tolist()
    return order
