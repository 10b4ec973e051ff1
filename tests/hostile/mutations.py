"""Mutations of a checkpoint: of its bytes, and of its parts with the checksum computed anew."""

from __future__ import annotations

import copy
import math
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.hostile.form import Form, Text, dump

ByteMutation = Callable[[bytearray, Random, list[bytes]], None]
FormMutation = Callable[[Form, Random], None]

BYTE_MUTATIONS: list[ByteMutation] = []
FORM_MUTATIONS: list[FormMutation] = []
WEIGHTS: list[int] = []  # of the mutations of the parts
BOMBS: list[FormMutation] = []

HEADER_LIMIT = 4 * 2**20
ENCODER, DATASET = 0, -1  # indices in a record's list of components
DISTORTION = ["distortion", 0]
PARTS: list[list[Any]] = [["encoder"], ["decoder"], ["objective"], DISTORTION, ["dataset"]]  # as in the config
KINDS = ["encoder", "decoder", "objective", "distortion", "dataset"]
SHAPE = ["data", "image_shape"]
DTYPES = [
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64",
    "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "f32", "", "F32 ", "torch.float32", "object", None, 3,
]  # fmt: skip
TEXTS = [
    "", " ", "a", "evil\n\x1b[31mred\u202e", "nul\0byte", "../../etc/passwd", "/dev/zero", "C:\\nul", "a" * 300,
    "os:system", "builtins.eval", "trap", "trap:attack", "zoo_mlp.networks:MLPEncoder", "__metadata__", "__class__",
    "$(touch x)", "-r x", "mlp", "conv", "vae", "careless", "autoencoder-zoo", "autoencoder-zoo:mlp",
    "😀" * 50, "ä" * 9, "5", "1e3", "true", "none", "Infinity", "NaN", "8,8", "{}", "%s%n", "{0.__class__}",
]  # fmt: skip
NUMBERS = [
    -1, 0, 1, 2, 3, 4, 7, 8, 9, 64, 4096, 4097, 65_536, 10**6, 2**31, 2**32, 10**9, 2**53, 2**63 - 1, 2**63, 2**64,
    10**30, -(2**63) - 1, 10**400, 0.5, -0.0, 1.0, 1e-320, 1e308, Text("1e999"), Text("-1e999"), Text("NaN"),
    Text("Infinity"), Text("9" * 5000), Text("0" * 9), Text("1.0e0"),
]  # fmt: skip
PREFIXES = [
    b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\x1f\x8b\x08", b"MZ", b"{}", pickle.dumps(print), zlib.compress(b"a" * 99),
]  # fmt: skip


@dataclass
class Mutant:
    """A mutated checkpoint.

    Attributes:
        raw: The file.
        original: The checkpoint that it must be equal to if it is accepted; None where its checksum
            was computed anew, so that it need only be what it says itself.
        history: How it came about.
    """

    raw: bytes
    original: bytes | None
    history: list[str]


def mutate(raws: list[bytes], random: Random) -> Mutant:
    """Return a mutation of one of the checkpoints: of its parts, of its bytes, or of both."""
    mutant = Mutant(random.choice(raws), None, [])
    mutant.original = mutant.raw
    if random.random() < 0.75:
        _rebuild(mutant, random.choices(FORM_MUTATIONS, WEIGHTS, k=random.choice([1, 1, 1, 2, 3])), random)
    if not mutant.history or random.random() < 0.05:
        changed = bytearray(mutant.raw)
        for mutation in random.choices(BYTE_MUTATIONS, k=random.choice([1, 1, 2, 3])):
            mutation(changed, random, raws)
            mutant.history.append(mutation.__name__)
        mutant.raw = bytes(changed)
    return mutant


def explode(raws: list[bytes], random: Random) -> Mutant:
    """Return one of the checkpoints with a bomb of some megabytes in it."""
    mutant = Mutant(random.choice(raws), None, [])
    _rebuild(mutant, [random.choice(BOMBS)], random)
    return mutant


def _rebuild(mutant: Mutant, mutations: list[FormMutation], random: Random) -> None:
    form = Form.of(mutant.raw)
    for mutation in mutations:
        mutation(form, random)
        mutant.history.append(mutation.__name__)
    if random.random() < 0.85:
        mutant.original = None
        mutant.history.append("sealed anew")
    form.sealed = mutant.original is None
    mutant.raw = form.to_bytes()


