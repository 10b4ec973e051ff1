"""What a user sees while a model trains: a bar on a terminal, and one line an epoch everywhere.

Without a terminal a long epoch shows where it is: in a notebook by a line that is replaced every second, elsewhere by
a line after each half minute without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor

from zoo.training.callbacks import BatchCallback, History
from zoo.training.lightning_module import LitAutoencoder

BAR_SECONDS = 0.1
NOTEBOOK_SECONDS = 1.0
LINE_SECONDS = 30.0  # the longest silence of redirected output


class Progress(BatchCallback, Checkpoint):
    """Show a bar with loss and images/s on a terminal; print one plain line an epoch.

    To Lightning it is a `Checkpoint`, so that it is called after the one that keeps the resume
    state: an epoch whose line is printed is not lost, whatever happens.

    Args:
        history: Its rows are printed.
        clock: Seconds, from any moment on.
    """

    def __init__(self, history: History, clock: Callable[[], float] = time.perf_counter) -> None:
        self.history = history
        self.clock = clock
        self._compile_told = False
        self.console = Console(highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.notebook_line = NotebookLine() if self.console.is_jupyter else None
        self._silence = LINE_SECONDS if self.bar.disable else BAR_SECONDS
        if self.notebook_line:
            self._silence = NOTEBOOK_SECONDS

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.start()
        assert trainer.max_epochs
        assert trainer.train_dataloader
        self.images = trainer.train_dataloader.sampler.count * trainer.world_size  # of an epoch
        self.task = self.bar.add_task("", total=trainer.max_epochs * self.images, status="")
        self._shown = self.clock()

    def on_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor, count: int) -> None:
        if not self._is_due():
            return
        status = f"loss {float(loss):.4f}  {self.history.images_per_second:,.0f} images/s"
        if self.bar.disable:
            self._show(f"{_epoch(trainer)}  {_percent(self.history.images, self.images)}  {status}")
            return
        completed = trainer.current_epoch * self.images + self.history.images
        self.bar.update(self.task, completed=completed, description=_epoch(trainer), status=status)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if self.bar.disable and self._is_due():
            done = _percent(batch_idx + 1, int(trainer.num_val_batches[0]))
            self._show(f"{_epoch(trainer)}  validation {done}")

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
        self._shown = self.clock()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._end()

    def _is_due(self) -> bool:
        """Say whether nothing was shown for so long that something is to be shown now."""
        now = self.clock()
        if now - self._shown < self._silence:
            return False
        self._shown = now
        return True

    def _show(self, line: str) -> None:
        if self.notebook_line:
            self.notebook_line.replace(line)
        else:
            self.console.print(line, markup=False)

    def _end(self) -> None:
        self.bar.stop()
        if self.notebook_line:
            self.notebook_line.replace("")


class NotebookLine:
    """A line in a notebook cell's output that is replaced by the next one."""

    def __init__(self) -> None:
        from IPython.display import display  # which only notebooks need have

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def replace(self, line: str) -> None:
        """Show this line in place of the one before."""
        self._handle.update({"text/plain": line}, raw=True)


def _epoch(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def _percent(done: int, total: int) -> str:
    return f"{100 * done // total} %"
