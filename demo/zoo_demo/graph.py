"""`Autoencoder.decode` as a plan for the browser's engine, static/engine.mjs; or why it cannot be one.

It is run once on one latent, and torch's own operations are noted as they happen, below all modules and functions: how
a decoder and a distortion are written does not matter. What does not depend on the input is a constant. Operations that
only move numbers, such as a transposition, are run on the numbers' indices: that says where each number comes from.

The engine's input is flat: the numbers of the latent, and for a conditional model those of its one-hot class.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from zoo.contract.parts import Conditioning
from zoo.errors import printable
from zoo.model.autoencoder import Autoencoder
from zoo_demo.operations import MOVES, OPERATIONS, SHAPE_ONLY, Call, Node, NotForTheBrowser, constant, move

__all__ = ["NotForTheBrowser", "Plan", "plan"]

MOST_BYTES = 16 * 2**20
MOST_OPERATIONS = 20_000_000  # an image, see _cost: beyond, the server's answer comes sooner
LARGEST_ERROR = 1 / 255  # One level of a pixel.


@dataclass(frozen=True)
class Plan:
    """What the engine needs to decode.

    Attributes:
        json: Shapes, constants and steps; engine.mjs says how they are read.
        weights: The constants: float32 or int32, little-endian.
        hash: SHA-256 of both, in hexadecimal.
    """

    json: dict[str, Any]
    weights: bytes
    hash: str


def plan(autoencoder: Autoencoder) -> Plan:
    """Return the plan of an autoencoder's `decode` in eval mode; the autoencoder is left as it was.

    Raises:
        NotForTheBrowser: The decoder has an operation that the engine does not know, or is too large for it.
    """
    _check_bytes(sum(tensor.nbytes for tensor in autoencoder.decoder.state_dict().values()))
    model = copy.deepcopy(autoencoder).to("cpu", torch.float32).eval()
    latents = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    latents[1] *= 3  # far out
    labels = torch.tensor([0, len(model.classes)]) if model.classes else None  # a class, and unknown
    inputs = _inputs(latents, labels, len(model.classes))
    try:
        with torch.no_grad():
            images = model.decode(latents, labels)
            decode = _of_flat_inputs(model)
            alone = torch.cat([decode(one) for one in torch.split(inputs, 1)])
            output = _trace(decode, inputs[:1])
    except NotForTheBrowser:
        raise
    except Exception as error:
        raise NotForTheBrowser(f"it cannot be traced: {printable(error)}") from error
    if not images.isfinite().all():
        raise NotForTheBrowser("it gives numbers that are not finite")
    if (images - alone).abs().max() > LARGEST_ERROR:
        raise NotForTheBrowser("an image depends on the others in its batch")
    return _written(output, model, inputs, images)


class _GivenClass(Conditioning):
    """Appends the one-hot class that it was given last, which so becomes an input of the plan."""

    one_hot: Tensor  # (N, K + 1)

    def append(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        planes = self.one_hot.view(*self.one_hot.shape, *[1] * (latents.dim() - 2))
        return torch.cat([latents, planes.expand(-1, -1, *latents.shape[2:])], dim=1)


def _inputs(latents: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Return flat inputs: latents, each with its one-hot class where there are labels."""
    if labels is None:
        return latents.flatten(1)
    return torch.cat([latents.flatten(1), torch.eye(classes + 1)[labels]], dim=1)


def _of_flat_inputs(model: Autoencoder) -> Callable[[Tensor], Tensor]:
    """Return a model's `decode` as a function of flat inputs; a conditional model is changed by it."""
    size = math.prod(model.latent_shape)
    given = _GivenClass(len(model.classes))
    if model.conditioning:
        model.conditioning = given

    def decode(inputs: Tensor) -> Tensor:
        given.one_hot = inputs[:, size:]
        return model.decode(inputs[:, :size].view(-1, *model.latent_shape))

    return decode


