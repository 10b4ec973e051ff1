"""The LightningModule: what is trained, with its optimizer and its learning-rate schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from zoo.autoencoder import Autoencoder
from zoo.config import RunConfig
from zoo.data import derive_seed
from zoo.resume_state import require_fit


class LitAutoencoder(pl.LightningModule):
    """The autoencoder of Lightning's "Train a model (basic)", its parts composed from plugins.

    Args:
        autoencoder: Encoder, objective and decoder.
        config: The run's settings.
    """

    def __init__(self, autoencoder: Autoencoder, config: RunConfig) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.config = config
        self.losses = torch.compile(autoencoder) if config.compile else autoencoder
        self.steps_before: int | None = None  # how many the training that goes on was to have

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        losses = self.losses(images)
        self._log("train", losses, len(images))
        loss: Tensor = losses["loss"]
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, _ = batch
        self._log("val", self.losses(images), len(images))

    def configure_optimizers(self) -> Any:
        config = self.config
        # Lightning refuses to clip gradients of mixed precision for a fused optimizer, which may unscale them itself.
        fused = config.precision == "32-true" or not config.gradient_clip
        optimizer = torch.optim.Adam(self.parameters(), lr=config.lr, fused=fused)
        return [optimizer], _schedules(optimizer, config, self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps"] = self.trainer.estimated_stepping_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        require_fit(checkpoint, self)
        self.steps_before = checkpoint["steps"]

    def on_train_start(self) -> None:
        longer = self.steps_before not in (None, self.trainer.estimated_stepping_batches)
        if longer and self.config.scheduler != "plateau":  # which does not follow from the number of steps
            _reschedule(self.trainer, self.config)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "train", self.current_epoch, self.global_rank))

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "val", self.global_rank))  # the same noise every epoch

    def _log(self, stage: str, losses: Mapping[str, Tensor], count: int) -> None:
        named = {f"{stage}_{name}": value for name, value in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


def _schedules(optimizer: torch.optim.Optimizer, config: RunConfig, trainer: pl.Trainer) -> list[dict[str, Any]]:
    """Return the learning-rate schedules, which multiply where there are two."""
    steps = int(trainer.estimated_stepping_batches)
    schedules: list[dict[str, Any]] = []
    if config.scheduler == "one-cycle":
        rising = 0.3 if config.warmup is None else config.warmup
        one_cycle = OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=rising)
        return [{"scheduler": one_cycle, "interval": "step"}]
    if rising_steps := round((config.warmup or 0) * steps):
        warmup = LinearLR(optimizer, start_factor=1 / (rising_steps + 1), total_iters=rising_steps)
        schedules.append({"scheduler": warmup, "interval": "step"})
    if config.scheduler == "cosine":
        schedules.append({"scheduler": CosineAnnealingLR(optimizer, steps), "interval": "step"})
    if config.scheduler == "plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
        # At an epoch's last step: one of interval "epoch" would come after the resume state is kept.
        last = trainer.num_training_batches
        schedules.append({"scheduler": plateau, "interval": "step", "frequency": last, "monitor": "val_loss"})
    return schedules


def _reschedule(trainer: pl.Trainer, config: RunConfig) -> None:
    """Put the schedules where those of a training of this many steps would be by now."""
    stand_in = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=config.lr)
    schedules = [schedule["scheduler"] for schedule in _schedules(stand_in, config, trainer)]
    for _ in range(trainer.global_step):
        stand_in.step()  # without gradients: schedules only ask that it comes first
        for schedule in schedules:
            schedule.step()
    for current, schedule in zip(trainer.lr_scheduler_configs, schedules, strict=True):
        current.scheduler.load_state_dict(schedule.state_dict())
    for group, wanted in zip(trainer.optimizers[0].param_groups, stand_in.param_groups, strict=True):
        group.update(lr=wanted["lr"], betas=wanted["betas"])  # one-cycle has momentum follow, too
