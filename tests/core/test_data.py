"""Images keep their values, splits do not overlap, and order is a function of seed and epoch alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torchvision.transforms import ToTensor

import zoo
from zoo import ConfigError, PluginError
from zoo.contract.registry import Component, Plugin
from zoo.data import splits as data
from zoo.data.items import tensors_of
from zoo.data.splits import (
    ImageDataset,
    Span,
    batches_an_epoch,
    derive_seed,
    evaluation_loader,
    load_split,
    on_device,
    split_joined,
    split_validation,
    to_float,
    training_loader,
)


def blank(count: int) -> ImageDataset:
    """Return blank images."""
    return ImageDataset(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))


def images(count: int) -> tuple[ImageDataset, torch.Tensor]:
    """Return them, and the indices of all of them."""
    return blank(count), torch.arange(count)


def batches(loader: DataLoader[Span], size: int, epoch: int = 0) -> list[list[int]]:
    """Return the indices of an epoch's images, a list a batch."""
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [batch.tolist() for span in loader for batch in split_joined(span.indices, size)]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


# What users ask for


def test_a_dataset_is_loaded_by_its_name() -> None:
    dataset = zoo.load_dataset("mnist", "test")
    assert (dataset.images.dtype, dataset.images.shape) == (torch.uint8, (10_000, 1, 28, 28))
    assert (dataset.labels.dtype, dataset.labels.shape) == (torch.int64, (10_000,))
    # Read off the files of LeCun and Cortes: the sum of all test pixels, and the first labels.
    assert int(dataset.images.sum(dtype=torch.int64)) == 264_923_200
    assert dataset.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_a_dataset_is_loaded_with_its_options() -> None:
    assert len(zoo.load_dataset("tiny", "test", broken=False)) == 128
    with pytest.raises(PluginError, match="must hold uint8 images"):
        zoo.load_dataset("tiny", "test", broken=True)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "complaint"),
    [
        (("mnits", "test"), {}, zoo.UnknownComponentError, r"No dataset 'mnits'\. Did you mean 'mnist'\?"),
        (("mnist", "valid"), {}, ConfigError, r"dataset 'mnist' has no split 'valid'\. Its splits: train, test\."),
        (("mnist", "test"), {"rot": "x"}, ConfigError, r"Unknown option 'dataset\.rot'\. Did you mean 'root'\?"),
    ],
)
def test_a_dataset_that_cannot_be_loaded_is_refused(
    arguments: tuple[str, str], options: dict[str, str], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        zoo.load_dataset(*arguments, **options)


def test_a_dataset_shows_its_shapes_types_and_labels() -> None:
    dataset = ImageDataset(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([4, 0, 9]))
    assert repr(dataset) == "ImageDataset(images=uint8 (3, 1, 2, 2), labels=int64 (3,) from 0 to 9)"
    assert repr(blank(0)) == "ImageDataset(images=uint8 (0, 1, 2, 2), labels=int64 (0,))"


def test_an_item_of_a_dataset_is_an_image_and_its_label() -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    items = list(ImageDataset(pixels, torch.tensor([4, 0, 9])))
    assert [label for _, label in items] == [4, 0, 9]
    assert torch.equal(torch.stack([image for image, _ in items]), pixels)


def test_a_dataset_works_with_pytorchs_loader() -> None:
    dataset = ImageDataset(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))
    batches = [(tuple(images.shape), labels.tolist()) for images, labels in DataLoader(dataset, batch_size=3)]
    assert batches == [((3, 1, 2, 2), [0, 1, 2]), ((2, 1, 2, 2), [3, 4])]


# Values


def test_floats_are_totensors_bit_for_bit() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = ToTensor()(pixels)
    assert torch.equal(to_float(torch.from_numpy(pixels)[None]), expected)


def test_turning_pixels_into_floats_leaves_them_as_they_are() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8)
    to_float(pixels)
    assert pixels.tolist() == [0, 128, 255]


