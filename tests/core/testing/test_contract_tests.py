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
DECODER_CHECKS = [check.name for check in CHECKS if "decoder" in check.kinds]
DATASET_CHECKS = [check.name for check in CHECKS if "dataset" in check.kinds]

PLUGIN = """
from zoo import ObjectiveSpec, hookimpl

@hookimpl
def zoo_objectives():
    yield ObjectiveSpec(name="plain", target="zoo_patch_objective:Plain", summary="Squared error")
"""
OBJECTIVE = """
from zoo import Objective

class Plain(Objective):
    def losses(self, batch, parts):
        batch.images.mul_(0.9)  # the one flaw: images_unchanged
        return {"loss": parts.loss(parts.decode(parts.encode(batch.images)), batch.images)}
"""
FLAW = "images_unchanged"

PAIR_PLUGIN = """
from zoo import DatasetSpec, ObjectiveSpec, hookimpl

@hookimpl
def zoo_objectives():
    yield ObjectiveSpec(name="pair", target="zoo_pair_targets:Weighted", summary="Squared error, weighted")

@hookimpl
def zoo_datasets():
    yield DatasetSpec(
        name="pair", target="zoo_pair_targets:noise", summary="Noise", image_shape=(1, 8, 8),
        splits={"train": 4, "test": 4}, licence="CC0-1.0", credit="Ada Example",
    )
"""
PAIR = """
from pathlib import Path
import torch
from torch.utils.data import TensorDataset
from zoo import DatasetError, Objective

class Weighted(Objective):
    def __init__(self, latent_dim, data, *, weight: float = 1.0):  # the one flaw: options_documented
        super().__init__(latent_dim, data)
        self.weight = weight

    def losses(self, batch, parts):
        return {"loss": self.weight * parts.loss(parts.decode(parts.encode(batch.images)), batch.images)}

def noise(split, *, folder: str = "nowhere"):
    '''Noise, where there is a folder.

    Args:
        folder: Where it is.
    '''
    if not Path(folder).is_dir():
        raise DatasetError(f"{folder} is no folder.")
    generator = torch.Generator().manual_seed(["train", "test"].index(split))
    images = torch.randint(256, (4, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return TensorDataset(images, torch.zeros(4, dtype=torch.int64))
"""
PAIR_FLAW = "options_documented"

RAISING_PLUGIN = """
from zoo import ObjectiveSpec, hookimpl

@hookimpl
def zoo_objectives():
    yield ObjectiveSpec(name="raising", target="zoo_raising_objective:Raising", summary="Gives no latents")
"""
RAISING = """
from zoo import Objective

class Raising(Objective):
    def losses(self, batch, parts):
        return {"loss": parts.loss(parts.decode(parts.encode(batch.images)), batch.images)}

    def latents(self, features):
        raise RuntimeError("no such kernel")
"""

SCALED_PLUGIN = """
from zoo import DistortionSpec, hookimpl

@hookimpl
def zoo_distortions():
    yield DistortionSpec(name="scaled", target="zoo_scaled_distortion:Scaled", summary="Squared error, scaled")
"""
SCALED = """
from zoo import Distortion

class Scaled(Distortion):
    def __init__(self, image_shape, *, scale: float = 1.0):  # the one flaw: options_documented
        super().__init__(image_shape)
        self.scale = scale

    def pixels(self, output, images):
        return self.scale * (output - images).square()
"""

