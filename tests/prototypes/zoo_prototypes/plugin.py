"""What this plugin offers."""

from collections.abc import Iterator

from zoo import DatasetSpec, DistortionSpec, EncoderSpec, ObjectiveSpec, hookimpl

OBJECTIVES = {
    "aae": "adversarial:AAE",
    "factor-vae": "adversarial:FactorVAE",
    "annealed-vae": "variational:AnnealedVAE",
    "iwae": "variational:IWAE",
    "vamp": "variational:Vamp",
    "contractive": "deterministic:Contractive",
    "mae": "deterministic:MaskedAutoencoder",
    "ending": "deterministic:Ending",
    "vq": "quantised:VectorQuantised",
}


@hookimpl
def zoo_objectives() -> Iterator[ObjectiveSpec]:
    for name, target in OBJECTIVES.items():
        yield ObjectiveSpec(name=name, target=f"zoo_prototypes.{target}", summary=f"The prototype {name}")


@hookimpl
def zoo_distortions() -> Iterator[DistortionSpec]:
    yield DistortionSpec(
        name="patch-gan", target="zoo_prototypes.patch_gan:PatchGAN", summary="A discriminator of patches"
    )
    yield DistortionSpec(
        name="perceptual", target="zoo_prototypes.perceptual:Perceptual", summary="A frozen network's features"
    )


@hookimpl
def zoo_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(name="frozen", target="zoo_prototypes.networks:Frozen", summary="A frozen backbone and a head")


@hookimpl
def zoo_datasets() -> Iterator[DatasetSpec]:
    yield DatasetSpec(
        name="files",
        target="zoo_prototypes.files:files",
        summary="PNG files in a folder",
        licence="CC0-1.0",
        credit="The Autoencoder Zoo developers",
    )
