"""Checks of objectives: what the latent is, and what training minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from zoo.contract.objective import Objective
from zoo.contract.parts import Batch
from zoo.contract.variational import Variational
from zoo.errors import PluginError
from zoo.model.autoencoder import Autoencoder
from zoo.testing.check import DATA, OTHER_SIZES, SIZES, Failed, NotApplicable, Subject, check, described
from zoo.testing.reference import (
    COUNT,
    batch_of,
    labels_for,
    losses_of,
    model_of,
    models_of,
    objective_of,
    random_images,
    step_of,
)

NEEDS = ("likelihood", "pixels", "labels")
DRAWS = 200
TOLERANCE = 0.05
STEPS = 100


@check("objective", cause="a class that is not derived from `zoo.Objective`, or a mistake in its constructor")
def is_objective(subject: Subject) -> None:
    """It is a `zoo.Objective`, for latents of every size that it takes."""
    sizes = [size for size in (*SIZES, *OTHER_SIZES) if subject.takes(size, DATA)][: len(SIZES)]
    if not sizes:
        refusal = subject.refusal(SIZES[0], DATA)
        said = described(refusal.__cause__ or refusal) if refusal else ""
        raise Failed(f"it can be built for no latent_dim; for {SIZES[0]} it raises {said}", "at least one size")
    for size in sizes:
        objective = subject.build(size, DATA)
        if not isinstance(objective, Objective):
            raise Failed(f"it is {type(objective).__name__}", "a zoo.Objective")
        kept = getattr(objective, "latent_dim", None), getattr(objective, "data", None)
        if kept != (size, DATA):
            raise Failed(f"latent_dim or data is not kept for {size}", "super().__init__(latent_dim, data)")


@check("objective", cause="a misspelt word in `needs`", since="0.2")
def needs_known(subject: Subject) -> None:
    """`needs` names only what can be asked for: `likelihood`, `pixels`, `labels`."""
    if unknown := sorted(set(objective_of(subject).needs) - set(NEEDS)):
        raise Failed(f"it needs {', '.join(unknown)}", ", ".join(NEEDS))


@check("objective", cause="a method without `@property`, or a number computed with `/` or NumPy")
def encoder_features(subject: Subject) -> None:
    """It says how many features it needs: a positive `int`."""
    for latent_dim, _ in subject.cases:
        features = objective_of(subject, latent_dim, DATA).encoder_features
        if not isinstance(features, int) or features < 1:
            raise Failed(f"encoder_features is {features!r} for latent_dim {latent_dim}", "a positive int")


@check("objective", cause="a slice of the wrong dimension")
def latents_shape(subject: Subject) -> None:
    """Features `(N, encoder_features, …)` become latents `(N, latent_dim, …)`, vectors and maps, as it takes them."""
    for latent_dim, _ in subject.cases:
        for model in models_of(subject, latent_dim):
            shape, expected = tuple(model.objective.latents(_features(model)).shape), (COUNT, *model.latent_shape)
            if shape != expected:
                raise Failed(f"latents {shape}", f"{expected}")


@check("objective", cause="a sample where the mean is meant: `encode` and `reconstruct` promise the same each time")
def latents_deterministic(subject: Subject) -> None:
    """The latents of the same features are the same each time."""
    for model in models_of(subject):
        objective, features = model.objective, _features(model)
        if not torch.equal(objective.latents(features), objective.latents(features)):
            raise Failed("two calls of latents differ", "equal latents")


@check("objective", cause="a codebook that is looked up in another order than it was searched", since="0.2")
def codes_round_trip(subject: Subject) -> None:
    """Codes are int64 `(N, …)`, and `latents_of(codes(features))` equals `latents(features)`."""
    for model in models_of(subject):
        objective, features = model.objective, _features(model)
        if not objective.has_codes:
            raise NotApplicable("it has no codes")
        with torch.no_grad():
            codes = objective.codes(features)
            if codes.dtype != torch.int64 or len(codes) != COUNT:
                raise Failed(f"codes {tuple(codes.shape)} {codes.dtype}", f"({COUNT}, …) torch.int64")
            latents, expected = objective.latents_of(codes), objective.latents(features)
        if latents.shape != expected.shape or not torch.allclose(latents, expected, atol=1e-6):
            raise Failed("latents_of(codes(features)) differs from latents(features)", "equal latents")


@check(
    "objective", cause="`parts.loss` for a second reconstruction; `parts.distances` may be called often", since="0.2"
)
def loss_called_once(subject: Subject) -> None:
    """It calls `parts.loss` at most once a batch: a distortion's adversary is trained on what that call sees."""
    model = model_of(subject).train()
    try:
        model.losses(batch_of(_images()))
    except PluginError as error:
        raise Failed(str(error).partition(":")[0], "one call, and parts.distances for more") from error


