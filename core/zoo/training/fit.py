"""`train` and `resume`: from settings to a run, and on from where one stopped."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import zoo.evaluation.matplotlib_import  # noqa: F401

# isort: split
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher

from zoo.config import Components, RunConfig, components_of, flag_of, flat_settings, read_config, resolve, setting
from zoo.contract.parts import Batch
from zoo.contract.registry import Component, installed
from zoo.data.splits import (
    ImageDataset,
    batches_an_epoch,
    evaluation_loader,
    facts_of,
    load_split,
    on_device,
    split_validation,
    to_float,
    training_loader,
)
from zoo.defaults import float32_on_cpu
from zoo.errors import (
    CheckpointError,
    ConfigError,
    MissingDependencyError,
    OutputError,
    TrainingDivergedError,
    TrainingInterruptedError,
    UsageError,
    command,
    printable,
)
from zoo.evaluation.metrics import metrics_of
from zoo.evaluation.pictures import reconstruction_grid, training_curves
from zoo.files import write_atomically
from zoo.model import checkpoint
from zoo.model.autoencoder import Autoencoder, build, dry_run, lay_channels_last, loss_columns
from zoo.training import resume_state
from zoo.training.callbacks import Divergence, History, Interruption, KeepBest, KeepLast, KeepState, MovingAverage
from zoo.training.compilation import compile_failure
from zoo.training.launchers import devices_and_nodes, require_agreement
from zoo.training.lightning_module import LitAutoencoder
from zoo.training.progress import Progress
from zoo.training.resume_state import ResumeState, SafetensorsIO
from zoo.training.runs import Run, begun_run, new_run
from zoo.training.threads import Threads, restored_threads

LoggerName = Literal["tensorboard"]

_log = logging.getLogger("zoo")
_training = threading.Lock()  # held by the training of this process


def train(
    config: RunConfig | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
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
        resume: Go on with the run in `output` where it stopped; where none was begun, begin it.
        quiet: Print nothing.
        logger: A second log beside metrics.csv.
        settings: Fields of `RunConfig`, over those of `config`.

    Raises:
        UsageError: A setting is wrong or not that of the begun run, the parts do not fit together,
            or the output is in use.
        DatasetError: The dataset's files are unavailable.
        CheckpointError: What the training should go on from is damaged.
        TrainingDivergedError: The loss became NaN or infinite; the best weights so far are kept.
        TrainingInterruptedError: Ctrl-C or SIGTERM came; `resume` goes on.
    """
    config = resolve((config.model_dump() if config else {}) | settings)
    if logger == "tensorboard":
        _require_tensorboard()
    if resume:
        if output is None:
            raise UsageError("Going on with a run needs its directory: --output DIR.")
        return _go_on(config, Path(output), quiet=quiet, logger=logger)
    with _only_training(), new_run(output, config) if _is_first(config) else contextlib.nullcontext() as run:
        return fit(config, run, None, quiet=quiet, logger=logger)


def resume(
    run: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    quiet: bool = False,
    logger: LoggerName | None = None,
) -> Run:
    """Go on with a run where it stopped, as if it never had: `zoo resume RUN`.

    Args:
        run: The run directory.
        epochs: Train up to this many epochs in all, where that is more than the run was to have.
            From there on the learning rate is what it would be in a run of that many epochs.
        quiet: Print nothing.
        logger: A second log beside metrics.csv.

    Raises:
        As `train`.
    """
    directory = Path(run)
    if not (directory / "config.json").is_file():
        raise OutputError(f"{printable(directory)} is not the directory of a run: it holds no config.json.")
    settings = read_config(directory / "config.json")
    if epochs is not None:
        settings["epochs"] = epochs
    return _go_on(resolve(settings), directory, quiet=quiet, logger=logger)


