"""Checks of encoders and decoders: what the rest of the program relies on when it composes them."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import warnings
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.contract.registry import installed
from zoo.contract.specs import DatasetSpec, Kind
from zoo.testing.check import (
    IMAGE_SHAPES,
    LATENT_SHAPES,
    OTHER_SIZES,
    SIZES,
    Arguments,
    Failed,
    NotApplicable,
    Subject,
    check,
    described,
    said,
)
from zoo.testing.modules import tensors

_NETWORKS: tuple[Kind, ...] = ("encoder", "decoder")
_BY_HAND = "dropout, noise or an augmentation applied by hand, without asking `self.training`"


@check(
    *_NETWORKS, cause="a constructor that does not begin with `super().__init__()`, or bounds on the shape too narrow"
)
def takes_images(subject: Subject) -> None:
    """It can be built for images of at least one shape that is tried, or that an installed dataset has."""
    specs = [component.spec for component in installed().components("dataset")]
    declared = [spec.image_shape for spec in specs if isinstance(spec, DatasetSpec) and spec.image_shape]
    shapes = list(dict.fromkeys((*IMAGE_SHAPES, *declared)))
    if subject.kind == "encoder":
        cases: list[Arguments] = [(shape, size) for size in (*SIZES, *OTHER_SIZES) for shape in shapes]
    else:
        latent_shapes = (*LATENT_SHAPES, *((size,) for size in OTHER_SIZES))
        cases = [(latent_shape, shape) for latent_shape in latent_shapes for shape in shapes]
    refusals = []
    for case in cases:
        refusal = subject.refusal(*case)
        if refusal is None:
            return
        refusals.append(f"for {said(*case)} it raises {described(refusal.__cause__ or refusal)}")
    raise Failed(f"it can be built for no shape; {refusals[0]}", "at least one shape")


@check(*_NETWORKS, cause="a flatten or reshape written for one image shape, or a fixed number of outputs")
def output_shape(subject: Subject) -> None:
    """The output has the contract's shape, for every shape, size and batch that it takes of those that are tried."""
    for case, count in [*((case, 5) for case in subject.cases), (subject.cases[0], 1)]:
        network = subject.build(*case)
        output = forward(network, _inputs(subject, case, count))
        expected = count, *output_shape_of(subject, network, case)
        if tuple(output.shape) != expected:
            raise Failed(f"output {tuple(output.shape)} for a batch of {count}, built for {said(*case)}", f"{expected}")


@check("encoder", cause="a `features_shape` that holds the batch, or is not kept up with the layers", since="0.2")
def features_shape_declared(subject: Subject) -> None:
    """`features_shape`, where it is declared, is `(out_features,)` or, for maps, `(out_features, h, w)`, of ints."""
    for image_shape, out_features in subject.cases:
        shape = getattr(subject.build(image_shape, out_features), "features_shape", (out_features,))
        whole = all(isinstance(side, int) and side > 0 for side in shape)
        if not whole or len(shape) not in (1, 3) or shape[0] != out_features:
            raise Failed(f"features_shape is {shape} for {out_features} features", f"({out_features},) or maps of them")


