"""Backbones, heads of frame sequences, and whole models that hash."""

from typing import TYPE_CHECKING

from hashcenters.models.hasher import Hasher
from hashcenters.models.multifiber import MFNet3D, load_mfnet3d
from hashcenters.models.sequence import (
    DifferentialLSTMHead,
    FrameAverage,
    FrameEncoder,
    MeanPoolHead,
    RecurrentHead,
    TemporalFusionHead,
)

if TYPE_CHECKING:
    from hashcenters.models.image import image_hasher, lite0_backbone
    from hashcenters.models.video import VideoBackbone, video_backbones, video_hasher

__all__ = [
    "DifferentialLSTMHead",
    "FrameAverage",
    "FrameEncoder",
    "Hasher",
    "MFNet3D",
    "MeanPoolHead",
    "RecurrentHead",
    "TemporalFusionHead",
    "VideoBackbone",
    "image_hasher",
    "lite0_backbone",
    "load_mfnet3d",
    "video_backbones",
    "video_hasher",
]


def __getattr__(name: str) -> object:
    # timm and pytorchvideo load when they are first needed, not with `import hashcenters`.
    if name in ("image_hasher", "lite0_backbone"):
        from hashcenters.models import image

        return getattr(image, name)
    if name in ("VideoBackbone", "video_backbones", "video_hasher"):
        from hashcenters.models import video

        return getattr(video, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
