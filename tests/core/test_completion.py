"""The shell completes names: through click's protocol, in the real program, without torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import write_distribution

PROGRAM = Path(sys.executable).with_name("zoo")


@pytest.fixture
def complete(zoo_environment, tmp_path):
    """Return what bash is offered for a command line, whose last word is being typed, as pairs of type and value."""

    def offered(line, **environment):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_ZOO_COMPLETE": "bash_complete"}
        result = subprocess.run(
            [PROGRAM], env=zoo_environment | words | environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert (result.returncode, result.stderr) == (0, "")
        return [tuple(line.split(",", 1)) for line in result.stdout.splitlines() if line]

    return offered


def plain(*values):
    return [("plain", value) for value in values]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("zoo train --encoder ", ["conv", "mlp"]),
        ("zoo train --decoder c", ["conv"]),
        ("zoo train --objective v", ["vae"]),
        ("zoo train --distortion b", ["bernoulli"]),
        ("zoo train --dataset mn", ["mnist"]),
        ("zoo train --dataset tiny-s", ["tiny-small"]),
        ("zoo train --scheduler ", ["none", "one-cycle", "cosine", "plateau", "multi-step"]),
        ("zoo train --latent", ["--latent-dim"]),
        ("zoo eval mnist-mlp --dataset mn", ["mnist"]),
        ("zoo info model mnist-v", ["mnist-vae", "mnist-vae-16"]),
        ("zoo info encoders ", ["conv", "mlp"]),
        ("zoo info encoder mlpx", []),
        ("zoo list enc", ["encoder"]),
        ("zoo check zoo-t", ["zoo-tiny"]),
        ("zoo check vae", ["vae"]),
        ("zoo check psn", ["psnr"]),
        ("zoo ru", ["runs"]),
    ],
)
def test_names_are_offered(complete, line, names):
    assert complete(line) == plain(*names)


@pytest.mark.parametrize("command", ["eval", "reconstruct", "demo"])
def test_a_run_may_be_a_model_a_run_or_a_file(complete, tmp_path, command):
    for name in ("mine-1", "mine 2", "no-run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("mine-1", "mine 2"):
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert complete(f"zoo {command} mnist-m") == [("file", "mnist-m"), ("plain", "mnist-mlp")]
    assert complete(f"zoo {command} ru") == [("file", "ru"), ("plain", "runs/mine-1")]


def test_info_offers_kinds_too(complete):
    assert complete("zoo info mo") == [("file", "mo"), ("plain", "model")]


@pytest.mark.parametrize("line", ["zoo resume ", "zoo train --output ", "zoo runs "])
def test_directories_are_offered_where_nothing_else_would_do(complete, line):
    assert complete(line) == [("dir", "")]


def test_a_summary_is_shown_beside_a_name(complete):
    lines = complete("zoo train --objective v", _ZOO_COMPLETE="zsh_complete")
    assert lines == [("plain",), ("vae",), ("Variational: Gaussian posterior", " β-weighted KL")]


def test_a_broken_plugin_says_nothing_while_a_line_is_typed(complete, zoo_environment, tmp_path):
    write_distribution(tmp_path / "site", "zoo-broken", {"broken": "no_such_module"})
    path = os.pathsep.join([str(tmp_path / "site"), zoo_environment["PYTHONPATH"]])
    assert complete("zoo train --encoder m", PYTHONPATH=path) == plain("mlp")
    assert complete("zoo train --encoder m", PYTHONPATH=path, ZOO_STRICT="1") == []


@pytest.mark.parametrize("line", ["zoo train --encoder ", "zoo eval ", "zoo info model ", "zoo demo ", "zoo check "])
def test_completion_imports_no_torch(zoo_environment, tmp_path, line):
    code = "import sys\nfrom zoo.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_ZOO_COMPLETE": "bash_complete"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=zoo_environment | words, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == "False"
    assert "plain," in result.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completes_after_the_line_that_the_readme_shows(zoo_environment, tmp_path):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (setup,) = [line.strip().partition("#")[0] for line in readme.splitlines() if "_ZOO_COMPLETE=bash_source" in line]
    typed = "COMP_WORDS=(zoo train --encoder m); COMP_CWORD=3; _zoo_completion zoo"
    script = f"{setup}\n{typed}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    path = os.pathsep.join([str(PROGRAM.parent), zoo_environment["PATH"]])
    result = subprocess.run(
        ["bash", "-c", script], env=zoo_environment | {"PATH": path}, cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("mlp\n", "")
