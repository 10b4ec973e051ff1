"""What watches a training: the best weights, the history, divergence, and the stop button."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from zoo import checkpoint
from zoo.autoencoder import Autoencoder
from zoo.errors import TrainingDivergedError, TrainingInterruptedError

GRACE_SECONDS = 4.0


class KeepBest(Callback):
    """Keep the weights with the lowest validation loss, and never any that are not finite.

    Args:
        path: The checkpoint file.
        autoencoder: The model in training.
        metadata: What the checkpoint says of it; the epoch is filled in.
    """

    def __init__(self, path: Path, autoencoder: Autoencoder, metadata: checkpoint.Metadata) -> None:
        self.path = path
        self.autoencoder = autoencoder
        self.metadata = metadata
        self.best = math.inf

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self.best:
            epoch = trainer.current_epoch + 1
            checkpoint.save(self.path, self.autoencoder, self.metadata.model_copy(update={"epoch": epoch}))
            self.best = loss


class Divergence(Callback):
    """Stop a training whose loss is no longer finite."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _require_finite(trainer, "training", outputs["loss"], batch_idx + 1)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _require_finite(trainer, "validation", trainer.callback_metrics["val_loss"], int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _require_finite(trainer, "training", trainer.callback_metrics["train_loss"], int(trainer.num_training_batches))


class History(Callback):
    """Write a row of metrics.csv at the end of each epoch.

    Columns: `epoch` (from 1), the training and validation losses, `lr` (at the epoch's end),
    `images_per_second` (training alone) and `seconds` (the epoch, validation included).

    Args:
        path: The CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.images = 0
        self._started = self._last_batch = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[0]) * trainer.world_size
        self._last_batch = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {name: float(loss) for name, loss in sorted(trainer.callback_metrics.items())}
        row = {
            "epoch": trainer.current_epoch + 1,
            **losses,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": round(self.images_per_second, 1),
            "seconds": round(time.perf_counter() - self._started, 3),
        }
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, row)
            if len(self.rows) == 1:
                writer.writeheader()
            writer.writerow(row)

    @property
    def images_per_second(self) -> float:
        """Training images a second in the current epoch, over all processes together."""
        return self.images / max(self._last_batch - self._started, 1e-9)


class Interruption(Callback):
    """Turn Ctrl-C and SIGTERM into an exception at the next safe point: between two batches.

    A second signal, or no safe point within four seconds, ends the process at once; the files of a
    run are written atomically, so nothing that was kept is lost by it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Handle the signals meanwhile; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._watch()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_train_start(self, *_: Any) -> None:
        if signal.getsignal(signal.SIGINT) == self._receive:
            self._watch()  # again: Lightning has put its own handler for SIGTERM, which exits with 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        if self.received is None:
            return
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(self.received)  # the other processes, which would wait for this one
        raise TrainingInterruptedError(f"Stopped by {self.received.name}.", self.received)

    def _watch(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = signal.Signals(number)
        deadline = threading.Timer(GRACE_SECONDS, self._leave)
        deadline.daemon = True
        deadline.start()

    def _leave(self) -> None:
        assert self.received is not None
        print(f"zoo: Stopped by {self.received.name}.", file=sys.stderr, flush=True)
        os._exit(128 + self.received)


def _require_finite(trainer: pl.Trainer, stage: str, loss: Tensor, step: int) -> None:
    if not math.isfinite(loss):
        where = f"epoch {trainer.current_epoch + 1}, step {step}"
        raise TrainingDivergedError(f"The {stage} loss became {float(loss)} at {where}. Try a lower --lr.")
