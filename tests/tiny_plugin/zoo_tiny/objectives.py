"""An objective that breaks on purpose."""

from torch import Tensor

from zoo import Batch, DataFacts, Objective, Parts


class Diverging(Objective):
    """The reconstruction loss, until it is NaN.

    Args:
        latent_dim: Size of the latent.
        data: What is known about the data.
        after: How many training losses are finite.
    """

    def __init__(self, latent_dim: int, data: DataFacts, *, after: int = 12) -> None:
        super().__init__(latent_dim, data)
        self.after = after

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        loss = parts.loss(parts.decode(parts.encode(batch.images)), batch.images)
        if self.training:
            self.after -= 1
        return {"loss": loss if self.after >= 0 else loss * float("nan")}
