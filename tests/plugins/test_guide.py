"""The guide for plugin authors is true: its plugins train and keep the contract, and its tables are those of the code.

`python tests/plugins/test_guide.py` prints the table of checks as the guide has to hold it.
"""

import ast
import inspect
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
import zoo.testing
from zoo.cli import app
from zoo.contract import hookspecs, registry, specs
from zoo.testing import CHECKS

KINDS = get_args(specs.Kind)
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# (zoo-\S+)\n(.*?)```", GUIDE, re.DOTALL))
FOLDERS = sorted({path.partition("/")[0] for path in FILES})
STEPS = re.findall(r"^    (zoo .+)$", GUIDE, re.MULTILINE)  # commands on a line of their own
COMMANDS = sorted({*STEPS, *re.findall(r"`(zoo [^`]+)`", GUIDE)})
SPEC_TYPES = (
    *(specs.EncoderSpec, specs.DecoderSpec, specs.ObjectiveSpec, specs.DistortionSpec),
    *(specs.DatasetSpec, specs.MetricSpec),
)


def commands(name):
    return [command for command in STEPS if shlex.split(command)[1] == name]


def quickly(command):
    """Return a command that trains on few images in place of MNIST's."""
    return command.replace("--dataset mnist", "--dataset tiny")


def section(title):
    return re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", GUIDE, re.DOTALL | re.MULTILINE)[1]


def rows(title):
    """Return the cells of the rows of the tables in a section, headings left out."""
    lines = re.findall(r"^\| (.*) \|$", section(title), re.MULTILINE)
    cells = [re.split(r"(?<!\\) \| ", line.replace(r"\|", "\\|")) for line in lines]
    headings = ("spec", "field", "kind", "`zoo.")
    return [row for row in cells if not row[0].startswith(headings)]


def rendered_checks():
    """Return the guide's tables of checks: one for each combination of kinds that share some, the widest first."""
    combinations = {check.kinds for check in CHECKS}
    tables = []
    for kinds in sorted(combinations, key=lambda kinds: (-len(kinds), [KINDS.index(kind) for kind in kinds])):
        promises = [f"| `{check.name}` | {check.promise} |" for check in CHECKS if check.kinds == kinds]
        tables.append("\n".join([f"| {' · '.join(kinds)} | promise |", "|---|---|", *promises]))
    return "\n\n".join(tables)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A home directory with the photographs that the guide's dataset declares, of several sizes."""
    home = tmp_path_factory.mktemp("home")
    generator = np.random.default_rng(0)
    declared = re.search(r"^SPLITS = (\{.*?\})", FILES["zoo-photos/zoo_photos/plugin.py"], re.MULTILINE)[1]
    for split, count in ast.literal_eval(declared).items():
        folder = home / "photos" / split
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (20 + number % 7, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:04}.png")
    return home


@pytest.fixture(scope="module")
def environment(photos, tmp_path_factory):
    """Environment in which every plugin of the guide is installed, and the photographs are at home."""
    from conftest import write_distribution  # here, so that this file also runs as a program

    site = tmp_path_factory.mktemp("guide")
    for path, text in FILES.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, encoding="utf-8")
    for folder in FOLDERS:  # "the files are those of zoo-patch with other names"
        template = FILES["zoo-patch/pyproject.toml"].replace("patch", folder.removeprefix("zoo-"))
        project = tomllib.loads(FILES.get(f"{folder}/pyproject.toml", template))["project"]
        write_distribution(
            site / folder,
            project["name"],
            project["entry-points"]["zoo"],
            version=project["version"],
            requires=tuple(project["dependencies"]),
        )
    return {"PYTHONPATH": os.pathsep.join(str(site / folder) for folder in FOLDERS), "HOME": str(photos)}


def test_it_has_a_plugin_of_every_kind():
    hooks = re.findall(r"^def (zoo_\w+)\(", "".join(FILES.values()), re.MULTILINE)
    assert set(hooks) == {f"zoo_{kind}s" for kind in KINDS}


@pytest.mark.parametrize("command", commands("train"))
def test_its_commands_train(run_zoo, environment, photos, command):
    quick = quickly(command).replace("/data/photos", str(photos / "photos"))
    result = run_zoo(*shlex.split(quick)[1:], "--epochs", 1, environment=environment)
    assert result.status == 0, result.stderr
    assert "test  mse" in result.stdout


@pytest.mark.parametrize("plugin", FOLDERS)
def test_its_plugins_keep_the_contract(run_zoo, environment, plugin):
    result = run_zoo("check", plugin, environment=environment)
    assert result.status == 0, result.stdout
    assert " passed, 0 failed" in result.stdout


