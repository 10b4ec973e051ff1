"""The contract tests tested: each planted flaw fails its own check, and no other."""

import contextlib
import io
import re
from typing import get_args

import flaws
import pytest
from flaws import CORRECT, FLAWS, OTHER_FLAWS, Flaw

from zoo.contract.registry import Component, Plugin
from zoo.contract.specs import DatasetSpec, DecoderSpec, DistortionSpec, EncoderSpec, Kind, MetricSpec, ObjectiveSpec
from zoo.data.splits import load_split
from zoo.errors import PluginError
from zoo.testing import CHECKS, Subject, applicable_checks, check_components

TYPES = (EncoderSpec, DecoderSpec, ObjectiveSpec, DistortionSpec, DatasetSpec, MetricSpec)
SPECS = {spec.kind: spec for spec in TYPES}
KINDS = get_args(Kind)

every_flaw = pytest.mark.parametrize("check", FLAWS)
every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)


def component_of(flaw):
    declared = {"name": "planted", "target": f"{flaws.__name__}:{flaw.target}", "summary": "Right but for one flaw"}
    if flaw.kind == "dataset":
        declared |= flaws.DATASET
    if flaw.kind == "metric":
        declared |= flaws.METRIC
    plugin = Plugin("planted", flaw.plugin_module, "zoo-planted", "1.0")
    return Component(SPECS[flaw.kind](**declared | flaw.spec), plugin)


def outcomes_of(flaw, result, only=None, options=None):
    outcomes = check_components([component_of(flaw)], only, options)
    return {outcome.check.name: outcome for outcome in outcomes if outcome.result == result}


def failures(flaw, options=None):
    failed = outcomes_of(flaw, "failed", options=options)
    return {name: outcome.message for name, outcome in failed.items()}


@every_flaw
@pytest.mark.filterwarnings("ignore")  # a check that only warned would be none
def test_a_flaw_fails_its_own_check_and_no_other(check):
    failed = failures(FLAWS[check])
    assert list(failed) == [check], failed


@pytest.mark.parametrize(("check", "flaw"), OTHER_FLAWS, ids=[flaw.target for _, flaw in OTHER_FLAWS])
@pytest.mark.filterwarnings("ignore")
def test_another_flaw_of_a_check_fails_it_and_no_other(check, flaw):
    assert list(failures(flaw)) == [check], failures(flaw)


@pytest.mark.parametrize("kind", KINDS)
def test_correct_components_pass_every_check_and_each_check_applies_to_one_of_them(kind):
    passed = set()
    for target in CORRECT[kind]:
        outcomes = list(check_components([component_of(Flaw(kind, target))]))
        assert [outcome.explanation for outcome in outcomes if outcome.result == "failed"] == []
        passed |= {outcome.check.name for outcome in outcomes if outcome.result == "passed"}
    assert passed == {check.name for check in applicable_checks(component_of(Flaw(kind, CORRECT[kind][0])))}


def test_an_encoder_may_refuse_a_shape_and_offer_a_choice_of_numbers():
    assert failures(Flaw("encoder", "GreyEncoder")) == {}


@pytest.mark.parametrize("flaw", ["Untyped", "WithoutDefault"])
def test_what_cannot_be_built_is_not_applicable_and_says_why(flaw):
    flaw = next(planted for planted in FLAWS.values() if planted.target == flaw)
    outcomes = [o for o in check_components([component_of(flaw)]) if o.result == "not applicable"]
    assert len(outcomes) > 10
    assert all("option '" in outcome.message for outcome in outcomes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "measured"),
    [
        (
            "flaws:Misspelt",
            "importing flaws:Misspelt failed: AttributeError: module 'flaws' has no attribute 'Misspelt'",
        ),
        ("nowhere:Encoder", "importing nowhere:Encoder failed: ModuleNotFoundError: No module named 'nowhere'"),
        ("flaws:DATASET", "flaws:DATASET is dict, which cannot be called"),
    ],
    ids=["no such name", "no such module", "not callable"],
)
def test_a_target_that_cannot_be_used_is_told_once_and_nothing_else_is_tried_on_it(kind, target, measured):
    flaw = Flaw(kind, "", {"target": target})
    without_it = {"listing_is_light", "summary_fits", "licence_and_credit"}
    assert failures(flaw) == {"target_resolves": f"{measured}; allowed: a class or function"}
    assert outcomes_of(flaw, "passed").keys() <= without_it
    reasons = {outcome.message for outcome in outcomes_of(flaw, "not applicable").values()}
    assert reasons == {"its target cannot be imported or called"}


