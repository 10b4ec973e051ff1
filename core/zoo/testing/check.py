"""What a check is, what it is run on, and how its outcome is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from zoo.contract.options import REQUIRED, Option, options_of, parse_options
from zoo.contract.parts import DataFacts
from zoo.contract.registry import Component
from zoo.contract.specs import Kind
from zoo.defaults import float32_on_cpu
from zoo.errors import IncompatibleError, PluginError, command, printable

Arguments = tuple[Any, ...]
Result = Literal["passed", "failed", "not applicable"]

CHECKS: list[Check] = []

IMAGE_SHAPES = ((1, 28, 28), (3, 32, 32), (1, 28, 20), (3, 33, 31))
OTHER_CHANNELS = ((6, 28, 28), (2, 32, 32))  # a distortion may ask a decoder for more channels than an image has
SIZES = (3, 1, 16)
OTHER_SIZES = (2, 4, 8, 32, 64, 128, 256, 512)  # for components that refuse all of SIZES
LATENT_SHAPES = ((3,), (3, 4, 4), (3, 7, 7), (1,), (16,))
DATA = DataFacts((1, 8, 8), ("a", "b", "c"), 64)

# Exceptions of torch whose cause is not the check's usual one, by a part of their text.
_KNOWN_CAUSES = {
    "should be between 0 and 1": "binary cross-entropy of outputs outside [0, 1]: a decoder's outputs are not bounded",
    "does not require grad": "weights that are all frozen, or a `.detach()` or `torch.no_grad()` on the way",
}


class Failed(Exception):  # noqa: N818 - a verdict, not an error of ours
    """A component breaks the contract: what was measured, and what is allowed.

    Args:
        measured: What was measured.
        allowed: What is allowed.
        cause: What usually leads to this measurement, where it is not what usually breaks the check.
    """

    def __init__(self, measured: str, allowed: str, cause: str = "") -> None:
        super().__init__(f"{measured}; allowed: {allowed}")
        self.measured = measured
        self.allowed = allowed
        self.cause = cause


class NotApplicable(Exception):  # noqa: N818
    """A check does not apply to a component; the message says why."""


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        name: What users type after `--only`.
        kinds: The kinds of component that it applies to.
        promise: What a component must do, in one line.
        cause: What usually breaks it.
        run: Raises `Failed` or `NotApplicable`.
        since: The version that introduced it.
    """

    name: str
    kinds: tuple[Kind, ...]
    promise: str
    cause: str
    run: Callable[[Subject], None]
    since: str


@dataclass(frozen=True)
class Outcome:
    """What a check said about a component.

    Attributes:
        component: The component.
        check: The check.
        result: Whether it passed.
        message: Of a failure, what was measured and what is allowed; why a check does not apply.
        again: The command that runs this check again.
        cause: What usually leads to such a failure.
    """

    component: Component
    check: Check
    result: Result
    message: str
    again: str
    cause: str

    @property
    def explanation(self) -> tuple[str, str, str]:
        """What the reader of a failure needs, a line each."""
        return self.message, f"usual cause: {self.cause}", f"again: {self.again}"


@dataclass
class Subject:
    """A component under test, with what checks need of it.

    Attributes:
        component: The component.
        options: Values for its options, over their defaults.
    """

    component: Component
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.component.kind

    @cached_property
    def unresolved(self) -> str:
        """Why the target cannot be imported or called; empty where it can."""
        path = self.component.spec.target
        try:
            target = self.component.load()
        except PluginError as error:
            return f"importing {path} failed: {described(error.__cause__ or error)}"
        return "" if callable(target) else f"{path} is {type(target).__name__}, which cannot be called"

    @property
    def target(self) -> Any:
        """What the spec's target names.

        Raises:
            NotApplicable: It cannot be imported or called, which `target_resolves` tells.
        """
        if self.unresolved:
            raise NotApplicable("its target cannot be imported or called")
        return self.component.load()

    @cached_property
    def declared_options(self) -> tuple[Option, ...]:
        """The options that the target declares.

        Raises:
            NotApplicable: They cannot be read, which `options_typed` tells.
        """
        try:
            return options_of(self.target)
        except PluginError as error:
            raise NotApplicable(f"its options cannot be read: {error}") from error

    @cached_property
    def values(self) -> dict[str, Any]:
        """A value for every option.

        Raises:
            NotApplicable: One has no default, and none was given.
        """
        for option in self.declared_options:
            if option.default is REQUIRED and option.name not in self.options:
                give = f"--set {self.component.option_prefix}.{option.name}=VALUE"
                raise NotApplicable(f"its option '{option.name}' has no default; {give} gives a value")
        return parse_options(self.kind, self.declared_options, self.options)

    @cached_property
    def cases(self) -> list[Arguments]:
        """The positional arguments that the component takes, of those that are tried.

        Raises:
            NotApplicable: There are none, which `takes_images`, `is_objective`, `is_distortion` or `is_metric` reports.
        """
        taken = self._taken(SIZES, LATENT_SHAPES) or self._taken(OTHER_SIZES, tuple((size,) for size in OTHER_SIZES))
        if not any(self.refusal(*case) is None for case in taken):
            tried = ", ".join(said(*group[0]) for group in _groups(self.kind, SIZES, LATENT_SHAPES))
            raise NotApplicable(f"it can be built for nothing that is tried: {tried}")
        return taken

    def _taken(self, sizes: tuple[int, ...], latent_shapes: tuple[tuple[int, ...], ...]) -> list[Arguments]:
        """Return the first of each group that it takes, then the others of the first such group."""
        groups = [[c for c in group if self.takes(*c)] for group in _groups(self.kind, sizes, latent_shapes)]
        groups = [group for group in groups if group]
        return [group[0] for group in groups] + [case for group in groups[:1] for case in group[1:]]

    def build(self, *arguments: Any, seed: int = 0) -> Any:
        """Build the component with weights drawn from the seed, in eval mode.

        Args:
            arguments: The positional arguments; those of the first case by default.
            seed: Decides the weights. The global random state is left as it was.
        """
        arguments = arguments or self.cases[0]
        with preserved_randomness():
            torch.default_generator.manual_seed(seed)
            module = self.construct(*arguments)
        return module.eval() if isinstance(module, nn.Module) else module

    def construct(self, *arguments: Any) -> Any:
        """Build the component, with no seed set: as the program does."""
        return self.component.build(*arguments, options=self.values)

    def takes(self, *arguments: Any) -> bool:
        """Say whether the component takes these arguments: it refuses them by `ValueError`."""
        return not isinstance(self.refusal(*arguments, device="meta"), IncompatibleError)

    def refusal(self, *arguments: Any, device: str = "cpu") -> Exception | None:
        """Return what the constructor raises for these arguments."""
        try:
            with preserved_randomness(), torch.device(device):
                self.construct(*arguments)
        except NotApplicable:
            raise
        except Exception as error:
            return error
        return None


