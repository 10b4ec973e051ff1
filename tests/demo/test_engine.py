"""Decoders run by the JavaScript engine, in a real browser, against the same decoders run by PyTorch."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo_demo
from zoo import DataFacts, Distortion
from zoo.model.autoencoder import Autoencoder
from zoo_conv.networks import ConvDecoder
from zoo_demo.graph import NotForTheBrowser, plan
from zoo_distortions.bernoulli import Bernoulli
from zoo_distortions.elementwise import L1, MSE
from zoo_mlp.networks import MLPDecoder
from zoo_objectives.ae import AE

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from demo.conftest import OpenPage

ENGINE = Path(zoo_demo.__file__).parent / "static" / "engine.mjs"
ORIGIN = "http://127.0.0.1"  # nothing listens there: the test answers
TOLERANCE = 1e-5  # of pixels around 1; what the engine allows is 1/255
RUN = """
async ([latents, kind, label]) => {
    const { loadDecoder } = await import("/engine.mjs");
    const decoder = await loadDecoder("/plan.json", "/weights.bin");
    const pixels = decoder.decode(globalThis[kind].from(latents), label ?? undefined);
    return [decoder.latentShape, decoder.classes, decoder.imageShape, Array.from(pixels)];
}
"""


class Engine:
    """The engine in a page that gets its files from here."""

    def __init__(self, page: Page) -> None:
        script = ENGINE.read_text(encoding="utf-8")
        self.files = {"/": ("text/html", "<!doctype html>"), "/engine.mjs": ("text/javascript", script)}
        self.page = page
        page.route(f"{ORIGIN}/**", self._answer)
        page.goto(ORIGIN)

    def _answer(self, route: Any, request: Any) -> None:
        if (path := request.url.removeprefix(ORIGIN)) in self.files:
            content_type, body = self.files[path]
            route.fulfill(content_type=content_type, body=body)
        else:
            route.fulfill(status=404)

    def run(
        self,
        document: dict[str, Any],
        weights: bytes,
        latents: list[float],
        kind: str = "Float32Array",
        label: int | None = None,
    ) -> Any:
        """The decoder's latentShape, classes, imageShape and pixels of latents."""
        self.files["/plan.json"] = ("application/json", json.dumps(document, allow_nan=False))
        self.files["/weights.bin"] = ("application/octet-stream", weights)
        return self.page.evaluate(RUN, [latents, kind, label])


@pytest.fixture(scope="module")
def engine(open_page: OpenPage) -> Iterator[Engine]:
    """The engine in one page for all tests: each makes a decoder of its own."""
    with open_page() as page:
        yield Engine(page)


class Features(nn.Module):
    """An encoder of which only the shape of its features is used."""

    def __init__(self, features_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.features_shape = features_shape


def autoencoder(
    decoder: nn.Module,
    latent_shape: tuple[int, ...],
    image_shape: tuple[int, int, int],
    distortion: type[Distortion] = MSE,
    *,
    classes: tuple[str, ...] = (),
) -> Autoencoder:
    """An autoencoder of which only `decode` is used; conditional where it has classes."""
    data = DataFacts(image_shape, classes)
    label_dropout = 0.1 if classes else None
    objective = AE(latent_shape[0], data)
    parts = (Features(latent_shape), objective, decoder, distortion(image_shape))
    return Autoencoder(*parts, data, label_dropout=label_dropout).eval()


def assert_equal_to_pytorch(engine: Engine, model: Autoencoder, label: int | None = None) -> None:
    """The engine decodes a batch of latents as PyTorch does."""
    latents = 2 * torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.decode(latents, None if label is None else torch.full((3,), label)).numpy()
    made = plan(model)
    *facts, pixels = engine.run(made.json, made.weights, latents.flatten().tolist(), label=label)
    assert facts == [list(model.latent_shape), len(model.classes), list(model.image_shape)]
    np.testing.assert_allclose(np.reshape(pixels, expected.shape), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("latent_dim", [1, 3, 16])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 32), (1, 28, 20), (3, 33, 31)], ids=str)
@pytest.mark.parametrize("decoder", [MLPDecoder, ConvDecoder])
def test_a_built_in_decoder_gives_the_same_image(engine, decoder, image_shape, latent_dim):
    torch.manual_seed(0)
    assert_equal_to_pytorch(engine, autoencoder(decoder((latent_dim,), image_shape), (latent_dim,), image_shape))


