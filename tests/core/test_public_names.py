"""`zoo` has the public names that its type-checking imports state, each imported when it is first used."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

import zoo


def stated_imports() -> dict[str, str]:
    """Return the names that `zoo/__init__.py` re-exports for type checkers: name → module."""
    tree = ast.parse(Path(zoo.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        alias.asname: statement.module
        for statement in block.body
        for alias in statement.names
        if alias.asname == alias.name  # `from x import y as y` is what type checkers take as a re-export
    }


def test_the_public_names_are_sorted():
    assert list(zoo.__all__) == sorted(set(zoo.__all__))


def test_the_public_names_are_those_that_type_checkers_see():
    assert set(zoo.__all__) == stated_imports().keys()


@pytest.mark.parametrize("name", zoo.__all__)
def test_a_public_name_is_what_its_module_holds(name):
    assert getattr(zoo, name) is getattr(importlib.import_module(stated_imports()[name]), name)


def test_dir_shows_the_public_names():
    assert dir(zoo) == zoo.__all__


def test_a_star_import_gives_the_public_names():
    namespace: dict[str, object] = {}
    exec("from zoo import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(zoo.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'nonsense'"):
        _ = zoo.nonsense


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert zoo.__version__ == project["version"]
