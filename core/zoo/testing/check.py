"""What a check is, what it is run on, and how its outcome is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from zoo.defaults import float32_on_cpu
from zoo.errors import IncompatibleError, PluginError, command, printable
from zoo.options import REQUIRED, Option, options_of, parse_options
from zoo.registry import Component
from zoo.specs import Kind

ImageShape = tuple[int, int, int]
Result = Literal["passed", "failed", "not applicable"]

CHECKS: list[Check] = []

SHAPES: tuple[ImageShape, ...] = ((1, 28, 28), (3, 32, 32), (1, 28, 20), (3, 33, 31))
SIZES = (3, 1, 16)
OTHER_SIZES = (2, 4, 8, 32, 64, 128, 256, 512)  # for components that refuse all of `SIZES`

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
                give = f"--set {self.kind}.{option.name}=VALUE"
                raise NotApplicable(f"its option '{option.name}' has no default; {give} gives a value")
        return parse_options(self.kind, self.declared_options, self.options)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sizes (an encoder's `out_features`, another's `latent_dim`) that it takes, of those that are tried.

        A constructor refuses a size by `ValueError`. One that refuses all is tried with the first, which then tells.
        """
        taken = tuple(size for size in SIZES if self._takes_size(size))
        return taken or tuple(size for size in OTHER_SIZES if self._takes_size(size))[:1] or SIZES[:1]

    @property
    def size(self) -> int:
        """The size that checks use which try one."""
        return self.sizes[0]

    def _takes_size(self, size: int) -> bool:
        shapes = SHAPES if self.kind != "objective" else (None,)
        return any(self.takes(shape, size) for shape in shapes)

    @cached_property
    def shapes(self) -> list[ImageShape]:
        """The image shapes that an encoder or decoder takes, of those that are tried.

        Raises:
            NotApplicable: There is none, which `takes_images` tells.
        """
        taken = [shape for shape in SHAPES if self.takes(shape)]
        if not any(self.refusal(shape) is None for shape in taken):
            tried = ", ".join(said(shape) for shape in SHAPES)
            raise NotApplicable(f"it can be built for none of the image shapes that are tried: {tried}")
        return taken

    def build(self, shape: ImageShape | None = None, size: int | None = None, seed: int = 0) -> nn.Module:
        """Build an encoder, decoder or objective with weights drawn from the seed, in eval mode.

        Args:
            shape: The image shape, for an encoder or decoder; the first that it takes by default.
            size: An encoder's `out_features`; a decoder's or objective's `latent_dim`; the first that it takes by
                default.
            seed: Decides the weights. The global random state is left as it was.
        """
        if self.kind != "objective":
            shape = shape or self.shapes[0]
        with preserved_randomness():
            torch.default_generator.manual_seed(seed)
            return self.construct(shape, size).eval()

    def construct(self, shape: ImageShape | None, size: int | None = None) -> nn.Module:
        """Call the target, with no seed set: as a plugin's code is called by the program."""
        size = size or self.size
        sizes = {"encoder": (shape, size), "decoder": (size, shape)}.get(self.kind, (size,))
        module: nn.Module = self.target(*sizes, **self.values)
        return module

    def inputs(self, shape: ImageShape | None = None, size: int | None = None, count: int = 5, seed: int = 0) -> Tensor:
        """Return images for an encoder `(count, C, H, W)`, latents for a decoder `(count, size)`."""
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "encoder":
            return torch.rand(count, *(shape or self.shapes[0]), generator=generator)
        return torch.randn(count, size or self.size, generator=generator)

    def output_shape(self, shape: ImageShape | None = None, size: int | None = None, count: int = 5) -> tuple[int, ...]:
        """Return the shape that the contract asks of the output for such inputs."""
        return (count, size or self.size) if self.kind == "encoder" else (count, *(shape or self.shapes[0]))

    def takes(self, shape: ImageShape | None, size: int | None = None) -> bool:
        """Say whether it takes images of this shape, and this size: it says no by `ValueError`."""
        return not isinstance(self.refusal(shape, "meta", size), (ValueError, IncompatibleError))

    def refusal(self, shape: ImageShape | None, device: str = "cpu", size: int | None = None) -> Exception | None:
        """Return what the constructor raises for images of this shape, and this size."""
        try:
            with preserved_randomness(), torch.device(device):
                self.construct(shape, size)
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
    """Leave it to another check, where that fails, to tell.

    Raises:
        NotApplicable: It fails; with this reason.
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


def described(error: BaseException) -> str:
    """Return an exception's type and text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def said(shape: ImageShape) -> str:
    """Return an image shape as a reader says it."""
    return "×".join(map(str, shape))


def _known_cause(text: str) -> str:
    return next((cause for part, cause in _KNOWN_CAUSES.items() if part in text), "")


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()), 300).rstrip(".")


def _command(check: Check, subject: Subject) -> str:
    words = ["zoo", "check", subject.component.qualified_name, "--only", check.name]
    for name, value in subject.options.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += ["--set", f"{subject.kind}.{name}={text}"]
    return command(*words)
