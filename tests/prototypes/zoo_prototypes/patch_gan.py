"""A discriminator of patches (Isola et al. 2017), which begins halfway through the training."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from zoo import Distortion


class PatchGAN(Distortion):
    """The hinge loss of a discriminator of patches.

    Args:
        image_shape: `(C, H, W)`.
        begin: Share of the training after which it begins.
        views: Whether it calls `view` on maps, which fails where they lie channels last.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        begin: Annotated[float, Field(ge=0, le=1)] = 0.5,
        views: bool = False,
    ) -> None:
        super().__init__(image_shape)
        self.begin = begin
        layers = [nn.Conv2d(image_shape[0], 8, 4, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3)]
        self.adversary = nn.Sequential(layers[0], Viewed(), *layers[1:]) if views else nn.Sequential(*layers)

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return 0 * (output - images)

    def adversarial(self, output: Tensor, images: Tensor, loss: Tensor, progress: Tensor) -> Tensor:
        return -self.adversary(output).mean() * (progress >= self.begin) / images[0].numel()

    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        real, fake = self.adversary(images), self.adversary(output)
        return {"loss": (relu(1 - real).mean() + relu(1 + fake).mean()) * (progress >= self.begin)}


class Viewed(nn.Module):
    """Gives maps as they are."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.view(len(maps), -1).view_as(maps)
