"""A failure of torch.compile is told with its cause, and with advice that helps."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zoo.errors import MissingDependencyError, ZooError
from zoo.training.compilation import compile_failure

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1", "--accelerator", "cpu", "--compile")
# As a compiler without Python's headers: it is there, says its version, and compiles nothing.
BROKEN_COMPILER = """#!/bin/sh
case "$*" in *--version*) echo "g++ 13.2.0"; exit 0;; esac
echo "In file included from main.cpp:1:" >&2
echo "main.cpp:1:10: fatal error: Python.h: No such file or directory" >&2
echo "compilation terminated." >&2
exit 1
"""


@pytest.fixture
def train_with_compiler(zoo_environment, tmp_path):
    """Train with --compile and a C++ compiler of the test's, nothing compiled before; return the process."""

    def train(compiler):
        environment = zoo_environment | {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        environment.pop("PYTHONWARNINGS")  # torch's compiler warns
        return subprocess.run([ZOO, *TRAIN], cwd=tmp_path, env=environment, capture_output=True, text=True)

    return train


def test_a_missing_compiler_is_what_to_install(train_with_compiler):
    result = train_with_compiler("nowhere-g++")
    assert result.returncode == 1
    line = "zoo: --compile needs a C++ compiler: apt install g++, or train without --compile."
    assert result.stderr.splitlines()[-1] == line


def test_a_compiler_that_fails_is_quoted_and_not_said_to_be_missing(train_with_compiler, tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text(BROKEN_COMPILER)
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    result = train_with_compiler(compiler)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "zoo: --compile failed: the C++ compiler says: main.cpp:1:10: fatal error: Python.h: "
        "No such file or directory. Train without --compile."
    )


def failing_with(error):
    """Return what torch.compile raises where its backend raises an error."""

    def backend(graph, inputs):
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is torch's affair
        torch.compile(torch.nn.Linear(2, 2), backend=backend)(torch.zeros(1, 2))
    return caught.value


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(28, os.strerror(28)), "OSError: [Errno 28] No space left on device."),
        (RuntimeError("out of luck.\nAnd more"), "RuntimeError: out of luck."),
        (ValueError(), "ValueError: no message."),
    ],
    ids=repr,
)
def test_another_failure_is_told_with_its_cause(error, cause):
    failure = compile_failure(failing_with(error))
    assert str(failure) == f"--compile failed: {cause} Train without --compile."
    assert isinstance(failure, ZooError)
    assert not isinstance(failure, MissingDependencyError)


def test_an_error_that_is_not_the_compilers_is_left_alone():
    assert compile_failure(RuntimeError("out of memory")) is None