def _trace(decode: Callable[[Tensor], Tensor], inputs: Tensor) -> Node:
    """Return the node of the image that is made of inputs `(1, n)`."""
    tracer = _Tracer(inputs)
    with tracer:
        image = functionalize(decode)(inputs)  # what is changed in place becomes a new tensor
    return tracer.node(image)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of torch, and keeps the node of each tensor that depends on the inputs."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._nodes = {id(inputs): Node(tuple(inputs.shape))}
        self._unusable: set[int] = set()
        self._kept = [inputs]  # while a tensor lives, no other has its id

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to import dynamo takes seconds

    def node(self, value: Tensor | float) -> Node:
        """Return the node of a tensor or a number: a constant where it does not depend on the inputs."""
        tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
        return self._nodes.get(id(tensor)) or constant(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotForTheBrowser(f"it draws random numbers ('{name}')")
        result = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(id(tensor) in self._unusable for tensor in inputs):
            raise NotForTheBrowser("it uses more than the first result of an operation")
        if name in SHAPE_ONLY or not any(id(tensor) in self._nodes for tensor in inputs):
            return result
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        nodes: Sequence[Node]
        if name in MOVES:
            nodes = self._moved(func, args, kwargs)
        elif name in OPERATIONS:
            arguments = {argument.name: argument.default_value for argument in func._schema.arguments}
            arguments |= dict(zip(arguments, args, strict=False)) | kwargs
            nodes = [OPERATIONS[name](Call(arguments, tuple(results[0].shape), self.node))]
        else:
            raise NotForTheBrowser(f"the browser's engine does not know the operation '{name}'")
        if any(tensor.dtype != torch.float32 for tensor in results[: len(nodes)]):
            raise NotForTheBrowser(f"it computes in another type than float32 ('{name}')")
        self._nodes |= {id(tensor): node for tensor, node in zip(results, nodes, strict=False)}
        self._unusable |= {id(tensor) for tensor in results[len(nodes) :]}
        self._kept += results
        return result

    def _moved(self, func: Any, *arguments: Any) -> list[Node]:
        """Return the nodes of what an operation gives that only moves its tensors' numbers; integers are indices."""

        def moved(*tensors: Tensor) -> Any:
            left = iter(tensors)
            args, kwargs = tree_map_only(Tensor, lambda old: next(left) if old.is_floating_point() else old, arguments)
            return func(*args, **kwargs)

        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        return move(moved, *(self.node(tensor) for tensor in tensors if tensor.is_floating_point()))


def _written(output: Node, model: Autoencoder, inputs: Tensor, images: Tensor) -> Plan:
    """Return the plan that gives a node, with inputs and their images to compare with."""
    nodes = _in_sequence(output)
    operations = sum(map(_cost, nodes))
    if operations > MOST_OPERATIONS:
        raise NotForTheBrowser(
            f"an image takes {operations:,} operations; above {MOST_OPERATIONS:,} the server is faster"
        )
    reference = [constant(inputs), constant(images)]
    constants = [node for node in nodes if node.data is not None] + reference
    steps = [node for node in nodes if node.operation]
    number = {node: i for i, node in enumerate(constants + steps, start=1)}  # 0 is the input
    contents: dict[bytes, int] = {}  # each once, and where it starts
    end = 0
    entries = []
    for node in constants:
        assert node.data is not None
        array = node.data.numpy()
        content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        if content not in contents:
            contents[content] = end
            end += len(content)
        entries.append({"type": str(array.dtype), "offset": contents[content], "shape": list(node.shape)})
    _check_bytes(end)
    document = {
        "format": 2,
        "latent_shape": list(model.latent_shape),
        "classes": len(model.classes),
        "image_shape": list(model.image_shape),
        "bytes": end,
        "constants": entries,
        "steps": [
            {
                "operation": node.operation,
                "inputs": [number.get(value, 0) for value in node.inputs],
                "shape": list(node.shape),
                "options": node.options,
            }
            for node in steps
        ],
        "output": number.get(output, 0),
        "reference": [number[node] for node in reference],
    }
    weights = b"".join(contents)
    return Plan(document, weights, hashlib.sha256(json.dumps(document).encode() + weights).hexdigest())


def _in_sequence(output: Node) -> list[Node]:
    """Return all that a node needs, each after its inputs, and the node itself."""
    sequence: dict[Node, None] = {}
    waiting = [output]
    while waiting:
        missing = [node for node in waiting[-1].inputs if node not in sequence]
        if missing:
            waiting += missing
        else:
            sequence[waiting.pop()] = None
    return list(sequence)


def _cost(node: Node) -> int:
    """Return about how many multiply-adds an operation takes the engine as long as."""
    size = math.prod(node.shape)
    match node.operation:
        case "" | "reshape":
            return 0
        case "matmul":
            return size * node.inputs[0].shape[-1]
        case "convolution":
            image, weight, _ = node.inputs
            return (math.prod(image.shape) if node.options["transposed"] else size) * math.prod(weight.shape[1:])
        case _:
            return 8 * max(size, *(math.prod(value.shape) for value in node.inputs))


def _check_bytes(size: int) -> None:
    if size > MOST_BYTES:
        raise NotForTheBrowser(f"its weights take {size:,} bytes, more than {MOST_BYTES:,}")
