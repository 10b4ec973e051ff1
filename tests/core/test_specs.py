"""Specs are frozen, hashable, and refuse malformed fields with a message that names them."""

import dataclasses

import pytest

from zoo import DatasetSpec, DecoderSpec, DistortionSpec, EncoderSpec, ModelSpec, ObjectiveSpec
from zoo.contract.specs import KINDS

PLAIN = {"name": "patch", "target": "zoo_patch.networks:PatchEncoder", "summary": "Patches"}
DATASET = PLAIN | {
    "image_shape": (1, 28, 28),
    "splits": {"train": 60, "test": 10},
    "licence": "CC0-1.0",
    "credit": "Somebody",
}
MODEL = {
    "name": "mnist-patch",
    "file": "zoo_patch:mnist-patch.safetensors",
    "summary": "Digits",
    "command": "zoo train --encoder patch --dataset mnist",
}
SPECS = [
    EncoderSpec(**PLAIN),
    DecoderSpec(**PLAIN),
    ObjectiveSpec(**PLAIN),
    DistortionSpec(**PLAIN),
    DatasetSpec(**DATASET),
    ModelSpec(**MODEL),
]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)


def test_there_is_a_spec_for_every_kind_and_for_models():
    assert tuple(spec.kind for spec in SPECS) == (*KINDS, "model")


@every_spec
def test_a_spec_cannot_be_changed(spec):
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


@every_spec
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
    with pytest.raises(ValueError, match=r"^name "):
        ModelSpec(**MODEL | {"name": name})


def test_a_model_that_is_named_like_a_file_is_refused():
    with pytest.raises(ValueError, match=r"^name .*would read as a file"):
        ModelSpec(**MODEL | {"name": "mnist.safetensors"})


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
    "image_shape", [(28, 28), (1, 28, 0), (1, 28, 28.0), (True, 28, 28), [1, 28, 28], "abc", 28, ()], ids=repr
)
def test_an_image_shape_that_is_not_three_positive_sizes_is_refused(image_shape):
    with pytest.raises(ValueError, match=r"^image_shape "):
        DatasetSpec(**DATASET | {"image_shape": image_shape})


@pytest.mark.parametrize(
    "splits",
    [{}, {"train": 60}, {"test": 10}, {"train": 60, "test": 0}, {"train": 60, "test": "10"}, ["train", "test"], 3],
    ids=repr,
)
def test_splits_without_the_sizes_of_train_and_test_are_refused(splits):
    with pytest.raises(ValueError, match=r"^splits "):
        DatasetSpec(**DATASET | {"splits": splits})


def test_options_or_files_may_decide_about_shape_and_splits():
    spec = DatasetSpec(**DATASET | {"image_shape": None, "splits": None})
    assert (spec.image_shape, spec.splits) == (None, None)


def test_classes_are_different_names():
    assert DatasetSpec(**DATASET).classes == ()
    assert DatasetSpec(**DATASET | {"classes": ("cat", "dog")}).classes == ("cat", "dog")


@pytest.mark.parametrize("classes", [["cat", "dog"], ("cat", "cat"), ("cat", ""), ("cat", 3), "cat", None], ids=repr)
def test_other_classes_are_refused(classes):
    with pytest.raises(ValueError, match=r"^classes of 'patch' must be a tuple of different names"):
        DatasetSpec(**DATASET | {"classes": classes})


def test_classes_that_a_checkpoint_could_not_keep_are_refused():
    with pytest.raises(ValueError, match=r"of up to 100 characters"):
        DatasetSpec(**DATASET | {"classes": ("cat", "d" * 101)})
    with pytest.raises(ValueError, match=r"^classes of 'patch' must be 10000 or fewer, got 10001$"):
        DatasetSpec(**DATASET | {"classes": tuple(map(str, range(10_001)))})


@pytest.mark.parametrize("kind", [EncoderSpec, DecoderSpec, ObjectiveSpec, DistortionSpec])
def test_a_component_is_the_default_one_only_where_its_spec_says_so(kind):
    assert not kind(**PLAIN).default
    assert kind(**PLAIN, default=True).default


def test_a_dataset_may_have_more_splits():
    assert DatasetSpec(**DATASET | {"splits": {"train": 60, "test": 10, "extra": 5}}).splits["extra"] == 5


@pytest.mark.parametrize("field", ["licence", "credit"])
@pytest.mark.parametrize("value", ["", " ", None], ids=repr)
def test_a_dataset_without_licence_or_credit_is_refused(field, value):
    with pytest.raises(ValueError, match="licence"):
        DatasetSpec(**DATASET | {field: value})


@pytest.mark.parametrize("file", ["zoo_patch:x.safetensors", "zoo_patch.models:x.safetensors", "p:a/b-1.2.safetensors"])
def test_a_models_file_is_in_a_package(file):
    assert ModelSpec(**MODEL | {"file": file}).file == file


@pytest.mark.parametrize(
    "file",
    ["", "x.safetensors", "p:x.pt", "p:.safetensors", "p:../x.safetensors", "p:/x.safetensors", "p:a//x.safetensors",
     "p:a\\x.safetensors", "p:x.safetensors\n", "/tmp:x.safetensors", "p:a/../../x.safetensors", 3],
    ids=repr,
)  # fmt: skip
def test_a_file_that_is_in_no_package_is_refused(file):
    with pytest.raises(ValueError, match=r"^file "):
        ModelSpec(**MODEL | {"file": file})


@pytest.mark.parametrize("field", ["summary", "command"])
@pytest.mark.parametrize("value", ["", " ", "two\nlines", "\x1b[31mred", None], ids=repr)
def test_a_model_without_a_line_of_summary_or_command_is_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field} "):
        ModelSpec(**MODEL | {field: value})
