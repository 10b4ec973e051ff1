"""`zoo list`: the installed components, and the pretrained models."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.common import json_option, print_columns, print_json, with_example
from zoo.cli.offers import KindChoice, Listed, facts_of
from zoo.contract.registry import Offer, PretrainedModel, installed


@with_example("zoo list encoder", "zoo list models")
@click.command("list")
@click.argument("kind", type=KindChoice(), metavar="[KIND]", required=False)
@json_option
def list_components(kind: Listed | None, as_json: bool) -> None:
    """List the installed components and models, of one KIND or all.

    KIND is encoder, decoder, objective, distortion, dataset, metric or model.
    """
    offers = [offer for offer in installed().offers() if kind in (None, offer.spec.kind)]
    if as_json:
        print_json([_facts(offer) for offer in offers])
    elif offers:
        print_columns(
            [[o.spec.kind, o.name, o.spec.summary, f"{o.plugin.distribution} {o.plugin.version}"] for o in offers]
        )


def _facts(offer: Offer[Any]) -> dict[str, Any]:
    facts = facts_of(offer)
    if isinstance(offer, PretrainedModel):
        facts |= {"command": offer.spec.command, "bytes": offer.path.stat().st_size}
    return facts
