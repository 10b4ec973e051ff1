"""`contract_tests` and `zoo check` as a plugin's author uses them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import pytest

from conftest import write_distribution
from zoo.testing import CHECKS

OBJECTIVE_CHECKS = [check.name for check in CHECKS if "objective" in check.kinds]
DATASET_CHECKS = [check.name for check in CHECKS if "dataset" in check.kinds]

PLUGIN = """
from zoo import ObjectiveSpec, hookimpl

@hookimpl
def zoo_objectives():
    yield ObjectiveSpec(name="plain", target="zoo_patch_objective:Plain", summary="Squared error")
"""
OBJECTIVE = """
from torch.nn.functional import mse_loss
from zoo import Objective

class Plain(Objective):
    def losses(self, images, encode, decode):
        images.mul_(0.9)  # the one flaw: images_unchanged
        return {"loss": mse_loss(decode(encode(images)), images)}
"""
FLAW = "images_unchanged"


TEST_FILES = {
    "tiny": "'zoo-tiny'",
    "options": "'zoo-tiny', options={'tiny': {'broken': True}}",
    "patch": "'zoo-patch'",
    "expected": f"'zoo-patch', expected_failures={{'plain': {{'{FLAW}': 'dims them on purpose'}}}}",
    "stale": f"'zoo-patch', expected_failures={{'plain': {{'{FLAW}': 'on purpose', 'is_objective': 'once it was'}}}}",
    "unknown_component": "'zoo-patch', expected_failures={'plane': {}}",
    "unknown_check": "'zoo-patch', expected_failures={'plain': {'image_unchanged': 'why'}}",
    "unknown_plugin": "'zoo-pach'",
    "broken_plugin": "'zoo-broken'",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install zoo-patch, which offers one objective with one flaw."""
    folder = tmp_path_factory.mktemp("site")
    write_distribution(folder, "zoo-patch", {"patch": "zoo_patch"})
    (folder / "zoo_patch.py").write_text(PLUGIN)
    (folder / "zoo_patch_objective.py").write_text(OBJECTIVE)
    return folder


@pytest.fixture(scope="module")
def results(site, tmp_path_factory, zoo_environment):
    """Run whole test files of plugins with pytest: for each file, test → (result, what pytest says)."""
    folder = tmp_path_factory.mktemp("tests")
    write_distribution(folder, "zoo-broken", {"broken": "zoo_broken"})
    (folder / "zoo_broken.py").write_text("import nowhere")
    for name, arguments in TEST_FILES.items():
        (folder / f"test_{name}.py").write_text(
            f"from zoo.testing import contract_tests\n\nTestContract = contract_tests({arguments})\n"
        )
    environment = zoo_environment | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(site), zoo_environment["PYTHONPATH"]])
    }
    command = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", "--junitxml=report.xml"]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    found = {name: {} for name in TEST_FILES}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        module, _, _ = (case.get("classname") or case.get("name")).partition(".")
        test = re.sub(r"^test\[|\]$", "", case.get("name"))
        outcome = next(iter(case), None)
        said = "" if outcome is None else f"{outcome.get('message')}\n{outcome.text}"
        result = "passed" if outcome is None else outcome.get("type", "").removeprefix("pytest.") or outcome.tag
        found[module.removeprefix("test_")][test] = result, said
    return found


def test_there_is_a_test_for_each_component_and_check(results):
    expected = {f"objective-diverging-{check}" for check in OBJECTIVE_CHECKS}
    for dataset in ("tiny", "tiny-colour", "tiny-small"):
        expected |= {f"dataset-{dataset}-{check}" for check in DATASET_CHECKS}
    assert set(results["tiny"]) == expected


def test_a_broken_promise_is_told_with_its_cause_and_without_a_traceback(results):
    failed = {test: said for test, (result, said) in results["patch"].items() if result == "failure"}
    (said,) = failed.values()
    assert list(failed) == [f"objective-plain-{FLAW}"]
    assert f"{FLAW}: The images are left as they were.\nobjective 'plain': the images changed; allowed: " in said
    assert said.endswith(f"Again: zoo check zoo-patch:plain --only {FLAW}")
    assert "Traceback" not in said


def test_what_does_not_apply_is_skipped_with_the_reason(results):
    result, said = results["patch"]["objective-plain-prior_sampling"]
    assert result == "skip"
    assert "not applicable: it has no prior" in said


