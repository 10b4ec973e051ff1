"""Variational objectives: a diagonal Gaussian posterior over the latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.contract.objective import Objective
from zoo.contract.parts import Batch, Parts


class Variational(Objective):
    """Base of objectives with a Gaussian posterior of diagonal covariance.

    The features are the posterior's mean and log-variance, `2 * latent_dim` of them (channels, where
    they are maps). The deterministic latent is the mean. The prior is a standard normal distribution.
    """

    stochastic = True

    @property
    def encoder_features(self) -> int:
        return 2 * self.latent_dim

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log-variance, `(N, latent_dim, …)` each."""
        mean, log_variance = features.chunk(2, dim=1)
        return mean, log_variance

    def latents(self, features: Tensor) -> Tensor:
        return self.posterior(features)[0]

    def draw(self, mean: Tensor, log_variance: Tensor, samples: int | None = None) -> Tensor:
        """Return a draw from the posterior, `(N, latent_dim, …)`, or several, `(samples, N, latent_dim, …)`."""
        shape = mean.shape if samples is None else (samples, *mean.shape)
        noise = torch.randn(shape, device=mean.device, dtype=mean.dtype)
        return mean + noise * (log_variance / 2).exp()

    def log_prior(self, latents: Tensor, parts: Parts) -> Tensor:
        """Return the log-density `(…, N)` of latents `(…, N, *latent_shape)` under the prior, in nats."""
        return log_normal(latents, torch.zeros_like(latents), torch.zeros_like(latents), len(parts.latent_shape))

    def log_importance_weights(self, batch: Batch, parts: Parts, samples: int) -> Tensor:
        """Return log p(x|z) + log p(z) − log q(z|x) for draws z of the posterior, `(samples, N)`, in nats.

        The log of their mean is the importance-weighted bound (Burda et al. 2016); the mean of their
        logs is the evidence lower bound. The distortion must be a likelihood.
        """
        mean, log_variance = self.posterior(parts.encode(batch.images))
        latents = self.draw(mean, log_variance, samples)  # (samples, N, latent_dim, …)
        log_likelihood = -parts.distances(parts.decode(latents), batch.images)
        log_posterior = log_normal(latents, mean, log_variance, len(parts.latent_shape))
        return log_likelihood + self.log_prior(latents, parts) - log_posterior

    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, *parts.latent_shape, generator=generator)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence of N(mean, exp(log_variance)) from N(0, 1), in nats.

    Args:
        mean: `(N, latent_dim, …)`.
        log_variance: `(N, latent_dim, …)`.

    Returns:
        `(N,)`, summed over the dimensions: ½ Σ (μ² + σ² − 1 − log σ²).
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1)


def log_normal(values: Tensor, mean: Tensor, log_variance: Tensor, dimensions: int) -> Tensor:
    """Return the log-density of values under N(mean, exp(log_variance)), in nats.

    Args:
        values: `(…, *shape)`, where `shape` has this many `dimensions`.
        mean: Broadcastable to the values.
        log_variance: Broadcastable to the values.
        dimensions: Number of last dimensions that are summed over.
    """
    squares = (values - mean).square() / log_variance.exp()
    densities = -0.5 * (math.log(2 * math.pi) + log_variance + squares)
    return densities.flatten(-dimensions).sum(dim=-1)
