"""Checks of encoders and decoders: what the rest of the house relies on when it composes them."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.autoencoder import Autoencoder, image_shape_of
from zoo.data import load_split, to_float
from zoo.objective import Objective
from zoo.registry import Component, installed
from zoo.specs import Kind
from zoo.testing.check import SHAPES, Failed, ImageShape, NotApplicable, Subject, check, described, require, said

_NETWORKS: tuple[Kind, ...] = ("encoder", "decoder")


class Linear(nn.Module):
    """The reference partner: one linear layer, whatever the shapes."""

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.outputs = outputs
        self.linear = nn.Linear(math.prod(inputs), math.prod(outputs))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.linear(values.flatten(1))
        return result.reshape(-1, *self.outputs)


class _MeanSquaredError(Objective):
    def losses(self, images: Tensor, encode: Any, decode: Any) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(decode(encode(images)), images)}


@check(
    *_NETWORKS, cause="a constructor that does not begin with `super().__init__()`, or bounds on the shape too narrow"
)
def takes_images(subject: Subject) -> None:
    """It can be built for images of at least one shape that is tried, or that an installed dataset has."""
    shapes = [*SHAPES, *(image_shape_of(dataset) for dataset in installed().components("dataset"))]
    refusals = []
    for shape in shapes:
        refusal = subject.refusal(shape)
        if refusal is None:
            return
        refusals.append(f"for {said(shape)} it raises {described(refusal)}")
    raise Failed(f"it can be built for no shape; {refusals[0]}", "at least one shape")


@check(*_NETWORKS, cause="a flatten or reshape written for one image shape, or a fixed number of outputs")
def output_shape(subject: Subject) -> None:
    """The output has the contract's shape, for every image shape, size and batch that is tried."""
    for shape, size, count in _cases(subject):
        output = _forward(subject.build(shape, size), subject.inputs(shape, size, count))
        expected = subject.output_shape(shape, size, count)
        if tuple(output.shape) != expected:
            raise Failed(
                f"output {tuple(output.shape)} for {count} images of {said(shape)}, size {size}", f"{expected}"
            )


@check(*_NETWORKS, cause="a tensor made inside forward without `dtype=`, or a cast such as `.float()`")
def float64(subject: Subject) -> None:
    """In double precision everything works, and the output is double."""
    _check_dtype(subject, torch.float64)


@check(*_NETWORKS, cause="an operation that has no bfloat16 kernel, or a fixed dtype inside forward")
def bfloat16(subject: Subject) -> None:
    """In bfloat16 everything works, and the output is bfloat16."""
    _check_dtype(subject, torch.bfloat16)


@check(
    *_NETWORKS, cause="a division by zero, a logarithm of zero, statistics over a batch of one, or weights never drawn"
)
def finite(subject: Subject) -> None:
    """The output is finite, for ordinary inputs, for one alone and for blank ones."""
    for shape in subject.shapes:
        network, inputs = subject.build(shape), subject.inputs(shape)
        one, blank = inputs[:1], torch.zeros_like(inputs)
        for what, values in {"ordinary inputs": inputs, f"{_one(subject)} alone": one, "blank inputs": blank}.items():
            output = _forward(network, values)
            if bad := int((~torch.isfinite(output)).sum()):
                raise Failed(f"{bad} of {output.numel()} values of the output for {what} are NaN or infinite", "none")


@check(*_NETWORKS, cause="dropout, noise or an augmentation applied by hand, without asking `self.training`")
def deterministic_in_eval(subject: Subject) -> None:
    """In eval mode the same input gives the same output."""
    network, inputs = subject.build(), subject.inputs()
    first, second = _forward(network, inputs), _forward(network, inputs)
    if not torch.equal(first, second):
        raise Failed(f"two passes in eval mode differ by up to {_difference(first, second)}", "equal outputs")


@check(*_NETWORKS, cause="weights drawn from NumPy, from `random`, or from a generator of the network's own")
def seeded_weights(subject: Subject) -> None:
    """The same torch seed gives the same weights, and another seed others."""
    states = []
    for build, seed in enumerate((0, 0, 1)):
        np.random.seed(build)  # what is drawn from other generators must not follow torch's seed
        random.seed(build)
        states.append(_tensors(subject.build(seed=seed)))
    for name, weight in states[0].items():
        if not torch.equal(weight, states[1][name]):
            raise Failed(f"weight '{name}' differs between two builds with one seed", "equal weights")
    frozen = _frozen(subject.build())  # what a backbone was trained to is the same for every seed
    drawn = [
        name
        for name, weight in states[0].items()
        if weight.is_floating_point() and weight.numel() > 1 and name not in frozen
    ]
    if drawn and all(torch.equal(states[0][name], states[2][name]) for name in drawn):
        raise Failed("the weights are the same for two seeds", "weights drawn from torch's generator")


@check(*_NETWORKS, cause="`torch.manual_seed` or `np.random.seed` called while building or in forward")
def leaves_randomness_alone(subject: Subject) -> None:
    """Building seeds no global generator, and a pass in eval mode draws from none."""
    shape = subject.shapes[0]
    after = []
    for seed in (11, 12):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        subject.construct(shape)
        after.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: S311
    for name, first, second in zip(("torch's", "NumPy's", "Python's"), *after, strict=True):
        if first == second:
            raise Failed(f"building seeds {name} global generator", "none is seeded")
    network, inputs = subject.build(), subject.inputs()
    before = torch.get_rng_state()
    _forward(network, inputs)
    if not torch.equal(torch.get_rng_state(), before):
        cause = "dropout, noise or an augmentation applied by hand, without asking `self.training`"
        raise Failed("a pass in eval mode draws from torch's global generator", "no draw", cause)


@check(*_NETWORKS, cause="batch statistics used in eval mode, or a mean over the batch dimension")
def batch_independence(subject: Subject) -> None:
    """In eval mode an image's output does not depend on the others in its batch."""
    network, inputs = subject.build().double(), subject.inputs().double()
    together = _forward(network, inputs)
    alone = torch.cat([_forward(network, one) for one in inputs[:, None]])
    if not bool(torch.isfinite(together).all()):
        raise NotApplicable("its output is not finite")
    if not bool(torch.isfinite(alone).all()):
        raise Failed(
            f"the output for {_one(subject)} alone is NaN or infinite, in a batch it is finite", "equal outputs"
        )
    if not torch.allclose(together, alone, rtol=1e-6, atol=1e-8):
        raise Failed(f"outputs alone and in a batch differ by up to {_difference(together, alone)}", "1e-8")


@check(
    *_NETWORKS,
    cause="a layer that is made but not used, a `.detach()` or `torch.no_grad()` on the way, or frozen weights without "
    "`requires_grad_(False)`",
)
def gradients_reach_parameters(subject: Subject) -> None:
    """Every parameter that is to be trained gets a gradient."""
    network = _trained(subject)
    torch.autograd.backward(_weighted_sum(network(subject.inputs())))
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise Failed(f"parameter '{name}' gets no gradient", "a gradient for every parameter")


@check(*_NETWORKS, cause="a `.detach()`, `.data`, `torch.no_grad()` or NumPy on the input's way")
def gradients_reach_input(subject: Subject) -> None:
    """The input gets a gradient: objectives and latent-space tools rely on it."""
    inputs = subject.inputs().requires_grad_()
    output = subject.build().train()(inputs.clone())  # a clone may be changed in place
    if output.requires_grad:
        torch.autograd.backward(_weighted_sum(output))
    if inputs.grad is None or not bool(inputs.grad.any()):
        raise Failed("the input gets no gradient", "one that is not zero everywhere")


@check(*_NETWORKS, cause="`train` or `eval` overridden without `super()`")
def train_and_eval_modes(subject: Subject) -> None:
    """`train()` and `eval()` reach every submodule, and both modes work."""
    network = subject.build()
    for mode in (True, False):
        network.train(mode)
        for name, module in network.named_modules():
            if module.training is not mode:
                raise Failed(f"after train({mode}) submodule '{name or 'itself'}' has training={not mode}", f"{mode}")
        expected = subject.output_shape()
        if tuple(network(subject.inputs()).shape) != expected:
            raise Failed(f"another output shape after train({mode})", f"{expected}")


