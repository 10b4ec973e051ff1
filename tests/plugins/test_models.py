"""Each pretrained model is what it says: made by its command, as good as its metrics, and small."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo import PretrainedModel, RunConfig
from zoo.cli import app
from zoo.contract.registry import discover
from zoo.contract.specs import KINDS
from zoo.model import checkpoint

MODELS = discover(built_ins_only=True).models()

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def test_the_model_of_lightnings_guide_is_among_them() -> None:
    commands = {model.name: model.spec.command for model in MODELS}
    assert commands["mnist-mlp"] == "zoo train --encoder mlp --dataset mnist"


@each_model
def test_it_is_as_good_as_its_metrics_say(model: PretrainedModel) -> None:
    metrics = checkpoint.read(model.name).metadata.test_metrics
    assert zoo.evaluate(model.name).metrics == pytest.approx(metrics, rel=1e-4)


@each_model
def test_its_command_means_the_config_in_its_checkpoint(
    model: PretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[RunConfig] = []
    monkeypatch.setattr("zoo.training.fit.train", lambda config, **_: configs.append(config))
    program, *arguments = shlex.split(model.spec.command)
    app.main([*arguments, "--quiet"], prog_name=program, standalone_mode=False)
    assert configs == [zoo.resolve(checkpoint.read(model.name).metadata.config.model_dump())]


@each_model
def test_its_summary_states_its_test_error_and_latent_size(model: PretrainedModel) -> None:
    metadata = checkpoint.read(model.name).metadata
    assert metadata.test_metrics is not None
    stated = re.search(r"(\d+) numbers.* test MSE ([\d.]+)$", model.spec.summary)
    assert stated is not None
    assert (int(stated[1]), stated[2]) == (metadata.config.latent_dim, f"{metadata.test_metrics['mse']:.4f}")


@each_model
def test_its_checkpoint_holds_the_history_of_its_training(model: PretrainedModel) -> None:
    metadata = checkpoint.read(model.name).metadata
    assert metadata.history is not None
    assert [row.epoch for row in metadata.history] == list(range(1, metadata.config.epochs + 1))
    assert min(metadata.history, key=lambda row: row.losses["val_loss"]).epoch == metadata.epoch


@each_model
def test_it_needs_nothing_that_does_not_come_with_it(model: PretrainedModel) -> None:
    opened = checkpoint.read(model.name)
    assert all(opened.component(kind).plugin.built_in for kind in KINDS)


@each_model
def test_it_takes_at_most_a_megabyte(model: PretrainedModel) -> None:
    assert model.path.stat().st_size <= 1_000_000


@each_model
def test_its_name_is_enough_for_a_picture(run_zoo: Callable[..., Any], tmp_path: Path, model: PretrainedModel) -> None:
    result = run_zoo("reconstruct", model.name, "--output", "grid.png")
    assert (result.status, result.stderr) == (0, "")
    assert (tmp_path / "grid.png").stat().st_size > 1000