def test_options_are_given_to_the_component(results):
    failed = {test for test, (result, _) in results["options"].items() if result == "failure"}
    assert "dataset-tiny-splits_as_declared" in failed
    assert not any(test.startswith(("dataset-tiny-colour", "dataset-tiny-small")) for test in failed)


def test_an_expected_failure_is_an_xfail_with_its_reason(results):
    result, said = results["expected"][f"objective-plain-{FLAW}"]
    assert result == "xfail"
    assert said.startswith("dims them on purpose")
    assert {result for result, _ in results["expected"].values()} == {"passed", "skip", "xfail"}


def test_an_expected_failure_that_passes_is_a_failure(results):
    result, said = results["stale"]["objective-plain-is_objective"]
    assert result == "failure"
    assert said.startswith("[XPASS(strict)] once it was")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("unknown_component", "no component 'plane'. Did you mean 'plain'? The components: plain."),
        ("unknown_check", "no check 'image_unchanged'. Did you mean 'images_unchanged'?"),
        ("unknown_plugin", "No installed plugin or component is named 'zoo-pach'. Did you mean 'zoo-patch'?"),
        ("broken_plugin", "plugin 'broken' (zoo-broken 1.0) was not loaded: ModuleNotFoundError: No module named"),
    ],
    ids=["component", "check", "plugin", "plugin not loaded"],
)
def test_a_name_that_means_nothing_stops_the_collection_and_says_what_was_meant(results, file, message):
    ((result, said),) = results[file].values()
    assert result == "error"
    assert message in said


@pytest.fixture
def zoo_check(run_zoo, site):
    """Run `zoo check` where zoo-patch is installed."""

    def check(*arguments):
        return run_zoo("check", *arguments, environment={"PYTHONPATH": str(site)})

    return check


def test_zoo_check_shows_a_table_and_counts_and_exits_with_1_for_a_failure(zoo_check):
    result = zoo_check("zoo-patch")
    *lines, counts = result.stdout.splitlines()
    rows = [line.rsplit(maxsplit=3) for line in lines if not line.startswith(" ")]
    results = {check: told for told, _, _, check in rows}
    told = Counter(results.values())
    assert (result.status, result.stderr) == (1, "")
    assert {tuple(row[1:3]) for row in rows} == {("objective", "plain")}
    assert list(results) == OBJECTIVE_CHECKS
    assert [check for check in results if results[check] == "failed"] == [FLAW]
    assert counts == f"{told['passed']} passed, 1 failed, {told['not applicable']} not applicable"


def test_zoo_check_says_under_its_row_why_a_check_failed(zoo_check):
    row, message, counts = zoo_check("zoo-patch", "--only", FLAW).stdout.splitlines()
    assert row.split() == ["failed", "objective", "plain", FLAW]
    assert message.startswith("    objective 'plain': the images changed; allowed: no change. Usual cause: ")
    assert message.endswith(f"Again: zoo check zoo-patch:plain --only {FLAW}")
    assert counts == "0 passed, 1 failed, 0 not applicable"


@pytest.mark.parametrize("name", ["zoo-patch", "patch", "plain", "zoo-patch:plain"])
def test_zoo_check_takes_a_distribution_a_plugin_or_a_component(zoo_check, name):
    result = zoo_check(name, "--only", "is_objective")
    assert result.stdout.splitlines()[-1] == "1 passed, 0 failed, 0 not applicable"
    assert (result.status, result.stderr) == (0, "")


def test_zoo_check_gives_json(zoo_check):
    result = zoo_check("zoo-patch", "--only", FLAW, "--json")
    (outcome,) = json.loads(result.stdout)["outcomes"]
    assert result.status == 1
    assert json.loads(result.stdout)["counts"] == {"failed": 1}
    assert outcome.pop("message").startswith("objective 'plain': the images changed")
    assert outcome == {
        "kind": "objective",
        "component": "zoo-patch:plain",
        "check": FLAW,
        "promise": "The images are left as they were.",
        "result": "failed",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zoo-pach",), "No installed plugin or component is named 'zoo-pach'. Did you mean 'zoo-patch'?"),
        (("zoo-patch", "--only", "silence"), "No check 'silence'. Did you mean 'silent'?"),
    ],
    ids=["name", "check"],
)
def test_zoo_check_refuses_what_it_does_not_know_on_one_line(zoo_check, arguments, message):
    result = zoo_check(*arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr
