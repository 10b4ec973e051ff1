"""Checkpoints of format version 1, written once and committed, load for ever and compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from zoo import checkpoint
from zoo.specs import KINDS

FIXTURES = Path(__file__).parent.parent / "fixtures" / "format_1"
FILES = sorted(FIXTURES.glob("*.safetensors"))

by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture
def expected(path: Path) -> dict[str, Tensor]:
    numbers = json.loads(path.with_suffix(".json").read_text())
    return {name: torch.tensor(values) for name, values in numbers.items()}


@pytest.fixture
def images(path: Path, expected: dict[str, Tensor]) -> Tensor:
    return (expected["pixels"].float() / 255).view(-1, *checkpoint.read(path).metadata.image_shape)


def test_the_fixtures_are_here() -> None:
    assert [path.stem for path in FILES] == ["conv-vae", "mlp-ae"]


@by_file
def test_a_file_of_version_1_is_read_as_one_of_version_2(path: Path) -> None:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["autoencoder_zoo"])["format_version"] == 1
    assert checkpoint.read(path).metadata.format_version == 2


@by_file
def test_a_file_says_what_it_holds(path: Path) -> None:
    metadata = checkpoint.read(path).metadata
    assert f"{metadata.config.encoder.name}-{metadata.config.objective.name}" == path.stem
    assert [record.kind for record in metadata.components] == list(KINDS)
    assert [record.name for record in metadata.components][2:] == [metadata.config.objective.name, "mse", "mnist"]
    assert metadata.image_shape == (1, 28, 28)
    assert metadata.epoch == 1
    assert metadata.test_metrics is not None
    assert metadata.test_metrics.keys() == {"mse", "psnr", "ssim"}


@by_file
def test_latents_are_those_of_the_day_it_was_written(path: Path, images: Tensor, expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(zoo.load(path).encode(images), expected["latents"], atol=1e-5, rtol=1e-5)


@by_file
def test_reconstructions_are_those_of_the_day_it_was_written(
    path: Path, images: Tensor, expected: dict[str, Tensor]
) -> None:
    reconstructions = zoo.load(path).reconstruct(images)
    errors = (reconstructions - images).square()
    dimensions = (1, 2, 3)
    computed = [reconstructions.mean(dimensions), reconstructions.std(dimensions), errors.mean(dimensions)]
    names = ["reconstruction_mean", "reconstruction_std", "reconstruction_error"]
    torch.testing.assert_close(computed, [expected[name] for name in names], atol=1e-5, rtol=1e-5)
