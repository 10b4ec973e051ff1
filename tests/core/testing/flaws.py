"""For every check a component that is right but for one flaw, which no other check may notice.

At the end: mistakes at the root of much else.
"""

import functools
import math
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import IterableDataset, TensorDataset

from zoo import DatasetError, IncompatibleError, Objective
from zoo.specs import Kind


@dataclass(frozen=True)
class Flaw:
    """A component that breaks one promise.

    Attributes:
        kind: The component's kind.
        target: The name of a class or function in this module.
        spec: What its spec says otherwise than a correct one.
        plugin_module: The module that the plugin's entry point names.
    """

    kind: Kind
    target: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    plugin_module: str = "zoo_mlp.plugin"


FLAWS: dict[str, Flaw] = {}
CORRECT: dict[Kind, str] = {
    "encoder": "LinearEncoder",
    "decoder": "LinearDecoder",
    "objective": "Gaussian",
    "dataset": "noise",
}


def breaks(check: str, kind: Kind, **spec: Any) -> Callable[[Any], Any]:
    """Plant a class or function as the flaw that a check must find."""

    def register(target: Any) -> Any:
        FLAWS[check] = Flaw(kind, target.__name__, spec)
        return target

    return register


# Correct components


class LinearEncoder(nn.Module):
    """One linear layer.

    Args:
        bias: Whether it adds a bias.
    """

    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(image_shape), out_features, bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class GreyEncoder(LinearEncoder):
    """One linear layer, for grey images.

    Args:
        scale: What the images are multiplied by.
    """

    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, scale: Literal[1, 255] = 1) -> None:
        if image_shape[0] != 1:
            raise IncompatibleError("it takes grey images")
        super().__init__(image_shape, out_features)
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * self.scale)


class LinearDecoder(nn.Module):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.linear = nn.Linear(latent_dim, math.prod(image_shape))

    def forward(self, latents: Tensor) -> Tensor:
        return self.linear(latents).unflatten(1, self.image_shape)


class Plain(Objective):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images)}


class Gaussian(Objective):
    @property
    def encoder_features(self) -> int:
        return 2 * self.latent_dim

    def latents(self, features: Tensor) -> Tensor:
        return features.chunk(2, dim=1)[0]

    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        mean, log_variance = encode(images).chunk(2, dim=1)
        error = mse_loss(decode(mean + torch.randn_like(mean) * (log_variance / 2).exp()), images)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        kl = nats / images[0].numel()
        return {"loss": error + kl, "kl": kl}

    def sample_prior(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.latent_dim, generator=generator)


DATASET = {
    "image_shape": (1, 8, 8),
    "splits": {"train": 12, "test": 6},
    "licence": "CC0-1.0",
    "credit": "The Autoencoder Zoo developers",
}


def noise(split: str) -> TensorDataset:
    count, seed = {"train": (12, 0), "test": (6, 1), "extra": (6, 2)}[split]
    images = torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return TensorDataset(images, torch.arange(count) % 2)


# What is declared

FLAWS["listing_is_light"] = Flaw("encoder", "LinearEncoder", plugin_module="zoo_mlp.networks")
FLAWS["target_resolves"] = Flaw("encoder", "Misspelt")
FLAWS["summary_fits"] = Flaw("decoder", "LinearDecoder", {"summary": "TODO"})


@breaks("signature", "objective")
class Renamed(Plain):
    def __init__(self, latent_size: int) -> None:
        super().__init__(latent_size)


@breaks("no_catch_all", "objective")
class CatchAll(Plain):
    def __init__(self, latent_dim: int, **options: float) -> None:
        super().__init__(latent_dim)


@breaks("options_typed", "encoder")
class Untyped(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, bias=True) -> None:
        super().__init__(image_shape, out_features, bias=bias)


@breaks("options_documented", "objective")
class Undocumented(Plain):
    def __init__(self, latent_dim: int, *, weight: float = 1.0) -> None:
        super().__init__(latent_dim)