@pytest.mark.parametrize("latent_shape", [(3, 4, 4), (2, 7, 7), (1, 14, 14), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("decoder", [MLPDecoder, ConvDecoder])
def test_a_built_in_decoder_of_maps_gives_the_same_image(engine, decoder, latent_shape):
    torch.manual_seed(0)
    image_shape = (1, 28, 28)
    assert_equal_to_pytorch(engine, autoencoder(decoder(latent_shape, image_shape), latent_shape, image_shape))


@pytest.mark.parametrize("distortion", [MSE, L1, Bernoulli])
def test_a_distortion_makes_the_same_image_of_the_output(engine, distortion):
    torch.manual_seed(0)
    decoder = nn.Sequential(MLPDecoder((3,), (1, 8, 8)), Louder())
    assert_equal_to_pytorch(engine, autoencoder(decoder, (3,), (1, 8, 8), distortion))


class Louder(nn.Module):
    """Gives output far outside [0, 1]."""

    def forward(self, output: Tensor) -> Tensor:
        return 20 * output


def test_a_distortion_may_give_the_decoder_another_shape_than_the_images(engine):
    class Mixture(Distortion):
        """The mean of two images, weighted by a third."""

        @property
        def output_shape(self) -> tuple[int, int, int]:
            channels, height, width = self.image_shape
            return 3 * channels, height, width

        def images(self, output: Tensor) -> Tensor:
            first, second, weight = output.chunk(3, dim=1)
            return first + weight.sigmoid() * (second - first)

    torch.manual_seed(0)
    assert_equal_to_pytorch(engine, autoencoder(MLPDecoder((3,), (9, 8, 8)), (3,), (3, 8, 8), Mixture))


@pytest.mark.parametrize("label", [0, 1, 2, None, 3], ids=["first", "second", "third", "none", "unknown"])
@pytest.mark.parametrize("latent_shape", [(2,), (2, 7, 7)], ids=["vector", "maps"])
@pytest.mark.parametrize("decoder", [MLPDecoder, ConvDecoder])
def test_a_conditional_model_is_told_the_class(engine, decoder, latent_shape, label):
    torch.manual_seed(0)
    told = (latent_shape[0] + 4, *latent_shape[1:])  # three classes, and unknown
    model = autoencoder(decoder(told, (1, 28, 28)), latent_shape, (1, 28, 28), Bernoulli, classes=("a", "b", "c"))
    assert_equal_to_pytorch(engine, model, label)


class Decoder(nn.Module):
    """Any third party's: a linear layer to maps (4, 5, 6), then a layer or a function."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.expand = nn.Linear(3, 4 * 5 * 6)
        self.body = body

    def forward(self, latents: Tensor) -> Tensor:
        return self.body(self.expand(latents).view(-1, 4, 5, 6))


def third_party(make: Callable[[], Callable[[Tensor], Tensor]]) -> Autoencoder:
    torch.manual_seed(0)
    decoder = Decoder(make())
    for module in decoder.modules():  # as if it had been trained
        for buffer in module.buffers(recurse=False):
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
        if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d | nn.InstanceNorm2d):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, 0.5, 2)
    decoder.eval()
    with torch.no_grad():
        image_shape = tuple(decoder(torch.zeros(2, 3)).shape[1:])
    return autoencoder(decoder, (3,), image_shape)


def attention(maps: Tensor) -> Tensor:
    tokens = maps.flatten(2).transpose(1, 2)  # (N, 30, 4)
    weights = (tokens @ tokens.transpose(-2, -1) / 2).softmax(-1)  # (N, 30, 30)
    return (weights @ tokens).transpose(1, 2).reshape(maps.shape)


def in_place(maps: Tensor) -> Tensor:
    changed = maps * 2
    changed[:, :2] += maps[:, 2:]
    changed[:, 3] = 0.5
    first, second = changed.chunk(2, dim=1)
    first.relu_()
    return changed + torch.cat([second, first], dim=1)


def coordinates(maps: Tensor) -> Tensor:
    batch, _, height, width = maps.shape
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"))
    return torch.cat([maps, grid.expand(batch, -1, -1, -1)], dim=1)


def styled(maps: Tensor) -> Tensor:
    style = maps.mean(dim=(2, 3), keepdim=True)
    return maps * torch.sigmoid(style) + (1 - maps.amax(dim=1, keepdim=True)) / (2 + style.abs())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3, padding="same", bias=False))
        self.second = nn.Conv2d(8, 4, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(functional.silu(self.first(maps)))


class Patches(nn.Module):
    """As transformers do: a linear layer, norm and gelu on tokens, then patches are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 12), nn.GELU(), nn.Linear(12, 2 * 2 * 3))

    def forward(self, maps: Tensor) -> Tensor:
        batch, _, height, width = maps.shape
        patches = self.layers(maps.flatten(2).mT)  # (N, height·width, 2·2·3)
        patches = patches.unflatten(1, (height, width)).unflatten(3, (2, 2, 3))
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, 2 * height, 2 * width)


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(4), nn.ELU(0.7), nn.CELU(0.7), nn.SELU(), nn.GELU(),
    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(2, threshold=1), nn.Softsign(),
    nn.Tanhshrink(), nn.Hardtanh(-0.5, 0.7), nn.Hardswish(), nn.Hardsigmoid(), nn.Softmax(1), nn.Softmax2d(),
    nn.Softmin(3),
]  # fmt: skip
LAYERS = [
    nn.Conv2d(4, 3, 3, padding=1),
    nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2),
    nn.Conv2d(4, 8, 3, groups=4, bias=False),
    nn.Conv2d(4, 2, (2, 3), padding=(1, 2), padding_mode="reflect"),
    nn.Conv2d(4, 2, 3, padding=1, padding_mode="replicate"),
    nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose2d(4, 6, (4, 3), stride=(2, 3), padding=(1, 0), output_padding=(0, 2), groups=2),
    nn.ConvTranspose2d(4, 2, 3, stride=2, dilation=2, padding=3, bias=False),
    nn.ConvTranspose2d(4, 2, 2, stride=3),
    nn.Upsample(scale_factor=2),
    nn.Upsample(size=(7, 8)),
    nn.Upsample(scale_factor=2, mode="nearest-exact"),
    nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    nn.Upsample(scale_factor=(1.7, 0.6), mode="bilinear", recompute_scale_factor=False),
    nn.Upsample(size=(1, 9), mode="bilinear"),
    nn.PixelShuffle(2),
    nn.PixelUnshuffle(1),
    nn.ChannelShuffle(2),
    nn.ZeroPad2d((1, 0, 2, 1)),
    nn.BatchNorm2d(4),
    nn.BatchNorm2d(4, affine=False),
    nn.InstanceNorm2d(4, affine=True),
    nn.InstanceNorm2d(4, track_running_stats=True),
    nn.GroupNorm(2, 4),
    nn.LayerNorm([4, 5, 6]),
    nn.LayerNorm(6, elementwise_affine=False),
    nn.AvgPool2d(2, stride=1, padding=1),
    nn.AdaptiveAvgPool2d((1, 3)),
    nn.AdaptiveAvgPool2d(1),
    nn.MaxPool2d((2, 3), stride=1, dilation=(2, 1)),
    nn.Dropout(0.5),
    Residual(),
    Patches(),
]
FUNCTIONS = {
    "attention": attention,
    "in place": in_place,
    "coordinates": coordinates,
    "styled": styled,
    "arithmetic": lambda maps: (3 - maps) * 0.5 / (maps**2 + 1) - (-maps).exp().clamp(max=2).sqrt().reciprocal(),
    "periodic": lambda maps: torch.cat([maps.sin(), maps.cos()], dim=1),
    "extremes": lambda maps: torch.maximum(maps, maps.flip(3)) + torch.minimum(maps, 0.2 * maps.roll(1, dims=2)),
    "clamped": lambda maps: maps.clamp(-0.3, 0.4) + maps.clamp(min=0) + maps.clamp_max(0.1) + maps.clamp_min(0.2),
    "erf": lambda maps: torch.erf(maps) + torch.rsqrt(maps.abs() + 1).log(),
    "chunks": lambda maps: torch.cat([part.tanh() for part in maps.split([1, 3], dim=1)], dim=1),
    "unbound": lambda maps: torch.stack(maps.unbind(dim=1)[::-1], dim=1),
    "picked": lambda maps: maps[:, [3, 0]][..., ::2],
    "repeated": lambda maps: maps.repeat(1, 1, 2, 1).repeat_interleave(2, dim=3),
    "summed": lambda maps: maps.sum(dim=1, keepdim=True) - maps.mean(dim=(1, 2, 3), keepdim=True),
    "squeezed": lambda maps: maps.amax(dim=1, keepdim=True).squeeze(1).unsqueeze(1).detach(),
    "of its shape": lambda maps: maps * torch.full_like(maps, 2) + torch.ones_like(maps) - torch.zeros_like(maps),
    "of its kind": lambda maps: maps * maps.new_full((5, 1), 2) + maps.new_ones(6) - maps.new_zeros(()),
    "selected": lambda maps: maps.index_select(3, torch.tensor([5, 0])) + maps[:, :, :, 1:2],
    "mixed": lambda maps: (maps.flatten(2)[:, :, 0].t().t() @ torch.linspace(-1, 1, 24).view(4, 6)).view(-1, 1, 2, 3),
    "einsum": lambda maps: torch.einsum("nchw,co->nohw", maps, torch.linspace(-1, 1, 8).view(4, 2)),
    "on another layout": lambda maps: functional.relu(maps.to(memory_format=torch.channels_last)).contiguous() + 1,
}


