"""Ranks in the environment that contradict the trainer are refused before anything is written."""

import subprocess
import sys

import pytest

import zoo
import zoo.training.launchers
from zoo import UsageError

TRAIN = ["train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1", "--accelerator", "cpu"]
DDP = ["--devices", "2", "--strategy", "ddp"]
SRUN = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "job", "SLURM_LOCALID": "0"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in (*zoo.training.launchers.VARIABLES, "SLURM_JOB_NAME", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "flags", "remedy"),
    [
        ({"LOCAL_RANK": "1"}, [], "unset LOCAL_RANK"),
        ({"RANK": "1"}, [], "unset RANK"),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, [], "unset WORLD_SIZE RANK LOCAL_RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, [], "unset WORLD_SIZE RANK"),
        ({"NODE_RANK": "1"}, [], "unset NODE_RANK"),
        ({"GROUP_RANK": "1"}, [], "unset GROUP_RANK"),
        ({"SLURM_PROCID": "2"}, [], "unset SLURM_PROCID"),
        (
            {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"},
            [],
            "unset SLURM_NTASKS SLURM_PROCID",
        ),
        (SRUN | {"SLURM_PROCID": "0"}, [], "--devices 4 --num-nodes 1 --strategy ddp"),
        (SRUN | {"SLURM_PROCID": "3"}, [], "--devices 4 --num-nodes 1 --strategy ddp"),
        (SRUN | {"SLURM_PROCID": "3"}, [], "unset SLURM_NTASKS SLURM_PROCID"),
        (MPIRUN, [], "unset OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK"),
        ({"PMI_RANK": "1"}, [], "unset PMI_RANK"),
        ({"TORCHELASTIC_RUN_ID": "none"}, [], "unset TORCHELASTIC_RUN_ID"),
        ({"LOCAL_RANK": "1"}, DDP, "unset LOCAL_RANK"),
        ({"LOCAL_RANK": "0"}, DDP, "unset LOCAL_RANK"),
        ({"LOCAL_RANK": "2", "MASTER_PORT": "1"}, DDP, "unset LOCAL_RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, DDP, "unset WORLD_SIZE RANK"),
    ],
    ids=str,
)
@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["new", "resumed"])
def test_a_rank_that_no_launcher_backs_is_refused_and_an_existing_model_left_alone(
    run_zoo, tmp_path, environment, flags, remedy, resume
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "model.safetensors").write_text("precious")
    result = run_zoo(*TRAIN, *flags, *resume, "--output", "mine", environment=environment)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("zoo: ")
    assert result.stderr.count("\n") == 1
    assert remedy in result.stderr
    assert [(path.name, path.read_text()) for path in mine.iterdir()] == [("model.safetensors", "precious")]
    result = run_zoo(*TRAIN, *flags, environment=environment)
    assert result.status == 2
    assert not (tmp_path / "runs").exists()


def test_resume_refuses_as_train_does(run_zoo, tmp_path):
    assert run_zoo(*TRAIN, "--output", "run").status == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run_zoo("resume", "run", "--epochs", 2, environment={"LOCAL_RANK": "1"})
    assert result.status == 2
    assert "unset LOCAL_RANK" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "job", "SLURM_LOCALID": "0"},
    ],
    ids=str,
)
def test_a_process_that_is_the_only_one_trains(run_zoo, tmp_path, environment):
    result = run_zoo(*TRAIN, "--output", "run", environment=environment)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.count("test  mse") == 1
    assert (tmp_path / "run" / "model.safetensors").exists()


CODE = (
    "import zoo; zoo.train(encoder='mlp', dataset='tiny', accelerator='cpu', devices=2, strategy='ddp', output='out')"
)


@pytest.mark.parametrize("how", ["-c", "-", "-i", "directory"])
def test_several_processes_are_refused_where_no_file_can_be_run_again(zoo_environment, tmp_path, how):
    program = tmp_path / "program"
    program.mkdir()
    (program / "__main__.py").write_text(CODE)
    command = {"-c": ["-c", CODE], "-": ["-"], "-i": ["-i"], "directory": [str(program)]}[how]
    result = subprocess.run(
        [sys.executable, *command], input=CODE + "\n", cwd=tmp_path, env=zoo_environment, capture_output=True, text=True
    )
    assert result.returncode == (0 if how == "-i" else 1)
    assert "UsageError: Lightning starts the other processes by running the program again" in result.stderr
    assert "zoo train … --devices N --strategy ddp" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_several_processes_are_refused_in_a_notebook(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    expected = r"^Lightning starts the other processes by running the program again, and here is no file"
    with pytest.raises(UsageError, match=expected):
        zoo.train(encoder="mlp", dataset="tiny", accelerator="cpu", devices=2, output=tmp_path / "out")
    assert not list(tmp_path.iterdir())
