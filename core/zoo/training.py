"""The LightningModule, and `train`: from settings to a run."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from zoo import checkpoint
from zoo.autoencoder import Autoencoder, build, dry_run, image_shape_of
from zoo.callbacks import Divergence, History, Interruption, KeepBest
from zoo.config import RunConfig, resolve
from zoo.data import derive_seed, evaluation_loader, load_split, split_validation, training_loader
from zoo.errors import ConfigError, MissingDependencyError, TrainingDivergedError, TrainingInterruptedError, printable
from zoo.evaluation import reconstruction_metrics
from zoo.files import write_atomically
from zoo.pictures import reconstruction_grid, training_curves
from zoo.progress import Progress
from zoo.registry import Component, installed
from zoo.runs import Run, is_first_process, new_run
from zoo.specs import KINDS, Kind

LoggerName = Literal["tensorboard"]


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
        # Lightning cannot clip the scaled gradients of 16-mixed inside a fused optimizer.
        fused = not (config.precision == "16-mixed" and config.gradient_clip)
        optimizer = torch.optim.Adam(self.parameters(), lr=config.lr, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], _schedules(optimizer, config, steps)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "train", self.current_epoch, self.global_rank))

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(derive_seed(self.config.seed, "val", self.global_rank))  # the same noise every epoch

    def _log(self, stage: str, losses: Mapping[str, Tensor], count: int) -> None:
        named = {f"{stage}_{name}": value for name, value in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


def train(
    config: RunConfig | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    logger: LoggerName | None = None,
    **settings: Any,
) -> Run:
    """Train an autoencoder and return its run.

    `train(encoder="mlp", dataset="mnist", epochs=1)` is `zoo train --encoder mlp --dataset mnist
    --epochs 1`. Options of components: `encoder={"name": "mlp", "options": {"hidden": [128]}}`.

    Args:
        config: A whole config, as `resolve` or another run gives it.
        output: The run directory; by default the first free one under `runs/`.
        quiet: Print nothing.
        logger: A second log beside metrics.csv.
        settings: Fields of `RunConfig`, over those of `config`.

    Raises:
        UsageError: A setting is wrong, the parts do not fit together, or the output is in use.
        DatasetError: The dataset's files cannot be had.
        TrainingDivergedError: The loss became NaN or infinite; the best weights so far are kept.
        TrainingInterruptedError: Ctrl-C or SIGTERM came; the best weights so far are kept.
    """
    config = resolve((config.model_dump() if config else {}) | settings)
    if logger == "tensorboard":
        _require_tensorboard()
    if not is_first_process():
        return fit(config, None, quiet=True)
    with new_run(output, config) as run:
        return fit(config, run, quiet=quiet, logger=logger)


def fit(config: RunConfig, run: Run | None, *, quiet: bool, logger: LoggerName | None = None) -> Run:
    """Train as the config says, into the run's directory; a process without one only helps to train."""
    components: dict[Kind, Component] = {kind: installed().get(kind, config.component(kind).name) for kind in KINDS}
    autoencoder = build(config, components, image_shape_of(components["dataset"]))
    dry_run(autoencoder, components)
    images = load_split(components["dataset"], config.dataset.options, "train")
    train_set, validation_set = split_validation(images, config.validation_fraction, config.seed)

    interruption = Interruption()
    callbacks: list[Callback] = [interruption, Divergence()]
    loggers: list[Logger] = []
    if run:
        blank = checkpoint.new_metadata(config, components, autoencoder.image_shape, epoch=0)
        history = History(run.metrics_file)
        callbacks += [KeepBest(run.checkpoint, autoencoder, blank), history]
        callbacks += [] if quiet else [Progress(history)]
        loggers += [_tensorboard(run.directory)] if logger == "tensorboard" else []
    if config.ema:
        callbacks.append(EMAWeightAveraging(decay=config.ema))  # after KeepBest, which keeps the average
    if config.early_stopping:
        callbacks.append(EarlyStopping("val_loss", patience=config.early_stopping))

    with interruption.watching(), _lightning_keeps_quiet(), torch.random.fork_rng():
        trainer = _trainer(config, callbacks, loggers)
        ranks = trainer.world_size, trainer.global_rank
        train_loader = training_loader(train_set, config.batch_size, config.seed, *ranks)
        validation_loader = evaluation_loader(validation_set, *ranks)
        if run:
            write_atomically(run.config_file, config.to_json().encode())
        model = LitAutoencoder(autoencoder, config)
        try:
            trainer.fit(model, train_loader, validation_loader)
        except TrainingDivergedError as error:
            raise TrainingDivergedError(f"{error} {_kept(run)}") from error
        except Exception as error:  # the stop itself, or another process that stopped a moment earlier
            if interruption.received is None:
                raise
            where = f"Stopped by {interruption.received.name} in epoch {trainer.current_epoch + 1}."
            raise TrainingInterruptedError(f"{where} {_kept(run)}", interruption.received) from error
        run = Run(Path(trainer.strategy.broadcast(str(run.directory) if run else "")))
    if trainer.is_global_zero:
        _finish(run, components["dataset"], trainer.strategy.root_device)
    return run


def _finish(run: Run, dataset: Component, device: torch.device) -> None:
    """Evaluate the best weights on the test split, note metrics and history with them, and draw the pictures."""
    best = checkpoint.read(run.checkpoint)
    autoencoder = best.build().to(device)
    test_set = load_split(dataset, best.metadata.config.dataset.options, "test")
    metrics = reconstruction_metrics(autoencoder, test_set)
    facts = {"test_metrics": metrics, "history": checkpoint.history_of(run.history)}
    checkpoint.save(run.checkpoint, autoencoder, best.metadata.model_copy(update=facts))
    reconstruction_grid(autoencoder, test_set, run.reconstructions_picture)
    training_curves(run.history, run.curves_picture)


def _trainer(config: RunConfig, callbacks: list[Callback], loggers: list[Logger]) -> pl.Trainer:
    devices, num_nodes = config.devices, config.num_nodes
    if TorchElasticEnvironment.detect():  # torchrun has decided already
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    try:
        # Lightning would only warn, and train in another precision than the config says.
        warnings.filterwarnings("error", message=".*AMP with fp16 is not supported on CPU")
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=config.strategy,
            precision=config.precision,
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip,
            accumulate_grad_batches=config.accumulate,
            callbacks=callbacks,
            logger=loggers,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError, UserWarning) as error:
        raise ConfigError(f"Lightning refuses these settings: {printable(error)}") from error


def _schedules(optimizer: torch.optim.Optimizer, config: RunConfig, steps: int) -> list[dict[str, Any]]:
    """Return the learning-rate schedules, which multiply where there are two."""
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
        schedules.append({"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"})
    return schedules


def _require_tensorboard() -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("--logger tensorboard needs TensorBoard: pip install tensorboard") from error


def _tensorboard(directory: Path) -> Logger:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(directory, name="tensorboard", version="")


def _kept(run: Run | None) -> str:
    if run and run.checkpoint.exists():
        return f"The best epoch so far is kept: zoo eval {run.directory}"
    return "No epoch was finished, so no weights are kept."


@contextlib.contextmanager
def _lightning_keeps_quiet() -> Iterator[None]:
    """Silence Lightning's banners, and its advice on choices that were made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in (".*does not have many workers", ".*LeafSpec.* is deprecated"):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
