"""Losses are what the papers say, on one scale: summed over an image over C·H·W, averaged over images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from zoo import Batch, DataFacts, Parts
from zoo_distortions.bernoulli import Bernoulli
from zoo_distortions.elementwise import MSE
from zoo_mlp.networks import MLPDecoder, MLPEncoder
from zoo_objectives.ae import AE
from zoo_objectives.vae import VAE, gaussian_kl

IMAGE_SHAPE = (1, 4, 5)
PIXELS = 20
DATA = DataFacts(IMAGE_SHAPE)
Network = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _random_state_of_its_own() -> None:
    torch.manual_seed(0)


@pytest.fixture
def batch() -> Batch:
    return batch_of(torch.rand(6, *IMAGE_SHAPE))


@pytest.fixture
def decoder() -> nn.Module:
    return MLPDecoder((3,), IMAGE_SHAPE)


def batch_of(images: Tensor) -> Batch:
    return Batch(images, None, torch.tensor(0.5))


def parts_of(encoder: Network, decoder: nn.Module) -> Parts:
    return Parts(encoder, decoder, MSE(IMAGE_SHAPE), (3,))


class Constant(nn.Module):
    """An encoder that gives every image the same posterior over 3 latents."""

    def __init__(self, mean: float, log_variance: float) -> None:
        super().__init__()
        self.features = torch.tensor([mean] * 3 + [log_variance] * 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.features.repeat(len(images), 1)


# The plain autoencoder


def test_the_aes_loss_is_the_mean_squared_error(batch: Batch, decoder: nn.Module) -> None:
    encoder = MLPEncoder(IMAGE_SHAPE, 3)
    losses = AE(3, DATA).losses(batch, parts_of(encoder, decoder))
    errors = (decoder(encoder(batch.images)) - batch.images).square()
    assert losses.keys() == {"loss"}
    torch.testing.assert_close(losses["loss"], errors.sum(dim=(1, 2, 3)).div(PIXELS).mean())


def test_the_aes_features_are_its_latents() -> None:
    features = torch.randn(2, 3)
    assert AE(3, DATA).encoder_features == 3
    assert torch.equal(AE(3, DATA).latents(features), features)


def test_doubling_the_batch_leaves_the_aes_loss(batch: Batch, decoder: nn.Module) -> None:
    encoder = MLPEncoder(IMAGE_SHAPE, 3)
    once = AE(3, DATA).losses(batch, parts_of(encoder, decoder))["loss"]
    doubled = batch_of(torch.cat([batch.images, batch.images]))
    twice = AE(3, DATA).losses(doubled, parts_of(encoder, decoder))["loss"]
    torch.testing.assert_close(twice, once)


def test_the_ae_has_no_prior() -> None:
    assert not AE(3, DATA).has_prior


# The variational autoencoder


def test_the_divergence_is_the_closed_form() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_the_divergence_of_maps_is_summed_over_all_their_values() -> None:
    mean, log_variance = torch.randn(5, 3, 2, 4), torch.randn(5, 3, 2, 4)
    posterior = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_the_divergence_of_the_prior_from_itself_is_zero() -> None:
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_the_vaes_rate_is_counted_in_nats_a_pixel(batch: Batch, decoder: nn.Module) -> None:
    losses = VAE(3, DATA).losses(batch, parts_of(Constant(mean=2.0, log_variance=0.0), decoder))
    assert losses["rate"].item() == pytest.approx(3 * 2.0**2 / 2 / PIXELS)


def test_the_vaes_distortion_is_the_mean_squared_error_of_a_draw(batch: Batch, decoder: nn.Module) -> None:
    torch.manual_seed(7)
    losses = VAE(3, DATA).losses(batch, parts_of(Constant(mean=1.0, log_variance=0.5), decoder))
    torch.manual_seed(7)
    drawn = decoder(1.0 + torch.randn(6, 3) * torch.tensor(0.25).exp())
    torch.testing.assert_close(losses["distortion"], nn.functional.mse_loss(drawn, batch.images))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence(batch: Batch, decoder: nn.Module, beta: float) -> None:
    losses = VAE(3, DATA, beta=beta).losses(batch, parts_of(Constant(mean=2.0, log_variance=0.5), decoder))
    assert losses.keys() == {"loss", "distortion", "rate"}
    torch.testing.assert_close(losses["loss"], losses["distortion"] + beta * losses["rate"])


def test_the_loss_is_the_negative_evidence_lower_bound(batch: Batch, decoder: nn.Module) -> None:
    """Of a Gaussian decoder of variance 1/2, in nats a pixel, but for the constant ½ log π."""
    encoder = Constant(mean=1.0, log_variance=-60.0)  # a posterior so narrow that the draw is its mean
    loss = VAE(3, DATA).losses(batch, parts_of(encoder, decoder))["loss"]
    log_likelihood = Normal(decoder(torch.ones(6, 3)), 0.5**0.5).log_prob(batch.images).sum(dim=(1, 2, 3))
    divergence = gaussian_kl(torch.ones(6, 3), torch.full((6, 3), -60.0))
    bound = (log_likelihood - divergence).mean() / PIXELS
    torch.testing.assert_close(loss + 0.5 * torch.tensor(torch.pi).log(), -bound)


def test_with_bernoulli_pixels_the_loss_is_the_exact_bound(batch: Batch, decoder: nn.Module) -> None:
    binary = batch_of(batch.images.round())
    encoder = Constant(mean=1.0, log_variance=-60.0)
    loss = VAE(3, DATA).losses(binary, Parts(encoder, decoder, Bernoulli(IMAGE_SHAPE), (3,)))["loss"]
    pixels = torch.distributions.Bernoulli(logits=decoder(torch.ones(6, 3)))
    divergence = gaussian_kl(torch.ones(6, 3), torch.full((6, 3), -60.0))
    bound = (pixels.log_prob(binary.images).sum(dim=(1, 2, 3)) - divergence).mean() / PIXELS
    torch.testing.assert_close(loss, -bound)


def test_gradients_reach_mean_and_variance(batch: Batch, decoder: nn.Module) -> None:
    features = torch.randn(6, 6, requires_grad=True)
    VAE(3, DATA, beta=0.0).losses(batch, parts_of(lambda _: features, decoder))["loss"].backward()
    assert features.grad is not None
    assert features.grad.count_nonzero() == features.numel()


def test_the_vaes_latents_are_the_means() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    objective = VAE(3, DATA)
    assert objective.encoder_features == 6
    assert torch.equal(objective.latents(torch.cat([mean, log_variance], dim=1)), mean)


@pytest.fixture
def parts(decoder: nn.Module) -> Parts:
    return parts_of(MLPEncoder(IMAGE_SHAPE, 6), decoder)


def test_draws_of_the_prior_are_the_generators(parts: Parts) -> None:
    draws = [VAE(3, DATA).sample_prior(4, parts, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0].shape == (4, 3)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_generator_spares_the_global_random_state(parts: Parts) -> None:
    before = torch.get_rng_state()
    VAE(3, DATA).sample_prior(4, parts, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_of_the_prior_are_standard_normal(parts: Parts) -> None:
    draws = VAE(3, DATA).sample_prior(20_000, parts, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(dim=0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), torch.ones(3), atol=0.03, rtol=0)
