"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import DecoderSpec, EncoderSpec, hookimpl


@hookimpl
def zoo_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name="mlp", target="zoo_mlp.networks:MLPEncoder", summary="Linear 784-64-3, as in Lightning's guide"
    )


@hookimpl
def zoo_decoders() -> Iterator[DecoderSpec]:
    yield DecoderSpec(
        name="mlp",
        target="zoo_mlp.networks:MLPDecoder",
        summary="Linear 3-64-784, as in Lightning's guide",
        default=True,
    )
