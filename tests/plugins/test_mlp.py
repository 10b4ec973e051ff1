"""The MLP is that of Lightning's "Train a model (basic)"."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo_mlp.networks import MLPDecoder, MLPEncoder

IMAGE_SHAPE = (1, 28, 28)


def guides_encoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(28 * 28, 64), nn.ReLU(), nn.Linear(64, 3))


def guides_decoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 28 * 28))


@pytest.fixture(autouse=True)
def _random_state_of_its_own() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, *IMAGE_SHAPE)


def test_the_encoders_layers_are_the_guides() -> None:
    assert repr(MLPEncoder(IMAGE_SHAPE, 3).layers) == repr(guides_encoder())


def test_the_decoders_layers_are_the_guides() -> None:
    assert repr(MLPDecoder((3,), IMAGE_SHAPE).layers) == repr(guides_decoder())


def test_the_encoder_computes_what_the_guides_does(images: Tensor) -> None:
    ours, guides = MLPEncoder(IMAGE_SHAPE, 3), guides_encoder()
    guides.load_state_dict(ours.layers.state_dict())
    assert torch.equal(ours(images), guides(images.view(2, -1)))


def test_the_decoder_computes_what_the_guides_does() -> None:
    latents = torch.randn(2, 3)
    ours, guides = MLPDecoder((3,), IMAGE_SHAPE), guides_decoder()
    guides.load_state_dict(ours.layers.state_dict())
    assert torch.equal(ours(latents), guides(latents).view(2, *IMAGE_SHAPE))


@pytest.mark.parametrize(
    ("hidden", "sizes"),
    [((), [(784, 5)]), ((7,), [(784, 7), (7, 5)]), ((9, 8, 7), [(784, 9), (9, 8), (8, 7), (7, 5)])],
    ids=str,
)
def test_hidden_gives_the_sizes_between_image_and_features(
    hidden: tuple[int, ...], sizes: list[tuple[int, int]]
) -> None:
    layers = MLPEncoder(IMAGE_SHAPE, 5, hidden=hidden).layers
    assert [(layer.in_features, layer.out_features) for layer in layers[::2]] == sizes
    assert all(isinstance(layer, nn.ReLU) for layer in layers[1::2])


def test_hidden_gives_the_sizes_between_latent_and_image() -> None:
    layers = MLPDecoder((5,), IMAGE_SHAPE, hidden=(7, 8)).layers
    assert [(layer.in_features, layer.out_features) for layer in layers[::2]] == [(5, 7), (7, 8), (8, 784)]


@pytest.mark.parametrize("image_shape", [(1, 1, 1), (3, 5, 7), (2, 16, 16)], ids=str)
def test_it_takes_images_of_any_shape(image_shape: tuple[int, int, int]) -> None:
    features = MLPEncoder(image_shape, 4)(torch.rand(2, *image_shape))
    assert features.shape == (2, 4)
    assert MLPDecoder((4,), image_shape)(features).shape == (2, *image_shape)


def test_the_decoder_flattens_latent_maps() -> None:
    decoder = MLPDecoder((2, 3, 4), IMAGE_SHAPE)
    maps = torch.randn(5, 2, 3, 4)
    assert torch.equal(decoder(maps), decoder.layers(maps.view(5, 24)).view(5, *IMAGE_SHAPE))
