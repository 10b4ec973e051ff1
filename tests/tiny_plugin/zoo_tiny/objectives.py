"""An objective that breaks on purpose."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import mse_loss

from zoo import Objective


class Diverging(Objective):
    """Mean squared error, until it is NaN.

    Args:
        latent_dim: Size of the latent.
        after: How many training losses are finite.
    """

    def __init__(self, latent_dim: int, *, after: int = 12) -> None:
        super().__init__(latent_dim)
        self.after = after

    def losses(
        self, images: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        loss = mse_loss(decode(encode(images)), images)
        if self.training:
            self.after -= 1
        return {"loss": loss if self.after >= 0 else loss * float("nan")}
