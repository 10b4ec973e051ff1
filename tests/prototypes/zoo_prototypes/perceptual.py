"""A distance between features of a frozen network that only training needs."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo import Batch, Distortion, Parts


class Perceptual(Distortion):
    """The squared distance between the maps of a frozen convolution, whose weights a new training draws.

    Args:
        image_shape: `(C, H, W)`.
        width: Number of maps.
    """

    training_only: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 4) -> None:
        super().__init__(image_shape)
        self.network = nn.Sequential(nn.Conv2d(image_shape[0], width, 3, stride=2), nn.ReLU()).requires_grad_(False)

    def start(self, batch: Batch, parts: Parts) -> None:
        for weight in self.network.parameters():
            weight.copy_(torch.randn_like(weight))

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        return (self.network(output) - self.network(images)).square().flatten(1).sum(dim=1)
