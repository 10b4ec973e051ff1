"""The plain autoencoder: mean squared error between an image and its reconstruction."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import mse_loss

from zoo import Objective


class AE(Objective):
    """Mean squared error, as in Lightning's "Train a model (basic)"; features are the latent.

    Args:
        latent_dim: Size of the latent.
    """

    def losses(
        self, images: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images)}