@pytest.mark.parametrize("layer", ACTIVATIONS + LAYERS, ids=str)
def test_a_layer_gives_the_same_image(engine, layer):
    assert_equal_to_pytorch(engine, third_party(lambda: copy.deepcopy(layer)))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_gives_the_same_image(engine, function):
    assert_equal_to_pytorch(engine, third_party(lambda: function))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda maps: maps.cumsum(2), "does not know the operation 'cumsum'"),
        (lambda maps: maps * (2 if maps.sum() > 0 else 3), "does not know the operation"),
        (lambda maps: functional.dropout(maps, training=True), "draws random numbers"),
        (lambda maps: maps + torch.rand(6), "draws random numbers"),
        (lambda maps: maps.double().float(), "another type than float32"),
        (lambda maps: functional.pad(maps, (1, 1), value=1.0), "pads with zeros alone"),
        (lambda maps: torch.div(maps, 2, rounding_mode="floor"), "no division that rounds"),
        (lambda maps: maps.clamp(min=maps.flip(1)), "'clamp' with"),
        (lambda maps: functional.max_pool2d(maps, 2, return_indices=True)[1].float(), "more than the first result"),
        (lambda maps: functional.conv2d(maps, maps[:1]), "weight of a layer depends on the latent"),
        (lambda maps: maps - maps.mean(0), "depends on the others in its batch"),
        (lambda maps: maps / 0, "not finite"),
        (nn.BatchNorm2d(4, track_running_stats=False), "depends on the others in its batch"),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 1), nn.Unflatten(2, (5, 6))), "over 2 axes, not 1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(120, 40_000), nn.Unflatten(1, (1, 200, 200))), "weights take"),
        (nn.Sequential(nn.Upsample(scale_factor=64), nn.Conv2d(4, 8, 9)), "the server is faster"),
    ],
)
def test_what_the_engine_cannot_do_is_told_in_one_line(body, why):
    with pytest.raises(NotForTheBrowser, match=why) as refused:
        plan(third_party(lambda: body))
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    """A model whose plan has steps of several kinds, and indices."""
    return third_party(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.PixelShuffle(2), nn.ReLU()))


