"""What an objective works with: a batch, facts about the data, and the other parts of the autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.errors import PluginError

if TYPE_CHECKING:
    from zoo.contract.distortion import Distortion

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class DataFacts:
    """What a model knows about the data that it is trained on; a checkpoint keeps it.

    Attributes:
        image_shape: `(C, H, W)`.
        classes: Names of the labels 0, 1, …; empty where images have no classes.
        train_count: Number of images that are trained on; 0 where it is unknown.
    """

    image_shape: ImageShape
    classes: tuple[str, ...] = ()
    train_count: int = 0


@dataclass(frozen=True)
class Batch:
    """Images with their labels.

    Attributes:
        images: `(N, C, H, W)`, float in [0, 1].
        labels: int64 `(N,)`, or `(N, K)` where the dataset declares K factors; None where there are none.
        progress: Share of the training's optimizer steps that are taken, a 0-dim float tensor in
            [0, 1]; 1 in validation.
    """

    images: Tensor
    labels: Tensor | None
    progress: Tensor


class Conditioning:
    """Appends the class to latents; a class that is not told is a class of its own.

    Args:
        classes: Number of classes K.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def shape(self, latent_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a latent with its class: K + 1 more values, or planes for maps."""
        return (latent_shape[0] + self.classes + 1, *latent_shape[1:])

    def append(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return latents `(N, D, …)` with the one-hot class of each, `(N, D + K + 1, …)`.

        Args:
            latents: `(N, D)` or `(N, D, h, w)`.
            labels: int64 `(N,)`, K where the class is unknown; None where all are.
        """
        if labels is None:
            labels = torch.full((len(latents),), self.classes, device=latents.device)
        one_hot = labels[:, None] == torch.arange(self.classes + 1, device=latents.device)  # (N, K + 1)
        planes = one_hot.to(latents.dtype).view(*one_hot.shape, *[1] * (latents.dim() - 2))
        return torch.cat([latents, planes.expand(-1, -1, *latents.shape[2:])], dim=1)

    def drop(self, labels: Tensor, share: float) -> Tensor:
        """Return labels of which a random share is unknown."""
        dropped = torch.rand(labels.shape, device=labels.device) < share
        return torch.where(dropped, self.classes, labels)


class Parts:
    """The parts of an autoencoder, as an objective uses them on one batch.

    Attributes:
        encoder: The bare encoder.
        decoder: The bare decoder; `decode` also tells it the class.
        distortion: The distortion.
        latent_shape: `(D,)` or `(D, h, w)`.
        labels: The classes that the decoder is told, int64 `(N,)`; None where it is told none.
        reconstruction: The output and the images that `loss` saw, detached; None before.
        adversarial: The distortion's adversarial term, where it has one in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        distortion: Distortion,
        latent_shape: tuple[int, ...],
        *,
        conditioning: Conditioning | None = None,
        labels: Tensor | None = None,
        progress: Tensor | None = None,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.distortion = distortion
        self.latent_shape = latent_shape
        self.reconstruction: tuple[Tensor, Tensor] | None = None
        self.adversarial: Tensor | None = None
        self._conditioning = conditioning
        self.labels = labels
        self._progress = progress

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.decoder.parameters()).device

    def encode(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the features `(N, *features_shape)` of images `(N, C, H, W)`.

        Args:
            images: Float in [0, 1].
            mask: bool `(N, 1, H, W)`, True where a pixel is hidden. An encoder that does not take
                masks sees 0 there.
        """
        if mask is None:
            features: Tensor = self.encoder(images)
        elif getattr(self.encoder, "takes_mask", False):
            features = self.encoder(images, mask)
        else:
            features = self.encoder(images.masked_fill(mask, 0))
        return features

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's output `(…, N, *output_shape)` for latents `(…, N, *latent_shape)`."""
        extra = latents.dim() - len(self.latent_shape) - 1  # e.g. the samples of an importance-weighted bound
        if extra == 0:
            return self._decode(latents, self.labels)
        leading = latents.shape[: extra + 1]
        labels = self.labels
        if labels is not None:
            labels = labels.expand(leading).flatten()
        output = self._decode(latents.flatten(0, extra), labels)
        return _unflatten(output, leading)

    def images(self, output: Tensor) -> Tensor:
        """Return the images `(…, N, C, H, W)` that the distortion makes of output `(…, N, *output_shape)`."""
        return _over_leading(self.distortion.images, output, len(self.distortion.output_shape))

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        """Return the distances `(…, N)` of output `(…, N, *output_shape)` from images `(N, C, H, W)`."""
        extra = output.dim() - len(self.distortion.output_shape) - 1
        if extra == 0:
            return self.distortion.distances(output, images)
        leading = output.shape[: extra + 1]
        repeated = images.expand(*leading, *images.shape[1:]).flatten(0, extra)
        return _unflatten(self.distortion.distances(output.flatten(0, extra), repeated), leading)

    def loss(self, output: Tensor, images: Tensor) -> Tensor:
        """Return the distortion per pixel, averaged over the images. To be called once a batch.

        The adversary of a distortion is trained on what this call sees.

        Raises:
            PluginError: It is called a second time.
        """
        if self.reconstruction is not None:
            raise PluginError(
                "the objective calls parts.loss twice in a batch: once is right, parts.distances for more"
            )
        self.reconstruction = output.detach(), images.detach()
        progress = self._progress if self._progress is not None else torch.ones((), device=output.device)
        loss = self.distortion.loss(output, images, progress)
        if self.distortion.training and self.distortion.has_adversary:
            self.adversarial = self.distortion.adversarial(output, images, loss, progress)
        return loss

    def _decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if self._conditioning is not None:
            latents = self._conditioning.append(latents, labels)
        output: Tensor = self.decoder(latents)
        return output


def _over_leading(function: Callable[[Tensor], Tensor], values: Tensor, dimensions: int) -> Tensor:
    """Call a function of values `(N, …)` on values `(…, N, …)` that have this many dimensions after N."""
    extra = values.dim() - dimensions - 1
    if extra == 0:
        return function(values)
    return _unflatten(function(values.flatten(0, extra)), values.shape[: extra + 1])


def _unflatten(values: Tensor, leading: tuple[int, ...]) -> Tensor:
    return values.view(*leading, *values.shape[1:])