TEST_FILES = {
    "tiny": "'zoo-tiny'",
    "options": "'zoo-tiny', options={'tiny': {'broken': True}}",
    "patch": "'zoo-patch'",
    "expected": f"'zoo-patch', expected_failures={{'plain': {{'{FLAW}': 'dims them on purpose'}}}}",
    "stale": f"'zoo-patch', expected_failures={{'plain': {{'{FLAW}': 'on purpose', 'is_objective': 'once it was'}}}}",
    "by_kind": f"""'zoo-pair',
        expected_failures={{'objective pair': {{'{PAIR_FLAW}': 'speaks for itself'}}}},
        options={{'dataset pair': {{'folder': '.'}}, 'objective pair': {{'weight': 2.0}}}}""",
    "by_name": f"'zoo-pair', expected_failures={{'pair': {{'{PAIR_FLAW}': 'speaks for itself'}}}}",
    "unknown_component": "'zoo-patch', expected_failures={'plane': {}}",
    "unknown_check": "'zoo-patch', expected_failures={'plain': {'image_unchanged': 'why'}}",
    "check_of_another_kind": "'zoo-pair', expected_failures={'dataset pair': {'closed_form': 'why'}}",
    "unknown_options_component": "'zoo-pair', options={'datasets pair': {'folder': '.'}}",
    "unknown_option": "'zoo-pair', options={'dataset pair': {'foldr': '.'}}",
    "unknown_plugin": "'zoo-pach'",
    "broken_plugin": "'zoo-broken'",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install zoo-patch and zoo-pair, each of which has one flaw, zoo-raising and zoo-scaled."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("patch", "pair", "raising", "scaled"):
        write_distribution(folder, f"zoo-{name}", {name: f"zoo_{name}"})
    (folder / "zoo_patch.py").write_text(PLUGIN)
    (folder / "zoo_patch_objective.py").write_text(OBJECTIVE)
    (folder / "zoo_pair.py").write_text(PAIR_PLUGIN)
    (folder / "zoo_pair_targets.py").write_text(PAIR)
    (folder / "zoo_raising.py").write_text(RAISING_PLUGIN)
    (folder / "zoo_raising_objective.py").write_text(RAISING)
    (folder / "zoo_scaled.py").write_text(SCALED_PLUGIN)
    (folder / "zoo_scaled_distortion.py").write_text(SCALED)
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
    expected |= {f"decoder-fourier-{check}" for check in DECODER_CHECKS}
    for dataset in ("tiny", "tiny-colour", "tiny-small"):
        expected |= {f"dataset-{dataset}-{check}" for check in DATASET_CHECKS}
    assert set(results["tiny"]) == expected


def test_a_broken_promise_is_told_with_its_cause_and_without_a_traceback(results):
    failed = {test: said for test, (result, said) in results["patch"].items() if result == "failure"}
    (said,) = failed.values()
    assert list(failed) == [f"objective-plain-{FLAW}"]
    assert f"{FLAW}: The images are left as they were.\nthe images changed; allowed: no change\nusual cause: " in said
    assert said.endswith(f"\nagain: zoo check zoo-patch:plain --only {FLAW}")
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


def test_a_kind_and_a_name_mean_one_of_the_components_with_that_name(results):
    said = results["by_kind"]
    assert said[f"objective-pair-{PAIR_FLAW}"][0] == "xfail"
    assert said[f"dataset-pair-{PAIR_FLAW}"][0] == "passed"
    assert said["dataset-pair-readable"][0] == "passed"
    assert {result for result, _ in said.values()} == {"passed", "skip", "xfail"}


def test_a_name_means_every_component_with_that_name(results):
    said = results["by_name"]
    assert said[f"objective-pair-{PAIR_FLAW}"][0] == "xfail"
    result, message = said[f"dataset-pair-{PAIR_FLAW}"]
    assert result == "failure"
    assert message.startswith("[XPASS(strict)] speaks for itself")


def test_an_expected_failure_that_passes_is_a_failure(results):
    result, said = results["stale"]["objective-plain-is_objective"]
    assert result == "failure"
    assert said.startswith("[XPASS(strict)] once it was")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "unknown_component",
            "expected_failures: no component 'plane'. Did you mean 'plain'? The components: objective plain.",
        ),
        ("unknown_check", "expected_failures: no check 'image_unchanged'. Did you mean 'images_unchanged'?"),
        ("check_of_another_kind", "expected_failures: 'closed_form' is a check of objectives, not of dataset 'pair'."),
        (
            "unknown_options_component",
            "options: no component 'datasets pair'. Did you mean 'dataset pair'? "
            "The components: objective pair, dataset pair.",
        ),
        ("unknown_option", "dataset 'pair': Unknown option 'dataset.foldr'. Did you mean 'folder'?"),
        ("unknown_plugin", "No installed plugin or component is named 'zoo-pach'. Did you mean 'zoo-patch'?"),
        ("broken_plugin", "plugin 'broken' (zoo-broken 1.0) was not loaded: ModuleNotFoundError: No module named"),
    ],
    ids=["component", "check", "kind", "component of options", "option", "plugin", "plugin not loaded"],
)
def test_a_name_that_means_nothing_stops_the_collection_and_says_what_was_meant(results, file, message):
    ((result, said),) = results[file].values()
    assert result == "error"
    assert message in said


@pytest.fixture
def zoo_check(run_zoo, site):
    """Run `zoo check` where zoo-patch, zoo-pair and zoo-raising are installed."""

    def check(*arguments):
        return run_zoo("check", *arguments, environment={"PYTHONPATH": str(site)})

    return check


def parts_of(result):
    """Return the parts of what `zoo check` prints, which empty lines divide: table, reasons and failures, counts."""
    table, *explanations, counts = result.stdout.rstrip("\n").split("\n\n")
    return table.splitlines(), explanations, counts


def test_zoo_check_shows_a_table_and_counts_and_exits_with_1_for_a_failure(zoo_check):
    result = zoo_check("zoo-patch")
    table, _, counts = parts_of(result)
    rows = [line.rsplit(maxsplit=3) for line in table]
    results = {check: told for told, _, _, check in rows}
    told = Counter(results.values())
    assert (result.status, result.stderr) == (1, "")
    assert {tuple(row[1:3]) for row in rows} == {("objective", "plain")}
    assert list(results) == OBJECTIVE_CHECKS
    assert [check for check in results if results[check] == "failed"] == [FLAW]
    assert counts == f"{told['passed']} passed, 1 failed, {told['not applicable']} not applicable"


