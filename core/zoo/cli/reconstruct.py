"""`zoo reconstruct`: a picture of originals over reconstructions."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli.common import run_argument, waiting, with_example


@with_example("zoo reconstruct runs/mnist-mlp-1 --output grid.png")
@click.command()
@run_argument
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), default="reconstructions.png",
              show_default=True, help="The PNG file to write.")  # fmt: skip
def reconstruct(run: str, output: Path) -> None:
    """Draw test images of RUN's dataset over their reconstructions.

    RUN is a run directory or a .safetensors file.
    """
    with waiting("Reconstructing…"):
        from zoo.checkpoint import read
        from zoo.data import load_split
        from zoo.pictures import reconstruction_grid

        opened = read(run)
        images = load_split(opened.component("dataset"), opened.metadata.config.dataset.options, "test")
        reconstruction_grid(opened.build(), images, output)
    click.echo(output)
