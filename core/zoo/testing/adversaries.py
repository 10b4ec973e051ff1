"""Checks of adversaries, which an objective or a distortion may own: each player trains its own weights alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.contract.distortion import Distortion
from zoo.contract.objective import Objective
from zoo.model.autoencoder import ADVERSARIAL, Autoencoder
from zoo.testing.check import Failed, NotApplicable, Subject, check, require
from zoo.testing.reference import batch_of, loss_of, losses_of, model_of, random_images, step_of

_STEPS = 3  # an adversary may leave its last bias without a gradient at first


@check("objective", "distortion", cause="a discriminator under another name: it would be trained to help", since="0.2")
def adversary_named(subject: Subject) -> None:
    """What defines `adversary_losses` has a module as `self.adversary`."""
    model = model_of(subject)
    owner: Objective | Distortion = model.objective if subject.kind == "objective" else model.distortion
    base: type = Objective if subject.kind == "objective" else Distortion
    if type(owner).adversary_losses is base.adversary_losses and not owner.has_adversary:  # type: ignore[attr-defined]
        raise NotApplicable("it has no adversary")
    if not isinstance(owner.adversary, nn.Module) or not list(owner.adversary.parameters()):
        raise Failed(f"self.adversary is {type(owner.adversary).__name__}", "a module with weights")


@check("objective", "distortion", cause="latents or images that `adversary_losses` does not detach", since="0.2")
def players_apart(subject: Subject) -> None:
    """The adversary's loss has no gradient for the autoencoder, and a weight belongs to one of them only."""
    model, adversary_weights = _adversarial(subject)
    of_parts = {id(weight) for part in (model.encoder, model.decoder) for weight in part.parameters()}
    if any(id(weight) in of_parts for weight in adversary_weights):
        raise Failed("the adversary holds weights of the encoder or the decoder", "weights of its own")
    _, losses = _both(model)
    if any(gradient is not None and bool(gradient.any()) for gradient in _gradients(losses["loss"], model.players[0])):
        raise Failed(
            "the adversary's loss has a gradient for the autoencoder's weights", "none: detach what it is given"
        )


@check("objective", "distortion", cause="`torch.no_grad()`, its judgement detached, or a layer that is never used",
       since="0.2")  # fmt: skip
def adversary_is_trained(subject: Subject) -> None:
    """The adversary's losses are finite scalars, one of them `loss`, whose gradient reaches all its weights."""
    model, adversary_weights = _adversarial(subject)
    _, losses = _both(model)
    for name, value in losses.items():
        if value.dim() or not bool(torch.isfinite(value)):
            raise Failed(f"the adversary's '{name}' is {tuple(value.shape)} or not finite", "a finite scalar")
    missing = [gradient is None for gradient in _gradients(losses["loss"], adversary_weights)]
    if any(missing):
        raise Failed(
            f"{sum(missing)} of {len(missing)} weights of the adversary get no gradient", "a gradient for each"
        )


@check("objective", "distortion", cause="no `adversarial` among the losses, or one of detached latents or images",
       since="0.2")  # fmt: skip
def adversarial_reaches_the_autoencoder(subject: Subject) -> None:
    """In training the autoencoder pays `adversarial`, a scalar that has a gradient for its weights."""
    model, _ = _adversarial(subject)
    losses = losses_of(model, random_images(model.image_shape), seed=0)
    if ADVERSARIAL not in losses:
        raise Failed(f"the losses are {', '.join(losses)}", "one named 'adversarial'")
    gradients = _gradients(losses[ADVERSARIAL], model.players[0])
    if losses[ADVERSARIAL].dim() or not any(g is not None and bool(g.any()) for g in gradients):
        raise Failed("'adversarial' has no gradient for the autoencoder", "a scalar with one")


@check("objective", "distortion", cause="the adversarial term added to `loss`: it would decide which epoch is kept",
       since="0.2")  # fmt: skip
def loss_without_adversary(subject: Subject) -> None:
    """`loss` does not depend on the adversary's weights."""
    model, adversary_weights = _adversarial(subject)
    images = random_images(model.image_shape)
    for mode in (True, False):
        before = loss_of(model.train(mode), images)
        with torch.no_grad():
            for weight in adversary_weights:
                weight.mul_(-2).add_(0.1)
        after = loss_of(model, images)
        if not torch.equal(before, after):
            raise Failed(
                f"the loss goes from {before:.6g} to {after:.6g} with other weights of the adversary", "no change"
            )


@check("objective", "distortion", cause="a rate of 0 as `adversary_lr`, or gradients that overflow", since="0.2")
def both_players_step(subject: Subject) -> None:
    """Steps of training change the weights of the autoencoder and of the adversary, which stay finite."""
    model, adversary_weights = _adversarial(subject)
    images = random_images(model.image_shape)
    require(adversary_is_trained, subject, "its adversary is not trained")
    before = [weight.detach().clone() for weight in (*model.players[0], *adversary_weights)]
    _both(model)
    step = step_of(model)
    for _ in range(_STEPS):
        step(batch_of(images.clone()), update=True)
    after = [*model.players[0], *adversary_weights]
    if not all(bool(torch.isfinite(weight).all()) for weight in after):
        raise Failed("a weight is NaN or infinite after three steps", "finite weights")
    changed = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    if not any(changed[: -len(adversary_weights)]):
        raise Failed("the autoencoder's weights do not change", "a change")
    if not any(changed[-len(adversary_weights) :]):
        raise Failed("the adversary's weights do not change", "a change")


def _adversarial(subject: Subject) -> tuple[Autoencoder, list[nn.Parameter]]:
    """Return a model in training mode with an adversary, and the adversary's weights."""
    model = model_of(subject)
    if not model.adversary_owners:
        raise NotApplicable("it has no adversary")
    return model.train(), model.players[1]


def _both(model: Autoencoder) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    losses_of(model, random_images(model.image_shape))  # skips the check where they are no losses
    torch.default_generator.manual_seed(0)
    return model.losses_of_both(batch_of(random_images(model.image_shape)))


def _gradients(loss: Tensor, weights: Sequence[nn.Parameter]) -> Sequence[Tensor | None]:
    """Return the gradient of a loss for each weight, None where it does not depend on it."""
    if not loss.requires_grad:
        return [None] * len(weights)
    return torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
