"""Our training is Lightning's "Train a model (basic)", to the last bit."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

import zoo
from zoo.autoencoder import build, image_shape_of
from zoo.data import load_split, split_validation, training_loader
from zoo.training import LitAutoencoder

STEPS = 200


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


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs: Any, batch, batch_idx):
        self.values.append(outputs["loss"].item())


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a `validation_step`")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")
def test_losses_and_weights_equal_the_documents_plain_loop_to_the_last_bit():
    config = zoo.resolve(
        {"encoder": "mlp", "dataset": "mnist", "batch_size": 1, "lr": 1e-3, "scheduler": "none", "epochs": 1, "seed": 7}
    )
    components = {kind: zoo.installed().get(kind, config.component(kind).name) for kind in zoo.specs.KINDS}
    train_set, _ = split_validation(load_split(components["dataset"], {}, "train"), config.validation_fraction, 7)

    torch.manual_seed(7)
    encoder, decoder = Encoder(), Decoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    plain_losses = []
    loader = training_loader(train_set, config.batch_size, config.seed)
    for (images, _), _step in zip(loader, range(STEPS), strict=False):
        x = images.view(images.size(0), -1)
        loss = nn.functional.mse_loss(decoder(encoder(x)), x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        plain_losses.append(loss.item())

    ours = build(config, components, image_shape_of(components["dataset"]))
    losses = Losses()
    trainer = pl.Trainer(
        max_steps=STEPS, callbacks=[losses], logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(LitAutoencoder(ours, config), training_loader(train_set, config.batch_size, config.seed))

    assert losses.values == plain_losses
    plain_weights = [*encoder.parameters(), *decoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain_weights, strict=True))
