"""The objective's contract: what the latent is, and what training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """Base of every objective.

    One scale holds for all of them, in training and in validation: a loss is the sum over an
    image's dimensions divided by their number `C * H * W`, then averaged over the images. So the
    squared error is `torch.nn.functional.mse_loss`, and a divergence in nats is divided by
    `C * H * W` before it is added.

    Args:
        latent_dim: Size of the latent.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @property
    def encoder_features(self) -> int:
        """How many features the encoder must give for one image."""
        return self.latent_dim

    def latents(self, features: Tensor) -> Tensor:
        """Turn features `(N, encoder_features)` into latents `(N, latent_dim)`, deterministically."""
        return features

    @abstractmethod
    def losses(
        self, images: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Return what training minimises, and its parts.

        Args:
            images: `(N, C, H, W)`, float in [0, 1].
            encode: The encoder: images to features `(N, encoder_features)`.
            decode: The decoder: latents `(N, latent_dim)` to a reconstruction `(N, C, H, W)`.

        Returns:
            Scalars by name. `loss` is minimised; the others are logged beside it.
        """

    def sample_prior(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents `(count, latent_dim)` from the prior, where the objective has one."""
        raise NotImplementedError

    @property
    def has_prior(self) -> bool:
        """Whether `sample_prior` is defined."""
        return type(self).sample_prior is not Objective.sample_prior
