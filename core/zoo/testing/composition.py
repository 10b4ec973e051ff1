"""Checks of encoders and decoders with all that is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from zoo.contract.objective import Objective
from zoo.contract.parts import DataFacts, ImageShape
from zoo.contract.registry import Component, installed
from zoo.contract.specs import DatasetSpec, Kind
from zoo.data.splits import load_split, to_float
from zoo.model.autoencoder import features_shape_of
from zoo.testing.check import DATA, Arguments, Failed, NotApplicable, Subject, check, described, require
from zoo.testing.networks import forward, output_shape, takes_images
from zoo.testing.reference import (
    Linear,
    NormalLikelihood,
    Plain,
    SquaredDistance,
    batch_of,
    compose,
    random_images,
    start,
)

_NETWORKS: tuple[Kind, ...] = ("encoder", "decoder")


@check(*_NETWORKS, cause="a shape that differs from the contract's, or attributes that clash with nn.Module's")
def composes_with_reference(subject: Subject) -> None:
    """With a linear partner and the mean squared error it encodes, decodes and reconstructs."""
    require(output_shape, subject, "its output has another shape than the contract's")
    for case in subject.cases:
        _try_composed(subject, case, Plain(_latent_dim(subject, case), _data(subject, case)))


@check(*_NETWORKS, cause="a number of features that is not expected, or outputs so large that an exponential overflows")
def composes_with_objectives(subject: Subject) -> None:
    """It works with every installed objective that works with linear networks."""
    case = subject.cases[0]
    data, latent_dim = _data(subject, case), _latent_dim(subject, case)
    tried = 0
    for component in installed().components("objective"):
        try:
            objective = Subject(component).build(latent_dim, data)
            sides = case[0][1:] if subject.kind == "decoder" else ()
            encoder = Linear(data.image_shape, (objective.encoder_features, *sides))
            _compose(encoder, objective, Linear((latent_dim, *sides), data.image_shape), data)
            objective = Subject(component).build(latent_dim, data)
        except Exception:  # noqa: S112 - the objective's own checks report it
            continue
        if subject.kind == "encoder" and not subject.takes(data.image_shape, objective.encoder_features):
            continue
        with _named(component):
            _try_composed(subject, case, objective)
        tried += 1
    if not tried:
        raise NotApplicable("no installed objective works with linear networks and a size that it takes")


@check(
    *_NETWORKS, cause="assumptions about pixels, or about sizes without a `ValueError` from the constructor for others"
)
def composes_with_datasets(subject: Subject) -> None:
    """It works on the first images of every installed dataset whose shape it takes."""
    require(takes_images, subject, "it can be built for no shape")
    tried = 0
    for component in installed().components("dataset"):
        spec = component.spec
        assert isinstance(spec, DatasetSpec)
        if spec.image_shape is None or not (case := _case_for(subject, spec.image_shape)):
            continue
        try:
            images = to_float(load_split(component, {}, "test").images[:4])
        except Exception:  # noqa: S112 - the dataset's own checks report it
            continue
        with _named(component):
            _try_composed(subject, case, Plain(_latent_dim(subject, case), _data(subject, case)), images)
        tried += 1
    if not tried:
        raise NotApplicable("no dataset that can be read has images of a shape that it takes")


def _case_for(subject: Subject, image_shape: ImageShape) -> Arguments | None:
    """Return the arguments for images of a shape; None where the network refuses them."""
    first, second = subject.cases[0]
    case: Arguments = (image_shape, second) if subject.kind == "encoder" else (first, image_shape)
    return case if subject.takes(*case) else None


def _data(subject: Subject, case: Arguments) -> DataFacts:
    image_shape = case[0] if subject.kind == "encoder" else case[1]
    return DataFacts(image_shape, DATA.classes, DATA.train_count)


def _latent_dim(subject: Subject, case: Arguments) -> int:
    latent_dim: int = case[1] if subject.kind == "encoder" else case[0][0]
    return latent_dim


def _try_composed(subject: Subject, case: Arguments, objective: Objective, images: Tensor | None = None) -> None:
    """Compose the network with a linear partner, and take its losses and reconstructions."""
    data, features = _data(subject, case), objective.encoder_features
    encoder: nn.Module
    decoder: nn.Module
    if subject.kind == "encoder":
        if not subject.takes(data.image_shape, features):
            raise NotApplicable(f"it cannot be built for {features} features")
        encoder = subject.build(data.image_shape, features)
        sides = features_shape_of(encoder, objective)[1:]
        decoder = Linear((objective.latent_dim, *sides), data.image_shape)
    else:
        latent_shape, _ = case
        encoder = Linear(data.image_shape, (features, *latent_shape[1:]))
        decoder = subject.build(*case)
    _compose(encoder, objective, decoder, data, images)


def _compose(
    encoder: nn.Module, objective: Objective, decoder: nn.Module, data: DataFacts, images: Tensor | None = None
) -> None:
    distortion = NormalLikelihood if "likelihood" in objective.needs else SquaredDistance
    model = compose(encoder, objective, decoder, distortion(data.image_shape), data)
    start(model)
    if images is None:
        images = random_images(data.image_shape, 4, seed=2)
    loss = model.train().losses(batch_of(images))["loss"]
    torch.autograd.backward(loss)
    reconstruction = forward(model.eval(), images)
    if not bool(torch.isfinite(loss)) or tuple(reconstruction.shape) != tuple(images.shape):
        raise Failed(
            f"loss {loss.item()}, reconstruction {tuple(reconstruction.shape)}", f"finite, {tuple(images.shape)}"
        )


@contextlib.contextmanager
def _named(component: Component) -> Iterator[None]:
    """Say with which other component a composition fails."""
    try:
        yield
    except Failed as failure:
        raise Failed(f"with {component}: {failure.measured}", failure.allowed) from failure
    except NotApplicable:
        raise
    except Exception as error:
        raise Failed(f"with {component}: {described(error)}", "no exception") from error
