"""Checks of everything that is a module: encoders, decoders, objectives and distortions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.contract.specs import Kind
from zoo.testing.check import Failed, NotApplicable, Subject, check
from zoo.testing.reference import model_of, random_images

_MODULES: tuple[Kind, ...] = ("encoder", "decoder", "objective", "distortion")


@check(*_MODULES, cause="two layers that share one weight (tied weights)")
def weights_not_shared(subject: Subject) -> None:
    """Every weight in the state dict has memory of its own: safetensors stores each once."""
    seen: dict[tuple[int, Any], str] = {}
    for name, weight in tensors(whole(subject)).items():
        memory = weight.untyped_storage().data_ptr(), weight.storage_offset()
        if weight.numel() and memory in seen:
            raise Failed(f"'{name}' and '{seen[memory]}' share memory", "a tensor each")
        seen[memory] = name


@check(*_MODULES, cause="`get_extra_state`, or a state-dict hook that adds objects")
def tensors_only(subject: Subject) -> None:
    """The state dict holds tensors and nothing else: nothing is ever pickled."""
    for name, value in whole(subject).state_dict().items():
        if not isinstance(value, Tensor):
            raise Failed(f"'{name}' is {type(value).__name__}", "a tensor")


@check(*_MODULES, cause="values read while building, with `.item()`, `float(tensor)` or NumPy")
def builds_on_meta(subject: Subject) -> None:
    """It can be built, and attached, on the meta device: checkpoints are compared with it before memory is taken."""
    expected = {name: weight.shape for name, weight in tensors(whole(subject)).items()}
    with torch.device("meta"):
        got = {name: weight.shape for name, weight in tensors(whole(subject)).items()}
    if got != expected:
        raise Failed("the weights' names or shapes differ on the meta device", "the same ones")


@check(
    "objective", "distortion", cause="`encode`, `decode` or `sample_prior` use a teacher or an adversary", since="0.2"
)  # fmt: skip
def works_without_training_parts(subject: Subject) -> None:
    """Without what `training_only` names and without the adversary, as a loaded model is, it rebuilds and samples."""
    model = model_of(subject)
    owner = model.objective if subject.kind == "objective" else model.distortion
    for name in owner.training_only:
        if not isinstance(getattr(owner, name, None), nn.Module):
            raise Failed(f"training_only names '{name}', which is no submodule", "names of submodules")
    if not owner.training_only and not owner.has_adversary:
        raise NotApplicable("it has no part that only training needs")
    images = random_images(model.image_shape)
    with torch.no_grad():
        before = model.reconstruct(images)
        model.drop_training_only()
        after = model.reconstruct(images)
        if model.objective.has_prior:
            model.sample(2)
    if not torch.equal(before, after):
        raise Failed("it reconstructs otherwise", "the same reconstructions")


def whole(subject: Subject) -> Any:
    """Return the component as it is built: an objective after `attach`."""
    if subject.kind == "objective":
        return model_of(subject, started=False).objective
    return subject.build()


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return what of a module's state dict is a tensor."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
