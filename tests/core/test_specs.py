"""Specs are frozen, hashable, and refuse malformed fields with a message that names them."""

import dataclasses

import pytest

from zoo import DatasetSpec, DecoderSpec, EncoderSpec, ObjectiveSpec
from zoo.specs import KINDS

PLAIN = {"name": "patch", "target": "zoo_patch.networks:PatchEncoder", "summary": "Patches"}
DATASET = PLAIN | {
    "image_shape": (1, 28, 28),
    "splits": {"train": 60, "test": 10},
    "licence": "CC0-1.0",
    "credit": "Somebody",
}
SPECS = [EncoderSpec(**PLAIN), DecoderSpec(**PLAIN), ObjectiveSpec(**PLAIN), DatasetSpec(**DATASET)]


def test_there_is_a_spec_for_every_kind():
    assert tuple(spec.kind for spec in SPECS) == KINDS


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_a_spec_cannot_be_changed(spec):
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_equal_specs_are_one_member_of_a_set(spec):
    assert len({spec, dataclasses.replace(spec)}) == 1


def test_specs_of_two_kinds_differ_though_their_fields_are_equal():
    assert EncoderSpec(**PLAIN) != DecoderSpec(**PLAIN)


@pytest.mark.parametrize("name", ["conv", "conv-2", "conv_2", "conv.2", "2d", "x" * 64])
def test_a_name_is_lower_case_letters_and_digits(name):
    assert EncoderSpec(**PLAIN | {"name": name}).name == name


@pytest.mark.parametrize(
    "name", ["", "Conv", "conv ", "conv\n", "-conv", "conv-", "co--nv", "a:b", "a/b", "é", "x" * 65, 3, None], ids=repr
)
def test_another_name_is_refused(name):
    with pytest.raises(ValueError, match=r"^name "):
        EncoderSpec(**PLAIN | {"name": name})


@pytest.mark.parametrize(
    "target",
    ["", "package.module", "package:a.b", "package:", ":Name", "pack age:Name", "../up:Name", "a:b\n", 3],
    ids=repr,
)
def test_a_target_that_is_no_module_and_attribute_is_refused(target):
    with pytest.raises(ValueError, match=r"^target "):
        EncoderSpec(**PLAIN | {"target": target})


@pytest.mark.parametrize("summary", ["", " ", "two\nlines", "\x1b[31mred", None], ids=repr)
def test_a_summary_that_is_no_line_of_text_is_refused(summary):
    with pytest.raises(ValueError, match=r"^summary "):
        EncoderSpec(**PLAIN | {"summary": summary})


@pytest.mark.parametrize(
    "image_shape", [(28, 28), (1, 28, 0), (1, 28, 28.0), (True, 28, 28), [1, 28, 28], "abc", 28, None], ids=repr
)
def test_an_image_shape_that_is_not_three_positive_sizes_is_refused(image_shape):
    with pytest.raises(ValueError, match=r"^image_shape "):
        DatasetSpec(**DATASET | {"image_shape": image_shape})


@pytest.mark.parametrize(
    "splits",
    [{}, {"train": 60}, {"test": 10}, {"train": 60, "test": 0}, {"train": 60, "test": "10"}, ["train", "test"], None],
    ids=repr,
)
def test_splits_without_the_sizes_of_train_and_test_are_refused(splits):
    with pytest.raises(ValueError, match=r"^splits "):
        DatasetSpec(**DATASET | {"splits": splits})


def test_a_dataset_may_have_more_splits():
    assert DatasetSpec(**DATASET | {"splits": {"train": 60, "test": 10, "extra": 5}}).splits["extra"] == 5


@pytest.mark.parametrize("field", ["licence", "credit"])
@pytest.mark.parametrize("value", ["", " ", None], ids=repr)
def test_a_dataset_without_licence_or_credit_is_refused(field, value):
    with pytest.raises(ValueError, match="licence"):
        DatasetSpec(**DATASET | {field: value})
