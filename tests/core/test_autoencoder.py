"""An autoencoder is composed of encoder, objective and decoder, and says what it takes."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo import Autoencoder, Batch, DataFacts, IncompatibleError, PluginError, UsageError
from zoo.config import Components, components_of
from zoo.model.autoencoder import build, dry_run, lay_channels_last
from zoo_distortions.elementwise import MSE
from zoo_mlp.networks import MLPDecoder, MLPEncoder
from zoo_objectives.ae import AE
from zoo_objectives.vae import VAE

IMAGE_SHAPE = (1, 16, 16)


DATA = DataFacts(IMAGE_SHAPE)


def composed(encoder: nn.Module, objective: Any, decoder: nn.Module) -> Autoencoder:
    return Autoencoder(encoder, objective, decoder, MSE(IMAGE_SHAPE), DATA)


def built(image_shape: tuple[int, int, int] = IMAGE_SHAPE, **settings: Any) -> Autoencoder:
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny", **settings})
    return build(config, components_of(config), DataFacts(image_shape, ("no", "yes")))


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([weight.flatten() for weight in model.state_dict().values()])


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))


# Using one


@pytest.mark.parametrize("objective", ["ae", "vae"])
@pytest.mark.parametrize("latent_dim", [1, 7])
def test_images_become_latents_and_latents_reconstructions(images: Tensor, objective: str, latent_dim: int) -> None:
    model = built(objective=objective, latent_dim=latent_dim)
    latents = model.encode(images)
    assert latents.shape == (5, latent_dim)
    assert model.decode(latents).shape == images.shape
    assert torch.equal(model.reconstruct(images), model.decode(latents))


def test_the_losses_are_the_objectives(images: Tensor) -> None:
    model = built()
    expected = nn.functional.mse_loss(model.reconstruct(images), images)
    losses = model.losses(Batch(images, None, torch.tensor(0.5)))
    assert losses.keys() == {"loss"}
    assert torch.equal(losses["loss"], expected)


def test_calling_the_model_reconstructs(images: Tensor) -> None:
    model = built()
    assert torch.equal(model(images), model.reconstruct(images))


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(5, 1, 16, 17),
        torch.zeros(5, 3, 16, 16),
        torch.zeros(1, 16, 16),
        torch.zeros(5, 256),
        torch.tensor(0.0),
    ],
    ids=lambda tensor: str(tuple(tensor.shape)),
)
def test_images_of_another_shape_are_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^images must be \(N, 1, 16, 16\) float in \[0, 1\], got"):
        built().encode(bad)


def test_pixels_from_0_to_255_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got \(5, 1, 16, 16\) torch\.uint8\. .*images\.float\(\) / 255\."):
        built().reconstruct(torch.zeros(5, *IMAGE_SHAPE, dtype=torch.uint8))


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(5, 4), torch.zeros(3), torch.zeros(5, 3, dtype=torch.int64)],
    ids=["size", "no batch", "type"],
)
def test_latents_of_another_size_or_type_are_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^latents must be \(N, 3\) float, got"):
        built().decode(bad)


def test_samples_are_decoded_draws_of_the_prior() -> None:
    model = built(objective="vae")
    latents = torch.randn(4, 3, generator=torch.Generator().manual_seed(9))
    samples = model.sample(4, generator=torch.Generator().manual_seed(9))
    assert samples.shape == (4, *IMAGE_SHAPE)
    assert torch.equal(samples, model.decode(latents))


def test_an_objective_without_a_prior_gives_no_samples() -> None:
    with pytest.raises(UsageError, match="has no prior to sample from"):
        built(objective="ae").sample(1)


# Building one


def test_the_same_seed_gives_the_same_weights() -> None:
    first = weights_of(built(seed=3))
    torch.manual_seed(123)
    assert torch.equal(weights_of(built(seed=3)), first)
    assert not torch.equal(weights_of(built(seed=4)), first)


def test_weights_are_drawn_for_the_encoder_and_then_for_the_decoder() -> None:
    model = built(seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        parts = MLPEncoder(IMAGE_SHAPE, 3), MLPDecoder((3,), IMAGE_SHAPE)
    assert torch.equal(weights_of(model), torch.cat([weights_of(part) for part in parts]))


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    built(seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_encoder_gives_as_many_features_as_the_objective_asks_for(images: Tensor) -> None:
    assert built(objective="ae").encoder(images).shape == (5, 3)
    assert built(objective="vae").encoder(images).shape == (5, 6)


def test_options_reach_their_components() -> None:
    model = built(
        encoder={"name": "mlp", "options": {"hidden": [5, 4]}}, objective={"name": "vae", "options": {"beta": 2.5}}
    )
    assert [layer.out_features for layer in model.encoder.layers[::2]] == [5, 4, 6]
    assert model.objective.beta == 2.5


def test_parts_that_do_not_fit_the_images_are_refused() -> None:
    with pytest.raises(
        IncompatibleError, match=r"^encoder 'conv' cannot be built for image_shape 1×8×8, out_features 3: .*16 to 256"
    ):
        built(image_shape=(1, 8, 8), encoder="conv")


# Trying one


class Viewing(nn.Module):
    """An encoder that takes a convolution's maps to lie as its images do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        self.project = nn.Linear(4 * 16 * 16, 3)

    def forward(self, images: Tensor) -> Any:
        maps = self.convolutions(images)
        return self.project(maps.view(len(maps), -1))