def test_a_span_gives_its_images_batch_by_batch_as_floats() -> None:
    dataset = load_split(zoo.installed().get("dataset", "tiny"), {}, "test")
    given_out = list(Span(dataset, torch.tensor([7, 3, 7, 1, 0])).batches(3))
    for (images, labels), indices in zip(given_out, ([7, 3, 7], [1, 0]), strict=True):
        assert torch.equal(images, dataset.images[indices].float() / 255)
        assert torch.equal(labels, dataset.labels[indices])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 128])
@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("count", range(1, 15))
def test_no_batch_has_one_image_unless_all_have(count, size, together, monkeypatch):
    dataset = ImageDataset(
        torch.arange(count, dtype=torch.uint8).expand(16, 4, count).permute(2, 1, 0)[:, None], torch.arange(count)
    )
    monkeypatch.setattr(data, "FETCHED_BYTES", together * size * 4 * 64)
    batches, labels = zip(*Span(dataset, torch.arange(count)).batches(size), strict=True)
    sizes = [len(batch) for batch in batches]
    assert [len(each) for each in labels] == sizes
    assert torch.equal(torch.cat(labels), dataset.labels)
    expected = [size] * (count // size) + [count % size] * (count % size > 0)
    if expected[-1] == 1 and size > 1 and len(expected) > 1:
        expected[-2:] = [size + 1]
    assert sizes == expected
    assert torch.equal(torch.cat(batches), to_float(dataset.images))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batches_a_span", [1, 2, 64])
@pytest.mark.parametrize("count", [13, 24, 25, 26, 27, 28, 49, 50, 51])
def test_each_process_has_the_batches_that_are_counted_and_none_of_one_image(
    count, batches_a_span, world_size, monkeypatch
):
    monkeypatch.setattr(data, "SPAN_BATCHES", batches_a_span)
    for rank in range(world_size):
        loader = training_loader(*images(count), 12, 0, world_size=world_size, rank=rank)
        sizes = [len(images) for span in loader for images, _ in span.batches(12 // world_size)]
        assert len(sizes) == batches_an_epoch(loader, 12 // world_size)
        assert sum(sizes) == count // world_size
        assert 1 not in sizes
        assert len(loader) == len(list(loader))


@pytest.mark.parametrize(
    ("shape", "size", "together"),
    [((1, 28, 28), 64, 5), ((1, 28, 28), 63, 1), ((1, 28, 28), 256, 1), ((3, 64, 64), 8, 2), ((1, 3, 5), 7, 1)],
)
def test_batches_are_fetched_together_where_all_lie_alike_in_memory_and_none_is_changed_with_another(
    shape, size, together
):
    images = torch.randint(256, (20 * size + 3, *shape), dtype=torch.uint8)
    indices = torch.randperm(len(images))
    labels = torch.arange(len(images))
    batches, given_labels = zip(*Span(ImageDataset(images, labels), indices).batches(size), strict=True)
    assert torch.equal(torch.cat(given_labels), labels[indices])
    assert [len(batch) for batch in batches] == [size] * 20 + [3]
    assert torch.equal(torch.cat(batches), to_float(images[indices]))
    assert all(4 * batch.storage_offset() % 256 == 0 for batch in batches)
    assert len({batch.untyped_storage().data_ptr() for batch in batches}) == math.ceil(21 / together)
    weight = torch.ones(shape, requires_grad=True)
    for batch in batches[:2]:  # as an encoder may do that adds what it learns to its images in place
        batch.add_(weight).sum().backward()
    assert torch.equal(batches[2], to_float(images[indices[2 * size : 3 * size]]))
    assert torch.equal(weight.grad, torch.full(shape, 2.0 * size))


def test_images_lie_on_the_device_that_trains_where_they_take_up_to_half_of_its_memory(monkeypatch):
    dataset = blank(10)
    elsewhere = on_device(dataset, torch.device("meta"))
    ((batch, labels),) = Span(elsewhere, torch.tensor([3, 4])).batches(2)
    assert (elsewhere.images.device.type, batch.device.type, len(elsewhere.labels)) == ("meta", "meta", 10)
    assert labels.device.type == "meta"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10 * 4 - 1, 1 << 40))
    assert on_device(dataset, torch.device("cuda")) is dataset


def test_fewer_validation_images_than_processes_are_refused():
    message = r"leaves fewer validation images than the 3 processes share: --validation-fraction 0.03 or more\.$"
    with pytest.raises(ConfigError, match=message):
        evaluation_loader(blank(100), torch.arange(2), world_size=3, rank=0)


# Splits


def test_a_split_is_what_the_dataset_gives() -> None:
    component = zoo.installed().get("dataset", "tiny")
    images, labels = component.load()("test").tensors
    dataset = load_split(component, {}, "test")
    assert torch.equal(dataset.images, images)
    assert torch.equal(dataset.labels, labels)


def test_a_dataset_of_pairs_is_read_item_by_item() -> None:
    component = zoo.installed().get("dataset", "tiny-colour")
    pairs = component.load()("test")
    dataset = load_split(component, {}, "test")
    assert dataset.images.shape == (128, 3, 17, 20)
    assert torch.equal(dataset.images[5], pairs[5][0])
    assert dataset.labels.tolist() == [label for _, label in pairs]


def test_a_dataset_that_breaks_its_word_is_refused() -> None:
    component = zoo.installed().get("dataset", "tiny")
    with pytest.raises(
        PluginError, match=r"dataset 'tiny', split 'train', must hold uint8 images .*got torch\.float32"
    ):
        load_split(component, {"broken": True}, "train")


# What a dataset's target gives: right items, and mistakes


SHAPE, COUNT = (1, 4, 5), 3
IMAGE = torch.arange(20, dtype=torch.uint8).reshape(SHAPE)
PIL_IMAGE = Image.fromarray(IMAGE[0].numpy())


class Streamed(IterableDataset):
    def __iter__(self):
        return iter([(IMAGE, 0)] * COUNT)


class StreamedWithLength(Streamed):
    def __len__(self):
        return COUNT


class Raising(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if index == 2:
            raise self.error
        return IMAGE, 0


def given(source: object, split: str = "train") -> ImageDataset:
    """Load a dataset whose target gives this object, or raises this exception."""

    class Given(Component):
        def load(self):
            def target(split: str):
                if isinstance(source, Exception):
                    raise source
                return source

            return target

    spec = zoo.DatasetSpec(
        name="given", target="nowhere:target", summary="Given", image_shape=SHAPE,
        splits={"train": COUNT, "test": COUNT}, licence="CC0-1.0", credit="Nobody",
    )  # fmt: skip
    return load_split(Given(spec, Plugin("given", "nowhere", "zoo-given", "1.0")), {}, split)


def items(last: object) -> list[object]:
    """Return right items but for the last one."""
    return [(IMAGE, 0), (IMAGE, 1), last]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (7, 7),
        (-1, -1),
        (True, 1),
        (np.int16(7), 7),
        (np.uint64(7), 7),
        (np.bool_(True), 1),
        (np.array(7), 7),
        (torch.tensor(7), 7),
        (torch.tensor(True), 1),
        (torch.tensor(7, dtype=torch.uint8), 7),
    ],
    ids=repr,
)
def test_whole_numbers_of_every_kind_are_labels(label, expected):
    labels = given(items((IMAGE, label))).labels
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, expected]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
def test_label_tensors_of_whole_numbers_are_taken(dtype):
    labels = given(TensorDataset(IMAGE.repeat(COUNT, 1, 1, 1), torch.tensor([0, 1, 1], dtype=dtype))).labels
    assert (labels.dtype, labels.tolist()) == (torch.int64, [0, 1, 1])