@check(
    "encoder",
    cause="a mask that is only asked for in training, or that is applied after patches have mixed",
    since="0.2",
)
def hidden_pixels_unseen(subject: Subject) -> None:
    """An encoder that takes masks gives features that do not depend on the hidden pixels."""
    network, images = subject.build().double(), _inputs(subject).double()
    if not getattr(network, "takes_mask", False):
        raise NotApplicable("it does not take masks")
    mask = torch.zeros_like(images[:, :1], dtype=torch.bool)
    mask[..., : images.shape[-2] // 2, :] = True  # (N, 1, H, W), the upper half
    with torch.no_grad():
        plain, changed = network(images, mask), network(torch.where(mask, 1 - images, images), mask)
    if not torch.allclose(plain, changed, rtol=1e-6, atol=1e-8):
        raise Failed(f"features change by up to {_difference(plain, changed)} with the hidden pixels", "no change")


@check(*_NETWORKS, cause="`requires_grad_(False)` without the class attribute `frozen = True`", since="0.2")
def frozen_declared(subject: Subject) -> None:
    """It has weights that are not trained only if it declares `frozen`, and then it has some."""
    network = subject.build()
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    declared = bool(getattr(network, "frozen", False))
    if frozen and not declared:
        raise Failed(f"parameter '{frozen[0]}' is not trained", "frozen = True, or weights that are trained")
    if declared and not frozen:
        raise Failed("it declares frozen, and every weight is trained", "weights that require no gradient")


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
    for case in subject.cases:
        network, inputs = subject.build(*case), _inputs(subject, case)
        one, blank = inputs[:1], torch.zeros_like(inputs)
        for what, values in {"ordinary inputs": inputs, f"{_one(subject)} alone": one, "blank inputs": blank}.items():
            output = forward(network, values)
            if bad := int((~torch.isfinite(output)).sum()):
                raise Failed(f"{bad} of {output.numel()} values of the output for {what} are NaN or infinite", "none")


@check(*_NETWORKS, cause=_BY_HAND)
def deterministic_in_eval(subject: Subject) -> None:
    """In eval mode the same input gives the same output."""
    network, inputs = subject.build(), _inputs(subject)
    first, second = forward(network, inputs), forward(network, inputs)
    if not torch.equal(first, second):
        raise Failed(f"two passes in eval mode differ by up to {_difference(first, second)}", "equal outputs")


@check(*_NETWORKS, cause="weights drawn from NumPy, from `random`, or from a generator of the network's own")
def seeded_weights(subject: Subject) -> None:
    """The same torch seed gives the same weights, and another seed others."""
    states = []
    for build, seed in enumerate((0, 0, 1)):
        np.random.seed(build)  # what is drawn from other generators must not follow torch's seed
        random.seed(build)
        states.append(tensors(subject.build(seed=seed)))
    for name, weight in states[0].items():
        if not torch.equal(weight, states[1][name]):
            raise Failed(f"weight '{name}' differs between two builds with one seed", "equal weights")
    frozen = {name for name, weight in subject.build().named_parameters() if not weight.requires_grad}
    drawn = [  # a backbone's weights come from its pretraining, not from the seed
        name
        for name, weight in states[0].items()
        if weight.is_floating_point() and weight.numel() > 1 and name not in frozen
    ]
    if drawn and all(torch.equal(states[0][name], states[2][name]) for name in drawn):
        raise Failed("the weights are the same for two seeds", "weights drawn from torch's generator")


@check(*_NETWORKS, cause="`torch.manual_seed` or `np.random.seed` called while building or in forward")
def leaves_randomness_alone(subject: Subject) -> None:
    """Building seeds no global generator, and a pass in eval mode draws from none."""
    case = subject.cases[0]
    after = []
    for seed in (11, 12):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        subject.construct(*case)
        after.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: S311
    for name, first, second in zip(("torch's", "NumPy's", "Python's"), *after, strict=True):
        if first == second:
            raise Failed(f"building seeds {name} global generator", "none is seeded")
    network, inputs = subject.build(), _inputs(subject)
    before = torch.get_rng_state()
    forward(network, inputs)
    if not torch.equal(torch.get_rng_state(), before):
        raise Failed("a pass in eval mode draws from torch's global generator", "no draw", _BY_HAND)


@check(*_NETWORKS, cause="batch statistics used in eval mode, or a mean over the batch dimension")
def batch_independence(subject: Subject) -> None:
    """In eval mode an image's output does not depend on the others in its batch."""
    network, inputs = subject.build().double(), _inputs(subject).double()
    together = forward(network, inputs)
    alone = torch.cat([forward(network, one) for one in inputs[:, None]])
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
    torch.autograd.backward(_weighted_sum(network(_inputs(subject))))
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise Failed(f"parameter '{name}' gets no gradient", "a gradient for every parameter")


@check(*_NETWORKS, cause="a `.detach()`, `.data`, `torch.no_grad()` or NumPy on the input's way")
def gradients_reach_input(subject: Subject) -> None:
    """The input gets a gradient: objectives and latent-space tools rely on it."""
    inputs = _inputs(subject).requires_grad_()
    output = subject.build().train()(inputs.clone())  # a clone may be changed in place
    if output.requires_grad:
        torch.autograd.backward(_weighted_sum(output))
    if inputs.grad is None or not bool(inputs.grad.any()):
        raise Failed("the input gets no gradient", "one that is not zero everywhere")


@check(*_NETWORKS, cause="`train` or `eval` overridden without `super()`")
def train_and_eval_modes(subject: Subject) -> None:
    """`train()` and `eval()` reach every submodule but a frozen one, and both modes work."""
    network = subject.build()
    for mode in (True, False):
        network.train(mode)
        frozen = [part for module in network.modules() if _is_frozen(module) for part in module.modules()]
        for name, module in network.named_modules():
            if module.training is not mode and not (mode and module in frozen):
                raise Failed(f"after train({mode}) submodule '{name or 'itself'}' has training={not mode}", f"{mode}")
        expected = 5, *output_shape_of(subject, network)
        if tuple(network(_inputs(subject)).shape) != expected:
            raise Failed(f"another output shape after train({mode})", f"{expected}")


@check(*_NETWORKS, cause="an unbiased variance or another statistic over the batch, written by hand", since="0.2")
def trains_on_small_batches(subject: Subject) -> None:
    """In training mode two or three inputs give finite outputs and gradients, and one does or is refused."""
    for count in (3, 2, 1):
        network = subject.build().train()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"(std|var)\w*\(\): degrees of freedom")  # the output shows it
                output = network(_inputs(subject, count=count))
        except ValueError:
            if count == 1:  # batch normalisation refuses it; training has a batch of one only with --batch-size 1
                continue
            raise
        if output.requires_grad:
            torch.autograd.backward(_weighted_sum(output))
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        if not all(bool(torch.isfinite(values).all()) for values in (output, *gradients)):
            raise Failed(f"a training batch of {count} gives NaN or infinite outputs or gradients", "finite ones")


