"""The distortion's contract: how output becomes an image, and how far it is from the original."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.contract.parts import Batch, ImageShape, Parts

Likelihood = Literal["", "mass", "density"]


class Distortion(nn.Module):
    """Base of every distortion, that is, of every reconstruction loss.

    Most define `pixels` alone. The scale is that of every loss: summed over an image's values, divided
    by their number `C * H * W`, averaged over the images.

    An adversary is a network that is trained against the autoencoder. A distortion that has one assigns
    it to `self.adversary` in its constructor, and defines `adversarial` and `adversary_losses`.

    Attributes:
        likelihood: `"mass"` or `"density"` where `distances` are −log p(x | output) in nats, the
            probability of whole pixel values or a density; empty where they are no likelihood.
        training_only: Names of submodules that only training needs: `model.safetensors` leaves them
            out, and they are None in a model that was loaded. The adversary is one without being named.
        adversary: The adversary; None where there is none.
        adversary_lr: Default learning rate of the adversary's optimizer.
        adversary_betas: Default betas of the adversary's Adam.

    Args:
        image_shape: `(C, H, W)`.
    """

    likelihood: Likelihood = ""
    training_only: ClassVar[tuple[str, ...]] = ()
    adversary_lr: float = 1e-4
    adversary_betas: tuple[float, float] = (0.5, 0.9)
    adversary: nn.Module | None

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.adversary = None

    @property
    def output_shape(self) -> ImageShape:
        """The shape of what the decoder must give for one image; by default the image's."""
        return self.image_shape

    @property
    def has_adversary(self) -> bool:
        """Whether a network is trained against the autoencoder."""
        return self.adversary is not None

    @property
    def has_pixels(self) -> bool:
        """Whether it says how far each pixel is from the original's."""
        return type(self).pixels is not Distortion.pixels

    @property
    def is_complete(self) -> bool:
        """Whether no part is missing that only training needs, as parts are in a model that was loaded."""
        return all(getattr(self, name) is not None for name in self.training_only)

    @property
    def owns_output(self) -> bool:
        """Whether its output is something else than an image, so that it can only be the first of a sum."""
        return type(self).images is not Distortion.images or self.output_shape != self.image_shape

    def each(self) -> Iterator[Distortion]:
        """Give out the terms of a sum; a distortion that is none gives itself."""
        yield self

    def images(self, output: Tensor) -> Tensor:
        """Turn output `(N, *output_shape)` into images `(N, C, H, W)`; by default it is them."""
        return output

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        """Return how far each pixel is from the original's.

        Args:
            output: `(N, *output_shape)`.
            images: The originals `(N, C, H, W)`, float in [0, 1].

        Returns:
            `(N, C, H, W)`, or `(N, 1, H, W)` where the channels are judged together.
        """
        raise NotImplementedError

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        """Return how far each image is from its original, `(N,)`: the sum over its pixels."""
        return self.pixels(output, images).flatten(1).sum(dim=1)

    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        """Return the distance per pixel, averaged over the images: what training minimises.

        Args:
            output: `(N, *output_shape)`.
            images: The originals `(N, C, H, W)`, float in [0, 1].
            progress: Share of the training's steps that are taken, a 0-dim tensor; 1 in validation.
        """
        return self.distances(output, images).mean() / math.prod(self.image_shape)

    def start(self, batch: Batch, parts: Parts) -> None:
        """Prepare for a new training, e.g. load the weights of a perceptual network. As `Objective.start`."""

    def adversarial(self, output: Tensor, images: Tensor, loss: Tensor, progress: Tensor) -> Tensor:
        """Return what the autoencoder pays for being told apart by the adversary, as a scalar.

        It is added to the loss in training alone, so that no epoch is chosen by it.

        Args:
            output: `(N, *output_shape)`, with its gradient.
            images: The originals `(N, C, H, W)`.
            loss: What `loss` gave for them; the whole sum where the distortion is a term of one.
            progress: As in `loss`.
        """
        raise NotImplementedError

    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        """Return what the adversary minimises as `loss`, and what is logged beside it.

        Args:
            output: What `loss` saw, detached.
            images: The originals that it saw.
            progress: As in `loss`.
        """
        raise NotImplementedError


class DistortionSum(Distortion):
    """A weighted sum of distortions. The first owns the output; the others compare images.

    Terms that lack a part which only training needs are left out, as in a model that was loaded.

    Args:
        names: Of the terms.
        terms: The distortions.
        weights: One for each.
    """

    def __init__(self, names: Sequence[str], terms: Sequence[Distortion], weights: Sequence[float]) -> None:
        super().__init__(terms[0].image_shape)
        self.names = tuple(names)
        self.terms = nn.ModuleList(terms)
        self.weights = tuple(weights)

    @property
    def output_shape(self) -> ImageShape:
        return self._first.output_shape

    @property
    def has_adversary(self) -> bool:
        return any(term.has_adversary for term in self.each())

    @property
    def has_pixels(self) -> bool:
        return all(term.has_pixels for _, term, _ in self._present())

    @property
    def is_complete(self) -> bool:
        return self._first.is_complete

    def each(self) -> Iterator[Distortion]:
        for term in self.terms:
            assert isinstance(term, Distortion)
            yield term

    def images(self, output: Tensor) -> Tensor:
        return self._first.images(output)

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        """Return `(N, 1, H, W)`: the weighted sum of the terms' maps, summed over the channels."""
        given = self._given(output)
        maps = [w * term.pixels(given(term), images).sum(dim=1, keepdim=True) for _, term, w in self._present()]
        return torch.stack(maps).sum(dim=0)

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        given = self._given(output)
        return torch.stack([w * term.distances(given(term), images) for _, term, w in self._present()]).sum(dim=0)

    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        given = self._given(output)
        return torch.stack([w * term.loss(given(term), images, progress) for _, term, w in self._present()]).sum()

    def start(self, batch: Batch, parts: Parts) -> None:
        for term in self.each():
            term.start(batch, parts)

    def adversarial(self, output: Tensor, images: Tensor, loss: Tensor, progress: Tensor) -> Tensor:
        given = self._given(output)
        terms = [(term, w) for _, term, w in self._present() if term.has_adversary]
        return torch.stack([w * term.adversarial(given(term), images, loss, progress) for term, w in terms]).sum()

    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        given = self._given(output)
        losses: dict[str, Tensor] = {}
        total: list[Tensor] = []
        for name, term, _ in self._present():
            if term.has_adversary:
                own = term.adversary_losses(given(term), images, progress)
                total.append(own["loss"])
                losses |= {f"{name}_{part}": value for part, value in own.items()}
        return {"loss": torch.stack(total).sum(), **losses}

    @property
    def _first(self) -> Distortion:
        return next(self.each())

    def _present(self) -> Iterator[tuple[str, Distortion, float]]:
        for name, term, weight in zip(self.names, self.each(), self.weights, strict=True):
            if term.is_complete:
                yield name, term, weight

    def _given(self, output: Tensor) -> Callable[[Distortion], Tensor]:
        """Return what each term is given: the output for the first, its images for the others."""
        first, images = self._first, self.images(output)
        return lambda term: output if term is first else images
