"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import ModelSpec, hookimpl


@hookimpl
def zoo_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        name="mnist-mlp",
        file="zoo_models:mnist-mlp.safetensors",
        summary="As in Lightning's guide, 3 numbers; test MSE 0.0374",
        command="zoo train --encoder mlp --dataset mnist",
    )
    yield ModelSpec(
        name="mnist-conv",
        file="zoo_models:mnist-conv.safetensors",
        summary="Convolutional, 16 numbers; test MSE 0.0068",
        command="zoo train --encoder conv --dataset mnist --latent-dim 16 --epochs 12 "
        "--set encoder.width=24 --set decoder.width=24",
    )
    yield ModelSpec(
        name="mnist-vae",
        file="zoo_models:mnist-vae.safetensors",
        summary="Variational, 2 numbers: a map; test MSE 0.0352",
        command="zoo train --encoder mlp --objective vae --dataset mnist --latent-dim 2 --epochs 30 --lr 0.003 "
        "--set encoder.hidden=128,64,32 --set decoder.hidden=32,64,128 --set objective.beta=0.5",
    )
    yield ModelSpec(
        name="mnist-vae-16",
        file="zoo_models:mnist-vae-16.safetensors",
        summary="Variational, 16 numbers; test MSE 0.0132",
        command="zoo train --encoder conv --objective vae --dataset mnist --latent-dim 16 --epochs 12 "
        "--set encoder.width=24 --set decoder.width=24",
    )
