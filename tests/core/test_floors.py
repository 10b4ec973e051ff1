"""The order of the floors: a module of `zoo` imports what is below it, or on its own floor, and nothing above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

ZOO = ROOT / "core" / "zoo"
FLOORS = [
    {"errors", "files", "defaults"},
    {"contract"},
    {"config"},
    {"model", "data"},
    {"training", "evaluation"},
    {"testing", "scaffold"},
    {"cli"},
]
ENTRANCES = {"__init__", "__main__"}  # they lead to every floor


def floor_of(name: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if name in floor)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name below `zoo` of each import that is run; one for type checkers alone is not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "zoo":
            names = [node.module] if node.module != "zoo" else [f"zoo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("zoo.")]
        else:
            continue
        for name in names:
            yield node.lineno, name.split(".")[1]


def rooms() -> set[str]:
    return {path.stem for path in ZOO.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def test_every_room_is_on_a_floor() -> None:
    assert rooms() - ENTRANCES == set().union(*FLOORS)


@pytest.mark.parametrize("path", sorted(ZOO.rglob("*.py")), ids=lambda path: path.relative_to(ZOO).as_posix())
def test_nothing_is_imported_from_a_higher_floor(path: Path) -> None:
    room = path.relative_to(ZOO).parts[0].removesuffix(".py")
    if room in ENTRANCES:
        return
    above = [f"line {line}: zoo.{name}" for line, name in imported(path) if floor_of(name) > floor_of(room)]
    assert above == []
