"""A training that was interrupted goes on as if it never had been, to the last bit."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
import zoo.training.fit
from conftest import differences
from zoo import Run
from zoo.model import checkpoint
from zoo.training.callbacks import KeepBest
from zoo.training.runs import new_run

TINY = {"encoder": {"name": "mlp", "options": {"hidden": [8]}}, "dataset": "tiny", "batch_size": 64, "epochs": 3}
ZOO = str(Path(sys.executable).with_name("zoo"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
SETTINGS = {
    "no schedule": {"scheduler": "none"},
    "one-cycle": {"scheduler": "one-cycle"},
    "cosine": {"scheduler": "cosine"},
    "warm-up and cosine": {"scheduler": "cosine", "warmup": 0.5},
    "warm-up alone": {"scheduler": "none", "warmup": 0.5},
    "multi-step": {"scheduler": "multi-step", "milestones": [1, 2], "optimizer": "sgd"},
    "plateau": {"scheduler": "plateau", "lr": 4e-8, "epochs": 6},
    "moving average": {"ema": 0.9},
    "early stopping": {"scheduler": "none", "lr": 1e-30, "early_stopping": 2, "epochs": 20},
    "the last epoch": {"objective": "vae", "monitor": "val_rate", "keep": "last"},
    "another column": {"objective": "vae", "monitor": "val_rate", "early_stopping": 2, "epochs": 6},
    "accumulation": {"accumulate": 4},
    "gradient clipping": {"gradient_clip": 0.01},
    "mixed precision": {"precision": "bf16-mixed"},
    "noise": {"objective": "vae"},
    "classes and logits": {"conditional": True, "distortion": "bernoulli+0.1*l1", "optimizer": "adamw"},
    "compiled": {"compile": True, "objective": "vae", "epochs": 2},
    "convolutions": {"encoder": "conv", "decoder": "conv", "epochs": 2},
    "all together": {"objective": "vae", "scheduler": "cosine", "warmup": 0.3, "ema": 0.9, "early_stopping": 2,
                     "accumulate": 2, "gradient_clip": 0.1, "precision": "bf16-mixed"},
}  # fmt: skip


class PowerCut(BaseException):
    """Ends a training at once, and leaves the test running."""


@contextlib.contextmanager
def power_cut(epoch: int, batch: int = 4) -> Iterator[None]:
    """Expect the training in the body to be ended after a batch of an epoch, both from 0."""

    class Cut(zoo.training.callbacks.BatchCallback, zoo.training.callbacks.Divergence):
        def on_batch_end(self, trainer, pl_module, loss, count):
            if (trainer.current_epoch, pl_module.batch) == (epoch, batch + 1):
                raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo.training.fit, "Divergence", Cut)
        with pytest.raises(PowerCut):
            yield


@contextlib.contextmanager
def power_cut_before(function: str, time: int = 1) -> Iterator[None]:
    """Expect the training in the body to be ended when it calls `module.function` for the n-th time."""
    module, _, name = function.rpartition(".")
    call = getattr(pkgutil.resolve_name(f"zoo.{module}"), name)
    times = itertools.count(1)

    def cut(*arguments: Any) -> Any:
        if next(times) == time:
            raise PowerCut
        return call(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"zoo.{function}", cut)
        with pytest.raises(PowerCut):
            yield


def train(output: Path, **settings) -> Run:
    return zoo.train(output=output, quiet=True, accelerator="cpu", **TINY | settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was never interrupted."""
    return train(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """The directory of that run, interrupted in its third epoch."""
    with power_cut(epoch=2):
        train(tmp_path / "cut")
    return tmp_path / "cut"


# As if it had never stopped


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_training_interrupted_in_each_of_its_epochs_ends_as_one_that_was_not(settings, tmp_path):
    whole = train(tmp_path / "whole", **settings)
    for epoch in range(len(whole.history)):
        with power_cut(epoch):
            train(tmp_path / "cut", resume=True, **settings)
    assert differences(train(tmp_path / "cut", resume=True, **settings), whole) == []


def test_the_settings_above_take_effect(tmp_path):
    stopped = train(tmp_path / "stopped", **SETTINGS["early stopping"])
    slowed = train(tmp_path / "slowed", **SETTINGS["plateau"])
    assert len(stopped.history) == 3
    assert slowed.history[-1]["lr"] < slowed.history[0]["lr"]


@pytest.mark.parametrize(
    ("function", "time"),
    [
        *itertools.product(
            [
                "training.callbacks.KeepBest.on_validation_epoch_end",
                "training.callbacks.History.on_train_epoch_end",
                "training.callbacks.KeepState.on_train_epoch_end",
                "training.callbacks.resume_state.prune",
            ],
            [1, 2, 3],
        ),
        ("training.fit._finish", 1),
        ("training.fit.reconstruction_grid", 1),
        ("training.fit.training_curves", 1),
        ("training.fit.checkpoint.save", 4),
    ],
)
def test_wherever_it_is_interrupted_it_ends_the_same(function, time, tmp_path, whole):
    with power_cut_before(function, time):
        train(tmp_path / "cut")
    assert differences(train(tmp_path / "cut", resume=True), whole) == []


def test_a_training_that_early_stopping_has_ended_does_not_train_on(tmp_path):
    settings = SETTINGS["early stopping"]
    whole = train(tmp_path / "whole", **settings)
    with power_cut_before("training.fit._finish"):
        train(tmp_path / "cut", **settings)
    assert differences(train(tmp_path / "cut", resume=True, **settings), whole) == []


@pytest.mark.parametrize(("epoch", "best"), [(2, math.inf), (3, 0.5)])
def test_a_best_loss_is_taken_up_only_with_the_weights_that_it_belongs_to(epoch, best, whole):
    metadata = checkpoint.read(whole.checkpoint).metadata
    assert metadata.epoch == 3
    keep_best = KeepBest(whole.checkpoint, whole.load(), metadata)
    keep_best.load_state_dict({"best": 0.5, "epoch": epoch})
    assert keep_best.best == best


def test_resume_takes_the_settings_from_the_directory(cut, whole):
    assert differences(zoo.resume(cut, quiet=True), whole) == []


def test_nothing_is_unpickled(cut, monkeypatch):
    def fail(*_, **__):
        pytest.fail("it was unpickled")

    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr("pickle.load", fail)
    monkeypatch.setattr("pickle.loads", fail)
    zoo.resume(cut, quiet=True)


def test_it_says_after_which_epoch_it_goes_on(run_zoo, cut):
    result = run_zoo("resume", cut)
    assert (result.status, result.stderr) == (0, "")
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[:3]] == [
        "goes on after epoch 2/3",
        "epoch 3/3",
        "test",
    ]