@pytest.mark.parametrize("command", [command for command in commands("check") if "--set" in command])
def test_its_dataset_of_files_is_checked_where_they_are(run_zoo, environment, photos, tmp_path, command):
    arguments = shlex.split(command.replace("/data/photos", str(photos / "photos")))[1:]
    result = run_zoo(*arguments, environment=environment | {"HOME": str(tmp_path)})  # none at the default place
    assert result.status == 0, result.stdout
    assert " passed, 0 failed, 1 not applicable" in result.stdout  # it names no classes


def test_photographs_that_are_missing_are_named(run_zoo, environment, tmp_path):
    folder = f"dataset.folder={tmp_path}"
    result = run_zoo("train", "--encoder", "mlp", "--dataset", "photos", "--set", folder, environment=environment)
    assert result.status == 1
    assert result.stderr == (
        f"zoo: {tmp_path}/train must hold 400 images (.jpg, .jpeg or .png), 0 found: "
        "--set dataset.folder=DIRECTORY says where they are.\n"
    )


def test_a_photograph_that_is_damaged_is_named(run_zoo, environment, photos, tmp_path):
    shutil.copytree(photos / "photos", tmp_path / "photos")
    damaged = tmp_path / "photos" / "train" / "0007.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    folder = f"dataset.folder={tmp_path / 'photos'}"
    result = run_zoo("train", "--encoder", "mlp", "--dataset", "photos", "--set", folder, environment=environment)
    assert result.status == 1
    assert re.fullmatch(rf"zoo: {re.escape(str(damaged))} cannot be read: .+\n", result.stderr)


def test_photographs_of_sixteen_bits_and_with_transparent_parts_are_seen_as_they_look(environment, tmp_path):
    folder = tmp_path / "photos" / "test"
    folder.mkdir(parents=True)
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(ramp).save(folder / "000.png")
    Image.new("RGBA", (64, 64), (10, 200, 30, 0)).save(folder / "001.png")
    for number in range(2, 100):
        Image.new("L", (1, 1)).save(folder / f"{number:03}.png")
    code = (
        "import sys, numpy; from zoo_photos.dataset import PhotosDataset;"
        "numpy.save(sys.argv[2], PhotosDataset('test', folder=sys.argv[1]).tensors[0][:2].numpy())"
    )
    command = [sys.executable, "-c", code, folder.parent, tmp_path / "images.npy"]
    subprocess.run(command, check=True, env=os.environ | environment)
    grey, transparent = np.load(tmp_path / "images.npy")
    assert (grey == np.round(ramp / 257)).all()
    assert (transparent == 255).all()


@pytest.mark.parametrize("command", commands("new-plugin"))
def test_what_new_plugin_writes_is_quoted(run_zoo, tmp_path, command):
    result = run_zoo(*shlex.split(command)[1:])
    assert result.status == 0, result.stderr
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    quoted = {path: text for path, text in FILES.items() if path.startswith(f"{folder.name}/")}
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in quoted} == quoted


def test_the_steps_are_those_that_new_plugin_prints(run_zoo):
    steps = re.search(r"^    (zoo new-plugin patch\n(?:    .*\n)+)", GUIDE, re.MULTILINE)[1]
    command, *following = [line.strip() for line in steps.splitlines()]
    printed = run_zoo(*shlex.split(command)[1:]).stdout
    assert [re.sub(r"^(wrote|next) +", "", line).strip() for line in printed.splitlines()] == ["zoo-patch", *following]


def test_the_files_of_new_plugin_are_listed(run_zoo, tmp_path):
    run_zoo("new-plugin", "patch")
    folder = tmp_path / "zoo-patch"
    listed = re.findall(
        r"^  (\S+)  ", re.search(r"^zoo-patch/\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE)[1], re.MULTILINE
    )
    written = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert sorted(listed) == sorted(written)


@pytest.mark.parametrize(("command", "output"), re.findall(r"<!-- output: (.+?) -->\n```\n(.*?)```", GUIDE, re.DOTALL))
def test_quoted_output_is_what_is_printed(run_zoo, environment, command, output):
    assert run_zoo(*shlex.split(command)[1:], environment=environment).stdout == output


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_exist(command):
    words = iter(shlex.split(command)[1:])
    name = next(word for word in words if word not in app.params[0].opts)  # after --no-plugins
    if arguments := list(words):  # else the command as such is meant
        app.commands[name].make_context(name, arguments)
    assert name in app.commands


def test_the_checks_that_it_names_exist():
    expected = ast.literal_eval(re.search(r"expected_failures=(\{.*\})\)", GUIDE)[1])
    named = {name for checks in expected.values() for name in checks} | set(re.findall(r"--only (\w+)", GUIDE))
    assert named
    assert named <= {check.name for check in CHECKS}


@pytest.mark.parametrize("call", re.findall(r"contract_tests\(.*\)(?=\n)", GUIDE))
def test_contract_tests_is_called_as_it_may_be(call):
    arguments = ast.parse(call, mode="eval").body
    keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in arguments.keywords}
    inspect.signature(zoo.testing.contract_tests).bind(*map(ast.literal_eval, arguments.args), **keywords)


