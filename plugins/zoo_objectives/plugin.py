"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import ObjectiveSpec, hookimpl


@hookimpl
def zoo_objectives() -> Iterator[ObjectiveSpec]:
    yield ObjectiveSpec(
        name="ae", target="zoo_objectives.ae:AE", summary="Plain autoencoder: the distortion alone", default=True
    )
    yield ObjectiveSpec(
        name="vae", target="zoo_objectives.vae:VAE", summary="Variational: Gaussian posterior, β-weighted KL"
    )
