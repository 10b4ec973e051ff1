"""What watches a training: the best weights, the history, the resume state, divergence, and the stop button."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import logging
import math
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, WeightAveraging
from torch import Tensor

from zoo.errors import CheckpointError, OutputError, TrainingDivergedError, TrainingInterruptedError, printable
from zoo.files import append, write_atomically
from zoo.model import checkpoint
from zoo.model.autoencoder import Autoencoder
from zoo.training import resume_state
from zoo.training.resume_state import Facts

GRACE_SECONDS = 4.0

_log = logging.getLogger("zoo")


class BatchCallback(Callback, ABC):
    """A callback that is called after each batch; Lightning's own hooks are called after a span of them."""

    @abstractmethod
    def on_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor, count: int) -> None:
        """Take note of a batch of `count` images, on which the loss was so."""


class KeepWeights(Callback):
    """Writes a run's checkpoint.

    Args:
        path: The checkpoint file.
        autoencoder: The model in training.
        metadata: What the checkpoint says of it; the epoch is filled in.
    """

    def __init__(self, path: Path, autoencoder: Autoencoder, metadata: checkpoint.Metadata) -> None:
        self.path = path
        self.autoencoder = autoencoder
        self.metadata = metadata

    def save(self, epoch: int) -> None:
        checkpoint.save(self.path, self.autoencoder, self.metadata.model_copy(update={"epoch": epoch}))


class KeepLast(KeepWeights):
    """Keep the weights of the epoch that has just been validated."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer.current_epoch + 1)


class KeepBest(KeepWeights):
    """Keep the weights of the epoch with the lowest value of the column that the run monitors."""

    def __init__(self, path: Path, autoencoder: Autoencoder, metadata: checkpoint.Metadata) -> None:
        super().__init__(path, autoencoder, metadata)
        self.monitor = metadata.config.monitor
        self.best = math.inf
        self.epoch = 0

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        if value < self.best:
            self.best, self.epoch = value, trainer.current_epoch + 1
            self.save(self.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the lowest value so far, if the file still holds the weights that it belongs to.

        A training that was killed after it kept the weights of an epoch, and before it kept that
        epoch's resume state, leaves later weights: the same come again.
        """
        try:
            kept = checkpoint.read(self.path).metadata.epoch
        except CheckpointError as error:
            _log.warning("zoo: %s The next epoch's weights take its place.", error)
            return
        if kept == state_dict["epoch"]:
            self.best, self.epoch = state_dict["best"], state_dict["epoch"]


class Divergence(Callback):
    """Stop a training whose loss, or the column that it monitors, is no longer finite."""

    batch = 0  # finished batches of the epoch

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        losses, self.batch = outputs["losses"], outputs["batch"]
        finite = torch.isfinite(losses)
        if not finite.all():
            first = finite.tolist().index(False)
            _require_finite(trainer, "The training loss", losses[first], self.batch - len(losses) + first + 1)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _require_finite(trainer, "The validation loss", trainer.callback_metrics["val_loss"], self.batch)
        _require_finite(trainer, self.monitor, trainer.callback_metrics[self.monitor], self.batch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _require_finite(trainer, "The training loss", trainer.callback_metrics["train_loss"], self.batch)


class History(BatchCallback):
    """Write a row of metrics.csv at the end of each epoch.

    Columns: `epoch` (from 1), the training and validation losses, `lr` (at the epoch's end),
    `images_per_second` (training alone) and `seconds` (the epoch, validation included). They are the
    same in every row; a loss that has not begun, or has ended, is blank.

    Args:
        path: The CSV file.
        epoch: How many epochs are finished; rows of later ones are dropped.
        losses: The columns of losses, in their order.
    """

    def __init__(self, path: Path, epoch: int, losses: Sequence[str]) -> None:
        self.path = path
        self.columns = ("epoch", *losses, "lr", "images_per_second", "seconds")
        self.row: dict[str, float] = {}
        self.images = 0
        _keep_rows(path, epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.images = 0
        self._started = self._last_batch = time.perf_counter()

    def on_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor, count: int) -> None:
        self.images += count * trainer.world_size
        self._last_batch = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self._last_batch = time.perf_counter()  # a GPU has caught up: `Divergence` has looked at the losses

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module.logged, set)
        losses = {name: float(trainer.callback_metrics[name]) for name in pl_module.logged}  # not one that has ended
        self.row = {
            "epoch": trainer.current_epoch + 1,
            **losses,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": round(self.images_per_second, 1),
            "seconds": round(time.perf_counter() - self._started, 3),
        }
        self._write_row()

    def _write_row(self) -> None:
        """Write the row down to the disk: it is there before the resume state that counts on it."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        begun = self.path.exists()
        if not begun:
            writer.writeheader()
        writer.writerow(self.row)
        write = append if begun else write_atomically
        write(self.path, text.getvalue().encode())

    @property
    def images_per_second(self) -> float:
        """Training images a second in the current epoch, over all processes together."""
        return self.images / max(self._last_batch - self._started, 1e-9)


class MovingAverage(BatchCallback, WeightAveraging):
    """Keep an exponential moving average of the weights, step by step, and validate and keep that.

    The average starts as the weights after the first step. Of the average before step n, counted from 0, a
    share of min(decay, (1 + n) / (10 + n)) remains: with the whole decay from the start, the first weights
    would still dominate the average at the end of a short run.

    Args:
        decay: How much of the average remains at each step, once many have been taken.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=self._average)
        self.decay = decay
        self.remaining = 0.0

    def on_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor, count: int) -> None:
        step = trainer.global_step - 1
        self.remaining = min(self.decay, (1 + step) / (10 + step))
        super().on_train_batch_end(trainer, pl_module, None, None, 0)  # which sees whether there was a step

    def on_train_batch_end(self, *_: Any) -> None:
        """Do nothing: all is done."""

    def _average(self, average: Tensor, current: Tensor, _: Tensor | int) -> Tensor:
        if not average.is_floating_point():  # a count or a mask has no average
            return current
        return torch.lerp(average, current, 1 - self.remaining)  # exact where a weight never changes


