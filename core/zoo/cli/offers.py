"""What `zoo list` and `zoo info` share: the argument KIND, and what they say of every offer."""

from __future__ import annotations

from typing import Any, Literal

import click

from zoo.contract.registry import Offer
from zoo.contract.specs import KINDS, Kind
from zoo.errors import UsageError, did_you_mean, printable

Listed = Kind | Literal["model"]
LISTED: tuple[Listed, ...] = (*KINDS, "metric", "model")


class KindChoice(click.Choice[str]):
    """One of `LISTED`, or its plural."""

    def __init__(self) -> None:
        super().__init__(LISTED)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value.removesuffix("s") in LISTED:
            return value.removesuffix("s")
        raise UsageError(self.refusal(value))

    def refusal(self, value: str) -> str:
        """Return what to say of a value that is no kind."""
        return f"No kind '{printable(value)}'.{did_you_mean(value, LISTED)} The kinds: {', '.join(LISTED)}."


def facts_of(offer: Offer[Any]) -> dict[str, Any]:
    """Return what a component and a model have in common, for JSON."""
    return {
        "kind": offer.spec.kind,
        "name": offer.name,
        "summary": offer.spec.summary,
        "distribution": offer.plugin.distribution,
        "version": offer.plugin.version,
    }