def test_images_may_be_arrays_that_are_read_only_or_views():
    whole = np.arange(40, dtype=np.uint8).reshape(1, 4, 10)
    whole.flags.writeable = False
    dataset = given(items((whole[:, ::-1, ::2], 0)))
    assert (dataset.images[2].numpy() == whole[:, ::-1, ::2]).all()


EXPECTED_PAIR = "expected a pair (image, label), with the label 0 for all images where there are none."
EXPECTED_IMAGE = "as its image, expected a torch.uint8 tensor of the shape (1, 4, 5)."
EXPECTED_LABEL = "as its label, expected a whole number."
ARGMAX = " For one-hot labels, give the index of the class: labels.argmax(-1)."

MISTAKES = {
    "PIL": (
        (PIL_IMAGE, 0),
        f"has a PIL image (mode L, 5×4) {EXPECTED_IMAGE} "
        "Pass transform=torchvision.transforms.PILToTensor() to the dataset.",
    ),
    "floats": (
        (IMAGE / 255, 0),
        f"has a torch.float32 tensor of the shape (1, 4, 5) {EXPECTED_IMAGE} "
        "Pixels are bytes, 0 to 255: torchvision's PILToTensor gives them, ToTensor gives floats.",
    ),
    "channels last": (
        (IMAGE.permute(1, 2, 0), 0),
        f"has a torch.uint8 tensor of the shape (4, 5, 1) {EXPECTED_IMAGE} "
        "Channels come first, also where there is one.",
    ),
    "array without channels": (
        (IMAGE[0].numpy(), 0),
        f"has a torch.uint8 tensor of the shape (4, 5) {EXPECTED_IMAGE} Channels come first, also where there is one.",
    ),
    "array of another type": (
        (np.zeros((1, 4, 5), np.uint16), 0),
        f"has a uint16 array of the shape (1, 4, 5) {EXPECTED_IMAGE}",
    ),
    "another size": ((IMAGE[:, 1:], 0), f"has a torch.uint8 tensor of the shape (1, 3, 5) {EXPECTED_IMAGE}"),
    "swapped": ((0, IMAGE), f"has the int 0 {EXPECTED_IMAGE}"),
    "dict": ({"image": IMAGE, "label": 0}, f"is a dict with the keys 'image', 'label', {EXPECTED_PAIR}"),
    "dict of other keys": ({1: 2}, f"is a dict with the keys 1, {EXPECTED_PAIR}"),
    "image alone": (IMAGE, f"is a torch.uint8 tensor of the shape (1, 4, 5), {EXPECTED_PAIR}"),
    "image of two channels alone": (
        IMAGE.repeat(2, 1, 1),
        f"is a torch.uint8 tensor of the shape (2, 4, 5), {EXPECTED_PAIR}",
    ),
    "PIL alone": (PIL_IMAGE, f"is a PIL image (mode L, 5×4), {EXPECTED_PAIR}"),
    "one part": ((IMAGE,), f"is a tuple of 1, {EXPECTED_PAIR}"),
    "three parts": ((IMAGE, 0, "name"), f"is a tuple of 3, {EXPECTED_PAIR}"),
    "text of two letters": ("no", f"is the str 'no', {EXPECTED_PAIR}"),
    "nothing": (None, f"is None, {EXPECTED_PAIR}"),
    "text label": ((IMAGE, "cat"), f"has the str 'cat' {EXPECTED_LABEL} Give each class a number."),
    "no label": ((IMAGE, None), f"has None {EXPECTED_LABEL}"),
    "float label": ((IMAGE, 1.5), f"has the float 1.5 {EXPECTED_LABEL}"),
    "float tensor label": ((IMAGE, torch.tensor(2.0)), f"has the float 2.0 {EXPECTED_LABEL}"),
    "one-hot label": (
        (IMAGE, torch.tensor([0, 1])),
        f"has a torch.int64 tensor of the shape (2,) {EXPECTED_LABEL}{ARGMAX}",
    ),
    "one-hot list": ((IMAGE, [0, 1]), f"has a list of 2 {EXPECTED_LABEL}{ARGMAX}"),
    "label in a list": ((IMAGE, [3]), f"has a list of 1 {EXPECTED_LABEL}"),
    "too large a label": ((IMAGE, 2**63), f"has the int {2**63} {EXPECTED_LABEL}"),
}


