"""Variational objectives with an annealed weight, importance weights and a learned prior."""

import math

import torch
from torch import Tensor, nn

from zoo import Batch, DataFacts, Parts, Variational, gaussian_kl, log_normal


class AnnealedVAE(Variational):
    """The weight of the rate rises with the training's progress (Bowman et al. 2016)."""

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(parts.encode(batch.images))
        distortion = parts.loss(parts.decode(self.draw(mean, log_variance)), batch.images)
        rate = gaussian_kl(mean, log_variance).mean() / batch.images[0].numel()
        return {"loss": distortion + batch.progress * rate, "distortion": distortion, "rate": rate}


class IWAE(Variational):
    """The importance-weighted bound (Burda et al. 2016) of five samples."""

    needs = frozenset({"likelihood"})

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        weights = self.log_importance_weights(batch, parts, 5)  # (5, N)
        bound = weights.logsumexp(dim=0) - math.log(len(weights))
        return {"loss": -bound.mean() / batch.images[0].numel()}


class Vamp(Variational):
    """A prior that is the mixture of the posteriors of pseudo-inputs (Tomczak and Welling 2018)."""

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.pseudo_inputs = nn.Parameter(torch.full((8, *data.image_shape), 0.5))

    def start(self, batch: Batch, parts: Parts) -> None:
        self.pseudo_inputs.copy_(batch.images[: len(self.pseudo_inputs)])

    def log_prior(self, latents: Tensor, parts: Parts) -> Tensor:
        mean, log_variance = self.posterior(parts.encode(self.pseudo_inputs.clamp(0, 1)))
        densities = log_normal(latents[..., None, :], mean, log_variance, 1)  # (…, N, pseudo-inputs)
        return densities.logsumexp(dim=-1) - math.log(len(mean))

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(parts.encode(batch.images))
        latents = self.draw(mean, log_variance)
        distortion = parts.loss(parts.decode(latents), batch.images)
        rate = log_normal(latents, mean, log_variance, 1) - self.log_prior(latents, parts)
        rate = rate.mean() / batch.images[0].numel()
        return {"loss": distortion + rate, "distortion": distortion, "rate": rate}

    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        mean, log_variance = self.posterior(parts.encode(self.pseudo_inputs.clamp(0, 1)))
        chosen = torch.randint(len(mean), (count,), generator=generator)
        return (
            mean[chosen] + torch.randn(count, self.latent_dim, generator=generator) * (log_variance[chosen] / 2).exp()
        )
