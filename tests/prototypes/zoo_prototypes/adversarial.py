"""Objectives with an adversary on the latent."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from zoo import Batch, DataFacts, Objective, Parts, Variational, gaussian_kl


def discriminator(latent_dim: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(latent_dim, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs))


class AAE(Objective):
    """Adversarial autoencoder (Makhzani et al. 2015): a discriminator tells latents from draws of the prior."""

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.adversary = discriminator(latent_dim, 1)

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = parts.encode(batch.images)
        logits = self.adversary(latents)
        pays = binary_cross_entropy_with_logits(logits, torch.ones_like(logits)) / batch.images[0].numel()
        return {"loss": parts.loss(parts.decode(latents), batch.images), "adversarial": pays}

    def adversary_losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = parts.encode(batch.images)
        real, fake = self.adversary(torch.randn_like(latents)), self.adversary(latents)
        loss = binary_cross_entropy_with_logits(real, torch.ones_like(real))
        return {"loss": loss + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)), "real": real.mean()}

    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, *parts.latent_shape, generator=generator)


class FactorVAE(Variational):
    """FactorVAE (Kim and Mnih 2018): a discriminator estimates the total correlation; the batch is cut in halves."""

    batch_statistics = True

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.adversary = discriminator(latent_dim, 2)

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(parts.encode(batch.images))
        latents = self.draw(mean, log_variance)
        distortion = parts.loss(parts.decode(latents), batch.images)
        rate = gaussian_kl(mean, log_variance).mean() / batch.images[0].numel()
        logits = self.adversary(latents)
        correlation = (logits[:, 0] - logits[:, 1]).mean() / batch.images[0].numel()
        return {
            "loss": distortion + rate, "distortion": distortion, "rate": rate, "adversarial": 10 * correlation
        }  # fmt: skip

    def adversary_losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = self.draw(*self.posterior(parts.encode(batch.images)))
        real, other = latents.tensor_split(2)
        permuted = torch.stack([column[torch.randperm(len(other))] for column in other.unbind(1)], dim=1)
        logits = self.adversary(torch.cat([real, permuted]))
        classes = torch.cat([torch.zeros(len(real)), torch.ones(len(permuted))]).long().to(logits.device)
        return {"loss": nn.functional.cross_entropy(logits, classes)}
