"""The LightningModule: what is trained, with its optimizer and its learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from zoo.autoencoder import Autoencoder
from zoo.callbacks import BatchCallback
from zoo.config import RunConfig
from zoo.data import EVALUATION_BATCH_SIZE, Span, derive_seed
from zoo.processes import sum_over_processes
from zoo.resume_state import require_fit
from zoo.step import CompiledStep, Losses, Step, keep_freed_memory


class LitAutoencoder(pl.LightningModule):
    """The autoencoder of Lightning's "Train a model (basic)", its parts composed from plugins.

    A call of `training_step` is given a span, and takes a step on each of its batches: what
    Lightning does around a call takes longer than a small model's step, and is done once for all of
    them. How many batches a span has changes no bit of the result.

    Args:
        autoencoder: Encoder, objective and decoder.
        config: The run's settings.
        batches: How many batches an epoch has in each process.
    """

    def __init__(self, autoencoder: Autoencoder, config: RunConfig, batches: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.config = config
        self.batches = batches
        self.steps = config.epochs * math.ceil(batches / config.accumulate)  # of the optimizer
        self.steps_before: int | None = None  # how many the training that goes on was to have
        self.batch = 0  # how many of the epoch are done
        self.trained, self.validated = Means(), Means()

    def training_step(self, span: Span, batch_idx: int) -> dict[str, Any]:
        trainer = self.trainer
        losses, counts = [], []
        for images in span.batches(self.config.batch_size // trainer.world_size, self.device):
            self.batch += 1
            update = self.batch % self.config.accumulate == 0 or self.batch == self.batches
            losses.append(self.step(images, update=update))
            counts.append(len(images))
            if update:
                self._count_step()
            for watcher in self.watchers:
                watcher.on_batch_end(trainer, self, losses[-1]["loss"], len(images))
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # where loggers draw the losses
        together = self.trained.add(losses, counts)
        if self.batch == self.batches:
            self._log("train", self.trained.take())
        return {"losses": together["loss"], "batch": self.batch}

    def validation_step(self, span: Span, batch_idx: int) -> None:
        batches = span.batches(EVALUATION_BATCH_SIZE, self.device)
        losses, counts = zip(*((self.autoencoder(images), len(images)) for images in batches), strict=True)
        self.validated.add(losses, counts)
        if batch_idx + 1 == self.trainer.num_val_batches[0]:
            self._log("val", self.validated.take())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.lr, fused=True)
        return [optimizer], _schedules(optimizer, self.config, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps"] = self.steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        require_fit(checkpoint, self)
        self.steps_before = checkpoint["steps"]

    def on_train_start(self) -> None:
        schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Adam)
        if self.steps_before not in (None, self.steps) and self.config.scheduler != "plateau":
            _reschedule(schedules, optimizer, self.config, self.steps, self.trainer.global_step)
        self.plateaus = [each for each in schedules if isinstance(each, ReduceLROnPlateau)]
        self.schedules = [each for each in schedules if each not in self.plateaus]
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        self.watchers = [each for each in callbacks if isinstance(each, BatchCallback)]
        self.step = self._step_with(optimizer)
        keep_freed_memory()

    def on_train_epoch_start(self) -> None:
        self.batch = 0
        torch.manual_seed(derive_seed(self.config.seed, "train", self.current_epoch, self.global_rank))

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "val", self.global_rank))  # the same noise every epoch

    def on_validation_epoch_end(self) -> None:
        for plateau in self.plateaus:
            plateau.step(float(self.trainer.callback_metrics[self.config.monitor]))

    def _step_with(self, optimizer: torch.optim.Adam) -> Step:
        config, world_size = self.config, self.trainer.world_size
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if config.compile and world_size == config.accumulate == 1 and scaler is None:
            return CompiledStep(self.autoencoder, optimizer, config.batch_size, gradient_clip=config.gradient_clip)
        together = None
        if world_size > 1:
            assert isinstance(self.trainer.strategy, ParallelStrategy)
            weights = [weight for weight in self.parameters() if weight.requires_grad]
            together = sum_over_processes(self.trainer.strategy, weights, machines=self.trainer.num_nodes)
        return Step(
            torch.compile(self.autoencoder) if config.compile else self.autoencoder,
            optimizer,
            batches=config.accumulate * world_size,
            gradient_clip=config.gradient_clip,
            together=together,
            scaler=scaler,
        )

    def _count_step(self) -> None:
        """Tell Lightning and the schedules of a step of the optimizer."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()
        for schedule in self.schedules:
            schedule.step()

    def _log(self, stage: str, losses: dict[str, float]) -> None:
        named = {f"{stage}_{name}": value for name, value in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)


class Means:
    """Means over an epoch's images, of losses that are given batch by batch, however many at once."""

    def __init__(self) -> None:
        self._losses: dict[str, list[Tensor]] = {}
        self._counts: list[int] = []

    def add(self, losses: Sequence[Losses], counts: Sequence[int]) -> Losses:
        """Add the losses of batches of so many images, and return them together: `(len(losses),)` by name."""
        together = {name: torch.stack([each[name] for each in losses]) for name in losses[0]}
        for name, values in together.items():
            self._losses.setdefault(name, []).append(values)
        self._counts += counts
        return together

    def take(self) -> dict[str, float]:
        """Return the means by name, and begin anew."""
        counts = torch.tensor(self._counts, dtype=torch.float64)
        sums = {name: torch.cat(values).cpu().double() @ counts for name, values in self._losses.items()}
        self._losses, self._counts = {}, []
        return {name: float(total / counts.sum()) for name, total in sums.items()}


def _schedules(optimizer: torch.optim.Optimizer, config: RunConfig, steps: int) -> list[LRScheduler]:
    """Return the learning-rate schedules of a training of so many steps, which multiply where there are two."""
    if config.scheduler == "one-cycle":
        rising = 0.3 if config.warmup is None else config.warmup
        return [OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=rising)]
    schedules: list[LRScheduler] = []
    if rising_steps := round((config.warmup or 0) * steps):
        schedules.append(LinearLR(optimizer, start_factor=1 / (rising_steps + 1), total_iters=rising_steps))
    if config.scheduler == "cosine":
        schedules.append(CosineAnnealingLR(optimizer, steps))
    if config.scheduler == "plateau":
        schedules.append(ReduceLROnPlateau(optimizer, factor=0.5, patience=2))
    return schedules


def _reschedule(
    schedules: list[LRScheduler], optimizer: torch.optim.Adam, config: RunConfig, steps: int, step: int
) -> None:
    """Put schedules where those of a training of so many steps would be after one of its steps."""
    stand_in = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=config.lr)
    wanted = _schedules(stand_in, config, steps)
    for _ in range(step):
        stand_in.step()  # without gradients: schedules only ask that it comes first
        for schedule in wanted:
            schedule.step()
    for schedule, other in zip(schedules, wanted, strict=True):
        schedule.load_state_dict(other.state_dict())
    for group, other_group in zip(optimizer.param_groups, stand_in.param_groups, strict=True):
        group.update(lr=other_group["lr"], betas=other_group["betas"])  # one-cycle has momentum follow, too
