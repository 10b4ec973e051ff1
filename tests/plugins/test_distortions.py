"""Distortions are what numpy and torch.distributions compute, on one scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo import Distortion
from zoo_distortions.bernoulli import Bernoulli
from zoo_distortions.elementwise import L1, MSE

IMAGE_SHAPE = (3, 4, 5)
PIXELS = 60
PROGRESS = torch.tensor(0.5)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def output() -> Tensor:
    return torch.randn(6, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "errors"), [(MSE, np.square), (L1, np.abs)], ids=lambda value: getattr(value, "__name__", None)
)
def test_elementwise_distortions_are_what_numpy_computes(
    kind: type[Distortion], errors: np.ufunc, output: Tensor, images: Tensor
) -> None:
    distortion = kind(IMAGE_SHAPE)
    expected = errors(output.double().numpy() - images.double().numpy())
    np.testing.assert_allclose(distortion.pixels(output, images), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(distortion.distances(output, images), expected.sum(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(distortion.loss(output, images, PROGRESS), expected.mean(), rtol=1e-5)


def test_the_mean_squared_error_is_torchs_own_to_the_last_bit(output: Tensor, images: Tensor) -> None:
    loss = MSE(IMAGE_SHAPE).loss(output, images, PROGRESS)
    assert torch.equal(loss, torch.nn.functional.mse_loss(output, images))


def test_bernoulli_distances_are_negative_log_probabilities(output: Tensor, images: Tensor) -> None:
    binary = images.round()
    expected = -torch.distributions.Bernoulli(logits=output).log_prob(binary)
    distortion = Bernoulli(IMAGE_SHAPE)
    torch.testing.assert_close(distortion.pixels(output, binary), expected)
    torch.testing.assert_close(distortion.distances(output, binary), expected.sum(dim=(1, 2, 3)))
    torch.testing.assert_close(distortion.loss(output, binary, PROGRESS), expected.sum(dim=(1, 2, 3)).mean() / PIXELS)


def test_a_bernoulli_image_is_the_probability_of_white(output: Tensor) -> None:
    expected = torch.distributions.Bernoulli(logits=output).probs
    torch.testing.assert_close(Bernoulli(IMAGE_SHAPE).images(output), expected)


def test_bernoulli_logits_that_are_large_stay_finite(images: Tensor) -> None:
    output = torch.full_like(images, 1e4, requires_grad=True)
    loss = Bernoulli(IMAGE_SHAPE).loss(output, images.round(), PROGRESS)
    loss.backward()
    assert loss.isfinite()
    assert output.grad is not None
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("kind", [MSE, L1])
def test_the_output_of_elementwise_distortions_is_the_image(kind: type[Distortion], output: Tensor) -> None:
    distortion = kind(IMAGE_SHAPE)
    assert torch.equal(distortion.images(output), output)
    assert not distortion.owns_output
    assert distortion.output_shape == IMAGE_SHAPE


@pytest.mark.parametrize(("kind", "likelihood"), [(MSE, ""), (L1, ""), (Bernoulli, "mass")])
def test_only_bernoulli_is_a_likelihood(kind: type[Distortion], likelihood: str) -> None:
    assert kind(IMAGE_SHAPE).likelihood == likelihood
