"""`zoo runs` and `zoo info RUN` say what each run trained, how well, and in which state it is."""

import fcntl
import json
import os
import re
import shutil

import pytest

import zoo
from zoo.training.runs import Run, is_in_training
from zoo.training.summaries import summaries, summary


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two finished runs, one of the document's objective and one variational."""
    directory = tmp_path_factory.mktemp("trained") / "runs"
    settings = {"encoder": "mlp", "dataset": "tiny", "epochs": 2, "quiet": True}
    zoo.train(**settings, output=directory / "run-2", lr=0.003)
    zoo.train(**settings, output=directory / "run-10", objective={"name": "vae", "options": {"beta": 0.5}})
    return directory


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of them to change, in the working directory of `run_zoo`."""
    return shutil.copytree(trained, tmp_path / "runs")


def cells(text):
    """Return a table's rows as lists of cells."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def interrupt(run):
    """Make a run look as if it had been killed after its first epoch."""
    best = run.checkpoint
    model = zoo.model.checkpoint.read(best)
    blank = model.metadata.model_copy(update={"test_metrics": None, "history": None, "epoch": 1})
    zoo.model.checkpoint.save(best, model.build(), blank)
    (run.resume_directory / "epoch-2.safetensors").unlink()


def test_a_table_of_runs_has_a_line_for_each_by_number(run_zoo, runs):
    result = run_zoo("runs")
    assert (result.status, result.stderr) == (0, "")
    heading, first, second = cells(result.stdout)
    assert heading == ["run", "components", "settings that differ", "test", "state", "age"]
    assert first[:3] == ["runs/run-2", "mlp mlp ae mse tiny", "lr=0.003"]
    assert second[:3] == ["runs/run-10", "mlp mlp vae mse tiny", "lr=0.01"]
    assert first[-2] == second[-2] == "finished"


def test_the_metrics_of_a_run_are_those_that_eval_prints(run_zoo, runs):
    printed = run_zoo("eval", "runs/run-2").stdout.partition("  ")[2].strip()
    assert printed in run_zoo("runs").stdout.splitlines()[1]


def test_a_table_as_json_says_the_same_and_more(run_zoo, runs):
    os.utime(runs / "run-2" / "model.safetensors", (1_900_000_000, 1_900_000_000))
    found = json.loads(run_zoo("runs", "runs", "--json").stdout)
    first, second = found["runs"]
    assert (first["path"], first["state"], first["differing"]) == ("runs/run-2", "finished", {"lr": 0.003})
    assert second["settings"]["objective.beta"] == 0.5
    assert first["test_metrics"] == Run(runs / "run-2").test_metrics
    assert first["modified"] == "2030-03-17T17:46:40+00:00"
    assert found["left_out"] == []


def test_a_run_shows_itself(run_zoo, runs):
    assert [row[0] for row in cells(run_zoo("runs", "runs/run-2").stdout)] == ["run", "runs/run-2"]


def test_an_interrupted_run_says_after_which_epoch(run_zoo, runs):
    interrupt(Run(runs / "run-2"))
    row = cells(run_zoo("runs").stdout)[1]
    assert "interrupted after epoch 1 of 2" in row
    assert ["state", "interrupted after epoch 1 of 2"] in cells(run_zoo("info", "runs/run-2").stdout)


def test_a_finished_run_that_is_to_train_on_is_no_longer_finished(runs):
    run = Run(runs / "run-2")
    run.config_file.write_text(run.config.model_copy(update={"epochs": 5}).to_json())
    assert summary(run.directory).state == "interrupted after epoch 2 of 5"


def test_a_run_that_was_killed_before_its_first_epoch_ended_says_so(run_zoo, runs):
    config = Run(runs / "run-2").config
    new = Run(runs / "new")
    new.directory.mkdir()
    new.config_file.write_text(config.to_json())
    assert summary(new.directory).state == "no epoch finished"
    shown = cells(run_zoo("info", "runs/new").stdout)
    assert ["state", "no epoch finished"] in shown
    assert ["lr", "0.003"] in shown


def test_a_run_whose_lock_is_held_is_in_training(runs):
    run = Run(runs / "run-2")
    with run.lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert summary(run.directory).state == "in training"
    assert not is_in_training(run)


def spoil_header(run):
    run.checkpoint.write_bytes(b"\xff" * 100)


def spoil_history(run):
    run.metrics_file.write_text("epoch,val_loss\n1,many\n")


def spoil_history_rows(run):
    run.metrics_file.write_text("epoch,val_loss\n1\n2,3,4\n")


def spoil_history_bytes(run):
    run.metrics_file.write_bytes(b"\xff\xfe\x00")


def spoil_config(run):
    run.config_file.write_text("{")


def spoil_with_fifo(run):
    run.checkpoint.unlink()
    os.mkfifo(run.checkpoint)