@check(*_NETWORKS, cause="an in-place operation such as `images -= 0.5` or `relu_` on the input")
def input_unchanged(subject: Subject) -> None:
    """The input is left as it was."""
    network, inputs = subject.build(), _inputs(subject)
    before = inputs.clone()
    with torch.no_grad():
        network(inputs)
    if not torch.equal(inputs, before):
        raise Failed(f"the input changed by up to {_difference(inputs, before)}", "no change")


@check(*_NETWORKS, cause="`.view` on a tensor that is not contiguous; `.reshape` or `.flatten` work")
def memory_layout(subject: Subject) -> None:
    """An input with other strides (transposed or channels-last) gives the same output."""
    for case in subject.cases:
        network, inputs = subject.build(*case).double(), _inputs(subject, case).double()
        plain = forward(network, inputs)
        backwards = tuple(reversed(range(inputs.dim())))
        others = [inputs.permute(backwards).contiguous().permute(backwards)]
        if inputs.dim() == 4:
            others.append(inputs.contiguous(memory_format=torch.channels_last))
        for strided in (forward(network, other) for other in others):
            if not torch.allclose(plain, strided, rtol=1e-6, atol=1e-8):
                raise Failed(f"outputs differ by up to {_difference(plain, strided)} between layouts", "1e-8")


@check(*_NETWORKS, cause="a tensor kept as a plain attribute; `register_buffer` puts it into the state dict")
def state_round_trip(subject: Subject) -> None:
    """Saved as safetensors and loaded into a network of another seed, it gives the same outputs."""
    first, second, inputs = subject.build(seed=0), subject.build(seed=1), _inputs(subject)
    first.train()(inputs)  # moves what moves while training, such as running statistics
    stored = safetensors.torch.save({name: weight.clone() for name, weight in tensors(first).items()})
    extra = {name: value for name, value in first.state_dict().items() if not isinstance(value, Tensor)}
    second.load_state_dict(safetensors.torch.load(stored) | extra, strict=True)
    expected, got = forward(first.eval(), inputs), forward(second.eval(), inputs)
    if not torch.equal(expected, got):
        raise Failed(f"outputs differ by up to {_difference(expected, got)} after a round trip", "equal outputs")


@check(*_NETWORKS, cause="a tensor kept as a plain attribute, or made in forward without `device=`")
def moves_between_devices(subject: Subject) -> None:
    """It moves to another device whole: the meta device, and CUDA where there is one."""
    devices = ["meta"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        network = subject.build().to(device)
        output = forward(network, _inputs(subject).to(device))
        if output.device.type != device or tuple(output.shape) != (5, *output_shape_of(subject, network)):
            raise Failed(f"on {device}: output {tuple(output.shape)} on {output.device.type}", f"all on {device}")


@check(
    *_NETWORKS, cause="gradients that vanish, no gradient at all (a `.detach()`), or an output that ignores the input"
)
def learns(subject: Subject) -> None:
    """Twenty steps of Adam towards a fixed output lower the loss."""
    network, inputs = _trained(subject), _inputs(subject)
    target = torch.rand(5, *output_shape_of(subject, network), generator=torch.Generator().manual_seed(1))
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)
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
        forward(subject.build(), _inputs(subject))
    if output.getvalue():
        raise Failed(f"it printed {output.getvalue()[:60]!r}", "nothing")


