"""For every check a component that is right but for one flaw, which no other check may notice.

At the end: more flaws of the same checks, and mistakes at the root of much else.
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
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot, softplus
from torch.utils.data import IterableDataset, TensorDataset
from torchmetrics import Metric

import zoo.evaluation.matplotlib_import  # noqa: F401 - torchmetrics imports matplotlib
from zoo import (
    Batch,
    DataFacts,
    DatasetError,
    Distortion,
    IncompatibleError,
    Objective,
    Parts,
    Variational,
    gaussian_kl,
)
from zoo.contract.specs import Kind


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
OTHER_FLAWS: list[tuple[str, Flaw]] = []  # more flaws of checks that have one in FLAWS
CORRECT: dict[Kind, tuple[str, ...]] = {
    "encoder": ("LinearEncoder", "MapEncoder", "MaskedEncoder", "FrozenEncoder"),
    "decoder": ("LinearDecoder", "MapDecoder"),
    "objective": ("Gaussian", "Codebook", "Adversarial", "Discrepancy", "Supervised", "Annealed"),
    "distortion": ("Squares", "Logits", "Normal", "PatchJudge", "Perceptual"),
    "dataset": ("noise",),
    "metric": ("MeanSquare", "Spread"),
}


def breaks(check: str, kind: Kind, **spec: Any) -> Callable[[Any], Any]:
    """Plant a class or function as the flaw that a check must find."""

    def register(target: Any) -> Any:
        FLAWS[check] = Flaw(kind, target.__name__, spec)
        return target

    return register


def also_breaks(check: str, kind: Kind) -> Callable[[Any], Any]:
    """Plant another flaw that a check must find."""

    def register(target: Any) -> Any:
        OTHER_FLAWS.append((check, Flaw(kind, target.__name__)))
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


class MapEncoder(nn.Module):
    """A convolution that gives maps."""

    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.features_shape = (out_features, height // 4, width // 4)
        self.convolution = nn.Conv2d(channels, out_features, kernel_size=4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images)


class MaskedEncoder(LinearEncoder):
    """An encoder that replaces hidden pixels by a learned value."""

    takes_mask = True

    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        self.hidden = nn.Parameter(torch.zeros(image_shape[0], 1, 1))

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = images.new_zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
        return super().forward(torch.where(mask, self.hidden, images))


class FrozenEncoder(nn.Module):
    """A backbone that is not trained and keeps its BatchNorm in eval mode, with a trained layer after it."""

    frozen = True

    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__()
        backbone = nn.Sequential(nn.Conv2d(image_shape[0], 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.backbone = backbone.requires_grad_(False).eval()
        self.linear = nn.Linear(4 * (image_shape[1] // 4) * (image_shape[2] // 4), out_features)

    def train(self, mode: bool = True) -> "FrozenEncoder":
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.backbone(images).flatten(1))


class LinearDecoder(nn.Module):
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.linear = nn.Linear(math.prod(latent_shape), math.prod(output_shape))

    def forward(self, latents: Tensor) -> Tensor:
        return self.linear(latents.flatten(1)).unflatten(1, self.output_shape)


class MapDecoder(LinearDecoder):
    """A decoder of maps alone."""

    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        if len(latent_shape) != 3:
            raise ValueError("it takes maps (D, h, w)")
        super().__init__(latent_shape, output_shape)


class Plain(Objective):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts)}

    def distortion(self, batch: Batch, parts: Parts) -> Tensor:
        return parts.loss(parts.decode(self.latents(parts.encode(batch.images))), batch.images)


class Gaussian(Variational):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(parts.encode(batch.images))
        distortion = parts.loss(parts.decode(self.draw(mean, log_variance)), batch.images)
        rate = gaussian_kl(mean, log_variance).mean() / batch.images[0].numel()
        return {"loss": distortion + rate, "rate": rate}


class Annealed(Gaussian):
    """A divergence whose weight grows, for a likelihood."""

    needs = frozenset({"likelihood", "pixels"})

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        losses = super().losses(batch, parts)
        return losses | {"loss": losses["loss"] - (1 - batch.progress) * losses["rate"]}


class Codebook(Objective):
    """A codebook of eight vectors, which are means of what is nearest to them (van den Oord et al. 2017)."""

    tallies = ("counts", "sums")

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("codebook", torch.randn(8, latent_dim))
        self.register_buffer("counts", torch.zeros(8))
        self.register_buffer("sums", torch.zeros(8, latent_dim))

    def start(self, batch: Batch, parts: Parts) -> None:
        vectors = self.vectors(parts.encode(batch.images))
        self.codebook.copy_(vectors[: len(self.codebook)])

    def codes(self, features: Tensor) -> Tensor:
        shape = len(features), *features.shape[2:]
        return torch.cdist(self.vectors(features), self.codebook).argmin(dim=1).view(shape)

    def latents_of(self, codes: Tensor) -> Tensor:
        return self.codebook[codes].movedim(-1, 1)

    def latents(self, features: Tensor) -> Tensor:
        return self.latents_of(self.codes(features))

    def vectors(self, features: Tensor) -> Tensor:
        return features.movedim(1, -1).reshape(-1, self.latent_dim)

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        features = parts.encode(batch.images)
        latents = self.latents(features)
        self.count(features)
        commitment = (features - latents).square().flatten(1).sum(dim=1).mean() / batch.images[0].numel()
        straight = features + (latents - features).detach()
        return {"loss": parts.loss(parts.decode(straight), batch.images) + commitment, "commitment": commitment}

    def count(self, features: Tensor) -> None:
        chosen = one_hot(self.codes(features).flatten(), len(self.codebook)).float()
        self.counts += chosen.sum(dim=0)
        self.sums += chosen.T @ self.vectors(features).detach()

    def after_step(self, parts: Parts) -> None:
        means = self.sums / self.counts.clamp(min=1)[:, None]
        moved = self.codebook + 0.1 * (means - self.codebook)
        self.codebook.copy_(torch.where(self.counts[:, None] > 0, moved, self.codebook))


class Adversarial(Objective):
    """Latents that a discriminator cannot tell from a normal distribution (Makhzani et al. 2015)."""

    def attach(self, parts: Parts) -> None:
        self.adversary = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(parts.latent_shape), 4), nn.Tanh(), nn.Linear(4, 1)
        )

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = self.latents(parts.encode(batch.images))
        loss = parts.loss(parts.decode(latents), batch.images)
        return {"loss": loss, "adversarial": softplus(-self.adversary(latents)).mean() / batch.images[0].numel()}

    def adversary_losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        fake = self.latents(parts.encode(batch.images)).detach()
        real = self.sample_prior(len(fake), parts)
        return {"loss": (softplus(self.adversary(fake)) + softplus(-self.adversary(real))).mean()}

    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, *parts.latent_shape, generator=generator)


class Discrepancy(Plain):
    """The difference of the mean latent from 0, which depends on the batch as a whole."""

    batch_statistics = True

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = self.latents(parts.encode(batch.images))
        discrepancy = 20 * latents.mean(dim=0).square().sum() / batch.images[0].numel()
        return {"loss": parts.loss(parts.decode(latents), batch.images) + discrepancy}


class Supervised(Plain):
    """Latents near to their class's number."""

    needs = frozenset({"labels"})

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = self.latents(parts.encode(batch.images))
        classes = batch.labels.to(latents.dtype).view(-1, *[1] * (latents.dim() - 1))
        distance = (latents - classes).square().flatten(1).sum(dim=1).mean() / batch.images[0].numel()
        return {"loss": parts.loss(parts.decode(latents), batch.images) + distance}


