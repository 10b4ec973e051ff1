"""The LightningModule: what is trained, with its optimizer and its learning-rate schedules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    OneCycleLR,
    ReduceLROnPlateau,
)

from zoo.config import RunConfig
from zoo.contract.distortion import Distortion
from zoo.contract.objective import Objective
from zoo.contract.parts import Batch
from zoo.data.splits import EVALUATION_BATCH_SIZE, Span, derive_seed
from zoo.model.autoencoder import Autoencoder, Losses, adversary_weights
from zoo.training.callbacks import BatchCallback
from zoo.training.processes import sum_over_processes
from zoo.training.resume_state import require_fit
from zoo.training.step import AdversarialStep, CompiledStep, Step, keep_freed_memory

START_IMAGES = 4096  # that `start` is given
STATES = {"state_dict", "current_model_state"}  # weights in what Lightning keeps


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
        self.steps = config.epochs * math.ceil(batches / config.accumulate)  # planned optimizer steps
        self.steps_before: int | None = None  # planned steps of the run that is resumed
        self.taken = 0  # optimizer steps taken
        self.batch = 0  # finished batches of the epoch
        self.trained, self.validated = Means(), Means()
        self.logged: set[str] = set()  # names of the epoch's losses
        self.progress: Tensor
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    def training_step(self, span: Span, batch_idx: int) -> dict[str, Any]:
        trainer = self.trainer
        losses, counts = [], []
        for images, labels in span.batches(self.config.batch_size // trainer.world_size, self.device):
            self.batch += 1
            self.progress.fill_(self.taken / self.steps)
            update = self.batch % self.config.accumulate == 0 or self.batch == self.batches
            losses.append(self.step(Batch(images, labels, self.progress), update=update))
            counts.append(len(images))
            if update:
                self._count_step()
            for watcher in self.watchers:
                watcher.on_batch_end(trainer, self, losses[-1]["loss"], len(images))
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # where loggers draw the losses
        minimised = self.trained.add(losses, counts)
        if self.batch == self.batches:
            self._log("train", self.trained.take())
        return {"losses": minimised, "batch": self.batch}

    def validation_step(self, span: Span, batch_idx: int) -> None:
        batches = span.batches(EVALUATION_BATCH_SIZE, self.device)
        finished = torch.ones((), device=self.device)
        losses, counts = zip(
            *((self.autoencoder.losses(Batch(*batch, finished)), len(batch[0])) for batch in batches), strict=True
        )
        self.autoencoder.clear_tallies()
        self.validated.add(losses, counts)
        if batch_idx + 1 == self.trainer.num_val_batches[0]:
            self._log("val", self.validated.take())

    def configure_optimizers(self) -> Any:
        optimizer = _optimizer(self.autoencoder.players[0], self.config)
        optimizers = [optimizer]
        if owners := self.autoencoder.adversary_owners:
            optimizers.append(_adversary_optimizer(owners, self.config))
        return optimizers, _schedules(optimizer, self.config, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps"] = self.steps
        for part in STATES & checkpoint.keys():  # frozen weights do not change: the run's checkpoint has them
            frozen = {f"autoencoder.{name}" for name in self.autoencoder.frozen_weights}
            checkpoint[part] = {name: value for name, value in checkpoint[part].items() if name not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        frozen = {f"autoencoder.{name}": weight.data for name, weight in self.autoencoder.frozen_weights.items()}
        for part in STATES & checkpoint.keys():
            checkpoint[part] = checkpoint[part] | frozen
        require_fit(checkpoint, self, self.autoencoder.players)
        self.steps_before = checkpoint["steps"]

    def on_train_start(self) -> None:
        schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        optimizer, *adversary_optimizers = self.trainer.optimizers
        if self.steps_before not in (None, self.steps) and self.config.scheduler != "plateau":
            _reschedule(schedules, optimizer, self.config, self.steps, self.trainer.global_step)
        self.plateaus = [each for each in schedules if isinstance(each, ReduceLROnPlateau)]
        self.schedules = [each for each in schedules if each not in self.plateaus]
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        self.watchers = [each for each in callbacks if isinstance(each, BatchCallback)]
        self.taken = self.trainer.global_step
        if self.taken == 0 and self.autoencoder.starts:
            self._start()
        self.step = self._step_with(optimizer, *adversary_optimizers)
        keep_freed_memory()

    def on_train_epoch_start(self) -> None:
        self.batch = 0
        self.logged = set()
        torch.manual_seed(derive_seed(self.config.seed, "train", self.current_epoch, self.global_rank))

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "val", self.global_rank))  # the same noise every epoch

    def on_validation_epoch_end(self) -> None:
        for plateau in self.plateaus:
            plateau.step(float(self.trainer.callback_metrics[self.config.monitor]))

    def _start(self) -> None:
        """Let the parts prepare for a new training; what the first process makes of its batch counts for all."""
        loader = self.trainer.train_dataloader
        assert loader is not None
        torch.manual_seed(derive_seed(self.config.seed, "start"))
        with torch.no_grad():
            span = loader.dataset[loader.sampler.first(START_IMAGES)]
            images, labels = next(iter(span.batches(START_IMAGES, self.device)))
            self.autoencoder.start(Batch(images, labels, self.progress))
            if self.trainer.world_size > 1:
                for tensor in self.autoencoder.state_dict().values():
                    torch.distributed.broadcast(tensor, src=0)

    def _step_with(
        self, optimizer: torch.optim.Optimizer, adversary_optimizer: torch.optim.Optimizer | None = None
    ) -> Step:
        config, autoencoder, world_size = self.config, self.autoencoder, self.trainer.world_size
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        alone = world_size == config.accumulate == 1 and scaler is None and adversary_optimizer is None
        if config.compile and alone and config.optimizer == "adam" and not config.weight_decay:
            assert isinstance(optimizer, torch.optim.Adam)
            return CompiledStep(autoencoder, optimizer, config.batch_size, gradient_clip=config.gradient_clip)
        together = None
        if world_size > 1:
            assert isinstance(self.trainer.strategy, ParallelStrategy)
            like = [*itertools.chain(*autoencoder.players), *autoencoder.tallies]
            together = sum_over_processes(self.trainer.strategy, like, machines=self.trainer.num_nodes)
        settings: dict[str, Any] = {
            "batches": config.accumulate * world_size,
            "gradient_clip": config.gradient_clip,
            "together": together,
            "scaler": scaler,
        }
        if adversary_optimizer is not None:
            of_both = torch.compile(autoencoder.losses_of_both) if config.compile else None
            return AdversarialStep(autoencoder, optimizer, adversary_optimizer, of_both, **settings)
        losses = torch.compile(autoencoder.losses) if config.compile else None
        return Step(autoencoder, optimizer, losses, **settings)

    def _count_step(self) -> None:
        """Tell Lightning and the schedules of a step of the optimizer."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()
        self.taken += 1
        for schedule in self.schedules:
            schedule.step()

    def _log(self, stage: str, losses: dict[str, float]) -> None:
        named = {f"{stage}_{name}": value for name, value in losses.items()}
        self.logged |= named.keys()
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)


