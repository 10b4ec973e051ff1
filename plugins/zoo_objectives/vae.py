"""The variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), with β (Higgins et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from zoo import Objective


class VAE(Objective):
    """Gaussian posterior with diagonal covariance, standard normal prior.

    The features are the posterior's mean and log-variance, `2 * latent_dim` of them; the
    deterministic latent is the mean. The loss is `(‖x − x̂‖² + β·KL) / (C·H·W)`, averaged over the
    images: with β = 1 the negative evidence lower bound of a Gaussian decoder of variance 1/2, up
    to a constant, in nats a pixel.

    Args:
        latent_dim: Size of the latent.
        beta: Weight of the KL divergence.
    """

    def __init__(self, latent_dim: int, *, beta: Annotated[float, Field(ge=0, le=1e6)] = 1.0) -> None:
        super().__init__(latent_dim)
        self.beta = beta

    @property
    def encoder_features(self) -> int:
        return 2 * self.latent_dim

    def latents(self, features: Tensor) -> Tensor:
        mean, _ = features.chunk(2, dim=1)  # (N, latent_dim)
        return mean

    def losses(
        self, images: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        mean, log_variance = encode(images).chunk(2, dim=1)  # (N, latent_dim) each
        latents = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        reconstruction = mse_loss(decode(latents), images)
        kl = gaussian_kl(mean, log_variance).mean() / images[0].numel()
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def sample_prior(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.latent_dim, generator=generator)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence of N(mean, exp(log_variance)) from N(0, 1), in nats.

    Args:
        mean: `(N, latent_dim)`.
        log_variance: `(N, latent_dim)`.

    Returns:
        `(N,)`, summed over the dimensions: ½ Σ (μ² + σ² − 1 − log σ²).
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
