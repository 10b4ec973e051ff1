"""What this plugin offers."""

from collections.abc import Iterator

from zoo import DatasetSpec, DecoderSpec, ObjectiveSpec, hookimpl

SHAPES = {"tiny": (1, 16, 16), "tiny-colour": (3, 17, 20), "tiny-small": (1, 8, 8)}


@hookimpl
def zoo_datasets() -> Iterator[DatasetSpec]:
    for name, shape in SHAPES.items():
        yield DatasetSpec(
            name=name,
            target=f"zoo_tiny.dataset:{name.replace('-', '_')}",
            summary="Bright blobs",
            image_shape=shape,
            splits={"train": 640, "test": 128},
            licence="CC0-1.0",
            credit="The Autoencoder Zoo developers",
        )


@hookimpl
def zoo_objectives() -> Iterator[ObjectiveSpec]:
    yield ObjectiveSpec(name="diverging", target="zoo_tiny.objectives:Diverging", summary="Its loss becomes NaN")


@hookimpl
def zoo_decoders() -> Iterator[DecoderSpec]:
    yield DecoderSpec(name="fourier", target="zoo_tiny.networks:FourierDecoder", summary="A Fourier series")