def test_quiet_says_nothing(run_zoo, cut):
    result = run_zoo("resume", cut, "--quiet")
    assert (result.status, result.stdout, result.stderr) == (0, "", "")


def test_without_a_begun_run_the_flag_of_train_begins_one(run_zoo, tmp_path):
    result = run_zoo(
        "train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", 1, "--output", "run", "--resume"
    )  # fmt: skip
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith("epoch 1/1")


@pytest.mark.parametrize("left", ["nothing", "lock", "half a config"])
def test_a_run_that_was_killed_before_it_had_a_config_begins(left, tmp_path, whole):
    directory = tmp_path / "run"
    if left != "nothing":
        (directory / "resume").mkdir(parents=True)
        (directory / "resume" / "lock").write_text("1")
    if left == "half a config":
        (directory / ".config.json.abc.tmp").write_text("{")
    assert differences(train(directory, resume=True), whole) == []


def test_two_states_are_kept(whole):
    names = {path.name for path in whole.resume_directory.iterdir()}
    assert names == {"epoch-2.safetensors", "epoch-3.safetensors", "lock"}


def test_what_a_killed_process_left_half_written_is_removed(cut):
    halves = [cut / ".model.safetensors.x1.tmp", cut / "resume" / ".epoch-3.safetensors.x2.tmp"]
    others = [cut / ".mine.tmp", cut / "notes.txt"]
    for path in halves + others:
        path.touch()
    zoo.resume(cut, quiet=True)
    assert [path.exists() for path in halves + others] == [False, False, True, True]


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [flip, lambda path: os.truncate(path, 1000), lambda path: os.truncate(path, 0)])
def test_a_damaged_state_costs_an_epoch_and_a_line(spoil, cut, whole, caplog):
    spoil(cut / "resume" / "epoch-2.safetensors")
    assert differences(zoo.resume(cut, quiet=True), whole) == []
    (message,) = caplog.messages
    assert "epoch-2.safetensors is" in message
    assert message.endswith("Going on from the state before it, after epoch 1.")


