"""An uploaded image file's bytes → an image of the model's shape."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from zoo_demo.safety import RefusedError

MAX_PIXELS = 40_000_000  # 160 MB once decoded
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MODES = {1: "L", 3: "RGB"}  # by the number of channels

# Pillow refuses by itself from twice this number on, before it decodes; `_open` does below that.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def to_image(content: bytes, image_shape: tuple[int, int, int], *, invert: bool) -> NDArray[np.uint8]:
    """Return an uploaded file's image, cropped in its middle and resized to the model's shape.

    It is turned as its EXIF orientation says, laid on white where it is transparent, and made grey
    or RGB. Of an animation it is the first frame.

    Args:
        content: The file's bytes.
        image_shape: `(C, H, W)`.
        invert: Whether to swap dark and bright: a pen is dark on paper, MNIST's digits are bright.

    Returns:
        uint8 `(C, H, W)`.

    Raises:
        RefusedError: 400 for a model of neither 1 nor 3 channels, 413 for too many pixels, 415 for
            any other kind of file, 422 for a damaged one.
    """
    channels, height, width = image_shape
    if channels not in MODES:
        raise RefusedError(400, f"This model's images have {channels} channels; a file's have 1 or 3.")
    image = _open(content)
    try:
        # Bilinear, because filters that overshoot would put a halo around every stroke.
        image = ImageOps.fit(_upright(image), (width, height), Image.Resampling.BILINEAR)
        image = _on_white(image).convert(MODES[channels])
    except Exception as error:  # Pillow's decoders raise anything for a damaged file
        raise RefusedError(422, "The image file is damaged, or was cut short.") from error
    pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    return np.ascontiguousarray(255 - pixels if invert else pixels)


def _open(content: bytes) -> Image.Image:
    """Read a file's header alone: its format and size are judged before anything is decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise RefusedError(415, f"This is no image file of a kind that can be read: {kinds}.") from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels()
    return image


def _too_many_pixels() -> RefusedError:
    return RefusedError(413, f"The image is too large: at most {MAX_PIXELS // 1_000_000} million pixels.")


def _upright(image: Image.Image) -> Image.Image:
    """Decode an image, in a mode that can be resized: 8 bits a channel, no palette."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16-bit grey; convert("L") would cut it off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
