"""A component whose code cannot be called as the contract says is named, with what is expected and what was found."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import zoo
from zoo import Batch, DataFacts, Distortion, IncompatibleError, Objective, Parts, PluginError
from zoo.config import Components, RunConfig, components_of
from zoo.contract.registry import Component, Plugin
from zoo.contract.signatures import named
from zoo.contract.specs import DatasetSpec, DecoderSpec, DistortionSpec, EncoderSpec, Kind, ObjectiveSpec
from zoo.data.splits import load_split
from zoo.model.autoencoder import build, dry_run

DATA = DataFacts((1, 16, 16))
SPECS: dict[Kind, Any] = {
    "encoder": EncoderSpec, "decoder": DecoderSpec, "objective": ObjectiveSpec, "distortion": DistortionSpec,
}  # fmt: skip
LOSSES = named(Objective, "losses")  # as the base class declares it
LATENTS = named(Objective, "latents")
SAMPLE_PRIOR = named(Objective, "sample_prior")


def component_of(kind: Kind, target: type) -> Component:
    spec = SPECS[kind](name="planted", target=f"{__name__}:{target.__name__}", summary="Wrong")
    return Component(spec, Plugin("planted", "planted", "zoo-planted", "1.2"))


def planted(kind: Kind, target: type) -> tuple[RunConfig, Components]:
    """Return a run's config and components, of which one is planted."""
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny"})
    component = component_of(kind, target)
    if kind == "distortion":
        (term,) = config.distortion
        change: dict[str, Any] = {"distortions": (component,)}
        part: Any = (term.model_copy(update={"options": {}}),)
    else:
        change = {kind: component}
        part = getattr(config, kind).model_copy(update={"options": {}})
    return config.model_copy(update={kind: part}), dataclasses.replace(components_of(config), **change)


def tried(kind: Kind, target: type) -> None:
    """Build an autoencoder of which one component is planted, and dry-run it, as training does first."""
    config, components = planted(kind, target)
    dry_run(build(config, components, DATA), components)


def assert_refused(kind: Kind, target: type, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        tried(kind, target)
    assert str(caught.value) == f"{kind} 'planted' of zoo-planted 1.2{message}"


# Constructors


class RenamedEncoder(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int, width: int) -> None:
        super().__init__()


class FewerDecoder(nn.Module):
    def __init__(self, latent_shape: tuple[int, ...], *, bias: bool = True) -> None:
        super().__init__()


class OfContract01(Objective):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim, DATA)

    def losses(self, *arguments: Any) -> dict[str, Tensor]:
        return {}


class NoShape(Distortion):
    def __init__(self) -> None:
        super().__init__((1, 16, 16))


class NoArguments(Objective):
    def __init__(self) -> None:
        super().__init__(3, DATA)

    def losses(self, *arguments: Any) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize(
    ("kind", "target", "expected", "got"),
    [
        ("encoder", RenamedEncoder, "(image_shape, out_features, *, OPTIONS)", "(image_shape, out_features, width)"),
        ("decoder", FewerDecoder, "(latent_shape, output_shape, *, OPTIONS)", "(latent_shape, *, bias=True)"),
        ("objective", NoArguments, "(latent_dim, data, *, OPTIONS)", "()"),
        ("objective", OfContract01, "(latent_dim, data, *, OPTIONS)", "(latent_dim)"),
        ("distortion", NoShape, "(image_shape, *, OPTIONS)", "()"),
    ],
)
def test_a_constructor_with_another_signature_is_refused(kind: Kind, target: type, expected: str, got: str) -> None:
    assert_refused(kind, target, f": {__name__}:{target.__name__} must take {expected}, got {got}.")


def without_a_split() -> TensorDataset:
    raise AssertionError("it is not called")


def test_a_dataset_with_another_signature_is_refused() -> None:
    tiny = zoo.installed().get("dataset", "tiny").spec
    assert isinstance(tiny, DatasetSpec)
    spec = DatasetSpec(
        name="planted", target=f"{__name__}:without_a_split", summary="Wrong", image_shape=tiny.image_shape,
        splits=tiny.splits, licence="CC0-1.0", credit="Nobody",
    )  # fmt: skip
    component = Component(spec, Plugin("planted", "planted", "zoo-planted", "1.2"))
    with pytest.raises(PluginError) as caught:
        load_split(component, {}, "test")
    message = f"dataset 'planted' of zoo-planted 1.2: {__name__}:without_a_split must take (split, *, OPTIONS), got ()."
    assert str(caught.value) == message


class Abstract(Objective):
    pass


