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
        image_shape: `(C, H, W)`: sides from 16 to 256.
        out_features: Number of features of an image; channels where they are maps.
        width: Channels of the first layer.
        maps: Whether to give maps `(out_features, h, w)`, by a 1×1 convolution in place of the linear layer.
        halvings: Number of convolutions of stride 2; by default as many as bring a side to at most 4 pixels.

    Raises:
        ValueError: The image shape is none of these, or is halved too often.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_features: int,
        *,
        width: Width = 16,
        maps: bool = False,
        halvings: Annotated[int, Field(ge=1, le=7)] | None = None,
    ) -> None:
        super().__init__()
        stages = _stages(image_shape, width, halvings)
        layers: list[nn.Module] = []
        for (inputs, *_), (outputs, *_) in itertools.pairwise(stages):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        channels, *sides = stages[-1]
        self.project: nn.Module
        if maps:
            self.features_shape = (out_features, *sides)
            self.project = nn.Conv2d(channels, out_features, kernel_size=1)
        else:
            self.features_shape = (out_features,)
            self.project = nn.Linear(math.prod(stages[-1]), out_features)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolutions(images)  # (N, C, H, W) → (N, channels, h, w)
        features: Tensor = self.project(maps if len(self.features_shape) == 3 else maps.flatten(1))
        return features  # (N, out_features), or (N, out_features, h, w)


class ConvDecoder(nn.Module):
    """One linear layer, then 3×3 transposed convolutions of stride 2: `ConvEncoder` backwards.

    Latent maps of a size that halving the image gives need no linear layer: a 1×1 convolution stands
    in its place. Other maps are flattened.

    Args:
        latent_shape: `(D,)` or `(D, h, w)`.
        output_shape: `(C, H, W)`: sides from 16 to 256.
        width: Channels before the last layer.

    Raises:
        ValueError: The output shape is none of these.
    """

    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int], *, width: Width = 16) -> None:
        super().__init__()
        halvings = _halvings_to(latent_shape[1:], output_shape) if len(latent_shape) == 3 else None
        stages = _stages(output_shape, width, halvings)[::-1]
        self.first_maps = stages[0]
        self.keeps_maps = halvings is not None
        self.expand: nn.Module
        if self.keeps_maps:
            self.expand = nn.Conv2d(latent_shape[0], stages[0][0], kernel_size=1)
        else:
            self.expand = nn.Linear(math.prod(latent_shape), math.prod(stages[0]))
        layers: list[nn.Module] = []
        for (inputs, *_), (outputs, height, width_) in itertools.pairwise(stages):
            even = (1 - height % 2, 1 - width_ % 2)  # an even side lost nothing when it was halved
            layers += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=even)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        # (N, D, …) → (N, channels, h, w)
        maps = (
            self.expand(latents) if self.keeps_maps else self.expand(latents.flatten(1)).unflatten(1, self.first_maps)
        )
        output: Tensor = self.convolutions(maps)  # (N, C, H, W)
        return output


def _stages(image_shape: tuple[int, int, int], width: int, halvings: int | None = None) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) from the image to the smallest maps."""
    _, height, image_width = image_shape
    if not (min(height, image_width) >= 16 and max(height, image_width) <= 256):
        raise ValueError("it takes sides from 16 to 256")
    stages = [image_shape]
    while len(stages) <= halvings if halvings else min(height, image_width) > 4:
        if min(height, image_width) == 1:
            raise ValueError(f"its sides cannot be halved {halvings} times")
        height, image_width = math.ceil(height / 2), math.ceil(image_width / 2)
        stages.append((min(width * 2 ** (len(stages) - 1), 8 * width), height, image_width))
    return stages


def _halvings_to(sides: tuple[int, ...], image_shape: tuple[int, int, int]) -> int | None:
    """Return how often an image is halved until its sides are these; None where that never happens."""
    height, width = image_shape[1:]
    for halvings in range(1, 8):
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        if (height, width) == sides:
            return halvings
    return None
