"""A strided-convolution encoder and the decoder that mirrors it."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

Width = Annotated[int, Field(ge=1, le=256)]


class ConvEncoder(nn.Module):
    """3×3 convolutions of stride 2 until a side is at most 4 pixels, then one linear layer.

    The channels double with each halving, up to eight times the first layer's.

    Args:
        image_shape: `(C, H, W)`: 1 or 3 channels, sides from 16 to 256.
        out_features: How many features to give for an image.
        width: Channels of the first layer.

    Raises:
        ValueError: The image shape is none of these.
    """

    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, width: Width = 16) -> None:
        super().__init__()
        stages = _stages(image_shape, width)
        layers: list[nn.Module] = []
        for (inputs, *_), (outputs, *_) in itertools.pairwise(stages):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Linear(math.prod(stages[-1]), out_features)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolutions(images)  # (N, C, H, W) → (N, channels, height, width)
        features: Tensor = self.project(maps.flatten(1))  # (N, out_features)
        return features


class ConvDecoder(nn.Module):
    """One linear layer, then 3×3 transposed convolutions of stride 2: `ConvEncoder` backwards.

    Args:
        latent_dim: Size of the latent.
        image_shape: `(C, H, W)`: 1 or 3 channels, sides from 16 to 256.
        width: Channels before the last layer.

    Raises:
        ValueError: The image shape is none of these.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int], *, width: Width = 16) -> None:
        super().__init__()
        stages = _stages(image_shape, width)[::-1]
        self.first_maps = stages[0]
        self.expand = nn.Linear(latent_dim, math.prod(stages[0]))
        layers: list[nn.Module] = []
        for (inputs, *_), (outputs, height, width_) in itertools.pairwise(stages):
            even = (1 - height % 2, 1 - width_ % 2)  # an even side lost nothing when it was halved
            layers += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=even)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        maps = self.expand(latents).unflatten(1, self.first_maps)  # (N, channels, height, width)
        reconstruction: Tensor = self.convolutions(maps)  # (N, C, H, W)
        return reconstruction


def _stages(image_shape: tuple[int, int, int], width: int) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) from the image to the smallest maps."""
    channels, height, image_width = image_shape
    if channels not in (1, 3) or not (min(height, image_width) >= 16 and max(height, image_width) <= 256):
        raise ValueError("it takes 1 or 3 channels and sides from 16 to 256")
    stages = [image_shape]
    while min(height, image_width) > 4:
        height, image_width = math.ceil(height / 2), math.ceil(image_width / 2)
        stages.append((min(width * 2 ** (len(stages) - 1), 8 * width), height, image_width))
    return stages