def test_its_table_of_checks_is_complete():
    table = re.search(r"<!-- checks: .*? -->\n(.*?)\n<!-- end of checks -->", GUIDE, re.DOTALL)[1]
    assert table == rendered_checks(), "paste what `python tests/plugins/test_guide.py` prints"


def test_its_hooks_are_those_of_hookspecs():
    hooks = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, "zoo_spec")}
    signatures = {name: str(inspect.signature(hook)).replace("'", "") for name, hook in hooks.items()}
    defined = [f'def {name}{signatures[name]}:\n    """{hook.__doc__}"""\n' for name, hook in hooks.items()]
    assert len(defined) == len(KINDS) + 1  # of components, and of models
    assert re.search(r"```python\n(.*?)```", section("Hooks"), re.DOTALL)[1] == "\n\n".join(defined)


def test_its_specs_have_the_fields_of_the_code():
    listed = {row[0]: row[1] for row in rows("Specs") if len(row) == 2}
    assert listed == {
        f"`{spec.__name__}`": ", ".join(f"`{f.name}`" for f in fields(spec)) for spec in (*SPEC_TYPES, specs.ModelSpec)
    }


def test_its_fields_have_the_types_of_the_code():
    listed = {row[0]: row[1].replace("\\|", "|") for row in rows("Specs") if len(row) == 3}
    declared = (*fields(specs.DatasetSpec), *fields(specs.MetricSpec), *fields(specs.ModelSpec))
    assert listed == {f"`{f.name}`": f"`{f.type}`" for f in declared}


def test_targets_are_called_as_it_says():
    calls = {spec.kind: f"`{re.search('called as `(.+?)`', spec.__doc__)[1]}`" for spec in SPEC_TYPES}
    assert {row[0]: row[1] for row in rows("Calls")} == calls


@pytest.mark.parametrize(
    ("title", "base"),
    [
        ("Objectives", zoo.Objective),
        ("Variational objectives", zoo.Variational),
        ("Distortions", zoo.Distortion),
    ],
)
def test_it_lists_what_a_base_class_offers(title, base):
    assert {row[0].replace("`", "") for row in rows(title)} == {
        signature(name, member) for name, member in vars(base).items() if not name.startswith("_")
    }


def test_it_lists_what_batches_and_parts_offer():
    listed = [row[0].replace("`", "") for row in rows("Batches and parts")]
    of_batches = [f.name for f in (*fields(zoo.DataFacts), *fields(zoo.Batch))]
    public = {name: member for name, member in vars(zoo.Parts).items() if not name.startswith("_")}
    assert sorted(listed) == sorted([*of_batches, *(signature(name, member) for name, member in public.items())])
    attributes = re.search(r"^Its attributes are (.*?)\.$", section("Batches and parts"), re.DOTALL | re.MULTILINE)[1]
    documented = set(re.findall(r"^        (\w+): ", zoo.Parts.__doc__, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", attributes)) == documented - {"reconstruction", "adversarial"}  # for the core


def test_its_snippet_of_a_conditional_model_runs(run_zoo, environment, tmp_path, monkeypatch):
    (train,) = [command for command in commands("train") if "--conditional" in command]
    run_zoo(*shlex.split(quickly(train))[1:], "--epochs", 1, environment=environment)
    (snippet,) = re.findall(r"```python\n(import torch\nimport zoo\n.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(snippet, found)
    assert found["images"].shape == found["unknown"].shape == (3, 1, 16, 16)
    assert not torch.equal(found["others"], found["unknown"])


def test_its_snippet_of_a_pretrained_model_yields_a_spec():
    (snippet,) = re.findall(r"```python\n(@hookimpl\ndef zoo_models.*?)```", GUIDE, re.DOTALL)
    found = {"hookimpl": zoo.hookimpl, "ModelSpec": zoo.ModelSpec, "Iterator": Iterator}
    exec(snippet, found)
    assert [type(spec) for spec in found["zoo_models"]()] == [zoo.ModelSpec]


def signature(name, member):
    if isinstance(member, property):
        return f"{name}, a property"
    return name + parameters(member) if callable(member) else name


def parameters(method):
    """Return a method's parameters without `self` and annotations."""
    taken = itertools.islice(inspect.signature(method).parameters.values(), 1, None)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in taken]
    return f"({', '.join(map(str, plain))})"


def test_its_environment_variables_are_those_of_the_registry():
    assert set(re.findall(r"ZOO_\w+", GUIDE)) == set(re.findall(r"ZOO_\w+", registry.__doc__))


def test_the_public_names_that_it_uses_exist():
    names = set(re.findall(r"`zoo\.((?:testing\.)?\w+)", GUIDE))
    assert names
    assert [name for name in names if not hasattr(zoo.testing if "." in name else zoo, name.split(".")[-1])] == []


if __name__ == "__main__":
    print(rendered_checks())
