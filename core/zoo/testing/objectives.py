"""Checks of objectives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from zoo.autoencoder import Autoencoder
from zoo.objective import Objective
from zoo.testing.check import Failed, NotApplicable, Subject, check
from zoo.testing.networks import Linear

SHAPE = (1, 8, 8)
COUNT = 6
DRAWS = 200
TOLERANCE = 0.05


@check("objective", cause="a class that is not derived from `zoo.Objective`, or a mistake in its constructor")
def is_objective(subject: Subject) -> None:
    """It is a `zoo.Objective`, for latents of every size that it takes."""
    for latent_dim in subject.sizes:
        objective = subject.build(size=latent_dim)
        if not isinstance(objective, Objective):
            raise Failed(f"it is {type(objective).__name__}", "a zoo.Objective")
        if getattr(objective, "latent_dim", None) != latent_dim:
            raise Failed(f"latent_dim is not kept for {latent_dim}", "super().__init__(latent_dim)")


@check("objective", cause="a method without `@property`, or a number computed with `/` or NumPy")
def encoder_features(subject: Subject) -> None:
    """It says how many features it needs: a positive `int`."""
    for latent_dim in subject.sizes:
        features = _objective(subject, latent_dim).encoder_features
        if not isinstance(features, int) or features < 1:
            raise Failed(f"encoder_features is {features!r} for latent_dim {latent_dim}", "a positive int")


@check("objective", cause="a slice of the wrong dimension")
def latents_shape(subject: Subject) -> None:
    """Features `(N, encoder_features)` become latents `(N, latent_dim)`."""
    for latent_dim in subject.sizes:
        objective = _objective(subject, latent_dim)
        shape = tuple(objective.latents(_features(objective)).shape)
        if shape != (COUNT, latent_dim):
            raise Failed(f"latents {shape}", f"{(COUNT, latent_dim)}")


@check("objective", cause="a sample where the mean is meant: `encode` and `reconstruct` promise the same each time")
def latents_deterministic(subject: Subject) -> None:
    """The latents of the same features are the same each time."""
    objective = _objective(subject)
    features = _features(objective)
    if not torch.equal(objective.latents(features), objective.latents(features)):
        raise Failed("two calls of latents differ", "equal latents")


@check("objective", cause="a loss per image that was not averaged, or a plain float")
def losses_are_scalars(subject: Subject) -> None:
    """`losses` gives a dict of scalars, one of them `loss`."""
    losses = _losses(_model(subject), _images())
    if not isinstance(losses, dict) or "loss" not in losses:
        raise Failed(f"losses gives {type(losses).__name__} without 'loss'", "a dict with 'loss'")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.dim() != 0:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Failed(f"'{name}' is {what}", "a tensor of no dimensions")


@check("objective", cause="a logarithm or a division that meets zero")
def losses_finite(subject: Subject) -> None:
    """The losses are finite, for ordinary images and for blank ones."""
    for images, what in ((_images(), "ordinary"), (torch.zeros(COUNT, *SHAPE), "blank")):
        for name, value in _scalars(_losses(_model(subject), images)).items():
            if not bool(torch.isfinite(value).all()):
                raise Failed(f"'{name}' is {value.sum().item()} for {what} images", "finite")


@check("objective", cause="a weight, a dropout or an augmentation (a random crop or flip) that asks `self.training`")
def same_in_train_and_eval(subject: Subject) -> None:
    """With the same random numbers, training and eval mode give the same loss."""
    model, images = _model(subject), _images()
    train, evaluated = (_loss(model.train(mode), images) for mode in (True, False))
    if not torch.equal(train, evaluated):
        raise Failed(f"loss {train.mean():.6g} in training, {evaluated.mean():.6g} in eval mode", "the same")


@check("objective", cause="a term between neighbours in the batch")
def independent_of_batch_order(subject: Subject) -> None:
    """The order of the images in a batch does not matter."""
    model, images = _model(subject), _images()
    _compare(_mean_loss(model, images), _mean_loss(model, images.flip(0)), "in another order")


@check("objective", cause="a sum over the batch, or a division by its size that is done twice")
def mean_over_images(subject: Subject) -> None:
    """The loss is a mean over the images: a batch that holds each twice has the same."""
    model, images = _model(subject), _images()
    twice = torch.cat([images, images])
    _compare(_mean_loss(model, images), _mean_loss(model, twice), "of each image twice")


@check("objective", cause="a sum over pixels or latents that is not divided by the image's C·H·W")
def closed_form(subject: Subject) -> None:
    """A part named `kl` is the KL divergence from N(0, 1) in nats, divided by C·H·W."""
    objective, model, images = _objective(subject), _model(subject), _images()
    losses = _losses(model, images)
    if "kl" not in losses or objective.encoder_features != 2 * objective.latent_dim:
        raise NotApplicable("it has no part named 'kl' of a Gaussian posterior")
    mean, log_variance = model.encoder(images).detach().chunk(2, dim=1)
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    expected = float(divergence.sum(dim=1).mean() / images[0].numel())
    kl = losses["kl"].detach().item()
    if abs(kl - expected) > 1e-5 * max(1.0, abs(expected)):
        raise Failed(f"kl is {kl:.6g}", f"{expected:.6g}, the closed form")


@check("objective", cause="`torch.randn(...)` without `generator=generator`")
def prior_sampling(subject: Subject) -> None:
    """The prior gives latents `(count, latent_dim)`, finite, the same for the same generator."""
    objective = _objective(subject)
    if not objective.has_prior:
        raise NotApplicable("it has no prior")
    draws = [objective.sample_prior(7, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    if tuple(draws[0].shape) != (7, objective.latent_dim) or not bool(torch.isfinite(draws[0]).all()):
        raise Failed(f"draws {tuple(draws[0].shape)}", f"finite {(7, objective.latent_dim)}")
    if not torch.equal(draws[0], draws[1]) or torch.equal(draws[0], draws[2]):
        raise Failed("the draws do not follow the generator", "the same for one seed, others for another")


@check("objective", cause="a `.detach()`, or a loss that forgets the reconstruction")
def gradients_reach_both_networks(subject: Subject) -> None:
    """The loss has gradients for the encoder and for the decoder."""
    model = _model(subject).train()
    loss = _losses(model, _images())["loss"].sum()
    if loss.requires_grad:
        torch.autograd.backward(loss)
    for kind in ("encoder", "decoder"):
        gradient = getattr(model, kind).linear.weight.grad
        if gradient is None or not bool(gradient.any()):
            raise Failed(f"the {kind} gets no gradient", "one that is not zero everywhere")


@check("objective", cause="noise or a mask put onto the images in place")
def images_unchanged(subject: Subject) -> None:
    """The images are left as they were."""
    images = _images()
    _model(subject)(images)
    if not torch.equal(images, _images()):
        raise Failed("the images changed", "no change")


@check("objective", cause="a sign turned round")
def training_lowers_the_error(subject: Subject) -> None:
    """A hundred steps of Adam on its loss lower the reconstruction error of linear networks."""
    model, images = _model(subject), _images()
    before = nn.functional.mse_loss(model.reconstruct(images), images).item()
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = _losses(model, images)["loss"].mean()
        if loss.requires_grad:
            torch.autograd.backward(loss)
        optimizer.step()
    after = nn.functional.mse_loss(model.eval().reconstruct(images), images).item()
    if not after < before:
        raise Failed(f"the error went from {before:.4g} to {after:.4g}", "a lower one")


def _objective(subject: Subject, latent_dim: int | None = None) -> Objective:
    try:
        objective = subject.build(size=latent_dim)
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable("it cannot be built, which `is_objective` tells") from error
    if not isinstance(objective, Objective):
        raise NotApplicable("it is no zoo.Objective, which `is_objective` tells")
    return objective


def _model(subject: Subject) -> Autoencoder:
    objective, latent_dim = _objective(subject), subject.size
    torch.default_generator.manual_seed(0)
    encoder, decoder = Linear(SHAPE, (objective.encoder_features,)), Linear((latent_dim,), SHAPE)
    return Autoencoder(encoder, objective, decoder, SHAPE, latent_dim)


def _images() -> Tensor:
    return torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0))


def _features(objective: Objective) -> Tensor:
    return torch.randn(COUNT, objective.encoder_features, generator=torch.Generator().manual_seed(0))


def _losses(model: Autoencoder, images: Tensor) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = model(images.clone())  # a clone may be changed in place
    return losses


def _loss(model: Autoencoder, images: Tensor) -> Tensor:
    torch.default_generator.manual_seed(0)
    with torch.no_grad():
        return _losses(model, images)["loss"]


def _mean_loss(model: Autoencoder, images: Tensor) -> float:
    """Return the loss, averaged over many draws of the objective's own noise."""
    torch.default_generator.manual_seed(0)
    with torch.no_grad():
        losses = [_losses(model, images)["loss"].mean() for _ in range(DRAWS)]
    return float(torch.stack(losses).mean())


def _scalars(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in losses.items() if isinstance(value, Tensor)}


def _compare(plain: float, other: float, what: str) -> None:
    if abs(plain - other) > TOLERANCE * abs(plain):
        raise Failed(f"loss {plain:.6g}, {other:.6g} for a batch {what}", f"equal within {TOLERANCE:.0%}")
