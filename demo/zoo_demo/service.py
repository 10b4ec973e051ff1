"""What the page's routes and the API's endpoints share: the models, and how much runs at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from zoo_demo.catalogue import Catalogue
from zoo_demo.safety import RefusedError, Slots

if TYPE_CHECKING:
    from zoo_demo.model import Floats
    from zoo_demo.space import Spaces

WORKING = 2
WAITING = 128


class Service:
    """The models of a catalogue, and the slots in which they work.

    Nothing here imports torch before a model is asked for: the server is up before that.

    Args:
        catalogue: Which models there are.

    Attributes:
        computing: Where models encode and decode, milliseconds each.
        measuring: Where they are read and measured, seconds each.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.computing = Slots(WORKING, WAITING)
        self.measuring = Slots(WORKING, WAITING)

    @functools.cached_property
    def spaces(self) -> Spaces:
        """What was measured of the models."""
        from zoo_demo.space import Spaces

        return Spaces()


def require_count(count: int, most: int, what: str) -> None:
    """Refuse more than a request may hold.

    Raises:
        RefusedError: 413.
    """
    if count > most:
        raise RefusedError(413, f"At most {most} {what} at once, got {count}.")


def require_finite(latents: Floats) -> None:
    """Refuse latents that are no numbers.

    Raises:
        RefusedError: 400.
    """
    if not np.isfinite(latents).all():
        raise RefusedError(400, "Latents must be finite, got NaN or infinity.")