def test_two_damaged_states_are_an_error_and_nothing_is_lost(cut):
    for epoch in (1, 2):
        flip(cut / "resume" / f"epoch-{epoch}.safetensors")
    before = {path: path.read_bytes() for path in cut.rglob("*.*")}
    with pytest.raises(zoo.CheckpointError, match=r"^Nothing to go on from: .*epoch-2\.safetensors is damaged"):
        zoo.resume(cut)
    assert {path: path.read_bytes() for path in cut.rglob("*.*")} == before


def test_damaged_best_weights_are_replaced_by_the_next_and_a_line_says_so(cut, caplog):
    flip(cut / "model.safetensors")
    run = zoo.resume(cut, quiet=True)
    assert checkpoint.read(run.directory).metadata.epoch == 3
    (message,) = caplog.messages
    assert message.endswith("its checksum does not match its content. The next epoch's weights take its place.")


def test_a_state_of_another_model_is_refused(cut):
    config = json.loads((cut / "config.json").read_text())
    config["encoder"]["options"]["hidden"] = [9]
    (cut / "config.json").write_text(json.dumps(config))
    with pytest.raises(zoo.CheckpointError, match=r"The resume state does not fit the model .*component changed"):
        zoo.resume(cut)


# Where the last bits may differ


def test_another_number_of_threads_is_said_in_one_line(cut, caplog):
    config = zoo.resolve(json.loads((cut / "config.json").read_text()))
    zoo.train(config, threads=2, output=cut, resume=True, quiet=True)
    assert caplog.messages == ["zoo: Not all is as it was: threads 1 → 2. The result may differ in its last bits."]
    assert torch.get_num_threads() == 1


def test_another_version_is_said_in_one_line(cut, caplog, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "99.0")
    zoo.resume(cut, quiet=True)
    (message,) = caplog.messages
    assert re.match(r"zoo: Not all is as it was: torch .* → 99\.0\. ", message)


# Other settings


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"lr": 0.5}, r"lr=0\.01, not 0\.5\."),
        ({"encoder": "conv"}, r"decoder=mlp, not conv; encoder=mlp, not conv\."),
        ({"encoder": {"name": "mlp", "options": {"hidden": [9]}}}, r"encoder\.hidden=\[8\], not \[9\]\."),
        ({"ema": 0.5, "seed": 1}, r"ema=None, not 0\.5; seed=0, not 1\."),
        ({"epochs": 2}, r"epochs=3, not 2\."),
    ],
)
def test_other_settings_are_refused_by_name_and_nothing_is_lost(settings, difference, cut):
    before = {path: path.read_bytes() for path in cut.rglob("*.*")}
    with pytest.raises(zoo.ConfigError, match=rf"was begun with {difference} Only more --epochs"):
        train(cut, resume=True, **settings)
    assert {path: path.read_bytes() for path in cut.rglob("*.*")} == before


def test_other_settings_are_a_usage_error(run_zoo, cut):
    result = run_zoo("train", "--encoder", "mlp", "--dataset", "tiny", "--resume", "--output", cut)
    assert result.status == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("settings", [{"scheduler": "none"}, {"scheduler": "plateau"}], ids=str)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