@float32_on_cpu()
def fit(
    config: RunConfig, run: Run | None, state: ResumeState | None, *, quiet: bool, logger: LoggerName | None = None
) -> Run:
    """Train as the config says, into the run's directory; a process without one only helps to train."""
    components = components_of(config)
    dataset = installed().get("dataset", config.dataset.name)
    images = load_split(dataset, config.dataset.options, "train")
    train_indices, validation_indices = split_validation(len(images), config.validation_fraction, config.seed)
    # Used only after the training, but damaged files are better heard of now.
    test_set = load_split(dataset, config.dataset.options, "test")
    autoencoder = build(config, components, facts_of(dataset, images, len(train_indices)))
    dry_run(autoencoder, components)
    if state and autoencoder.frozen_weights:  # a resume state leaves them out
        _restore_frozen(autoencoder, Run(state.path.parents[1]))
    probe = Batch(to_float(images.images[:4]), images.labels[:4], torch.ones(()))
    columns = loss_columns(autoencoder, probe)
    _require_column(config, columns)
    epoch = state.facts.epoch if state else 0

    interruption = Interruption(f"To go on: {command('zoo', 'resume', run.directory)}" if run else "")
    callbacks = [
        interruption,
        Divergence(config.monitor),
        *_callbacks(config, run, epoch, [*components, dataset], autoencoder, columns=columns, quiet=quiet),
    ]
    loggers = [_tensorboard(run.directory)] if run and logger == "tensorboard" else []

    with interruption.watching(), _lightning_keeps_quiet(), torch.random.fork_rng(), restored_threads():
        trainer = _trainer(config, callbacks, loggers)
        device = trainer.strategy.root_device
        if device.type in ("cpu", "cuda"):
            lay_channels_last(autoencoder, components)
        images = on_device(images, device)
        share = {"world_size": trainer.world_size, "rank": trainer.global_rank}
        train_loader = training_loader(images, train_indices, config.batch_size, config.seed, **share)
        validation_loader = evaluation_loader(images, validation_indices, **share)
        batch_size = config.batch_size // trainer.world_size
        if min(batch_size, len(train_indices) // trainer.world_size) == 1:
            _require_trains_on_one(autoencoder, components, trainer.world_size)
        batches = batches_an_epoch(train_loader, batch_size)
        model = LitAutoencoder(autoencoder, config, batches)
        if run:
            write_atomically(run.config_file, config.to_json().encode())
        try:
            trainer.fit(model, train_loader, validation_loader, ckpt_path=state.path if state else None)
        except TrainingDivergedError as error:
            raise TrainingDivergedError(f"{error} {_kept(run)}") from error
        except Exception as error:  # the stop itself, or another process that stopped a moment earlier
            if config.compile and (failure := compile_failure(error)):
                raise failure from error
            if interruption.received is None:
                raise
            where = f"Stopped by {interruption.received.name} in epoch {trainer.current_epoch + 1}."
            raise TrainingInterruptedError(f"{where} {interruption.advice}", interruption.received) from error
        directory = Path(trainer.strategy.broadcast(str(run.directory) if run else ""))  # the first process has it
        if run:
            _finish(run, config, test_set, device)
    return Run(directory)


def _go_on(config: RunConfig, directory: Path, *, quiet: bool, logger: LoggerName | None) -> Run:
    """Go on with the run in a directory; where none was begun, begin it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_training())
        first = _is_first(config)
        run = stack.enter_context(begun_run(directory)) if first else Run(directory)
        if run.config_file.exists():
            _require_same_settings(config, run)
        state = resume_state.latest(run.resume_directory)
        if state and _is_finished(run, config, state):
            if first and not quiet:
                print(_finished(run, config, state))
            return run
        if state and first and not quiet:
            print(f"goes on after epoch {state.facts.epoch}/{config.epochs}")
        return fit(config, run if first else None, state, quiet=quiet, logger=logger)


def _is_finished(run: Run, config: RunConfig, state: ResumeState) -> bool:
    """Say whether all is trained, tested and drawn, for as many epochs as are asked for."""
    if not state.facts.is_over(config.epochs):
        return False
    best = checkpoint.read(run.checkpoint).metadata
    return best.config == config and best.test_metrics is not None


def _finished(run: Run, config: RunConfig, state: ResumeState) -> str:
    name, epoch = printable(run.directory), state.facts.epoch
    how = f"it stopped early after epoch {epoch}" if epoch < config.epochs else "all its epochs are trained"
    train_on = command("zoo", "resume", run.directory, "--epochs", 2 * config.epochs)
    return f"{name} is finished: {how}. To train on: {train_on}"


def _require_same_settings(config: RunConfig, run: Run) -> None:
    """Refuse settings that are not those of a begun run; more epochs or another number of threads are welcome.

    Raises:
        ConfigError: Some differ.
        UsageError: The run's config cannot be read.
    """
    begun = flat_settings(resolve(read_config(run.config_file)).model_dump(mode="json"))
    wanted = flat_settings(config.model_dump(mode="json"))
    begun |= {"epochs": max(begun["epochs"], wanted["epochs"]), "threads": wanted["threads"]}
    differing = [name for name in begun.keys() & wanted.keys() if begun[name] != wanted[name]]
    if differing:
        settings = "; ".join(f"{name}={begun[name]}, not {wanted[name]}" for name in sorted(differing))
        raise ConfigError(
            f"{printable(run.directory)} was begun with {printable(settings, 400)}. "
            "Only more --epochs and other --threads can be asked for; for other settings choose another --output."
        )


def _restore_frozen(autoencoder: Autoencoder, run: Run) -> None:
    """Take the weights that are not trained from the run's checkpoint.

    Raises:
        CheckpointError: It is damaged, or lacks one.
    """
    kept = checkpoint.read(run.checkpoint).tensors
    for name, weight in autoencoder.frozen_weights.items():
        if name not in kept or kept[name].shape != weight.shape:
            raise CheckpointError(f"{printable(run.checkpoint)} lacks the weight '{printable(name)}'.")
        weight.data.copy_(kept[name])


def _require_column(config: RunConfig, columns: Sequence[str]) -> None:
    """Refuse to monitor what validation will not give.

    Raises:
        ConfigError: There is no such column.
    """
    known = [name for name in columns if name.startswith("val_")]
    if config.monitor not in known:
        raise ConfigError(
            f"{setting('monitor')}: '{printable(config.monitor)}' is no validation column of metrics.csv; "
            f"choose one of {', '.join(known)}."
        )


def _callbacks(
    config: RunConfig,
    run: Run | None,
    epoch: int,
    components: Sequence[Component],
    autoencoder: Autoencoder,
    *,
    columns: Sequence[str],
    quiet: bool,
) -> list[Callback]:
    """Return what watches a training, in the order in which it is told of things."""
    callbacks: list[Callback] = [Threads(watched=run is not None)]
    if run:
        resume_state.prune(run.resume_directory)
        blank = checkpoint.new_metadata(config, components, autoencoder.data, epoch=0)
        history = History(run.metrics_file, epoch, columns)
        keep = KeepBest if config.keep == "best" else KeepLast
        callbacks += [keep(run.checkpoint, autoencoder, blank), history]
    if config.ema:
        callbacks.append(MovingAverage(config.ema))  # after the checkpoint is written, which keeps the average
    if config.early_stopping:
        callbacks.append(EarlyStopping(config.monitor, patience=config.early_stopping))
    versions = {component.plugin.distribution: component.plugin.version for component in components}
    callbacks.append(KeepState(run.resume_directory if run else None, versions, epoch))
    if run and not quiet:
        callbacks.append(Progress(history))
    return callbacks


def _finish(run: Run, config: RunConfig, test_set: ImageDataset, device: torch.device) -> None:
    """Evaluate the best weights on the test split, draw the pictures, and note metrics and history with the weights.

    The metrics come last: a run that has them is finished.
    """
    best = checkpoint.read(run.checkpoint)
    autoencoder = best.build().to(device)
    metrics = metrics_of(autoencoder, test_set)
    with _a_picture_is_optional(run.reconstructions_picture):
        reconstruction_grid(autoencoder, test_set, run.reconstructions_picture)
    with _a_picture_is_optional(run.curves_picture):
        training_curves(run.history, run.curves_picture)
    facts = {"config": config, "test_metrics": metrics, "history": checkpoint.history_of(run.history)}
    checkpoint.save(run.checkpoint, autoencoder, best.metadata.model_copy(update=facts))


@contextlib.contextmanager
def _a_picture_is_optional(path: Path) -> Iterator[None]:
    """Turn an exception into a warning: a trained model must not be lost to a picture that cannot be drawn."""
    try:
        yield
    except Exception as error:
        why = printable(" ".join(f"{type(error).__name__}: {error}".split())).rstrip(".")
        _log.warning("zoo: Cannot draw %s (%s). The run is complete without it.", printable(path), why)


def _trainer(config: RunConfig, callbacks: list[Callback], loggers: list[Logger]) -> pl.Trainer:
    devices, num_nodes = devices_and_nodes(config)
    try:
        # Lightning would only warn, and train in another precision than the config says.
        warnings.filterwarnings("error", message=".*AMP with fp16 is not supported on CPU")
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=config.strategy,
            precision=config.precision,
            max_epochs=config.epochs,
            callbacks=callbacks,
            logger=loggers,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[SafetensorsIO()],
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,  # gradient penalties need gradients in validation, too
        )
    except KeyError as error:
        raise UsageError(f"The launcher has not set {printable(error)} in the environment.") from error
    except (MisconfigurationException, ValueError, RuntimeError, UserWarning) as error:
        raise ConfigError(f"Lightning refuses these settings: {printable(error)}") from error
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):  # it would have to take the steps itself
        raise ConfigError(f"{setting('strategy')}: '{printable(config.strategy)}' is none of auto, ddp and ddp's kin.")
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):  # its processes begin when all is made
        raise ConfigError(f"{setting('strategy')}: processes that are forked or spawned cannot train: --strategy ddp")
    require_agreement(trainer)
    return trainer


def _is_first(config: RunConfig) -> bool:
    """Say whether this is the process of the training that writes files, as the trainer counts.

    Raises:
        UsageError: Lightning refuses the settings, or the environment contradicts them.
    """
    with _lightning_keeps_quiet():
        return bool(_trainer(config, [], []).is_global_zero)


@contextlib.contextmanager
def _only_training() -> Iterator[None]:
    """Refuse a second training in this process: both would draw from one random state, and neither be repeatable.

    Raises:
        UsageError: Another thread is training, or this training was begun by a part of another.
    """
    if not _training.acquire(blocking=False):
        raise UsageError(
            "This process is training already, and its random state is one training's: wait until that ends, or "
            "train in a process of its own, e.g. with multiprocessing or zoo train."
        )
    try:
        yield
    finally:
        _training.release()


def _require_trains_on_one(autoencoder: Autoencoder, components: Components, processes: int) -> None:
    """Refuse batches of one image where a component cannot train on them, as with batch normalisation.

    Raises:
        ConfigError: The encoder or decoder raises `ValueError`, as torch's own layers do, or the objective
            declares that its loss depends on the batch as a whole.
    """
    least = flag_of("batch_size") + f" {2 * processes} or more"
    if autoencoder.objective.batch_statistics:
        raise ConfigError(
            f"{setting('batch_size')}: {components.objective} compares the images of a batch, "
            f"so it cannot train on batches of one image: {least}."
        )
    module, inputs = copy.deepcopy(autoencoder).train(), torch.zeros(1, *autoencoder.image_shape)
    running = components.encoder
    try:
        with torch.no_grad():
            latents = module.objective.latents(module.encoder(inputs))
            running = components.decoder
            module.parts().decode(latents)
    except ValueError as error:
        raise ConfigError(
            f"{setting('batch_size')}: {running} cannot train on batches of one image ({printable(error)}): {least}."
        ) from error


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
        return f"The {run.config.keep} epoch so far is kept: {command('zoo', 'eval', run.directory)}"
    return "No epoch was finished, so no weights are kept."


@contextlib.contextmanager
def _lightning_keeps_quiet() -> Iterator[None]:
    """Silence Lightning's banners, its advice on choices that were made here on purpose, and the compiler's on CUDA."""
    names = ("pytorch_lightning", "lightning_fabric", "torch.utils.cpp_extension")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            advice = (
                ".*does not have many workers",
                ".*LeafSpec.* is deprecated",
                r"Found \d+ module\(s\) in eval mode",  # a frozen backbone keeps its statistics so
                "Detected call of `lr_scheduler.step",  # the steps before it were not taken by `optimizer.step`
            )
            for message in advice:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
