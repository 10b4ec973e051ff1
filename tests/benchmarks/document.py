"""Lightning's "Train a model (basic)", as written: what everyone starts from.

    python -m tests.benchmarks.document DIRECTORY

is its script, on the MNIST that torchvision finds in the directory.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F  # noqa: N812
from tests.benchmarks.measure import quiet
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Sequential(nn.Linear(28 * 28, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, x):
        return self.l1(x)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 28 * 28))

    def forward(self, x):
        return self.l1(x)


class LitAutoEncoder(pl.LightningModule):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        z = self.encoder(x)
        x_hat = self.decoder(z)
        return F.mse_loss(x_hat, x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Clock(pl.Callback):
    """Times an epoch's training."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.seconds = -time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds += time.perf_counter()


def train(directory: str, batch_size: int = 1, **settings: Any) -> None:
    """Train as the document does; its batch size is 1."""
    dataset = MNIST(directory, transform=transforms.ToTensor())
    train_loader = DataLoader(dataset, batch_size=batch_size)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=directory, **settings)
    trainer.fit(LitAutoEncoder(Encoder(), Decoder()), train_loader)


def images_per_second(directory: str, batch_size: int, batches: int) -> float:
    """Return the images a second of so many batches of its epoch."""
    clock = Clock()
    with quiet():
        train(directory, batch_size, limit_train_batches=batches, callbacks=[clock])
    return batches * batch_size / clock.seconds


if __name__ == "__main__":
    train(sys.argv[1])
