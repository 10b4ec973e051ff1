"""Autoencoder: an encoder, an objective and a decoder composed into one module."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.config import RunConfig, component_options
from zoo.defaults import float32_on_cpu
from zoo.display import model_html, model_text
from zoo.errors import IncompatibleError, PluginError, UsageError, ZooError, printable
from zoo.objective import Objective
from zoo.registry import Component
from zoo.signatures import call_target, named, owned, require_method, require_methods
from zoo.specs import DatasetSpec, Kind

if TYPE_CHECKING:
    from zoo.checkpoint import Metadata

ImageShape = tuple[int, int, int]

FORWARDS: dict[Kind, inspect.Signature] = {
    kind: inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)])
    for kind, name in (("encoder", "images"), ("decoder", "latents"))
}


class ConstructorError(PluginError):
    """A component's constructor raised what it must not raise, whatever it is given."""


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

    Attributes:
        metadata: What its checkpoint says of it; None for a model that was not opened from one.
        file: That checkpoint.
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
        self.metadata: Metadata | None = None
        self.file: Path | None = None

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

    @float32_on_cpu()
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

    def extra_repr(self) -> str:
        """Return the first line of what `print` shows, before the layers."""
        return model_text(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return model_html(self)


def build(config: RunConfig, components: Mapping[Kind, Component], image_shape: ImageShape) -> Autoencoder:
    """Build the autoencoder that a config describes, with fresh weights drawn from its seed.

    The weights are those that `torch.manual_seed(seed)` gives when its parts
    are made in the order objective, encoder, decoder. The global random state is left as it was.

    Raises:
        IncompatibleError: The parts do not fit together.
        PluginError: A component breaks its contract.
    """

    def make(kind: Kind, base: type, **sizes: Any) -> Any:
        component = components[kind]
        options = component_options(component, config.component(kind).options)
        try:
            part = call_target(component, sizes, options)
        except (ValueError, IncompatibleError) as error:
            shape = "×".join(map(str, image_shape))
            raise IncompatibleError(f"{component} does not fit {shape} images: {printable(error)}") from error
        except ZooError:
            raise
        except Exception as error:
            raise ConstructorError(f"{owned(component)} cannot be built: {_described(error)}") from error
        if not isinstance(part, base):
            expected = "zoo.Objective" if base is Objective else "torch.nn.Module"
            raise PluginError(f"{owned(component)} must be a {expected}, got {type(part).__name__}.")
        return part

    latent_dim = config.latent_dim
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU too
        objective = make("objective", Objective, latent_dim=latent_dim)
        encoder = make("encoder", nn.Module, image_shape=image_shape, out_features=objective.encoder_features)
        decoder = make("decoder", nn.Module, latent_dim=latent_dim, image_shape=image_shape)
    return Autoencoder(encoder, objective, decoder, image_shape, latent_dim)


@float32_on_cpu()
def dry_run(autoencoder: Autoencoder, components: Mapping[Kind, Component]) -> None:
    """Pass two blank images through, and check every signature, every shape and the losses on the way.

    Raises:
        IncompatibleError: A component fails, or gives another shape than its contract says.
        PluginError: A component breaks its contract whatever the images: it has a method with another signature, or
            gives losses that cannot be minimised.
    """

    def expect(what: str, output: Any, shape: tuple[int, ...]) -> None:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if got != shape:
            raise IncompatibleError(f"{what} must give shape {shape}, got {got}.")

    objective, was_training = autoencoder.objective, autoencoder.training
    latents_shape = (2, autoencoder.latent_dim)
    require_methods(components["objective"], objective, Objective)
    for part, expected in FORWARDS.items():
        require_method(components[part], "forward", getattr(autoencoder, part).forward, expected)
    autoencoder.eval()
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    kind: Kind = "encoder"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            images = torch.zeros(2, *autoencoder.image_shape)
            features = autoencoder.encoder(images)
            expect(str(components[kind]), features, (2, objective.encoder_features))
            kind = "objective"
            latents = objective.latents(features)
            expect(f"{owned(components[kind])}: {named(Objective, 'latents')}", latents, latents_shape)
            kind = "decoder"
            expect(str(components[kind]), autoencoder.decoder(latents), (2, *autoencoder.image_shape))
            kind = "objective"
            if objective.has_prior:
                draws = objective.sample_prior(2)
                expect(f"{owned(components[kind])}: {named(Objective, 'sample_prior')}", draws, latents_shape)
            with torch.enable_grad():
                _require_losses(components[kind], autoencoder, images)
    except ZooError:
        raise
    except (RuntimeError, ValueError) as error:
        shape = "×".join(map(str, autoencoder.image_shape))
        raise IncompatibleError(f"{components[kind]} fails on {shape} images: {printable(error)}") from error
    except Exception as error:
        raise PluginError(f"{owned(components[kind])} fails: {_described(error)}") from error
    finally:
        autoencoder.train(was_training)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def lay_channels_last(autoencoder: Autoencoder, components: Mapping[Kind, Component]) -> None:
    """Lay the weights of convolutions out channels last, which is faster, where the components can use them so.

    One that calls `view` on a convolution's maps, say, cannot: its weights stay as they are.
    """
    weights = [weight for weight in autoencoder.parameters() if weight.dim() == 4]
    _lay(weights, torch.channels_last)
    try:
        dry_run(autoencoder, components)
    except (IncompatibleError, PluginError):
        _lay(weights, torch.contiguous_format)


def image_shape_of(dataset: Component) -> ImageShape:
    """Return the image shape `(C, H, W)` that a dataset declares."""
    assert isinstance(dataset.spec, DatasetSpec)
    return dataset.spec.image_shape


def _require_losses(component: Component, autoencoder: Autoencoder, images: Tensor) -> None:
    """Require losses by name, each a scalar, of which `loss` has a gradient for the weights that are trained."""
    losses: Any = autoencoder(images)
    problem = ""
    if not isinstance(losses, dict):
        problem = type(losses).__name__
    elif "loss" not in losses:
        problem = f"a dict without 'loss': {printable(list(losses), 80)}"
    else:
        for name, value in losses.items():
            if not isinstance(value, Tensor):
                problem = f"'{printable(name)}' of type {type(value).__name__}"
            elif value.dim():
                problem = f"'{printable(name)}' of shape {tuple(value.shape)}"
        trained = any(weight.requires_grad for weight in autoencoder.parameters())
        if not problem and trained and not losses["loss"].requires_grad:
            problem = "'loss' without a gradient for any weight"
    if problem:
        call = named(Objective, "losses")
        raise PluginError(f"{owned(component)}: {call} must give a dict of scalar tensors with 'loss', got {problem}.")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {printable(error)}"


def _lay(weights: Iterable[nn.Parameter], layout: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=layout)


def _check(tensor: Tensor, label: str, shape: tuple[int, ...], values: str) -> None:
    if not tensor.is_floating_point() or tuple(tensor.shape[1:]) != shape:
        expected = ", ".join(["N", *map(str, shape)])
        got = ", ".join(map(str, tensor.shape))
        hint = " Pixels 0 to 255 become floats as images.float() / 255." if tensor.dtype == torch.uint8 else ""
        raise ValueError(f"{label} must be ({expected}) {values}, got ({got}) {tensor.dtype}.{hint}")
