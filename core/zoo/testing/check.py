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

from zoo.errors import IncompatibleError, PluginError, printable
from zoo.options import REQUIRED, options_of, parse_options
from zoo.registry import Component
from zoo.specs import Kind

ImageShape = tuple[int, int, int]
Result = Literal["passed", "failed", "not applicable"]

CHECKS: list[Check] = []

SHAPES: tuple[ImageShape, ...] = ((1, 28, 28), (3, 32, 32), (1, 28, 20), (3, 33, 31))
SIZES = (3, 1, 16)


class Failed(Exception):  # noqa: N818 - a verdict, not an error of ours
    """A component breaks the contract: what was measured, and what is allowed."""

    def __init__(self, measured: str, allowed: str) -> None:
        super().__init__(f"{measured}; allowed: {allowed}")
        self.measured = measured
        self.allowed = allowed


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
    """What a check said about a component."""

    component: Component
    check: Check
    result: Result
    message: str = ""


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
    def target(self) -> Any:
        return self.component.load()

    @cached_property
    def values(self) -> dict[str, Any]:
        """A value for every option.

        Raises:
            NotApplicable: There is none for an option: it cannot be read, or has no default.
        """
        target = self.target
        try:
            options = options_of(target)
        except PluginError as error:  # the matter of `options_typed`
            raise NotApplicable(f"its options cannot be read: {error}") from error
        for option in options:  # the matter of `options_have_defaults`
            if option.default is REQUIRED and option.name not in self.options:
                raise NotApplicable(f"its option '{option.name}' has no default")
        return parse_options(self.kind, options, self.options)

    @cached_property
    def shapes(self) -> list[ImageShape]:
        """The image shapes that an encoder or decoder takes, of those that are tried."""
        taken = [shape for shape in SHAPES if self.takes(shape)]
        if not taken:
            tried = ", ".join("×".join(map(str, shape)) for shape in SHAPES)
            raise NotApplicable(f"it takes none of the image shapes that are tried: {tried}")
        return taken

    def build(self, shape: ImageShape | None = None, size: int = 3, seed: int = 0) -> nn.Module:
        """Build an encoder, decoder or objective with weights drawn from the seed, in eval mode.

        Args:
            shape: The image shape, for an encoder or decoder; the first that it takes by default.
            size: An encoder's `out_features`; a decoder's or objective's `latent_dim`.
            seed: Decides the weights. The global random state is left as it was.
        """
        if self.kind != "objective":
            shape = shape or self.shapes[0]
        with preserved_randomness():
            torch.default_generator.manual_seed(seed)
            return self.construct(shape, size).eval()

    def construct(self, shape: ImageShape | None, size: int = 3) -> nn.Module:
        """Call the target, with no seed set: as a plugin's code is called by the program."""
        sizes = {"encoder": (shape, size), "decoder": (size, shape)}.get(self.kind, (size,))
        module: nn.Module = self.target(*sizes, **self.values)
        return module

    def inputs(self, shape: ImageShape | None = None, size: int = 3, count: int = 5, seed: int = 0) -> Tensor:
        """Return images for an encoder `(count, C, H, W)`, latents for a decoder `(count, size)`."""
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "encoder":
            return torch.rand(count, *(shape or self.shapes[0]), generator=generator)
        return torch.randn(count, size, generator=generator)

    def output_shape(self, shape: ImageShape | None = None, size: int = 3, count: int = 5) -> tuple[int, ...]:
        """Return the shape that the contract asks of the output for such inputs."""
        return (count, size) if self.kind == "encoder" else (count, *(shape or self.shapes[0]))

    def takes(self, shape: ImageShape) -> bool:
        """Say whether an encoder or decoder takes images of this shape, by building it."""
        try:
            with preserved_randomness(), torch.device("meta"):
                self.construct(shape)
        except NotApplicable:
            raise
        except (ValueError, IncompatibleError):  # how a component says that it does not take a shape
            return False
        except Exception:  # broken on the meta device, which is another check's matter
            return True
        return True


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


def run_check(check: Check, subject: Subject) -> Outcome:
    """Run one check, and tell the outcome: what was measured, what is allowed, the usual cause."""
    component = subject.component
    rerun = f"zoo check {component.qualified_name} --only {check.name}"
    try:
        with preserved_randomness():
            check.run(subject)
    except NotApplicable as reason:
        return Outcome(component, check, "not applicable", str(reason))
    except Failed as failure:
        told = f"{failure}"
    except Exception as error:  # whatever a component's own code raises breaks the promise
        told = f"{type(error).__name__}: {printable(' '.join(str(error).split()))}; allowed: no exception"
    else:
        return Outcome(component, check, "passed")
    return Outcome(component, check, "failed", f"{component}: {told}. Usual cause: {check.cause}. Again: {rerun}")