def test_an_import_that_fails_is_tried_once(tmp_path, monkeypatch):
    (tmp_path / "counted.py").write_text("print('imported')\nimport nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        failures(Flaw("encoder", "", {"target": "counted:Encoder"}))
    assert output.getvalue() == "imported\n"


def test_a_constructor_that_always_fails_is_told_once():
    assert failures(Flaw("encoder", "WithoutSuper")) == {
        "takes_images": "it can be built for no shape; for 1×28×28 and 3 it raises AttributeError: cannot assign "
        "module before Module.__init__() call; allowed: at least one shape"
    }


def test_an_objective_that_cannot_be_built_is_told_once():
    assert list(failures(Flaw("objective", "Unbuildable"))) == ["is_objective"]


def test_a_decoder_of_maps_alone_is_tried_on_maps():
    subject = Subject(component_of(Flaw("decoder", "MapDecoder")))
    assert {latent_shape for latent_shape, _ in subject.cases} == {(3, 4, 4), (3, 7, 7)}


def test_an_objective_that_refuses_maps_is_tried_on_vectors():
    assert failures(Flaw("objective", "VectorsOnly")) == {}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("without_files", "split 'train' cannot be read: ~/noise holds no images; allowed: files that can be read"),
        (
            "read_one_by_one",
            "split 'train', item 3, cannot be read: FileNotFoundError: no 0003.png; allowed: files that can be read",
        ),
    ],
)
def test_files_that_cannot_be_read_are_told_once(target, message):
    flaw = Flaw("dataset", target)
    assert failures(flaw) == {"readable": message}
    not_applicable = outcomes_of(flaw, "not applicable")
    assert "splits_as_declared" in not_applicable
    assert {outcome.message for outcome in not_applicable.values()} == {"its splits cannot be read as declared"}


@pytest.mark.parametrize(
    ("target", "check"),
    [("generated", "map_style"), ("of_several_sizes", "splits_as_declared"), ("empty", "splits_as_declared")],
)
def test_what_is_read_but_is_no_split_is_told_once(target, check):
    assert list(failures(Flaw("dataset", target))) == [check]


@pytest.mark.parametrize(
    ("target", "check", "message"),
    [
        ("streamed", "map_style", "split 'test', is an IterableDataset (Streamed), expected one with __len__ and "),
        ("of_dicts", "map_style", "split 'test', item 0, is a dict with the keys 'image', 'label', expected a pair "),
        ("of_images_alone", "map_style", "split 'test', item 0, is a torch.uint8 tensor of the shape (1, 8, 8), "),
        (
            "of_pil_images",
            "splits_as_declared",
            "split 'train', item 0, has a PIL image (mode L, 8×8) as its image, expected a torch.uint8 tensor of the "
            "shape (1, 8, 8). Pass transform=torchvision.transforms.PILToTensor() to the dataset; allowed: ",
        ),
        (
            "of_text_labels",
            "splits_as_declared",
            "split 'train', item 0, has the str 'dog' as its label, expected a whole number. Give each class a number;",
        ),
        (
            "one_hot_labels",
            "splits_as_declared",
            "split 'train', must hold a whole number as the label of each image, shape (12,), got torch.int64 (12, 2). "
            "For one-hot labels, give the index of the class: labels.argmax(-1); allowed: ",
        ),
    ],
)
def test_a_mistake_in_what_a_dataset_gives_is_told_as_training_tells_it(target, check, message):
    flaw = Flaw("dataset", target)
    failed = failures(flaw)
    assert list(failed) == [check]
    assert failed[check].startswith(f"dataset 'planted', {message}")
    with pytest.raises(PluginError) as caught:
        load_split(component_of(flaw), {}, "test" if check == "map_style" else "train")
    assert failed[check].startswith(str(caught.value).rstrip("."))


def test_a_dataset_that_needs_an_option_says_how_to_give_it():
    flaw = Flaw("dataset", "from_folder")
    assert failures(flaw) == {}
    reasons = {outcome.message for outcome in outcomes_of(flaw, "not applicable").values()}
    assert reasons == {"its option 'folder' has no default; --set dataset.folder=VALUE gives a value"}


@pytest.mark.parametrize("name", ["planted", "dataset planted"])
def test_a_dataset_that_needs_an_option_is_checked_with_it(tmp_path, name):
    assert (
        outcomes_of(Flaw("dataset", "from_folder"), "not applicable", options={name: {"folder": str(tmp_path)}}) == {}
    )


def test_a_command_that_runs_a_check_again_holds_the_options():
    options = {"planted": {"folder": "my photos"}}
    failed = outcomes_of(Flaw("dataset", "from_folder"), "failed", options=options)
    again = "zoo check zoo-planted:planted --only readable --set 'dataset.folder=my photos'"
    assert failed["readable"].again == again