@breaks("options_have_defaults", "objective")
class WithoutDefault(Plain):
    """Squared error.

    Args:
        weight: What the error is multiplied by.
    """

    def __init__(self, latent_dim: int, *, weight: float) -> None:
        super().__init__(latent_dim)


@breaks("options_bounded", "objective")
class Unbounded(Plain):
    """Squared error.

    Args:
        depth: How many layers.
    """

    def __init__(self, latent_dim: int, *, depth: Annotated[int, Field(ge=1)] = 1) -> None:
        super().__init__(latent_dim)


@breaks("options_finite", "objective")
class Endless(Plain):
    """Squared error.

    Args:
        weights: One for each scale, or none.
    """

    def __init__(self, latent_dim: int, *, weights: tuple[float, ...] | None = None) -> None:
        super().__init__(latent_dim)


# Encoders and decoders


@breaks("takes_images", "encoder")
class RefusesAll(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        raise ValueError("not this shape")


@breaks("output_shape", "encoder")
class Squeezing(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(1)  # (N,) where there is one feature


@breaks("float64", "encoder")
class AtMostSingle(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return features.float() if features.dtype == torch.float64 else features


@breaks("bfloat16", "decoder")
class AtLeastSingle(LinearDecoder):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + torch.ones(1, device=latents.device)


@breaks("finite", "encoder")
class Normalising(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images / images.amax(dim=(1, 2, 3), keepdim=True))


@breaks("deterministic_in_eval", "encoder")
class Alternating(LinearEncoder):
    passes = 0

    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        self.passes += not self.training
        return features * (1 + self.passes % 2 * torch.finfo(features.dtype).eps)


@breaks("seeded_weights", "decoder")
class NumpyWeights(LinearDecoder):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_dim, image_shape)
        self.brightness = nn.Parameter(torch.from_numpy(np.random.rand(1).astype(np.float32)))

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + self.brightness


@breaks("leaves_randomness_alone", "decoder")
class Seeding(LinearDecoder):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        np.random.seed(0)
        super().__init__(latent_dim, image_shape)


@breaks("batch_independence", "encoder")
class BatchMean(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return features - 0.5 * features.mean(dim=0)


@breaks("gradients_reach_parameters", "encoder")
class UnusedLayer(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        self.unused = nn.Linear(2, 2)


@breaks("gradients_reach_input", "decoder")
class Detaching(LinearDecoder):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents.detach())


@breaks("train_and_eval_modes", "encoder")
class TrainingAlone(LinearEncoder):
    def train(self, mode: bool = True) -> "TrainingAlone":
        self.training = mode
        return self


@breaks("trains_on_small_batches", "encoder")
class StandardisedByHand(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return features / (features.std(dim=0) + 1e-5) if self.training else features


@breaks("input_unchanged", "encoder")
class InPlace(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        images -= 0.5
        return super().forward(images)


@breaks("memory_layout", "encoder")
class Viewing(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.view(len(images), -1))


@breaks("weights_not_shared", "encoder")
class Tied(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        self.second, self.third = (nn.Linear(out_features, out_features) for _ in range(2))
        self.third.weight = self.second.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.third(self.second(super().forward(images)))


@breaks("tensors_only", "encoder")
class ExtraState(LinearEncoder):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state["version"] == 1


@breaks("state_round_trip", "decoder")
class HiddenBuffer(LinearDecoder):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_dim, image_shape)
        self.register_buffer("offset", torch.rand(1), persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + self.offset


@breaks("builds_on_meta", "decoder")
class ReadingWeights(LinearDecoder):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_dim, image_shape)
        assert self.linear.weight.std().item() > 0


@breaks("moves_between_devices", "decoder")
class StayingBehind(LinearDecoder):
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + torch.ones(1, dtype=latents.dtype)


@breaks("learns", "encoder")
class ReversedGradient(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return 2 * features.detach() - features


@breaks("silent", "encoder")
class Printing(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        print("built for", image_shape)


@breaks("copies", "encoder")
class LambdaOfItself(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        self.features = lambda images: self.linear(images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


@breaks("composes_with_reference", "encoder")
class CroppingInTraining(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[..., :32, :32] if self.training else images)  # breaks for 33×31


@breaks("composes_with_objectives", "encoder")
class FarOff(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 200  # as a log-variance it overflows


@breaks("composes_with_datasets", "encoder")
class LargeImagesOnly(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__((image_shape[0], 1, 1), out_features)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.avg_pool2d(images, 20))  # breaks for 8×8


@breaks("compilable", "decoder")
class Uncompilable(LinearDecoder):
    @torch.compiler.disable
    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents)


@breaks("exportable", "decoder")
class Caching(LinearDecoder):
    brightness = None

    def forward(self, latents: Tensor) -> Tensor:
        if self.brightness is None:  # else it stays what the export put there
            self.brightness = torch.ones(1, dtype=latents.dtype, device=latents.device)
        return super().forward(latents) + self.brightness


# Objectives


@breaks("is_objective", "objective")
class NoObjective(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = self.encoder_features = latent_dim

    losses = Plain.losses


@breaks("encoder_features", "objective")
class NumpyFeatures(Plain):
    @property
    def encoder_features(self) -> Any:
        return np.int64(self.latent_dim)


@breaks("latents_shape", "objective")
class FixedLatents(Plain):
    def latents(self, features: Tensor) -> Tensor:
        return features[:, :3]


@breaks("latents_deterministic", "objective")
class NoisyLatents(Plain):
    def latents(self, features: Tensor) -> Tensor:
        return features + 1e-3 * torch.randn_like(features)


@breaks("losses_are_scalars", "objective")
class LossPerImage(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": (decode(encode(images)) - images).square().mean(dim=(1, 2, 3))}


@breaks("losses_finite", "objective")
class RelativeError(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images) / images.square().mean()}


@breaks("same_in_train_and_eval", "objective")
class HeavierInTraining(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images) * (2 if self.training else 1)}


@breaks("independent_of_batch_order", "objective")
class WeighedByFirst(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images) * images[0, 0, 0, 0]}


@breaks("mean_over_images", "objective")
class SumOverImages(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images)), images) * len(images)}


@breaks("closed_form", "objective")
class DoubledDivergence(Gaussian):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        losses = super().losses(images, encode, decode)
        return losses | {"kl": 2 * losses["kl"]}


@breaks("prior_sampling", "objective")
class UnseededPrior(Gaussian):
    def sample_prior(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.latent_dim)


@breaks("gradients_reach_both_networks", "objective")
class DetachedFeatures(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": mse_loss(decode(encode(images).detach()), images)}


@breaks("images_unchanged", "objective")
class Dimming(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        images *= 0.9
        return super().losses(images, encode, decode)


@breaks("training_lowers_the_error", "objective")
class WrongSign(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": -mse_loss(decode(encode(images)), images)}


# Datasets

FLAWS["licence_and_credit"] = Flaw("dataset", "noise", {"credit": "TODO"})
FLAWS["splits_as_declared"] = Flaw("dataset", "noise", {"splits": {"train": 12, "test": 6, "extra": 7}})


@breaks("readable", "dataset")
def without_files(split: str) -> TensorDataset:
    raise DatasetError("~/noise holds no images.")


@breaks("pixels_span_bytes", "dataset")
def zeros_and_ones(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images // 128, labels)


@breaks("images_differ", "dataset")
def one_image(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images[:1].expand_as(images), labels)


@breaks("same_order_each_time", "dataset")
def shuffled(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images[np.random.default_rng().permutation(len(images))], labels)


@breaks("splits_disjoint", "dataset")
def overlapping(split: str) -> TensorDataset:
    images, labels = noise("train").tensors
    count = len(noise(split))
    return TensorDataset(images[:count], labels[:count])


@breaks("labels_valid", "dataset")
def without_labels(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images, torch.full_like(labels, -1))


@breaks("works_offline_once_cached", "dataset")
def always_online(split: str) -> TensorDataset:
    try:
        socket.getaddrinfo("localhost", 80)
    except OSError as error:
        raise DatasetError("The images cannot be had.") from error
    return noise(split)


@functools.cache
def download(home: str | None) -> None:
    """Ask the network, once for each home directory."""
    socket.getaddrinfo("localhost", 80)


@breaks("says_when_it_cannot_be_had", "dataset")
def downloaded(split: str) -> TensorDataset:
    download(os.environ.get("HOME"))
    return noise(split)


@breaks("reading_leaves_randomness_alone", "dataset")
def drawing(split: str) -> TensorDataset:
    torch.rand(1)
    return noise(split)


class Numbered(TensorDataset):
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return *super().__getitem__(index), index


@breaks("map_style", "dataset")
def numbered(split: str) -> TensorDataset:
    return Numbered(*noise(split).tensors)


# Mistakes at the root of much else


class WithoutSuper(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        self.linear = nn.Linear(math.prod(image_shape), out_features)


class Standardised(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return features / features.std(dim=0)  # of one image it is NaN


class Deciding(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        features = super().forward(images)
        return features if features.sum().item() > 0 else 2 * features


class Unbuildable(Plain):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim, weight=1.0)


class Files(list[Any]):
    """Images that are read one by one, the fourth of which fails."""

    def __getitem__(self, index: Any) -> Any:
        if index == 3:
            raise FileNotFoundError("no 0003.png")
        return super().__getitem__(index)


def read_one_by_one(split: str) -> Files:
    return Files(noise(split))


def generated(split: str) -> Any:
    yield from noise(split)


def of_several_sizes(split: str) -> list[tuple[Tensor, int]]:
    return [(image[:, :, index % 2 :], label) for index, (image, label) in enumerate(noise(split))]


class Streamed(IterableDataset):
    def __init__(self, source: TensorDataset) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Any:
        return iter(self.source)


def streamed(split: str) -> Streamed:
    return Streamed(noise(split))


def of_pil_images(split: str) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(image[0].numpy()), int(label)) for image, label in noise(split)]


def of_text_labels(split: str) -> list[tuple[Tensor, str]]:
    return [(image, "cat" if label else "dog") for image, label in noise(split)]


def of_dicts(split: str) -> list[dict[str, Any]]:
    return [{"image": image, "label": int(label)} for image, label in noise(split)]


def of_images_alone(split: str) -> list[Tensor]:
    return [image for image, _ in noise(split)]


def one_hot(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images, nn.functional.one_hot(labels))


def empty(split: str) -> list[tuple[Tensor, int]]:
    return []


def from_folder(split: str, *, folder: str) -> TensorDataset:
    """Noise, where there is a folder.

    Args:
        split: `train` or `test`.
        folder: Where it is.
    """
    if not os.path.isdir(folder):
        raise DatasetError(f"{folder} is no folder.")
    return noise(split)


# What is right, though it is not usual


class FrozenBackbone(LinearEncoder):
    """One linear layer that was trained elsewhere, and is not trained here."""

    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.linspace(-0.01, 0.01, weight.numel()).view_as(weight))
        self.requires_grad_(False)


class MultiplesOfEight(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        if out_features % 8:
            raise ValueError(f"out_features must be a multiple of 8, got {out_features}")
        super().__init__(image_shape, out_features)


class ThirtyTwoLatents(LinearDecoder):
    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        if latent_dim != 32:
            raise ValueError("it takes 32 latents")
        super().__init__(latent_dim, image_shape)


class FewLatents(Gaussian):
    def __init__(self, latent_dim: int) -> None:
        if latent_dim > 2:
            raise IncompatibleError("it takes one or two latents")
        super().__init__(latent_dim)


# Mistakes whose cause is not what usually breaks the check


class BackboneWithoutGradients(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, 16)
        self.head = nn.Linear(16, out_features)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = super().forward(images)
        return self.head(features)


class DetachedWhole(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach()


class CrossEntropy(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": nn.functional.binary_cross_entropy(decode(encode(images)), images)}


class Flipping(Plain):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        if self.training:
            flipped = torch.rand(len(images)) < 0.5
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        return super().losses(images, encode, decode)


class NoisyEncoder(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 1e-3 * torch.randn_like(images))