class Squares(Distortion):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return (output - images).square()


class Logits(Distortion):
    likelihood = "mass"

    def images(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output, images, reduction="none")


class Normal(Distortion):
    """A normal distribution of each pixel: means, and as many log-variances in more channels."""

    likelihood = "density"

    @property
    def output_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.image_shape
        return 2 * channels, height, width

    def images(self, output: Tensor) -> Tensor:
        return output.chunk(2, dim=1)[0]

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        mean, log_variance = output.chunk(2, dim=1)
        log_variance = log_variance.clamp(-6, 6)
        return 0.5 * ((images - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi))


class PatchJudge(Squares):
    """Squared distance, and a discriminator of 4×4 patches."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.adversary = nn.Conv2d(image_shape[0], 1, kernel_size=4, stride=4)

    def adversarial(self, output: Tensor, images: Tensor, loss: Tensor, progress: Tensor) -> Tensor:
        return 0.1 * softplus(-self.adversary(output)).mean()

    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        return {"loss": (softplus(self.adversary(output)) + softplus(-self.adversary(images))).mean()}


class Perceptual(Distortion):
    """Squared distance of features, by a network that only training needs and whose weights `start` loads."""

    training_only = ("network",)

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.network = nn.Conv2d(image_shape[0], 8, kernel_size=3).requires_grad_(False)

    def start(self, batch: Batch, parts: Parts) -> None:
        self.network.weight.copy_(torch.randn(self.network.weight.shape, generator=torch.Generator().manual_seed(5)))

    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        return (self.network(output) - self.network(images)).square().flatten(1).sum(dim=1)


DATASET = {
    "image_shape": (1, 8, 8),
    "splits": {"train": 12, "test": 6},
    "licence": "CC0-1.0",
    "credit": "The Autoencoder Zoo developers",
    "classes": ("even", "odd"),
}


def noise(split: str) -> TensorDataset:
    count, seed = {"train": (12, 0), "test": (6, 1), "extra": (6, 2)}[split]
    images = torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return TensorDataset(images, torch.arange(count) % 2)


METRIC = {"digits": 3, "better": "lower"}


class MeanSquare(Metric):
    full_state_update = False

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        self.total += (images - reconstructions).square().flatten(1).mean(dim=1).sum()
        self.count += len(images)

    def compute(self) -> Tensor:
        return self.total / self.count


class Spread:
    """The mean length of the difference, for sides of at least 28, without torchmetrics."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        if min(image_shape[1:]) < 28:
            raise ValueError("it takes sides of at least 28")
        self.lengths: list[float] = []

    def update(self, *, images: Tensor, reconstructions: Tensor) -> None:
        self.lengths += (images - reconstructions).flatten(1).norm(dim=1).tolist()

    def compute(self) -> float:
        return sum(self.lengths) / len(self.lengths)