def of_bytes(mutation: ByteMutation) -> ByteMutation:
    BYTE_MUTATIONS.append(mutation)
    return mutation


def of_form(mutation: FormMutation) -> FormMutation:
    FORM_MUTATIONS.append(mutation)
    WEIGHTS.append(1)
    return mutation


def of_record(mutation: FormMutation) -> FormMutation:
    """These come twice as often: what the record says is what a model is built from."""
    FORM_MUTATIONS.append(mutation)
    WEIGHTS.append(2)
    return mutation


def bomb(mutation: FormMutation) -> FormMutation:
    BOMBS.append(mutation)
    return mutation


# Bytes, without a new checksum


@of_bytes
def flip_bits(raw: bytearray, random: Random, _: list[bytes]) -> None:
    for _ in range(random.choice([1, 1, 2, 8])):
        raw[_place(raw, random)] ^= 1 << random.randrange(8)


@of_bytes
def truncate(raw: bytearray, random: Random, _: list[bytes]) -> None:
    del raw[_place(raw, random) :]


@of_bytes
def append(raw: bytearray, random: Random, _: list[bytes]) -> None:
    raw += random.choice([b"\0", bytes(4096), random.randbytes(50)])


@of_bytes
def overwrite(raw: bytearray, random: Random, _: list[bytes]) -> None:
    start, length = _place(raw, random), random.choice([1, 4, 8, 64, 4096])
    raw[start : start + length] = random.choice([bytes(length), b"\xff" * length, random.randbytes(length)])


@of_bytes
def delete(raw: bytearray, random: Random, _: list[bytes]) -> None:
    start = _place(raw, random)
    del raw[start : start + random.choice([1, 8, 512])]


@of_bytes
def repeat(raw: bytearray, random: Random, _: list[bytes]) -> None:
    start, length = _place(raw, random), random.choice([1, 8, 512])
    raw[start:start] = raw[start : start + length]


@of_bytes
def swap(raw: bytearray, random: Random, _: list[bytes]) -> None:
    one, other, length = _place(raw, random), _place(raw, random), random.choice([1, 8, 512])
    if one + length <= other and other + length <= len(raw):
        raw[one : one + length], raw[other : other + length] = raw[other : other + length], raw[one : one + length]


@of_bytes
def change_header_length(raw: bytearray, random: Random, _: list[bytes]) -> None:
    length = int.from_bytes(raw[:8], "little")
    other = random.choice([0, 1, 2, length - 1, length + 1, HEADER_LIMIT, 10**8, 2**31, 2**63, 2**64 - 1, len(raw) - 8])
    raw[:8] = (other % 2**64).to_bytes(8, "little")


@of_bytes
def splice(raw: bytearray, random: Random, raws: list[bytes]) -> None:
    other = random.choice(raws)
    raw[_place(raw, random) :] = other[random.randrange(len(other)) :]


@of_bytes
def disguise(raw: bytearray, random: Random, _: list[bytes]) -> None:
    prefix = random.choice(PREFIXES)
    raw[: random.choice([0, len(prefix), len(raw)])] = prefix


def _place(raw: bytearray, random: Random) -> int:
    """Choose a position: in the length, in the header or anywhere."""
    if not raw:
        raw += b"\0"
    return random.randrange(min(len(raw), random.choice([8, 64, 2000, len(raw)])))


# The header


@of_form
def edit_header(form: Form, random: Random) -> None:
    form.edits.append(_text_edit(random))


@of_form
def edit_record(form: Form, random: Random) -> None:
    form.record_edits.append(_text_edit(random))


@of_form
def repeat_name(form: Form, random: Random) -> None:
    pairs = random.choice([form.metadata, form.tensors])
    if pairs:
        name, value = random.choice(pairs)
        other = random.choice([value, random.choice(pairs)[1]])
        pairs.insert(random.randrange(len(pairs) + 1), (name, other))


