"""Deterministic objectives that need gradients, or a mask."""

import torch
from torch import Tensor

from zoo import Batch, Objective, Parts


class Contractive(Objective):
    """Rifai et al. 2011: the encoder's Jacobian, by one draw of Hutchinson's estimate."""

    stochastic = True

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        with torch.enable_grad():
            images = batch.images.detach().requires_grad_()
            latents = parts.encode(images)
            direction = torch.randn_like(latents)
            (gradient,) = torch.autograd.grad(latents, images, direction, create_graph=True)
        penalty = gradient.square().sum(dim=(1, 2, 3)).mean() / images[0].numel()
        distortion = parts.loss(parts.decode(latents), batch.images)
        return {"loss": distortion + 0.1 * penalty, "distortion": distortion, "penalty": penalty}


class MaskedAutoencoder(Objective):
    """He et al. 2022: squares of the image are hidden from the encoder; their distance alone is minimised."""

    needs = frozenset({"pixels"})
    stochastic = True

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        count, _, height, width = batch.images.shape
        squares = torch.rand(count, 1, -(-height // 4), -(-width // 4), device=batch.images.device) < 0.5
        mask = squares.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :height, :width]
        output = parts.decode(parts.encode(batch.images, mask))
        hidden = parts.distortion.pixels(output, batch.images) * mask
        return {"loss": hidden.sum() / (mask.sum() * batch.images.shape[1]).clamp(min=1)}


class Ending(Objective):
    """Logs a second loss in the first half of the training alone."""

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        loss = parts.loss(parts.decode(self.latents(parts.encode(batch.images))), batch.images)
        return {"loss": loss, "early": loss} if batch.progress < 0.3 else {"loss": loss}