# What is declared

FLAWS["listing_is_light"] = Flaw("encoder", "LinearEncoder", plugin_module="zoo_mlp.networks")
FLAWS["target_resolves"] = Flaw("encoder", "Misspelt")
FLAWS["summary_fits"] = Flaw("decoder", "LinearDecoder", {"summary": "TODO"})


@breaks("signature", "objective")
class Renamed(Plain):
    def __init__(self, latent_size: int, data: DataFacts) -> None:
        super().__init__(latent_size, data)


@breaks("no_catch_all", "objective")
class CatchAll(Plain):
    def __init__(self, latent_dim: int, data: DataFacts, **options: float) -> None:
        super().__init__(latent_dim, data)


@breaks("options_typed", "encoder")
class Untyped(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int, *, bias=True) -> None:
        super().__init__(image_shape, out_features, bias=bias)


@breaks("options_documented", "objective")
class Undocumented(Plain):
    def __init__(self, latent_dim: int, data: DataFacts, *, weight: float = 1.0) -> None:
        super().__init__(latent_dim, data)


@breaks("options_have_defaults", "objective")
class WithoutDefault(Plain):
    """Squared error.

    Args:
        weight: What the error is multiplied by.
    """

    def __init__(self, latent_dim: int, data: DataFacts, *, weight: float) -> None:
        super().__init__(latent_dim, data)


@breaks("options_bounded", "objective")
class Unbounded(Plain):
    """Squared error.

    Args:
        depth: How many layers.
    """

    def __init__(self, latent_dim: int, data: DataFacts, *, depth: Annotated[int, Field(ge=1)] = 1) -> None:
        super().__init__(latent_dim, data)


@breaks("options_finite", "objective")
class Endless(Plain):
    """Squared error.

    Args:
        weights: One for each scale, or none.
    """

    def __init__(self, latent_dim: int, data: DataFacts, *, weights: tuple[float, ...] | None = None) -> None:
        super().__init__(latent_dim, data)


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
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_shape, output_shape)
        self.brightness = nn.Parameter(torch.from_numpy(np.random.rand(1).astype(np.float32)))

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + self.brightness


