"""Backbones, heads of frame sequences, and whole models that hash."""

from typing import TYPE_CHECKING

from hashcenters.models.hasher import Hasher
from hashcenters.models.sequence import (
    DifferentialLSTMHead,
    FrameEncoder,
    MeanPoolHead,
    RecurrentHead,
    TemporalFusionHead,
)

if TYPE_CHECKING:
    from hashcenters.models.image import image_hasher, lite0_backbone

__all__ = [
    "DifferentialLSTMHead",
    "FrameEncoder",
    "Hasher",
    "MeanPoolHead",
    "RecurrentHead",
    "TemporalFusionHead",
    "image_hasher",
    "lite0_backbone",
]


def __getattr__(name: str) -> object:
    # timm loads when it is first needed, not with `import hashcenters`.
    if name in ("image_hasher", "lite0_backbone"):
        from hashcenters.models import image

        return getattr(image, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