def test_planning_leaves_the_model_and_the_random_state_as_they_were(model):
    before, weights = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    plan(model.train())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


def test_the_same_decoder_has_the_same_hash_and_another_one_another(model):
    other = copy.deepcopy(model)
    assert plan(other).hash == plan(model).hash
    with torch.no_grad():
        next(other.decoder.parameters()).mul_(1.01)
    assert plan(other).hash != plan(model).hash


def test_a_weight_that_is_used_twice_is_sent_once(engine):
    layer = nn.Conv2d(4, 4, 3, padding=1)
    once, twice = third_party(lambda: layer), third_party(lambda: nn.Sequential(layer, nn.ReLU(), layer))
    assert len(plan(twice).weights) == len(plan(once).weights)
    assert_equal_to_pytorch(engine, twice)


def first(document: dict[str, Any], operation: str) -> dict[str, Any]:
    return next(step for step in document["steps"] if step["operation"] == operation)


TAMPERING: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another format": (lambda plan: plan.update(format=1), "format 1 of the plan is not 2"),
    "another size": (lambda plan: plan.update(bytes=4), "bytes of weights, not 4"),
    "an offset beyond": (lambda plan: plan["constants"][0].update(offset=2**40), "is not inside the weights"),
    "an offset before": (lambda plan: plan["constants"][0].update(offset=-4), "is not inside the weights"),
    "an offset between": (lambda plan: plan["constants"][0].update(offset=2), "is not inside the weights"),
    "a huge constant": (lambda plan: plan["constants"][0].update(shape=[2**30]), "bad shape 1073741824"),
    "an unknown type": (lambda plan: plan["constants"][0].update(type="float64"), "type float64"),
    "an unknown operation": (
        lambda plan: plan["steps"][2].update(operation="constructor"),
        "step 2: unknown operation",
    ),
    "a later input": (lambda plan: plan["steps"][1].update(inputs=[99, 1]), "an input that is not there yet"),
    "no such input": (lambda plan: plan["steps"][1].update(inputs=["length", 1]), "an input that is not there yet"),
    "a negative shape": (lambda plan: plan["steps"][0].update(shape=[1, -3]), "bad shape 1,-3"),
    "another shape": (lambda plan: first(plan, "add").update(shape=[7]), "does not become 7"),
    "another reshape": (lambda plan: first(plan, "reshape").update(shape=[5]), "does not become 5"),
    "swapped factors": (lambda plan: first(plan, "matmul")["inputs"].reverse(), "matmul: the output has shape 1,1,120"),
    "weights as indices": (lambda plan: first(plan, "take").update(inputs=[0, 0]), "take: an index for each"),
    "an index beyond": (lambda plan: first(plan, "take")["inputs"].__setitem__(0, 0), "take: indices are −1 to 2"),
    "no stride": (lambda plan: first(plan, "convolution")["options"].update(stride=[0, 1]), "whole numbers"),
    "half a padding": (lambda plan: first(plan, "convolution")["options"].update(padding=[0.5, 0]), "whole numbers"),
    "a huge padding": (lambda plan: first(plan, "convolution")["options"].update(padding=[9**9, 0]), "bad shape"),
    "three groups": (lambda plan: first(plan, "convolution")["options"].update(groups=3), "3 groups do not fit"),
    "a missing operand": (lambda plan: first(plan, "add")["inputs"].pop(), "1 inputs, not 2"),
    "another activation": (lambda plan: first(plan, "relu").update(operation="neg"), "a pixel differs by"),
    "another output": (lambda plan: plan.update(output=0), "images have shape"),
    "no output": (lambda plan: plan.update(output=999), "images have shape"),
    "no reference": (lambda plan: plan.update(reference=[0, 0]), "reference pixels"),
}