def test_with_more_epochs_it_is_a_longer_training(settings, finished, tmp_path):
    long = train(tmp_path / "long", epochs=5, **settings)
    with contextlib.nullcontext() if finished else power_cut(epoch=2):
        train(tmp_path / "short", **settings)
    longer = zoo.resume(tmp_path / "short", epochs=5, quiet=True)
    assert differences(longer, long) == []
    assert longer.config.epochs == 5


@pytest.mark.parametrize(
    "settings",
    [{"scheduler": "one-cycle"}, {"scheduler": "cosine", "warmup": 0.3}, {"scheduler": "none", "warmup": 0.9}],
    ids=str,
)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
def test_with_more_epochs_a_schedule_goes_on_as_that_of_the_longer_training(settings, finished, tmp_path):
    long = train(tmp_path / "long", epochs=6, **settings)
    with contextlib.nullcontext() if finished else power_cut(epoch=2):
        train(tmp_path / "short", **settings)
    begun = 3 if finished else 2
    longer = zoo.resume(tmp_path / "short", epochs=6, quiet=True)
    rates, wanted = ([row["lr"] for row in run.history] for run in (longer, long))
    assert rates[begun:] == wanted[begun:]
    assert rates[:begun] != wanted[:begun]


def test_with_more_epochs_and_interrupted_again_it_ends_the_same(tmp_path):
    train(tmp_path / "once")
    once = zoo.resume(tmp_path / "once", epochs=6, quiet=True)
    train(tmp_path / "twice")
    for epoch in (3, 4):
        with power_cut(epoch):
            zoo.resume(tmp_path / "twice", epochs=6, quiet=True)
    assert differences(zoo.resume(tmp_path / "twice", quiet=True), once) == []


def test_with_more_epochs_early_stopping_is_patient_again(tmp_path):
    train(tmp_path / "run", **SETTINGS["early stopping"])
    with power_cut(epoch=3):
        zoo.resume(tmp_path / "run", epochs=30, quiet=True)
    run = zoo.resume(tmp_path / "run", quiet=True)
    assert len(run.history) == 3 + 2


# A finished run


def test_a_finished_run_says_so_and_stays_as_it_is(run_zoo, tmp_path, whole):
    before = {path: path.read_bytes() for path in whole.directory.rglob("*.*")}
    result = run_zoo("resume", whole.directory)
    name = whole.directory
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == (
        f"{name} is finished: all its epochs are trained. To train on: zoo resume {name} --epochs 6"
    )
    assert {path: path.read_bytes() for path in whole.directory.rglob("*.*")} == before


def test_a_run_that_early_stopping_has_finished_says_so(run_zoo, tmp_path):
    train(tmp_path / "run", **SETTINGS["early stopping"])
    result = run_zoo("resume", "run")
    assert result.stdout.startswith(
        "run is finished: it stopped early after epoch 3. To train on: zoo resume run --epochs 40\n"
    )


# One training at a time


def test_a_second_training_is_told_whose_the_directory_is(run_zoo, cut, whole):
    with zoo.training.runs.begun_run(cut):
        for command in (["resume", cut], ["train", "--encoder", "mlp", "--dataset", "tiny", "--output", cut]):
            result = run_zoo(*command)
            assert result.status == 2
            assert result.stderr == f"zoo: {cut} is in use: process {os.getpid()} is training in it.\n"
    assert differences(zoo.resume(cut, quiet=True), whole) == []


def test_a_new_run_is_locked_too(run_zoo, tmp_path):
    with new_run(tmp_path / "run", zoo.resolve(TINY)):
        result = run_zoo("train", "--encoder", "mlp", "--dataset", "tiny", "--output", "run", "--resume")
    assert result.stderr == f"zoo: run is in use: process {os.getpid()} is training in it.\n"


def test_the_lock_of_a_dead_process_is_taken_over(run_zoo, cut):
    (cut / "resume" / "lock").write_text("1")  # init is alive, and holds nothing
    assert run_zoo("resume", cut).status == 0


