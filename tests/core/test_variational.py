"""Importance weights are those of torch.distributions, and their bound tends to the exact log-likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from zoo import Batch, DataFacts, Distortion, Parts, Variational, gaussian_kl

IMAGE_SHAPE = (1, 2, 3)
PIXELS = 6
LATENT = 2
DATA = DataFacts(IMAGE_SHAPE)
SCALE = 0.7  # standard deviation of a pixel


class Gaussian(Distortion):
    """−log p(x | output) of pixels with a fixed variance."""

    likelihood = "density"

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return -Normal(output, SCALE).log_prob(images)


class Linear(nn.Module):
    """x = Wz + b: with Gaussian noise, x has a Gaussian distribution that is known exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(LATENT, PIXELS)

    def forward(self, latents: Tensor) -> Tensor:
        output: Tensor = self.layer(latents).view(-1, *IMAGE_SHAPE)
        return output


class Posterior(nn.Module):
    """Features that do not depend on the images: a posterior that is not the true one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.tensor([0.2, -0.3, -0.4, 0.1]))

    def forward(self, images: Tensor) -> Tensor:
        return self.features.repeat(len(images), 1)


class Objective(Variational):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        raise NotImplementedError


@pytest.fixture
def objective() -> Objective:
    return Objective(LATENT, DATA)


@pytest.fixture
def parts() -> Parts:
    torch.manual_seed(0)
    return Parts(Posterior(), Linear(), Gaussian(IMAGE_SHAPE), (LATENT,))


@pytest.fixture
def batch() -> Batch:
    images = torch.randn(4, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(1))
    return Batch(images, None, torch.ones(()))


def exact_log_likelihoods(parts: Parts, images: Tensor) -> Tensor:
    """Return log N(x; b, WWᵀ + σ²I)."""
    weight, bias = parts.decoder.layer.weight.double(), parts.decoder.layer.bias.double()
    covariance = weight @ weight.T + SCALE**2 * torch.eye(PIXELS, dtype=torch.float64)
    return MultivariateNormal(bias, covariance).log_prob(images.double().flatten(1))


@torch.no_grad()
def test_importance_weights_are_those_of_torchs_distributions(objective: Objective, parts: Parts, batch: Batch) -> None:
    torch.manual_seed(3)
    weights = objective.log_importance_weights(batch, parts, 5)
    torch.manual_seed(3)
    mean, log_variance = objective.posterior(parts.encode(batch.images))
    posterior = Normal(mean, (log_variance / 2).exp())
    latents = mean + torch.randn(5, 4, LATENT) * posterior.stddev
    output = parts.decoder(latents.view(20, LATENT)).view(5, 4, *IMAGE_SHAPE)
    likelihood = Normal(output, SCALE).log_prob(batch.images).sum(dim=(2, 3, 4))
    prior = Normal(0.0, 1.0).log_prob(latents).sum(dim=2)
    torch.testing.assert_close(weights, likelihood + prior - posterior.log_prob(latents).sum(dim=2))


@torch.no_grad()
def test_the_bound_tends_to_the_exact_log_likelihood_from_below(
    objective: Objective, parts: Parts, batch: Batch
) -> None:
    exact = exact_log_likelihoods(parts, batch.images)
    torch.manual_seed(4)
    gaps = []
    for samples in (1, 10, 100, 100_000):
        rounds = max(1, 2000 // samples)
        bounds = [
            objective.log_importance_weights(batch, parts, samples).double().logsumexp(dim=0) - math.log(samples)
            for _ in range(rounds)
        ]
        gaps.append(float((exact - torch.stack(bounds).mean(dim=0)).mean()))
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.01
    assert gaps[3] == pytest.approx(0, abs=0.01)


@torch.no_grad()
def test_the_mean_of_the_weights_logs_is_the_evidence_lower_bound(
    objective: Objective, parts: Parts, batch: Batch
) -> None:
    """Of a linear decoder it has a closed form: E‖x − Wz − b‖² = ‖x − Wμ − b‖² + tr(W diag(σ²) Wᵀ)."""
    torch.manual_seed(5)
    estimate = objective.log_importance_weights(batch, parts, 200_000).double().mean(dim=0)
    mean, log_variance = objective.posterior(parts.encode(batch.images))
    errors = (batch.images - parts.decode(mean)).flatten(1).square().sum(dim=1)
    spread = (parts.decoder.layer.weight.square() @ log_variance.exp().T).sum(dim=0)
    log_likelihood = -(errors + spread) / (2 * SCALE**2) - PIXELS * (math.log(SCALE) + 0.5 * math.log(2 * math.pi))
    expected = log_likelihood - gaussian_kl(mean, log_variance)
    torch.testing.assert_close(estimate, expected.double(), atol=0.03, rtol=0)


@torch.no_grad()
def test_the_log_prior_of_maps_is_summed_over_all_their_values(objective: Objective) -> None:
    parts = Parts(nn.Identity(), nn.Linear(1, 1), Gaussian(IMAGE_SHAPE), (LATENT, 3, 4))
    latents = torch.randn(5, 6, LATENT, 3, 4, generator=torch.Generator().manual_seed(6))
    expected = Normal(0.0, 1.0).log_prob(latents).sum(dim=(2, 3, 4))
    torch.testing.assert_close(objective.log_prior(latents, parts), expected)


@torch.no_grad()
def test_features_of_maps_are_halved_by_channels(objective: Objective) -> None:
    features = torch.randn(5, 2 * LATENT, 3, 4)
    mean, log_variance = objective.posterior(features)
    assert objective.encoder_features == 2 * LATENT
    assert torch.equal(mean, features[:, :LATENT])
    assert torch.equal(log_variance, features[:, LATENT:])
    assert torch.equal(objective.latents(features), mean)