@pytest.mark.parametrize(("tamper", "message"), TAMPERING.values(), ids=TAMPERING)
def test_a_plan_that_was_tampered_with_is_refused(engine, model, tamper, message):
    made = plan(model)
    tamper(made.json)
    with pytest.raises(Exception, match=message):
        engine.run(made.json, made.weights, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda weights: weights[:-4], "bytes of weights, not"),
        (lambda weights: b"", "0 bytes of weights"),
        (lambda weights: bytes(1000) + weights[1000:], "a pixel differs by"),
        (lambda weights: weights[:-4] + b"\xff" * 4, "a pixel differs by NaN"),
    ],
    ids=["cut", "empty", "zeros", "not a number"],
)
def test_weights_that_were_tampered_with_are_refused(engine, model, tamper, message):
    made = plan(model)
    with pytest.raises(Exception, match=message):
        engine.run(made.json, tamper(made.weights), [0.0, 0.0, 0.0])


def test_a_file_that_is_not_there_is_named(page, expected_statuses):
    expected_statuses.add(404)
    Engine(page)
    with pytest.raises(Exception, match=r"/plan\.json: HTTP 404"):
        page.evaluate("""() => import("/engine.mjs").then(({ loadDecoder }) => loadDecoder("/plan.json", "/"))""")


@pytest.mark.parametrize("label", [-1, 1, 0.5, "0"])
def test_a_class_that_the_model_has_not_is_refused(engine, model, label):
    made = plan(model)
    with pytest.raises(Exception, match="a label is 0 to 0"):
        engine.run(made.json, made.weights, [0.0] * 3, label=label)


@pytest.mark.parametrize(
    ("latents", "kind", "message"),
    [
        ([0.0] * 4, "Float32Array", "latents are a Float32Array of k·3"),
        ([0.0] * 3, "Float64Array", "latents are a Float32Array of k·3"),
        ([0.0, float("nan"), 0.0], "Float32Array", "latents are finite numbers"),
        ([0.0, float("inf"), 0.0], "Float32Array", "latents are finite numbers"),
    ],
)
def test_latents_that_cannot_be_decoded_are_refused(engine, model, latents, kind, message):
    made = plan(model)
    with pytest.raises(Exception, match=message):
        engine.run(made.json, made.weights, latents, kind)
