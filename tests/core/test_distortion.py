"""Distortions add up: the first owns the output, the others compare images."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from zoo import Distortion
from zoo.contract.distortion import DistortionSum
from zoo_distortions.bernoulli import Bernoulli
from zoo_distortions.elementwise import L1, MSE

IMAGE_SHAPE = (3, 4, 5)
PIXELS = 60
PROGRESS = torch.tensor(0.5)


class Opponent(Distortion):
    """Has an adversary: one number of each image."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.adversary = nn.Linear(PIXELS, 1)

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        return torch.zeros(len(output))

    def adversarial(self, output: Tensor, images: Tensor, loss: Tensor, progress: Tensor) -> Tensor:
        return self.adversary(output.flatten(1)).mean()

    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        return {"loss": self.adversary(images.flatten(1)).mean() - self.adversary(output.flatten(1)).mean()}


class Perceptual(Distortion):
    """Compares features of a network that only training needs."""

    training_only: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.network: nn.Module | None = nn.Linear(PIXELS, 7)

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        assert self.network is not None
        features = self.network(output.flatten(1)) - self.network(images.flatten(1))
        return features.square().sum(dim=1)


@pytest.fixture(autouse=True)
def _random_state_of_its_own() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, *IMAGE_SHAPE)


@pytest.fixture
def output() -> Tensor:
    return torch.randn(6, *IMAGE_SHAPE)


def sum_of(**weights: float) -> DistortionSum:
    kinds = {"mse": MSE, "l1": L1, "bernoulli": Bernoulli, "opponent": Opponent, "perceptual": Perceptual}
    return DistortionSum(list(weights), [kinds[name](IMAGE_SHAPE) for name in weights], list(weights.values()))


def test_a_sum_weighs_its_terms(output: Tensor, images: Tensor) -> None:
    distortion = sum_of(l1=1.0, mse=0.1)
    errors = (output - images).abs() + 0.1 * (output - images).square()
    torch.testing.assert_close(distortion.loss(output, images, PROGRESS), errors.mean())
    torch.testing.assert_close(distortion.distances(output, images), errors.sum(dim=(1, 2, 3)))
    torch.testing.assert_close(distortion.pixels(output, images), errors.sum(dim=1, keepdim=True))
    assert torch.equal(distortion.images(output), output)
    assert distortion.likelihood == ""


def test_after_logits_the_other_terms_compare_images(output: Tensor, images: Tensor) -> None:
    distortion = sum_of(bernoulli=1.0, l1=2.0)
    entropy = -torch.distributions.Bernoulli(logits=output, validate_args=False).log_prob(images)
    expected = entropy + 2 * (output.sigmoid() - images).abs()
    torch.testing.assert_close(distortion.loss(output, images, PROGRESS), expected.mean())
    assert torch.equal(distortion.images(output), output.sigmoid())
    assert distortion.owns_output


def test_only_bernoulli_owns_its_output() -> None:
    kinds = (MSE, L1, Bernoulli, Opponent, Perceptual)
    assert [kind(IMAGE_SHAPE).owns_output for kind in kinds] == [False, False, True, False, False]


def test_a_sum_has_pixels_where_all_its_terms_have(output: Tensor, images: Tensor) -> None:
    assert sum_of(mse=1.0, l1=1.0).has_pixels
    assert not sum_of(mse=1.0, perceptual=1.0).has_pixels


def test_a_sum_has_its_terms_adversaries(output: Tensor, images: Tensor) -> None:
    distortion = sum_of(mse=1.0, opponent=0.5)
    opponent = list(distortion.each())[1]
    loss = distortion.loss(output, images, PROGRESS)
    assert not sum_of(mse=1.0, l1=1.0).has_adversary
    assert distortion.has_adversary
    torch.testing.assert_close(loss, (output - images).square().mean())
    adversarial = opponent.adversary(output.flatten(1)).mean()
    torch.testing.assert_close(distortion.adversarial(output, images, loss, PROGRESS), 0.5 * adversarial)
    losses = distortion.adversary_losses(output, images, PROGRESS)
    expected = opponent.adversary(images.flatten(1)).mean() - adversarial
    assert losses.keys() == {"loss", "opponent_loss"}
    torch.testing.assert_close(losses["loss"], expected)


def test_a_term_without_what_only_training_needs_is_left_out(output: Tensor, images: Tensor) -> None:
    distortion = sum_of(mse=1.0, perceptual=0.1)
    _, perceptual = distortion.each()
    errors = (output - images).square().sum(dim=(1, 2, 3))
    whole = distortion.distances(output, images)
    torch.testing.assert_close(whole, errors + 0.1 * perceptual.distances(output, images))
    perceptual.network = None
    torch.testing.assert_close(distortion.distances(output, images), errors)
    torch.testing.assert_close(distortion.loss(output, images, PROGRESS), errors.mean() / PIXELS)
    assert distortion.is_complete
    assert not perceptual.is_complete


def test_a_distortion_that_is_no_sum_gives_itself() -> None:
    distortion = MSE(IMAGE_SHAPE)
    assert list(distortion.each()) == [distortion]
