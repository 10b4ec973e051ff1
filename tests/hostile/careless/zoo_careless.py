"""A third party's encoder that declares no bounds and trusts its options: what core must survive."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo import EncoderSpec, hookimpl


@hookimpl
def zoo_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(name="careless", target="zoo_careless:Careless", summary="Linear layers without a bound")


class Careless(nn.Module):
    def __init__(
        self, image_shape: tuple[int, int, int], out_features: int, *, width: int = 4, depth: int = 2,
        sizes: list[int] | None = None, table: dict[str, Any] | None = None, cells: int = 1, name: str = "layers",
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(math.prod(image_shape), width)]
        layers += [nn.Linear(width, width) for _ in range(depth)]
        layers += [nn.Linear(size, 12 // (size - 3)) for size in sizes or []]
        layers.append(nn.Linear(width, (table if table is not None else {"out": out_features})["out"]))
        self.parts = nn.ModuleDict({name: nn.Sequential(*layers)})
        self.register_buffer("grid", torch.zeros(image_shape[1], image_shape[2], cells), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        (layers,) = self.parts.values()
        features: Tensor = layers(images.flatten(1))
        return features
