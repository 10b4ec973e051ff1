"""Bad input gets one line on stderr that says what to do, the right exit status, and loses nothing."""

import json
import os
import pickle
import re

import pytest

TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1")

BAD_SETTINGS = {
    "no encoder": (["train", "--dataset", "tiny"], r"No encoder given: --encoder NAME, one of: conv, mlp\."),
    "no dataset": (["train", "--encoder", "mlp"], r"No dataset given: --dataset NAME, one of: mnist, tiny"),
    "unknown encoder": (["train", "--encoder", "mpl", "--dataset", "tiny"], r"No encoder 'mpl'\. Did you mean 'mlp'\?"),
    "unknown dataset": (["train", "--encoder", "mlp", "--dataset", "mnits"], r"Did you mean 'mnist'\?"),
    "unknown objective": ([*TRAIN, "--objective", "vea"], r"No objective 'vea'\. Did you mean 'vae'\?"),
    "unknown flag": ([*TRAIN, "--epoch-count", "3"], r"No such option '?--epoch-count"),
    "unknown command": (["trian"], r"No such command 'trian'"),
    "unknown option": (
        [*TRAIN, "--set", "encoder.hiden=3"],
        r"Unknown option 'encoder\.hiden'\. Did you mean 'hidden'\?",
    ),
    "option of the wrong type": ([*TRAIN, "--set", "encoder.hidden=abc"], r"encoder\.hidden: must be a valid integer"),
    "option out of bounds": (
        [*TRAIN, "--set", "encoder.hidden=1000000000"],
        r"encoder\.hidden: must be less than or equal to 4096",
    ),
    "malformed --set": ([*TRAIN, "--set", "hidden"], r"--set takes KIND\.OPTION=VALUE"),
    "--set of no component": ([*TRAIN, "--set", "encodr.hidden=3"], r"'encodr' is none of encoder, decoder"),
    "batch size 0": ([*TRAIN, "--batch-size", "0"], r"batch_size: must be greater than or equal to 1"),
    "batch size of text": ([*TRAIN, "--batch-size", "many"], r"batch_size: must be a valid integer"),
    "latent dim 0": ([*TRAIN, "--latent-dim", "0"], r"latent_dim: must be greater than or equal to 1"),
    "huge latent dim": ([*TRAIN, "--latent-dim", "1000000000"], r"latent_dim: must be less than or equal to 4096"),
    "lr NaN": ([*TRAIN, "--lr", "nan"], r"lr: must be"),
    "no such scheduler": (
        [*TRAIN, "--scheduler", "cosin"],
        r"scheduler: must be 'none', 'one-cycle', 'cosine' or 'plateau'",
    ),
    "no such accelerator": ([*TRAIN, "--accelerator", "gpuu"], r"Lightning refuses these settings: .*gpuu"),
    "no such strategy": ([*TRAIN, "--strategy", "dpp"], r"Lightning refuses these settings: .*dpp"),
    "fp16 on a CPU": ([*TRAIN, "--accelerator", "cpu", "--precision", "16-mixed"], r"fp16 is not supported on CPU"),
    "batch larger than the data": (
        [*TRAIN, "--batch-size", "1000"],
        r"batch_size=1000 is more than the 576 training images",
    ),
    "images that the encoder cannot take": (
        ["train", "--encoder", "conv", "--dataset", "tiny-small"],
        r"encoder 'conv' does not fit 1×8×8 images: it takes 1 or 3 channels and sides from 16 to 256",
    ),
    "no such config": ([*TRAIN, "--config", "nowhere.json"], r"Cannot read nowhere\.json: No such file"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_bad_setting_is_refused(run_zoo, tmp_path, arguments, message):
    result = run_zoo(*arguments)
    assert_refused(result, 2, message)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"epochs": 1, "epoch": 2}', '{"encoder": {"name": 3}}', "[" * 100_000]
)
def test_a_bad_config_file_is_refused(run_zoo, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert_refused(run_zoo("train", "--dataset", "tiny", "--config", "config.json"), 2, "")


def test_an_output_that_is_not_empty_is_refused_and_untouched(run_zoo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("precious")
    assert_refused(run_zoo(*TRAIN, "--output", "mine"), 2, r"mine exists and is not empty: choose another --output")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious.txt"]
    assert (tmp_path / "mine" / "precious.txt").read_text() == "precious"


def test_an_output_that_is_a_file_is_refused_and_untouched(run_zoo, tmp_path):
    (tmp_path / "mine").write_text("precious")
    assert_refused(run_zoo(*TRAIN, "--output", "mine"), 2, r"mine is a file, not a directory")
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the next test covers it")
def test_an_output_that_is_read_only_is_refused(run_zoo, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    assert_refused(run_zoo(*TRAIN, "--output", "mine"), 2, r"Cannot make the run directory .*mine: Permission denied")


def test_an_output_on_a_read_only_file_system_is_refused(run_zoo):
    assert_refused(run_zoo(*TRAIN, "--output", "/proc/self/run"), 2, r"Cannot make the run directory /proc/self/run")


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory):
    import zoo

    output = tmp_path_factory.mktemp("good") / "run"
    run = zoo.train(encoder="mlp", dataset="tiny", epochs=1, output=output, quiet=True)
    return run.checkpoint.read_bytes()


BAD_CHECKPOINTS = {
    "truncated": (lambda good: good[: len(good) // 2], r"is damaged: .*"),
    "cut inside its header": (lambda good: good[:100], r"was cut short"),
    "empty": (lambda good: b"", r"it is empty"),
    "bit-flipped": (lambda good: good[:-1] + bytes([good[-1] ^ 1]), r"is damaged: its checksum does not match"),
    "a pickle": (lambda good: pickle.dumps({"weights": 1}), r"looks like a pickle .* never unpickles"),
    "a picture": (lambda good: b"\x89PNG\r\n\x1a\n" + b"0" * 500, r"is no safetensors file"),
}


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
@pytest.mark.parametrize(("spoil", "message"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_refused(run_zoo, tmp_path, checkpoint_bytes, command, spoil, message):
    (tmp_path / "model.safetensors").write_bytes(spoil(checkpoint_bytes))
    assert_refused(run_zoo(command, "model.safetensors"), 1, message)


def test_a_missing_run_is_refused(run_zoo):
    assert_refused(run_zoo("eval", "runs/none"), 1, r"No run directory or checkpoint at runs/none\.")


def test_a_checkpoint_of_a_component_that_is_not_installed_names_the_package(run_zoo, tmp_path, checkpoint_bytes):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    result = run_zoo("eval", "model.safetensors", environment={"ZOO_NO_PLUGINS": "1"})
    assert_refused(result, 1, r"^zoo: This checkpoint needs dataset 'tiny' from zoo-tiny 1\.0: pip install zoo-tiny$")


def test_evaluating_on_images_of_another_shape_is_refused(run_zoo, tmp_path, checkpoint_bytes):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    assert_refused(run_zoo("eval", "model.safetensors", "--dataset", "mnist"), 2, r"dataset 'mnist' has images of")


def test_a_picture_that_cannot_be_written_is_refused(run_zoo, tmp_path, checkpoint_bytes):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    assert_refused(run_zoo("reconstruct", "model.safetensors", "--output", "nowhere/grid.png"), 1, r"nowhere")


def test_a_dataset_that_breaks_its_declaration_is_refused(run_zoo):
    assert_refused(run_zoo(*TRAIN, "--set", "dataset.broken=true"), 1, r"must hold uint8 images \(640, 1, 16, 16\)")


def test_nan_stops_training_and_keeps_the_last_good_weights(run_zoo, tmp_path):
    result = run_zoo(
        "train", "--encoder", "mlp", "--dataset", "tiny", "--objective", "diverging", "--batch-size", 64,
        "--set", "objective.after=12", "--output", "run",
    )  # fmt: skip
    assert_refused(result, 1, r"The training loss became nan at epoch 2, step 4\. .*kept: zoo eval run")
    evaluation = json.loads(run_zoo("eval", "run", "--json").stdout)
    assert 0 < evaluation["metrics"]["mse"] < 1


def test_debug_shows_the_traceback(run_zoo):
    result = run_zoo("train", "--encoder", "mpl", "--dataset", "tiny", "--debug")
    assert result.status == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("zoo: No encoder 'mpl'.")


def assert_refused(result, status, message):
    assert result.status == status, result.stderr
    assert re.search(message, result.stderr.strip()), result.stderr
    assert result.stderr.startswith("zoo: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert not result.stdout.startswith("Traceback")
