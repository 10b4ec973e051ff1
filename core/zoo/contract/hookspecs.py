"""The plugin contract: seven hooks, each of which yields specs.

A plugin is an importable module with at least one of these functions, marked `@zoo.hookimpl`, and
an entry point in the group `zoo`:

    [project.entry-points.zoo]
    patch = "zoo_patch.plugin"

The module is imported whenever components are listed, so it imports nothing heavy: a spec names
its component, or a pretrained model's file, as text.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from zoo.contract.specs import (
    DatasetSpec,
    DecoderSpec,
    DistortionSpec,
    EncoderSpec,
    MetricSpec,
    ModelSpec,
    ObjectiveSpec,
)

hookspec = pluggy.HookspecMarker("zoo")
hookimpl = pluggy.HookimplMarker("zoo")


@hookspec
def zoo_encoders() -> Iterable[EncoderSpec]:  # type: ignore[empty-body]
    """Yield encoders: images `(N, C, H, W)` to features `(N, out_features)` or maps `(N, out_features, h, w)`."""


@hookspec
def zoo_decoders() -> Iterable[DecoderSpec]:  # type: ignore[empty-body]
    """Yield decoders: latents `(N, *latent_shape)` to output `(N, *output_shape)`."""


@hookspec
def zoo_objectives() -> Iterable[ObjectiveSpec]:  # type: ignore[empty-body]
    """Yield objectives: what the latent is and what training minimises."""


@hookspec
def zoo_distortions() -> Iterable[DistortionSpec]:  # type: ignore[empty-body]
    """Yield distortions: how output becomes an image, and how far that is from the original."""


@hookspec
def zoo_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Yield datasets: named splits of `(image uint8 (C, H, W), label)`."""


@hookspec
def zoo_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Yield metrics: numbers that say how good a model is on held-out images."""


@hookspec
def zoo_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Yield pretrained models: checkpoints that come with the plugin."""
