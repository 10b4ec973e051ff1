"""Run directories: what one training leaves behind.

runs/mnist-mlp-1/
  config.json            the whole RunConfig; `zoo train --config` on it repeats the run
  model.safetensors      best weights on validation; self-contained
  metrics.csv            a row an epoch
  reconstructions.png    originals over reconstructions, from the test split
  curves.png             the losses over the epochs
"""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import OutputError, printable

if TYPE_CHECKING:
    from zoo.autoencoder import Autoencoder
    from zoo.config import RunConfig

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """One training and its directory."""

    directory: Path

    @property
    def checkpoint(self) -> Path:
        return self.directory / "model.safetensors"

    @property
    def config(self) -> RunConfig:
        from zoo.config import RunConfig

        return RunConfig.model_validate_json(self.config_file.read_text(encoding="utf-8"))

    @property
    def config_file(self) -> Path:
        return self.directory / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.directory / "metrics.csv"

    @property
    def reconstructions_picture(self) -> Path:
        return self.directory / "reconstructions.png"

    @property
    def curves_picture(self) -> Path:
        return self.directory / "curves.png"

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one a finished epoch."""
        with self.metrics_file.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    @property
    def test_metrics(self) -> dict[str, float] | None:
        """The test split's metrics by name; None where the run was not finished."""
        from zoo.checkpoint import read

        return read(self.checkpoint).metadata.test_metrics

    def load(self) -> Autoencoder:
        """Return the model with the best weights, in eval mode."""
        from zoo.checkpoint import load

        return load(self.checkpoint)


@contextlib.contextmanager
def new_run(output: str | os.PathLike[str] | None, config: RunConfig) -> Iterator[Run]:
    """Make the directory of a new run, and take it away again if the body fails before using it.

    Args:
        output: The directory; it may exist if it is empty. By default the first free one of
            `runs/DATASET-ENCODER-1`, `-2` and so on.
        config: Gives the default its name.

    Raises:
        OutputError: The directory is not empty, is a file, or cannot be written.
    """
    path = Path(output) if output is not None else None
    try:
        made, directory = _make(path) if path else (True, _make_numbered(config))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied", str(directory))
    except OSError as error:
        where = printable(error.filename or path)
        raise OutputError(
            f"Cannot make the run directory {where}: {error.strerror}. Choose another --output."
        ) from error
    try:
        yield Run(directory)
    except BaseException:
        if made:
            with contextlib.suppress(OSError):  # not empty: something was kept
                directory.rmdir()
        raise


def is_first_process() -> bool:
    """Say whether this is the one process of a training that writes files.

    A launcher (torchrun, Lightning's, SLURM) tells the others their rank in the environment.
    """
    rank, node, local, slurm = (os.environ.get(name) for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))
    if rank:
        return rank == "0"
    if node or local:
        return (node or "0", local or "0") == ("0", "0")
    return (slurm or "0") == "0"


def _make(path: Path) -> tuple[bool, Path]:
    if path.is_dir():
        if any(path.iterdir()):
            raise OutputError(f"{printable(path)} exists and is not empty: choose another --output.")
        return False, path
    if path.exists():
        raise OutputError(f"{printable(path)} is a file, not a directory: choose another --output.")
    path.mkdir(parents=True)
    return True, path


def _make_numbered(config: RunConfig) -> Path:
    stem = "-".join(part.name.replace(":", "-") for part in (config.dataset, config.encoder))
    RUNS.mkdir(exist_ok=True)
    for number in count(1):
        with contextlib.suppress(FileExistsError):
            directory = RUNS / f"{stem}-{number}"
            directory.mkdir()
            return directory
    raise AssertionError("unreachable")
