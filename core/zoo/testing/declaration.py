"""Checks of what a plugin declares: they hold for all kinds."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from zoo.errors import PluginError
from zoo.options import REQUIRED, options_of
from zoo.specs import Kind
from zoo.testing.check import Failed, Subject, check

HEAVY = ("torch", "torchvision", "pytorch_lightning", "tensorflow", "jax", "timm", "transformers", "pandas", "scipy")
_ALL: tuple[Kind, ...] = get_args(Kind)
_ALL_BUT_DATASETS = tuple(kind for kind in _ALL if kind != "dataset")


@check(*_ALL, cause="plugin.py imports its networks, or a package whose __init__.py imports torch")
def listing_is_light(subject: Subject) -> None:
    """Importing the plugin's module imports nothing heavy: it happens whenever components are listed."""
    module = subject.component.plugin.module.partition(":")[0]
    program = f"import sys; sys.path[:] = {sys.path!r}; import {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        raise Failed(f"importing {module} failed: {result.stderr.strip().splitlines()[-1]}", "an import that works")
    if heavy := result.stdout.split():
        raise Failed(f"importing {module} imports {', '.join(sorted(heavy))}", "none of it before a component is built")


@check(*_ALL, cause="a misspelt name in the spec's target, or a package that the plugin's own dependencies do not list")
def target_resolves(subject: Subject) -> None:
    """The target that the spec names can be imported, and called."""
    if subject.unresolved:
        raise Failed(subject.unresolved, "a class or function")


@check(*_ALL, cause="an argument was renamed, reordered or added without `*` before it")
def signature(subject: Subject) -> None:
    """The target takes the contract's positional arguments, and options by keyword only."""
    expected = subject.component.spec.arguments
    parameters = list(inspect.signature(subject.target).parameters.values())
    positional = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    if positional != expected:
        raise Failed(f"positional arguments {positional}", f"{expected}")


@check(*_ALL, cause="`*args` or `**kwargs` in the constructor, often to pass them on to a base class")
def no_catch_all(subject: Subject) -> None:
    """The target declares every option by name: `**kwargs` would swallow misspelt ones."""
    for parameter in inspect.signature(subject.target).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Failed(f"the target takes {parameter}", "named keyword-only arguments")


@check(*_ALL, cause="a keyword-only argument without an annotation, or with one that pydantic cannot validate")
def options_typed(subject: Subject) -> None:
    """Every option has a type that can be validated, described and stored as JSON."""
    target = subject.target
    try:
        options_of(target)
    except PluginError as error:
        raise Failed(str(error), "a type such as `int`, `Literal[…]` or `Annotated[…]` for each") from error


@check(*_ALL, cause="the docstring's `Args:` does not list it, and no `Field(description=…)` says it")
def options_documented(subject: Subject) -> None:
    """Every option has a help text."""
    for option in subject.declared_options:
        if not option.help.strip():
            raise Failed(f"option '{option.name}' has no help text", "one in the docstring's `Args:` section")


@check(
    *_ALL_BUT_DATASETS,
    cause="a value that every user was meant to choose: give the most usual one, e.g. `width: int = 64`",
)  # fmt: skip
def options_have_defaults(subject: Subject) -> None:
    """A component can be built without naming any option."""
    for option in subject.declared_options:
        if option.default is REQUIRED:
            raise Failed(f"option '{option.name}' has no default", "a default for every option")


@check(*_ALL_BUT_DATASETS, cause="`int` where `Annotated[int, Field(ge=1, le=4096)]` is meant")
def options_bounded(subject: Subject) -> None:
    """Every whole number among the options has a lower and an upper bound: it may size memory."""
    for option in subject.declared_options:
        for schema in _parts(option.schema(), "integer"):
            bounds = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
            chosen = "enum" in schema or "const" in schema  # a `Literal` bounds itself
            if not chosen and not all(side & schema.keys() for side in bounds):
                raise Failed(f"option '{option.name}' is an integer without both bounds", "Field(ge=…, le=…)")


@check(*_ALL_BUT_DATASETS, cause="a tuple or list without `Field(max_length=…)`")
def options_finite(subject: Subject) -> None:
    """Every list among the options has a greatest length."""
    for option in subject.declared_options:
        if any("maxItems" not in schema for schema in _parts(option.schema(), "array")):
            raise Failed(f"option '{option.name}' takes a list of any length", "Field(max_length=…)")


@check(*_ALL, cause="a summary copied from a template, or longer than a line of `zoo list`")
def summary_fits(subject: Subject) -> None:
    """The summary is one line of at most 80 characters, and says something."""
    summary = subject.component.spec.summary
    if len(summary) > 80 or summary.strip().lower() in {"todo", "summary", "...", "tbd", subject.component.name}:
        raise Failed(f"summary {summary!r} ({len(summary)} characters)", "a telling line of at most 80")


def _parts(schema: Any, type_: str) -> Iterator[Mapping[str, Any]]:
    """Yield every part of a JSON schema that describes a value of a type, at any depth."""
    if isinstance(schema, Mapping):
        if schema.get("type") == type_:
            yield schema
        for part in schema.values():
            yield from _parts(part, type_)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part, type_)
