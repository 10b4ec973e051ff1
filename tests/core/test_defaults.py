"""What the caller has made torch's defaults changes nothing, and is as it was afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from conftest import differences
from zoo.config import components_of
from zoo.data.splits import load_split
from zoo.defaults import float32_on_cpu
from zoo.model.autoencoder import dry_run
from zoo.testing import check_components, find_components

Defaults = tuple[torch.dtype, torch.device]

SETTINGS: dict[str, Any] = {
    "encoder": "mlp", "objective": "vae", "dataset": "tiny-colour", "epochs": 1, "accelerator": "cpu",
}  # fmt: skip


def defaults() -> Defaults:
    return torch.get_default_dtype(), torch.get_default_device()


def set_float64() -> None:
    torch.set_default_dtype(torch.float64)


def set_bfloat16() -> None:
    torch.set_default_dtype(torch.bfloat16)


def set_meta() -> None:
    torch.set_default_device("meta")


@pytest.fixture(params=[set_float64, set_bfloat16, set_meta], ids=["float64", "bfloat16", "meta"])
def changed(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """A change of torch's defaults; they are restored after the test."""
    yield request.param
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> zoo.Run:
    """A run that was trained with torch's own defaults."""
    return zoo.train(**SETTINGS, output=tmp_path_factory.mktemp("usual") / "run", quiet=True)


def test_a_training_is_the_same_to_the_last_bit(changed: Callable[[], None], usual: zoo.Run, tmp_path: Path) -> None:
    changed()
    before = defaults()
    run = zoo.train(**SETTINGS, output=tmp_path / "run", quiet=True)
    assert defaults() == before
    assert differences(run, usual) == []


def test_a_resumed_training_is_the_same_to_the_last_bit(changed: Callable[[], None], tmp_path: Path) -> None:
    longer = zoo.train(**SETTINGS | {"epochs": 2, "scheduler": "none"}, output=tmp_path / "longer", quiet=True)
    run = zoo.train(**SETTINGS | {"scheduler": "none"}, output=tmp_path / "run", quiet=True)
    changed()
    zoo.resume(run.directory, epochs=2, quiet=True)
    assert run.checkpoint.read_bytes() == longer.checkpoint.read_bytes()


def test_a_model_opens_evaluates_and_samples_as_usual(changed: Callable[[], None], usual: zoo.Run) -> None:
    expected = usual.load().sample(4, generator=torch.Generator().manual_seed(0))
    changed()
    before = defaults()
    model = usual.load()
    samples = model.sample(4, generator=torch.Generator().manual_seed(0))
    evaluation = zoo.evaluate(usual.directory)
    assert defaults() == before
    assert {(weight.dtype, weight.device.type) for weight in model.parameters()} == {(torch.float32, "cpu")}
    assert torch.equal(samples, expected)
    assert evaluation.metrics == usual.test_metrics


def test_a_split_is_read_as_usual(changed: Callable[[], None]) -> None:
    dataset = zoo.installed().get("dataset", "tiny-colour")
    expected = load_split(dataset, {}, "test")
    changed()
    split = load_split(dataset, {}, "test")
    assert torch.equal(split.images, expected.images)
    assert torch.equal(split.labels, expected.labels)


def test_a_dry_run_and_the_contract_tests_pass_as_usual(changed: Callable[[], None], usual: zoo.Run) -> None:
    model, config = usual.load(), usual.config
    components = components_of(config)
    changed()
    dry_run(model, components)
    subjects = [*find_components("mlp"), *find_components("vae")]
    names = ("float64", "learns", "closed_form", "prior_sampling", "builds_on_meta", "moves_between_devices")
    outcomes = [outcome for outcome in check_components(subjects) if outcome.check.name in names]
    assert {outcome.message for outcome in outcomes if outcome.result == "failed"} == set()
    assert outcomes


def test_a_device_chosen_by_with_is_not_the_models(usual: zoo.Run) -> None:
    with torch.device("meta"):
        model = usual.load()
    assert next(model.parameters()).device.type == "cpu"


def test_the_callers_default_comes_back_when_the_last_thread_leaves() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with float32_on_cpu():
            entered.set()
            leave.wait()

    torch.set_default_dtype(torch.float64)
    try:
        thread = threading.Thread(target=stay)
        with float32_on_cpu():
            thread.start()
            entered.wait()
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64
    finally:
        leave.set()
        torch.set_default_dtype(torch.float32)


def test_the_callers_defaults_come_back_after_an_error() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match="wrong"), float32_on_cpu():
            raise ValueError("wrong")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
