"""Images of one bright blob at a random place; its quadrant is the label."""

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from zoo_tiny.plugin import SHAPES


def tiny(split: str, *, broken: bool = False) -> TensorDataset:
    images, labels = _blobs(split, "tiny")
    return TensorDataset(images.float() if broken else images, labels)


def tiny_colour(split: str) -> list[tuple[Tensor, int]]:
    images, labels = _blobs(split, "tiny-colour")
    return list(zip(images, labels.tolist(), strict=True))


def tiny_small(split: str) -> TensorDataset:
    return TensorDataset(*_blobs(split, "tiny-small"))


def _blobs(split: str, name: str) -> tuple[Tensor, Tensor]:
    channels, height, width = SHAPES[name]
    count, seed = {"train": (640, 0), "test": (128, 1)}[split]
    centres = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    rows, columns = torch.arange(height) / height, torch.arange(width) / width
    distances = (rows[:, None] - centres[:, :1, None]) ** 2 + (columns - centres[:, 1:, None]) ** 2
    pixels = (255 * torch.exp(-40 * distances)).to(torch.uint8)
    labels = (centres > 0.5).long() @ torch.tensor([2, 1])
    return pixels[:, None].repeat(1, channels, 1, 1), labels
