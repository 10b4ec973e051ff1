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

from zoo.autoencoder import Autoencoder
from zoo.data import ImageDataset, to_float
from zoo.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 10
ROWS = 2
# Smaller images are enlarged by a whole factor without smoothing, until the shorter side has this many pixels
# or the longer side would have more than the most.
LEAST_SIDE = 64
MOST_SIDE = 512

_STYLE_LOCK = threading.Lock()


def reconstruction_grid(autoencoder: Autoencoder, dataset: ImageDataset, path: Path) -> None:
    """Draw originals over reconstructions.

    Args:
        autoencoder: In eval mode.
        dataset: Its first 20 images are drawn.
        path: The PNG file to write.
    """
    originals = to_float(dataset.images[: COLUMNS * ROWS])
    with torch.inference_mode():
        device = next(autoencoder.parameters()).device
        reconstructions = autoencoder.reconstruct(originals.to(device)).clamp(0, 1).cpu()
    halves = (originals, reconstructions)
    rows = [half[start : start + COLUMNS] for start in range(0, len(originals), COLUMNS) for half in halves]
    save_grid(torch.cat(rows), COLUMNS, path)


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Write images `(N, C, H, W)`, float in [0, 1], as one PNG with the given number of columns."""
    from torchvision.transforms.v2.functional import to_pil_image
    from torchvision.utils import make_grid

    shorter, longer = sorted(images.shape[-2:])
    factor = max(1, min(-(-LEAST_SIDE // shorter), MOST_SIDE // longer))
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    grid = make_grid(enlarged, nrow=min(columns, len(images)), padding=2, pad_value=0.5)
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
    import zoo.matplotlib_import  # noqa: F401

    # isort: split
    import matplotlib

    # The settings are the process's own: of two threads, the second would save and restore those of the first.
    with _STYLE_LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
