"""Installed distributions and their entry points, where some metadata may be damaged.

An installation or removal that was interrupted leaves directories behind in `site-packages`: pip
renames `zoo_patch-1.0.dist-info` to `~oo_patch-1.0.dist-info` before it removes it, and a directory
may lose its METADATA. `importlib.metadata` takes both for installed distributions.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError


def find(name: str) -> Distribution:
    """Return the installed distribution of this name whose metadata can be read.

    Raises:
        PackageNotFoundError: There is none.
    """
    for distribution in importlib.metadata.distributions(name=name):  # a leftover's directory has another name
        if identity_of(distribution):
            return distribution
    raise PackageNotFoundError(name)


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, those of each distribution once and of leftovers none.

    Where the metadata cannot be read, the entry points are kept, unless an installed distribution
    has the same ones.
    """
    installed: dict[str, list[EntryPoint]] = {}
    damaged: list[EntryPoint] = []
    for distribution in importlib.metadata.distributions():
        points = _points(distribution, group)
        if not points:
            continue
        identity = identity_of(distribution)
        if identity is None:
            damaged += points
        elif identity[0] not in installed:
            with contextlib.suppress(PackageNotFoundError):  # a leftover of one that is no longer installed
                installed[identity[0]] = _points(find(identity[0]), group)
    found = [point for points in installed.values() for point in points]
    known = {(point.name, point.value) for point in found}
    return found + [point for point in damaged if (point.name, point.value) not in known]


def identity_of(distribution: Distribution) -> tuple[str, str] | None:
    """Return the normalised name and the version of a distribution; None where its metadata cannot be read."""
    with contextlib.suppress(Exception):  # what is raised depends on Python's version and on the damage
        if distribution.name and distribution.version:
            return re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version
    return None


def _points(distribution: Distribution, group: str) -> list[EntryPoint]:
    with contextlib.suppress(Exception):  # the damaged file of any distribution, of a plugin or not
        return list(dict.fromkeys(distribution.entry_points.select(group=group)))  # a line may be there twice
    return []
