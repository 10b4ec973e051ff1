"""Checks of datasets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from zoo.contract.specs import DatasetSpec
from zoo.data.items import is_map_style, item_of, require_map_style
from zoo.data.splits import ImageDataset, load_split
from zoo.errors import DatasetError, PluginError
from zoo.testing.check import Failed, NotApplicable, Subject, check, described, require

_UNREADABLE = "its splits cannot be read as declared"
_PLACEHOLDERS = {"todo", "tbd", "unknown", "none", "n/a", "?", "...", "…", "licence", "license", "credit"}


@check("dataset", cause="files that are not where the options say; `--set dataset.OPTION=VALUE` says another place")
def readable(subject: Subject) -> None:
    """Every split can be read, to its last image."""
    component, values = subject.component, subject.values
    for split in _splits(subject):
        where = f"split '{split}'"
        try:
            source = component.build(split, options=values)
            for index in range(len(source) if is_map_style(source) else 0):
                where = f"split '{split}', item {index},"
                source[index]
        except Exception as error:
            what = str(error) if isinstance(error, DatasetError) else described(error)
            raise Failed(f"{where} cannot be read: {what}", "files that can be read") from error


@check("dataset", cause="a generator, an iterable dataset, or items that are dicts or lack a label")
def map_style(subject: Subject) -> None:
    """It is map-style: it has a length, and gives an image and a label for an index."""
    component, values = subject.component, subject.values
    where = f"{subject.component}, split 'test'"
    try:
        source = component.build("test", options=values)
        require_map_style(source, where)
        if len(source):
            item_of(source, 0, where)
    except Exception as error:
        require(readable, subject, _UNREADABLE)
        if isinstance(error, PluginError):
            raise Failed(str(error), "a map-style dataset of an image and its label for each index") from error
        raise


@check(
    "dataset",
    cause="a spec that was not updated with the files, or a dataset of torchvision without transform=PILToTensor()",
)
def splits_as_declared(subject: Subject) -> None:
    """Every split has the declared number of images, of the declared shape, uint8, with a label each."""
    values = subject.values
    for split in _splits(subject):
        try:
            load_split(subject.component, values, split)
        except Exception as error:
            require(readable, subject, _UNREADABLE)
            require(map_style, subject, _UNREADABLE)
            if isinstance(error, PluginError):
                raise Failed(str(error), "what the spec declares") from error
            raise


@check("dataset", cause="images scaled to [0, 1] before they were cast to uint8")
def pixels_span_bytes(subject: Subject) -> None:
    """Pixels are 0 to 255, not 0 to 1."""
    brightest = int(_load(subject, "train").images.max())
    if brightest <= 1:
        raise Failed(f"the brightest pixel is {brightest}", "0 to 255")


@check("dataset", cause="all images read into one buffer, or a path that is opened over and over")
def images_differ(subject: Subject) -> None:
    """The images are not all the same."""
    images = _load(subject, "train").images
    if len(images) > 1 and bool((images == images[:1]).all()):
        raise Failed(f"all {len(images)} training images are equal", "different ones")


@check("dataset", cause="files listed without sorting, or a shuffle without a seed of its own")
def same_order_each_time(subject: Subject) -> None:
    """Read twice, a split holds the same images and labels in the same order."""
    first, second = _load(subject, "train"), _load(subject, "train")
    for what, one, two in (("images", first.images, second.images), ("labels", first.labels, second.labels)):
        if not torch.equal(one, two):
            raise Failed(f"the {what} differ between two readings", "the same ones in the same order")


@check("dataset", cause="splits cut at random, or the same files listed for both")
def splits_disjoint(subject: Subject) -> None:
    """No test image is a training image."""
    train = {hashlib.sha256(image.numpy().tobytes()).digest() for image in _load(subject, "train").images}
    test = _load(subject, "test").images
    shared = sum(hashlib.sha256(image.numpy().tobytes()).digest() in train for image in test)
    if shared:
        raise Failed(f"{shared} of {len(test)} test images are training images too", "none")


@check("dataset", cause="-1 or another stand-in where a label is missing; 0 for all is the way to say `none`")
def labels_valid(subject: Subject) -> None:
    """Labels are whole numbers from 0, and the test split has none that training lacks."""
    train, test = (_load(subject, split).labels for split in ("train", "test"))
    lowest = min(int(train.min()), int(test.min()))
    if lowest < 0:
        raise Failed(f"a label is {lowest}", "0 and up")
    for seen, tested in zip(train.reshape(len(train), -1).T, test.reshape(len(test), -1).T, strict=True):  # by factor
        if unseen := sorted(set(tested.tolist()) - set(seen.tolist())):
            raise Failed(f"test labels {unseen[:5]} never occur in training", "labels that training has")


@check("dataset", cause="a name that was forgotten, or labels that begin with 1", since="0.2")
def classes_name_labels(subject: Subject) -> None:
    """Where the spec names the classes, every label has a name."""
    if not (classes := _spec(subject).classes):
        raise NotApplicable("it names no classes")
    highest = max(int(_load(subject, split).labels.max()) for split in ("train", "test"))
    if highest >= len(classes):
        raise Failed(f"a label is {highest}, and {len(classes)} classes are named", "labels below their number")


@check("dataset", cause="a download that does not look for its own files first")
def works_offline_once_cached(subject: Subject) -> None:
    """Once it has been read, it can be read with no network."""
    _load(subject, "test")
    with _no_network():
        load_split(subject.component, subject.options, "test")


@check("dataset", cause="a network or file error that is passed on as it is")
def says_when_it_cannot_be_had(subject: Subject) -> None:
    """With an empty cache and no network it works, or raises `zoo.DatasetError`."""
    _load(subject, "test")
    with tempfile.TemporaryDirectory() as empty:
        places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TORCH_HOME", "HF_HOME"), empty)
        with mock.patch.dict(os.environ, places), _no_network(), contextlib.suppress(DatasetError):
            load_split(subject.component, subject.options, "test")


@check("dataset", cause="a placeholder from a template")
def licence_and_credit(subject: Subject) -> None:
    """The licence and whom to credit are stated."""
    spec = _spec(subject)
    for what, text in (("licence", spec.licence), ("credit", spec.credit)):
        if text.strip().lower() in _PLACEHOLDERS:
            raise Failed(f"the {what} is {text!r}", "the data's own")


@check("dataset", cause="`torch.manual_seed` or `np.random.seed` called while reading")
def reading_leaves_randomness_alone(subject: Subject) -> None:
    """Reading neither seeds a global generator nor draws from one."""
    before = _random_states()
    _load(subject, "test")
    if _random_states() != before:
        raise Failed("a global random state changed", "a generator of the dataset's own")


def _spec(subject: Subject) -> DatasetSpec:
    spec = subject.component.spec
    assert isinstance(spec, DatasetSpec)
    return spec


def _splits(subject: Subject) -> tuple[str, ...]:
    """Return the names of the splits: `train` and `test` where options or files decide the others."""
    return tuple(_spec(subject).splits or ("train", "test"))


def _load(subject: Subject, split: str) -> ImageDataset:
    """Read a split; where that fails, `readable`, `map_style` or `splits_as_declared` tells."""
    values = subject.values
    try:
        return load_split(subject.component, values, split)
    except Exception as error:
        raise NotApplicable(_UNREADABLE) from error


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is switched off by a contract test")

    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
        yield


def _random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()