class Careless(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(image_shape, out_features)  # type: ignore[arg-type]


class Misspelt(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__()
        self.liner = self.linear


@pytest.mark.parametrize(
    ("kind", "target", "cause"),
    [
        ("objective", Abstract, "TypeError: .*abstract method .*losses"),
        ("encoder", Careless, "TypeError: "),
        ("encoder", Misspelt, "AttributeError: 'Misspelt' object has no attribute 'linear'"),
    ],
)
def test_a_constructor_that_fails_is_refused(kind: Kind, target: type, cause: str) -> None:
    with pytest.raises(PluginError, match=rf"^{kind} 'planted' of zoo-planted 1\.2 cannot be built: {cause}"):
        tried(kind, target)


class Function:
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        pass


class NoObjective(nn.Module):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__()


class NoDistortion(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("kind", "target", "expected"),
    [
        ("encoder", Function, "torch.nn.Module"),
        ("objective", NoObjective, "zoo.Objective"),
        ("distortion", NoDistortion, "zoo.Distortion"),
    ],
)
def test_a_component_of_another_class_is_refused(kind: Kind, target: type, expected: str) -> None:
    assert_refused(kind, target, f" must be a {expected}, got {target.__name__}.")


# Methods


class Right(Objective):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": parts.loss(parts.decode(self.latents(parts.encode(batch.images))), batch.images)}


class LossesOfImages(Objective):
    def losses(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        raise AssertionError("it is not called")


class LossesOfMore(Objective):
    def losses(self, batch, parts, weight, *, scale):  # type: ignore[no-untyped-def]
        raise AssertionError("it is not called")


class LatentsOfNothing(Right):
    def latents(self) -> Tensor:  # type: ignore[override]
        raise AssertionError("it is not called")


class PriorWithoutGenerator(Right):
    def sample_prior(self, count: int) -> Tensor:  # type: ignore[override]
        raise AssertionError("it is not called")


class LatentsAsProperty(Right):
    latents = 3  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("target", "method", "expected", "got"),
    [
        (LossesOfImages, "losses", LOSSES, "(images)"),
        (LossesOfMore, "losses", LOSSES, "(batch, parts, weight, *, scale)"),
        (LatentsOfNothing, "latents", LATENTS, "()"),
        (PriorWithoutGenerator, "sample_prior", SAMPLE_PRIOR, "(count)"),
    ],
)
def test_a_method_with_another_signature_is_refused(target: type, method: str, expected: str, got: str) -> None:
    assert_refused("objective", target, f": {method} must take {expected.removeprefix(method)}, got {got}.")


class PixelsOfOutput(Distortion):
    def pixels(self, output: Tensor) -> Tensor:  # type: ignore[override]
        raise AssertionError("it is not called")


def test_a_distortions_method_with_another_signature_is_refused() -> None:
    assert_refused("distortion", PixelsOfOutput, ": pixels must take (output, images), got (output).")


def test_a_method_that_is_none_is_refused() -> None:
    assert_refused("objective", LatentsAsProperty, ": latents must be a method (features), got int.")


class Labelled(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("it is not called")


def test_a_network_whose_forward_takes_something_else_is_refused() -> None:
    assert_refused("encoder", Labelled, ": forward must take (images), got (images, labels).")


# What methods give


class GivesNone(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        super().losses(batch, parts)


class GivesTensor(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return super().losses(batch, parts)["loss"]


class GivesNoLoss(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return {"mse": super().losses(batch, parts)["loss"]}


class GivesFloat(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return {"loss": super().losses(batch, parts)["loss"].item()}


class GivesVector(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return {"loss": super().losses(batch, parts)["loss"].expand(2)}


class GivesFloatBeside(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return {**super().losses(batch, parts), "weight": 0.5}


class GivesConstant(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return {"loss": super().losses(batch, parts)["loss"].detach()}


@pytest.mark.parametrize(
    ("target", "got"),
    [
        (GivesNone, "NoneType"),
        (GivesTensor, "Tensor"),
        (GivesNoLoss, "a dict without 'loss': ['mse']"),
        (GivesFloat, "'loss' of type float"),
        (GivesVector, "'loss' of shape (2,)"),
        (GivesFloatBeside, "'weight' of type float"),
        (GivesConstant, "'loss' without a gradient for any weight"),
    ],
)
def test_losses_that_cannot_be_minimised_are_refused(target: type, got: str) -> None:
    assert_refused("objective", target, f": {LOSSES} must give a dict of scalar tensors with 'loss', got {got}.")


class LatentsOfNone(Right):
    def latents(self, features: Tensor) -> Any:
        return None


class PriorOfOne(Right):
    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros(self.latent_dim)


@pytest.mark.parametrize(
    ("target", "method", "got"), [(LatentsOfNone, LATENTS, "NoneType"), (PriorOfOne, SAMPLE_PRIOR, r"(3,)")]
)
def test_latents_of_another_shape_are_refused(target: type, method: str, got: str) -> None:
    message = f"objective 'planted' of zoo-planted 1.2: {method} must give shape (2, 3), got {got}."
    with pytest.raises(IncompatibleError, match=f"^{re.escape(message)}$"):
        tried("objective", target)


class Failing(Right):
    def losses(self, batch: Batch, parts: Parts) -> Any:
        return self.options["weight"]


def test_a_method_that_fails_is_named() -> None:
    assert_refused("objective", Failing, " fails: AttributeError: 'Failing' object has no attribute 'options'")


class Counting(Right):
    """Counts its batches in a buffer."""

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("batches", torch.zeros(1))

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        self.batches += 1
        return super().losses(batch, parts)


def test_a_dry_run_leaves_an_objectives_buffers_as_they_were() -> None:
    config, components = planted("objective", Counting)
    model = build(config, components, DATA)
    dry_run(model, components)
    assert model.objective.batches.item() == 0
