"""From an entry of a list to an RGB image, or to an error that names the file. Needs the extra ``images``."""

from __future__ import annotations

import struct
from pathlib import Path

try:
    from PIL import Image
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; images need Pillow: pip install "hashcenters[images]"', name=error.name) from error

__all__ = ["ImageReadError", "open_image"]

# What Pillow's decoders let through: most breakage is an OSError, a broken PNG a SyntaxError, a cut header the rest.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


class ImageReadError(OSError):
    """An image file is missing or broken; the message names it, its trouble and the way on.

    The only argument is the message, so that the error reaches the main process from a loader's worker as it is.
    """


def open_image(path: str | Path) -> Image.Image:
    """Read and decode an image as RGB.

    Palette, gray, CMYK and transparent images become RGB (transparency is dropped, 16-bit gray keeps its upper byte).
    The EXIF orientation is not applied: neither do CSQ, HashNet or DeepHash-pytorch, and ImageNet's few rotated
    photographs are part of the published numbers.

    Args:
        path: file to read.

    Returns:
        Image of mode "RGB", fully decoded; the file is closed.

    Raises:
        ImageReadError: the file is missing, cut short or no image.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (3, 2), 7).save(f"{folder}/gray.png")
        ...     image = open_image(f"{folder}/gray.png")
        >>> image.mode, image.size, image.getpixel((0, 0))
        ('RGB', (3, 2), (7, 7, 7))
    """
    image: Image.Image
    try:
        with Image.open(path) as image:
            if image.mode == "RGB":
                image.load()
                return image
            if image.mode.startswith("I;16"):  # convert would clip at 255 instead of scaling
                return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
            if image.mode == "P":  # straight to RGB Pillow warns about transparency given in bytes
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except Image.DecompressionBombError as error:
        cause: Exception = error
    except _BROKEN as error:
        cause = error
    kind = "is missing" if isinstance(cause, FileNotFoundError) else f"cannot be read ({cause})"
    raise ImageReadError(
        f'image {str(path)!r} {kind}. A reader\'s on_missing="skip" leaves missing files out; '
        "hashcenters.data.images.unreadable(images) lists broken ones, splits.without(...) leaves them out"
    ) from cause