@check("objective", cause="a loss per image that was not averaged, or a plain float")
def losses_are_scalars(subject: Subject) -> None:
    """`losses` gives a dict of scalars, one of them `loss`."""
    model = model_of(subject).train()
    try:
        losses = model.objective.losses(batch_of(_images()), model.parts())
    except PluginError as error:
        raise NotApplicable("it calls parts.loss twice, which `loss_called_once` reports") from error
    if not isinstance(losses, dict) or "loss" not in losses:
        raise Failed(f"losses gives {type(losses).__name__} without 'loss'", "a dict with 'loss'")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.dim() != 0:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Failed(f"'{name}' is {what}", "a tensor of no dimensions")


@check("objective", cause="a logarithm or a division that meets zero")
def losses_finite(subject: Subject) -> None:
    """The losses are finite at every progress, for ordinary images and for blank ones, vectors and maps."""
    for model in models_of(subject):
        for images, what in ((_images(), "ordinary"), (torch.zeros_like(_images()), "blank")):
            for progress in (0.0, 0.5, 1.0):
                for name, value in losses_of(model.train(), images, progress).items():
                    if not bool(torch.isfinite(value).all()):
                        raise Failed(
                            f"'{name}' is {value.sum().item()} for {what} images at progress {progress}", "finite"
                        )


@check("objective", cause="a part that is left out once it counts no more: give it with its weight 0", since="0.2")
def names_stay(subject: Subject) -> None:
    """A part of the losses may begin late, but does not end: all names are there at progress 1."""
    model = model_of(subject).train()
    last = set(losses_of(model, _images()))
    for progress in (0.0, 0.5):
        if ended := sorted(set(losses_of(model, _images(), progress)) - last):
            raise Failed(f"'{ended[0]}' is there at progress {progress} and missing at 1", "names that stay")


@check("objective", cause="`batch.labels` used without `needs = frozenset({'labels'})`", since="0.2")
def labels_declared(subject: Subject) -> None:
    """It works without labels, unless it declares that it needs them."""
    model = model_of(subject).train()
    if "labels" in model.objective.needs:
        raise NotApplicable("it declares that it needs labels")
    losses_of(model, _images())
    batch = batch_of(_images())
    try:
        model.losses(Batch(batch.images, None, batch.progress))
    except Exception as error:
        raise Failed(f"without labels it raises {described(error)}", "losses, or labels among its needs") from error


@check("objective", cause="noise without the class attribute `stochastic = True`", since="0.2")
def noise_declared(subject: Subject) -> None:
    """Unless it declares `stochastic`, it draws no random numbers: the same batch has the same loss each time."""
    model = model_of(subject)
    if model.objective.stochastic:
        raise NotApplicable("it declares that it is stochastic")
    for mode in (True, False):
        model.train(mode)
        losses_of(model, _images())
        before = torch.get_rng_state()
        losses_of(model, _images())
        if not torch.equal(torch.get_rng_state(), before):
            where = "training" if mode else "eval"
            raise Failed(f"losses draws random numbers in {where} mode", "none, or stochastic = True")


@check("objective", cause="a term between neighbours in the batch")
def independent_of_batch_order(subject: Subject) -> None:
    """The order of the images in a batch does not matter."""
    model, images = model_of(subject), _images()
    plain, flipped = _mean_loss(model, images), _mean_loss(model, images.flip(0), labels_for(images).flip(0))
    _compare(plain, flipped, "in another order")


@check("objective", cause="a sum over the batch, a division by its size that is done twice, or statistics of the batch "
       "without `batch_statistics = True`")  # fmt: skip
def mean_over_images(subject: Subject) -> None:
    """The loss is a mean over the images, a batch of each twice has the same, unless it declares `batch_statistics`."""
    model, images = model_of(subject), _images()
    if model.objective.batch_statistics:
        raise NotApplicable("it declares that its loss depends on the batch as a whole")
    labels = labels_for(images)
    plain = _mean_loss(model, images)
    _compare(plain, _mean_loss(model, images.repeat(2, 1, 1, 1), labels.repeat(2)), "of each image twice")
    alone = [_mean_loss(model, image[None], label[None]) for image, label in zip(images, labels, strict=True)]
    _compare(plain, sum(alone) / len(alone), "of one image, averaged")


@check("objective", cause="a sum over pixels or latents that is not divided by the image's C·H·W")
def closed_form(subject: Subject) -> None:
    """A Gaussian posterior's part `kl`, or `rate`, is the KL divergence from N(0, 1) in nats, divided by C·H·W."""
    model, images = model_of(subject), _images()
    objective, losses = model.objective, losses_of(model, images)
    name = "kl" if "kl" in losses else "rate"
    if (
        not isinstance(objective, Variational)
        or type(objective).log_prior is not Variational.log_prior
        or name not in losses
    ):
        raise NotApplicable("it has no part 'kl' or 'rate' of a Gaussian posterior with a standard normal prior")
    with torch.no_grad():
        mean, log_variance = objective.posterior(model.encoder(images))
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    expected = float(divergence.flatten(1).sum(dim=1).mean() / images[0].numel())
    got = losses[name].detach().item()
    if abs(got - expected) > 1e-5 * max(1.0, abs(expected)):
        raise Failed(f"{name} is {got:.6g}", f"{expected:.6g}, the closed form")


