"""An uploaded image file's bytes → an image of the model's shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo import ImageError, read_image
from zoo.data.images import MODES
from zoo_demo.safety import RefusedError

MAX_PIXELS = 40_000_000  # 160 MB once decoded
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_REFUSALS = {
    "too large": (413, f"The image is too large: at most {MAX_PIXELS // 1_000_000} million pixels."),
    "unknown kind": (
        415,
        f"This is no image file of a kind that can be read: {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
    ),
    "damaged": (422, "The image file is damaged, or was cut short."),
}


def to_image(content: bytes, image_shape: tuple[int, int, int], *, invert: bool) -> NDArray[np.uint8]:
    """Return an uploaded file's image, as `zoo.read_image` reads it.

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
    channels = image_shape[0]
    if channels not in MODES:
        raise RefusedError(400, f"This model's images have {channels} channels; a file's have 1 or 3.")
    try:
        pixels = read_image(content, image_shape, formats=FORMATS, max_pixels=MAX_PIXELS).numpy()
    except ImageError as error:
        raise RefusedError(*_REFUSALS[error.reason]) from error
    return 255 - pixels if invert else pixels
