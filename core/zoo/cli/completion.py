"""What the shell offers when Tab is pressed: names of components, models and runs. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

from zoo.cli.offers import LISTED
from zoo.contract.registry import Offer, installed
from zoo.contract.specs import Kind
from zoo.errors import ZooError
from zoo.training.runs import RUNS

Item = CompletionItem[str]
Completion = Callable[[click.Context, click.Parameter, str], list[Item]]
MAX_RUNS = 1000


def component_names(kind: str) -> Completion:
    """Return what completes the names of one kind of component, or of the models."""
    return lambda context, parameter, incomplete: _starting(incomplete, _names(kind))


def choices(values: Sequence[str]) -> Completion:
    """Return what completes one of some values."""
    return lambda context, parameter, incomplete: _starting(incomplete, map(Item, values))


def run_or_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete a RUN: a pretrained model's name, a run under `runs`, or any file.

    The item for files comes first, because bash forgets the items before it.
    """
    files = CompletionItem(incomplete, type="file")
    return [files, *_starting(incomplete, [*_names("model"), *_runs()])]


def run_directory(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete a run's directory."""
    return [CompletionItem(incomplete, type="dir"), *_starting(incomplete, _runs())]


def directory(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete a directory."""
    return [CompletionItem(incomplete, type="dir")]


def run_or_kind(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete the first argument of `zoo info`."""
    return run_or_model(context, parameter, incomplete) + _starting(incomplete, map(Item, LISTED))


def name_of_kind(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete the second argument of `zoo info`, by the kind that the first one names."""
    kind = str(context.params.get("run_or_kind")).removesuffix("s")
    return _starting(incomplete, _names(kind))


def checked_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Complete what `zoo check` takes: a component, a plugin or a distribution."""
    names: list[Item] = [item for kind in get_args(Kind) for item in _names(kind)]
    with _quietly():
        plugins = installed().plugins
        names += [Item(name) for name in sorted({name for p in plugins for name in (p.name, p.distribution)})]
    return list({item.value: item for item in _starting(incomplete, names)}.values())


def _starting(incomplete: str, items: Iterable[Item]) -> list[Item]:
    return [item for item in items if item.value.startswith(incomplete)]


def _names(kind: str) -> list[Item]:
    """Return the names of what is offered of a kind, qualified where several plugins offer one."""
    with _quietly():
        offers: list[Offer[Any]] = [offer for offer in installed().offers() if offer.spec.kind == kind]
        count = Counter(offer.name for offer in offers)
        built_in = {offer.name for offer in offers if offer.plugin.built_in}
        names = {
            offer.name if count[offer.name] == 1 or offer.name in built_in else offer.qualified_name: offer
            for offer in reversed(offers)
        }
        return [Item(name, help=offer.spec.summary) for name, offer in reversed(names.items())]
    return []


def _runs() -> list[Item]:
    """Return the runs under `runs`; one whose name needs quotes is left to the shell's own completion of files."""
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(RUNS))[:MAX_RUNS]
        paths = [RUNS / name for name in names if (RUNS / name / "config.json").exists()]
        return [Item(str(path)) for path in paths if shlex.quote(str(path)) == str(path)]
    return []


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what a broken plugin has to say off the line that is being typed."""
    log = logging.getLogger("zoo")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with contextlib.suppress(ZooError):
            yield
    finally:
        log.setLevel(level)
