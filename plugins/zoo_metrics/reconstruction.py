"""How near reconstructions are to their originals, pixel by pixel and window by window.

Pixels are in [0, 1]. Reconstructions are taken as they are, not clamped.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import PeakSignalNoiseRatio

SSIM_WINDOW = 11  # pixels a side


class MSE(MeanSquaredError):  # noqa: N818 - not an exception
    """The mean over every pixel of every image.

    Args:
        image_shape: `(C, H, W)`.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(sync_on_compute=False)

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        super().update(reconstructions, images)


class PSNR(PeakSignalNoiseRatio):
    """The peak signal-to-noise ratio in dB that belongs to the mean squared error: −10 log₁₀ MSE.

    Args:
        image_shape: `(C, H, W)`.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(data_range=1.0, sync_on_compute=False)

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        super().update(reconstructions, images)


class SSIM(Metric):
    """The structural similarity of Wang et al. 2004: 11×11 windows, Gaussian with σ = 1.5, inside the image.

    It is the mean over images, channels and positions of the window.

    Args:
        image_shape: `(C, H, W)`.

    Raises:
        ValueError: A side of the images is shorter than the window: the index is undefined.
    """

    full_state_update = False  # else torchmetrics refuses to merge two of them
    total: Tensor
    count: Tensor

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        if min(image_shape[1:]) < SSIM_WINDOW:
            raise ValueError(f"the SSIM needs sides of {SSIM_WINDOW} pixels or more")
        super().__init__(sync_on_compute=False)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        # As channels of one image: convolutions of one channel at a time take ten times as long.
        planes, others = reconstructions.flatten(0, 1)[None], images.flatten(0, 1)[None]
        result = structural_similarity_index_measure(
            planes, others, gaussian_kernel=True, sigma=1.5, data_range=1.0, return_full_image=True
        )
        assert isinstance(result, tuple)
        _, ssim = result
        margin = SSIM_WINDOW // 2  # torchmetrics reflects the borders; the windows that see them are dropped
        self.total += len(images) * ssim[..., margin:-margin, margin:-margin].mean(dtype=torch.float64)
        self.count += len(images)

    def compute(self) -> Tensor:
        return self.total / self.count