@check("objective", cause="a sum over the samples or the images in `log_prior` or `posterior`", since="0.2")
def importance_weights(subject: Subject) -> None:
    """A Gaussian posterior's `log_importance_weights` are finite, `(samples, N)`."""
    for model in models_of(subject):
        objective = model.objective
        if not isinstance(objective, Variational):
            raise NotApplicable("it is no zoo.Variational")
        batch = batch_of(_images())
        with torch.no_grad():
            weights = objective.log_importance_weights(batch, model.parts(batch.labels, batch.progress), 4)
        if tuple(weights.shape) != (4, COUNT) or not bool(torch.isfinite(weights).all()):
            raise Failed(f"weights {tuple(weights.shape)}", f"finite {(4, COUNT)}")
        densities = objective.log_prior(torch.zeros(4, COUNT, *model.latent_shape), model.parts())
        if tuple(densities.shape) != (4, COUNT):
            raise Failed(f"log_prior gives {tuple(densities.shape)}", f"{(4, COUNT)} for latents of that many draws")


@check("objective", cause="`torch.randn(...)` without `generator=generator`, or vectors where latents are maps")
def prior_sampling(subject: Subject) -> None:
    """The prior gives latents `(count, *parts.latent_shape)`, finite, the same for the same generator."""
    for model in models_of(subject):
        objective = model.objective
        if not objective.has_prior:
            raise NotApplicable("it has no prior")
        draws = [objective.sample_prior(7, model.parts(), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        expected = (7, *model.latent_shape)
        if tuple(draws[0].shape) != expected or not bool(torch.isfinite(draws[0]).all()):
            raise Failed(f"draws {tuple(draws[0].shape)}", f"finite {expected}")
        if not torch.equal(draws[0], draws[1]) or torch.equal(draws[0], draws[2]):
            raise Failed("the draws do not follow the generator", "the same for one seed, others for another")


@check("objective", cause="`parts.decoder(latents)` in place of `parts.decode(latents)`", since="0.2")
def works_conditionally(subject: Subject) -> None:
    """With `--conditional` the decoder is told the class, and its losses and reconstructions work."""
    losses_of(model_of(subject), _images())
    model, batch = model_of(subject, conditional=True), batch_of(_images())
    for mode in (True, False):
        loss = losses_of(model.train(mode), batch.images)["loss"]
        if not bool(torch.isfinite(loss)):
            raise Failed(f"the loss is {loss.item()}", "finite")
    with torch.no_grad():
        plain, told = model.reconstruct(batch.images), model.reconstruct(batch.images, batch.labels)
    if told.shape != batch.images.shape or torch.equal(plain, told):
        raise Failed("the class does not reach the reconstruction", "another reconstruction for another class")


@check("objective", cause="a `.detach()`, or a loss that forgets the reconstruction")
def gradients_reach_both_networks(subject: Subject) -> None:
    """The loss has gradients for the encoder and for the decoder."""
    model = model_of(subject).train()
    loss = losses_of(model, _images())["loss"]
    if loss.requires_grad:
        torch.autograd.backward(loss)
    for kind in ("encoder", "decoder"):
        gradient = getattr(model, kind).linear.weight.grad
        if gradient is None or not bool(gradient.any()):
            raise Failed(f"the {kind} gets no gradient", "one that is not zero everywhere")


@check("objective", cause="noise or a mask put onto the images in place")
def images_unchanged(subject: Subject) -> None:
    """The images are left as they were."""
    model, images = model_of(subject), _images()
    losses_of(model, images)
    model.losses(batch_of(images))
    if not torch.equal(images, _images()):
        raise Failed("the images changed", "no change")


@check("objective", cause="a wrong sign")
def training_lowers_the_error(subject: Subject) -> None:
    """A hundred steps of training lower the reconstruction error of linear networks."""
    model, images = model_of(subject), _images()
    losses_of(model, images)
    before = nn.functional.mse_loss(model.reconstruct(images), images).item()
    step = step_of(model.train())
    for number in range(STEPS):
        step(batch_of(images.clone(), number / STEPS), update=True)
    after = nn.functional.mse_loss(model.eval().reconstruct(images), images).item()
    if not after < before:
        raise Failed(f"the error went from {before:.4g} to {after:.4g}", "a lower one")


def _images() -> Tensor:
    return random_images(DATA.image_shape)


def _features(model: Autoencoder) -> Tensor:
    shape = model.objective.encoder_features, *model.latent_shape[1:]
    return torch.randn(COUNT, *shape, generator=torch.Generator().manual_seed(0))


def _mean_loss(model: Autoencoder, images: Tensor, labels: Tensor | None = None) -> float:
    """Return the loss; of a stochastic objective, its mean over many draws of the noise."""
    torch.default_generator.manual_seed(0)
    draws = DRAWS if model.objective.stochastic else 1
    with torch.no_grad():
        losses = [losses_of(model, images, labels=labels)["loss"] for _ in range(draws)]
    return float(torch.stack(losses).mean())


def _compare(plain: float, other: float, what: str) -> None:
    if abs(plain - other) > TOLERANCE * abs(plain):
        raise Failed(f"loss {plain:.6g}, {other:.6g} for a batch {what}", f"equal within {TOLERANCE:.0%}")
