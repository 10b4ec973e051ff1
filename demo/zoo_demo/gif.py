"""Frames → an animated GIF."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_gif(frames: NDArray[np.uint8], *, scale: int, milliseconds: int) -> bytes:
    """Return an endless GIF of the frames, each pixel enlarged to a square.

    Grey frames keep every value; coloured ones get a palette of 256 colours each.

    Args:
        frames: uint8 `(N, C, H, W)`, of 1 or 3 channels.
        scale: The side of a pixel's square.
        milliseconds: How long each frame stands; GIF counts in tens.
    """
    enlarged = frames.repeat(scale, axis=2).repeat(scale, axis=3)
    images = [Image.fromarray(f[0] if len(f) == 1 else f.transpose(1, 2, 0)) for f in enlarged]
    buffer = io.BytesIO()
    images[0].save(
        buffer, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=False
    )
    return buffer.getvalue()
