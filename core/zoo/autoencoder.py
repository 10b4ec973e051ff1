"""Autoencoder: an encoder, an objective and a decoder composed into one module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.config import RunConfig, component_options
from zoo.errors import IncompatibleError, PluginError, UsageError, printable
from zoo.objective import Objective
from zoo.registry import Component
from zoo.specs import DatasetSpec, Kind

ImageShape = tuple[int, int, int]


class Autoencoder(nn.Module):
    """Encoder, objective and decoder as one module.

    Images are float `(N, C, H, W)` in [0, 1]. A reconstruction has the same shape; a decoder
    without a bounded last layer may leave [0, 1] slightly.

    Args:
        encoder: Images to features `(N, objective.encoder_features)`.
        objective: What the latent is and what training minimises.
        decoder: Latents `(N, latent_dim)` to reconstructions.
        image_shape: `(C, H, W)`.
        latent_dim: Size of the latent.
    """

    def __init__(
        self, encoder: nn.Module, objective: Objective, decoder: nn.Module, image_shape: ImageShape, latent_dim: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.decoder = decoder
        self.image_shape = image_shape
        self.latent_dim = latent_dim

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents `(N, latent_dim)` of images `(N, C, H, W)`, deterministically.

        Raises:
            ValueError: The images are not float or not of the model's shape.
        """
        _check(images, "images", self.image_shape, "float in [0, 1]")
        return self.objective.latents(self.encoder(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Return the reconstructions `(N, C, H, W)` of latents `(N, latent_dim)`.

        Raises:
            ValueError: The latents are not float or not of the model's size.
        """
        _check(latents, "latents", (self.latent_dim,), "float")
        reconstruction: Tensor = self.decoder(latents)
        return reconstruction

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return the reconstructions `(N, C, H, W)` of images `(N, C, H, W)`, deterministically."""
        return self.decode(self.encode(images))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return images `(count, C, H, W)` decoded from draws of the prior.

        Raises:
            UsageError: The objective has no prior.
        """
        if not self.objective.has_prior:
            raise UsageError("This model's objective has no prior to sample from; train with one that has, e.g. 'vae'.")
        parameter = next(self.parameters())
        return self.decode(self.objective.sample_prior(count, generator).to(parameter.device, parameter.dtype))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch of images `(N, C, H, W)`: what training minimises."""
        return self.objective.losses(images, self.encoder, self.decoder)


def build(config: RunConfig, components: Mapping[Kind, Component], image_shape: ImageShape) -> Autoencoder:
    """Build the autoencoder that a config describes, with fresh weights drawn from its seed.

    The weights are those that `torch.manual_seed(seed)` gives when its parts
    are made in the order objective, encoder, decoder. The global random state is left as it was.

    Raises:
        IncompatibleError: The parts do not fit together.
        PluginError: A component breaks its contract.
    """

    def make(kind: Kind, *sizes: Any) -> Any:
        component = components[kind]
        options = component_options(component, config.component(kind).options)
        try:
            return component.load()(*sizes, **options)
        except (ValueError, IncompatibleError) as error:
            shape = "×".join(map(str, image_shape))
            raise IncompatibleError(f"{component} does not fit {shape} images: {printable(error)}") from error

    latent_dim = config.latent_dim
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU too
        objective = make("objective", latent_dim)
        if not isinstance(objective, Objective):
            raise PluginError(f"{components['objective']} must be a zoo.Objective, got {type(objective).__name__}.")
        encoder = make("encoder", image_shape, objective.encoder_features)
        decoder = make("decoder", latent_dim, image_shape)
    return Autoencoder(encoder, objective, decoder, image_shape, latent_dim)


def dry_run(autoencoder: Autoencoder, components: Mapping[Kind, Component]) -> None:
    """Pass two blank images through, and check every shape on the way.

    Raises:
        IncompatibleError: A component fails, or gives another shape than its contract says.
    """

    def expect(kind: Kind, output: Any, shape: tuple[int, ...]) -> None:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if got != shape:
            raise IncompatibleError(f"{components[kind]} must give shape {shape}, got {got}.")

    was_training = autoencoder.training
    autoencoder.eval()
    kind: Kind = "encoder"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            features = autoencoder.encoder(torch.zeros(2, *autoencoder.image_shape))
            expect("encoder", features, (2, autoencoder.objective.encoder_features))
            kind = "objective"
            latents = autoencoder.objective.latents(features)
            expect("objective", latents, (2, autoencoder.latent_dim))
            kind = "decoder"
            expect("decoder", autoencoder.decoder(latents), (2, *autoencoder.image_shape))
    except (RuntimeError, TypeError, ValueError) as error:
        shape = "×".join(map(str, autoencoder.image_shape))
        raise IncompatibleError(f"{components[kind]} fails on {shape} images: {printable(error)}") from error
    finally:
        autoencoder.train(was_training)


def lay_channels_last(autoencoder: Autoencoder, components: Mapping[Kind, Component]) -> None:
    """Lay the weights of convolutions out channels last, which is faster, where the components can use them so.

    One that calls `view` on a convolution's maps, say, cannot: its weights stay as they are.
    """
    weights = [weight for weight in autoencoder.parameters() if weight.dim() == 4]
    _lay(weights, torch.channels_last)
    try:
        dry_run(autoencoder, components)
    except IncompatibleError:
        _lay(weights, torch.contiguous_format)


def image_shape_of(dataset: Component) -> ImageShape:
    """Return the image shape `(C, H, W)` that a dataset declares."""
    assert isinstance(dataset.spec, DatasetSpec)
    return dataset.spec.image_shape


def _lay(weights: Iterable[nn.Parameter], layout: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=layout)


def _check(tensor: Tensor, label: str, shape: tuple[int, ...], values: str) -> None:
    if not tensor.is_floating_point() or tuple(tensor.shape[1:]) != shape:
        expected = ", ".join(["N", *map(str, shape)])
        got = ", ".join(map(str, tensor.shape))
        hint = " Pixels 0 to 255 become floats as images.float() / 255." if tensor.dtype == torch.uint8 else ""
        raise ValueError(f"{label} must be ({expected}) {values}, got ({got}) {tensor.dtype}.{hint}")
