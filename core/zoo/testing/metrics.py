"""Checks of metrics: the numbers that say how good a model is on held-out images."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo.contract.parts import ImageShape
from zoo.contract.specs import MetricSpec
from zoo.testing.check import DATA, IMAGE_SHAPES, Failed, NotApplicable, Subject, check, described, require, said
from zoo.testing.reference import random_images

COUNT = 5
FIRST = 4  # images of the first of two batches; the second holds one image
LATENT_DIM = 3
TOLERANCE = 1e-4  # relative

Fields = dict[str, Tensor]

_check = partial(check, "metric", since="0.2")


@_check(cause="a mistake in its constructor, or `update` or `compute` missing")
def is_metric(subject: Subject) -> None:
    """It has the methods `update` and `compute`, and can be built for at least one image shape that is tried."""
    shapes = [shape for shape in IMAGE_SHAPES if subject.takes(shape)]
    if not shapes:
        refusal = subject.refusal(IMAGE_SHAPES[0])
        why = described(refusal.__cause__ or refusal) if refusal else ""
        raise Failed(f"it can be built for no image shape; for {said(IMAGE_SHAPES[0])} it raises {why}", "at least one")
    for shape in shapes:
        metric = subject.build(shape)
        for method in ("update", "compute"):
            if not callable(getattr(metric, method, None)):
                raise Failed(f"{type(metric).__name__} has no method '{method}'", "update and compute")


@_check(cause="a field that `needs` does not name, or an argument under another name, such as torchmetrics' `preds`")
def update_takes_needs(subject: Subject) -> None:
    """`update` takes exactly the fields that `needs` names, as keyword arguments."""
    parameters = inspect.signature(_built(subject).update).parameters
    needs = _spec(subject).needs
    keywords = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if keywords != set(needs) or len(parameters) != len(keywords):
        raise Failed(f"update takes ({', '.join(map(str, parameters.values()))})", f"({', '.join(needs)})")


@_check(cause="a value for each image, channel or class that was not averaged, or a division by zero")
def one_finite_number(subject: Subject) -> None:
    """`compute` gives one finite number, for every image shape that it takes of those that are tried."""
    require(update_takes_needs, subject, "update takes other arguments than needs names")
    for (shape,) in subject.cases:
        metric = _built(subject, shape)
        metric.update(**_needed(subject, _fields(shape)))
        result = metric.compute()
        try:
            value = float(result)
        except (TypeError, ValueError, RuntimeError) as error:
            what = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise Failed(f"compute gives {what}", "one number") from error
        if not math.isfinite(value):
            raise Failed(f"compute gives {value} for {said(shape)}", "a finite number")


@_check(cause="a mean of the batches' means, which counts an image of a small batch for more")
def batches_add_up(subject: Subject) -> None:
    """Two batches of different sizes give what one batch of the same images gives."""
    fields = _usable_fields(subject)
    _compare(_value(subject, fields), _value(subject, *_halves(fields)), "two batches of the same images")


@_check(
    cause="a count or sum that is a plain attribute: `add_state` makes it part of the state; or a class without "
    "`full_state_update = False`"
)
def states_merge(subject: Subject) -> None:
    """Two of them, merged as over two processes by torchmetrics' `merge_state`, give what one gives for all batches."""
    fields = _usable_fields(subject)
    first, second = _built(subject), _built(subject)
    if not hasattr(first, "merge_state"):
        raise NotApplicable("it has no merge_state: it is no torchmetrics.Metric")
    for metric, half in zip((first, second), _halves(fields), strict=True):
        metric.update(**_needed(subject, half))
    first.merge_state(second)
    _compare(_value(subject, *_halves(fields)), float(first.compute()), "two that are merged")


@_check(cause="an in-place operation such as `reconstructions.clamp_(0, 1)`")
def fields_unchanged(subject: Subject) -> None:
    """The fields are left as they were: every metric is given the same ones."""
    fields = _usable_fields(subject)
    given = {name: field.clone() for name, field in fields.items()}
    _built(subject).update(**_needed(subject, given))
    for name, field in fields.items():
        if not torch.equal(given[name], field):
            raise Failed(f"the {name} changed", "no change")


@_check(cause='the wrong one of `better="lower"` and `better="higher"`')
def perfect_is_best(subject: Subject) -> None:
    """A perfect reconstruction is at least as good, by `better`, as a noisy one."""
    if not {"images", "reconstructions"} <= set(_spec(subject).needs):
        raise NotApplicable("it does not compare reconstructions with images")
    noisy = _usable_fields(subject)
    perfect = _value(subject, noisy | {"reconstructions": noisy["images"].clone()})
    value, better = _value(subject, noisy), _spec(subject).better
    worse = perfect > value if better == "lower" else perfect < value
    if worse or math.isnan(perfect):
        raise Failed(f"{perfect:.6g} for perfect reconstructions, {value:.6g} for noisy ones", f"{better} is better")


def _built(subject: Subject, *arguments: Any) -> Any:
    """Build a metric.

    Raises:
        NotApplicable: It is none, which `is_metric` reports.
    """
    require(is_metric, subject, "it is no metric, which `is_metric` reports")
    return subject.build(*arguments)


def _spec(subject: Subject) -> MetricSpec:
    spec = subject.component.spec
    assert isinstance(spec, MetricSpec)
    return spec


def _fields(shape: ImageShape) -> Fields:
    """Return random fields of COUNT images; some pixels of the reconstructions are outside [0, 1]."""
    images, generator = random_images(shape, COUNT), torch.Generator().manual_seed(1)
    return {
        "images": images,
        "reconstructions": images + 0.2 * torch.randn(images.shape, generator=generator),
        "latents": torch.randn(COUNT, LATENT_DIM, generator=generator),
        "labels": torch.arange(COUNT) % len(DATA.classes),
    }


def _usable_fields(subject: Subject) -> Fields:
    """Return the fields for the first shape.

    Raises:
        NotApplicable: They give no number, which `one_finite_number` reports.
    """
    require(one_finite_number, subject, "it gives no finite number")
    (shape,) = subject.cases[0]
    return _fields(shape)


def _halves(fields: Fields) -> tuple[Fields, Fields]:
    first = {name: field[:FIRST] for name, field in fields.items()}
    return first, {name: field[FIRST:] for name, field in fields.items()}


def _needed(subject: Subject, fields: Fields) -> Fields:
    return {name: fields[name] for name in _spec(subject).needs}


def _value(subject: Subject, *batches: Fields) -> float:
    """Return the value for batches, each of which may be changed in place."""
    metric = _built(subject)
    for fields in batches:
        metric.update(**{name: field.clone() for name, field in _needed(subject, fields).items()})
    return float(metric.compute())


def _compare(expected: float, got: float, what: str) -> None:
    if not math.isclose(got, expected, rel_tol=TOLERANCE, abs_tol=1e-6):
        raise Failed(f"{got:.6g} for {what}, {expected:.6g} for one", f"equal within {TOLERANCE:g}")
