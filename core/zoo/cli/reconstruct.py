"""`zoo reconstruct`: a picture of originals over reconstructions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.common import run_argument, set_dataset_option, waiting, with_example
from zoo.errors import ConfigError, OutputError, printable, quoted

if TYPE_CHECKING:
    from torch import Tensor


@with_example(
    "zoo reconstruct runs/mnist-mlp-1 --output grid.png",
    "zoo reconstruct mnist-conv my.png other.jpg --output grid.png",
)
@click.command()
@run_argument
@click.argument("files", metavar="[IMAGE]...", nargs=-1, type=click.Path(path_type=Path))
@set_dataset_option
@click.option("--output", metavar="FILE.png", type=click.Path(path_type=Path),
              help="The PNG file to write; one that exists is replaced, but never an IMAGE. By default "
                   "reconstructions.png, or, never replacing one, the first free of reconstructions-2.png, "
                   "reconstructions-3.png, …")  # fmt: skip
def reconstruct(run: str, files: tuple[Path, ...], dataset_options: dict[str, str], output: Path | None) -> None:
    """Draw test images, or your own, over their reconstructions.

    RUN is a run directory, a .safetensors file or a pretrained model's name. Each IMAGE is a file of yours: PNG, JPEG,
    WEBP, GIF, BMP or TIFF. It is cropped to its middle and resized to the model's size.
    """
    if output:
        _check(output)
    if files and dataset_options:
        name = next(iter(dataset_options))
        raise ConfigError(f"--set dataset.{printable(name)}: no dataset is read where images are given. Leave it out.")
    with waiting("Reconstructing…"):
        from zoo.evaluation.metrics import held_out_images
        from zoo.evaluation.pictures import FIRST_IMAGES, draw_reconstructions
        from zoo.model.checkpoint import read

        opened = read(run)
        labels = None
        if files:
            images = _read(files, opened.metadata.image_shape)
        else:
            test_set = held_out_images(opened, dataset_options=dataset_options)
            images, labels = test_set.images[:FIRST_IMAGES], test_set.labels[:FIRST_IMAGES]
        model = opened.build()
        output = output or _first_free()
        _protect([*files, opened.path], output)
        try:
            draw_reconstructions(model, images, output, labels=labels)
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


def _read(files: Sequence[Path], image_shape: tuple[int, int, int]) -> Tensor:
    import torch

    from zoo.data.images import read_image

    return torch.stack([read_image(file, image_shape) for file in files])


def _protect(inputs: Sequence[Path], output: Path) -> None:
    """Refuse to write over a file that was read: under any spelling of its path, or through a link."""
    for path in inputs:
        with contextlib.suppress(OSError, ValueError):  # the output does not exist, as a rule
            if os.path.samefile(path, output):
                raise OutputError(f"--output {quoted(output)} would replace {printable(path)}: choose another file.")


def _first_free() -> Path:
    names = chain(["reconstructions.png"], (f"reconstructions-{number}.png" for number in count(2)))
    return next(Path(name) for name in names if not os.path.lexists(name))
