"""The contract tests tested: each planted flaw fails its own check, and no other."""

import re

import flaws
import pytest
from flaws import CORRECT, FLAWS, Flaw

from zoo.registry import Component, Plugin
from zoo.specs import KINDS, DatasetSpec, DecoderSpec, EncoderSpec, ObjectiveSpec
from zoo.testing import CHECKS, applicable_checks, check_components

SPECS = {"encoder": EncoderSpec, "decoder": DecoderSpec, "objective": ObjectiveSpec, "dataset": DatasetSpec}

every_flaw = pytest.mark.parametrize("check", FLAWS)
every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)


def component_of(flaw):
    declared = {"name": "planted", "target": f"{flaws.__name__}:{flaw.target}", "summary": "Right but for one flaw"}
    if flaw.kind == "dataset":
        declared |= flaws.DATASET
    plugin = Plugin("planted", flaw.plugin_module, "zoo-planted", "1.0")
    return Component(SPECS[flaw.kind](**declared | flaw.spec), plugin)


def failures(flaw, only=None):
    outcomes = check_components([component_of(flaw)], only)
    return {outcome.check.name: outcome.message for outcome in outcomes if outcome.result == "failed"}


@every_flaw
@pytest.mark.filterwarnings("ignore")  # a check that only warned would be none
def test_a_flaw_fails_its_own_check_and_no_other(check):
    failed = failures(FLAWS[check])
    assert list(failed) == [check], failed


@pytest.mark.parametrize("kind", KINDS)
def test_a_correct_component_passes_every_check(kind):
    component = component_of(Flaw(kind, CORRECT[kind]))
    outcomes = list(check_components([component]))
    assert [outcome.message for outcome in outcomes if outcome.result != "passed"] == []
    assert [outcome.check for outcome in outcomes] == applicable_checks(component)


def test_an_encoder_may_refuse_a_shape_and_offer_a_choice_of_numbers():
    assert failures(Flaw("encoder", "GreyEncoder")) == {}


@pytest.mark.parametrize("flaw", ["Untyped", "WithoutDefault"])
def test_what_cannot_be_built_is_not_applicable_and_says_why(flaw):
    flaw = next(planted for planted in FLAWS.values() if planted.target == flaw)
    outcomes = [o for o in check_components([component_of(flaw)]) if o.result == "not applicable"]
    assert len(outcomes) > 10
    assert all("option '" in outcome.message for outcome in outcomes)


def test_every_check_has_a_flaw_and_every_flaw_a_check():
    assert set(FLAWS) == {check.name for check in CHECKS}


@every_flaw
@pytest.mark.filterwarnings("ignore")
def test_a_failure_says_on_one_line_what_was_measured_what_is_allowed_the_cause_and_how_to_run_it_again(check):
    kind = FLAWS[check].kind
    (message,) = failures(FLAWS[check], only=check).values()
    again = f"zoo check zoo-planted:planted --only {check}"
    assert message.isprintable()
    assert re.fullmatch(rf"{kind} 'planted': .+; allowed: .+\. Usual cause: .+\. Again: {again}", message)


def test_there_are_at_least_forty_checks_and_no_two_of_one_name():
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 40


@every_check
def test_a_check_has_a_promise_of_one_line_and_a_cause(check):
    assert check.promise.endswith(".")
    assert check.promise.isprintable()
    assert check.cause
    assert not check.cause.endswith(".")