class Means:
    """Means over an epoch's images, of losses that are given batch by batch, however many at once.

    A loss that begins within the epoch, as an adversary's may, counts from there on; one that ends, until there.
    """

    def __init__(self) -> None:
        self._losses: dict[str, list[Tensor]] = {}
        self._counts: dict[str, list[int]] = {}

    def add(self, losses: Sequence[Losses], counts: Sequence[int]) -> Tensor:
        """Add the losses of batches with their numbers of images, and return the values of `loss`, `(len(losses),)`."""
        for name in dict.fromkeys(name for each in losses for name in each):
            theirs = [(each[name], count) for each, count in zip(losses, counts, strict=True) if name in each]
            self._losses.setdefault(name, []).append(torch.stack([value for value, _ in theirs]))
            self._counts.setdefault(name, []).extend(count for _, count in theirs)
        return self._losses["loss"][-1]

    def take(self) -> dict[str, float]:
        """Return the means by name, and begin anew."""
        means = {}
        for name, values in self._losses.items():
            counts = torch.tensor(self._counts[name], dtype=torch.float64)
            means[name] = float(torch.cat(values).cpu().double() @ counts / counts.sum())
        self._losses, self._counts = {}, {}
        return means


def _optimizer(weights: Sequence[nn.Parameter], config: RunConfig) -> torch.optim.Optimizer:
    """Return the optimizer of the autoencoder's own weights."""
    if config.optimizer == "sgd":
        momentum = config.betas[0]
        return torch.optim.SGD(weights, lr=config.lr, momentum=momentum, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def _adversary_optimizer(owners: Sequence[Objective | Distortion], config: RunConfig) -> torch.optim.Optimizer:
    """Return the optimizer of the adversaries: a group for each, its rate constant."""
    groups = [
        {
            "params": adversary_weights(owner),
            "lr": config.adversary_lr or owner.adversary_lr,
            "betas": config.adversary_betas or owner.adversary_betas,
        }
        for owner in owners
    ]
    return torch.optim.Adam(groups, fused=True)


def _schedules(optimizer: torch.optim.Optimizer, config: RunConfig, steps: int) -> list[LRScheduler]:
    """Return the learning-rate schedules of a training with `steps` steps; where there are two, they multiply."""
    if config.scheduler == "one-cycle":
        rising = 0.3 if config.warmup is None else config.warmup
        return [OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=rising)]
    schedules: list[LRScheduler] = []
    if rising_steps := round((config.warmup or 0) * steps):
        schedules.append(LinearLR(optimizer, start_factor=1 / (rising_steps + 1), total_iters=rising_steps))
    if config.scheduler == "cosine":
        schedules.append(CosineAnnealingLR(optimizer, steps))
    if config.scheduler == "multi-step":
        milestones = [epoch * steps // config.epochs for epoch in config.milestones]
        # As MultiStepLR, whose state is a Counter, which a resume state cannot hold.
        schedules.append(MultiplicativeLR(optimizer, lambda step: config.factor ** milestones.count(step)))
    if config.scheduler == "plateau":
        schedules.append(ReduceLROnPlateau(optimizer, factor=0.5, patience=2))
    return schedules


def _reschedule(
    schedules: list[LRScheduler], optimizer: torch.optim.Optimizer, config: RunConfig, steps: int, step: int
) -> None:
    """Advance the schedules to `step` of a training with `steps` steps."""
    stand_in = _optimizer([nn.Parameter(torch.zeros(1))], config)
    wanted = _schedules(stand_in, config, steps)
    for _ in range(step):
        stand_in.step()  # without gradients: schedules only ask that it comes first
        for schedule in wanted:
            schedule.step()
    for schedule, other in zip(schedules, wanted, strict=True):
        schedule.load_state_dict(other.state_dict())
    for group, other_group in zip(optimizer.param_groups, stand_in.param_groups, strict=True):
        moving = ("lr", "betas", "momentum")  # one-cycle has momentum follow, too
        group.update({name: other_group[name] for name in moving if name in other_group})
