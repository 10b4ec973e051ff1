"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import DecoderSpec, EncoderSpec, hookimpl


@hookimpl
def zoo_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(name="conv", target="zoo_conv.networks:ConvEncoder", summary="Strided convolutions")


@hookimpl
def zoo_decoders() -> Iterator[DecoderSpec]:
    yield DecoderSpec(name="conv", target="zoo_conv.networks:ConvDecoder", summary="Transposed strided convolutions")
