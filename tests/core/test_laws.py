"""The laws of the design that can be read off the source, or off a fresh interpreter."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "core" / "zoo").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
DEMO = sorted((ROOT / "demo" / "zoo_demo").rglob("*.py"))
PLUGIN_PACKAGES = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))
FORBIDDEN = {
    "cloudpickle", "dill", "eval", "exec", "joblib.load", "marshal", "numpy.load", "np.load", "pickle", "shelve",
    "torch.hub", "torch.load", "yaml.load", "yaml.unsafe_load",
}  # fmt: skip
# The words of a command line that was begun, or a flag whose value is a path.
COMMAND_BEGUN = re.compile(
    r"(?:^|[\s:(`])(?:(?:zoo|pip|pytest|mkdir|cd)(?: [\w/.=-]+)* |--(?:output|config|directory) )$"
)
RUN = """
import sys
from zoo.cli import main
status = None
try:
    main(sys.argv[1:])
except SystemExit as exit_:
    status = exit_.code
print(status, "torch" in sys.modules)
"""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield everything that is imported, wherever it stands: `a.b` for `import a.b` and `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def mentions(tree: ast.AST) -> Iterator[str]:
    """Yield every import, and every name and dotted name that the code uses."""
    yield from imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield ast.unparse(node)


def forbidden(tree: ast.AST) -> set[str]:
    """Return what a tree mentions of the ways to run code that a file holds."""
    return {name for name in mentions(tree) if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN}


def private_uses(tree: ast.AST) -> set[str]:
    """Return what a tree uses of `zoo` beside its public names."""
    public = {"zoo"} | {f"zoo.{name}" for name in zoo.__all__}
    used = {name for name in mentions(tree) if name.split(".")[0] == "zoo"}
    return {name for name in used if ".".join(name.split(".")[:2]) not in public}


def unquoted_values(tree: ast.AST) -> list[str]:
    """Return what f-strings put into a command line without quoting it for the shell."""
    found = []
    for text in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        before = ""
        for part in text.values:
            if isinstance(part, ast.Constant):
                before += part.value
            elif ast.unparse(part.value).startswith(("quoted(", "command(")) or ast.unparse(part.value).isupper():
                before += "WORD"  # a constant's name is upper-case
            elif COMMAND_BEGUN.search(before):
                found.append(ast.unparse(part.value))
            else:
                before += "VALUE"
    return found


@pytest.fixture
def run_python(zoo_environment, tmp_path):
    """Run code in a fresh interpreter, and return the last line that it prints."""

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(
            command, env=zoo_environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        return result.stdout.splitlines()[-1]

    return run


def test_importing_zoo_imports_no_torch(run_python):
    assert run_python("import sys, zoo; print('torch' in sys.modules)") == "False"


def test_asking_for_the_version_imports_no_torch(run_python):
    assert run_python("import sys, zoo; zoo.__version__; print('torch' in sys.modules)") == "False"


def test_using_a_public_name_of_a_plugin_module_imports_no_torch(run_python):
    code = "import sys; from zoo import DatasetSpec, DecoderSpec, EncoderSpec, ObjectiveSpec, hookimpl; "
    assert run_python(code + "print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["list", "--json"], ["plugins"], ["plugins", "--json"]], ids=" ".join
)
def test_a_listing_command_imports_no_torch(run_python, arguments):
    assert run_python(RUN, *arguments) == "0 False"


def test_a_table_of_runs_imports_no_torch(run_python, tmp_path):
    shutil.copytree(Path(zoo.installed().model("mnist-mlp").path).parent, tmp_path / "runs")
    assert run_python(RUN, "runs") == "0 False"


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_imports_no_plugin_and_no_demo(path):
    assert [name for name in imports(parse(path)) if name.startswith("zoo_")] == []


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_names_no_plugin_package_even_as_text(path):
    named = re.findall(r"\b(\w+)[.:]\w", path.read_text(encoding="utf-8"))
    assert set(named) & set(PLUGIN_PACKAGES) == set()


@pytest.mark.parametrize("path", CORE + PLUGINS, ids=relative)
def test_nothing_runs_code_that_a_file_holds(path):
    assert forbidden(parse(path)) == set()


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_a_plugin_uses_only_public_names_of_zoo(path):
    assert private_uses(parse(path)) == set()


@pytest.mark.parametrize("path", CORE + PLUGINS + DEMO, ids=relative)
def test_every_value_in_a_command_that_a_message_shows_is_quoted_for_the_shell(path):
    assert unquoted_values(parse(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        'f"To go on: zoo resume {run}"',
        'f"zoo resume {quoted(run)} --output {file}"',
        'f"pip install {package}"',
        'f"choose --output {path}"',
        'f"Run (mkdir -p {path})"',
        '"zoo eval " + f"`zoo eval {run}`"',
    ],
)
def test_the_law_of_quoting_sees(code):
    assert unquoted_values(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    ['f"zoo resume {quoted(run)} --epochs 3"', 'f"{path} holds a run"', 'f"{flag} {even} can."', 'f"the zoo, {name}"'],
)
def test_the_law_of_quoting_lets_pass(code):
    assert unquoted_values(ast.parse(code)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import load",
        "torch.load(path)",
        "from torch import load",
        "def f():\n    yaml.load(text)",
        "eval(text)",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_the_law_against_pickle_and_eval_sees(code):
    assert forbidden(ast.parse(code))


@pytest.mark.parametrize("code", ["model.eval()", "safetensors.torch.load(raw)", "from safetensors.torch import load"])
def test_the_law_against_pickle_and_eval_lets_pass(code):
    assert not forbidden(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "from zoo import registry",
        "from zoo.contract.specs import EncoderSpec",
        "import zoo.data.splits",
        "import zoo\nzoo.data.Span",
    ],
)
def test_the_law_of_public_names_sees(code):
    assert private_uses(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["from zoo import EncoderSpec, hookimpl", "import zoo\nzoo.hookimpl", "import zoo_mlp.plugin"]
)
def test_the_law_of_public_names_lets_pass(code):
    assert not private_uses(ast.parse(code))
