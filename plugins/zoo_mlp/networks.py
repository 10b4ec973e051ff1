"""The encoder and decoder of Lightning's "Train a model (basic)"; hidden sizes are options."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

HiddenSizes = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=8)]


class MLPEncoder(nn.Module):
    """Linear layers with ReLU between them: `Linear(784, 64), ReLU, Linear(64, 3)` by default.

    Args:
        image_shape: `(C, H, W)`.
        out_features: How many features to give for an image.
        hidden: Sizes of the hidden layers, from the image on.
    """

    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, hidden: HiddenSizes = (64,)) -> None:
        super().__init__()
        self.layers = _perceptron([math.prod(image_shape), *hidden, out_features])

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images.flatten(1))  # (N, C, H, W) → (N, C·H·W) → (N, out_features)
        return features


class MLPDecoder(nn.Module):
    """Linear layers with ReLU between them: `Linear(3, 64), ReLU, Linear(64, 784)` by default.

    Args:
        latent_shape: `(D,)`, or `(D, h, w)` for maps, which are flattened.
        output_shape: `(C, H, W)`.
        hidden: Sizes of the hidden layers, from the latent on.
    """

    def __init__(
        self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int], *, hidden: HiddenSizes = (64,)
    ) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.layers = _perceptron([math.prod(latent_shape), *hidden, math.prod(output_shape)])

    def forward(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.layers(latents.flatten(1))  # (N, D, …) → (N, C·H·W)
        return pixels.view(-1, *self.output_shape)  # (N, C, H, W)


def _perceptron(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