@breaks("leaves_randomness_alone", "decoder")
class Seeding(LinearDecoder):
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        np.random.seed(0)
        super().__init__(latent_shape, output_shape)


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
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_shape, output_shape)
        self.register_buffer("offset", torch.rand(1), persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        return super().forward(latents) + self.offset


@breaks("builds_on_meta", "decoder")
class ReadingWeights(LinearDecoder):
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        super().__init__(latent_shape, output_shape)
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


@breaks("features_shape_declared", "encoder")
class NumpyShape(LinearEncoder):
    def __init__(self, image_shape: tuple[int, int, int], out_features: int) -> None:
        super().__init__(image_shape, out_features)
        self.features_shape = (np.int64(out_features),)


@breaks("hidden_pixels_unseen", "encoder")
class IgnoringMasks(MaskedEncoder):
    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(images + 0 * self.hidden)


@breaks("frozen_declared", "encoder")
class SilentlyFrozen(FrozenEncoder):
    frozen = False


@also_breaks("frozen_declared", "encoder")
class FrozenInName(LinearEncoder):
    frozen = True


# Objectives


@breaks("is_objective", "objective")
class NoObjective(nn.Module):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__()
        self.latent_dim = self.encoder_features = latent_dim
        self.data = data

    losses = Plain.losses


@breaks("needs_known", "objective")
class NeedsMisspelt(Plain):
    needs = frozenset({"likelihoods"})


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
    stochastic = True

    def latents(self, features: Tensor) -> Tensor:
        return features + 1e-3 * torch.randn_like(features)


@breaks("codes_round_trip", "objective")
class ReversedCodebook(Codebook):
    def latents(self, features: Tensor) -> Tensor:
        return super().latents_of(self.codes(features))

    def latents_of(self, codes: Tensor) -> Tensor:
        return super().latents_of(len(self.codebook) - 1 - codes)


@breaks("loss_called_once", "objective")
class LossOfTwo(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) + self.distortion(batch, parts)}


@breaks("losses_are_scalars", "objective")
class LossPerImage(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        output = parts.decode(self.latents(parts.encode(batch.images)))
        return {"loss": parts.distances(output, batch.images) / batch.images[0].numel()}


@breaks("losses_finite", "objective")
class RelativeError(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) / batch.images.sum(dim=(1, 2, 3)).amin().clamp(max=1)}


@breaks("names_stay", "objective")
class EndingPart(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        losses = super().losses(batch, parts)
        return losses | {"warm_up": losses["loss"]} if batch.progress < 0.5 else losses


@breaks("labels_declared", "objective")
class SilentlySupervised(Supervised):
    needs = frozenset()


@breaks("noise_declared", "objective")
class SilentlyNoisy(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        noisy = batch.images + 1e-3 * torch.randn_like(batch.images)
        return {"loss": parts.loss(parts.decode(parts.encode(noisy)), batch.images)}


@breaks("same_in_train_and_eval", "objective")
class HeavierInTraining(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) * (2 if self.training else 1)}


@breaks("independent_of_batch_order", "objective")
class WeighedByFirst(Discrepancy):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) * batch.images[0, 0, 0, 0]}


@breaks("mean_over_images", "objective")
class SumOverImages(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) * len(batch.images)}


@also_breaks("mean_over_images", "objective")
class UndeclaredStatistics(Discrepancy):
    batch_statistics = False


@breaks("closed_form", "objective")
class DoubledDivergence(Gaussian):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        losses = super().losses(batch, parts)
        return losses | {"rate": 2 * losses["rate"]}


@breaks("importance_weights", "objective")
class PriorOfAll(Gaussian):
    def log_prior(self, latents: Tensor, parts: Parts) -> Tensor:
        return super().log_prior(latents, parts).sum()


@breaks("prior_sampling", "objective")
class UnseededPrior(Gaussian):
    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, *parts.latent_shape)


@also_breaks("prior_sampling", "objective")
class VectorPrior(Gaussian):
    def sample_prior(self, count: int, parts: Parts, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.latent_dim, generator=generator)


