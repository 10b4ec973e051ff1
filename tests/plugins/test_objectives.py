"""Losses are what the papers say, on one scale: summed over an image over C·H·W, averaged over images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from zoo_mlp.networks import MLPDecoder, MLPEncoder
from zoo_objectives.ae import AE
from zoo_objectives.vae import VAE, gaussian_kl

IMAGE_SHAPE = (1, 4, 5)
PIXELS = 20
Network = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _random_state_of_its_own() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, *IMAGE_SHAPE)


@pytest.fixture
def decoder() -> nn.Module:
    return MLPDecoder(3, IMAGE_SHAPE)


def constant(mean: float, log_variance: float) -> Network:
    """Return an encoder that gives every image the same posterior over 3 latents."""
    return lambda images: torch.tensor([mean] * 3 + [log_variance] * 3).repeat(len(images), 1)


# The plain autoencoder


def test_the_aes_loss_is_the_mean_squared_error(images: Tensor, decoder: nn.Module) -> None:
    encoder = MLPEncoder(IMAGE_SHAPE, 3)
    losses = AE(3).losses(images, encoder, decoder)
    errors = (decoder(encoder(images)) - images).square()
    assert losses.keys() == {"loss"}
    torch.testing.assert_close(losses["loss"], errors.sum(dim=(1, 2, 3)).div(PIXELS).mean())


def test_the_aes_features_are_its_latents() -> None:
    features = torch.randn(2, 3)
    assert AE(3).encoder_features == 3
    assert torch.equal(AE(3).latents(features), features)


def test_doubling_the_batch_leaves_the_aes_loss(images: Tensor, decoder: nn.Module) -> None:
    encoder = MLPEncoder(IMAGE_SHAPE, 3)
    once = AE(3).losses(images, encoder, decoder)["loss"]
    twice = AE(3).losses(torch.cat([images, images]), encoder, decoder)["loss"]
    torch.testing.assert_close(twice, once)


def test_the_ae_has_no_prior() -> None:
    assert not AE(3).has_prior


# The variational autoencoder


def test_the_divergence_is_the_closed_form() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_the_divergence_of_the_prior_from_itself_is_zero() -> None:
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_the_vaes_divergence_is_counted_in_nats_a_pixel(images: Tensor, decoder: nn.Module) -> None:
    losses = VAE(3).losses(images, constant(mean=2.0, log_variance=0.0), decoder)
    assert losses["kl"].item() == pytest.approx(3 * 2.0**2 / 2 / PIXELS)


def test_the_vaes_reconstruction_is_the_mean_squared_error_of_a_draw(images: Tensor, decoder: nn.Module) -> None:
    torch.manual_seed(7)
    losses = VAE(3).losses(images, constant(mean=1.0, log_variance=0.5), decoder)
    torch.manual_seed(7)
    drawn = decoder(1.0 + torch.randn(6, 3) * torch.tensor(0.25).exp())
    torch.testing.assert_close(losses["reconstruction"], nn.functional.mse_loss(drawn, images))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence(images: Tensor, decoder: nn.Module, beta: float) -> None:
    losses = VAE(3, beta=beta).losses(images, constant(mean=2.0, log_variance=0.5), decoder)
    assert losses.keys() == {"loss", "reconstruction", "kl"}
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + beta * losses["kl"])


def test_the_loss_is_the_negative_evidence_lower_bound(images: Tensor, decoder: nn.Module) -> None:
    """Of a Gaussian decoder of variance 1/2, in nats a pixel, but for the constant ½ log π."""
    encoder = constant(mean=1.0, log_variance=-60.0)  # a posterior so narrow that the draw is its mean
    loss = VAE(3).losses(images, encoder, decoder)["loss"]
    log_likelihood = Normal(decoder(torch.ones(6, 3)), 0.5**0.5).log_prob(images).sum(dim=(1, 2, 3))
    divergence = gaussian_kl(torch.ones(6, 3), torch.full((6, 3), -60.0))
    bound = (log_likelihood - divergence).mean() / PIXELS
    torch.testing.assert_close(loss + 0.5 * torch.tensor(torch.pi).log(), -bound)


def test_gradients_reach_mean_and_variance(images: Tensor, decoder: nn.Module) -> None:
    features = torch.randn(6, 6, requires_grad=True)
    VAE(3, beta=0.0).losses(images, lambda _: features, decoder)["loss"].backward()
    assert features.grad is not None
    assert features.grad.count_nonzero() == features.numel()


def test_the_vaes_latents_are_the_means() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    objective = VAE(3)
    assert objective.encoder_features == 6
    assert torch.equal(objective.latents(torch.cat([mean, log_variance], dim=1)), mean)


def test_draws_of_the_prior_are_the_generators() -> None:
    draws = [VAE(3).sample_prior(4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0].shape == (4, 3)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_generator_spares_the_global_random_state() -> None:
    before = torch.get_rng_state()
    VAE(3).sample_prior(4, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_of_the_prior_are_standard_normal() -> None:
    draws = VAE(3).sample_prior(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(dim=0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), torch.ones(3), atol=0.03, rtol=0)
