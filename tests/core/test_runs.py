"""A run gets a directory of its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import zoo
from zoo import OutputError
from zoo.training.runs import Run, new_run


@pytest.fixture
def config() -> zoo.RunConfig:
    return zoo.resolve({"encoder": "mlp", "dataset": "tiny"})


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_are_numbered_by_default(config: zoo.RunConfig) -> None:
    for name in ("tiny-mlp-1", "tiny-mlp-2"):
        with new_run(None, config) as run:
            assert run.directory == Path("runs", name)
            assert run.directory.is_dir()


def test_the_first_free_number_is_taken(config: zoo.RunConfig) -> None:
    for number in (1, 3):
        Path("runs", f"tiny-mlp-{number}").mkdir(parents=True)
    with new_run(None, config) as run:
        assert run.directory.name == "tiny-mlp-2"


def test_a_qualified_name_makes_a_plain_directory() -> None:
    with new_run(None, zoo.resolve({"encoder": "mlp", "dataset": "zoo-tiny:tiny"})) as run:
        assert run.directory == Path("runs", "zoo-tiny-tiny-mlp-1")


def test_runs_that_start_together_get_directories_of_their_own(config: zoo.RunConfig) -> None:
    def start(_: int) -> Path:
        with new_run(None, config) as run:
            return run.directory

    with ThreadPoolExecutor(8) as pool:
        directories = list(pool.map(start, range(24)))
    assert len(set(directories)) == 24


@pytest.mark.parametrize("output", ["new", "deep/er/new", Path("path")])
def test_the_output_is_made(config: zoo.RunConfig, output: str | Path) -> None:
    with new_run(output, config) as run:
        assert run.directory == Path(output)
        assert run.directory.is_dir()


def test_an_empty_directory_is_taken(config: zoo.RunConfig) -> None:
    Path("empty").mkdir()
    with new_run("empty", config) as run:
        assert run.directory == Path("empty")


def test_a_directory_with_something_in_it_is_refused(config: zoo.RunConfig) -> None:
    Path("full").mkdir()
    Path("full", "thesis.txt").write_text("precious")
    with (
        pytest.raises(OutputError, match=r"^full exists and is not empty: choose another --output\.$"),
        new_run("full", config),
    ):
        pytest.fail("it was taken")
    assert Path("full", "thesis.txt").read_text() == "precious"


def test_a_file_is_refused(config: zoo.RunConfig) -> None:
    Path("file").write_text("precious")
    with pytest.raises(OutputError, match=r"^file is a file, not a directory"), new_run("file", config):
        pytest.fail("it was taken")
    assert Path("file").read_text() == "precious"


@pytest.mark.parametrize("output", ["file/run", "a" * 300])
def test_a_directory_that_cannot_be_made_is_refused(config: zoo.RunConfig, output: str) -> None:
    Path("file").touch()
    with (
        pytest.raises(OutputError, match=r"^Cannot make the run directory .*Choose another --output\.$"),
        new_run(output, config),
    ):
        pytest.fail("it was made")


def test_a_file_named_runs_is_refused(config: zoo.RunConfig) -> None:
    Path("runs").touch()
    with pytest.raises(OutputError, match=r"^Cannot make the run directory runs"), new_run(None, config):
        pytest.fail("it was made")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.parametrize("output", ["read-only", "read-only/run"])
def test_a_read_only_directory_is_refused(config: zoo.RunConfig, output: str) -> None:
    Path("read-only").mkdir(mode=0o555)
    with pytest.raises(OutputError, match="Permission denied"), new_run(output, config):
        pytest.fail("it was taken")


@pytest.mark.parametrize("output", [None, "new"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_directory_is_taken_away_if_the_run_fails_before_using_it(
    config: zoo.RunConfig, output: str | None, error: type[BaseException]
) -> None:
    with pytest.raises(error), new_run(output, config) as run:
        raise error
    assert not run.directory.exists()


def test_a_directory_is_kept_if_something_was_written(config: zoo.RunConfig) -> None:
    def fail_late(run: Run) -> None:
        run.config_file.write_text(config.to_json())
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"), new_run("new", config) as run:
        fail_late(run)
    assert run.config == config


def test_an_empty_directory_that_was_there_stays_if_the_run_fails(config: zoo.RunConfig) -> None:
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="early"), new_run("empty", config):
        raise ValueError("early")
    assert Path("empty").is_dir()


def test_history_gives_a_row_of_numbers_an_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics_file.write_text("epoch,val_loss\r\n1,0.5\r\n2,0.25\r\n")
    assert run.history == [{"epoch": 1.0, "val_loss": 0.5}, {"epoch": 2.0, "val_loss": 0.25}]