DAMAGES = [spoil_header, spoil_history, spoil_history_rows, spoil_history_bytes, spoil_config, spoil_with_fifo]


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda spoil: spoil.__name__)
def test_a_damaged_run_gets_a_line_and_the_others_are_shown(run_zoo, runs, spoil):
    spoil(Run(runs / "run-2"))
    result = run_zoo("runs")
    assert (result.status, result.stderr) == (0, "")
    shown = cells(result.stdout)
    assert [row[0] for row in shown] == ["run", "runs/run-10", "left out"]
    assert "runs/run-2" in shown[-1][1]


def test_what_is_no_run_gets_a_line(run_zoo, runs):
    (runs / "notes\n1.txt").write_text("precious")
    (runs / "photos").mkdir()
    (runs / "other.safetensors").write_bytes(b"")
    (runs / ".hidden").write_text("")
    lines = run_zoo("runs").stdout.splitlines()
    assert [line for line in lines if line.startswith("left out")] == [
        r"left out  runs/notes\n1.txt is no run.",
        "left out  runs/other.safetensors is not a checkpoint of Autoencoder Zoo: it is empty.",
        "left out  runs/photos is no run.",
    ]


def test_a_checkpoint_that_stands_alone_is_shown(run_zoo, runs):
    shutil.copy(runs / "run-2" / "model.safetensors", runs / "copy.safetensors")
    row = cells(run_zoo("runs").stdout)[1]
    assert (row[0], row[-2]) == ("runs/copy.safetensors", "finished")


def test_settings_of_another_version_are_no_obstacle(runs):
    run = Run(runs / "run-2")
    settings = json.loads(run.config_file.read_text()) | {"of_tomorrow": {"a": [1]}, "encoder": ["mlp"]}
    run.config_file.write_text(json.dumps(settings))
    found, left_out = summaries(runs)
    assert (len(found), left_out) == (2, [])
    assert found[0].settings["of_tomorrow"] == {"a": [1]}


def test_a_directory_without_runs_says_how_to_make_one(run_zoo, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run_zoo("runs", "empty")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == "no runs in empty; zoo train --encoder mlp --dataset mnist makes one in runs\n"


def test_a_missing_directory_is_refused(run_zoo):
    result = run_zoo("runs", "nowhere")
    assert result.status == 2
    assert result.stderr == "zoo: Cannot list runs in nowhere: No such file or directory.\n"


def test_info_of_a_run_shows_what_was_kept_and_how_it_was_set(run_zoo, runs):
    run = Run(runs / "run-2")
    result = run_zoo("info", "runs/run-2")
    assert (result.status, result.stderr) == (0, "")
    shown = cells(result.stdout)
    facts = {row[0]: row[1] for row in shown if len(row) == 2}
    kept = zoo.model.checkpoint.read(run.directory).metadata.epoch
    assert (facts["state"], facts["epoch"], facts["epochs"], facts["lr"]) == ("finished", str(kept), "2", "0.003")
    assert "batch_size" not in facts
    losses = {row[0]: float(row[3]) for row in shown if row[0] in ("kept", "last")}
    by_epoch = {row["epoch"]: row["val_loss"] for row in run.history}
    assert losses == pytest.approx({"kept": by_epoch[kept], "last": by_epoch[2]}, rel=1e-5)
    assert by_epoch[kept] == min(by_epoch.values())


def test_info_of_a_run_as_json_holds_every_setting_and_epoch(run_zoo, runs):
    facts = json.loads(run_zoo("info", "runs/run-10", "--json").stdout)
    assert facts["settings"]["objective.beta"] == 0.5
    assert facts["changed"] == {"epochs": 2}
    assert facts["history"] == Run(runs / "run-10").history
    assert facts["test_metrics"] == Run(runs / "run-10").test_metrics


def test_info_of_a_checkpoint_file_shows_the_same_model(run_zoo, runs):
    of_run = json.loads(run_zoo("info", "runs/run-2", "--json").stdout)
    of_file = json.loads(run_zoo("info", "runs/run-2/model.safetensors", "--json").stdout)
    same = ("epoch", "test_metrics", "components", "settings", "changed", "weights")
    assert {name: of_run[name] for name in same} == {name: of_file[name] for name in same}


def test_info_of_a_damaged_checkpoint_is_refused(run_zoo, runs):
    file = runs / "run-2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00\x01")
    result = run_zoo("info", "runs/run-2")
    assert (result.status, result.stdout) == (1, "")
    assert re.fullmatch(r"zoo: runs/run-2/model\.safetensors is damaged: [^\n]+\n", result.stderr)


def test_info_of_a_name_alone_shows_the_pretrained_model(run_zoo):
    assert run_zoo("info", "mnist-mlp") == run_zoo("info", "model", "mnist-mlp")


def test_a_path_goes_before_a_models_name(run_zoo, runs, tmp_path):
    shutil.copytree(runs / "run-2", tmp_path / "mnist-mlp")
    assert ["run", "mnist-mlp"] in cells(run_zoo("info", "mnist-mlp").stdout)
