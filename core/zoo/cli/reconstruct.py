"""`zoo reconstruct`: a picture of originals over reconstructions."""

from __future__ import annotations

import os
from itertools import chain, count
from pathlib import Path

import click

from zoo.cli.common import run_argument, set_dataset_option, waiting, with_example
from zoo.errors import OutputError, printable, quoted


@with_example("zoo reconstruct runs/mnist-mlp-1 --output grid.png")
@click.command()
@run_argument
@set_dataset_option
@click.option("--output", metavar="FILE.png", type=click.Path(path_type=Path),
              help="The PNG file to write; one that exists is replaced. By default reconstructions.png, or, never "
                   "replacing one, the first free of reconstructions-2.png, reconstructions-3.png, …")  # fmt: skip
def reconstruct(run: str, dataset_options: dict[str, str], output: Path | None) -> None:
    """Draw test images of RUN's dataset over their reconstructions.

    RUN is a run directory, a .safetensors file or a pretrained model's name.
    """
    if output:
        _check(output)
    with waiting("Reconstructing…"):
        from zoo.checkpoint import read
        from zoo.evaluation import held_out_images
        from zoo.pictures import reconstruction_grid

        opened = read(run)
        images = held_out_images(opened, dataset_options=dataset_options)
        model = opened.build()
        output = output or _first_free()
        try:
            reconstruction_grid(model, images, output)
        except OSError as error:
            raise OutputError(
                f"Cannot write {printable(output)}: {error.strerror}. Choose another --output."
            ) from error
    click.echo(output)


def _check(output: Path) -> None:
    """Refuse, before any work, a path at which no PNG file can be written."""
    name, directory = printable(output), output.parent
    if os.path.isdir(output):  # Path.is_dir would raise where a name is too long
        raise OutputError(f"{name} is a directory: --output {quoted(output / 'reconstructions.png')}")
    if output.suffix.lower() != ".png":
        raise OutputError(f"{name} would hold a PNG picture: --output {quoted(output.with_suffix('.png'))}")
    for parent in output.parents:
        if os.path.isfile(parent):
            raise OutputError(f"{printable(parent)} is a file, not a directory: choose another --output.")
    if not os.path.isdir(directory):
        raise OutputError(f"There is no directory {printable(directory)}: mkdir -p {quoted(directory)}")


def _first_free() -> Path:
    names = chain(["reconstructions.png"], (f"reconstructions-{number}.png" for number in count(2)))
    return next(Path(name) for name in names if not os.path.lexists(name))
