"""Bad input gets one line on stderr that says what to do, the right exit status, and loses nothing."""

import json
import os
import pickle
import re

import click
import pytest

import zoo
from zoo.cli.hints import OTHER_NAMES
from zoo.cli.train import train

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
    "option of the wrong type": (
        [*TRAIN, "--set", "encoder.hidden=abc"],
        r"encoder\.hidden: must be a valid integer, got 'abc'$",
    ),
    "option out of bounds": (
        [*TRAIN, "--set", "encoder.hidden=1000000000"],
        r"encoder\.hidden: must be less than or equal to 4096",
    ),
    "malformed --set": ([*TRAIN, "--set", "hidden"], r"--set takes KIND\.OPTION=VALUE"),
    "--set of no component": (
        [*TRAIN, "--set", "encodr.hidden=3"],
        r"'encodr' is none of encoder, decoder, objective, distortion, dataset\. Did you mean 'encoder'\?",
    ),
    "--set of a component that is not given": (
        [*TRAIN, "--set", "objective.beta=3"],
        r"--set objective\.beta needs --objective NAME: 'ae', the default, has no such option\.$",
    ),
    "--set of a dataset that is not given": (
        ["train", "--encoder", "mlp", "--set", "dataset.root=photos"],
        r"--set dataset\.root needs --dataset NAME\.$",
    ),
    "--set of a distortion without its name": (
        [*TRAIN, "--set", "distortion.scale=3"],
        r"--set takes distortion\.NAME\.OPTION=VALUE, e\.g\. distortion\.mse\.scale=3, got 'distortion\.scale=3'\.$",
    ),
    "--set of a distortion that is not in the sum": (
        [*TRAIN, "--distortion", "l1+0.1*mse", "--set", "distortion.bernoulli.scale=3"],
        r"--set distortion\.bernoulli\.scale: the distortion is l1\+mse, e\.g\. --set distortion\.l1\.scale=VALUE$",
    ),
    "--set of an option that a distortion lacks": (
        [*TRAIN, "--set", "distortion.mse.scale=3"],
        r"Unknown option 'distortion\.mse\.scale'\. It has none\.$",
    ),
    "malformed distortion": (
        [*TRAIN, "--distortion", "l1+"],
        r"distortion \(--distortion\): a sum of distortions reads NAME\+WEIGHT\*NAME, e\.g\. l1\+0\.1\*perceptual",
    ),
    "malformed distortion with --set": (
        [*TRAIN, "--distortion", "l1+", "--set", "distortion.l1.scale=3"],
        r"distortion \(--distortion\): a sum of distortions reads NAME\+WEIGHT\*NAME, e\.g\. l1\+0\.1\*perceptual",
    ),
    "no such distortion": ([*TRAIN, "--distortion", "l1+mze"], r"No distortion 'mze'\. Did you mean 'mse'\?"),
    "a distortion that stands twice": (
        [*TRAIN, "--distortion", "l1+0.5*l1"],
        r"distortion \(--distortion\): 'l1' stands in the sum twice\.$",
    ),
    "a distortion of logits after the first": (
        [*TRAIN, "--distortion", "mse+bernoulli"],
        r"distortion 'bernoulli' makes images of its own kind .* first of a sum: --distortion bernoulli\+mse$",
    ),
    "a weight of zero": ([*TRAIN, "--distortion", "l1+0*mse"], r"distortion\.1\.weight: must be greater than 0"),
    "one beta": ([*TRAIN, "--betas", "0.9"], r"betas\.1: Field required"),
    "a beta of 1": ([*TRAIN, "--betas", "0.9,1"], r"betas\.1: must be less than 1"),
    "a milestone that is no epoch": (
        [*TRAIN, "--scheduler", "multi-step", "--milestones", "2,x"],
        r"milestones\.1: must be a valid integer",
    ),
    "batch size 0": (
        [*TRAIN, "--batch-size", "0"],
        r"batch_size \(--batch-size\): must be greater than or equal to 1",
    ),
    "batch size of text": (
        [*TRAIN, "--batch-size", "many"],
        r"batch_size \(--batch-size\): must be a valid integer, got 'many'$",
    ),
    "latent dim 0": (
        [*TRAIN, "--latent-dim", "0"],
        r"latent_dim \(--latent-dim\): must be greater than or equal to 1",
    ),
    "huge latent dim": (
        [*TRAIN, "--latent-dim", "1000000000"],
        r"latent_dim \(--latent-dim\): must be less than or equal to 4096",
    ),
    "lr NaN": ([*TRAIN, "--lr", "nan"], r"lr \(--lr\): must be"),
    "no such scheduler": (
        [*TRAIN, "--scheduler", "cosin"],
        r"scheduler \(--scheduler\): must be 'none', 'one-cycle', 'cosine', 'plateau' or 'multi-step'",
    ),
    "no such accelerator": ([*TRAIN, "--accelerator", "gpuu"], r"Lightning refuses these settings: .*gpuu"),
    "forked processes": (
        [*TRAIN, "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp_fork"],
        r"forked or spawned cannot .* ddp$",
    ),
    "no such strategy": ([*TRAIN, "--strategy", "dpp"], r"Lightning refuses these settings: .*dpp"),
    "fp16 on a CPU": ([*TRAIN, "--accelerator", "cpu", "--precision", "16-mixed"], r"fp16 is not supported on CPU"),
    "batch larger than the data": (
        [*TRAIN, "--batch-size", "1000"],
        r"batch_size \(--batch-size\): 1000 is more than the 576 training images that are left after the validation "
        r"images were cut off: --batch-size 576 or less\.$",
    ),
    "no image for validation": (
        [*TRAIN, "--validation-fraction", "0.0001"],
        r"validation_fraction \(--validation-fraction\): .* none for validation: --validation-fraction 0\.0016 or more",
    ),
    "images that the encoder cannot take": (
        ["train", "--encoder", "conv", "--dataset", "tiny-small"],
        r"encoder 'conv' cannot be built for image_shape 1×8×8, out_features 3: it takes sides from 16 to 256",
    ),
    "no such config": ([*TRAIN, "--config", "nowhere.json"], r"Cannot read nowhere\.json: No such file"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_bad_setting_is_refused(run_zoo, tmp_path, arguments, message):
    result = run_zoo(*arguments)
    assert_refused(result, 2, message)
    assert not list(tmp_path.glob("runs/*"))


MEANT = {
    "components without flags": (["mlp", "mnist"], "--encoder mlp --dataset mnist"),
    "a decoder after an encoder": (["conv", "mlp", "vae"], "--encoder conv --decoder mlp --objective vae"),
    "an encoder that is given": (["--encoder", "conv", "mlp", "mnist"], "--decoder mlp --dataset mnist"),
    "a misspelt component": (["mpl", "mnits"], "--encoder mlp --dataset mnist"),
    "a component among other words": (["mnist", "???"], "--dataset mnist"),
    "--device cpu": (["--device", "cpu"], "--accelerator cpu"),
    "--device=cpu": (["--device=cpu"], "--accelerator cpu"),
    "--device cuda:0": (["--device", "cuda:0"], "--accelerator cuda"),
    "--device 2": (["--device", "2"], "--devices 2"),
    "--device alone": (["--device"], "--accelerator"),
    "--gpus 2": (["--gpus", "2"], "--accelerator cuda --devices 2"),
    "--gpu": (["--gpu"], "--accelerator cuda"),
    "--learning-rate": (["--learning-rate", "0.1"], "--lr 0.1"),
    "--loss": (["--loss", "l1"], "--distortion l1"),
    "--learning_rate": (["--learning_rate", "0.1"], "--lr 0.1"),
    "--batch": (["--batch", "64"], "--batch-size 64"),
    "--batch_size": (["--batch_size", "64"], "--batch-size 64"),
    "--latent": (["--latent", "8"], "--latent-dim 8"),
    "--out": (["--out", "my run"], "--output 'my run'"),
    "--output-dir": (["--output-dir", "it's"], """--output 'it'"'"'s'"""),
    "-o": (["-o", "run"], "--output run"),
    "a misspelt flag": (["--epochz", "3"], "--epochs"),
}


@pytest.mark.parametrize(("arguments", "meant"), MEANT.values(), ids=MEANT)
def test_what_was_meant_is_suggested(run_zoo, arguments, meant):
    result = run_zoo("train", *arguments)
    assert_refused(result, 2, rf"\. Did you mean: {re.escape(meant)}\? See: zoo train --help$")


@pytest.mark.parametrize("arguments", [["plugins", "--device", "cpu"], ["train", "???"], ["train", "--nonsense"]])
def test_nothing_is_suggested_that_the_command_lacks(run_zoo, arguments):
    result = run_zoo(*arguments)
    assert_refused(result, 2, r"\. See: zoo \w+ --help$")
    assert "Did you mean" not in result.stderr


def test_every_flag_that_is_suggested_for_another_exists():
    context = click.Context(train)
    known = {name for parameter in train.get_params(context) for name in parameter.opts}
    assert {ours.partition(" ")[0] for ours in OTHER_NAMES.values()} <= known
    assert not OTHER_NAMES.keys() & known


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


COMMANDS_OF_A_MODEL = [["eval"], ["reconstruct"], ["demo", "--port", "0"], ["resume"], ["info"], ["info", "model"]]


@pytest.mark.parametrize("name", ["mnist-mpl", "runs/none", "photos"])
@pytest.mark.parametrize("command", COMMANDS_OF_A_MODEL, ids=" ".join)
def test_an_unknown_model_has_one_exit_status_in_every_command(run_zoo, tmp_path, command, name):
    (tmp_path / "photos").mkdir()
    assert_refused(run_zoo(*command, name), 2, re.escape(name))


def test_an_unknown_model_is_a_usage_error_and_a_checkpoint_error_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        zoo.UnknownModelError, match=r"pretrained model 'mnist-mpl'\. Did you mean 'mnist-mlp'\?"
    ) as refused:
        zoo.load("mnist-mpl")
    assert isinstance(refused.value, zoo.UsageError)
    assert isinstance(refused.value, zoo.CheckpointError)


