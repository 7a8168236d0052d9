"""Image data sets: lists, readers and transforms. Needs the extra ``images``.

Three lists (training images, queries, database) come from ``imagenet100``, ``coco``, ``nus_wide`` or ``read_lists``;
``ImageDataset`` reads the images of one. ``timm_transform`` is in ``hashcenters.data.images.timm_transforms``, which
needs timm.
"""

from hashcenters.data.images.dataset import ImageDataset
from hashcenters.data.images.decoding import ImageReadError, open_image
from hashcenters.data.images.files import missing, unreadable
from hashcenters.data.images.imagenet import IMAGENET100_WNIDS, imagenet100
from hashcenters.data.images.lists import read_list, read_lists, write_list
from hashcenters.data.images.mscoco import coco
from hashcenters.data.images.nuswide import nus_wide
from hashcenters.data.images.transforms import csq_transform, deephash_transform
from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.protocol import TABLE_1, data_imbalance

__all__ = [
    "IMAGENET100_WNIDS",
    "TABLE_1",
    "ImageDataset",
    "ImageReadError",
    "ItemList",
    "ItemSplits",
    "coco",
    "csq_transform",
    "data_imbalance",
    "deephash_transform",
    "imagenet100",
    "missing",
    "nus_wide",
    "open_image",
    "read_list",
    "read_lists",
    "unreadable",
    "write_list",
]
