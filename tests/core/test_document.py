"""Our training is Lightning's "Train a model (basic)", to the last bit."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

import zoo
from zoo.config import components_of
from zoo.data import splits as data
from zoo.data.splits import facts_of, load_split, split_validation, training_loader
from zoo.model.autoencoder import build
from zoo.training.fit import LitAutoencoder

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
        self.values += outputs["losses"].tolist()


@pytest.fixture(scope="module")
def config():
    settings = {"batch_size": 1, "lr": 1e-3, "scheduler": "none", "epochs": 1, "seed": 7}
    return zoo.resolve({"encoder": "mlp", "dataset": "mnist", **settings})


@pytest.fixture(scope="module")
def images(config):
    dataset = load_split(zoo.installed().get("dataset", "mnist"), {}, "train")
    train, _ = split_validation(len(dataset), config.validation_fraction, 7)
    return dataset, train[:STEPS]


@pytest.fixture(scope="module")
def document(config, images):
    """The losses and the weights that the document's plain loop comes to."""
    torch.manual_seed(7)
    encoder, decoder = Encoder(), Decoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    losses = []
    for span in training_loader(*images, config.batch_size, config.seed):
        for pixels, _ in span.batches(config.batch_size):
            x = pixels.view(pixels.size(0), -1)
            loss = nn.functional.mse_loss(decoder(encoder(x)), x)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses, [*encoder.parameters(), *decoder.parameters()]


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a `validation_step`")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")
@pytest.mark.parametrize("span", [1, 7, STEPS], ids="{} steps a call".format)
def test_losses_and_weights_equal_the_documents_plain_loop_to_the_last_bit(span, config, images, document, monkeypatch):
    monkeypatch.setattr(data, "SPAN_BATCHES", span)
    ours = build(config, components_of(config), facts_of(zoo.installed().get("dataset", "mnist"), images[0], STEPS))
    losses = Losses()
    trainer = pl.Trainer(
        max_epochs=1, callbacks=[losses], logger=False, accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    loader = training_loader(*images, config.batch_size, config.seed)
    trainer.fit(LitAutoencoder(ours, config, batches=STEPS), loader)

    plain_losses, plain_weights = document
    assert len(loader) == -(-STEPS // span)
    assert trainer.global_step == STEPS
    assert losses.values == plain_losses
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain_weights, strict=True))
