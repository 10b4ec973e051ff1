"""An encoder with a frozen backbone, whose weights a new training loads from a file."""

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from zoo import Batch, Parts


class Frozen(nn.Module):
    """Frozen convolutions, kept in eval mode, and a head that is trained.

    Args:
        image_shape: `(C, H, W)`.
        out_features: Number of features.
        weights: File with the backbone's weights; drawn at random where it is empty.
    """

    frozen = True

    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, weights: str = "") -> None:
        super().__init__()
        self.weights = weights
        self.backbone = nn.Sequential(
            nn.Conv2d(image_shape[0], 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.backbone.requires_grad_(False)
        self.head = nn.Linear(8 * 16, out_features)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.backbone.eval()
        return self

    def start(self, batch: Batch, parts: Parts) -> None:
        if self.weights:
            self.backbone.load_state_dict(safetensors.torch.load(Path(self.weights).read_bytes()))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images).flatten(1))
