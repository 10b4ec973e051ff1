"""Checks of the state of objectives and distortions, and of their losses in both modes and compiled."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from zoo.contract.objective import Objective
from zoo.model.autoencoder import Autoencoder
from zoo.testing.check import Failed, NotApplicable, Subject, check, require
from zoo.testing.modules import tensors
from zoo.testing.objectives import names_stay
from zoo.testing.reference import (
    START_COUNT,
    batch_of,
    loss_of,
    losses_of,
    model_of,
    random_images,
    start,
    step_of,
)

_MOVED_BY_BATCH_NORM = ("running_mean", "running_var", "num_batches_tracked")


@check("objective", "distortion", cause="a weight, a dropout or an augmentation (a random crop or flip) that asks "
       "`self.training`")  # fmt: skip
def same_in_train_and_eval(subject: Subject) -> None:
    """With the same random numbers and progress, training and eval mode give the same `loss`."""
    model = model_of(subject)
    images = random_images(model.image_shape)
    train, evaluated = (loss_of(model.train(mode), images) for mode in (True, False))
    if not torch.allclose(train, evaluated, rtol=1e-6, atol=1e-9):
        raise Failed(f"loss {train:.6g} in training, {evaluated:.6g} in eval mode", "the same")


@check("objective", "distortion", cause="control flow that depends on values, such as `if batch.progress < 0.5`",
       since="0.2")  # fmt: skip
def losses_compilable(subject: Subject) -> None:
    """`torch.compile` captures the losses as one graph, in which `progress` stays a tensor."""
    if subject.kind == "objective":
        require(names_stay, subject, "its losses' names change")
    model = model_of(subject).train()
    images = random_images(model.image_shape)
    expected = [loss_of(model, images, progress) for progress in (0.25, 0.75)]
    torch.compiler.reset()
    compiled = torch.compile(model.losses, backend="eager", fullgraph=True)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        for progress, loss in zip((0.25, 0.75), expected, strict=True):
            torch.default_generator.manual_seed(0)
            got = compiled(batch_of(images.clone(), progress))["loss"].detach()
            if not torch.allclose(got, loss, rtol=1e-4, atol=1e-6):
                raise Failed(f"compiled, the loss at progress {progress} is {got:.6g}, not {loss:.6g}", "the same")


@check("objective", "distortion", cause="a codebook, a running mean or clipped weights changed inside `losses`: "
       "add to a tally there, and change them in `after_step`", since="0.2")  # fmt: skip
def state_left_alone(subject: Subject) -> None:
    """Losses change no weight and no buffer but the tallies: two micro-batches would change them twice."""
    model = model_of(subject)
    images = random_images(model.image_shape)
    for mode in (True, False):
        model.train(mode)
        before = _state(model)
        losses_of(model, images)
        for name, tensor in _state(model).items():
            if not torch.equal(before[name], tensor):
                raise Failed(f"'{name}' changes with the losses", "no change: tallies may, and state in after_step")


@check(
    "objective", cause="a tally that is a plain attribute, or an integer: processes are summed in float32", since="0.2"
)
def tallies_are_buffers(subject: Subject) -> None:
    """What `tallies` names are float32 buffers."""
    objective = model_of(subject).objective
    buffers = dict(objective.named_buffers())
    if not objective.tallies:
        raise NotApplicable("it has no tallies")
    for name in objective.tallies:
        if name not in buffers or buffers[name].dtype != torch.float32:
            what = f"{buffers[name].dtype}" if name in buffers else "no buffer"
            raise Failed(f"tally '{name}' is {what}", "a float32 buffer")


@check("objective", cause="a mean added where a sum is meant, or a tally that is set in place of being added to",
       since="0.2")  # fmt: skip
def tallies_add_up(subject: Subject) -> None:
    """Two micro-batches add to the tallies what one batch of the same images adds."""
    require(tallies_are_buffers, subject, "its tallies are no buffers")
    one, two = _after_losses(subject)
    for name in one.objective.tallies:
        first, second = getattr(one.objective, name), getattr(two.objective, name)
        if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
            raise Failed(f"tally '{name}' of two micro-batches differs from that of one batch", "the same")


@check("objective", cause="`after_step` uses what `losses` has kept as an attribute, which is of one micro-batch",
       since="0.2")  # fmt: skip
def after_step_follows_tallies(subject: Subject) -> None:
    """After two micro-batches `after_step` makes the same state as after one batch of the same images."""
    if type(model_of(subject).objective).after_step is Objective.after_step:
        raise NotApplicable("it has no after_step")
    require(tallies_are_buffers, subject, "its tallies are no buffers")
    require(tallies_add_up, subject, "its tallies do not add up")
    one, two = _after_losses(subject)
    one.after_step()
    two.after_step()
    for name, tensor in tensors(one).items():
        if not torch.allclose(tensor.float(), tensors(two)[name].float(), rtol=1e-4, atol=1e-5):
            raise Failed(f"'{name}' differs after two micro-batches", "the same state")


@check("objective", "distortion", cause="a buffer or submodule replaced in `start`: use `copy_`, and make it in the "
       "constructor or in `attach`", since="0.2")  # fmt: skip
def starts_in_place(subject: Subject) -> None:
    """`start` changes values only, not names or shapes: a checkpoint is opened without it."""
    model = model_of(subject, started=False)
    if not model.starts:
        raise NotApplicable("it has no start")
    before = {name: tensor.shape for name, tensor in tensors(model).items()}
    start(model)
    after = {name: tensor.shape for name, tensor in tensors(model).items()}
    if before != after:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        raise Failed(f"'{changed[0]}' has another shape or name after start", "the same names and shapes")


@check("objective", "distortion", cause="a hook, a lambda that holds `self`, or an open file kept as an attribute",
       since="0.2")  # fmt: skip
def survives_a_step_and_a_copy(subject: Subject) -> None:
    """After a step of training its state, stored and loaded into a fresh copy, gives the same loss."""
    model, fresh = model_of(subject), model_of(subject, started=False)
    images = random_images(model.image_shape, START_COUNT)
    if not losses_of(model, images)["loss"].requires_grad:
        raise NotApplicable("its loss has no gradient")
    if any(tensors(fresh)[name].shape != tensor.shape for name, tensor in tensors(model).items()):
        raise NotApplicable("start changes shapes, which `starts_in_place` reports")
    step_of(model.train())(batch_of(images), update=True)
    fresh.load_state_dict(copy.deepcopy(tensors(model)), strict=False)
    expected, got = loss_of(model.eval(), images), loss_of(fresh.eval(), images)
    if not torch.allclose(expected, got, rtol=1e-5, atol=1e-7):
        raise Failed(f"the loss is {expected:.6g}, and {got:.6g} after a round trip", "the same")


def _state(model: Autoencoder) -> dict[str, Tensor]:
    """Return copies of the model's tensors, without tallies and what an adversary's BatchNorm moves by itself."""
    tallies = {f"objective.{name}" for name in model.objective.tallies}
    return {
        name: tensor.clone()
        for name, tensor in tensors(model).items()
        if name not in tallies and not ("adversary" in name and name.endswith(_MOVED_BY_BATCH_NORM))
    }


def _after_losses(subject: Subject) -> tuple[Autoencoder, Autoencoder]:
    """Return a model that has seen one batch, and one that has seen its halves."""
    one, two = model_of(subject).train(), model_of(subject).train()
    if not one.objective.tallies:
        raise NotApplicable("it has no tallies")
    if one.objective.stochastic:
        raise NotApplicable("its noise differs between a batch and its halves")
    images = random_images(one.image_shape, START_COUNT)
    losses_of(one, images)
    for half in images.chunk(2):
        losses_of(two, half)
    return one, two
