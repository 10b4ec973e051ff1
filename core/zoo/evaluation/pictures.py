"""Pictures of a run: reconstructions and training curves, as PNG files."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.data.splits import ImageDataset, to_float
from zoo.files import write_atomically
from zoo.model.autoencoder import Autoencoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 10
FIRST_IMAGES = 20  # those of a dataset that are drawn
PADDING = 0.5  # grey level between images
# Smaller images are enlarged by a whole factor without smoothing, until the shorter side has this many pixels
# or the longer side would have more than the most.
LEAST_SIDE = 64
MOST_SIDE = 512

_STYLE_LOCK = threading.Lock()


def reconstruction_grid(autoencoder: Autoencoder, dataset: ImageDataset, path: Path) -> None:
    """Draw the first images of a dataset over their reconstructions, as `draw_reconstructions` does."""
    draw_reconstructions(autoencoder, dataset.images[:FIRST_IMAGES], path, labels=dataset.labels[:FIRST_IMAGES])


def draw_reconstructions(autoencoder: Autoencoder, images: Tensor, path: Path, *, labels: Tensor | None = None) -> None:
    """Draw images over their reconstructions.

    Args:
        autoencoder: In eval mode.
        images: uint8 `(N, C, H, W)`; ten are drawn in a row.
        path: The PNG file to write.
        labels: The dataset's, of which a conditional model is told those that it knows; None where there are none.
    """
    columns = min(COLUMNS, len(images))
    device = next(autoencoder.parameters()).device
    rows: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(images), columns):
            batch = images[start : start + columns]
            told = None if labels is None else autoencoder.labels_told(labels[start : start + columns].to(device))
            originals = to_float(batch)
            reconstructions = autoencoder.reconstruct(originals.to(device), told).clamp(0, 1).cpu()
            blank = torch.full((columns - len(batch), *images.shape[1:]), PADDING)  # the last row may be shorter
            rows += [originals, blank, reconstructions, blank]
    save_grid(torch.cat(rows), columns, path)


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Write images `(N, C, H, W)`, float in [0, 1], as one PNG with the given number of columns."""
    from torchvision.transforms.v2.functional import to_pil_image
    from torchvision.utils import make_grid

    shorter, longer = sorted(images.shape[-2:])
    factor = max(1, min(-(-LEAST_SIDE // shorter), MOST_SIDE // longer))
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    grid = make_grid(enlarged, nrow=min(columns, len(images)), padding=2, pad_value=PADDING)
    buffer = io.BytesIO()
    to_pil_image(grid).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def training_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the training and validation loss over the epochs.

    Args:
        history: A row an epoch, as `Run.history` gives them.
        path: The PNG file to write.
    """
    buffer = io.BytesIO()
    with _default_style():
        curves_figure(history).savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def curves_figure(history: Sequence[dict[str, float]]) -> Figure:
    """Return the figure that `training_curves` writes.

    It is no figure of pyplot's, so that it needs no window and no backend of the user's.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss", yscale="log")
    epochs = [row["epoch"] for row in history]
    for name, label in (("train_loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [row[name] for row in history], marker="o", markersize=3, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # one epoch has one tick
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # labels that neither overlap nor repeat
    axes.yaxis.set_major_formatter("{x:.6g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


@contextlib.contextmanager
def _default_style() -> Iterator[None]:
    """Use matplotlib's own settings in the body, not the user's: these may ask for LaTeX or absent fonts."""
    import zoo.evaluation.matplotlib_import  # noqa: F401

    # isort: split
    import matplotlib

    # The settings are the process's own: of two threads, the second would save and restore those of the first.
    with _STYLE_LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
