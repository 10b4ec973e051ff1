"""How torch's operations become operations of the browser's engine, static/engine.mjs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold
from torch.utils._pytree import tree_leaves

from zoo.errors import printable

Shape = tuple[int, ...]


class NotForTheBrowser(Exception):  # noqa: N818 - an answer, not a failure
    """The engine does not know a part of a decoder, or the server is faster; the message says why in one line."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value of the plan: the input, a constant (`data`), or what an operation gives."""

    shape: Shape
    operation: str = ""
    inputs: tuple[Node, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    data: Tensor | None = None


@dataclass(frozen=True)
class Call:
    """A call of one of torch's operations.

    Attributes:
        arguments: All of them, by name and in order.
        shape: That of the first result.
        node_of: Gives the node of a tensor or a number.
    """

    arguments: dict[str, Any]
    shape: Shape
    node_of: Callable[[Tensor | float], Node]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def node(self, name: str) -> Node:
        """Return the node of an argument."""
        return self.node_of(self.arguments[name])


def constant(tensor: Tensor) -> Node:
    """Return the node of a tensor that does not depend on the input, as float32."""
    return Node(tuple(tensor.shape), data=tensor.detach().to(torch.float32).clone())


def _step(operation: str, inputs: Sequence[Node], shape: Iterable[int], **options: Any) -> Node:
    for value in tree_leaves(options):
        if not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
            raise NotForTheBrowser(f"the operation '{operation}' with {printable(options)} is unknown to the engine")
    return Node(tuple(shape), operation, tuple(inputs), options)


def move(function: Callable[..., Any], *nodes: Node) -> list[Node]:
    """Return the nodes of what a function makes of nodes' tensors: their numbers in other places, and zeros."""
    if all(node.data is not None for node in nodes):
        return [constant(tensor) for tensor in tree_leaves(function(*(node.data for node in nodes)))]
    sizes = [math.prod(node.shape) for node in nodes]
    source = nodes[0] if len(nodes) == 1 else _step("concatenate", nodes, [sum(sizes)])
    indices = torch.arange(1, sum(sizes) + 1, dtype=torch.float64)  # from 1: zeros are no indices
    parts = torch.split(indices, sizes)
    moved = function(*(part.view(node.shape) for part, node in zip(parts, nodes, strict=True)))
    return [_take(source, tensor.long() - 1) for tensor in tree_leaves(moved)]


def _take(source: Node, index: Tensor) -> Node:
    """Return the node of a source's numbers at these indices, 0 where an index is −1."""
    shape = tuple(index.shape)
    if shape == source.shape and _in_order(index):
        return source
    if index.numel() == math.prod(source.shape) and _in_order(index):
        return _step("reshape", [source], shape)
    return _step("take", [source, Node(shape, data=index.to(torch.int32))], shape)


def _in_order(index: Tensor) -> bool:
    return torch.equal(index.flatten(), torch.arange(index.numel()))


def _reshape(node: Node, shape: Iterable[int]) -> Node:
    return move(lambda tensor: tensor.reshape(tuple(shape)), node)[0]


def _elementwise(operation: str, operands: int) -> Callable[[Call], Node]:
    """Return how a call is noted whose first arguments are operands, and the others options."""

    def noted(call: Call) -> Node:
        if call.arguments.get("rounding_mode"):
            raise NotForTheBrowser("the browser's engine knows no division that rounds")
        names = list(call.arguments)
        options = {name: call[name] for name in names[operands:]}
        return _step(operation, [call.node(name) for name in names[:operands]], call.shape, **options)

    return noted


def _matmul(call: Call) -> Node:
    """Note `mm` and `bmm`, and with a bias before the two factors `addmm`."""
    *bias, left, right = (call.node(name) for name in call.arguments if name not in ("beta", "alpha"))
    if call.arguments.get("beta", 1) != 1 or call.arguments.get("alpha", 1) != 1:
        raise NotForTheBrowser("a matrix product has factors that the browser's engine does not know")
    rows = _reshape(left, (-1, *left.shape[-2:]))  # (batches, n, k)
    columns = move(lambda tensor: tensor.reshape(-1, *right.shape[-2:]).transpose(1, 2), right)[0]  # (batches, m, k)
    product = _reshape(_step("matmul", [rows, columns], (*rows.shape[:2], columns.shape[1])), call.shape)
    return _step("add", [product, *bias], call.shape) if bias else product


def _convolution(call: Call) -> Node:
    image = call.node("input")
    if len(image.shape) != 4:
        raise NotForTheBrowser(f"the browser's engine knows convolutions over 2 axes, not {len(image.shape) - 2}")
    weight = constant(_fixed(call, "weight"))
    bias = constant(torch.zeros(call.shape[1]) if call["bias"] is None else _fixed(call, "bias"))
    names = ("stride", "padding", "dilation", "groups", "transposed")
    return _step("convolution", [image, weight, bias], call.shape, **{name: call[name] for name in names})


def _fixed(call: Call, name: str) -> Tensor:
    """Return an argument that must not depend on the latent."""
    if (data := call.node(name).data) is None:
        raise NotForTheBrowser(f"the {name} of a layer depends on the latent")
    return data


def _pad(call: Call) -> Node:
    if call["value"]:
        raise NotForTheBrowser("the browser's engine pads with zeros alone")
    return move(lambda tensor: pad(tensor, call["pad"]), call.node("self"))[0]


def _rows(node: Node, axes: Iterable[int]) -> tuple[Node, Callable[[Node], Node]]:
    """Return a node as rows `(rows, length)` along some axes, and what brings such rows back into its shape."""
    rank = len(node.shape)
    last = sorted(axis % rank for axis in axes)
    order = [axis for axis in range(rank) if axis not in last] + last
    length = math.prod(node.shape[axis] for axis in last)
    rows = move(lambda tensor: tensor.permute(order).reshape(-1, length), node)[0]
    permuted = [node.shape[axis] for axis in order]
    back = [order.index(axis) for axis in range(rank)]
    return rows, lambda result: move(lambda tensor: tensor.reshape(permuted).permute(back), result)[0]


def _reduced(operation: str) -> Callable[[Call], Node]:
    """Return how a reduction over the axes `dim`, all where there are none, is noted."""

    def noted(call: Call) -> Node:
        node = call.node("self")
        rows, _ = _rows(node, call.arguments.get("dim") or range(len(node.shape)))
        return _reshape(_step(operation, [rows], (rows.shape[0], 1)), call.shape)

    return noted


def _softmax(call: Call) -> Node:
    rows, back = _rows(call.node("self"), [call["dim"]])
    return back(_step("softmax", [rows], rows.shape))


def _normalised(rows: Node, epsilon: float) -> Node:
    """Return the node of rows, each brought to mean 0 and variance 1."""
    return _step("normalise", [rows], rows.shape, epsilon=epsilon)


def _scaled(call: Call, node: Node, shape: Iterable[int]) -> Node:
    """Return a node times the call's weight plus its bias, each where there is one, brought into a shape."""
    for name, operation in (("weight", "mul"), ("bias", "add")):
        if call[name] is not None:
            node = _step(operation, [node, _reshape(call.node(name), shape)], node.shape)
    return node


def _batch_norm(call: Call) -> Node:
    """Note a batch norm by running statistics, or by the batch's own: an instance norm is one of a single image."""
    node = call.node("input")
    channels = (-1, *[1] * (len(node.shape) - 2))
    if call["training"]:
        rows, back = _rows(node, [axis for axis in range(len(node.shape)) if axis != 1])
        return _scaled(call, back(_normalised(rows, call["eps"])), channels)
    scale = (_fixed(call, "running_var") + call["eps"]).rsqrt()
    scale *= 1 if call["weight"] is None else _fixed(call, "weight")
    shift = (0 if call["bias"] is None else _fixed(call, "bias")) - _fixed(call, "running_mean") * scale
    scaled = _step("mul", [node, constant(scale.view(channels))], node.shape)
    return _step("add", [scaled, constant(shift.view(channels))], node.shape)


def _group_norm(call: Call) -> Node:
    node = call.node("input")
    rows = _reshape(node, (call["N"] * call["group"], -1))
    return _scaled(call, _reshape(_normalised(rows, call["eps"]), node.shape), (-1, *[1] * (len(node.shape) - 2)))


def _layer_norm(call: Call) -> Node:
    node, shape = call.node("input"), call["normalized_shape"]
    rows = _reshape(node, (-1, math.prod(shape)))
    return _scaled(call, _reshape(_normalised(rows, call["eps"]), node.shape), shape)


def _bilinear(call: Call) -> Node:
    """Note an enlargement by the places that it looks at: images of their own coordinates become these."""
    node = call.node("self")
    planes = _reshape(node, (-1, *node.shape[2:]))
    _, height, width = planes.shape
    coordinates = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    options = list(call.arguments.values())[1:]
    rows, columns = torch.ops.aten.upsample_bilinear2d(torch.stack(coordinates)[None].double(), *options)[0]
    places = [constant(rows[:, 0]), constant(columns[0])]
    return _reshape(_step("interpolate", [planes, *places], (planes.shape[0], *rows.shape)), call.shape)


def _avg_pool(call: Call) -> Node:
    if call["ceil_mode"] or call["divisor_override"] or (any(call["padding"]) and not call["count_include_pad"]):
        raise NotForTheBrowser("the browser's engine does not know all options of an average pooling")
    return _pool("mean", call, call["kernel_size"], stride=call["stride"], padding=call["padding"])


def _max_pool(call: Call) -> Node:
    if call["ceil_mode"] or any(call["padding"]):
        raise NotForTheBrowser("the browser's engine does not know all options of a max pooling")
    return _pool("amax", call, call["kernel_size"], stride=call["stride"], dilation=call["dilation"])


def _adaptive_avg_pool(call: Call) -> Node:
    sides = list(zip(call.node("self").shape[2:], call["output_size"], strict=True))
    if any(side % out for side, out in sides):
        raise NotForTheBrowser("the browser's engine pools to divisors of the image's sides alone")
    return _pool("mean", call, tuple(side // out for side, out in sides))


def _pool(
    operation: str,
    call: Call,
    size: Shape,
    *,
    stride: Shape = (),
    padding: Shape = (0, 0),
    dilation: Shape = (1, 1),
) -> Node:
    """Note a pooling as a reduction of its windows, each brought into a row."""

    def windows(images: Tensor) -> Tensor:
        columns = unfold(images, size, dilation, padding, stride or size)  # (N, C·window, windows)
        return columns.view(math.prod(images.shape[:2]), math.prod(size), -1).transpose(1, 2).flatten(0, 1)

    rows = move(windows, call.node("self"))[0]
    return _reshape(_step(operation, [rows], (rows.shape[0], 1)), call.shape)


OPERATIONS: dict[str, Callable[[Call], Node]] = {
    **{
        name: _elementwise(name, 1)
        for name in (
            "abs", "celu", "clamp", "cos", "elu", "erf", "exp", "gelu", "hardsigmoid", "hardswish", "hardtanh",
            "leaky_relu", "log", "mish", "neg", "reciprocal", "relu", "rsqrt", "sigmoid", "silu", "sin", "softplus",
            "sqrt", "tanh",
        )
    },
    **{name: _elementwise(name, 2) for name in ("add", "div", "maximum", "minimum", "mul", "pow", "rsub", "sub")},
    **dict.fromkeys(("mm", "bmm", "addmm"), _matmul),
    **{name: _reduced(name) for name in ("mean", "sum", "amax")},
    "clamp_min": _elementwise("clamp", 1),
    "clamp_max": _elementwise("clamp", 1),
    "_prelu_kernel": _elementwise("prelu", 2),
    "_softmax": _softmax,
    "constant_pad_nd": _pad,
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "upsample_bilinear2d": _bilinear,
    "avg_pool2d": _avg_pool,
    "max_pool2d_with_indices": _max_pool,
    "_adaptive_avg_pool2d": _adaptive_avg_pool,
}  # fmt: skip

# Operations whose results hold the numbers of their tensors, or zeros.
MOVES = {
    "_to_copy", "_unsafe_view", "_upsample_nearest_exact2d", "alias", "cat", "channel_shuffle", "clone", "copy", "detach",
    "expand", "flip", "index", "index_select", "permute", "pixel_shuffle", "pixel_unshuffle", "reflection_pad2d",
    "repeat", "replication_pad2d", "roll", "select", "select_scatter", "slice", "slice_scatter", "split",
    "split_with_sizes", "squeeze", "stack", "t", "transpose", "unbind", "unsqueeze", "upsample_nearest2d", "view",
}  # fmt: skip

# Operations that take a tensor for its shape alone.
SHAPE_ONLY = {
    "fill", "full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like",
}  # fmt: skip
