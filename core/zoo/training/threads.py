"""How many CPU threads a training has, and a line on stderr where they hold each other up.

Measured on two cores, in thousand images/s with one thread against two: on a quiet machine `mlp` 73
against 99, `conv` 5.7 against 7.3; beside other programs `mlp` at batch 512 43 to 90 against 8 to 10,
`conv` 3.3 against 0.5. At the end of each operation all threads wait for the one that another
program has interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from zoo.model.autoencoder import Autoencoder

WORK_OF_A_THREAD = 100e6  # floating-point operations of a batch's forward pass
WINDOW_SECONDS = 0.5  # of training, between two looks at the speed
COLLAPSED = 0.25  # A speed below this share of the best one is a collapse.
RUNNING = 0.2  # CPU time over wall time: below it the process itself was stopped

_log = logging.getLogger("zoo")


class Threads(Callback):
    """Set the number of threads, and say once if the training becomes far slower than it was.

    Args:
        watched: Whether this process says so.
    """

    def __init__(self, *, watched: bool) -> None:
        self.watched = watched
        self.best = 0.0  # images a second

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Set the number here: where there are several processes, Lightning sets it just before."""
        config = pl_module.config
        if config.threads:
            torch.set_num_threads(config.threads)
        elif trainer.strategy.root_device.type == "cpu":
            batch_size = config.batch_size // trainer.world_size
            torch.set_num_threads(default_threads(pl_module.autoencoder, batch_size, torch.get_num_threads()))
        self.watched = self.watched and torch.get_num_threads() > 1 and not config.compile  # which takes a while

    def on_train_epoch_start(self, *_: Any) -> None:
        self._begin_window()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.images += len(batch.indices)
        seconds = time.perf_counter() - self.started
        if not self.watched or seconds < WINDOW_SECONDS:
            return
        speed = self.images / seconds
        if has_collapsed(speed, self.best, (time.process_time() - self.cpu_started) / seconds):
            self.watched = False
            _log.warning(
                "zoo: The training has slowed down from %s to %s images/s: its %d threads wait for one another where "
                "other programs use the same cores. With --threads 1 they cannot.",
                f"{self.best:,.0f}", f"{speed:,.0f}", torch.get_num_threads(),
            )  # fmt: skip
        self.best = max(self.best, speed)
        self._begin_window()

    def _begin_window(self) -> None:
        self.images, self.started, self.cpu_started = 0, time.perf_counter(), time.process_time()


@contextlib.contextmanager
def restored_threads() -> Iterator[None]:
    """Give torch back its number of threads at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def default_threads(autoencoder: Autoencoder, batch_size: int, available: int) -> int:
    """Return the number of threads for a model on the CPU: few where a batch is little work for each.

    It depends on nothing but these arguments: the number of threads decides the last bits of a result.

    Args:
        autoencoder: The model.
        batch_size: Images a batch in this process.
        available: The most that there may be, such as the number of cores.
    """
    images = torch.zeros(1, *autoencoder.image_shape)
    was_training = autoencoder.training
    autoencoder.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        autoencoder.reconstruct(images)
    autoencoder.train(was_training)
    return threads_for(counter.get_total_flops() * batch_size, available)


def threads_for(work: float, available: int) -> int:
    """Return the number of threads for so many floating-point operations in a batch's forward pass."""
    return max(1, min(available, int(work // WORK_OF_A_THREAD)))


def has_collapsed(speed: float, best: float, cpu_share: float) -> bool:
    """Say whether a training's threads hold each other up.

    Args:
        speed: Images a second now.
        best: The highest speed before.
        cpu_share: CPU time of the process over wall time.
    """
    return speed < COLLAPSED * best and cpu_share > RUNNING
