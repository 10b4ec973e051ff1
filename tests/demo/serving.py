"""The models that the demo's tests show, and the real server."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zoo
from zoo.specs import KINDS

ZOO = str(Path(sys.executable).with_name("zoo"))
ORIGIN = "http://127.0.0.1:7860"
TINY: dict[str, Any] = {"encoder": "mlp", "dataset": "tiny", "latent_dim": 3}
COLOUR: dict[str, Any] = {
    "encoder": {"name": "conv", "options": {"width": 4}},
    "decoder": {"name": "conv", "options": {"width": 4}},
    "objective": "vae",
    "dataset": "tiny-colour",
    "latent_dim": 2,
}


def make_run(directory: Path, settings: dict[str, Any], **facts: Any) -> Path:
    """Write a run's checkpoint with the weights that its seed gives, as if no step of training had moved them."""
    from zoo.autoencoder import build, image_shape_of
    from zoo.checkpoint import new_metadata, save

    config = zoo.resolve(settings)
    components = {kind: zoo.installed().get(kind, config.component(kind).name) for kind in KINDS}
    shape = image_shape_of(components["dataset"])
    directory.mkdir(parents=True)
    metadata = new_metadata(config, components, shape, epoch=1).model_copy(update=facts)
    save(directory / "model.safetensors", build(config, components, shape).eval(), metadata)
    return directory


def need_patch(run: Path, kind: str) -> Path:
    """Let a run need a component that is not installed, `patch` of zoo-patch."""
    from zoo import checkpoint as checkpoints

    checkpoint = checkpoints.read(run)
    record = checkpoints.ComponentRecord(name="patch", distribution="zoo-patch", version="1.0")
    components = checkpoint.metadata.components | {kind: record}
    config = checkpoint.metadata.config
    part = config.component(kind).model_copy(update={"name": "patch", "options": {}})
    metadata = checkpoint.metadata.model_copy(
        update={"components": components, "config": config.model_copy(update={kind: part})}
    )
    checkpoints.save(checkpoint.path, checkpoint.build(), metadata)
    return run


@contextlib.contextmanager
def start_demo(
    environment: dict[str, str], temporary: Path, *arguments: object, shell: str = "", **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `zoo demo` on a free port, and give its process and address once it is ready.

    `shell` is a command that goes before it, such as `ulimit -n 256`.
    """
    environment = environment | {"TMPDIR": str(temporary)} | variables
    environment.pop("PYTHONWARNINGS", None)  # Gradio's and Lightning's are not ours
    command = [ZOO, "demo", "--port", "0", *map(str, arguments)]
    if shell:
        command = ["sh", "-c", f'{shell}; exec "$0" "$@"', *command]
    with subprocess.Popen(
        command, env=environment, cwd=temporary, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stderr
            line = process.stdout.readline()
            ready = re.fullmatch(r"ready  (http://\S+)  \(Ctrl-C stops it\)\n", line)
            assert ready, line + process.stderr.read()
            yield process, ready[1]
        finally:
            process.kill()
