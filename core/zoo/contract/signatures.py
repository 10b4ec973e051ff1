"""Calls of a plugin's code: a wrong signature is reported with the plugin, what is expected and what was found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from zoo.contract.registry import Component
from zoo.errors import PluginError, printable


def call_target(component: Component, arguments: Mapping[str, object], options: Mapping[str, object]) -> Any:
    """Call a component's target with the contract's positional arguments, given by name, and with its options.

    Raises:
        PluginError: It cannot be imported, or does not take these arguments.
    """
    target = component.load()
    try:
        return target(*arguments.values(), **options)
    except TypeError:
        signature = inspect.signature(target)
        try:
            signature.bind(*arguments.values(), **options)
        except TypeError as error:
            expected = f"({', '.join([*arguments, '*', 'OPTIONS'])})"
            raise _wrong_signature(component, component.spec.target, expected, signature) from error
        raise


def require_methods(component: Component, built: object, base: type) -> None:
    """Require that each method that a component overrides can be called as the base class's own.

    Args:
        component: What `built` was built from.
        built: An instance of `base`.
        base: The class whose public methods are the contract.

    Raises:
        PluginError: A method has another signature, or is none.
    """
    for name, method in vars(base).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            parameters = list(inspect.signature(method).parameters.values())[1:]  # all but `self`
            require_method(component, name, getattr(built, name), inspect.Signature(parameters))


def require_method(component: Component, name: str, method: Callable[..., object], expected: inspect.Signature) -> None:
    """Require that a method takes every argument of a signature.

    Raises:
        PluginError: It does not, or is no method.
    """
    if not callable(method):
        raise PluginError(
            f"{owned(component)}: {name} must be a method {_plain(expected)}, got {type(method).__name__}."
        )
    parameters = expected.parameters.values()
    by_name = {each.name: None for each in parameters if each.kind is each.KEYWORD_ONLY}
    signature = inspect.signature(method)
    try:
        signature.bind(*[None] * (len(parameters) - len(by_name)), **by_name)
    except TypeError as error:
        raise _wrong_signature(component, name, _plain(expected), signature) from error


def named(base: type, method: str) -> str:
    """Return how a base class's method is called, e.g. `latents(features)`."""
    signature = inspect.signature(getattr(base, method))
    return method + _plain(signature.replace(parameters=list(signature.parameters.values())[1:]))


def owned(component: Component) -> str:
    """Return a component's name with the distribution that it comes from, e.g. `encoder 'patch' of zoo-patch 1.0`."""
    return f"{component} of {component.plugin.distribution} {component.plugin.version}"


def _wrong_signature(component: Component, what: str, expected: str, got: inspect.Signature) -> PluginError:
    return PluginError(f"{owned(component)}: {what} must take {expected}, got {printable(_plain(got))}.")


def _plain(signature: inspect.Signature) -> str:
    """Return a signature without its annotations."""
    parameters = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))
