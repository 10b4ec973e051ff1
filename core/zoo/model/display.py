"""What Python and notebooks show of a run and of a model: a line of text, and HTML that needs no other file.

Every text from a file is escaped. Nothing here raises: what is missing or damaged is said in its place.
"""

from __future__ import annotations

import base64
import html
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import printable
from zoo.files import open_regular

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.model.autoencoder import Autoencoder
    from zoo.model.checkpoint import Metadata
    from zoo.training.runs import Run

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PICTURE_BYTES = 8 * 2**20  # a notebook that is saved holds the picture
MAX_POINTS = 500  # A curve has at most this many points.

WIDTH, HEIGHT = 420, 220  # The picture of the curves with its margins, in pixels.
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 26, 34
LINES = (("train_loss", "training", "#1f77b4"), ("val_loss", "validation", "#ff7f0e"))


def run_text(run: Run) -> str:
    """Return one line about a run from its small files: `Run('runs/mnist-mlp-1': mlp with ae on mnist, epoch 3/10)`."""
    return f"Run('{printable(run.directory)}': {_attempt(lambda: _progress_text(run), 'damaged')})"


def run_html(run: Run) -> str:
    """Return a run's state, settings, test metrics, losses and reconstructions as HTML."""
    state, metadata = _state(run)
    parts = [
        f"<p><b>Run</b> <code>{_text(run.directory)}</code>: {_text(state)}</p>",
        _attempt(lambda: f"<p>{_settings(metadata.config if metadata else run.config)}</p>", ""),
        _metrics(metadata),
        _attempt(lambda: curves_svg(run.history) if run.metrics_file.exists() else "", "the losses cannot be read"),
        _attempt(lambda: _picture(run.reconstructions_picture), ""),
    ]
    return _block(parts)


def model_text(autoencoder: Autoencoder) -> str:
    """Return one line about a model: the shape of its images, the size of its latent, its weights and metrics."""
    weights = list(autoencoder.parameters())
    facts = [
        f"image_shape={autoencoder.image_shape}",
        f"latent_dim={autoencoder.latent_dim}",
        f"{sum(weight.numel() for weight in weights):,} weights",
    ]
    metadata = autoencoder.metadata
    if metadata and metadata.test_metrics:
        facts += [f"{name} {value}" for name, value in _formatted(metadata.test_metrics)]
    return ", ".join(facts)


def model_html(autoencoder: Autoencoder) -> str:
    """Return a model's parts, and of one that was opened its test metrics, losses and reconstructions, as HTML."""
    metadata, file = autoencoder.metadata, autoencoder.file
    opened = f" from <code>{_text(file)}</code>" if file else ""
    layers = _attempt(lambda: repr(autoencoder), "its layers cannot be shown")
    parts = [
        f"<p><b>Autoencoder</b>{opened}</p>",
        _attempt(lambda: f"<p>{_settings(metadata.config)}</p>" if metadata else "", ""),
        _attempt(lambda: _parts_table(autoencoder), "its parts cannot be shown"),
        _metrics(metadata),
        _attempt(lambda: curves_svg([record.row for record in (metadata and metadata.history) or ()]), ""),
        _attempt(lambda: _picture(file.with_name("reconstructions.png")) if file else "", ""),
        f"<details><summary>Layers</summary><pre>{html.escape(layers)}</pre></details>",
    ]
    return _block(parts)


def curves_svg(history: Sequence[Mapping[str, float]]) -> str:
    """Return the training and validation loss over the epochs as SVG; nothing where no epoch is finished.

    Args:
        history: A row an epoch, as `Run.history` gives them. Losses are drawn on a logarithmic scale; those that are
            not finite and above zero are left out.
    """
    rows = history[:: max(1, math.ceil(len(history) / MAX_POINTS))]
    curves = [
        [(row["epoch"], row[name]) for row in rows if math.isfinite(row[name]) and row[name] > 0]
        for name, _, _ in LINES
    ]
    points = [point for curve in curves for point in curve]
    if not points:
        return ""
    first, last = min(epoch for epoch, _ in points), max(epoch for epoch, _ in points)
    lowest, highest = min(loss for _, loss in points), max(loss for _, loss in points)

    def across(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (_share(epoch, first, last))

    def down(loss: float) -> float:
        share = _share(math.log(loss), math.log(lowest), math.log(highest))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    drawn = []
    for (_, label, colour), curve, start in zip(LINES, curves, (LEFT, LEFT + 90), strict=True):
        places = " ".join(f"{across(epoch):.1f},{down(loss):.1f}" for epoch, loss in curve)
        drawn += [
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            *(f'<circle cx="{across(e):.1f}" cy="{down(v):.1f}" r="2" fill="{colour}"/>' for e, v in curve),
            f'<text x="{start}" y="14" fill="{colour}">{label}</text>',
        ]
    bottom, middle = HEIGHT - BOTTOM, math.sqrt(lowest * highest)
    ticks = [f'<text x="{LEFT - 6}" y="{down(v) + 4:.1f}" text-anchor="end">{v:.3g}</text>' for v in
             dict.fromkeys((lowest, middle, highest))]  # fmt: skip
    ticks += [f'<text x="{across(e):.1f}" y="{bottom + 16}" text-anchor="middle">{e:g}</text>' for e in
              dict.fromkeys((first, last))]  # fmt: skip
    frame = f'<path d="M{LEFT},{TOP} V{bottom} H{WIDTH - RIGHT}" fill="none" stroke="currentColor"/>'
    axis = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 28}" text-anchor="middle">epoch</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-label="loss over the epochs" font-family="sans-serif" font-size="11" fill="currentColor">'
        f"{frame}{''.join(ticks)}{axis}{''.join(drawn)}</svg>"
    )


