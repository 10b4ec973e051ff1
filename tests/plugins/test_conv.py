"""The convolutional pair takes images from 16×16 to 256×256 and gives them back in their size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo_conv.networks import ConvDecoder, ConvEncoder

SHAPES = [
    (1, 16, 16),
    (3, 16, 16),
    (1, 17, 17),
    (1, 28, 28),
    (3, 32, 32),
    (3, 17, 20),
    (1, 31, 63),
    (1, 16, 256),
    (3, 255, 19),
    (3, 256, 256),
    (2, 32, 32),
    (10, 16, 16),
]


@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_images_become_features_and_latents_images_of_the_same_size(image_shape: tuple[int, int, int]) -> None:
    with torch.no_grad():
        features = ConvEncoder(image_shape, 5, width=2)(torch.zeros(2, *image_shape))
        assert features.shape == (2, 5)
        assert ConvDecoder((5,), image_shape, width=2)(features).shape == (2, *image_shape)


@pytest.mark.parametrize(
    "image_shape",
    [(1, 15, 32), (1, 32, 15), (1, 257, 32), (3, 32, 257)],
    ids=str,
)
def test_other_images_are_refused_with_those_that_it_takes(image_shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="it takes sides from 16 to 256"):
        ConvEncoder(image_shape, 5)
    with pytest.raises(ValueError, match="it takes sides from 16 to 256"):
        ConvDecoder((5,), image_shape)


def test_channels_double_up_to_eight_times_the_width() -> None:
    convolutions = [m for m in ConvEncoder((3, 256, 256), 5, width=2).modules() if isinstance(m, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 4, 8, 16, 16, 16]


def test_the_decoders_maps_are_the_encoders_backwards() -> None:
    encoder, decoder = ConvEncoder((1, 28, 28), 5, width=4), ConvDecoder((5,), (1, 28, 28), width=4)
    down = [(m.in_channels, m.out_channels) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    up = [(m.out_channels, m.in_channels) for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert up == down[::-1]
    assert down == [(1, 4), (4, 8), (8, 16)]


def test_every_pixel_reaches_the_features() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 1, 17, 20, requires_grad=True)
    ConvEncoder((1, 17, 20), 64, width=8)(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad.count_nonzero() == images.numel()


def test_every_latent_reaches_every_pixel() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder((3,), (1, 17, 20), width=8)
    for latents in torch.eye(3).unsqueeze(1):
        assert (decoder(latents) != decoder(torch.zeros(1, 3))).all()


# Maps


@pytest.mark.parametrize(
    ("image_shape", "halvings", "sides"),
    [((1, 28, 28), None, (4, 4)), ((1, 28, 28), 1, (14, 14)), ((3, 17, 20), 2, (5, 5)), ((3, 255, 19), None, (32, 3))],
    ids=str,
)
def test_images_become_maps_and_maps_images_of_the_same_size(
    image_shape: tuple[int, int, int], halvings: int | None, sides: tuple[int, int]
) -> None:
    encoder = ConvEncoder(image_shape, 5, width=2, maps=True, halvings=halvings)
    assert encoder.features_shape == (5, *sides)
    features = encoder(torch.zeros(2, *image_shape))
    assert features.shape == (2, 5, *sides)
    decoder = ConvDecoder((5, *sides), image_shape, width=2)
    assert decoder(features).shape == (2, *image_shape)
    assert not any(isinstance(layer, nn.Linear) for part in (encoder, decoder) for layer in part.modules())


def test_maps_that_halving_does_not_give_are_flattened() -> None:
    decoder = ConvDecoder((5, 3, 3), (1, 28, 28), width=2)
    assert [layer.in_features for layer in decoder.modules() if isinstance(layer, nn.Linear)] == [45]
    assert decoder(torch.zeros(2, 5, 3, 3)).shape == (2, 1, 28, 28)


def test_a_feature_of_a_map_sees_the_images_part_at_its_place() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 1, 32, 32, requires_grad=True)
    ConvEncoder((1, 32, 32), 4, width=8, maps=True, halvings=2)(images)[..., 0, 0].square().sum().backward()
    assert images.grad is not None
    assert images.grad[..., :2, :2].count_nonzero() == 4
    assert images.grad[..., 8:, :].count_nonzero() == images.grad[..., 8:].count_nonzero() == 0


def test_more_halvings_than_the_sides_allow_are_refused() -> None:
    with pytest.raises(ValueError, match="its sides cannot be halved 6 times"):
        ConvEncoder((1, 16, 16), 4, maps=True, halvings=6)
