"""Images keep their values, splits do not overlap, and order is a function of seed and epoch alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

import zoo
from zoo import ConfigError, PluginError, data
from zoo.data import (
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
    """Return them, and the places of all of them."""
    return blank(count), torch.arange(count)


def batches(loader: DataLoader[Span], size: int, epoch: int = 0) -> list[list[int]]:
    """Return the indices of an epoch's images, a list a batch."""
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [batch.tolist() for span in loader for batch in split_joined(span.places, size)]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


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
    first, last = dataset[torch.tensor([7, 3, 7, 1, 0])].batches(3)
    assert torch.equal(first, dataset.images[[7, 3, 7]].float() / 255)
    assert torch.equal(last, dataset.images[[1, 0]].float() / 255)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 128])
@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("count", range(1, 15))
def test_no_batch_has_one_image_unless_all_have(count, size, together, monkeypatch):
    dataset = ImageDataset(torch.arange(count, dtype=torch.uint8).expand(16, 4, count).permute(2, 1, 0)[:, None], None)
    monkeypatch.setattr(data, "FETCHED_BYTES", together * size * 4 * 64)
    batches = list(dataset[torch.arange(count)].batches(size))
    sizes = [len(batch) for batch in batches]
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
        sizes = [len(batch) for span in loader for batch in span.batches(12 // world_size)]
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
    places = torch.randperm(len(images))
    batches = list(ImageDataset(images, torch.zeros(len(images)))[places].batches(size))
    assert [len(batch) for batch in batches] == [size] * 20 + [3]
    assert torch.equal(torch.cat(batches), to_float(images[places]))
    assert all(4 * batch.storage_offset() % 256 == 0 for batch in batches)
    assert len({batch.untyped_storage().data_ptr() for batch in batches}) == math.ceil(21 / together)
    weight = torch.ones(shape, requires_grad=True)
    for batch in batches[:2]:  # as an encoder may do that adds what it learns to its images in place
        batch.add_(weight).sum().backward()
    assert torch.equal(batches[2], to_float(images[places[2 * size : 3 * size]]))
    assert torch.equal(weight.grad, torch.full(shape, 2.0 * size))


def test_images_lie_on_the_device_that_trains_where_they_take_up_to_half_of_its_memory(monkeypatch):
    dataset = blank(10)
    elsewhere = on_device(dataset, torch.device("meta"))
    (batch,) = elsewhere[torch.tensor([3, 4])].batches(2)
    assert (elsewhere.images.device.type, batch.device.type, len(elsewhere.labels)) == ("meta", "meta", 10)
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
