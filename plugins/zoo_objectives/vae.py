"""The variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), with β (Higgins et al. 2017)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from zoo import Batch, DataFacts, Parts, Variational, gaussian_kl


class VAE(Variational):
    """Gaussian posterior with diagonal covariance, standard normal prior.

    The loss is `distortion + β·rate`, where the rate is the KL divergence of the posterior from the
    prior, in nats divided by `C·H·W`. With β = 1 and a likelihood as the distortion it is the negative
    evidence lower bound; with `mse`, that of a Gaussian of variance ½, up to a constant.

    Args:
        latent_dim: Size of the latent.
        data: What is known about the data.
        beta: Weight of the KL divergence.
    """

    def __init__(self, latent_dim: int, data: DataFacts, *, beta: Annotated[float, Field(ge=0, le=1e6)] = 1.0) -> None:
        super().__init__(latent_dim, data)
        self.beta = beta

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(parts.encode(batch.images))
        distortion = parts.loss(parts.decode(self.draw(mean, log_variance)), batch.images)
        rate = gaussian_kl(mean, log_variance).mean() / batch.images[0].numel()
        return {"loss": distortion + self.beta * rate, "distortion": distortion, "rate": rate}