@breaks("works_conditionally", "objective")
class BareDecoder(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": parts.loss(parts.decoder(parts.encode(batch.images)), batch.images)}


@breaks("gradients_reach_both_networks", "objective")
class DetachedFeatures(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": parts.loss(parts.decode(parts.encode(batch.images).detach()), batch.images)}


@breaks("images_unchanged", "objective")
class Dimming(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        batch.images.mul_(0.9)
        return super().losses(batch, parts)


@breaks("training_lowers_the_error", "objective")
class WrongSign(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": -self.distortion(batch, parts)}


# State, of objectives and distortions


@breaks("works_without_training_parts", "objective")
class TaughtToEncode(Plain):
    training_only = ("teacher",)

    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.teacher = nn.Identity()

    def latents(self, features: Tensor) -> Tensor:
        return self.teacher(features)


@breaks("losses_compilable", "objective")
class ProgressInControlFlow(Gaussian):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        losses = super().losses(batch, parts)
        return losses | {"loss": losses["loss"] - losses["rate"]} if batch.progress < 0.1 else losses


@breaks("state_left_alone", "objective")
class RunningMean(Plain):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("mean", torch.zeros(()))

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        loss = self.distortion(batch, parts)
        self.mean.lerp_(loss.detach(), 0.1)
        return {"loss": loss}


@also_breaks("state_left_alone", "objective")
class ClippedAdversary(Adversarial):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        with torch.no_grad():
            for weight in self.adversary.parameters():
                weight.clamp_(-0.01, 0.01)
        return super().losses(batch, parts)


@breaks("tallies_are_buffers", "objective")
class WholeCounts(Codebook):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("counts", torch.zeros(8, dtype=torch.int64))

    def count(self, features: Tensor) -> None:
        self.counts += one_hot(self.codes(features).flatten(), len(self.codebook)).sum(dim=0)


@breaks("tallies_add_up", "objective")
class MeanCounts(Codebook):
    def count(self, features: Tensor) -> None:
        chosen = one_hot(self.codes(features).flatten(), len(self.codebook)).float()
        self.counts += chosen.mean(dim=0)


@breaks("after_step_follows_tallies", "objective")
class RememberedFeatures(Codebook):
    def count(self, features: Tensor) -> None:
        self.features = features.detach()

    def after_step(self, parts: Parts) -> None:
        self.codebook.lerp_(self.vectors(self.features).mean(dim=0), 0.1)


@breaks("starts_in_place", "objective")
class LazyInputs(Plain):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data)
        self.register_buffer("inputs", torch.zeros(0))

    def start(self, batch: Batch, parts: Parts) -> None:
        self.inputs = batch.images[:8].clone()


@breaks("survives_a_step_and_a_copy", "objective")
class CountedInPython(Plain):
    taken = 0

    def after_step(self, parts: Parts) -> None:
        self.taken += 1

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": self.distortion(batch, parts) * (1 + 0.5**self.taken)}


# Adversaries, of objectives and distortions


@breaks("adversary_named", "objective")
class OtherName(Adversarial):
    def attach(self, parts: Parts) -> None:
        super().attach(parts)
        self.discriminator, self.adversary = self.adversary, None

    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        latents = self.latents(parts.encode(batch.images))
        adversarial = softplus(-self.discriminator(latents)).mean()
        return {"loss": parts.loss(parts.decode(latents), batch.images), "adversarial": adversarial}


@breaks("players_apart", "objective")
class AttachedLatents(Adversarial):
    def adversary_losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        fake = self.latents(parts.encode(batch.images))
        real = self.sample_prior(len(fake), parts)
        return {"loss": (softplus(self.adversary(fake)) + softplus(-self.adversary(real))).mean()}


@breaks("adversary_is_trained", "objective")
class UnusedJudge(Adversarial):
    def attach(self, parts: Parts) -> None:
        super().attach(parts)
        self.adversary.unused = nn.Identity()
        self.adversary.unused.weight = nn.Parameter(torch.ones(1))


@also_breaks("adversary_is_trained", "distortion")
class Untrained(PatchJudge):
    def adversary_losses(self, output: Tensor, images: Tensor, progress: Tensor) -> dict[str, Tensor]:
        return {"loss": super().adversary_losses(output, images, progress)["loss"].detach()}


@breaks("adversarial_reaches_the_autoencoder", "objective")
class WithoutPay(Adversarial):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        return {"loss": super().losses(batch, parts)["loss"]}


@breaks("loss_without_adversary", "objective")
class SelectedByAdversary(Adversarial):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        losses = super().losses(batch, parts)
        return losses | {"loss": losses["loss"] + losses["adversarial"]}


@also_breaks("loss_without_adversary", "distortion")
class JudgedDistance(PatchJudge):
    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        return super().loss(output, images, progress) + 1e-6 * softplus(-self.adversary(output)).mean()


@breaks("both_players_step", "distortion")
class StandingJudge(PatchJudge):
    adversary_lr = 0.0


# Distortions


@breaks("is_distortion", "distortion")
class NoDistortion(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = self.output_shape = image_shape

    pixels = Squares.pixels


@breaks("shapes_and_dtypes", "distortion")
class SingleLoss(Squares):
    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        return super().loss(output, images, progress).float()


@breaks("distortion_finite", "distortion")
class LogarithmOfSigmoid(Logits):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        white = output.sigmoid()
        return -(images * white.log() + (1 - images) * (1 - white).log())


@breaks("one_scale", "distortion")
class SumOverPixels(Squares):
    def loss(self, output: Tensor, images: Tensor, progress: Tensor) -> Tensor:
        return self.distances(output, images).mean()


@also_breaks("one_scale", "distortion")
class MeanOverPixels(Squares):
    def distances(self, output: Tensor, images: Tensor) -> Tensor:
        return self.pixels(output, images).flatten(1).mean(dim=1)


@breaks("images_judged_apart", "distortion")
class RelativeToBatch(Squares):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return super().pixels(output, images) / (1 + images.mean())


@breaks("identical_is_nearest", "distortion")
class Offset(Squares):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return (output - images - 0.2).square()


@breaks("minimising_rebuilds", "distortion")
class Negative(Squares):
    def images(self, output: Tensor) -> Tensor:
        return 1 - output


@breaks("gradients_reach_output", "distortion")
class DetachedOutput(Squares):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return super().pixels(output.detach(), images)


@breaks("images_in_range", "distortion")
class WideRange(Squares):
    def images(self, output: Tensor) -> Tensor:
        return 2 * output - 0.5

    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return super().pixels(self.images(output), images)


@breaks("pair_unchanged", "distortion")
class Clamping(Squares):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return super().pixels(output, images.data.clamp_(0.01, 1))


@breaks("probabilities_sum_to_one", "distortion")
class WithoutConstant(Normal):
    def pixels(self, output: Tensor, images: Tensor) -> Tensor:
        return super().pixels(output, images) - 0.5 * math.log(2 * math.pi)


# Datasets

FLAWS["licence_and_credit"] = Flaw("dataset", "noise", {"credit": "TODO"})
FLAWS["classes_name_labels"] = Flaw("dataset", "noise", {"classes": ("even",)})
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


# Metrics

FLAWS["perfect_is_best"] = Flaw("metric", "MeanSquare", {"better": "higher"})


@breaks("is_metric", "metric")
class WithoutCompute:
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        pass

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        pass


@also_breaks("is_metric", "metric")
class RefusesAllShapes(MeanSquare):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        raise ValueError("it takes no images")


@breaks("update_takes_needs", "metric")
class WithLabels(MeanSquare):
    def update(self, images: Tensor, reconstructions: Tensor, labels: Tensor | None = None) -> None:
        super().update(images, reconstructions)


@also_breaks("update_takes_needs", "metric")
class NamedAsInTorchmetrics(MeanSquare):
    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, target)


@breaks("one_finite_number", "metric")
class NumberPerChannel(MeanSquare):
    def compute(self) -> Tensor:
        return super().compute().repeat(2)


@also_breaks("one_finite_number", "metric")
class LogarithmOfNegative(MeanSquare):
    def compute(self) -> Tensor:
        return (-super().compute()).log()


@breaks("batches_add_up", "metric")
class MeanOfMeans(MeanSquare):
    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        self.total += (images - reconstructions).square().mean()
        self.count += 1


@breaks("states_merge", "metric")
class CountedAside(MeanSquare):
    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__(image_shape)
        self.images = 0

    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        super().update(images, reconstructions)
        self.images += len(images)

    def compute(self) -> Tensor:
        return self.total / self.images


@breaks("fields_unchanged", "metric")
class ClampingInPlace(MeanSquare):
    def update(self, images: Tensor, reconstructions: Tensor) -> None:
        super().update(images, reconstructions.clamp_(0, 1))


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
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        super().__init__(latent_dim, data, weight=1.0)


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


def one_hot_labels(split: str) -> TensorDataset:
    images, labels = noise(split).tensors
    return TensorDataset(images, one_hot(labels))


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

    frozen = True

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
    def __init__(self, latent_shape: tuple[int, ...], output_shape: tuple[int, int, int]) -> None:
        if latent_shape != (32,):
            raise ValueError("it takes vectors of 32 latents")
        super().__init__(latent_shape, output_shape)


class FewLatents(Gaussian):
    def __init__(self, latent_dim: int, data: DataFacts) -> None:
        if latent_dim > 2:
            raise IncompatibleError("it takes one or two latents")
        super().__init__(latent_dim, data)


class VectorsOnly(Plain):
    def attach(self, parts: Parts) -> None:
        if len(parts.latent_shape) != 1:
            raise IncompatibleError("it takes vectors")


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
    def distortion(self, batch: Batch, parts: Parts) -> Tensor:
        output = parts.decode(self.latents(parts.encode(batch.images)))
        return nn.functional.binary_cross_entropy(output, batch.images)


class Flipping(Plain):
    def losses(self, batch: Batch, parts: Parts) -> dict[str, Tensor]:
        images = batch.images
        if self.training:
            flipped = torch.rand(len(images)) < 0.5
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        return super().losses(Batch(images, batch.labels, batch.progress), parts)


class NoisyEncoder(LinearEncoder):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 1e-3 * torch.randn_like(images))
