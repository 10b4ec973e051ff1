"""The objective's contract: what the latent is, and what training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.contract.parts import Batch, DataFacts, Parts


class Objective(nn.Module, ABC):
    """Base of every objective.

    One scale holds for all of them, in training and in validation: a loss is the sum over an
    image's values divided by their number `C * H * W`, then averaged over the images. So
    `parts.loss` is added as it is, and a divergence in nats is divided by `C * H * W` before it is added.

    State is what an objective keeps beside its weights, such as a codebook. `losses` changes none of it:
    two micro-batches or two processes would count twice or drift apart. It only adds to the buffers
    that `tallies` names, and `after_step` uses their sums.

    An adversary is a network that is trained against the autoencoder by an optimizer of its own. An
    objective that has one assigns it to `self.adversary` in its constructor or in `attach`; `losses`
    then returns what the autoencoder pays as `adversarial`, and `adversary_losses` what the adversary
    minimises.

    Attributes:
        needs: What it asks of the distortion and the data, checked when the model is built:
            `"likelihood"`, `"pixels"`, `"labels"`.
        training_only: Names of submodules that only training needs: `model.safetensors` leaves them
            out, and they are None in a model that was loaded. The adversary is one without being named.
        tallies: Names of float32 buffers that `losses` only adds to. They are summed over
            micro-batches and processes before `after_step`, and set to zero after it.
        batch_statistics: Whether the loss depends on the batch as a whole, as an MMD does. A batch
            of one image then never reaches it in training.
        stochastic: Whether `losses` draws random numbers, also in validation.
        adversary: The adversary; None where there is none.
        adversary_lr: Default learning rate of the adversary's optimizer.
        adversary_betas: Default betas of the adversary's Adam.

    Args:
        latent_dim: Size of the latent; its channels where it is maps.
        data: What is known about the data.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    training_only: ClassVar[tuple[str, ...]] = ()
    tallies: ClassVar[tuple[str, ...]] = ()
    batch_statistics: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    adversary_lr: float = 1e-4
    adversary_betas: tuple[float, float] = (0.5, 0.9)
    adversary: nn.Module | None

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.data = data
        self.adversary = None

    @property
    def encoder_features(self) -> int:
        """Number of features that the encoder must give for an image; channels where they are maps."""
        return self.latent_dim

    @property
    def has_adversary(self) -> bool:
        """Whether a network is trained against the autoencoder."""
        return self.adversary is not None

    def attach(self, parts: Parts) -> None:
        """Make what depends on the other parts, e.g. an adversary for maps of `parts.latent_shape`.

        Called once whenever the model is built, also on the meta device.
        """

    def start(self, batch: Batch, parts: Parts) -> None:
        """Prepare for a new training, e.g. by k-means on the latents of the batch.

        Called once in a new training, without gradients; not in a resumed one, nor when a model is
        loaded. The first process's result counts for all. It changes weights and buffers in place.

        Args:
            batch: At least 4,096 training images, or all of them.
            parts: The other parts.
        """

    def after_step(self, parts: Parts) -> None:
        """Update state from the tallies. Called once after each optimizer step, without gradients."""

    def latents(self, features: Tensor) -> Tensor:
        """Turn features `(N, encoder_features, …)` into latents `(N, latent_dim, …)`, deterministically."""
        return features

    @abstractmethod
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """Return what training minimises, and its parts.

        Args:
            batch: Images, labels and the training's progress.
            parts: Encoder, decoder and distortion: `parts.loss(parts.decode(latents), batch.images)`.

        Returns:
            Scalars by name. `loss` is minimised; the others are logged beside it. `adversarial`, what
            the autoencoder pays for being told apart by the adversary, is no part of `loss`: it is
            added in training alone, so that no epoch is chosen by it.
        """

    def adversary_losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        """Return what the adversary minimises as `loss`, and what is logged beside it."""
        raise NotImplementedError

    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents `(count, *parts.latent_shape)` from the prior, where the objective has one."""
        raise NotImplementedError

    @property
    def has_prior(self) -> bool:
        """Whether `sample_prior` is defined."""
        return type(self).sample_prior is not Objective.sample_prior

    def codes(self, features: Tensor) -> Tensor:
        """Return the discrete codes of features, int64 `(N, …)`, where the latent is discrete.

        `latents_of(codes(features))` equals `latents(features)`.
        """
        raise NotImplementedError

    def latents_of(self, codes: Tensor) -> Tensor:
        """Return the latents `(N, *latent_shape)` of codes."""
        raise NotImplementedError

    @property
    def has_codes(self) -> bool:
        """Whether `codes` is defined."""
        return type(self).codes is not Objective.codes
