"""What a user sees while a model trains: a bar on a terminal, and one line an epoch everywhere."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor

from zoo.callbacks import BatchCallback, History
from zoo.lightning_module import LitAutoencoder

REFRESH_SECONDS = 0.1


class Progress(BatchCallback, Checkpoint):
    """Show a bar with loss and images/s on a terminal; print one plain line an epoch.

    To Lightning it is a `Checkpoint`, so that it is called after the one that keeps the resume
    state: an epoch whose line is printed is not lost, whatever happens.

    Args:
        history: Its rows are printed.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._compile_told = False
        self.console = Console(highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.start()
        assert trainer.max_epochs
        assert trainer.train_dataloader
        self.images = trainer.train_dataloader.sampler.count * trainer.world_size  # of an epoch
        self.task = self.bar.add_task("", total=trainer.max_epochs * self.images, status="")
        self._shown = 0.0

    def on_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor, count: int) -> None:
        now = time.perf_counter()
        if self.bar.disable or now - self._shown < REFRESH_SECONDS:
            return
        self._shown = now
        status = f"loss {float(loss):.4f}  {self.history.images_per_second:,.0f} images/s"
        description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        completed = trainer.current_epoch * self.images + self.history.images
        self.bar.update(self.task, completed=completed, description=description, status=status)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LitAutoencoder)
        if (seconds := pl_module.step.compile_seconds) and not self._compile_told:
            self._compile_told = True
            self.console.print(f"compiled in {seconds:.1f} s", markup=False)
        row = self.history.row
        total = trainer.max_epochs
        epoch = f"epoch {row['epoch']:>{len(str(total))}}/{total}"
        losses = f"train loss {row['train_loss']:.5f}  val loss {row['val_loss']:.5f}"
        self.console.print(f"{epoch}  {losses}  {row['images_per_second']:,.0f} images/s", markup=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()