class KeepState(Checkpoint):
    """Keep the resume state at the end of each epoch, and the one before it.

    Lightning calls a `Checkpoint` after the others: early stopping has decided then, and the best
    weights and the history are on the disk.

    Args:
        directory: Where; None in a process that only helps to train.
        versions: Of the distributions whose components are trained.
        epoch: How many epochs are finished.
    """

    def __init__(self, directory: Path | None, versions: dict[str, str], epoch: int) -> None:
        self.directory = directory
        self.versions = versions
        self.epoch = epoch

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.strategy.broadcast(self.epoch) != self.epoch:
            raise OutputError(
                f"Process {trainer.global_rank} does not find the resume state that the first process found: "
                "every machine must see the run directory."
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch = trainer.current_epoch + 1
        trainer.save_checkpoint(resume_state.path_of(self.directory or Path(), self.epoch), weights_only=False)
        if self.directory:
            resume_state.prune(self.directory)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert trainer.max_epochs
        facts = Facts(
            epoch=self.epoch, epochs=trainer.max_epochs, stopped=trainer.should_stop, stack=self._stack(trainer)
        )
        checkpoint[resume_state.FACTS] = facts.model_dump()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert trainer.max_epochs
        facts = Facts.model_validate(checkpoint[resume_state.FACTS])
        trainer.should_stop = facts.is_over(trainer.max_epochs)  # Lightning would train one epoch more
        if facts.stopped and not trainer.should_stop:  # more epochs were asked for: patience begins anew
            for stopping in trainer.early_stopping_callbacks:
                checkpoint["callbacks"][stopping.state_key]["wait_count"] = 0
        before, now = facts.stack, self._stack(trainer)
        changes = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
        if changes and trainer.is_global_zero:
            _log.warning(
                "zoo: Not all is as it was: %s. The result may differ in its last bits.", printable(", ".join(changes))
            )

    def _stack(self, trainer: pl.Trainer) -> dict[str, str]:
        """Return what decides the last bits of a result, besides the settings."""
        device = trainer.strategy.root_device
        names = {"cpu": f"CPU with {torch.backends.cpu.get_cpu_capability()}"}
        if device.type == "cuda":
            names["cuda"] = torch.cuda.get_device_name(device)
        return self.versions | {
            "torch": torch.__version__,
            "pytorch-lightning": importlib.metadata.version("pytorch-lightning"),
            "device": names.get(device.type, device.type),
            "threads": str(torch.get_num_threads()),
            "processes": str(trainer.world_size),
        }


class Interruption(BatchCallback):
    """Turn Ctrl-C and SIGTERM into an exception at the next safe point: between two batches.

    A second signal, or no safe point within four seconds, ends the process at once; the files of a
    run are written atomically, so nothing that was kept is lost by it.

    Args:
        advice: How to go on; nothing in a process that only helps to train, which leaves without a word.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self.received: signal.Signals | None = None
        self.deadline: threading.Timer | None = None

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
            if self.deadline:
                self.deadline.cancel()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_train_start(self, *_: Any) -> None:
        if signal.getsignal(signal.SIGINT) == self._receive:
            self._watch()  # again: Lightning has put its own handler for SIGTERM, which exits with 0

    def on_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
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
        self.deadline = threading.Timer(GRACE_SECONDS, self._leave)
        self.deadline.daemon = True
        self.deadline.start()

    def _leave(self) -> None:
        assert self.received is not None
        if self.advice:
            print(f"zoo: Stopped by {self.received.name}. {self.advice}", file=sys.stderr, flush=True)
        os._exit(128 + self.received)


def _keep_rows(path: Path, count: int) -> None:
    """Drop the rows of epochs whose resume state was not kept."""
    if count == 0:
        path.unlink(missing_ok=True)
    elif path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            lines = file.readlines()
        write_atomically(path, "".join(lines[: count + 1]).encode())


def _require_finite(trainer: pl.Trainer, name: str, loss: Tensor, step: int) -> None:
    if not math.isfinite(loss):
        where = f"epoch {trainer.current_epoch + 1}, step {step}"
        raise TrainingDivergedError(f"{name} became {float(loss)} at {where}. Try a lower --lr.")
