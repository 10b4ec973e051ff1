"""`zoo resume`: go on with a training that was interrupted."""

from __future__ import annotations

from typing import Literal

import click

from zoo.cli.common import waiting, with_example
from zoo.cli.completion import run_directory
from zoo.cli.train import logger_option, quiet_option, report


@with_example("zoo resume runs/mnist-mlp-1", "zoo resume runs/mnist-mlp-1 --epochs 20")
@click.command()
@click.argument("run", metavar="RUN", shell_complete=run_directory)
@click.option("--epochs", metavar="N", type=int, help="Train up to this many epochs in all.")
@logger_option
@quiet_option
def resume(run: str, epochs: int | None, logger: Literal["tensorboard"] | None, quiet: bool) -> None:
    """Go on with the training of RUN where it stopped.

    The result is the one of a training that never stopped. With more --epochs, the learning rate
    goes on as in a training of that many; those of the schedules none and plateau do not depend on it.
    """
    with waiting("Loading PyTorch Lightning…"):
        from zoo.training.fit import resume as resume_run
    finished = resume_run(run, epochs=epochs, quiet=quiet, logger=logger)
    if not quiet:
        report(finished)
