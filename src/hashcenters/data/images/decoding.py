"""From an entry of a list to an RGB image, or to an error that names the file. Needs the extra ``images``."""

from __future__ import annotations

import re
import struct
from pathlib import Path

try:
    from PIL import Image
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; images need Pillow: pip install "hashcenters[images]"', name=error.name) from error

__all__ = ["ImageReadError", "check_entry", "open_image"]

# What Pillow's decoders let through: most breakage is an OSError, a broken PNG a SyntaxError, a cut header the rest.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)
_UNTIDY = re.compile(r"(^|/)(\.?/|\.$)|/$")


class ImageReadError(OSError):
    """An image file is missing or broken; the message names it, its trouble and the way on.

    The only argument is the message, so that the error reaches the main process from a loader's worker as it is.
    """


def check_entry(entry: str) -> str:
    """Return an entry of an image list in its plain form, or refuse it where it could leave the image root.

    The test looks at the text alone: a root or class folder that is a symbolic link to another disk is fine.

    Args:
        entry: path of an image relative to the root, "/" between its parts.

    Returns:
        The entry without "./" and doubled separators.

    Raises:
        ValueError: the entry is empty, absolute (``/a``, ``C:a``, ``//server``), holds a ".." part, a backslash (a
            separator on one platform only) or a character that no file name has (NUL, line ends).

    Examples:
        >>> check_entry("./train/n01440764/a.JPEG")
        'train/n01440764/a.JPEG'
    """
    if "\\" in entry:
        raise ValueError(f'image paths must use "/" between folders, got {entry!r}')
    if entry[:1] == "/" or entry[1:2] == ":":
        raise ValueError(f"image paths must be relative to the image root, got {entry!r}; cut the root off")
    if ".." in entry and ".." in entry.split("/"):
        raise ValueError(f"image paths must stay inside the image root, got {entry!r}")
    if "\0" in entry or "\n" in entry or "\r" in entry:
        raise ValueError(f"image paths must be one line without NUL, got {entry!r}")
    if entry == "" or _UNTIDY.search(entry):
        tidy = "/".join(part for part in entry.split("/") if part not in ("", "."))
        if tidy == "" or entry[-1] == "/":
            raise ValueError(f"image paths must name a file, got {entry!r}")
        return tidy
    return entry


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
