"""A decoder that no browser knows."""

import math

import torch
from torch import Tensor, nn


class FourierDecoder(nn.Module):
    """The coefficients of a Fourier series, from one linear layer."""

    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = output_shape
        self.image_size = (height, width)
        self.coefficients = (channels, height, width // 2 + 1, 2)
        self.layer = nn.Linear(math.prod(latent_shape), channels * height * (width // 2 + 1) * 2)

    def forward(self, latents: Tensor) -> Tensor:
        coefficients = self.layer(latents.flatten(1)).unflatten(1, self.coefficients)
        return torch.fft.irfft2(torch.view_as_complex(coefficients), s=self.image_size, norm="ortho")