def test_a_file_system_without_locks_is_named_and_trained_on(cut, whole, caplog, monkeypatch):
    def fail(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", fail)
    assert differences(zoo.resume(cut, quiet=True), whole) == []
    assert caplog.messages == [f"zoo: {cut} is on a file system without locks: train there once at a time."]


# What cannot be resumed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume", "nowhere"], "nowhere is not the directory of a run: it holds no config.json."),
        (["resume", "."], ". is not the directory of a run: it holds no config.json."),
        (["resume", "file"], "file is not the directory of a run: it holds no config.json."),
        (
            ["train", "--encoder", "mlp", "--dataset", "tiny", "--resume"],
            "Going on with a run needs its directory: --output DIR.",
        ),
        (
            ["train", "--encoder", "mlp", "--dataset", "tiny", "--resume", "--output", "."],
            ". exists and is not empty: choose another --output.",
        ),
        (
            ["train", "--encoder", "mlp", "--dataset", "tiny", "--resume", "--output", "file"],
            "file is a file, not a directory: choose another --output.",
        ),
    ],
)
def test_what_is_no_run_is_refused(arguments, message, run_zoo, tmp_path):
    (tmp_path / "file").touch()
    result = run_zoo(*arguments)
    assert (result.status, result.stderr) == (2, f"zoo: {message}\n")


def test_a_run_with_a_damaged_config_is_refused(run_zoo, cut):
    (cut / "config.json").write_text("{")
    result = run_zoo("resume", cut)
    assert result.status == 2
    assert result.stderr.startswith(f"zoo: {cut}/config.json is not JSON")


def test_training_in_a_run_without_resume_says_how_to_go_on(run_zoo, cut):
    result = run_zoo("train", "--encoder", "mlp", "--dataset", "tiny", "--output", cut)
    assert result.status == 2
    assert result.stderr.startswith(f"zoo: {cut} holds a run. To go on with it: zoo resume {cut}. For another, ")


# Many processes


@pytest.mark.parametrize(
    ("program", "flags"),
    [([ZOO], ["--devices", "3", "--strategy", "ddp"]), ([*TORCHRUN, ZOO], [])],  # how three add up is not given
    ids=["three devices", "torchrun"],
)
def test_processes_that_are_killed_end_as_if_they_had_not_been(program, flags, tmp_path, zoo_environment):
    train = [
        *program, "train", "--encoder", "mlp", "--dataset", "tiny", "--objective", "vae", "--batch-size", "66",
        "--epochs", "40", "--ema", "0.9", "--accelerator", "cpu", *flags,
    ]  # fmt: skip
    process = {"cwd": tmp_path, "env": without_warnings(zoo_environment), "text": True, "stdout": subprocess.PIPE}

    subprocess.run([*train, "--output", "whole"], check=True, **process)
    with subprocess.Popen([*train, "--output", "cut"], **process) as killed:
        for line in killed.stdout:
            if line.startswith("epoch  2/40"):
                os.kill(int((tmp_path / "cut" / "resume" / "lock").read_text()), signal.SIGKILL)
    resumed = subprocess.run([*program, "resume", "cut"], check=True, **process)
    assert re.match(r"goes on after epoch ([2-9]|[1-3]\d)/40\n", resumed.stdout)
    assert differences(Run(tmp_path / "cut"), Run(tmp_path / "whole")) == []


def test_a_machine_that_does_not_see_the_run_directory_says_so(tmp_path, zoo_environment):
    with power_cut(epoch=1):
        train(tmp_path / "0" / "run")
    (tmp_path / "1").mkdir()
    resume = f"cd $LOCAL_RANK && {ZOO} train --config {tmp_path}/0/run/config.json --output run --resume"
    result = subprocess.run(
        [*TORCHRUN, "--no-python", "bash", "-c", resume],
        cwd=tmp_path, env=without_warnings(zoo_environment), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    assert "zoo: Process 1 does not find the resume state that the first process found: every machine" in result.stderr


def without_warnings(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "PYTHONWARNINGS"}  # torchrun warns
