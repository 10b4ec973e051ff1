"""A VQ-VAE (van den Oord et al. 2017) on vectors or maps, its codebook an exponential moving average."""

import torch
from torch import Tensor

from zoo import Batch, DataFacts, Objective, Parts

CODES = 32
DECAY = 0.99


class VectorQuantised(Objective):
    tallies = ("counts", "sums")

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("codebook", torch.randn(CODES, latent_dim))
        self.register_buffer("average_counts", torch.ones(CODES))
        self.register_buffer("average_sums", self.codebook.clone())
        self.register_buffer("counts", torch.zeros(CODES))
        self.register_buffer("sums", torch.zeros(CODES, latent_dim))

    def start(self, batch: Batch, parts: Parts) -> None:
        features = parts.encode(batch.images).movedim(1, -1).flatten(0, -2)
        self.codebook.copy_(features[torch.randint(len(features), (CODES,))])
        self.average_sums.copy_(self.codebook)

    def codes(self, features: Tensor) -> Tensor:
        flat = features.movedim(1, -1)
        return torch.cdist(flat.flatten(0, -2), self.codebook).argmin(dim=1).view(flat.shape[:-1])

    def latents_of(self, codes: Tensor) -> Tensor:
        return self.codebook[codes].movedim(-1, 1)

    def latents(self, features: Tensor) -> Tensor:
        return self.latents_of(self.codes(features))

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        features = parts.encode(batch.images)
        codes = self.codes(features)
        latents = self.latents_of(codes)
        commitment = (features - latents).square().mean()
        straight = features + (latents - features).detach()
        distortion = parts.loss(parts.decode(straight), batch.images)
        with torch.no_grad():
            one_hot = torch.nn.functional.one_hot(codes.flatten(), CODES).to(features.dtype)
            self.counts.add_(one_hot.sum(dim=0))
            self.sums.add_(one_hot.T @ features.movedim(1, -1).flatten(0, -2))
        return {"loss": distortion + 0.25 * commitment, "distortion": distortion, "commitment": commitment}

    def after_step(self, parts: Parts) -> None:
        self.average_counts.lerp_(self.counts, 1 - DECAY)
        self.average_sums.lerp_(self.sums, 1 - DECAY)
        total = self.average_counts.sum()
        smoothed = (self.average_counts + 1e-5) / (total + CODES * 1e-5) * total
        self.codebook.copy_(self.average_sums / smoothed[:, None])
