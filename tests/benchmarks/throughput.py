"""Training throughput of the document's model on MNIST: `zoo.train` against other means."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import zoo

EPOCHS = 2  # the last one is measured


def through_zoo(batch_size: int, **settings: Any) -> tuple[float, float]:
    """Train as a user does: progress, history, validation, best weights, resume state.

    Returns:
        Images a second in an epoch from its start until its resume state is on the disk, and while
        its training steps are taken.
    """
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        run = zoo.train(
            encoder="mlp", dataset="mnist", epochs=EPOCHS, batch_size=batch_size, accelerator="cpu",
            output=Path(directory) / "run", **settings,
        )  # fmt: skip
        kept = [(run.resume_directory / f"epoch-{epoch}.safetensors").stat().st_mtime for epoch in (EPOCHS - 1, EPOCHS)]
        return 54_000 / (kept[1] - kept[0]), run.history[-1]["images_per_second"]
