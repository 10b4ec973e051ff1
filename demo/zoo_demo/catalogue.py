"""Which models the demo shows: an allow-list of ids, and what each checkpoint says about itself.

A page names a model by its id and nothing else: no path ever comes from a request.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.contract.registry import PretrainedModel, installed
from zoo.contract.specs import Kind
from zoo.errors import PluginError, UnknownModelError, UsageError, ZooError, printable
from zoo_demo.cache import Cache
from zoo_demo.card import Card, Source, card_of
from zoo_demo.safety import RefusedError

if TYPE_CHECKING:
    from zoo.model.checkpoint import Checkpoint
    from zoo_demo.model import Model

SEARCH_DEPTH = 3
MAX_FOUND = 100  # runs of one directory
MAX_LOOKED_AT = 10_000  # directories
MODELS_KEPT = 8

_log = logging.getLogger("zoo")


class Catalogue:
    """The models that are shown, by id; opened when they are first used.

    Args:
        sources: In the order in which they are shown; the first one is shown at first.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = _with_ids(sources)
        self._cards: dict[str, Card] | None = None
        self._reading = threading.Lock()
        self._models: Cache[Model] = Cache(MODELS_KEPT)

    def read(self) -> dict[str, Card]:
        """Return what each checkpoint says about itself, by id; the files are read once.

        A file that cannot be shown is left out with a line on stderr.

        Raises:
            ZooError: It cannot be shown, and the user named it.
        """
        with self._reading:
            if self._cards is None:
                self._cards = dict(self._readable())
            return self._cards

    def model(self, id_: str) -> Model:
        """Return a model, opened.

        Raises:
            RefusedError: 404, there is none of this id; 410, its file cannot be read any more.
        """
        if id_ not in self.read():
            raise RefusedError(404, f"There is no model '{printable(id_, 80)}'.")
        try:
            return self._open(id_)
        except ZooError as error:
            raise RefusedError(410, str(error)) from error

    def _open(self, id_: str) -> Model:
        return self._models.get(id_, lambda: _open(id_, self.sources[id_]))

    def _readable(self) -> Iterator[tuple[str, Card]]:
        for id_, source in self.sources.items():
            try:
                yield id_, self._open(id_).card if source.named else card_of(id_, source, _read(source))
            except ZooError as error:
                if source.named:
                    raise
                _log.warning("zoo: left out: %s", error)


def find(runs: Sequence[str]) -> list[Source]:
    """Return the models that a user's arguments mean, then the pretrained ones.

    Args:
        runs: Run directories, `.safetensors` files, directories with runs in them, names of
            pretrained models. What exists as a path is that path.

    Raises:
        UsageError: There is nothing to show, or no model of a given name.
        UnknownModelError: A directory holds no run.
    """
    sources = [source for run in runs for source in _meant_by(run)]
    sources += [_pretrained(model, named=False) for model in installed().models()]
    unique: dict[str, Source] = {}
    for source in sources:
        place = os.path.realpath(source.path)
        if place not in unique or source.named:
            unique[place] = source
    if not unique:
        raise UsageError("There is no model to show: train one, `zoo train --encoder mlp --dataset mnist`.")
    return _told_apart(list(unique.values()))


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Call runs by their paths where several have one name."""
    runs = [source.title for source in sources if source.kind == "run"]
    alike = [source for source in sources if source.kind == "run" and runs.count(source.title) > 1]
    return [dataclasses.replace(source, title=source.load) if source in alike else source for source in sources]


def _with_ids(sources: Sequence[Source]) -> dict[str, Source]:
    """Give each a name for URLs; a pretrained model's is its own, whatever else is shown."""
    taken: dict[Source, str] = {}
    for source in sorted(sources, key=lambda source: source.kind != "pretrained"):
        slug = re.sub(r"[^a-z0-9]+", "-", source.title.lower()).strip("-")[:64] or "model"
        number = 1
        while (id_ := slug if number == 1 else f"{slug}-{number}") in taken.values():
            number += 1
        taken[source] = id_
    return {taken[source]: source for source in sources}


def _meant_by(run: str) -> Iterator[Source]:
    bare = run == os.path.basename(run) and not run.endswith(".safetensors")
    if bare and not os.path.lexists(run):
        model = installed().model(run, sought="run directory, checkpoint or pretrained model")
        yield _pretrained(model, named=True)
    elif not os.path.isdir(run) or os.path.exists(os.path.join(run, "model.safetensors")):
        yield _run(Path(run), named=True)
    else:
        found = [_run(path, named=False) for path in itertools.islice(_search(Path(run)), MAX_FOUND + 1)]
        if not found:
            depth = f"neither in it nor up to {SEARCH_DEPTH} directories below"
            raise UnknownModelError(f"{printable(run)} holds no run: there is no model.safetensors, {depth}.")
        if len(found) > MAX_FOUND:
            _log.warning("zoo: %s holds more than %d runs: the others are left out.", printable(run), MAX_FOUND)
        yield from found[:MAX_FOUND]


def _search(top: Path) -> Iterator[Path]:
    """Yield the run directories below a directory, in the order of their names, numbers by their value."""
    for looked_at, (directory, below, files) in enumerate(os.walk(top)):
        if looked_at == MAX_LOOKED_AT:
            _log.warning("zoo: %s has too many directories: only %d were searched.", printable(top), MAX_LOOKED_AT)
            return
        path = Path(directory)
        is_run = "model.safetensors" in files
        if is_run:
            yield path
        at_bottom = len(path.relative_to(top).parts) == SEARCH_DEPTH
        visible = [] if is_run or at_bottom else [name for name in below if not name.startswith(".")]
        below[:] = sorted(visible, key=_natural)


def _natural(name: str) -> list[tuple[str, int]]:
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _run(path: Path, *, named: bool) -> Source:
    place = Path(os.path.realpath(path))
    if place.suffix == ".safetensors":
        place = place.parent if place.name == "model.safetensors" else place.with_suffix("")
    file = path / "model.safetensors" if os.path.isdir(path) else path
    return Source(printable(place.name or "model"), "run", file, printable(path, 1000), named)


def _pretrained(model: PretrainedModel, *, named: bool) -> Source:
    alone = [other.name for other in installed().models()].count(model.name) == 1
    name = model.name if alone or model.plugin.built_in else model.qualified_name
    return Source(model.name, "pretrained", model.path, name, named, model.spec.command)


def _read(source: Source) -> Checkpoint:
    """Read and verify a checkpoint, and see that all of its model is installed; its dataset may be missing."""
    from zoo.model.checkpoint import read

    checkpoint = read(source.path)
    parts: tuple[Kind, ...] = ("encoder", "decoder", "objective", "distortion")
    for kind in parts:
        checkpoint.components(kind)
    return checkpoint


def _open(id_: str, source: Source) -> Model:
    from zoo_demo.model import Model

    checkpoint = _read(source)
    try:
        return Model(checkpoint, card_of(id_, source, checkpoint))
    except ZooError:
        raise
    except Exception as error:  # a plugin's constructor may raise anything
        raise PluginError(f"{source.title} cannot be built: {type(error).__name__}: {printable(error)}") from error
