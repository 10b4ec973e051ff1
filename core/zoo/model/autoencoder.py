"""Autoencoder: an encoder, an objective, a decoder and a distortion composed into one module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.config import Components, RunConfig
from zoo.contract.distortion import Distortion, DistortionSum
from zoo.contract.objective import Objective
from zoo.contract.parts import Batch, Conditioning, DataFacts, ImageShape, Parts
from zoo.contract.registry import Component
from zoo.contract.signatures import named, owned, require_method, require_methods
from zoo.defaults import float32_on_cpu
from zoo.errors import IncompatibleError, PluginError, UsageError, ZooError, printable
from zoo.model.display import model_html, model_text

if TYPE_CHECKING:
    from zoo.model.checkpoint import Metadata

Losses = dict[str, Tensor]
ADVERSARIAL = "adversarial"
ADVERSARY = "adversary"


class Autoencoder(nn.Module):
    """Encoder, objective, decoder and distortion as one module.

    Images are float `(N, C, H, W)` in [0, 1]. A reconstruction has the same shape; it may leave
    [0, 1] slightly, unless the distortion bounds it.

    Args:
        encoder: Images to features `(N, objective.encoder_features)`, or maps with that many channels.
        objective: What the latent is and what training minimises.
        decoder: Latents to output `(N, *distortion.output_shape)`.
        distortion: How output becomes images, and how far they are from the originals.
        data: What the model knows about its data.
        label_dropout: Share of training images whose class the decoder is not told; None where it is
            never told one.

    Attributes:
        latent_shape: `(latent_dim,)`, or `(latent_dim, h, w)` for maps.
        metadata: What its checkpoint says of it; None for a model that was not opened from one.
        file: That checkpoint.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        decoder: nn.Module,
        distortion: Distortion,
        data: DataFacts,
        *,
        label_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.decoder = decoder
        self.distortion = distortion
        self.data = data
        self.label_dropout = label_dropout
        self.conditioning = Conditioning(len(data.classes)) if label_dropout is not None else None
        self.latent_shape = latent_shape_of(encoder, objective)
        self.metadata: Metadata | None = None
        self.file: Path | None = None

    @property
    def image_shape(self) -> ImageShape:
        """`(C, H, W)`."""
        return self.data.image_shape

    @property
    def latent_dim(self) -> int:
        """Size of the latent; its channels where it is maps."""
        return self.objective.latent_dim

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `decode`, `reconstruct` and `sample` take; empty where they take none."""
        return self.data.classes if self.conditioning else ()

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents `(N, *latent_shape)` of images `(N, C, H, W)`, deterministically.

        Raises:
            ValueError: The images are not float or not of the model's shape.
        """
        _check(images, "images", self.image_shape, "float in [0, 1]")
        return self.objective.latents(self.encoder(images))

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images `(N, C, H, W)` of latents `(N, *latent_shape)`.

        Args:
            latents: Float.
            labels: int64 `(N,)`, the classes of a conditional model; None where they are unknown.

        Raises:
            ValueError: The latents or labels are not of the model's shape or type.
        """
        _check(latents, "latents", self.latent_shape, "float")
        parts = self.parts(self._checked_labels(labels, len(latents)))
        return parts.images(parts.decode(latents))

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the reconstructions `(N, C, H, W)` of images `(N, C, H, W)`, deterministically.

        Args:
            images: Float in [0, 1].
            labels: As in `decode`.
        """
        return self.decode(self.encode(images), labels)

    def labels_told(self, labels: Tensor) -> Tensor | None:
        """Return a dataset's labels as `decode` takes them: a class that the model does not know is unknown.

        Args:
            labels: int64 `(N,)`, or `(N, K)` where the dataset declares factors, which are no classes.
        """
        if self.conditioning is None or labels.dim() > 1:
            return None
        known = (labels >= 0) & (labels < self.conditioning.classes)
        return torch.where(known, labels, self.conditioning.classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the reconstructions of images, as `reconstruct`."""
        return self.reconstruct(images, labels)

    @float32_on_cpu()
    def sample(self, count: int, labels: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Return images `(count, C, H, W)` decoded from draws of the prior.

        Args:
            count: Number of images.
            labels: int64 `(count,)`, as in `decode`.
            generator: Decides the draws; the global random state does by default.

        Raises:
            UsageError: The objective has no prior.
        """
        if not self.objective.has_prior:
            raise UsageError("This model's objective has no prior to sample from: train with one that has.")
        return self.decode(self.draw_latents(count, generator), labels)

    def draw_latents(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return latents `(count, *latent_shape)` drawn from the prior."""
        parameter = next(self.parameters())
        latents = self.objective.sample_prior(count, self.parts(), generator)
        return latents.to(parameter.device, parameter.dtype)

    def losses(self, batch: Batch) -> Losses:
        """Return the losses of a batch: `loss`, which training minimises, and its parts.

        In training, `adversarial` is minimised beside `loss` where there is an adversary; in eval
        mode it is left out.
        """
        return self._losses(batch, self._parts_of(batch))

    def losses_of_both(self, batch: Batch) -> tuple[Losses, Losses]:
        """Return the losses of a batch, and those of the adversaries: `loss`, which they minimise, and its parts.

        Raises:
            PluginError: The objective never calls `parts.loss`, on which a distortion's adversary is trained.
        """
        parts = self._parts_of(batch)
        losses = self._losses(batch, parts)
        of_objective: Losses = {}
        of_distortion: Losses = {}
        if self.objective.has_adversary:
            of_objective = self.objective.adversary_losses(batch, self.parts(parts.labels, batch.progress))
        if self.distortion.has_adversary:
            if parts.reconstruction is None:
                raise PluginError("the objective never calls parts.loss, so the distortion's adversary is not trained")
            of_distortion = self.distortion.adversary_losses(*parts.reconstruction, batch.progress)
        total = [each["loss"] for each in (of_objective, of_distortion) if each]
        named = {f"{ADVERSARY}_{name}": value for name, value in of_objective.items()}
        named |= {f"distortion_{ADVERSARY}_{name}": value for name, value in of_distortion.items()}
        return losses, {**named, "loss": torch.stack(total).sum()}

    def attach(self) -> None:
        """Let the objective make what depends on the other parts. Called once, when the model is built."""
        self.objective.attach(self.parts())

    def start(self, batch: Batch) -> None:
        """Prepare the parts for a new training with a batch of its images."""
        parts = self.parts(None, batch.progress)
        for part in (self.encoder, self.objective, self.distortion):
            if start := getattr(part, "start", None):
                start(batch, parts)

    @property
    def starts(self) -> bool:
        """Whether a part prepares for a new training."""
        return (
            hasattr(self.encoder, "start")
            or type(self.objective).start is not Objective.start
            or any(type(each).start is not Distortion.start for each in self.distortion.each())
        )

    @property
    def updates_state(self) -> bool:
        """Whether the objective updates its state after each optimizer step."""
        return bool(self.objective.tallies) or type(self.objective).after_step is not Objective.after_step

    def after_step(self) -> None:
        """Let the objective update its state, and set its tallies to zero."""
        with torch.no_grad():
            self.objective.after_step(self.parts())
        self.clear_tallies()

    @property
    def tallies(self) -> list[Tensor]:
        """The objective's tallies."""
        return [getattr(self.objective, name) for name in self.objective.tallies]

    def clear_tallies(self) -> None:
        """Set the objective's tallies to zero."""
        for tally in self.tallies:
            tally.zero_()

    @property
    def adversary_owners(self) -> list[Objective | Distortion]:
        """The objective and the distortions that have an adversary."""
        owners: list[Objective | Distortion] = [self.objective, *self.distortion.each()]
        return [owner for owner in owners if owner.has_adversary]

    @property
    def players(self) -> list[list[nn.Parameter]]:
        """The weights that each optimizer trains, without frozen ones: the autoencoder's, then the adversaries'."""
        of_adversaries = [weight for owner in self.adversary_owners for weight in adversary_weights(owner)]
        theirs = set(map(id, of_adversaries))
        own = [weight for weight in self.parameters() if weight.requires_grad and id(weight) not in theirs]
        return [own, of_adversaries] if self.adversary_owners else [own]

    @property
    def frozen_weights(self) -> dict[str, nn.Parameter]:
        """The weights by name that no optimizer trains and a checkpoint keeps, such as a pretrained backbone's."""
        left_out = self._prefixes_left_out()
        return {
            name: weight
            for name, weight in self.named_parameters()
            if not weight.requires_grad and not name.startswith(left_out)
        }

    def kept_state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps: all but those of parts that only training needs."""
        left_out = self._prefixes_left_out()
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(left_out)}

    def drop_training_only(self) -> None:
        """Remove the parts that only training needs."""
        for name in self._training_only():
            owner, _, attribute = name.rpartition(".")
            setattr(self.get_submodule(owner), attribute, None)

    def _prefixes_left_out(self) -> tuple[str, ...]:
        """Return how the names of tensors begin that a checkpoint leaves out."""
        return tuple(f"{name}." for name in self._training_only())

    def _training_only(self) -> list[str]:
        """Return the names of the submodules that only training needs."""
        owners: dict[int, Objective | Distortion] = {id(self.objective): self.objective}
        owners |= {id(each): each for each in self.distortion.each()}
        return [
            f"{name}.{part}"
            for name, module in self.named_modules()
            if (owner := owners.get(id(module)))
            for part in [*owner.training_only, ADVERSARY]
            if getattr(owner, part, None) is not None
        ]

    def _losses(self, batch: Batch, parts: Parts) -> Losses:
        losses = self.objective.losses(batch, parts)
        if not isinstance(losses, dict):  # a plugin's mistake, which the dry run reports
            return losses
        losses = dict(losses)
        if parts.adversarial is not None:
            losses[ADVERSARIAL] = (
                losses[ADVERSARIAL] + parts.adversarial if ADVERSARIAL in losses else parts.adversarial
            )
        if not self.training:
            losses.pop(ADVERSARIAL, None)
        return losses

    def _parts_of(self, batch: Batch) -> Parts:
        labels = None if batch.labels is None else self.labels_told(batch.labels)
        if self.conditioning and labels is not None and self.training and self.label_dropout:
            labels = self.conditioning.drop(labels, self.label_dropout)
        return self.parts(labels, batch.progress)

    def parts(self, labels: Tensor | None = None, progress: Tensor | None = None) -> Parts:
        """Return the parts as an objective uses them on a batch with these labels."""
        return Parts(
            self.encoder,
            self.decoder,
            self.distortion,
            self.latent_shape,
            conditioning=self.conditioning,
            labels=labels,
            progress=progress,
        )

    def _checked_labels(self, labels: Tensor | None, count: int) -> Tensor | None:
        if labels is None:
            return None
        if self.conditioning is None:
            raise ValueError("this model takes no labels: it was trained without --conditional")
        if labels.shape != (count,) or labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be ({count},) int64, got ({', '.join(map(str, labels.shape))}) {labels.dtype}."
            )
        if not torch.compiler.is_compiling() and not bool(
            ((labels >= 0) & (labels <= self.conditioning.classes)).all()
        ):
            raise ValueError(
                f"labels must be 0 to {self.conditioning.classes - 1}, or {self.conditioning.classes} for unknown."
            )
        return labels

    def extra_repr(self) -> str:
        """Return the first line of what `print` shows, before the layers."""
        return model_text(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return model_html(self)


def build(config: RunConfig, components: Components, data: DataFacts) -> Autoencoder:
    """Build the autoencoder that a config describes, with fresh weights drawn from its seed.

    The weights are those that `torch.manual_seed(seed)` gives when its parts are made in the order
    objective, encoder, decoder, distortion. The global random state is left as it was.

    Raises:
        IncompatibleError: The parts do not fit together.
        PluginError: A component breaks its contract.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU too
        objective = components.objective.build(config.latent_dim, data, options=config.objective.options)
        _require_type(components.objective, objective, Objective)
        features = objective.encoder_features
        encoder = components.encoder.build(data.image_shape, features, options=config.encoder.options)
        _require_type(components.encoder, encoder, nn.Module)
        distortion = _build_distortion(config, components, data.image_shape)
        _require_needs(components, objective, distortion, data)
        latent_shape = latent_shape_of(encoder, objective)
        if config.conditional:
            latent_shape = _conditioning(data).shape(latent_shape)
        decoder = components.decoder.build(latent_shape, distortion.output_shape, options=config.decoder.options)
        _require_type(components.decoder, decoder, nn.Module)
        label_dropout = config.label_dropout if config.conditional else None
        autoencoder = Autoencoder(encoder, objective, decoder, distortion, data, label_dropout=label_dropout)
        autoencoder.attach()
    return autoencoder


def _build_distortion(config: RunConfig, components: Components, image_shape: ImageShape) -> Distortion:
    names = [term.name for term in config.distortion]
    weights = [term.weight for term in config.distortion]
    terms: list[Distortion] = []
    for component, term in zip(components.distortions, config.distortion, strict=True):
        terms.append(component.build(image_shape, options=term.options))
        _require_type(component, terms[-1], Distortion)
        if len(terms) > 1 and terms[-1].owns_output:
            raise IncompatibleError(
                f"{component} makes images of its own kind of output, so it can only be the first of a sum: "
                f"--distortion {component.name}+{names[0]}"
            )
    return terms[0] if weights == [1.0] else DistortionSum(names, terms, weights)


def _conditioning(data: DataFacts) -> Conditioning:
    if len(data.classes) < 2:
        raise IncompatibleError(
            f"--conditional needs a dataset with at least two classes; this one has {len(data.classes)}."
        )
    return Conditioning(len(data.classes))


def _require_type(component: Component, built: object, expected: type) -> None:
    if not isinstance(built, expected):
        name = "torch.nn.Module" if expected is nn.Module else f"zoo.{expected.__name__}"
        raise PluginError(f"{owned(component)} must be a {name}, got {type(built).__name__}.")


def _require_needs(components: Components, objective: Objective, distortion: Distortion, data: DataFacts) -> None:
    """Refuse a distortion or data that lack what the objective declares to need."""
    names = "+".join(component.name for component in components.distortions)
    lacking = {
        "likelihood": (not distortion.likelihood, f"a distortion that is a likelihood, and '{names}' is none"),
        "pixels": (not distortion.has_pixels, f"a distortion of single pixels, and '{names}' has none"),
        "labels": (not data.classes, "a dataset with classes, and this one declares none"),
    }
    for need in sorted(objective.needs):
        if need not in lacking:
            raise PluginError(
                f"{components.objective} needs '{printable(need)}', which is none of {', '.join(lacking)}."
            )
        lacks, what = lacking[need]
        if lacks:
            raise IncompatibleError(f"{components.objective} needs {what}.")


def latent_shape_of(encoder: nn.Module, objective: Objective) -> tuple[int, ...]:
    """Return the latent's shape: `(latent_dim,)`, or `(latent_dim, h, w)` where the encoder gives maps."""
    return (objective.latent_dim, *features_shape_of(encoder, objective)[1:])


def features_shape_of(encoder: nn.Module, objective: Objective) -> tuple[int, ...]:
    """Return the shape of an image's features: `(encoder_features,)`, or `(encoder_features, h, w)` for maps."""
    shape: tuple[int, ...] = tuple(getattr(encoder, "features_shape", (objective.encoder_features,)))
    return shape


@float32_on_cpu()
def dry_run(autoencoder: Autoencoder, components: Components) -> None:
    """Pass two blank images through, and check every signature, every shape and the losses on the way.

    The model, its state and the global random state are left as they were.

    Raises:
        IncompatibleError: A component fails, or gives another shape than its contract says.
        PluginError: A component breaks its contract whatever the images: it has a method with another signature, or
            gives losses that cannot be minimised.
    """

    def expect(what: str, output: Any, shape: tuple[int, ...]) -> None:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if got != shape:
            raise IncompatibleError(f"{what} must give shape {shape}, got {got}.")

    objective, distortion, parts = autoencoder.objective, autoencoder.distortion, autoencoder.parts()
    _require_signatures(autoencoder, components)
    was_training = autoencoder.training
    autoencoder.eval()
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    running = components.encoder
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            images = torch.zeros(2, *autoencoder.image_shape)
            features = parts.encode(images)
            expect(str(running), features, (2, *features_shape_of(autoencoder.encoder, objective)))
            running = components.objective
            latents = objective.latents(features)
            latents_shape = (2, *autoencoder.latent_shape)
            expect(f"{owned(running)}: {named(Objective, 'latents')}", latents, latents_shape)
            running = components.decoder
            output = parts.decode(latents)
            expect(str(running), output, (2, *distortion.output_shape))
            running = components.distortions[0]
            expect(f"{owned(running)}: {named(Distortion, 'images')}", distortion.images(output), tuple(images.shape))
            running = components.objective
            if objective.has_prior:
                draws = objective.sample_prior(2, parts)
                expect(f"{owned(running)}: {named(Objective, 'sample_prior')}", draws, latents_shape)
            with torch.enable_grad():
                losses = autoencoder.losses(Batch(images, torch.zeros(2, dtype=torch.int64), torch.ones(())))
            _require_losses(running, losses, autoencoder)
    except ZooError:
        raise
    except (RuntimeError, ValueError) as error:
        shape = "×".join(map(str, autoencoder.image_shape))
        raise IncompatibleError(f"{running} fails on {shape} images: {printable(error)}") from error
    except Exception as error:
        raise PluginError(f"{owned(running)} fails: {type(error).__name__}: {printable(error)}") from error
    finally:
        autoencoder.train(was_training)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _require_signatures(autoencoder: Autoencoder, components: Components) -> None:
    """Require methods that can be called as the contract says."""
    require_methods(components.objective, autoencoder.objective, Objective)
    for component, distortion in zip(components.distortions, autoencoder.distortion.each(), strict=True):
        require_methods(component, distortion, Distortion)
    for component, network, argument in (
        (components.encoder, autoencoder.encoder, "images"),
        (components.decoder, autoencoder.decoder, "latents"),
    ):
        parameter = inspect.Parameter(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        require_method(component, "forward", network.forward, inspect.Signature([parameter]))


def _require_losses(component: Component, losses: Any, autoencoder: Autoencoder) -> None:
    """Require losses by name, each a scalar, of which `loss` has a gradient for the weights that are trained."""
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


def loss_columns(autoencoder: Autoencoder, batch: Batch) -> list[str]:
    """Return the columns of losses that a training will write, `train_…` and then `val_…`, each sorted.

    The losses of a batch at the beginning and at the end of a training name them: one may begin late, or end.

    Args:
        autoencoder: It is left as it is; a copy is tried.
        batch: At least two images, with progress 1.
    """
    model = copy.deepcopy(autoencoder)
    losses: Losses = {}
    with torch.random.fork_rng(devices=[]):
        for progress in (torch.zeros_like(batch.progress), batch.progress):
            tried = replace(batch, progress=progress)
            if model.adversary_owners:
                of_autoencoder, of_adversaries = model.train().losses_of_both(tried)
                losses |= of_autoencoder | {name: of_adversaries[name] for name in of_adversaries.keys() - {"loss"}}
            else:
                losses |= model.train().losses(tried)
        with torch.no_grad():
            validation = model.eval().losses(batch)
    return [f"train_{name}" for name in sorted(losses)] + [f"val_{name}" for name in sorted(validation)]


def lay_channels_last(autoencoder: Autoencoder, components: Components) -> None:
    """Lay the weights of convolutions out channels last, which is faster, where the components can use them so.

    One that calls `view` on a convolution's maps, say, cannot: its weights stay as they are.
    """
    weights = [weight for weight in autoencoder.parameters() if weight.dim() == 4]
    _lay(weights, torch.channels_last)
    try:
        dry_run(autoencoder, components)
        if autoencoder.adversary_owners:  # a dry run leaves adversaries out
            images, labels = torch.zeros(2, *autoencoder.image_shape), torch.zeros(2, dtype=torch.int64)
            loss_columns(autoencoder, Batch(images, labels, torch.ones(())))
    except (IncompatibleError, RuntimeError):
        _lay(weights, torch.contiguous_format)


def adversary_weights(owner: Objective | Distortion) -> list[nn.Parameter]:
    """Return the weights of an owner's adversary that are trained."""
    return [weight for weight in owner.adversary.parameters() if weight.requires_grad] if owner.adversary else []


def _lay(weights: Iterable[nn.Parameter], layout: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=layout)


def _check(tensor: Tensor, label: str, shape: tuple[int, ...], values: str) -> None:
    if not tensor.is_floating_point() or tuple(tensor.shape[1:]) != shape:
        expected = ", ".join(["N", *map(str, shape)])
        got = ", ".join(map(str, tensor.shape))
        hint = " Pixels 0 to 255 become floats as images.float() / 255." if tensor.dtype == torch.uint8 else ""
        raise ValueError(f"{label} must be ({expected}) {values}, got ({got}) {tensor.dtype}.{hint}")