class preserved_randomness:  # noqa: N801 - reads as a function
    """Put the random states of torch, NumPy and Python back at the end."""

    def __enter__(self) -> None:
        self.states = torch.get_rng_state(), np.random.get_state(), random.getstate()

    def __exit__(self, *_: object) -> None:
        torch_state, numpy_state, python_state = self.states
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def check(
    *kinds: Kind, cause: str, since: str = "0.1"
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a check of a function: its name is the check's, its docstring the promise."""

    def register(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        promise = (function.__doc__ or "").strip()
        CHECKS.append(Check(function.__name__, kinds, promise, cause, function, since))
        return function

    return register


def require(function: Callable[[Subject], None], subject: Subject, reason: str) -> None:
    """Skip a check where another one fails, which reports the failure.

    Raises:
        NotApplicable: The other check fails; with this reason.
    """
    try:
        function(subject)
    except Failed as failure:
        raise NotApplicable(reason) from failure


def run_check(check: Check, subject: Subject) -> Outcome:
    """Run one check, and tell the outcome."""
    result: Result = "failed"
    message, cause = "", check.cause
    try:
        with preserved_randomness(), float32_on_cpu():
            check.run(subject)
        result = "passed"
    except NotApplicable as reason:
        result, message = "not applicable", str(reason)
    except Failed as failure:
        message = f"{_one_line(failure.measured)}; allowed: {failure.allowed}"
        cause = failure.cause or _known_cause(failure.measured) or cause
    except Exception as error:  # whatever a component's own code raises breaks the promise
        message = f"{_one_line(described(error))}; allowed: no exception"
        cause = _known_cause(str(error)) or cause
    return Outcome(subject.component, check, result, message, _command(check, subject), cause)


def _groups(kind: Kind, sizes: tuple[int, ...], latent_shapes: tuple[tuple[int, ...], ...]) -> list[list[Arguments]]:
    """Return the positional arguments that a component is tried with; in a group only sizes differ."""
    groups: dict[Kind, list[list[Arguments]]] = {
        "encoder": [[(shape, size) for size in sizes] for shape in IMAGE_SHAPES],
        "decoder": [[(latent, shape) for latent in latent_shapes] for shape in (*IMAGE_SHAPES, *OTHER_CHANNELS)],
        "objective": [[(size, DATA) for size in sizes]],
        "distortion": [[(shape,)] for shape in IMAGE_SHAPES],
        "metric": [[(shape,)] for shape in IMAGE_SHAPES],
    }
    return groups[kind]


def described(error: BaseException) -> str:
    """Return an exception's type and text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def said(*arguments: Any) -> str:
    """Return positional arguments as a reader says them, e.g. `1×28×28 and 3`."""
    return " and ".join("×".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in arguments)


def _known_cause(text: str) -> str:
    return next((cause for part, cause in _KNOWN_CAUSES.items() if part in text), "")


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()), 300).rstrip(".")


def _command(check: Check, subject: Subject) -> str:
    words = ["zoo", "check", subject.component.qualified_name, "--only", check.name]
    for name, value in subject.options.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += ["--set", f"{subject.component.option_prefix}.{name}={text}"]
    return command(*words)