@pytest.mark.parametrize(("item", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_item_is_named_with_what_was_found_and_what_is_expected(item, message):
    with pytest.raises(PluginError) as caught:
        given(items(item))
    assert str(caught.value) == f"dataset 'given', split 'train', item 2, {message}"


def test_an_item_whose_reading_fails_is_named():
    with pytest.raises(PluginError) as caught:
        given(Raising(FileNotFoundError(2, "No such file or directory", "2.png")), "test")
    assert str(caught.value) == (
        "dataset 'given', split 'test', item 2, cannot be read: "
        "FileNotFoundError: [Errno 2] No such file or directory: '2.png'."
    )


def test_a_target_that_fails_is_named():
    with pytest.raises(PluginError) as caught:
        given(KeyError("photos"))
    assert str(caught.value) == "dataset 'given', split 'train', cannot be read: KeyError: 'photos'."


@pytest.mark.parametrize("source", [zoo.DatasetError("2.png is gone."), Raising(zoo.DatasetError("2.png is gone."))])
def test_what_a_dataset_says_of_its_files_is_passed_on(source):
    with pytest.raises(zoo.DatasetError, match=r"^2\.png is gone\.$"):
        given(source)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (Streamed(), "an IterableDataset (Streamed)"),
        (StreamedWithLength(), "an IterableDataset (StreamedWithLength)"),
        ((pair for pair in [(IMAGE, 0)] * COUNT), "no map-style dataset (generator)"),
        ({"image": [IMAGE] * COUNT}, "no map-style dataset (dict)"),
        (None, "no map-style dataset (NoneType)"),
    ],
    ids=["iterable", "iterable with length", "generator", "dict", "None"],
)
def test_what_has_no_items_by_index_is_refused(source, what):
    with pytest.raises(PluginError) as caught:
        given(source)
    assert str(caught.value) == (
        f"dataset 'given', split 'train', is {what}, expected one with __len__ and __getitem__, "
        "e.g. torch.utils.data.TensorDataset(images, labels)."
    )


