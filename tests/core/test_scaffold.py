"""`zoo new-plugin`: what it writes, what it prints, and what it refuses without touching anything."""

import ast
import importlib.metadata
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conftest import write_distribution
from zoo import ConfigError, OutputError, scaffold
from zoo.cli import app
from zoo.contract.registry import Registry
from zoo.contract.specs import KINDS
from zoo.scaffold import new_plugin

NOTHING_INSTALLED = Registry([], [], [])
MODULES = {
    "encoder": "networks.py",
    "decoder": "networks.py",
    "objective": "objective.py",
    "distortion": "distortion.py",
    "dataset": "dataset.py",
}

every_kind = pytest.mark.parametrize("kind", KINDS)


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder):
    """Return everything below a folder: the bytes of files, None for folders."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def package_of(folder):
    (plugin,) = folder.glob("*/plugin.py")
    return plugin.parent


def classes_in(path):
    return [node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]


def spec_of(folder):
    """Return the keyword arguments of the one spec that a written plugin yields, those that are text."""
    (spec,) = re.findall(r"yield \w+Spec\((.*)\)", (package_of(folder) / "plugin.py").read_text("utf-8"), re.DOTALL)
    return dict(re.findall(r'(\w+)="(.*)"', spec))


def project_of(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def install(directory, folder):
    """Fake an installation of a written plugin as pip would make it, and return its PYTHONPATH."""
    project = project_of(folder)
    write_distribution(
        directory / "site",
        project["name"],
        project["entry-points"]["zoo"],
        version=project["version"],
        requires=tuple(project["dependencies"]),
    )
    return {"PYTHONPATH": f"{directory / 'site'}:{folder}"}


def assert_refused(result, message):
    assert re.fullmatch(rf"zoo: {message}\n", result.stderr), result.stderr
    assert (result.status, result.stdout) == (2, "")


@every_kind
def test_a_new_plugin_has_these_files(tmp_path, kind):
    folder = new_plugin("patch", kind, tmp_path)
    assert folder == tmp_path / "zoo-patch"
    assert files_in(folder) == {
        "README.md",
        "pyproject.toml",
        "tests/test_contract.py",
        "zoo_patch/__init__.py",
        "zoo_patch/plugin.py",
        "zoo_patch/py.typed",
        f"zoo_patch/{MODULES[kind]}",
    }


@every_kind
def test_nothing_is_left_to_fill_in(tmp_path, kind):
    for path in new_plugin("patch", kind, tmp_path).rglob("*.*"):
        if path.is_file():
            assert not re.search(r"\$|TODO|FIXME|XXX", path.read_text(encoding="utf-8")), path


def test_the_test_file_is_two_lines(tmp_path):
    folder = new_plugin("patch", "encoder", tmp_path)
    assert (folder / "tests" / "test_contract.py").read_text() == (
        'from zoo.testing import contract_tests\n\nTestContract = contract_tests("zoo-patch")\n'
    )


def test_the_project_declares_its_entry_point_and_its_tests(tmp_path):
    project = project_of(new_plugin("patch", "encoder", tmp_path))
    assert (project["name"], project["version"]) == ("zoo-patch", "0.1.0")
    assert project["entry-points"] == {"zoo": {"patch": "zoo_patch.plugin"}}
    assert project["optional-dependencies"] == {"test": ["pytest>=8.3"]}


def test_the_project_runs_where_this_one_does(tmp_path):
    project = project_of(new_plugin("patch", "encoder", tmp_path))
    assert project["requires-python"] == importlib.metadata.metadata("autoencoder-zoo")["Requires-Python"]
    (requirement,) = map(Requirement, project["dependencies"])
    assert requirement.name == "autoencoder-zoo"
    assert requirement.specifier.contains(importlib.metadata.version("autoencoder-zoo"), prereleases=True)


@pytest.mark.parametrize(
    ("version", "requirement"),
    [
        ("0.1.0", ">=0.1,<0.2"),
        ("0.9.3", ">=0.9,<0.10"),
        ("1.4.2", ">=1.4,<2"),
        ("0.2.0.dev3", ">=0.2.0.dev3,<0.3"),  # which `>=0.2` would leave out
    ],
)
def test_the_requirement_ends_before_the_next_breaking_version(version, requirement):
    assert scaffold._requirement(version) == f"autoencoder-zoo{requirement}"


@pytest.mark.parametrize(
    ("name", "package", "distribution"),
    [
        ("my-deep-net", "zoo_my_deep_net", "zoo-my-deep-net"),
        ("my_net", "zoo_my_net", "zoo-my-net"),
        ("my.net", "zoo_my_net", "zoo-my-net"),
        ("3d", "zoo_3d", "zoo-3d"),
        ("class", "zoo_class", "zoo-class"),
        ("n" * 64, "zoo_" + "n" * 64, "zoo-" + "n" * 64),
    ],
)
def test_a_name_makes_a_package_and_a_distribution(tmp_path, name, package, distribution):
    folder = new_plugin(name, "encoder", tmp_path)
    assert (folder.name, project_of(folder)["name"]) == (distribution, distribution)
    assert project_of(folder)["entry-points"]["zoo"] == {name: f"{package}.plugin"}
    assert f'contract_tests("{distribution}")' in (folder / "tests" / "test_contract.py").read_text()
    assert (folder / package / "plugin.py").exists()


@pytest.mark.parametrize(
    ("name", "kind", "class_name", "summary"),
    [
        ("wavelet", "encoder", "WaveletEncoder", "Wavelet encoder"),
        ("wavelet", "decoder", "WaveletDecoder", "Wavelet decoder"),
        ("wavelet", "objective", "WaveletObjective", "Wavelet objective"),
        ("wavelet", "distortion", "WaveletDistortion", "Wavelet distortion"),
        ("wavelet", "dataset", "WaveletDataset", "Wavelet dataset"),
        ("distortion", "distortion", "ZooDistortion", "Zoo distortion"),
        ("my-deep_net.v2", "encoder", "MyDeepNetV2Encoder", "My deep net v2 encoder"),
        ("my-encoder", "encoder", "MyEncoder", "My encoder"),
        ("my-encoder", "dataset", "MyEncoderDataset", "My encoder dataset"),
        ("3d", "decoder", "Zoo3dDecoder", "3d decoder"),
        ("class", "encoder", "ClassEncoder", "Class encoder"),
        ("encoder", "encoder", "ZooEncoder", "Zoo encoder"),
        ("objective", "objective", "ZooObjective", "Zoo objective"),
        ("n" * 64, "objective", "N" + "n" * 63 + "Objective", "N" + "n" * 63 + " objective"),
    ],
)
def test_the_class_and_the_summary_are_named_after_the_plugin(tmp_path, name, kind, class_name, summary):
    folder = new_plugin(name, kind, tmp_path)
    package = package_of(folder)
    assert classes_in(package / MODULES[kind]) == [class_name]
    target = f"{package.name}.{MODULES[kind].removesuffix('.py')}:{class_name}"
    assert spec_of(folder).items() >= {"name": name, "target": target, "summary": summary}.items()
    assert len(summary) <= 80  # what the contract allows


@every_kind
def test_every_file_is_about_the_plugin(tmp_path, kind):
    for path in new_plugin("wavelet", kind, tmp_path).rglob("*.*"):
        if path.is_file() and path.name != "py.typed":
            assert "wavelet" in path.read_text(encoding="utf-8"), path


@every_kind
def test_the_readme_says_what_to_change_first(tmp_path, kind):
    folder = new_plugin("wavelet", kind, tmp_path)
    steps = (folder / "README.md").read_text("utf-8").partition("## What to change first\n")[2].partition("\n##")[0]
    quoted = re.findall(r"`([^`]+)`", steps)
    paths = {word for word in quoted if re.fullmatch(r"[\w/]+\.(py|toml)", word)}
    assert paths >= {f"zoo_wavelet/{MODULES[kind]}", "zoo_wavelet/plugin.py", "pyproject.toml"}
    assert [path for path in paths if not (folder / path).exists()] == []
    assert f"Wavelet{kind.capitalize()}" in quoted
    constants = re.findall(r"^([A-Z_]+) =", (folder / "zoo_wavelet" / "plugin.py").read_text("utf-8"), re.MULTILINE)
    assert set(constants) <= set(quoted)


@every_kind
def test_the_readme_says_how_to_check_and_to_publish(tmp_path, kind):
    readme = (new_plugin("wavelet", kind, tmp_path) / "README.md").read_text(encoding="utf-8")
    assert {"pytest", "python -m build", "twine upload dist/*"} <= set(re.findall(r"^    (.+)$", readme, re.MULTILINE))
    assert "`zoo check zoo-wavelet`" in readme


@every_kind
def test_the_commands_in_the_readme_exist(tmp_path, kind):
    readme = (new_plugin("wavelet", kind, tmp_path) / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (zoo .+)$", readme, re.MULTILINE) + re.findall(r"`(zoo [^`]+)`", readme)
    assert len(commands) >= 5
    for command in commands:
        _, name, *arguments = shlex.split(command)
        assert name in app.commands
        if arguments:  # else the command as such is meant
            app.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", ["patch", "my-deep-net", "3d.net", "n" * 64], ids=len)
@every_kind
def test_the_code_is_clean(tmp_path, kind, name):
    folder = new_plugin(name, kind, tmp_path)
    options = ["--isolated", "--no-cache", "--line-length", "120"]
    for command in (
        ["check", "--select", "A,B,E,F,I,N,PL,RUF,SIM,UP,W", "--ignore", "RUF001,RUF002,RUF003"],
        ["format", "--diff"],
    ):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options, folder], capture_output=True, text=True, cwd=folder
        )
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["my-own", "3.own"])
@every_kind
def test_an_installed_new_plugin_offers_its_component(run_zoo, tmp_path, kind, name):
    environment = install(tmp_path, new_plugin(name, kind, tmp_path))
    shown = run_zoo("plugins", environment=environment).stdout
    name, distribution = re.escape(name), re.escape("zoo-" + name.replace(".", "-"))
    assert re.search(rf"^{name} +{distribution} 0\.1\.0 +{kind} {name}$", shown, re.MULTILINE)


@every_kind
def test_an_installed_new_plugin_has_an_option_with_bounds_a_default_and_help(run_zoo, tmp_path, kind):
    environment = install(tmp_path, new_plugin("my-own", kind, tmp_path))
    (option,) = re.findall(rf"--set {kind}\..+", run_zoo("info", kind, "my-own", environment=environment).stdout)
    assert re.fullmatch(r"--set \S+=…  (integer|number), \S+ to \S+  default \S+  [A-Z].+\.", option)


@every_kind
def test_the_command_writes_the_plugin_and_says_what_to_run_next(run_zoo, tmp_path, kind):
    result = run_zoo("new-plugin", "patch", "--kind", kind)
    choice = {
        "encoder": "--encoder patch --dataset mnist",
        "decoder": "--encoder mlp --decoder patch --dataset mnist",
        "objective": "--encoder mlp --objective patch --dataset mnist",
        "distortion": "--encoder mlp --distortion patch --dataset mnist",
        "dataset": "--encoder mlp --dataset patch",
    }[kind]
    assert result.stdout == (
        "wrote  zoo-patch\n"
        "next   pip install -e './zoo-patch[test]'\n"
        "       pytest zoo-patch\n"
        f"       zoo train {choice}\n"
    )
    assert (result.status, result.stderr) == (0, "")
    assert contents(tmp_path / "zoo-patch").keys() >= {tmp_path / "zoo-patch" / "zoo_patch" / MODULES[kind]}
    assert f"    zoo train {choice}\n" in (tmp_path / "zoo-patch" / "README.md").read_text(encoding="utf-8")


def test_an_encoder_is_written_by_default(run_zoo, tmp_path):
    run_zoo("new-plugin", "patch")
    assert "zoo_encoders" in (tmp_path / "zoo-patch" / "zoo_patch" / "plugin.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("absolute", [False, True])
def test_the_commands_name_another_directory_as_a_shell_reads_it(run_zoo, tmp_path, absolute):
    (tmp_path / "my work").mkdir()
    directory = tmp_path / "my work" if absolute else Path("my work")
    result = run_zoo("new-plugin", "patch", "--directory", directory)
    install_line, pytest_line = result.stdout.splitlines()[1:3]
    folder = directory / "zoo-patch"
    assert shlex.split(install_line)[-1] == (f"{folder}[test]" if absolute else f"./{folder}[test]")
    assert shlex.split(pytest_line) == ["pytest", str(folder)]
    assert (tmp_path / folder / "pyproject.toml").exists()


@pytest.mark.parametrize(
    "name",
    [
        "Patch",
        "my net",
        "my--net",
        "my-_net",
        "my..net",
        ".net",
        "-net",
        "net-",
        "_net",
        "",
        "../net",
        "nétt",
        "net\n",
        "n" * 65,
    ],
)
def test_a_bad_name_is_refused(run_zoo, tmp_path, name):
    result = run_zoo("new-plugin", "--", name)
    assert_refused(result, r"'.*' cannot be a plugin's name: use up to 64 lower-case letters and digits, .* e\.g\. .*")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp"], r"There is encoder 'mlp' already, from autoencoder-zoo: choose another name\."),
        (
            ["diverging", "--kind", "objective"],
            r"There is objective 'diverging' already, from zoo-tiny: choose another name\.",
        ),
        (["tiny", "--kind", "encoder"], r"There is a Python package zoo_tiny already: choose another name\."),
        (["objectives"], r"There is a Python package zoo_objectives already: choose another name\."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_taken_name_is_refused(run_zoo, tmp_path, arguments, message):
    assert_refused(run_zoo("new-plugin", *arguments), message)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_distribution_is_refused(run_zoo, tmp_path):
    write_distribution(tmp_path / "site", "zoo-patch", {"other": "elsewhere.plugin"})
    result = run_zoo("new-plugin", "patch", environment={"PYTHONPATH": str(tmp_path / "site"), "ZOO_BLOCK": "other"})
    assert_refused(result, r"There is a distribution zoo-patch already: choose another name\.")
    assert not (tmp_path / "zoo-patch").exists()


def test_a_name_that_another_kind_has_is_free(tmp_path):
    assert new_plugin("diverging", "encoder", tmp_path).exists()


def test_names_are_taken_by_the_given_registry(tmp_path):
    with pytest.raises(ConfigError, match="There is encoder 'mlp' already"):
        new_plugin("mlp", "encoder", tmp_path)
    with pytest.raises(ConfigError, match="There is a Python package zoo_mlp already"):
        new_plugin("mlp", "encoder", tmp_path, NOTHING_INSTALLED)


@pytest.mark.parametrize("kind_of_target", ["folder", "empty folder", "file", "dangling link"])
def test_what_is_there_already_is_never_overwritten(run_zoo, tmp_path, kind_of_target):
    target = tmp_path / "zoo-patch"
    if kind_of_target == "file":
        target.write_text("precious")
    elif kind_of_target == "dangling link":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
    if kind_of_target == "folder":
        (target / "pyproject.toml").write_text("precious")
    before = contents(tmp_path)
    assert_refused(run_zoo("new-plugin", "patch"), r"zoo-patch exists: choose another name or --directory\.")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("directory", "reason"),
    [("nowhere", "No such file or directory"), ("file", "Not a directory"), ("/proc/self", "")],
)
def test_a_directory_that_cannot_be_used_is_refused(run_zoo, tmp_path, directory, reason):
    (tmp_path / "file").write_text("precious")
    result = run_zoo("new-plugin", "patch", "--directory", directory)
    assert_refused(result, rf"Cannot write {directory}/zoo-patch: {reason}.*\. Choose another --directory\.")
    assert contents(tmp_path) == {tmp_path / "file": b"precious"}


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(28, "No space left on device"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_plugin_that_cannot_be_written_whole_is_taken_away(monkeypatch, tmp_path, failure, raised):
    write_text = Path.write_text

    def fail_at_the_module(path, *arguments, **options):
        if path.name == "networks.py":
            raise failure
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail_at_the_module)
    (tmp_path / "mine").mkdir()
    with pytest.raises(raised):
        new_plugin("patch", "encoder", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_kind_is_refused(run_zoo, tmp_path):
    result = run_zoo("new-plugin", "patch", "--kind", "nonsense")
    assert_refused(result, r"Invalid value for '--kind': 'nonsense' is not one of .*")
    assert list(tmp_path.iterdir()) == []
