"""Backbones with a hash head."""

from typing import TYPE_CHECKING

from hashcenters.models.hasher import Hasher

if TYPE_CHECKING:
    from hashcenters.models.image import image_hasher

__all__ = ["Hasher", "image_hasher"]


def __getattr__(name: str) -> object:
    # timm loads when it is first needed, not with `import hashcenters`.
    if name == "image_hasher":
        from hashcenters.models.image import image_hasher

        return image_hasher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
