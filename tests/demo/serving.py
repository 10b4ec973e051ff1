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
from zoo.contract.specs import Kind

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
MAPS: dict[str, Any] = {
    "encoder": {"name": "conv", "options": {"width": 4, "maps": True}},
    "decoder": {"name": "conv", "options": {"width": 4}},
    "objective": "vae",
    "distortion": "bernoulli",
    "dataset": "tiny",
    "latent_dim": 2,
}  # latents of (2, 4, 4)
CONDITIONAL: dict[str, Any] = TINY | {"objective": "vae", "conditional": True}
TWINS = ("0", "twin", "twin", "3")  # classes


def make_run(directory: Path, settings: dict[str, Any], **facts: Any) -> Path:
    """Write a run's checkpoint with the weights that its seed gives, as if no step of training had moved them."""
    from zoo.config import components_of
    from zoo.data.splits import facts_of, load_split
    from zoo.model.autoencoder import build
    from zoo.model.checkpoint import new_metadata, save

    config = zoo.resolve(settings)
    components, dataset = components_of(config), zoo.installed().get("dataset", config.dataset.name)
    images = load_split(dataset, {}, "train")
    data = facts_of(dataset, images, len(images))
    directory.mkdir(parents=True)
    metadata = new_metadata(config, [*components, dataset], data, epoch=1).model_copy(update=facts)
    save(directory / "model.safetensors", build(config, components, data).eval(), metadata)
    return directory


def need_patch(run: Path, kind: Kind) -> Path:
    """Let a run need a component that is not installed, `patch` of zoo-patch."""
    from zoo.model import checkpoint as checkpoints

    checkpoint = checkpoints.read(run)
    patch = checkpoints.ComponentRecord(kind=kind, name="patch", distribution="zoo-patch", version="1.0")
    components = tuple(patch if record.kind == kind else record for record in checkpoint.metadata.components)
    config = checkpoint.metadata.config
    (part,) = (part for each, part in config.parts() if each == kind)
    part = part.model_copy(update={"name": "patch", "options": {}})
    changed = {kind: (part,) if kind == "distortion" else part}
    metadata = checkpoint.metadata.model_copy(
        update={"components": components, "config": config.model_copy(update=changed)}
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
