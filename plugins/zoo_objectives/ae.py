"""The plain autoencoder: nothing but the distortion is minimised."""

from __future__ import annotations

from torch import Tensor

from zoo import Batch, Objective, Parts


class AE(Objective):
    """The features are the latent, as in Lightning's "Train a model (basic)"."""

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = self.latents(parts.encode(batch.images))
        return {"loss": parts.loss(parts.decode(latents), batch.images)}