@check(*_NETWORKS, cause="an unbiased variance or another statistic over the batch, written by hand")
def trains_on_small_batches(subject: Subject) -> None:
    """In training mode two or three inputs give finite outputs and gradients, and one does or is refused."""
    for count in (3, 2, 1):
        network = subject.build().train()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"(std|var)\w*\(\): degrees of freedom")  # the output shows it
                output = network(subject.inputs(count=count))
        except ValueError:
            if count == 1:  # as batch normalisation does; training has no batch of one unless all are
                continue
            raise
        torch.autograd.backward(_weighted_sum(output))
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        if not all(bool(torch.isfinite(values).all()) for values in (output, *gradients)):
            raise Failed(f"a training batch of {count} gives NaN or infinite outputs or gradients", "finite ones")


@check(*_NETWORKS, cause="an in-place operation such as `images -= 0.5` or `relu_` on the input")
def input_unchanged(subject: Subject) -> None:
    """The input is left as it was."""
    network, inputs = subject.build(), subject.inputs()
    before = inputs.clone()
    with torch.no_grad():
        network(inputs)
    if not torch.equal(inputs, before):
        raise Failed(f"the input changed by up to {_difference(inputs, before)}", "no change")


@check(*_NETWORKS, cause="`.view` on a tensor that is not contiguous; `.reshape` or `.flatten` work")
def memory_layout(subject: Subject) -> None:
    """An input with other strides (transposed or channels-last) gives the same output."""
    for shape in subject.shapes:
        network, inputs = subject.build(shape).double(), subject.inputs(shape).double()
        plain = _forward(network, inputs)
        backwards = tuple(reversed(range(inputs.dim())))
        others = [inputs.permute(backwards).contiguous().permute(backwards)]
        if inputs.dim() == 4:
            others.append(inputs.contiguous(memory_format=torch.channels_last))
        for strided in (_forward(network, other) for other in others):
            if not torch.allclose(plain, strided, rtol=1e-6, atol=1e-8):
                raise Failed(f"outputs differ by up to {_difference(plain, strided)} between layouts", "1e-8")


@check(*_NETWORKS, "objective", cause="two layers that share one weight (tied weights)")
def weights_not_shared(subject: Subject) -> None:
    """Every weight in the state dict has memory of its own: safetensors stores each once."""
    seen: dict[tuple[int, Any], str] = {}
    for name, weight in _tensors(subject.build()).items():
        place = weight.untyped_storage().data_ptr(), weight.storage_offset()
        if weight.numel() and place in seen:
            raise Failed(f"'{name}' and '{seen[place]}' share memory", "a tensor each")
        seen[place] = name


@check(*_NETWORKS, "objective", cause="`get_extra_state`, or a state-dict hook that adds objects")
def tensors_only(subject: Subject) -> None:
    """The state dict holds tensors and nothing else: nothing is ever pickled."""
    for name, value in subject.build().state_dict().items():
        if not isinstance(value, Tensor):
            raise Failed(f"'{name}' is {type(value).__name__}", "a tensor")


@check(*_NETWORKS, cause="a tensor kept as a plain attribute; `register_buffer` puts it into the state dict")
def state_round_trip(subject: Subject) -> None:
    """Saved as safetensors and loaded into a network of another seed, it gives the same outputs."""
    first, second, inputs = subject.build(seed=0), subject.build(seed=1), subject.inputs()
    first.train()(inputs)  # moves what moves while training, such as running statistics
    stored = safetensors.torch.save({name: weight.clone() for name, weight in _tensors(first).items()})
    extra = {name: value for name, value in first.state_dict().items() if not isinstance(value, Tensor)}
    second.load_state_dict(safetensors.torch.load(stored) | extra, strict=True)
    expected, got = _forward(first.eval(), inputs), _forward(second.eval(), inputs)
    if not torch.equal(expected, got):
        raise Failed(f"outputs differ by up to {_difference(expected, got)} after a round trip", "equal outputs")


@check(*_NETWORKS, cause="values read while building, with `.item()`, `float(tensor)` or NumPy")
def builds_on_meta(subject: Subject) -> None:
    """It can be built on the meta device: checkpoints are compared with it before memory is taken."""
    shape = subject.shapes[0]
    with torch.device("meta"):
        network = subject.construct(shape)
    expected = {name: weight.shape for name, weight in _tensors(subject.build(shape)).items()}
    got = {name: weight.shape for name, weight in _tensors(network).items()}
    if got != expected:
        raise Failed("the weights' names or shapes differ on the meta device", "the same ones")