def test_another_number_of_items_than_declared_is_refused():
    with pytest.raises(PluginError, match=r"^dataset 'given', split 'train', holds 4 items, its spec declares 3\.$"):
        given([(IMAGE, 0)] * 4)


@pytest.mark.parametrize(
    ("labels", "found", "remedy"),
    [
        (torch.eye(3, 10, dtype=torch.int64), "torch.int64 (3, 10)", ARGMAX),
        (torch.eye(3, 10), "torch.float32 (3, 10)", ARGMAX),
        (torch.zeros(3, 1, dtype=torch.int64), "torch.int64 (3, 1)", ""),
        (torch.tensor([0.0, 1.0, 2.5]), "torch.float32 (3,)", ""),
        (torch.zeros(3, dtype=torch.complex64), "torch.complex64 (3,)", ""),
    ],
    ids=["one-hot", "one-hot floats", "column", "floats", "complex"],
)
def test_label_tensors_of_anything_but_a_whole_number_an_image_are_refused(labels, found, remedy):
    with pytest.raises(PluginError) as caught:
        given(TensorDataset(IMAGE.repeat(COUNT, 1, 1, 1), labels), "test")
    assert str(caught.value) == (
        "dataset 'given', split 'test', must hold a whole number as the label of each image, shape (3,), "
        f"got {found}.{remedy}"
    )


def test_an_unknown_split_is_refused_with_those_that_are() -> None:
    component = zoo.installed().get("dataset", "tiny")
    with pytest.raises(ConfigError, match=r"has no split 'validation'\. Its splits: train, test\."):
        load_split(component, {}, "validation")


def test_validation_images_are_cut_off_without_overlap_or_loss() -> None:
    train, validation = split_validation(100, 0.1, seed=0)
    assert (len(train), len(validation)) == (90, 10)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(100))