@check(*_NETWORKS, cause="an open file or a lock kept as an attribute, or a lambda that holds `self`")
def copies(subject: Subject) -> None:
    """`copy.deepcopy` gives an equal network with weights of its own: a moving average needs one."""
    network, inputs = subject.build(), _inputs(subject)
    twin = copy.deepcopy(network)
    expected = forward(network, inputs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    if not torch.equal(forward(twin, inputs), expected):
        raise Failed("a deep copy gives other outputs, or follows the original's weights", "equal outputs")


@check(*_NETWORKS, cause="Python control flow that depends on the tensors' values, or `.item()` in forward")
def compilable(subject: Subject) -> None:
    """`torch.compile` captures it as one graph."""
    network, inputs = subject.build(), _inputs(subject)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    if not torch.allclose(forward(network, inputs), forward(compiled, inputs), atol=1e-5):
        raise Failed("the compiled network gives other outputs", "equal within 1e-5")


@check(
    *_NETWORKS,
    cause="Python control flow that depends on the tensors' values, or a tensor kept as an attribute in forward",
)
def exportable(subject: Subject) -> None:
    """`torch.export` exports it: ONNX and other runtimes start there."""
    network, inputs = subject.build(), _inputs(subject)
    forward(subject.build(), inputs)  # what fails without export too is told in its own words
    with contextlib.redirect_stderr(io.StringIO()):  # it prints the whole graph where it fails
        exported = torch.export.export(network, (inputs,)).module()
    if not torch.allclose(forward(network, inputs), exported(inputs.clone()), atol=1e-5):
        raise Failed("the exported network gives other outputs", "equal within 1e-5")


def output_shape_of(subject: Subject, network: nn.Module, case: Arguments | None = None) -> tuple[int, ...]:
    """Return the shape that the contract asks of the output for one input."""
    _, outputs = case or subject.cases[0]
    if subject.kind == "decoder":
        return tuple(outputs)
    return tuple(getattr(network, "features_shape", (outputs,)))


def _inputs(subject: Subject, case: Arguments | None = None, count: int = 5, seed: int = 0) -> Tensor:
    """Return images for an encoder `(count, C, H, W)`, latents for a decoder `(count, *latent_shape)`."""
    shape, _ = case or subject.cases[0]
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand if subject.kind == "encoder" else torch.randn
    return draw(count, *shape, generator=generator)


def _trained(subject: Subject) -> Any:
    """Return the network in training mode.

    Raises:
        NotApplicable: It has no weight to train.
    """
    network = subject.build().train()
    if not any(weight.requires_grad for weight in network.parameters()):
        raise NotApplicable("it has no weights to train: it has none, or all are frozen")
    return network


def _is_frozen(module: nn.Module) -> bool:
    """Say whether a module has weights, and trains none of them."""
    weights = [*module.parameters(), *module.buffers()]
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _check_dtype(subject: Subject, dtype: torch.dtype) -> None:
    output = forward(subject.build().to(dtype), _inputs(subject).to(dtype))
    if output.dtype != dtype:
        raise Failed(f"output {output.dtype} for input {dtype}", f"{dtype}")


def forward(network: Any, inputs: Tensor, method: str = "__call__") -> Tensor:
    """Return a network's output without gradients."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(std|var)\w*\(\): degrees of freedom")  # `finite` tells what comes of it
        output: Tensor = getattr(network, method)(inputs.clone())  # a clone may be changed in place
    return output


def _weighted_sum(output: Tensor) -> Tensor:
    """Return a scalar in which every value of the output counts differently."""
    return (output * torch.linspace(1, 2, output.numel()).view_as(output)).sum()


def _difference(first: Tensor, second: Tensor) -> str:
    return f"{(first - second).abs().max().item():.2g}"


def _one(subject: Subject) -> str:
    return "an image" if subject.kind == "encoder" else "a latent"