def test_zoo_check_ends_with_the_failures_so_that_they_are_not_scrolled_away(zoo_check):
    _, explanations, _ = parts_of(zoo_check("zoo-patch"))
    assert explanations[-1].splitlines() == [
        f"failed  objective 'plain'  {FLAW}",
        "  the images changed; allowed: no change",
        "  usual cause: noise or a mask put onto the images in place",
        f"  again: zoo check zoo-patch:plain --only {FLAW}",
    ]


def test_zoo_check_says_once_why_several_checks_do_not_apply(zoo_check):
    table, explanations, _ = parts_of(zoo_check("zoo-pair", "--set", "objective.weight=2"))
    unreadable = "not applicable to dataset 'pair': its splits cannot be read as declared"
    (names,) = [lines for reason, *lines in map(str.splitlines, explanations) if reason == unreadable]
    skipped = [row.split()[-1] for row in table if row.startswith("not applicable  dataset ")]
    assert " ".join(line.strip() for line in names) == ", ".join(n for n in skipped if n != "classes_name_labels")
    assert max(map(len, names)) <= 100


def test_zoo_check_shows_failures_with_one_measurement_once(zoo_check):
    _, explanations, counts = parts_of(zoo_check("zoo-raising"))
    first, message, *_, heading, others = explanations[-1].splitlines()
    assert first == "failed  objective 'raising'  latents_shape"
    assert message == "  RuntimeError: no such kernel; allowed: no exception"
    assert (heading, others) == (
        "  the same in:",
        "  latents_deterministic, works_conditionally, training_lowers_the_error",
    )
    assert ", 4 failed, " in counts


@pytest.mark.parametrize("name", ["zoo-patch", "patch", "plain", "zoo-patch:plain"])
def test_zoo_check_takes_a_distribution_a_plugin_or_a_component(zoo_check, name):
    result = zoo_check(name, "--only", "is_objective")
    assert parts_of(result)[-1] == "1 passed, 0 failed, 0 not applicable"
    assert (result.status, result.stderr) == (0, "")


def test_zoo_check_gives_options_to_the_components_of_their_kind(zoo_check):
    without, with_folder = (
        zoo_check("zoo-pair", "--only", "readable", *options) for options in ((), ("--set", "dataset.folder=."))
    )
    assert "split 'train' cannot be read: nowhere is no folder; allowed: files that can be read" in without.stdout
    assert (without.status, with_folder.status) == (1, 0)


def test_zoo_check_gives_options_to_a_distortion_by_its_name(zoo_check):
    result = zoo_check("zoo-scaled", "--only", "options_documented", "--set", "distortion.scaled.scale=2")
    again = "again: zoo check zoo-scaled:scaled --only options_documented --set distortion.scaled.scale=2"
    assert again in [line.strip() for line in result.stdout.splitlines()]


def test_zoo_check_gives_json(zoo_check):
    result = zoo_check("zoo-patch", "--only", FLAW, "--json")
    assert result.status == 1
    assert json.loads(result.stdout) == {
        "outcomes": [
            {
                "kind": "objective",
                "component": "zoo-patch:plain",
                "check": FLAW,
                "promise": "The images are left as they were.",
                "result": "failed",
                "message": "the images changed; allowed: no change",
                "usual_cause": "noise or a mask put onto the images in place",
                "again": f"zoo check zoo-patch:plain --only {FLAW}",
            }
        ],
        "counts": {"failed": 1},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zoo-pach",), "No installed plugin or component is named 'zoo-pach'. Did you mean 'zoo-patch'? Plugins: "),
        (("nope",), "No installed plugin or component is named 'nope'. Plugins: autoencoder-zoo, zoo-"),
        (("zoo-patch", "--only", "final"), "--only: no check 'final'. The checks: listing_is_light, target_resolves, "),
        (("zoo-patch", "--only", "is_objektive"), "--only: no check 'is_objektive'. Did you mean 'is_objective'?\n"),
        (
            ("zoo-patch", "--only", "silent"),
            "--only: 'silent' is a check of encoders and decoders, not of objective 'plain'.",
        ),
        (("zoo-patch", "--set", "dataset.folder=."), "--set dataset.folder: 'zoo-patch' has no dataset."),
        (("zoo-pair", "--set", "dataset.foldr=."), "dataset 'pair': Unknown option 'dataset.foldr'. Did you mean"),
        (("zoo-pair", "--set", "folder=."), "--set takes KIND.OPTION=VALUE, "),
    ],
    ids=["name", "no name", "no check", "check", "kind of check", "kind", "option", "set"],
)
def test_zoo_check_refuses_what_it_does_not_know_on_one_line(zoo_check, arguments, message):
    result = zoo_check(*arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr
