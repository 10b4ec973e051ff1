"""Distances between values: squared and absolute."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from zoo import Distortion


class MSE(Distortion):
    """Squared error, as in Lightning's "Train a model (basic)"; the output is the image."""

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return (output - images).square()

    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        return mse_loss(output, images)


class L1(Distortion):
    """Absolute error; the output is the image."""

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return (output - images).abs()