@pytest.mark.filterwarnings("error")
def test_statistics_over_a_batch_of_one_are_told_as_such():
    assert failures(Flaw("encoder", "Standardised")) == {
        "finite": "3 of 3 values of the output for an image alone are NaN or infinite; allowed: none",
        "batch_independence": "the output for an image alone is NaN or infinite, in a batch it is finite; "
        "allowed: equal outputs",
        "trains_on_small_batches": "a training batch of 1 gives NaN or infinite outputs or gradients; "
        "allowed: finite ones",
    }


def test_what_torch_prints_of_a_failure_stays_out(capfd):
    assert list(outcomes_of(Flaw("encoder", "Deciding"), "failed", only="exportable")) == ["exportable"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["gradients_reach_parameters", "learns"])
def test_a_frozen_backbone_has_nothing_to_train(name):
    frozen = Flaw("encoder", "FrozenBackbone")
    (outcome,) = outcomes_of(frozen, "not applicable", only=name).values()
    assert outcome.message == "it has no weights to train: it has none, or all are frozen"


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("encoder", "FrozenBackbone"),
        ("encoder", "MultiplesOfEight"),
        ("decoder", "ThirtyTwoLatents"),
        ("objective", "FewLatents"),
    ],
)
def test_frozen_weights_and_a_restricted_size_are_no_flaws(kind, target):
    assert failures(Flaw(kind, target)) == {}


@pytest.mark.parametrize(
    ("kind", "target", "unrestricted"),
    [
        ("encoder", "MultiplesOfEight", "LinearEncoder"),
        ("decoder", "ThirtyTwoLatents", "LinearDecoder"),
        ("objective", "FewLatents", "Gaussian"),
    ],
)
def test_every_check_is_run_with_a_size_that_a_component_takes(kind, target, unrestricted):
    skipped = outcomes_of(Flaw(kind, target), "not applicable")
    assert skipped.keys() == outcomes_of(Flaw(kind, unrestricted), "not applicable").keys()


@pytest.mark.parametrize(
    ("kind", "target", "causes"),
    [
        (
            "encoder",
            "BackboneWithoutGradients",
            {
                "gradients_reach_parameters": "frozen weights without `requires_grad_(False)`",
                "gradients_reach_input": "`torch.no_grad()`",
            },
        ),
        (
            "encoder",
            "DetachedWhole",
            {
                "gradients_reach_parameters": "a `.detach()` or `torch.no_grad()` on the way",
                "gradients_reach_input": "a `.detach()`",
                "learns": "no gradient",
            },
        ),
        ("objective", "Flipping", {"same_in_train_and_eval": "an augmentation (a random crop or flip)"}),
        (
            "encoder",
            "NoisyEncoder",
            {
                "deterministic_in_eval": "noise or an augmentation applied by hand",
                "leaves_randomness_alone": "noise or an augmentation applied by hand",
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_gets_its_own_usual_cause(kind, target, causes):
    failed = outcomes_of(Flaw(kind, target), "failed")
    for name, cause in causes.items():
        assert cause in failed[name].cause


def test_binary_cross_entropy_of_unbounded_outputs_is_the_one_cause_of_all_that_fails():
    failed = outcomes_of(Flaw("objective", "CrossEntropy"), "failed")
    assert "losses_are_scalars" in failed
    assert {outcome.cause for outcome in failed.values()} == {
        "binary cross-entropy of outputs outside [0, 1]: a decoder's outputs are not bounded"
    }


def test_every_check_has_a_flaw_and_every_flaw_a_check():
    assert set(FLAWS) == {check.name for check in CHECKS}


@every_flaw
@pytest.mark.filterwarnings("ignore")
def test_a_failure_says_what_was_measured_what_is_allowed_the_usual_cause_and_how_to_run_it_again(check):
    (outcome,) = outcomes_of(FLAWS[check], "failed", only=check).values()
    message, cause, again = outcome.explanation
    assert message.isprintable()
    assert re.fullmatch(r".+[^.]; allowed: .+[^.]", message)
    assert cause == f"usual cause: {outcome.check.cause}"
    assert again == f"again: zoo check zoo-planted:planted --only {check}"


def test_there_are_at_least_forty_checks_and_no_two_of_one_name():
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 40


@every_check
def test_a_check_has_a_promise_of_one_line_and_a_cause(check):
    assert check.promise.endswith(".")
    assert check.promise.isprintable()
    assert check.cause
    assert not check.cause.endswith(".")