def test_a_missing_run_is_refused(run_zoo):
    assert_refused(run_zoo("eval", "runs/none"), 2, r"No run directory or checkpoint at runs/none\.")


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
def test_a_directory_of_runs_is_refused_with_the_newest_of_them(run_zoo, tmp_path, checkpoint_bytes, command):
    for number in (1, 3, 2, 4):
        run = tmp_path / "runs" / f"run-{number}"
        run.mkdir(parents=True)
        (run / "model.safetensors").write_bytes(checkpoint_bytes)
        os.utime(run / "model.safetensors", (number, number))
    message = r"runs holds no model\.safetensors: it holds runs, so say which: runs/run-4, runs/run-3, runs/run-2, …$"
    assert_refused(run_zoo(command, "runs"), 2, message)


def test_a_directory_that_is_neither_run_nor_holds_any_is_refused(run_zoo, tmp_path):
    (tmp_path / "photos").mkdir()
    assert_refused(run_zoo("eval", "photos"), 2, r"photos holds no model\.safetensors: it is no run directory\.$")


def test_a_run_without_a_finished_epoch_is_refused(run_zoo, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert_refused(run_zoo("eval", "run"), 1, r"no epoch of this run was finished\.$")


def test_a_runs_config_is_refused_with_the_runs_directory(run_zoo, tmp_path):
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    message = r"is a run's config, no checkpoint\. Give the run's directory: run$"
    assert_refused(run_zoo("eval", "run/config.json"), 2, message)


BAD_DATASET_OPTIONS = {
    "unknown option": ("dataset.brokn=1", r"Unknown option 'dataset\.brokn'\. Did you mean 'broken'\?"),
    "of the wrong type": ("dataset.broken=perhaps", r"dataset\.broken: must be a valid boolean, got 'perhaps'$"),
    "malformed": ("broken", r"--set takes dataset\.OPTION=VALUE, e\.g\. dataset\.root=photos, got 'broken'\.$"),
    "of the encoder": (
        "encoder.hidden=3",
        r"--set encoder\.hidden: only dataset\.OPTION=VALUE can be set here; the encoder is the checkpoint's\.$",
    ),
    "of nothing": ("datset.broken=1", r"'datset' is none of .*\. Did you mean 'dataset'\?$"),
}


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
@pytest.mark.parametrize(("assignment", "message"), BAD_DATASET_OPTIONS.values(), ids=BAD_DATASET_OPTIONS)
def test_a_bad_option_of_the_dataset_is_refused(run_zoo, tmp_path, checkpoint_bytes, command, assignment, message):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    assert_refused(run_zoo(command, "model.safetensors", "--set", assignment), 2, message)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_checkpoint_of_a_component_that_is_not_installed_names_the_package(run_zoo, tmp_path, checkpoint_bytes):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    result = run_zoo("eval", "model.safetensors", environment={"ZOO_NO_PLUGINS": "1"})
    assert_refused(result, 1, r"^zoo: This checkpoint needs dataset 'tiny' from zoo-tiny 1\.0: pip install zoo-tiny$")


def test_evaluating_on_images_of_another_shape_is_refused(run_zoo, tmp_path, checkpoint_bytes):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    assert_refused(run_zoo("eval", "model.safetensors", "--dataset", "mnist"), 2, r"dataset 'mnist' has images of")


BAD_PICTURES = {
    "in no directory": ("no where/grid.png", r"^zoo: There is no directory no where: mkdir -p 'no where'$"),
    "a directory": ("full", r"^zoo: full is a directory: --output full/reconstructions\.png$"),
    "the current directory": (".", r"^zoo: \. is a directory: --output reconstructions\.png$"),
    "under a file": ("file.txt/grid.png", r"^zoo: file\.txt is a file, not a directory: choose another --output\.$"),
    "deep under a file": ("file.txt/a/grid.png", r"^zoo: file\.txt is a file, not a directory"),
    "no PNG": ("my grid.jpg", r"^zoo: my grid\.jpg would hold a PNG picture: --output 'my grid\.png'$"),
    "without a suffix": ("grid", r"^zoo: grid would hold a PNG picture: --output grid\.png$"),
    "of too long a name": (
        "a" * 300 + ".png",
        r"^zoo: Cannot write a+…: File name too long\. Choose another --output\.$",
    ),
    "on a read-only file system": (
        "/proc/self/grid.png",
        r"^zoo: Cannot write /proc/self/grid\.png: .*\. Choose another --output\.$",
    ),
}


@pytest.mark.parametrize(("output", "message"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_a_picture_that_cannot_be_written_is_refused(run_zoo, tmp_path, checkpoint_bytes, output, message):
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes)
    (tmp_path / "file.txt").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    assert_refused(run_zoo("reconstruct", "model.safetensors", "--output", output), 2, message)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file.txt").read_text() == "precious"


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
