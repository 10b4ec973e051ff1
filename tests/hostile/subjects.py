"""The good checkpoints that mutations start from, and the plugin whose component one of them needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo import DataFacts
from zoo.config import components_of
from zoo.contract.registry import installed
from zoo.model import checkpoint
from zoo.model.autoencoder import build

HERE = Path(__file__).parent
METADATA = """Metadata-Version: 2.1
Name: {name}
Version: 1.0
"""


def install_plugins(directory: Path) -> list[str]:
    """Install zoo-careless and zoo-tiny for this process, and return the paths for another's PYTHONPATH."""
    sources = {"careless": HERE / "careless", "tiny": HERE.parent / "tiny_plugin"}
    for name in sources:
        folder = directory / f"zoo_{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(METADATA.format(name=f"zoo-{name}"))
        module = "zoo_careless" if name == "careless" else "zoo_tiny.plugin"
        (folder / "entry_points.txt").write_text(f"[zoo]\n{name} = {module}\n")
    paths = [str(directory), *map(str, sources.values())]
    sys.path[:0] = paths
    installed.cache_clear()
    return paths


def good_checkpoints(directory: Path) -> list[bytes]:
    """Return a checkpoint of each kind, small, with weights that no seed gives."""
    models: list[dict[str, Any]] = [
        {"encoder": _part("mlp", hidden=[8]), "decoder": _part("mlp", hidden=[8])},
        {
            "encoder": _part("conv", width=2, maps=True), "decoder": _part("conv", width=2),
            "distortion": "bernoulli+0.5*l1", "conditional": True,
        },
        {"encoder": _part("careless", width=4, depth=2), "decoder": "mlp"},
    ]  # fmt: skip
    return [_checkpoint(directory / "good.safetensors", settings) for settings in models]


def _part(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "options": options}


def _checkpoint(path: Path, settings: dict[str, Any]) -> bytes:
    config = zoo.resolve({**settings, "objective": "vae", "dataset": "tiny"})
    data = DataFacts((1, 16, 16), ("0", "1", "2", "3"), 576)
    model = build(config, components_of(config), data)
    components = [installed().get(kind, part.name) for kind, part in config.parts()]
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    metadata = checkpoint.new_metadata(config, components, data, epoch=3)
    checkpoint.save(path, model, metadata.model_copy(update={"test_metrics": {"mse": 0.05, "psnr": float("inf")}}))
    return path.read_bytes()
