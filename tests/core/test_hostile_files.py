"""Thousands of damaged and hostile checkpoints: each is what it says, or is refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from conftest import ROOT, components_of_run, write_distribution
from zoo import CheckpointError, DataFacts
from zoo.config import components_of
from zoo.contract.registry import installed
from zoo.model import checkpoint
from zoo.model.autoencoder import build

CARELESS = ROOT / "tests" / "hostile" / "careless"
IMAGE_SHAPE = (1, 16, 16)
PLANTED_FLAWS = {  # what each of them lets through, and where that is seen
    "weights that are not finite": ("MUTATIONS", 'patch("zoo.model.checkpoint._check_finite", lambda *_: None)'),
    "messages of many lines": ("MUTATIONS", 'patch("zoo.model.checkpoint.printable", str)'),
    "weights of another model": ("MUTATIONS", 'patch("zoo.model.checkpoint.Checkpoint._compare", lambda *_: None)'),
    "flipped bits": (
        "FLIPPED_BYTES",
        'patch("zoo.model.tensor_file._digest", lambda *args: args[1].entries["sha256"])',
    ),
    "any number of values": ("BOMBS", 'patch("zoo.model.tensor_file.FileKind.max_values", 10**9)'),
}
ENOUGH = {"MUTATIONS": 600, "FLIPPED_BYTES": 10, "BOMBS": 40}
WITH_FLAWS = """
import json, sys, tempfile
from pathlib import Path
from unittest.mock import patch
from tests.hostile import __main__ as hostile, judge, subjects

flaws, enough = map(json.loads, sys.argv[1:])
load = {"MUTATIONS": hostile.load_mutations, "FLIPPED_BYTES": hostile.flip_bits, "BOMBS": hostile.load_bombs}
found = []
with tempfile.TemporaryDirectory() as plugins, tempfile.TemporaryDirectory() as directory:
    subjects.install_plugins(Path(plugins))
    raws = subjects.good_checkpoints(Path(directory))
    for where, flaw in flaws:
        setattr(hostile, where, enough[where])
        with eval(flaw):
            found.append(load[where](raws, judge.Judge(Path(directory) / "mutant")))
print(json.dumps(found))
"""


def program(module: str, **defaults: str) -> str:
    """Run a module of the tests from the repository's root, and return what it prints; it must succeed."""
    command = [sys.executable, "-m", module]
    result = subprocess.run(command, cwd=ROOT, env=defaults | os.environ, capture_output=True, text=True)
    print(result.stdout)  # the counts, for those who ask with -s
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_mutation_is_accepted_as_what_it_is_or_refused_in_one_line():
    output = program("tests.hostile")
    assert output.count("\n0 failures\n") == 3


def test_loading_does_nothing_but_read_the_file():
    assert "on purpose the watch has seen import" in program("tests.hostile.watch")


def test_each_planted_flaw_is_found():
    command = [sys.executable, "-c", WITH_FLAWS, json.dumps(list(PLANTED_FLAWS.values())), json.dumps(ENOUGH)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = dict(zip(PLANTED_FLAWS, json.loads(result.stdout.splitlines()[-1]), strict=True))
    assert all(found.values()), found


# A plugin's options without bounds


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a plugin that trusts its options, and return what writes a checkpoint whose config has others."""
    write_distribution(tmp_path, "zoo-careless", {"careless": "zoo_careless"})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(CARELESS))
    installed.cache_clear()

    def write(**options: Any) -> Path:
        config = zoo.resolve({"encoder": "careless", "decoder": "mlp", "dataset": "tiny"})
        data = DataFacts(IMAGE_SHAPE)
        model = build(config, components_of(config), data)
        encoder = config.encoder.model_copy(update={"options": config.encoder.options | options})
        config = config.model_copy(update={"encoder": encoder})
        metadata = checkpoint.new_metadata(config, components_of_run(config), data, epoch=1)
        checkpoint.save(tmp_path / "model.safetensors", model, metadata)
        return tmp_path / "model.safetensors"

    yield write
    monkeypatch.undo()
    installed.cache_clear()


def test_a_careless_plugins_own_checkpoint_loads(careless: Callable[..., Path]) -> None:
    assert zoo.load(careless()).encode(torch.zeros(2, *IMAGE_SHAPE)).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"depth": 10**9}, "many more layers than it has weights"),
        ({"sizes": list(range(4, 1900))}, "many more layers than it has weights"),
        ({"width": 10**8}, "must be .*100000000"),
        ({"width": 10**30}, "does not fit its own config"),
        ({"cells": 10**9}, "asks for"),
        ({"sizes": [3]}, "does not fit its own config"),  # it divides by zero
        ({"table": {"in": 4}}, "does not fit its own config"),
        ({"table": {"out": "x"}}, "does not fit its own config"),
        ({"name": "a.b"}, "does not fit its own config"),
        ({"name": "other"}, "lacks the weight"),
        ({"name": "evil\n\x1b[31mred"}, r"lacks the weight 'encoder\.parts\.evil\\n"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_without_a_bound_makes_no_model_that_the_file_does_not_hold(
    careless: Callable[..., Path], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(CheckpointError, match=complaint) as refused:
        zoo.load(careless(**options))
    assert str(refused.value).isprintable()
