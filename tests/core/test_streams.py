"""What a command prints arrives in some way, whatever the encoding of its streams, closed ones included."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.cli.common import json_values

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1", "--output")
PRINTING = [
    ("latin-1", ("info", "objective", "vae")),
    ("cp1252", ("info", "model", "mnist-mlp")),
    ("ascii", ("list",)),
    ("latin-1", ("list",)),
    ("cp1252", ("train", "--help")),
    ("ascii", ("plugins", "--verbose")),
]


@pytest.fixture
def zoo_in(zoo_environment, tmp_path):
    """Run the program in a process of its own, with an encoding of its streams, or with redirections of a shell."""

    def zoo_in(*arguments, encoding="utf-8", redirections=""):
        environment = zoo_environment | {"PYTHONIOENCODING": encoding}
        command = ["sh", "-c", f'exec "$0" "$@" {redirections}', ZOO, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL)

    return zoo_in


@pytest.mark.parametrize(("encoding", "arguments"), PRINTING)
def test_what_is_printed_arrives_in_any_encoding(zoo_in, encoding, arguments):
    result = zoo_in(*arguments, encoding=encoding)
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(result.stdout.decode("utf-8" if encoding == "ascii" else encoding)) > 100  # click turns ASCII to UTF-8


def test_punctuation_is_transliterated_and_letters_are_escaped(zoo_in):
    code = "from zoo.cli.streams import prepare_streams; prepare_streams(); print('é β … → 察')"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True)
    assert result.stdout == "é beta ... -> \\u5bdf\n".encode("latin-1")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_error_arrives_in_any_encoding(zoo_in, encoding):
    result = zoo_in("eval", "läuf-察-\udcff", encoding=encoding)
    assert result.returncode != 0
    line = result.stderr.decode(encoding)
    assert line.startswith("zoo: No run directory, checkpoint or pretrained model 'l")
    assert line.count("\n") == 1


def test_a_training_tells_of_itself_in_any_encoding(zoo_in, tmp_path):
    result = zoo_in(*TRAIN, "läuf-察", encoding="latin-1")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"epoch 1/1" in result.stdout
    assert zoo.Run(tmp_path / "läuf-察").test_metrics


@pytest.mark.parametrize("arguments", [("list",), ("info", "objective", "vae")], ids=" ".join)
def test_json_is_json_in_any_encoding(zoo_in, arguments):
    result = zoo_in(*arguments, "--json", encoding="latin-1")
    assert json.loads(result.stdout.decode("latin-1")) == json.loads(zoo_in(*arguments, "--json").stdout)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(zoo_in, closed):
    result = zoo_in("list", redirections=closed)
    assert (result.returncode, result.stderr) == (0, b"")
    assert bool(result.stdout) is (closed == "2>&-")


def test_an_evaluation_needs_no_stderr(zoo_in):
    result = zoo_in("eval", "mnist-mlp", "--json", redirections="2>&-")
    assert (result.returncode, list(json.loads(result.stdout))) == (0, ["dataset", "split", "metrics"])


def test_an_error_without_a_stderr_is_an_exit_status(zoo_in):
    result = zoo_in("eval", "nothing", redirections="2>&-")
    assert (result.returncode, result.stdout) == (2, b"")


def test_a_training_without_streams_keeps_a_run_that_opens(zoo_in, tmp_path):
    assert zoo_in(*TRAIN, "run", redirections="<&- >&- 2>&-").returncode == 0
    assert zoo.load(tmp_path / "run").latent_dim == zoo.Run(tmp_path / "run").config.latent_dim


def not_json(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_a_number_that_is_not_finite_is_null_in_json():
    code = """
import zoo.evaluation.metrics
from zoo.cli import main
zoo.evaluation.metrics.metrics_of = lambda *_: {"mse": 0.0, "psnr": float("inf"), "ssim": float("nan")}
main(["eval", "mnist-mlp", "--json"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    printed = json.loads(result.stdout, parse_constant=not_json)
    assert printed["metrics"] == {"mse": 0.0, "psnr": None, "ssim": None}


def test_values_in_json_keep_all_else():
    value = {"a": [1, -0.5, float("-inf")], "b": (True, None, "Infinity"), "c": {"d": float("nan")}}
    assert json_values(value) == {"a": [1, -0.5, None], "b": [True, None, "Infinity"], "c": {"d": None}}
