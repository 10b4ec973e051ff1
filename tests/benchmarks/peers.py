"""The same model trained by other means: each gives a function that trains an epoch, and returns images a second.

    python -m tests.benchmarks.peers NAME BATCH_SIZE [DIRECTORY]

says that it is ready, trains one for every line that it is sent, and prints a figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tests.benchmarks import document
from tests.benchmarks.measure import quiet
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from zoo.data.splits import to_float
from zoo_conv.networks import ConvDecoder, ConvEncoder
from zoo_mnist.dataset import mnist

TRAINING_IMAGES, VALIDATION_IMAGES = 54_000, 6_000  # what zoo.train makes of MNIST's
CONV_SHARE = 0.2  # of them: a hand-written loop over convolutions is timed on so many
SHAPE, LATENT_DIM = (1, 28, 28), 3

Epoch = Callable[[], float]


def main() -> None:
    name, batch_size, *directory = sys.argv[1:]
    epoch = peer(name, int(batch_size), *directory)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(epoch(), flush=True)


def peer(name: str, batch_size: int, directory: str = "") -> Epoch:
    if name == "document":
        batches = 1_000 if batch_size == 1 else 300
        return lambda: document.images_per_second(directory, batch_size, batches)
    images, validation = to_float(mnist("train").tensors[0]).split([TRAINING_IMAGES, VALIDATION_IMAGES])
    if name in ("conv", "conv channels last"):
        model = nn.Sequential(ConvEncoder(SHAPE, LATENT_DIM), ConvDecoder(LATENT_DIM, SHAPE))
        if name == "conv channels last":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        share = (part[: round(CONV_SHARE * len(part))] for part in (images, validation))
        return hand_written(*share, batch_size, model)
    if name == "hand":
        return hand_written(images.flatten(1), validation.flatten(1), batch_size, model_of_the_document())
    return {"pythae": pythae, "jax": jax_scan}[name](images.flatten(1), batch_size)


def model_of_the_document() -> nn.Sequential:
    """Return its encoder and decoder."""
    return nn.Sequential(
        nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 3), nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 784)
    )


def hand_written(images: Tensor, validation_images: Tensor, batch_size: int, model: nn.Module) -> Epoch:
    """A loop as an expert writes it: floats in memory, a permutation an epoch, the fused Adam, then validation."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> float:
        started = time.perf_counter()
        for chosen in torch.randperm(len(images)).split(batch_size):
            batch = images[chosen]
            optimizer.zero_grad()
            loss = mse_loss(model(batch), batch)
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            losses = [mse_loss(model(batch), batch) * len(batch) for batch in validation_images.split(256)]
            float(sum(losses)) / len(validation_images)
        return len(images) / (time.perf_counter() - started)

    return epoch


def pythae(images: Tensor, batch_size: int) -> Epoch:
    """pythae's AE and BaseTrainer; only its epoch's training is timed."""
    with quiet():
        from pythae.data.preprocessors import DataProcessor
        from pythae.models import AE, AEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = model_of_the_document()[:3]

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.layers(x.reshape(len(x), -1)))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = model_of_the_document()[3:]

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z).reshape(len(z), 1, 28, 28))

    settings = {"num_epochs": 1, "learning_rate": 1e-3, "per_device_train_batch_size": batch_size, "no_cuda": True}
    trainer = BaseTrainer(
        model=AE(AEConfig(input_dim=(1, 28, 28), latent_dim=3), Encoder(), Decoder()),
        train_dataset=DataProcessor.to_dataset(images.view(-1, 1, 28, 28)),
        training_config=BaseTrainerConfig(output_dir=tempfile.mkdtemp(), **settings),
    )
    trainer.prepare_training()

    def epoch() -> float:
        started = time.perf_counter()
        with quiet():  # its progress bar
            trainer.train_step(epoch=1)
        return len(images) / (time.perf_counter() - started)

    return epoch


def jax_scan(images: Tensor, batch_size: int) -> Epoch:
    """JAX, a whole epoch in one compiled `lax.scan`; compiled before it is timed."""
    import jax
    import jax.numpy as jnp

    def linear(key: Any, inputs: int, outputs: int) -> dict[str, Any]:
        bound = inputs**-0.5
        return {
            "weight": jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound),
            "bias": jnp.zeros(outputs),
        }

    def loss_of(weights: Any, batch: Any) -> Any:
        x = batch
        for number, layer in enumerate(weights):
            x = x @ layer["weight"] + layer["bias"]
            x = jax.nn.relu(x) if number in (0, 2) else x
        return jnp.mean((x - batch) ** 2)

    def step(carry: Any, chosen: Any) -> Any:
        weights, means, squares, count = carry
        loss, gradients = jax.value_and_grad(loss_of)(weights, pixels[chosen])
        count = count + 1
        means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
        squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, gradients)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-8), weights, means, squares)
        return (weights, means, squares, count), loss

    pixels = jnp.asarray(images.numpy())
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    sizes = [(784, 64), (64, 3), (3, 64), (64, 784)]
    weights = [linear(key, *size) for key, size in zip(keys, sizes, strict=True)]
    zeros = jax.tree.map(jnp.zeros_like, weights)
    carry = (weights, zeros, zeros, jnp.float32(0))
    scan = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order))
    whole = len(images) // batch_size * batch_size

    def epoch() -> float:
        nonlocal carry
        order = np.random.permutation(len(images))[:whole].reshape(-1, batch_size)
        started = time.perf_counter()
        carry, losses = scan(carry, order)
        losses.block_until_ready()
        return whole / (time.perf_counter() - started)

    epoch()
    return epoch


if __name__ == "__main__":
    main()
