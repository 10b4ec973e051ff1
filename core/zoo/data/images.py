"""An image file becomes an image of the shape that a model or a dataset has.

Pillow is imported when the first file is read.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import ConfigError, ImageError, IncompatibleError, printable
from zoo.files import open_regular

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000  # a decoded image of that size takes 400 MB
MODES = {1: "L", 3: "RGB"}  # Pillow's mode for each number of channels

# Pillow's modes whose pixels have a known black and white. The others hold 32-bit numbers (I, F) or another colour
# space (LAB), of which Pillow makes no RGB.
_READABLE = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
_PNG_DEPTH = 24  # position in a PNG file of the number of bits a channel


def read_image(
    source: str | os.PathLike[str] | bytes,
    image_shape: tuple[int, int, int],
    *,
    background: Literal["white", "black"] | None = None,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> Tensor:
    """Read an image file as an image of the given shape: cropped to its middle and resized.

    The image is turned upright as its EXIF orientation says. 16 bits a channel are scaled to 8.
    Colours become grey, or grey becomes RGB, as the shape asks. Of an animation, the first frame is
    read. Colour profiles are ignored.

    Args:
        source: A file's path, or its bytes.
        image_shape: `(C, H, W)`, C being 1 (grey) or 3 (RGB).
        background: What shows through transparent parts. None chooses for each image: white, or black
            where the visible part is on average brighter than mid-grey, so that a white drawing shows.
        formats: The kinds of file that are read, by Pillow's names.
        max_pixels: Images of more pixels are refused before they are decoded.

    Returns:
        uint8 `(C, H, W)`, 0 to 255.

    Raises:
        ConfigError: There is no such background.
        ImageError: The file is missing, of another kind, too large or damaged.
        IncompatibleError: Images of this shape have neither 1 nor 3 channels.
    """
    channels, height, width = image_shape
    if channels not in MODES:
        raise IncompatibleError(f"An image file has 1 or 3 channels; images of {tuple(image_shape)} are asked for.")
    if background not in (None, "white", "black"):
        raise ConfigError(f"background must be 'white', 'black' or None, got {printable(repr(background), 60)}.")
    name = "The image" if isinstance(source, bytes) else printable(os.fspath(source))
    with ExitStack() as stack:
        file = _opened(source, name, stack)
        stack.enter_context(warnings.catch_warnings())
        # Pillow warns of large and slightly damaged images; here they are either refused or read.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        image = _header(file, name, formats, max_pixels)
        try:
            image = _upright(image, _key_scale(image, file))
            image = _fitted(image, (width, height))
            image = _opaque(image, background).convert(MODES[channels])
        except Exception as error:  # Pillow's decoders raise anything for a damaged file
            raise ImageError(f"{name} cannot be read: it is damaged, or was cut short.", "damaged") from error
    pixels = np.array(image, dtype=np.uint8).reshape(height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _opened(source: str | os.PathLike[str] | bytes, name: str, stack: ExitStack) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return stack.enter_context(open_regular(Path(source)))
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise ImageError(f"{name} cannot be read: {why}.", "missing") from error


def _header(file: BinaryIO, name: str, formats: Sequence[str], max_pixels: int) -> Image.Image:
    """Read a file's header alone: its kind and size are judged before anything is decoded."""
    from PIL import Image

    too_large = f"{name} cannot be read: it has more than {max_pixels / 1e6:g} million pixels."
    try:
        image = Image.open(file, formats=list(formats))
    except Image.DecompressionBombError as error:
        raise ImageError(too_large, "too large") from error
    except Exception as error:
        kinds = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise ImageError(f"{name} cannot be read: it is no image file of the kinds {kinds}.", "unknown kind") from error
    if image.width * image.height > max_pixels:
        raise ImageError(too_large, "too large")
    if image.mode not in _READABLE | _SIXTEEN_BITS:
        what = f"its pixels are of Pillow's mode {image.mode}, where white has no fixed value"
        raise ImageError(f"{name} cannot be read: {what}. Save it with 8 or 16 bits a channel.", "unknown kind")
    return image


def _key_scale(image: Image.Image, file: BinaryIO) -> float:
    """Return by how much the transparent colour of a PNG file is to be multiplied.

    Pillow gives that colour as the file holds it, and brings pixels of 2 or 4 bits, and RGB of 16, to 8.
    """
    if image.format != "PNG" or image.mode == "1" or image.mode in _SIXTEEN_BITS:
        return 1
    position = file.tell()
    file.seek(_PNG_DEPTH)
    depth = file.read(1)[0]
    file.seek(position)
    return 1 / 256 if depth == 16 else 255 / (2**depth - 1)


def _upright(image: Image.Image, key_scale: float) -> Image.Image:
    """Decode an image, in a mode that can be resized: L, LA, RGB or RGBA."""
    from PIL import ImageOps

    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    key = image.info.pop("transparency", None)  # the colour that means transparent
    if image.mode == "1" and key:
        key = 255  # as its pixels are; older versions of Pillow give 1
    plain = _eight_bits(image)
    if key is not None and plain.mode in ("L", "RGB"):
        plain.putalpha(_opacity(image if image.mode in _SIXTEEN_BITS else plain, key_scale * np.asarray(key)))
    return plain


def _opacity(image: Image.Image, key: NDArray[np.float64]) -> Image.Image:
    """Return 0 for pixels of the transparent colour, 255 for all others, in mode L."""
    from PIL import Image

    differs = np.asarray(image) != np.floor(key)  # (H, W), or (H, W, 3) for a colour
    visible = differs if differs.ndim == 2 else differs.any(axis=2)
    return Image.fromarray(visible.astype(np.uint8) * 255)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode in _SIXTEEN_BITS:  # convert("L") would make everything from 255 on white
        quotient, rest = np.divmod(np.asarray(image), 257)
        return Image.fromarray((quotient + (rest > 128)).astype(np.uint8))  # 65535 = 257 · 255
    similar = {"1": "L", "La": "LA", "RGBa": "RGBA"}
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert(similar.get(image.mode, "RGB"))


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image, ImageOps

    # Bilinear, because filters that overshoot would put a halo around every stroke.
    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def _opaque(image: Image.Image, background: str | None) -> Image.Image:
    """Lay an image on its background."""
    from PIL import Image

    if image.mode not in ("LA", "RGBA"):
        return image
    image = image.convert("RGBA")
    under = Image.new("RGBA", image.size, background or _contrasting(image))
    return Image.alpha_composite(under, image)


def _contrasting(image: Image.Image) -> str:
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    opacity = np.asarray(image.getchannel("A"), dtype=np.float64)
    return "black" if (grey * opacity).sum() > 127.5 * opacity.sum() else "white"
