"""Methods that the contract must fit train, are kept and are resumed exactly; each is a third party's plugin."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import zoo
from conftest import TESTS, differences, write_distribution
from zoo import Run
from zoo.contract.registry import installed
from zoo.training.step import Step

BASE: dict[str, Any] = {"encoder": "mlp", "dataset": "tiny", "batch_size": 64, "epochs": 2, "accelerator": "cpu"}
CONV: dict[str, Any] = {"encoder": {"name": "conv", "options": {"width": 2, "maps": True}}}
PROTOTYPES: dict[str, dict[str, Any]] = {
    "conditional VAE": {"objective": "vae", "conditional": True},
    "conditional AE": {"conditional": True, "label_dropout": 0.5},
    "AAE": {"objective": "aae"},
    "FactorVAE with patch-gan": {"objective": "factor-vae", "distortion": "mse+0.1*patch-gan"},
    "VampPrior": {"objective": "vamp"},
    "contractive": {"objective": "contractive"},
    "VQ-VAE with maps": {"objective": "vq", **CONV, "latent_dim": 4},
    "annealed VAE": {"objective": "annealed-vae"},
    "IWAE": {"objective": "iwae", "distortion": "bernoulli"},
    "Bernoulli VAE": {"objective": "vae", "distortion": "bernoulli"},
    "MAE": {"objective": "mae"},
    "maps with the mlp decoder": {**CONV, "decoder": "mlp"},
    "frozen backbone": {"encoder": "frozen"},
    "frozen backbone, moving average": {"encoder": "frozen", "ema": 0.9},
    "perceptual": {"distortion": "mse+0.1*perceptual"},
}
STATEFUL = [
    "AAE", "FactorVAE with patch-gan", "VQ-VAE with maps", "annealed VAE", "VampPrior", "frozen backbone",
    "frozen backbone, moving average", "perceptual",
]  # fmt: skip


def site_of_prototypes(directory: Path) -> Path:
    """Write the metadata of zoo-prototypes, and return its directory."""
    write_distribution(directory / "site", "zoo-prototypes", {"prototypes": "zoo_prototypes.plugin"})
    return directory / "site"


@pytest.fixture(scope="module", autouse=True)
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install zoo-prototypes for this process."""
    site = site_of_prototypes(tmp_path_factory.mktemp("prototypes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.syspath_prepend(str(TESTS / "prototypes"))
        installed.cache_clear()
        yield
    installed.cache_clear()


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Run]:
    def train(name: str = "run", **settings: Any) -> Run:
        return zoo.train(output=tmp_path / name, quiet=True, **{**BASE, **settings})

    return train


@pytest.mark.parametrize("settings", PROTOTYPES.values(), ids=PROTOTYPES)
def test_it_trains_and_its_model_opens(settings: dict[str, Any], train: Callable[..., Run]) -> None:
    run = train(**settings)
    images = zoo.load_dataset("tiny", "test").images[:5] / 255
    model = run.load()
    latents = model.encode(images)
    assert latents.shape == (5, *model.latent_shape)
    assert model.decode(latents).shape == images.shape
    assert torch.equal(model(images), model.reconstruct(images))
    untrained = zoo.model.autoencoder.build(run.config, zoo.config.components_of(run.config), model.data).eval()
    error = (untrained(images) - images).square().mean().item()
    assert (model(images) - images).square().mean().item() < error
    assert not any("adversar" in name for name in dict.fromkeys(model.state_dict()))
    assert zoo.evaluate(run.directory).metrics == pytest.approx(run.test_metrics)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_training_equals_one_that_was_never_stopped(name: str, train: Callable[..., Run]) -> None:
    settings = PROTOTYPES[name] | {"epochs": 3, "scheduler": "none"}
    whole = train("whole", **settings)
    train("parted", **settings | {"epochs": 3, "early_stopping": None})
    parted = Run(whole.directory.parent / "parted")
    for state in parted.resume_directory.glob("epoch-3.safetensors"):
        state.unlink()  # as if it had been killed in the third epoch
    assert differences(zoo.resume(parted.directory, quiet=True), whole) == []


@pytest.mark.parametrize("name", ["a codebook and an adversary", "an annealed weight"])
def test_a_resumed_training_of_two_processes_equals_one_that_was_never_stopped(
    name: str, tmp_path: Path, zoo_environment: dict[str, str]
) -> None:
    flags = {
        "a codebook and an adversary": [
            "--encoder", "conv", "--set", "encoder.maps=true", "--set", "encoder.width=2", "--set", "decoder.width=2",
            "--objective", "vq", "--distortion", "mse+0.1*patch-gan",
        ],
        "an annealed weight": ["--encoder", "mlp", "--objective", "annealed-vae"],
    }[name]  # fmt: skip
    paths = [str(site_of_prototypes(tmp_path)), str(TESTS / "prototypes"), zoo_environment["PYTHONPATH"]]
    environment = zoo_environment | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"}
    process: dict[str, Any] = {"cwd": tmp_path, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
    common = ["--dataset", "tiny", "--batch-size", "64", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]
    program = str(Path(sys.executable).with_name("zoo"))
    subprocess.run([program, "train", *flags, *common, "--epochs", "2", "--output", "whole"], **process)
    whole, parted = Run(tmp_path / "whole"), Run(tmp_path / "parted")
    shutil.copytree(whole.directory, parted.directory)
    (parted.resume_directory / "epoch-2.safetensors").unlink()  # as if it had been killed in the second epoch
    subprocess.run([program, "resume", "parted"], **process)
    assert differences(parted, whole) == []


def test_an_adversary_is_trained_and_is_part_of_the_resume_state_alone(train: Callable[..., Run]) -> None:
    run = train(**PROTOTYPES["AAE"])
    assert {"train_adversary_loss", "train_adversary_real", "train_adversarial"} <= run.history[0].keys()
    assert "val_adversarial" not in run.history[0]
    assert not any("adversary" in name for name in safetensors.torch.load(run.checkpoint.read_bytes()))
    assert (run.resume_directory / "epoch-2.safetensors").read_bytes().count(b"objective.adversary") > 0


def test_columns_are_the_same_from_the_first_epoch(train: Callable[..., Run]) -> None:
    run = train(**PROTOTYPES["FactorVAE with patch-gan"])
    lines = run.metrics_file.read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1
    assert "train_distortion_adversary_loss" in lines[0]


def test_two_micro_batches_move_a_codebook_as_one_batch_does(train: Callable[..., Run]) -> None:
    settings = PROTOTYPES["VQ-VAE with maps"] | {"epochs": 1, "scheduler": "none", "validation_fraction": 0.2}
    whole = train("whole", **settings, batch_size=128).load().objective
    parted = train("parted", **settings, batch_size=64, accumulate=2).load().objective
    assert torch.allclose(whole.codebook, parted.codebook, atol=1e-4)
    assert torch.count_nonzero(whole.counts) == 0


def test_a_step_that_is_left_out_updates_no_state() -> None:
    config = zoo.resolve(BASE | PROTOTYPES["VQ-VAE with maps"])
    model = zoo.model.autoencoder.build(config, zoo.config.components_of(config), zoo.DataFacts((1, 16, 16)))
    before = copy.deepcopy(model.objective.state_dict())
    optimizer = torch.optim.Adam(model.players[0], lr=0.01, fused=True)
    step = Step(model, optimizer, scaler=torch.amp.GradScaler("cpu", init_scale=1e38))
    images = 1e9 * torch.rand(8, 1, 16, 16)
    step(zoo.Batch(images, None, torch.zeros(())), update=True)
    assert all(torch.equal(value, before[name]) for name, value in model.objective.state_dict().items())


def test_a_backbone_loads_its_weights_once_and_is_kept(train: Callable[..., Run], tmp_path: Path) -> None:
    config = zoo.resolve(BASE | PROTOTYPES["frozen backbone"])
    backbone = zoo.model.autoencoder.build(config, zoo.config.components_of(config), zoo.DataFacts((1, 16, 16)))
    weights = {name: torch.full_like(value, 0.25) for name, value in backbone.encoder.backbone.state_dict().items()}
    file = tmp_path / "weights.safetensors"
    file.write_bytes(safetensors.torch.save(weights))
    run = train(encoder={"name": "frozen", "options": {"weights": str(file)}})
    file.unlink()
    state = (run.resume_directory / "epoch-2.safetensors").read_bytes()
    assert b"encoder.backbone.0.weight" not in state
    loaded = run.load().encoder.backbone.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_a_moving_average_leaves_a_frozen_backbone_as_it_is(train: Callable[..., Run]) -> None:
    run = train(**PROTOTYPES["frozen backbone, moving average"])
    untrained = zoo.model.autoencoder.build(run.config, zoo.config.components_of(run.config), run.load().data)
    kept = run.load().encoder.backbone.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in untrained.encoder.backbone.state_dict().items())


def test_a_checkpoint_that_asks_for_a_giant_part_that_only_training_needs_is_refused(train: Callable[..., Run]) -> None:
    opened = zoo.model.checkpoint.read(train(**PROTOTYPES["perceptual"], epochs=1).checkpoint)
    opened.metadata.config.distortion[1].options["width"] = 2**40
    with pytest.raises(zoo.CheckpointError, match=r"asks for \d+ bytes that only training needs\.$"):
        opened.build()


def test_an_adversary_that_asks_for_contiguous_maps_trains(train: Callable[..., Run]) -> None:
    distortion = [{"name": "mse"}, {"name": "patch-gan", "options": {"views": True}}]
    run = train(encoder=CONV["encoder"], dataset="tiny-colour", distortion=distortion, epochs=1)
    assert run.history[0]["train_distortion_adversary_loss"] > 0


def test_images_of_a_folder_have_the_shape_that_an_option_says(train: Callable[..., Run], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        Image.fromarray(generator.integers(0, 256, (60, 70, 3), np.uint8)).save(folder / f"{number:02}.png")
    settings = {"dataset": {"name": "files", "options": {"path": str(folder)}}, "encoder": "conv", "batch_size": 8}
    run = train(**settings, epochs=1)
    assert run.load().image_shape == (3, 48, 64)
    assert run.load().data.train_count == 22


def test_a_loss_that_ends_has_a_column(train: Callable[..., Run]) -> None:
    run = train(objective="ending", epochs=3)
    assert ["train_early" in row for row in run.history] == [True, False, False]


def test_a_distortion_whose_adversary_could_not_be_trained_is_refused(train: Callable[..., Run]) -> None:
    with pytest.raises(zoo.ZooError, match=r"never calls parts\.loss"):
        train(objective="mae", distortion="mse+patch-gan")


def test_batches_of_one_are_refused_where_the_loss_compares_images(train: Callable[..., Run]) -> None:
    with pytest.raises(zoo.ConfigError, match=r"objective 'factor-vae' compares .*: --batch-size 2 or more\.$"):
        train(objective="factor-vae", batch_size=1)


def test_factors_are_no_classes_that_a_decoder_is_told() -> None:
    config = zoo.resolve(BASE | PROTOTYPES["IWAE"])
    model = zoo.model.autoencoder.build(config, zoo.config.components_of(config), zoo.DataFacts((1, 16, 16)))
    factors = torch.zeros(8, 2, dtype=torch.int64)
    assert model.losses(zoo.Batch(torch.rand(8, 1, 16, 16), factors, torch.ones(())))["loss"].isfinite()


def test_a_bound_on_the_likelihood_is_refused_where_there_is_none(train: Callable[..., Run]) -> None:
    with pytest.raises(zoo.IncompatibleError, match="needs a distortion that is a likelihood, and 'mse' is none"):
        train(objective="iwae")