def test_validation_images_are_decided_by_the_seed_alone() -> None:
    _, first = split_validation(100, 0.1, seed=0)
    torch.manual_seed(123)
    _, again = split_validation(100, 0.1, seed=0)
    _, other = split_validation(100, 0.1, seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("count", [2, 3, 36, 100, 54_321])
@pytest.mark.parametrize(
    ("fraction", "lacking"), [(1e-9, "none for validation"), (1 - 1e-9, "none to train on")], ids=["low", "high"]
)
def test_a_fraction_that_leaves_a_part_empty_is_refused_with_one_that_does_not(
    count: int, fraction: float, lacking: str
) -> None:
    expected = rf"^validation_fraction \(--validation-fraction\): {fraction} of {count} images leaves {lacking}: "
    with pytest.raises(ConfigError, match=expected) as caught:
        split_validation(count, fraction, seed=0)
    advice = re.search(r": --validation-fraction (\S+) or (more|less)\.$", str(caught.value))
    assert advice
    parts = split_validation(count, float(advice[1]), seed=0)
    assert min(map(len, parts)) == 1


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_one_image_is_too_few_for_any_fraction(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"^1 training image is too few: "):
        split_validation(1, fraction, seed=0)


# Order


def test_an_epoch_shows_every_image_once() -> None:
    epoch = batches(training_loader(*images(100), 32, seed=0), 32)
    assert [len(batch) for batch in epoch] == [32, 32, 32, 4]
    assert sorted(flat(epoch)) == list(range(100))


@pytest.mark.parametrize("batches_a_span", [1, 2, 3, 4, 1000])
def test_batches_are_the_same_however_many_are_in_a_span(batches_a_span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batches(training_loader(*images(100), 32, seed=0), 32, epoch=5)
    monkeypatch.setattr(data, "SPAN_BATCHES", batches_a_span)
    loader = training_loader(*images(100), 32, seed=0)
    assert len(loader) == math.ceil(4 / batches_a_span)
    assert batches(loader, 32, epoch=5) == expected


@pytest.mark.parametrize(("world_size", "expected"), [(1, 4), (2, 4), (4, 3)])
def test_batches_of_an_epoch_are_counted(world_size: int, expected: int) -> None:
    loader = training_loader(*images(100), 32, 0, world_size=world_size)
    assert batches_an_epoch(loader, 32 // world_size) == len(batches(loader, 32 // world_size)) == expected


def test_order_is_a_function_of_seed_and_epoch() -> None:
    first = training_loader(*images(100), 32, seed=0)
    expected = {epoch: batches(first, 32, epoch) for epoch in (0, 1)}
    torch.manual_seed(123)
    assert {epoch: batches(training_loader(*images(100), 32, seed=0), 32, epoch) for epoch in (1, 0)} == expected


def test_order_differs_between_epochs_and_between_seeds() -> None:
    orders = [batches(training_loader(*images(100), 32, seed), 32, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(order) for order in orders}) == 4


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_see_the_batches_of_one(world_size: int) -> None:
    alone = batches(training_loader(*images(104), 32, seed=0), 32, epoch=3)
    loaders = [training_loader(*images(104), 32, 0, world_size=world_size, rank=rank) for rank in range(world_size)]
    shares = [batches(loader, 32 // world_size, epoch=3) for loader in loaders]
    together = [sorted(flat(parts)) for parts in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in alone]


def test_processes_that_cannot_share_equally_leave_out_less_than_one_image_each() -> None:
    shares = [batches(training_loader(*images(101), 30, 0, world_size=3, rank=rank), 10) for rank in range(3)]
    assert [len(flat(share)) for share in shares] == [33, 33, 33]
    assert len(set(flat(map(flat, shares)))) == 99


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    expected = r"^batch_size \(--batch-size\): 33 cannot be shared equally by 2 processes: --batch-size 34 can\.$"
    with pytest.raises(ConfigError, match=expected):
        training_loader(*images(100), 33, 0, world_size=2)


@pytest.mark.parametrize(("world_size", "most"), [(1, 101), (3, 99)])
def test_a_batch_larger_than_the_dataset_is_refused_with_the_largest_that_is_not(world_size: int, most: int) -> None:
    expected = rf"^batch_size \(--batch-size\): 102 is more than the 101 training .*: --batch-size {most} or less\.$"
    with pytest.raises(ConfigError, match=expected):
        training_loader(*images(101), 102, 0, world_size=world_size)
    loader = training_loader(*images(101), most, 0, world_size=world_size)
    assert batches_an_epoch(loader, most // world_size) == 1


def test_a_batch_as_large_as_the_dataset_is_taken() -> None:
    assert [len(batch) for batch in batches(training_loader(*images(100), 100, 0), 100)] == [100]


def test_evaluation_keeps_the_datasets_order() -> None:
    assert flat(batches(evaluation_loader(*images(600)), 256)) == list(range(600))


def test_processes_evaluate_each_image_once() -> None:
    shares = [flat(batches(evaluation_loader(*images(600), world_size=2, rank=rank), 256)) for rank in range(2)]
    assert sorted(flat(shares)) == list(range(600))


@pytest.mark.parametrize("loader", [training_loader(*images(100), 32, seed=0), evaluation_loader(*images(100))])
def test_iterating_leaves_the_global_random_state_alone(loader: DataLoader[Span]) -> None:
    before = torch.get_rng_state()
    batches(loader, 32)
    assert torch.equal(torch.get_rng_state(), before)


# Seeds


def test_a_derived_seed_is_a_function_of_its_arguments() -> None:
    assert derive_seed(0, "order") == derive_seed(0, "order")
    assert len({derive_seed(0, "order"), derive_seed(1, "order"), derive_seed(0, "val"), derive_seed(0, "val", 1)}) == 4


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_derived_seed_is_one_that_torch_takes(seed: int) -> None:
    assert torch.Generator().manual_seed(derive_seed(seed, "order")).initial_seed() == derive_seed(seed, "order")


# Factors and classes


def test_labels_hold_a_value_of_each_factor_where_factors_are_declared() -> None:
    labels = torch.tensor([[0, 2], [1, 0], [1, 1]])
    images, loaded = tensors_of(TensorDataset(IMAGE.repeat(COUNT, 1, 1, 1), labels), "here", COUNT, SHAPE, 2)
    assert images.shape == (COUNT, *SHAPE)
    assert torch.equal(loaded, labels)
    _, read = tensors_of([(IMAGE, tuple(label)) for label in labels.tolist()], "here", COUNT, SHAPE, 2)
    assert torch.equal(read, labels)


@pytest.mark.parametrize("labels", [torch.zeros(COUNT, dtype=torch.int64), torch.zeros(COUNT, 3, dtype=torch.int64)])
def test_labels_without_a_value_of_each_factor_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(PluginError, match=r"^here, must hold a whole number for each factor of each image"):
        tensors_of(TensorDataset(IMAGE.repeat(COUNT, 1, 1, 1), labels), "here", COUNT, SHAPE, 2)


def test_a_shape_and_a_number_that_are_not_declared_are_the_datas_own() -> None:
    images, _ = tensors_of([(IMAGE, 0)] * 5, "here", None, None)
    assert images.shape == (5, *SHAPE)


@pytest.mark.parametrize("label", [2, [1], (1, 2, 3), "ab", torch.tensor(1), torch.zeros(2, 1, dtype=torch.int64)])
def test_an_item_without_a_value_of_each_factor_is_named(label: object) -> None:
    items = [(torch.zeros(1, 8, 8, dtype=torch.uint8), (0, 1)), (torch.zeros(1, 8, 8, dtype=torch.uint8), label)]
    with pytest.raises(PluginError, match=r"^here, item 1, has .* as its label, expected .* each of 2 factors\.$"):
        tensors_of(items, "here", 2, (1, 8, 8), factors=2)


def test_an_image_has_its_value_of_each_factor() -> None:
    images = data.ImageDataset(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([[0, 1], [2, 3], [4, 5]]))
    assert images[1][1].tolist() == [2, 3]
