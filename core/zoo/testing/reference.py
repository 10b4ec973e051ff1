"""The partners that a component is tried with: linear networks, a plain objective, two distortions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo.contract.distortion import Distortion
from zoo.contract.objective import Objective
from zoo.contract.parts import Batch, Conditioning, DataFacts, Parts
from zoo.errors import IncompatibleError, PluginError
from zoo.model.autoencoder import Autoencoder, adversary_weights, latent_shape_of
from zoo.testing.check import DATA, NotApplicable, Subject, preserved_randomness
from zoo.training.step import AdversarialStep, Step

COUNT = 6
START_COUNT = 64
SIDES: tuple[tuple[int, ...], ...] = ((), (4, 4))  # of latents: vectors, and maps
LABEL_DROPOUT = 0.1


class Linear(nn.Module):
    """One linear layer, whatever the shapes."""

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.features_shape = outputs
        self.linear = nn.Linear(math.prod(inputs), math.prod(outputs))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.linear(values.flatten(1))
        return result.reshape(-1, *self.features_shape)


class SquaredDistance(Distortion):
    """Squared error; the output is the image."""

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return (output - images).square()


class NormalLikelihood(SquaredDistance):
    """−log of a normal distribution of variance 1; the output is its mean."""

    likelihood = "density"

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return 0.5 * (super().pixels(output, images) + math.log(2 * math.pi))


class Plain(Objective):
    """The distortion alone; the features are the latent."""

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": parts.loss(parts.decode(self.latents(parts.encode(batch.images))), batch.images)}


def random_images(shape: tuple[int, ...], count: int = COUNT, seed: int = 0) -> Tensor:
    """Return images `(count, C, H, W)`, uniform in [0, 1]."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def batch_of(images: Tensor, progress: float = 1.0, labels: Tensor | None = None) -> Batch:
    """Return a batch of images, with labels 0, 1, 2, 0, and so on by default."""
    return Batch(images, labels_for(images) if labels is None else labels, torch.tensor(progress))


def labels_for(images: Tensor) -> Tensor:
    """Return labels 0, 1, 2, 0, and so on, `(N,)`."""
    return torch.arange(len(images)) % len(DATA.classes)


def compose(
    encoder: nn.Module,
    objective: Objective,
    decoder: nn.Module,
    distortion: Distortion,
    data: DataFacts,
    *,
    label_dropout: float | None = None,
) -> Autoencoder:
    """Return these parts as an autoencoder, attached."""
    model = Autoencoder(encoder, objective, decoder, distortion, data, label_dropout=label_dropout)
    model.attach()
    return model


def start(model: Autoencoder) -> None:
    """Let the parts prepare for a training on random images, where they do."""
    if model.starts:
        with torch.no_grad():
            model.start(batch_of(random_images(model.image_shape, START_COUNT, seed=9), progress=0.0))


def objective_of(subject: Subject, *arguments: Any) -> Objective:
    """Build an objective.

    Raises:
        NotApplicable: It cannot be built or is none, which `is_objective` reports.
    """
    try:
        objective = subject.build(*arguments)
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable("it cannot be built, which `is_objective` reports") from error
    if not isinstance(objective, Objective):
        raise NotApplicable("it is no zoo.Objective, which `is_objective` reports")
    return objective


def distortion_of(subject: Subject, *arguments: Any) -> Distortion:
    """Build a distortion, in training mode as an objective is.

    Raises:
        NotApplicable: It cannot be built or is none, which `is_distortion` reports.
    """
    try:
        distortion = subject.build(*arguments)
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable("it cannot be built, which `is_distortion` reports") from error
    if not isinstance(distortion, Distortion):
        raise NotApplicable("it is no zoo.Distortion, which `is_distortion` reports")
    return distortion