def _share(value: float, lowest: float, highest: float) -> float:
    """Return how far a value is on its way from the lowest to the highest, half where they are the same."""
    return (value - lowest) / (highest - lowest) if highest > lowest else 0.5


def _state(run: Run) -> tuple[str, Metadata | None]:
    """Return what there is of a run, and what its checkpoint says if it can be read."""
    from zoo.model import checkpoint

    if not run.directory.is_dir():
        return "there is no such directory", None
    epochs = _attempt(lambda: f"{len(run.history)} of {run.config.epochs} epochs are trained", "")
    command = shlex.join(["zoo", "resume", str(run.directory)])
    unfinished = f"unfinished{': ' if epochs else ''}{epochs}. To go on: {command}"
    if not run.checkpoint.exists():
        return unfinished if run.config_file.exists() else "it is no run directory", None
    try:
        metadata = checkpoint.read(run.checkpoint).metadata
        finished = metadata.test_metrics is not None and (not run.config_file.exists() or run.config == metadata.config)
    except Exception as error:  # whatever is wrong with its files
        return f"damaged: {error}", None
    return (f"finished; the weights are those of epoch {metadata.epoch}" if finished else unfinished), metadata


def _progress_text(run: Run) -> str:
    if not run.config_file.exists():
        return "no run was begun"
    config = run.config
    names = f"{config.encoder.name} with {config.objective.name} on {config.dataset.name}"
    rows = run.history if run.metrics_file.exists() else []
    text = f"{names}, epoch {len(rows)}/{config.epochs}"
    return printable(f"{text}, val loss {rows[-1]['val_loss']:.5f}" if rows else text)


def _settings(config: RunConfig) -> str:
    names = f"{config.encoder.name} → {config.objective.name} → {config.decoder.name}, dataset {config.dataset.name}"
    return _text(f"{names}, latent_dim {config.latent_dim}, {config.epochs} epochs, seed {config.seed}")


def _metrics(metadata: Metadata | None) -> str:
    if metadata is None or not metadata.test_metrics:
        return ""
    return _table([(f"test {name}", value) for name, value in _formatted(metadata.test_metrics)])


def _formatted(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    from zoo.contract.registry import installed

    return [(printable(name, 80), installed().metric_text(name, value)) for name, value in metrics.items()]


def _parts_table(autoencoder: Autoencoder) -> str:
    rows = []
    for kind in ("encoder", "objective", "decoder"):
        part = getattr(autoencoder, kind)
        weights = sum(weight.numel() for weight in part.parameters())
        rows.append((kind, f"{type(part).__name__}, {weights:,} weights"))
    shape = "×".join(map(str, autoencoder.image_shape))
    return _table([("images", shape), ("latent_dim", str(autoencoder.latent_dim)), *rows])


def _picture(path: Path) -> str:
    """Return a PNG file as an image that is part of the HTML; nothing where there is none."""
    if not path.exists():
        return ""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_PICTURE_BYTES + 1)
    except (OSError, ValueError) as error:
        return f"<p>{_text(path.name)} cannot be read: {_text(error)}</p>"
    if not content.startswith(PNG_SIGNATURE) or len(content) > MAX_PICTURE_BYTES:
        return f"<p>{_text(path.name)} is no PNG file of at most {MAX_PICTURE_BYTES // 2**20} MiB.</p>"
    data = base64.b64encode(content).decode("ascii")
    return f'<p><img alt="originals over reconstructions" src="data:image/png;base64,{data}"></p>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _block(parts: Sequence[str]) -> str:
    return f"<div>{''.join(parts)}</div>"


def _text(value: object) -> str:
    return html.escape(printable(value, 400))


def _attempt(shown: Callable[[], str], otherwise: str) -> str:
    """Return what a function gives, or something else where it fails on a file that is damaged or half written."""
    try:
        return shown()
    except Exception:
        return otherwise
