"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import DistortionSpec, hookimpl


@hookimpl
def zoo_distortions() -> Iterator[DistortionSpec]:
    yield DistortionSpec(
        name="mse", target="zoo_distortions.elementwise:MSE", summary="Mean squared error", default=True
    )
    yield DistortionSpec(name="l1", target="zoo_distortions.elementwise:L1", summary="Mean absolute error")
    yield DistortionSpec(
        name="bernoulli",
        target="zoo_distortions.bernoulli:Bernoulli",
        summary="Binary cross-entropy of logits; a likelihood of black and white",
    )
