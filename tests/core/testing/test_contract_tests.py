"""`contract_tests` and `zoo check` as a plugin's author uses them."""

import json
import subprocess
import sys
from collections import Counter

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


@pytest.fixture
def patch(tmp_path):
    """Install zoo-patch, which offers one objective with one flaw; the folder that it is in."""
    site = tmp_path / "site"
    write_distribution(site, "zoo-patch", {"patch": "zoo_patch"})
    (site / "zoo_patch.py").write_text(PLUGIN)
    (site / "zoo_patch_objective.py").write_text(OBJECTIVE)
    return site


@pytest.fixture
def run_tests(patch, tmp_path, zoo_environment):
    """Run a plugin's whole test file with pytest, and return its status and what it prints."""

    def run(arguments, *flags):
        path = tmp_path / "test_patch.py"
        path.write_text(
            f"from zoo.testing import contract_tests\n\nTestContract = contract_tests({arguments})\n", encoding="utf-8"
        )
        environment = zoo_environment | {"PYTHONPATH": f"{patch}:{zoo_environment['PYTHONPATH']}"}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", path.name, *flags]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.stderr == ""
        return result.returncode, result.stdout

    return run


def test_there_is_a_test_for_each_component_and_check(run_tests):
    status, output = run_tests("'zoo-tiny'", "--collect-only", "-q")
    names = [line.partition("[")[2].rstrip("]") for line in output.splitlines() if "::" in line]
    expected = [f"objective-diverging-{check}" for check in OBJECTIVE_CHECKS]
    for dataset in ("tiny", "tiny-colour", "tiny-small"):
        expected += [f"dataset-{dataset}-{check}" for check in DATASET_CHECKS]
    assert status == 0
    assert names == expected


def test_a_broken_promise_is_told_with_its_cause_and_without_a_traceback(run_tests):
    status, output = run_tests("'zoo-patch'")
    assert status == 1
    assert f"{FLAW}: The images are left as they were.\nobjective 'plain': the images changed; allowed: " in output
    assert f"Again: zoo check zoo-patch:plain --only {FLAW}\n" in output
    assert "Traceback" not in output
    assert "1 failed" in output


def test_what_does_not_apply_is_skipped_with_the_reason(run_tests):
    _, output = run_tests("'zoo-patch'", "-k", "prior_sampling")
    assert "1 skipped" in output
    assert "not applicable: it has no prior" in output


def test_an_expected_failure_is_an_xfail_with_its_reason(run_tests):
    status, output = run_tests(f"'zoo-patch', expected_failures={{'plain': {{'{FLAW}': 'dims them on purpose'}}}}")
    assert status == 0
    assert f"XFAIL test_patch.py::TestContract::test[objective-plain-{FLAW}] - dims them on purpose" in output
    assert "1 xfailed" in output


def test_an_expected_failure_that_passes_is_a_failure(run_tests):
    status, output = run_tests(
        "'zoo-patch', expected_failures={'plain': {'is_objective': 'mended'}}", "-k", "is_objective"
    )
    assert status == 1
    assert "[XPASS(strict)] mended" in output


@pytest.mark.parametrize(
    ("expected_failures", "message"),
    [
        ("{'plane': {}}", "expected_failures: no component 'plane'. Did you mean 'plain'? The components: plain."),
        (
            "{'plain': {'image_unchanged': 'why'}}",
            "expected_failures: no check 'image_unchanged'. Did you mean 'images_unchanged'?",
        ),
    ],
    ids=["component", "check"],
)
def test_an_unknown_expected_failure_stops_the_collection_and_says_what_was_meant(
    run_tests, expected_failures, message
):
    status, output = run_tests(f"'zoo-patch', expected_failures={expected_failures}")
    assert status == 2
    assert message in output


def test_an_unknown_plugin_stops_the_collection_and_says_what_was_meant(run_tests):
    status, output = run_tests("'zoo-pach'")
    assert status == 2
    assert "No installed plugin or component is named 'zoo-pach'. Did you mean 'zoo-patch'?" in output


def test_a_plugin_that_was_not_loaded_gives_its_cause(run_tests, patch):
    (patch / "zoo_patch.py").write_text("import nowhere")
    status, output = run_tests("'zoo-patch'")
    assert status == 2
    assert "plugin 'patch' (zoo-patch 1.0) was not loaded: ModuleNotFoundError: No module named 'nowhere'" in output


@pytest.fixture
def zoo_check(run_zoo, patch):
    """Run `zoo check` where zoo-patch is installed."""

    def check(*arguments):
        return run_zoo("check", *arguments, environment={"PYTHONPATH": str(patch)})

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