@of_form
def repeat_name_inside(form: Form, random: Random) -> None:
    """Let a name stand twice in one object of the record, or in a tensor's entry."""
    if random.random() < 0.5 and form.tensors:
        index = random.randrange(len(form.tensors))
        name, entry = form.tensors[index]
        if isinstance(entry, dict) and entry:
            key = random.choice(list(entry))
            text = dump(entry)
            form.tensors[index] = name, Text(f'{text[:-1]},"{key}":{dump(entry[key])}}}')
        return
    form.record_edits.append(lambda text: re.sub(r'"(\w+)":([^,{}\[\]]+),', r'"\1":\2,"\1":\2,', text, count=1))


@of_form
def nest(form: Form, random: Random) -> None:
    depth = random.choice([5, 30, 63, 64, 65, 100, 200, 255, 500, 990, 1000, 5000, 50_000])
    opening, closing = random.choice([("[", "]"), ('{"a":', "}")])
    text = opening * depth + "1" + closing * depth
    place = random.randrange(4)
    if place == 0:
        form.tensors.append(("deep", Text(text)))
    elif place == 1:
        form.metadata.append(("deep", Text(text)))
    else:
        kind = random.choice(["encoder", "decoder", "objective", "dataset"])
        option = random.choice(["hidden", "table", "sizes", "deep"])
        if place == 2 or not _put(form.record, ["config", kind, "options", option], Text(text)):
            form.record = Text(text)


@of_form
def foreign_metadata(form: Form, random: Random) -> None:
    action = random.randrange(3)
    if action == 0:
        form.metadata.append((random.choice(TEXTS), random.choice(TEXTS)))
    elif action == 1:
        form.metadata = []
    else:
        form.metadata = [("format", random.choice([*TEXTS, 3, None, ["pt"]]))]


# Tensors


@of_form
def retype(form: Form, random: Random) -> None:
    entry = _entry(form, random)
    entry["dtype"] = random.choice(DTYPES)
    sizes = {
        "F64": 8,
        "I64": 8,
        "U64": 8,
        "C64": 8,
        "F32": 4,
        "I32": 4,
        "U32": 4,
        "F16": 2,
        "BF16": 2,
        "I16": 2,
        "U16": 2,
    }
    if random.random() < 0.7:  # let type, shape and length agree
        size = sizes.get(str(entry["dtype"]), 1)
        start, end = _offsets(entry)
        entry["shape"] = [max(0, end - start) // size]


@of_form
def reshape(form: Form, random: Random) -> None:
    entry = _entry(form, random)
    shape = [part for part in entry.get("shape", []) if type(part) is int]
    count = math.prod(shape)
    entry["shape"] = random.choice(
        [
            shape[::-1], [count], [1, *shape], [*shape, 1], [1] * 4096 + shape, [1] * 65 + shape, [-1, *shape],
            [-part for part in shape], [count, 0], [0], [0, 2**63], [2**62, 0, 2**62], [2**32, 2**32], [2**63],
            [10**30], [float(part) for part in shape], [str(part) for part in shape], [True] * len(shape), [None],
            [[part] for part in shape], [], "", None, 5, {"0": 1}, [*shape, random.choice(NUMBERS)],
            [random.choice(NUMBERS)],
        ]
    )  # fmt: skip


@of_form
def move(form: Form, random: Random) -> None:
    entry = _entry(form, random)
    start, end = _offsets(entry)
    size = len(form.content)
    entry["data_offsets"] = random.choice(
        [
            [end, start], [start, start], [0, size], [start + 1, end + 1], [start - 1, end], [start, end + 4],
            [start, 2**63], [2**64 - 1, 2**64], [-4, end], [start, end, end], [start], [], None, "0",
            [str(start), str(end)], [float(start), float(end)], [True, False], [size, size],
            [random.choice(NUMBERS), random.choice(NUMBERS)],
        ]
    )  # fmt: skip


@of_form
def rename(form: Form, random: Random) -> None:
    if form.tensors:
        index = random.randrange(len(form.tensors))
        old, entry = form.tensors[index]
        name = random.choice([*TEXTS, old.upper(), old + " ", old.partition(".")[2], old[:-1], "a" * 100_000])
        form.tensors[index] = name, entry


@of_form
def drop_tensor(form: Form, random: Random) -> None:
    if form.tensors:
        del form.tensors[random.randrange(len(form.tensors))]
    if random.random() < 0.3:
        form.tensors, form.content = [], bytearray()


@of_form
def add_tensor(form: Form, random: Random) -> None:
    size = random.choice([0, 4, 8])
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [len(form.content), len(form.content) + size]}
    form.content += bytes(size)
    name = random.choice([*TEXTS, "encoder.layers.99.weight", "decoder.extra", "objective.beta"])
    form.tensors.append((name, random.choice([entry, entry, entry, {**entry, "extra": 1}, {}, None, [], "F32", 4])))


@of_form
def exchange_tensors(form: Form, random: Random) -> None:
    names = [name for name, _ in form.tensors]
    entries = [entry for _, entry in form.tensors]
    random.shuffle(random.choice([names, entries]))
    form.tensors = list(zip(names, entries, strict=True))


@of_form
def poison(form: Form, random: Random) -> None:
    """Put in what no weight may be, or what any weight may be."""
    if len(form.content) >= 4:
        start = 4 * random.randrange(len(form.content) // 4)
        value = random.choice([math.nan, math.inf, -math.inf, -0.0, 1e-45, 3e38, 0.5])
        form.content[start : start + 4] = struct.pack("<f", value)


@of_form
def scramble(form: Form, random: Random) -> None:
    form.content[:] = random.randbytes(len(form.content))


@of_form
def cut_content(form: Form, random: Random) -> None:
    if random.random() < 0.5:
        del form.content[random.randrange(len(form.content) + 1) :]
    else:
        form.content += bytes(random.choice([1, 4, 4096]))


# The record


@of_record
def change_value(form: Form, random: Random) -> None:
    places = _places(form.record)
    if places:
        _put(form.record, random.choice(places), _any_value(random))


@of_record
def remove_value(form: Form, random: Random) -> None:
    places = _places(form.record)
    if places:
        *path, last = random.choice(places)
        inside = _get(form.record, path)
        del inside[last]


@of_record
def add_value(form: Form, random: Random) -> None:
    objects = [
        form.record,
        *(value for place in _places(form.record) if isinstance(value := _get(form.record, place), dict)),
    ]
    inside = random.choice(objects)
    if isinstance(inside, dict):
        inside[random.choice([*TEXTS, "hidden", "width", "depth", "history", "resume"])] = _any_value(random)


@of_record
def exchange_values(form: Form, random: Random) -> None:
    places = _places(form.record)
    if places:
        one, other = random.choice(places), random.choice(places)
        _put(form.record, one, copy.deepcopy(_get(form.record, other)))


@of_record
def change_option(form: Form, random: Random) -> None:
    """Set options to what no one would, of built-ins with bounds and of a plugin without."""
    part = random.choice([*PARTS, ["encoder"]])
    option = random.choice(["hidden", "width", "depth", "sizes", "table", "cells", "name", "beta", "root"])
    values = [
        *NUMBERS, *TEXTS, None, True, [], [8], [3], [8] * 9, [0], [10**9], [8] * 5000, ["x"] * 500, [[8]], {},
        {"out": 4}, {"out": -1}, {"out": 10**9}, {"out": "x"}, {"out": []}, {"a": {"b": []}},
    ]  # fmt: skip
    _put(form.record, ["config", *part, "options", option], random.choice(values))


@of_record
def change_sizes(form: Form, random: Random) -> None:
    place = random.choice(
        [["config", "latent_dim"], SHAPE, [*SHAPE, 0], [*SHAPE, 1], ["config", "seed"], ["data", "train_count"]]
    )
    shapes = [[65_536] * 3, [10**9] * 3, [1, 1024, 1024], [1, 0, 16], [3, 16, 16], [16, 16], [], [1] * 4]
    _put(form.record, place, random.choice(shapes if place == SHAPE else NUMBERS))


@of_record
def change_component(form: Form, random: Random) -> None:
    number = random.randrange(len(PARTS))
    place = random.choice(["name", "distribution", "version", "kind"])
    name = random.choice([*TEXTS, *KINDS])
    _put(form.record, ["components", number, place], name)
    if random.random() < 0.7:  # as the config says it too
        _put(form.record, ["config", *PARTS[number], "name"], name)
    if random.random() < 0.2:
        _put(form.record, ["config", *PARTS[number], "options"], {})


@of_record
def change_number_of_components(form: Form, random: Random) -> None:
    """Drop components, or say some again, in the config, in the list of components or in both."""
    number = random.randrange(len(PARTS))
    lists = [["components"], ["config", "distortion"]]
    for place in random.choice([lists[:1], lists[1:], lists]):
        parts = _get(form.record, place)
        if isinstance(parts, list) and parts:
            part = parts[number % len(parts)]
            parts[:] = random.choice([[], parts[:-1], [*parts, part], [part] * 40, parts[::-1], [part] * 3000])


@of_record
def change_distortion(form: Form, random: Random) -> None:
    """Say another sum of distortions: unknown, of logits, without a weight, with one that no one would choose."""
    names = [*TEXTS, "mse", "l1", "bernoulli"]
    terms = [{"name": random.choice(names), "weight": random.choice([*NUMBERS, *TEXTS, None])} for _ in range(2)]
    sums = [["config", *DISTORTION, "weight"], ["config", *DISTORTION], ["config", "distortion"]]
    texts = ["mse", "l1+0.1*mse", "mse+" * 5000, "9" * 5000 + "*mse", *TEXTS]
    _put(form.record, random.choice(sums), random.choice([*NUMBERS, *texts, None, {}, [], terms, terms[:1], [terms]]))


@of_record
def change_classes(form: Form, random: Random) -> None:
    """Say other classes, of which a conditional model's decoder is told."""
    classes = [[], ["a"], ["a"] * 2, ["a"] * 9999, ["a"] * 10_001, [""], ["x" * 101], [3], [[]], "abc", {}, None, TEXTS]
    _put(form.record, ["data", "classes"], random.choice([*classes, *NUMBERS]))
    _put(form.record, ["config", "conditional"], random.choice([True, True, False, *NUMBERS, *TEXTS, None]))
    if random.random() < 0.5:
        _put(form.record, ["config", "label_dropout"], random.choice([*NUMBERS, *TEXTS, None]))


@of_record
def change_version(form: Form, random: Random) -> None:
    _put(form.record, ["format_version"], random.choice([*NUMBERS, *TEXTS, None, True, [1]]))


@of_record
def replace_record(form: Form, random: Random) -> None:
    form.record = random.choice(
        [[], {}, None, 3, "text", [form.record], {"autoencoder_zoo": form.record}, Text(""), Text("{")]
    )


# Bombs: as large as a header may be


@bomb
def pad_header(form: Form, random: Random) -> None:
    size = random.choice([HEADER_LIMIT - 3000, HEADER_LIMIT + 10, 10**7])
    form.edits.append(lambda text: text + " " * size)


@bomb
def many_values(form: Form, random: Random) -> None:
    """Fill the header with small values: as many as are let pass, or as fit."""
    unit = random.choice(["[]", "{}", '{"a":1}', "300", "1.5", '"ab"', "null", "1e999", '"' + "😀" * 5 + '"'])
    count = random.choice([60_000, 100_000, 190_000, HEADER_LIMIT // (len(unit) + 4)])
    values = Text("[" + ",".join([unit] * count) + "]")
    _blow_up(form, random, values)


@bomb
def many_names(form: Form, random: Random) -> None:
    count = random.choice([40_000, 90_000, 250_000])
    value = random.choice(["0", '"x"', "[]", "null", "{}"])
    _blow_up(form, random, Text("{" + ",".join(f'"{number:x}":{value}' for number in range(count)) + "}"))


@bomb
def long_text(form: Form, random: Random) -> None:
    size = HEADER_LIMIT - 8000
    text = random.choice(["a" * size, "😀" * (size // 4), "\n" * (size // 4), "9" * size, "8," * 90_000])
    if random.random() < 0.5:
        _blow_up(form, random, text)
    else:
        number = random.randrange(len(PARTS))
        part = PARTS[number]
        place = random.choice([["config", *part, "options"], ["config", *part], ["components", number], ["data"], []])
        inside = _get(form.record, place)
        inside[text] = 1


@bomb
def many_tensors(form: Form, random: Random) -> None:
    end = len(form.content)
    entry = random.choice([f'{{"dtype":"F32","shape":[0],"data_offsets":[{end},{end}]}}', "{}", "0"])
    form.tensors += [(f"{number:x}", Text(entry)) for number in range(random.choice([5000, 14_000, 60_000]))]


@bomb
def many_entries(form: Form, random: Random) -> None:
    value = random.choice(["0", '""', "[]"])
    form.metadata += [(f"{number:x}", Text(value)) for number in range(random.choice([5000, 90_000]))]


@bomb
def many_dimensions(form: Form, random: Random) -> None:
    _entry(form, random)["shape"] = [random.choice([1, 0, 2])] * random.choice([10_000, 190_000, 10**6])


@bomb
def sparse(form: Form, random: Random) -> None:
    form.content += bytes(random.choice([10**6, 5 * 10**7]))


def _blow_up(form: Form, random: Random, value: Any) -> None:
    """Put a large value where the reader meets it early, late or last."""
    place = random.choice(
        [
            ["x"], ["test_metrics"], ["versions"], ["components"], ["data"], SHAPE, ["history"], ["history", 0],
            ["epoch"], ["components", ENCODER], ["components", ENCODER, "x"], ["test_metrics", "x"],
            ["config", "encoder", "options", "hidden"], ["config", "encoder", "options", "sizes"],
            ["config", "encoder", "options", "table"], ["config", "encoder", "options", "name"],
            ["config", "encoder", "options"], ["config", "dataset", "options"], ["config", "encoder"], ["config"],
            ["components", ENCODER, "version"], ["components", ENCODER, "name"],
            ["data", "classes"], ["config", "distortion"], ["config", *DISTORTION, "options"],
            ["history", 0, "losses"], ["config", "milestones"],
        ]
    )  # fmt: skip
    if random.random() < 0.25:
        form.tensors.append(("x", value))
    else:
        _put(form.record, place, value)


# Helpers


def _entry(form: Form, random: Random) -> dict[str, Any]:
    """Return a tensor's entry, to be changed."""
    entries = [entry for _, entry in form.tensors if isinstance(entry, dict)]
    return random.choice(entries) if entries else {}


def _offsets(entry: dict[str, Any]) -> tuple[int, int]:
    match entry.get("data_offsets"):
        case [int(start), int(end)]:
            return start, end
    return 0, 0


def _any_value(random: Random) -> Any:
    others: list[Any] = [None, True, False, [], {}, [[]], [8] * 1000, {"a": {}}, {"name": "mlp", "options": {}}]
    return random.choice(random.choice([NUMBERS, TEXTS, others]))


def _text_edit(random: Random) -> Callable[[str], str]:
    """Return an edit of JSON text: most make it something else than JSON."""
    where, kind = random.random(), random.randrange(10)
    inserted = random.choice(
        [
            *'{}[]:,"\\0-+eE. \n\t\0',
            "\ufeff",
            "//",
            "/**/",
            "'",
            "NaN",
            "Infinity",
            "\\ud800",
            "\\u0000",
            "\ud800",
            "null",
            "é",
        ]
    )
    number = random.choice(
        ["NaN", "-Infinity", "1e999", "-0", "0x10", "1_0", "01", "+1", "9" * 5000, "1.", ".5", "1E+2"]
    )

    def edit(text: str) -> str:
        place = int(where * len(text))
        match kind:
            case 0:
                return text + random.choice([" ", "\n", "\0", "}", "x", " " * 100])
            case 1:
                return random.choice([" ", "\n", "\ufeff", "\0"]) + text
            case 2 | 3:
                return text[:place] + inserted + text[place:]
            case 4:
                return text[:place] + text[place + 1 :]
            case 5:
                return text[:place] + inserted + text[place + 1 :]
            case 6 | 7:
                numbers = list(re.finditer(r"(?<=[:\[,])-?\d+(\.\d+)?", text))
                if not numbers:
                    return text
                match = numbers[int(where * len(numbers))]
                return text[: match.start()] + number + text[match.end() :]
            case 8:
                return text.replace('"', "'") if where < 0.2 else text.replace(":", ": ").replace(",", ", ")
            case _:
                return re.sub(r"[a-z]", lambda letter: f"\\u{ord(letter[0]):04x}", text) if where < 0.5 else text[::-1]

    return edit


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[list[Any]]:
    """Return the path of every value in nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ([*path, key], *_places(inner, (*path, key)))]


def _get(value: Any, path: list[Any]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return {}
    return value


def _put(record: Any, path: list[Any], value: Any) -> bool:
    """Set `record[key][key]… = value`, and say whether there was such a place."""
    inside = _get(record, path[:-1])
    try:
        inside[path[-1]] = value
    except (KeyError, IndexError, TypeError):
        return False
    return True