class Fixed(nn.Module):
    """Gives one tensor, whatever it gets."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, _: Tensor) -> Any:
        return self.output


@pytest.fixture
def components() -> Components:
    return components_of(zoo.resolve({"encoder": "mlp", "dataset": "tiny"}))


@pytest.mark.parametrize("training", [True, False])
def test_a_dry_run_leaves_the_model_as_it_was(components: Components, training: bool) -> None:
    model = built().train(training)
    weights, random_state = weights_of(model), torch.get_rng_state()
    dry_run(model, components)
    assert model.training is training
    assert torch.equal(weights_of(model), weights)
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("output", [torch.zeros(2, 4), torch.zeros(1, 3), torch.zeros(2, 3, 1), None], ids=repr)
def test_an_encoder_of_another_size_is_refused(components: Components, output: Any) -> None:
    model = composed(Fixed(output), AE(3, DATA), MLPDecoder((3,), IMAGE_SHAPE))
    with pytest.raises(IncompatibleError, match=r"^encoder 'mlp' must give shape \(2, 3\), got"):
        dry_run(model, components)


def test_a_decoder_of_another_size_is_refused(components: Components) -> None:
    model = composed(MLPEncoder(IMAGE_SHAPE, 3), AE(3, DATA), MLPDecoder((3,), (1, 8, 8)))
    with pytest.raises(IncompatibleError, match=r"must give shape \(2, 1, 16, 16\), got \(2, 1, 8, 8\)\.$"):
        dry_run(model, components)


def test_latents_of_another_size_are_refused(components: Components) -> None:
    objective = VAE(3, DATA)
    objective.latents = lambda features: features
    model = composed(MLPEncoder(IMAGE_SHAPE, 6), objective, MLPDecoder((3,), IMAGE_SHAPE))
    with pytest.raises(IncompatibleError, match=r"must give shape \(2, 3\), got \(2, 6\)\.$"):
        dry_run(model, components)


def layouts_of(model: Autoencoder) -> set[bool]:
    """Say of the weights of convolutions whether their channels are last."""
    weights = [weight for weight in model.parameters() if weight.dim() == 4 and weight.shape[1] > 1]
    return {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}


def test_convolutions_are_laid_out_channels_last_and_compute_the_same(images: Tensor) -> None:
    model = built(encoder="conv")
    expected = model.reconstruct(images)
    lay_channels_last(model, components_of(zoo.resolve({"encoder": "conv", "dataset": "tiny"})))
    assert layouts_of(model) == {True}
    assert torch.allclose(model.reconstruct(images), expected, atol=1e-6)


def test_weights_stay_as_they_are_where_a_component_cannot_use_them_channels_last(
    components: Components, images: Tensor
) -> None:
    convolutions = built(decoder="conv").decoder
    model = composed(Viewing(), AE(3, DATA), convolutions)
    expected = model.reconstruct(images)
    lay_channels_last(model, components)
    assert layouts_of(model) == {False}
    assert torch.equal(model.reconstruct(images), expected)


def test_a_component_that_fails_is_named(components: Components) -> None:
    model = composed(MLPEncoder(IMAGE_SHAPE, 3), AE(3, DATA), MLPDecoder((4,), IMAGE_SHAPE))
    with pytest.raises(IncompatibleError, match=r"^decoder 'mlp' fails on 1×16×16 images: "):
        dry_run(model, components)


# The class


@pytest.mark.parametrize("decoder", ["mlp", "conv"])
@pytest.mark.parametrize("maps", [False, True])
def test_only_the_decoder_of_a_conditional_model_is_told_the_class(images: Tensor, decoder: str, maps: bool) -> None:
    model = built(encoder={"name": "conv", "options": {"maps": maps}}, decoder=decoder, conditional=True)
    latents = model.encode(images)
    assert latents.shape == (5, *model.latent_shape)
    assert model.classes == ("no", "yes")
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert model.decode(latents, labels).shape == images.shape
    assert torch.equal(model.decode(latents), model.decode(latents, torch.full((5,), 2)))  # 2 is the unknown class
    assert not torch.equal(model.decode(latents, labels)[0], model.decode(latents)[0])
    assert torch.equal(model.reconstruct(images, labels), model.decode(latents, labels))


def test_samples_of_a_class_are_decoded_with_it() -> None:
    model = built(objective="vae", conditional=True)
    labels = torch.tensor([0, 1, 2])
    samples = model.sample(3, labels, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(samples, model.decode(latents, labels))


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (torch.tensor([0, 1]), r"^labels must be \(3,\) int64, got \(2\) torch\.int64\.$"),
        (torch.tensor([0.0, 1.0, 1.0]), r"^labels must be \(3,\) int64, got \(3\) torch\.float32\.$"),
        (torch.tensor([0, 1, 3]), r"^labels must be 0 to 1, or 2 for unknown\.$"),
        (torch.tensor([0, 1, -1]), r"^labels must be 0 to 1, or 2 for unknown\.$"),
    ],
    ids=["count", "type", "too large", "negative"],
)
def test_labels_of_another_shape_type_or_range_are_refused(labels: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        built(conditional=True).decode(torch.zeros(3, 3), labels)


def test_a_model_that_is_not_conditional_takes_no_labels() -> None:
    model = built()
    assert model.classes == ()
    with pytest.raises(ValueError, match="this model takes no labels: it was trained without --conditional"):
        model.decode(torch.zeros(3, 3), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("classes", [(), ("one",)], ids=["none", "one"])
def test_conditioning_on_fewer_than_two_classes_is_refused(classes: tuple[str, ...]) -> None:
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny", "conditional": True})
    message = rf"^--conditional needs a dataset with at least two classes; this one has {len(classes)}\.$"
    with pytest.raises(IncompatibleError, match=message):
        build(config, components_of(config), DataFacts(IMAGE_SHAPE, classes))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_labels_are_dropped_in_training_alone(images: Tensor, share: float) -> None:
    model = built(conditional=True, label_dropout=share)
    labels = torch.tensor([0, 1, 1, 0, 1])
    batch = Batch(images, labels, torch.ones(()))
    told, untold = (
        nn.functional.mse_loss(model.reconstruct(images, given), images) for given in (labels, torch.full((5,), 2))
    )
    assert not torch.equal(told, untold)
    assert torch.equal(model.train().losses(batch)["loss"], untold if share else told)
    assert torch.equal(model.eval().losses(batch)["loss"], told)


# What an objective needs


class Needy(AE):
    """Needs what a test says."""


def needing(*needs: str, distortion: str = "mse", classes: tuple[str, ...] = ()) -> Autoencoder:
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny", "distortion": distortion})
    components = components_of(config)
    spec = dataclasses.replace(components.objective.spec, name="needy", target=f"{__name__}:Needy")
    Needy.needs = frozenset(needs)
    components = dataclasses.replace(components, objective=dataclasses.replace(components.objective, spec=spec))
    return build(config, components, DataFacts(IMAGE_SHAPE, classes))


@pytest.mark.parametrize(
    ("need", "distortion", "complaint"),
    [
        ("likelihood", "mse", "a distortion that is a likelihood, and 'mse' is none"),
        ("likelihood", "bernoulli+l1", "a distortion that is a likelihood, and 'bernoulli+l1' is none"),
        ("labels", "mse", "a dataset with classes, and this one declares none"),
    ],
)
def test_what_an_objective_needs_and_lacks_is_named(need: str, distortion: str, complaint: str) -> None:
    with pytest.raises(IncompatibleError, match=rf"^objective 'needy' needs {re.escape(complaint)}\.$"):
        needing(need, distortion=distortion)


def test_an_objective_that_has_what_it_needs_is_built() -> None:
    assert needing("likelihood", "pixels", "labels", distortion="bernoulli", classes=("no", "yes"))


def test_a_need_that_does_not_exist_is_the_plugins_mistake() -> None:
    with pytest.raises(PluginError, match=r"needs 'luck', which is none of likelihood, pixels, labels\.$"):
        needing("luck")


def test_a_distortion_of_logits_is_only_the_first_of_a_sum() -> None:
    with pytest.raises(IncompatibleError, match=r"it can only be the first of a sum: --distortion bernoulli\+mse$"):
        built(distortion="mse+bernoulli")
