"""The resume state comes back as it was kept, and what is damaged, hostile or foreign is refused."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo import CheckpointError
from zoo.model import tensor_file
from zoo.training import resume_state
from zoo.training.resume_state import FACTS, Facts

DTYPES = sorted(resume_state._STORABLE, key=str)
GIVEN = Facts(epoch=3, epochs=10, stopped=False, stack={"torch": "2"}).model_dump()


def back(value: Any, directory: Path) -> Any:
    """Return what a value is after it was kept and read."""
    path = directory / "epoch-3.safetensors"
    path.write_bytes(resume_state.encode({FACTS: GIVEN, "value": value}))
    return resume_state.read(path)[1]["value"]


def bits(tensor: Tensor) -> bytes:
    return tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def adam_of(module: nn.Module, steps: int) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    for _ in range(steps):
        step(module, optimizer)
    return optimizer


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    images = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    module(images).square().mean().backward()
    optimizer.step()


# What comes back


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**80, "", "text\n\0é\ud83d", 0.1, -0.0, 5e-324, math.inf, -math.inf, [], (), {}, [[()]],
        (1, (2.5, [3])), {"a": {"b": [1]}}, {0: "int", "0": "text"},
        {"$tensor": "0"}, {"$float": 1, 2: {"$tuple": []}}, [{"$dict": []}],
    ],
    ids=ascii,
)  # fmt: skip
def test_a_value_comes_back_with_its_types(value, tmp_path):
    came = back(value, tmp_path)
    assert repr(came) == repr(value)
    assert came == value


def test_nan_comes_back(tmp_path):
    assert math.isnan(back(math.nan, tmp_path))


def test_the_order_of_names_comes_back(tmp_path):
    assert list(back(OrderedDict([("b", 1), ("a", 2)]), tmp_path)) == ["b", "a"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)], ids=str)
def test_a_tensor_comes_back_bit_for_bit(dtype, shape, tmp_path):
    tensor = torch.empty(shape, dtype=dtype)
    if tensor.numel():
        count = tensor.numel() * tensor.element_size()
        tensor = torch.arange(count).remainder(2).to(torch.uint8).view(dtype).view(shape)
    came = back(tensor, tmp_path)
    assert (came.dtype, came.shape, bits(came)) == (tensor.dtype, tensor.shape, bits(tensor))


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.0, 5e-324])
def test_an_odd_number_comes_back_in_a_tensor(value, tmp_path):
    tensor = torch.tensor([value], dtype=torch.float64)
    assert bits(back(tensor, tmp_path)) == bits(tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.arange(6.0).view(2, 3).T,
        torch.arange(24.0).view(2, 3, 4).permute(1, 2, 0),
    ],
    ids=["channels last", "transposed", "permuted"],
)
def test_a_tensor_comes_back_as_it_lay_in_memory(tensor, tmp_path):
    came = back(tensor, tmp_path)
    assert torch.equal(came, tensor)
    assert came.stride() == tensor.stride()


@pytest.mark.parametrize(
    "tensor", [torch.ones(1).expand(4), torch.arange(9.0).view(3, 3)[:, :2]], ids=["expanded", "cut"]
)
def test_a_view_comes_back_as_a_tensor_of_its_own(tensor, tmp_path):
    assert torch.equal(back(tensor, tmp_path), tensor)


def test_a_tensor_of_several_names_is_kept_once(tmp_path):
    weight = torch.rand(1000)
    back({"a": weight, "b": [weight.detach()], "c": nn.Parameter(weight)}, tmp_path)
    assert len(tensor_file.read(resume_state.KIND, tmp_path / "epoch-3.safetensors")[1]) == 1


def test_tensors_over_each_other_come_back(tmp_path):
    whole = torch.arange(6.0)
    came = back([whole, whole[:3], whole.view(2, 3), whole[1:]], tmp_path)
    assert [tensor.tolist() for tensor in came] == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2],
        [[0, 1, 2], [3, 4, 5]],
        [1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_adam_takes_the_same_steps_with_moments_that_came_back(memory_format, tmp_path):
    module = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
    optimizer = adam_of(module, steps=2)
    kept = back({"weights": module.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path)
    again = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
    again.load_state_dict(kept["weights"])
    optimizer_again = adam_of(again, steps=0)
    optimizer_again.load_state_dict(kept["optimizer"])
    for _ in range(2):
        step(module, optimizer)
        step(again, optimizer_again)
    assert torch.equal(module.weight, again.weight)


# What cannot be kept


class Odd:
    """Something that JSON has no word for."""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"a": [1, {"b": Odd()}]}, r"\['a'\]\[1\]\['b'\] holds a Odd\."),
        ({"a": {1, 2}}, r"\['a'\] holds a set\."),
        ({"a": Counter()}, r"\['a'\] holds a Counter\."),
        ({"a": b"bytes"}, r"\['a'\] holds a bytes\."),
        ({"a": {(1, 2): 3}}, r"\['a'\] holds a dict\."),
        ({"a": torch.zeros(2).to_sparse()}, r"\['a'\] holds a torch\.sparse_coo tensor of torch\.float32\."),
        (
            {"a": torch.zeros(2, dtype=torch.complex128)},
            r"\['a'\] holds a torch\.strided tensor of torch\.complex128\.",
        ),
    ],
)
def test_what_cannot_be_kept_is_an_error_that_says_where_it_is(content, complaint):
    with pytest.raises(CheckpointError, match=rf"^The training's state cannot be kept: {complaint}$"):
        resume_state.encode(content)


# What is refused


@pytest.fixture
def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def content(module: nn.Module) -> dict[str, Any]:
    return {FACTS: GIVEN, "state_dict": module.state_dict(), "optimizer_states": [adam_of(module, 1).state_dict()]}


@pytest.fixture
def kept(content: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "epoch-3.safetensors"
    path.write_bytes(resume_state.encode(content))
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        resume_state.read(path)
    assert str(refused.value).isprintable()
    return str(refused.value)


def forge(path: Path, record: Any) -> Path:
    """Write a file with a record of one's own, and the right checksum."""
    text = record if isinstance(record, str) else json.dumps(record)
    path.write_bytes(tensor_file.encode(resume_state.KIND, text, {"0": torch.zeros(2, 3)}))
    return path


def test_a_flipped_bit_is_noticed_wherever_it_is(kept):
    whole = kept.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        kept.write_bytes(damaged)
        refusal_of(kept)


def test_a_truncated_file_is_refused_wherever_it_ends(kept):
    whole = kept.read_bytes()
    for length in [0, 7, 8, 9, *random.Random(0).sample(range(len(whole)), 50)]:
        kept.write_bytes(whole[:length])
        refusal_of(kept)


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "epoch-1.safetensors").write_bytes(pickle.dumps({"epoch": 1}))
    assert "never unpickles" in refusal_of(tmp_path / "epoch-1.safetensors")


def test_a_checkpoint_is_not_a_resume_state(tmp_path):
    from zoo.model import checkpoint

    path = tmp_path / "epoch-1.safetensors"
    path.write_bytes(tensor_file.encode(checkpoint.KIND, "{}", {}))
    assert "not a resume state that Autoencoder Zoo wrote" in refusal_of(path)


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{", "{}", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '{"a":' * 100_000],
    ids=lambda record: ascii(record)[:20],
)
def test_a_record_that_is_no_json_object_is_refused(record, tmp_path):
    refusal_of(forge(tmp_path / "epoch-1.safetensors", record))


@pytest.mark.parametrize(
    "facts",
    [
        None, [], {}, 1, {**GIVEN, "epoch": 0}, {**GIVEN, "epoch": "3"}, {**GIVEN, "stopped": 1}, {**GIVEN, "evil": 1},
        {**GIVEN, "stack": {"torch": 2}}, {**GIVEN, "format_version": None},
    ],
    ids=ascii,
)  # fmt: skip
def test_facts_that_are_none_are_refused(facts, tmp_path):
    refusal_of(forge(tmp_path / "epoch-1.safetensors", {FACTS: facts}))


@pytest.mark.parametrize(
    "value",
    [
        {"$tensor": "1"}, {"$tensor": ["0"]}, {"$tensor": None}, {"$tensor": "0", "order": [0]},
        {"$tensor": "0", "order": [0, 10**30]}, {"$tensor": "0", "order": "ab"}, {"$tensor": "0", "order": 1},
        {"$tuple": 1}, {"$float": "one"}, {"$float": []}, {"$dict": 1}, {"$dict": [1]}, {"$dict": [[[], 1]]},
    ],
    ids=ascii,
)  # fmt: skip
def test_a_value_that_stands_for_nothing_is_refused(value, tmp_path):
    refusal_of(forge(tmp_path / "epoch-1.safetensors", {FACTS: GIVEN, "value": value}))


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    path = forge(tmp_path / "epoch-1.safetensors", {FACTS: {**GIVEN, "format_version": 2}})
    assert "pip install --upgrade autoencoder-zoo" in refusal_of(path)


def test_a_state_fits_the_module_that_it_was_kept_of(kept, module):
    resume_state.require_fit(resume_state.read(kept)[1], module, [list(module.parameters())])


def test_a_state_of_a_module_with_a_weight_that_was_never_used_fits(content, module):
    del content["optimizer_states"][0]["state"][0]
    resume_state.require_fit(content, module, [list(module.parameters())])


EDITS = {
    "a weight is missing": lambda content: content["state_dict"].pop("0.bias"),
    "a weight is unknown": lambda content: content["state_dict"].update(evil=torch.zeros(1)),
    "a weight of another shape": lambda content: content["state_dict"].update({"0.bias": torch.zeros(5)}),
    "a weight of another type": lambda content: content["state_dict"].update({"0.bias": torch.zeros(4).double()}),
    "a weight that is a number": lambda content: content["state_dict"].update({"0.bias": 1}),
    "an average of another shape": lambda content: content.update(current_model_state={"0.bias": torch.zeros(5)}),
    "no optimizer": lambda content: content.update(optimizer_states=[]),
    "two optimizers": lambda content: content["optimizer_states"].append({}),
    "an optimizer of text": lambda content: content.update(optimizer_states=["evil"]),
    "a moment of another shape": lambda content: moments_of(content).update(exp_avg=torch.zeros(1)),
    "a moment of another type": lambda content: moments_of(content).update(exp_avg_sq=torch.zeros(4, 3, 3, 3).half()),
    "an unknown moment": lambda content: moments_of(content).update(evil=torch.zeros(4, 3, 3, 3)),
    "a step without a number": lambda content: moments_of(content).update(step=torch.zeros(0)),
    "moments of an unknown weight": lambda content: content["optimizer_states"][0]["state"].update({99: {"step": 1}}),
}


def moments_of(content: dict[str, Any]) -> dict[str, Tensor]:
    return content["optimizer_states"][0]["state"][0]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_state_that_is_not_the_modules_is_refused(edit, content, module):
    content["state_dict"] = dict(content["state_dict"])
    edit(content)
    with pytest.raises(CheckpointError, match=r"^The resume state does not fit the model \(.*\): has a component"):
        resume_state.require_fit(content, module, [list(module.parameters())])


# The directory


def test_a_directory_without_a_state_has_none(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / ".epoch-1.safetensors.x.tmp").touch()
    (tmp_path / "epoch-0.safetensors").touch()
    assert resume_state.latest(tmp_path) is None
    assert resume_state.latest(tmp_path / "missing") is None


def test_the_newest_is_that_of_the_last_epoch(kept):
    kept.with_name("epoch-2.safetensors").write_bytes(kept.read_bytes())
    kept.with_name("epoch-10.safetensors").write_bytes(kept.read_bytes())
    assert resume_state.latest(kept.parent).path.name == "epoch-10.safetensors"


def test_all_but_the_newest_two_are_removed(kept):
    for epoch in (1, 2, 9, 10):
        kept.with_name(f"epoch-{epoch}.safetensors").touch()
    kept.with_name("lock").touch()
    resume_state.prune(kept.parent)
    assert {path.name for path in kept.parent.iterdir()} == {"epoch-9.safetensors", "epoch-10.safetensors", "lock"}
