"""`zoo eval`: a checkpoint's metrics on held-out data."""

from __future__ import annotations

import dataclasses

import click

from zoo.cli.common import (
    json_option,
    metrics_text,
    print_json,
    run_argument,
    set_dataset_option,
    waiting,
    with_example,
)
from zoo.cli.completion import component_names


@with_example("zoo eval runs/mnist-mlp-1")
@click.command("eval")
@run_argument
@click.option("--dataset", metavar="NAME", shell_complete=component_names("dataset"),
              help="Another dataset of the same shape; the checkpoint's own by default.")  # fmt: skip
@set_dataset_option
@json_option
def evaluate(run: str, dataset: str | None, dataset_options: dict[str, str], as_json: bool) -> None:
    """Evaluate RUN on its dataset's test split.

    Prints MSE, PSNR (dB), and SSIM where both sides of the images are at least 11. RUN is a run directory, a
    .safetensors file or a pretrained model's name.
    """
    with waiting("Evaluating…"):
        from zoo.evaluation.metrics import evaluate as evaluate_run

        evaluation = evaluate_run(run, dataset, dataset_options)
    if as_json:
        print_json(dataclasses.asdict(evaluation))
        return
    click.echo(f"{evaluation.dataset} {evaluation.split}  {metrics_text(evaluation.metrics)}")
