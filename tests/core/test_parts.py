"""Parts work on any number of leading axes, and the class reaches the decoder alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo import Batch, DataFacts, Distortion, Parts, PluginError
from zoo.contract.parts import Conditioning
from zoo_distortions.bernoulli import Bernoulli
from zoo_distortions.elementwise import MSE
from zoo_mlp.networks import MLPDecoder, MLPEncoder

IMAGE_SHAPE = (2, 4, 5)
LATENT_SHAPES = [(3,), (3, 2, 2)]

each_latent_shape = pytest.mark.parametrize("latent_shape", LATENT_SHAPES, ids=["vectors", "maps"])


@pytest.fixture(autouse=True)
def _random_state_of_its_own() -> None:
    torch.manual_seed(0)


def parts_of(
    latent_shape: tuple[int, ...], distortion: type[Distortion] = MSE, *, labels: Tensor | None = None, classes: int = 0
) -> Parts:
    conditioning = Conditioning(classes) if classes else None
    decoder = MLPDecoder(conditioning.shape(latent_shape) if conditioning else latent_shape, IMAGE_SHAPE)
    encoder = MLPEncoder(IMAGE_SHAPE, 3)
    return Parts(encoder, decoder, distortion(IMAGE_SHAPE), latent_shape, conditioning=conditioning, labels=labels)


# Leading axes


@each_latent_shape
@pytest.mark.parametrize("leading", [(), (4,), (2, 4)], ids=str)
@pytest.mark.parametrize("classes", [0, 5])
def test_latents_with_leading_axes_are_decoded_each_as_if_alone(
    latent_shape: tuple[int, ...], leading: tuple[int, ...], classes: int
) -> None:
    labels = torch.tensor([4, 0, 5]) if classes else None
    parts = parts_of(latent_shape, labels=labels, classes=classes)
    latents = torch.randn(*leading, 3, *latent_shape)
    output = parts.decode(latents)
    assert output.shape == (*leading, 3, *IMAGE_SHAPE)
    for alone, expected in zip(latents.reshape(-1, 3, *latent_shape), output.reshape(-1, 3, *IMAGE_SHAPE), strict=True):
        torch.testing.assert_close(parts.decode(alone), expected)


@pytest.mark.parametrize("leading", [(), (4,), (2, 4)], ids=str)
def test_output_with_leading_axes_becomes_images(leading: tuple[int, ...]) -> None:
    output = torch.randn(*leading, 3, *IMAGE_SHAPE)
    torch.testing.assert_close(parts_of((3,), Bernoulli).images(output), 1 / (1 + (-output).exp()))


@pytest.mark.parametrize("leading", [(), (4,), (2, 4)], ids=str)
def test_distances_of_leading_axes_are_from_the_same_images(leading: tuple[int, ...]) -> None:
    output, images = torch.randn(*leading, 3, *IMAGE_SHAPE), torch.rand(3, *IMAGE_SHAPE)
    distances = parts_of((3,)).distances(output, images)
    torch.testing.assert_close(distances, (output - images).square().sum(dim=(-3, -2, -1)))


# Masks


class Masked(nn.Module):
    takes_mask = True

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return mask.flatten(1).float()


def test_an_encoder_that_takes_no_mask_sees_black_where_pixels_are_hidden() -> None:
    parts = parts_of((3,))
    images = torch.rand(6, *IMAGE_SHAPE)
    mask = torch.rand(6, 1, *IMAGE_SHAPE[1:]) < 0.5
    expected = parts.encoder(images * ~mask)
    assert torch.equal(parts.encode(images, mask), expected)
    assert torch.equal(parts.encode(images), parts.encoder(images))


def test_an_encoder_that_takes_the_mask_is_given_it() -> None:
    parts = Parts(Masked(), MLPDecoder((3,), IMAGE_SHAPE), MSE(IMAGE_SHAPE), (3,))
    mask = torch.rand(6, 1, *IMAGE_SHAPE[1:]) < 0.5
    assert torch.equal(parts.encode(torch.rand(6, *IMAGE_SHAPE), mask), mask.flatten(1).float())


# The loss


def test_the_loss_is_called_once_a_batch() -> None:
    parts = parts_of((3,))
    images = torch.rand(6, *IMAGE_SHAPE)
    output = torch.randn(6, *IMAGE_SHAPE, requires_grad=True)
    torch.testing.assert_close(parts.loss(output, images), (output - images).square().mean())
    assert parts.reconstruction is not None
    assert not parts.reconstruction[0].requires_grad
    with pytest.raises(PluginError, match=r"calls parts\.loss twice in a batch: once is right"):
        parts.loss(output, images)


class Annealed(MSE):
    """Weighs its errors by the progress of the training."""

    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        return progress * super().loss(output, images, progress)


@pytest.mark.parametrize(("progress", "weight"), [(torch.tensor(0.25), 0.25), (None, 1.0)], ids=["given", "finished"])
def test_the_distortion_is_given_the_progress(progress: Tensor | None, weight: float) -> None:
    decoder = MLPDecoder((3,), IMAGE_SHAPE)
    parts = Parts(nn.Identity(), decoder, Annealed(IMAGE_SHAPE), (3,), progress=progress)
    images, output = torch.rand(6, *IMAGE_SHAPE), torch.randn(6, *IMAGE_SHAPE)
    torch.testing.assert_close(parts.loss(output, images), weight * (output - images).square().mean())


# The class


def test_a_vectors_class_is_appended_one_hot() -> None:
    latents = torch.randn(3, 2)
    appended = Conditioning(4).append(latents, torch.tensor([0, 3, 4]))
    assert torch.equal(appended[:, :2], latents)
    assert appended[:, 2:].tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


def test_a_maps_class_is_appended_as_planes() -> None:
    latents = torch.randn(3, 2, 4, 5)
    appended = Conditioning(4).append(latents, torch.tensor([0, 3, 4]))
    assert appended.shape == (3, *Conditioning(4).shape((2, 4, 5))) == (3, 7, 4, 5)
    assert torch.equal(appended[:, :2], latents)
    expected = torch.nn.functional.one_hot(torch.tensor([0, 3, 4]), 5).float()
    assert torch.equal(appended[:, 2:], expected[:, :, None, None].expand(3, 5, 4, 5))


def test_without_labels_all_classes_are_unknown() -> None:
    latents = torch.randn(3, 2)
    conditioning = Conditioning(4)
    assert torch.equal(conditioning.append(latents, None), conditioning.append(latents, torch.tensor([4, 4, 4])))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_labels_becomes_unknown(share: float) -> None:
    labels = torch.randint(4, (20_000,))
    dropped = Conditioning(4).drop(labels, share)
    unknown = dropped == 4
    assert torch.equal(dropped[~unknown], labels[~unknown])
    assert float(unknown.float().mean()) == pytest.approx(share, abs=0.02)


def test_a_batch_and_facts_cannot_be_changed() -> None:
    batch = Batch(torch.zeros(1, *IMAGE_SHAPE), None, torch.ones(()))
    for frozen, name in ((batch, "labels"), (DataFacts(IMAGE_SHAPE), "classes")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, None)