@check(*_NETWORKS, cause="a tensor kept as a plain attribute, or made in forward without `device=`")
def moves_between_devices(subject: Subject) -> None:
    """It moves to another device whole: the meta device, and CUDA where there is one."""
    devices = ["meta"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        output = _forward(subject.build().to(device), subject.inputs().to(device))
        if output.device.type != device or tuple(output.shape) != subject.output_shape():
            raise Failed(f"on {device}: output {tuple(output.shape)} on {output.device.type}", f"all on {device}")


@check(
    *_NETWORKS, cause="gradients that vanish, no gradient at all (a `.detach()`), or an output that ignores the input"
)
def learns(subject: Subject) -> None:
    """Twenty steps of Adam towards a fixed output lower the loss."""
    network, inputs = _trained(subject), subject.inputs()
    target = torch.rand(subject.output_shape(), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(21):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(inputs.clone()), target)
        losses.append(loss.item())
        if loss.requires_grad:
            torch.autograd.backward(loss)
        optimizer.step()
    if not losses[-1] < losses[0]:
        raise Failed(f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g}", "a lower one")


@check(*_NETWORKS, cause="debugging output left in forward or in the constructor")
def silent(subject: Subject) -> None:
    """It prints nothing: what is printed would end up between the program's own lines."""
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
        _forward(subject.build(), subject.inputs())
    if output.getvalue():
        raise Failed(f"it printed {output.getvalue()[:60]!r}", "nothing")


@check(*_NETWORKS, cause="an open file or a lock kept as an attribute, or a lambda that holds `self`")
def copies(subject: Subject) -> None:
    """`copy.deepcopy` gives an equal network with weights of its own: a moving average needs one."""
    network, inputs = subject.build(), subject.inputs()
    twin = copy.deepcopy(network)
    expected = _forward(network, inputs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    if not torch.equal(_forward(twin, inputs), expected):
        raise Failed("a deep copy gives other outputs, or follows the original's weights", "equal outputs")


@check(*_NETWORKS, cause="a shape that differs from the contract's, or attributes that clash with nn.Module's")
def composes_with_reference(subject: Subject) -> None:
    """With a linear partner and the mean squared error it encodes, decodes and reconstructs."""
    for shape in subject.shapes:
        _try_composed(subject, shape, _mean_squared_error(subject))


@check(*_NETWORKS, cause="a number of features that is not expected, or outputs so large that an exponential overflows")
def composes_with_objectives(subject: Subject) -> None:
    """It works with every installed objective that works with linear networks."""
    shape, latent_dim = subject.shapes[0], subject.size
    tried = 0
    for component in installed().components("objective"):
        try:
            objective: Any = Subject(component).build(size=latent_dim)
            features = objective.encoder_features
            _compose(Linear(shape, (features,)), Linear((latent_dim,), shape), objective, shape)
        except Exception:  # noqa: S112 - the objective's own checks tell
            continue
        if subject.kind == "encoder" and not subject.takes(shape, features):
            continue
        with _named(component):
            _try_composed(subject, shape, Subject(component).build(size=latent_dim))
        tried += 1
    if not tried:
        raise NotApplicable("no installed objective works with linear networks and its sizes")


@check(
    *_NETWORKS, cause="assumptions about pixels, or about sizes without a `ValueError` from the constructor for others"
)
def composes_with_datasets(subject: Subject) -> None:
    """It works on the first images of every installed dataset whose shape it takes."""
    require(takes_images, subject, "it can be built for no shape")
    tried = 0
    for component in installed().components("dataset"):
        shape = image_shape_of(component)
        if not subject.takes(shape):
            continue
        try:
            images = to_float(load_split(component, {}, "test").images[:4])
        except Exception:  # noqa: S112 - the dataset's own checks tell
            continue
        with _named(component):
            _try_composed(subject, shape, _mean_squared_error(subject), images)
        tried += 1
    if not tried:
        raise NotApplicable("no dataset that can be read has images of a shape that it takes")


@check(*_NETWORKS, cause="Python control flow that depends on the tensors' values, or `.item()` in forward")
def compilable(subject: Subject) -> None:
    """`torch.compile` captures it as one graph."""
    network, inputs = subject.build(), subject.inputs()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    if not torch.allclose(_forward(network, inputs), _forward(compiled, inputs), atol=1e-5):
        raise Failed("the compiled network gives other outputs", "equal within 1e-5")


@check(
    *_NETWORKS,
    cause="Python control flow that depends on the tensors' values, or a tensor kept as an attribute in forward",
)
def exportable(subject: Subject) -> None:
    """`torch.export` exports it: ONNX and other runtimes start there."""
    network, inputs = subject.build(), subject.inputs()
    _forward(subject.build(), inputs)  # what fails without export too is told in its own words
    with contextlib.redirect_stderr(io.StringIO()):  # it prints the whole graph where it fails
        exported = torch.export.export(network, (inputs,)).module()
    if not torch.allclose(_forward(network, inputs), exported(inputs.clone()), atol=1e-5):
        raise Failed("the exported network gives other outputs", "equal within 1e-5")


def _try_composed(subject: Subject, shape: ImageShape, objective: Any, images: Tensor | None = None) -> None:
    """Compose the network with a linear partner, and take its losses and reconstructions."""
    features, latent_dim = objective.encoder_features, objective.latent_dim
    encoder: nn.Module
    decoder: nn.Module
    if subject.kind == "encoder":
        encoder, decoder = subject.build(shape, features), Linear((latent_dim,), shape)
    else:
        encoder, decoder = Linear(shape, (features,)), subject.build(shape, latent_dim)
    _compose(encoder, decoder, objective, shape, images)


def _compose(
    encoder: nn.Module, decoder: nn.Module, objective: Any, shape: ImageShape, images: Tensor | None = None
) -> None:
    autoencoder = Autoencoder(encoder, objective, decoder, shape, objective.latent_dim)
    if images is None:
        images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(2))
    loss = autoencoder.train()(images)["loss"]
    torch.autograd.backward(loss)
    reconstruction = _forward(autoencoder.eval(), images, "reconstruct")
    if not bool(torch.isfinite(loss)) or tuple(reconstruction.shape) != tuple(images.shape):
        raise Failed(
            f"loss {loss.item()}, reconstruction {tuple(reconstruction.shape)}", f"finite, {tuple(images.shape)}"
        )


@contextlib.contextmanager
def _named(component: Component) -> Iterator[None]:
    """Say with which other component a composition fails."""
    try:
        yield
    except Failed as failure:
        raise Failed(f"with {component}: {failure.measured}", failure.allowed) from failure
    except Exception as error:
        raise Failed(f"with {component}: {described(error)}", "no exception") from error


def _cases(subject: Subject) -> Iterator[tuple[ImageShape, int, int]]:
    for shape in subject.shapes:
        yield shape, subject.size, 5
    for size in subject.sizes[1:]:
        yield subject.shapes[0], size, 5
    yield subject.shapes[0], subject.size, 1


def _check_dtype(subject: Subject, dtype: torch.dtype) -> None:
    output = _forward(subject.build().to(dtype), subject.inputs().to(dtype))
    if output.dtype != dtype:
        raise Failed(f"output {output.dtype} for input {dtype}", f"{dtype}")


def _forward(network: Any, inputs: Tensor, method: str = "__call__") -> Tensor:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(std|var)\w*\(\): degrees of freedom")  # `finite` tells what comes of it
        output: Tensor = getattr(network, method)(inputs.clone())  # a clone may be changed in place
    return output


def _trained(subject: Subject) -> nn.Module:
    """Return the network in training mode.

    Raises:
        NotApplicable: It has no weight to train, as a frozen backbone.
    """
    network = subject.build().train()
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise NotApplicable("it has no weights to train: it has none, or all are frozen")
    return network


def _frozen(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


def _mean_squared_error(subject: Subject) -> Objective:
    return _MeanSquaredError(subject.size)


def _weighted_sum(output: Tensor) -> Tensor:
    """Return a scalar in which every value of the output counts differently."""
    return (output * torch.linspace(1, 2, output.numel()).view_as(output)).sum()


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _difference(first: Tensor, second: Tensor) -> str:
    return f"{(first - second).abs().max().item():.2g}"


def _one(subject: Subject) -> str:
    return "an image" if subject.kind == "encoder" else "a latent"