def model_of(
    subject: Subject,
    sides: tuple[int, ...] | None = None,
    *,
    latent_dim: int | None = None,
    conditional: bool = False,
    started: bool = True,
) -> Autoencoder:
    """Compose an objective or a distortion with its reference partners, in eval mode.

    Args:
        subject: The component.
        sides: The sides of the latent's maps, `()` for vectors; the first that it takes by default.
        latent_dim: Of an objective; the first that it takes by default.
        conditional: Whether the decoder is told the class.
        started: Whether the parts have prepared for a training.

    Raises:
        NotApplicable: The component cannot be built, or takes no latents of these sides.
    """
    for each in SIDES if sides is None else (sides,):
        try:
            with preserved_randomness():
                torch.default_generator.manual_seed(0)
                model = _composed(subject, each, latent_dim, conditional=conditional).eval()
                if started:
                    start(model)
                return model
        except IncompatibleError as error:
            refusal = error
    raise NotApplicable(f"it refuses such latents: {refusal}")


def models_of(subject: Subject, latent_dim: int | None = None) -> Iterator[Autoencoder]:
    """Compose an objective for vectors and for maps, whichever it takes."""
    refusals = []
    for sides in SIDES:
        try:
            yield model_of(subject, sides, latent_dim=latent_dim)
        except NotApplicable as refusal:
            refusals.append(refusal)
    if len(refusals) == len(SIDES):
        raise refusals[0]


def _composed(subject: Subject, sides: tuple[int, ...], latent_dim: int | None, *, conditional: bool) -> Autoencoder:
    data = DATA
    distortion: Distortion
    if subject.kind == "objective":
        objective = objective_of(subject, latent_dim or subject.cases[0][0], DATA)
        kind = NormalLikelihood if "likelihood" in objective.needs else SquaredDistance
        distortion = kind(data.image_shape)
    else:
        (shape,) = subject.cases[0]
        data = DataFacts(shape, DATA.classes, DATA.train_count)
        distortion = distortion_of(subject)
        objective = Plain(3, data)
    encoder = Linear(data.image_shape, (objective.encoder_features, *sides))
    latent_shape = latent_shape_of(encoder, objective)
    if conditional:
        latent_shape = Conditioning(len(data.classes)).shape(latent_shape)
    decoder = Linear(latent_shape, distortion.output_shape)
    label_dropout = LABEL_DROPOUT if conditional else None
    return compose(encoder, objective, decoder, distortion, data, label_dropout=label_dropout)


def losses_of(
    model: Autoencoder,
    images: Tensor,
    progress: float = 1.0,
    *,
    labels: Tensor | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """Return the losses of a batch.

    Args:
        model: The autoencoder.
        images: `(N, C, H, W)`.
        progress: Share of the training that is done.
        labels: `(N,)`; 0, 1, 2, 0, and so on by default.
        seed: Of the noise; the random state is left as it is where there is none.

    Raises:
        NotApplicable: They are no losses, which other checks report.
    """
    if seed is not None:
        torch.default_generator.manual_seed(seed)
    try:
        losses = model.losses(batch_of(images.clone(), progress, labels))  # a component may change a clone in place
    except PluginError as error:
        raise NotApplicable("it calls parts.loss twice, which `loss_called_once` reports") from error
    loss = losses.get("loss")
    if not isinstance(loss, Tensor) or loss.dim():
        raise NotApplicable("its loss is no scalar, which `losses_are_scalars` reports")
    return losses


def loss_of(model: Autoencoder, images: Tensor, progress: float = 1.0) -> Tensor:
    """Return the loss of a batch, with noise of a fixed seed and without gradients."""
    with torch.no_grad():
        return losses_of(model, images, progress, seed=0)["loss"]


def step_of(model: Autoencoder, lr: float = 1e-2) -> Step:
    """Return the optimizer step that a training of this model repeats."""
    optimizer = torch.optim.Adam(model.players[0], lr=lr, fused=True)
    if not (owners := model.adversary_owners):
        return Step(model, optimizer)
    groups = [
        {"params": adversary_weights(owner), "lr": owner.adversary_lr, "betas": owner.adversary_betas}
        for owner in owners
    ]
    return AdversarialStep(model, optimizer, torch.optim.Adam(groups, fused=True))
