"""A component's options: keyword arguments of its target ↔ command-line text ↔ JSON.

The signature is the declaration: annotations give type and bounds, defaults the default, and the
docstring's `Args:` (or a `Field(description=…)`) the help.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, ImportString, TypeAdapter, ValidationError

from zoo.errors import ConfigError, PluginError, did_you_mean, printable

REQUIRED = inspect.Parameter.empty
_FINITE = ConfigDict(allow_inf_nan=False)  # JSON has no NaN and no infinity
# pydantic's "a valid integer, unable to parse string as an integer" and the like
_SAID_TWICE = {"bool_parsing", "float_parsing", "int_from_float", "int_parsing"}


@dataclass(frozen=True)
class Option:
    """One option of a component.

    Attributes:
        name: The keyword argument's name.
        annotation: Its type, with bounds, as `typing.Annotated` holds them.
        default: Its default; `options.REQUIRED` where there is none.
        help: What the docstring says about it; may be empty.
    """

    name: str
    annotation: Any
    default: Any
    help: str

    def parse(self, value: object) -> Any:
        """Validate a Python or JSON value, or command-line text, into what the target takes.

        Raises:
            pydantic.ValidationError: It is of the wrong type or out of bounds.
        """
        if isinstance(value, str) and _allows(self.annotation, types.NoneType) and value.lower() == "none":
            value = None
        elif isinstance(value, str) and _allows(self.annotation, tuple, list):
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif isinstance(value, str):
            value = next((choice for choice in _choices(self.annotation) if str(choice) == value), value)
        return self._adapter.validate_python(value)

    def to_json(self, value: Any) -> Any:
        """Return a parsed value as JSON holds it."""
        return self._adapter.dump_python(value, mode="json")

    def schema(self) -> dict[str, Any]:
        """Return the option as JSON schema, with its default and description."""
        schema = self._adapter.json_schema()
        if self.default is not REQUIRED:
            schema["default"] = self.to_json(self.default)
        if self.help:
            schema["description"] = self.help
        return schema

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation, config=_FINITE)


@functools.cache
def options_of(target: Callable[..., object]) -> tuple[Option, ...]:
    """Return the options that a component's target declares: its keyword-only arguments.

    Raises:
        PluginError: One has no annotation, or one that cannot be validated or stored as JSON.
    """
    function = target.__init__ if inspect.isclass(target) else target
    help_texts = _args_section(inspect.getdoc(function)) | _args_section(inspect.getdoc(target))
    owner = getattr(target, "__qualname__", repr(target))
    try:
        parameters = inspect.signature(target, eval_str=True).parameters.values()
    except Exception as error:  # evaluating its annotations runs the plugin's code
        raise PluginError(f"the options of {owner} cannot be read: {type(error).__name__}: {error}") from error
    options = []
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        name = parameter.name
        annotation = parameter.annotation
        if annotation is parameter.empty:
            raise PluginError(f"option '{name}' of {owner} has no type annotation")
        if _imports(annotation):
            raise PluginError(f"option '{name}' of {owner} is an import path, and a checkpoint must not name code")
        option = Option(name, annotation, parameter.default, _description(annotation) or help_texts.get(name, ""))
        try:
            if option.default is not REQUIRED:
                option.parse(option.default)
            option.schema()
        except ValidationError as error:
            raise PluginError(f"the default of option '{name}' of {owner} {explain(error)}") from error
        except Exception as error:  # its type's own code may raise anything
            reason = printable(str(error).partition("\n")[0])
            raise PluginError(f"option '{name}' of {owner} cannot be validated: {reason}") from error
        options.append(option)
    return tuple(options)


def parse_options(label: str, options: tuple[Option, ...], given: Mapping[str, object]) -> dict[str, Any]:
    """Validate the given values and fill in the defaults.

    Args:
        label: How messages name the options' owner, e.g. `encoder` for `encoder.hidden`.
        options: What the component declares.
        given: Values by name: Python values, JSON values or command-line text.

    Returns:
        A value for every option, as the target takes them.

    Raises:
        ConfigError: A name is unknown, a value is wrong, or a required one is missing.
    """
    known = [option.name for option in options]
    for name in given:
        if name not in known:
            has = f"Its options: {', '.join(known)}." if known else "It has none."
            raise ConfigError(f"Unknown option '{label}.{printable(name)}'.{did_you_mean(name, known)} {has}")
    parsed = {}
    for option in options:
        if option.name not in given and option.default is REQUIRED:
            raise ConfigError(f"'{label}.{option.name}' must be given: --set {label}.{option.name}=VALUE")
        try:
            parsed[option.name] = option.parse(given.get(option.name, option.default))
        except ValidationError as error:
            raise ConfigError(f"{label}.{option.name}: {explain(error)}") from error
    return parsed


def explain(error: ValidationError) -> str:
    """Return the first thing that a pydantic error complains about, on one line."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] in _SAID_TWICE:
        message = message.partition(", ")[0]
    prefix = "must be " if first["msg"].startswith("Input should be ") else ""
    return f"{prefix}{message}, got {printable(repr(first['input']), 80)}"


def count_values(value: object) -> int:
    """Return how many values there are inside a JSON value, at every depth."""
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(1 + count_values(part) for part in inside)


def describe(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema's type and bounds as a reader says them, e.g. `integer, 1 to 4096`."""
    if "anyOf" in schema:
        return " or ".join(describe(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"{len(schema['prefixItems'])} values: {', '.join(map(describe, schema['prefixItems']))}"
        count = f"up to {schema['maxItems']} " if "maxItems" in schema else ""
        items = schema.get("items")
        return f"{count}values, each {describe(items)}" if isinstance(items, Mapping) else f"{count}values"
    text = "none" if schema.get("type") == "null" else str(schema.get("type", "any"))
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low_word = "over" if "exclusiveMinimum" in schema else "at least"
    high_word = "under" if "exclusiveMaximum" in schema else "at most"
    if "minimum" in schema and "maximum" in schema:
        return f"{text}, {low} to {high}"
    bounds = [f"{low_word} {low}"] * (low is not None) + [f"{high_word} {high}"] * (high is not None)
    return f"{text}, {' and '.join(bounds)}" if bounds else text


def _allows(annotation: Any, *kinds: type) -> bool:
    """Say whether an annotation is, or is a union with, one of the given types."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _allows(typing.get_args(annotation)[0], *kinds)
    if origin in (typing.Union, types.UnionType):
        return any(_allows(part, *kinds) for part in typing.get_args(annotation))
    return (origin or annotation) in kinds


def _imports(annotation: Any) -> bool:
    """Say whether pydantic would import what a value of this type names."""
    parts = typing.get_args(annotation)
    return ImportString in (annotation, type(annotation)) or any(map(_imports, parts))


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a `Literal`, which has no text form of its own."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _choices(typing.get_args(annotation)[0])
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _description(annotation: Any) -> str:
    for part in getattr(annotation, "__metadata__", ()):
        if text := getattr(part, "description", None):
            return str(text)
    return ""


def _args_section(docstring: str | None) -> dict[str, str]:
    """Return the entries of a docstring's `Args:` section: name → text on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring or "", re.MULTILINE)
    if not section:
        return {}
    body = inspect.cleandoc("\n" + section.group(1))
    entries = re.findall(r"^(\w+)[^:\n]*:((?:.*)(?:\n[ \t]+.*)*)", body, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
