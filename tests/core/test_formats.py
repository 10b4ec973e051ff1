"""Checkpoints of every format version, written once and committed, load for ever and compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from zoo import DataFacts
from zoo.contract.specs import KINDS
from zoo.model import checkpoint
from zoo.model.upgrades import upgrade

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = sorted(FIXTURES.glob("format_*/*.safetensors"))
OF_FORMAT_1 = [path for path in FILES if path.parent.name == "format_1"]
DIGITS = tuple("0123456789")


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


by_file = pytest.mark.parametrize("path", FILES, ids=name_of)
by_file_of_format_1 = pytest.mark.parametrize("path", OF_FORMAT_1, ids=name_of)


@pytest.fixture
def expected(path: Path) -> dict[str, Tensor | None]:
    numbers = json.loads(path.with_suffix(".json").read_text())
    return {name: values if values is None else torch.tensor(values) for name, values in numbers.items()}


@pytest.fixture
def images(path: Path, expected: dict[str, Tensor]) -> Tensor:
    return (expected["pixels"].float() / 255).view(-1, *checkpoint.read(path).metadata.image_shape)


def record_of(path: Path) -> dict[str, object]:
    """Return the record in a file, as JSON holds it."""
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return json.loads(header["__metadata__"]["autoencoder_zoo"])


def test_the_fixtures_are_here() -> None:
    assert [name_of(path) for path in FILES] == [
        "format_1-conv-vae", "format_1-mlp-ae", "format_2-conv-vae", "format_2-mlp-ae",
    ]  # fmt: skip


@by_file
def test_a_file_is_read_as_one_of_the_current_version(path: Path) -> None:
    assert record_of(path)["format_version"] == int(path.parent.name.removeprefix("format_"))
    assert checkpoint.read(path).metadata.format_version == 2


@by_file
def test_a_file_says_what_it_holds(path: Path) -> None:
    metadata = checkpoint.read(path).metadata
    config = metadata.config
    assert f"{config.encoder.name}-{config.objective.name}" == path.stem
    assert [record.kind for record in metadata.components] == list(KINDS)
    assert [record.name for record in metadata.components] == [part.name for _, part in config.parts()]
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
    reconstructions = zoo.load(path).reconstruct(images, expected.get("labels"))
    errors = (reconstructions - images).square()
    dimensions = (1, 2, 3)
    computed = [reconstructions.mean(dimensions), reconstructions.std(dimensions), errors.mean(dimensions)]
    names = ["reconstruction_mean", "reconstruction_std", "reconstruction_error"]
    torch.testing.assert_close(computed, [expected[name] for name in names], atol=1e-5, rtol=1e-5)


# Version 1


@by_file_of_format_1
def test_the_distortion_of_version_1_is_the_mean_squared_error(path: Path) -> None:
    metadata = checkpoint.read(path).metadata
    assert [(term.name, term.weight, term.options) for term in metadata.config.distortion] == [("mse", 1.0, {})]
    assert metadata.data.facts == DataFacts((1, 28, 28))
    assert not metadata.config.conditional


@by_file_of_format_1
def test_all_that_version_1_says_is_kept(path: Path) -> None:
    old, metadata = record_of(path), checkpoint.read(path).metadata
    new = metadata.model_dump(mode="json")
    for name in ("value_range", "epoch", "test_metrics", "versions"):
        assert new[name] == old[name]
    assert {name: new["config"][name] for name in old["config"]} == old["config"]
    components = {record.pop("kind"): record for record in new["components"]}
    assert {kind: components[kind] for kind in old["components"]} == old["components"]
    assert metadata.history == old.get("history") is None


def test_the_rows_of_version_1s_history_are_kept() -> None:
    rows = [{"epoch": epoch, "train_loss": 0.5, "val_loss": 0.6, "lr": 0.01} for epoch in (1, 2)]
    record = upgrade(record_of(OF_FORMAT_1[0]) | {"history": rows})
    metadata = checkpoint.Metadata.model_validate_json(json.dumps(record))
    assert metadata.history is not None
    assert [epoch.row for epoch in metadata.history] == rows


@by_file_of_format_1
def test_an_upgraded_file_saved_again_has_equal_metadata_and_weights(path: Path, tmp_path: Path) -> None:
    opened = checkpoint.read(path)
    checkpoint.save(tmp_path / "again.safetensors", opened.build(), opened.metadata)
    again = checkpoint.read(tmp_path / "again.safetensors")
    assert record_of(again.path)["format_version"] == 2
    assert again.metadata == opened.metadata
    assert again.tensors.keys() == opened.tensors.keys()
    assert all(torch.equal(tensor, opened.tensors[name]) for name, tensor in again.tensors.items())


@by_file
def test_a_record_of_the_current_version_is_left_as_it_is(path: Path) -> None:
    current = upgrade(record_of(path))
    assert upgrade(current) == current


@pytest.mark.parametrize("damage", [None, 3, "x", [], {}, [3], {"encoder": 3}, [{"epoch": 1}]], ids=repr)
@pytest.mark.parametrize("name", ["config", "components", "image_shape", "history", "format_version"])
def test_a_damaged_record_of_version_1_is_upgraded_without_an_exception(name: str, damage: object) -> None:
    record = record_of(OF_FORMAT_1[0])
    upgrade(record | {name: damage})
    upgrade({key: value for key, value in record.items() if key != name})


# Version 2


def test_version_2_holds_maps_classes_and_a_distortion() -> None:
    model = zoo.load(FIXTURES / "format_2" / "conv-vae.safetensors")
    assert model.latent_shape == (3, 7, 7)
    assert model.classes == DIGITS
    assert model.metadata is not None
    assert model.metadata.data.facts == DataFacts((1, 28, 28), DIGITS, 54_000)
    assert [term.name for term in model.metadata.config.distortion] == ["bernoulli"]
    samples = model.sample(10, torch.arange(10))
    assert samples.shape == (10, 1, 28, 28)
    assert 0 <= float(samples.min()) <= float(samples.max()) <= 1
