"""Which models the demo shows, and what it says about them before any of them is opened."""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
import shlex
import sys
from types import SimpleNamespace

import pytest

import zoo
from demo.serving import COLOUR, CONDITIONAL, MAPS, TINY, make_run, need_patch
from zoo.cli import main
from zoo.contract.registry import Component, Plugin, Registry, installed
from zoo.contract.specs import MetricSpec
from zoo.model import checkpoint as checkpoints
from zoo_demo.catalogue import MAX_FOUND, SEARCH_DEPTH, Catalogue, find
from zoo_demo.safety import RefusedError
from zoo_demo.space import Spaces, unmeasured

PRETRAINED = [model.name for model in zoo.installed().models()]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoint(runs):
    return (runs / "tiny" / "model.safetensors").read_bytes()


def shown(*runs: str) -> list[str]:
    return list(Catalogue(find(runs)).read())


def card(run: object) -> dict:
    return next(iter(Catalogue(find([str(run)])).read().values()))


def copy(checkpoint: bytes, *places) -> None:
    for place in places:
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(checkpoint)


def test_the_pretrained_models_are_shown_where_none_are_asked_for():
    assert shown() == PRETRAINED
    assert PRETRAINED


def test_what_is_asked_for_comes_first_in_the_order_it_was_asked_for(runs):
    assert shown(str(runs / "tiny"), PRETRAINED[-1], str(runs / "colour" / "model.safetensors")) == [
        "tiny",
        PRETRAINED[-1],
        "colour",
        *PRETRAINED[:-1],
    ]


def test_a_directory_is_searched_for_runs_and_numbers_are_sorted_by_value(directory, checkpoint):
    copy(checkpoint, *(directory / "runs" / name for name in ("digits-10", "digits-9", "old/blobs/1")))
    assert shown("runs")[:3] == ["digits-9", "digits-10", "1"]


def test_the_search_is_bounded_and_passes_over_what_is_hidden(directory, checkpoint):
    top = directory / "runs"
    copy(
        checkpoint,
        top / "found",
        top / "found" / "within-a-run",
        top / ".hidden" / "run",
        top.joinpath(*map(str, range(SEARCH_DEPTH - 1)), "deep"),
        top.joinpath(*map(str, range(SEARCH_DEPTH)), "deeper"),
    )
    (top / "again").symlink_to(top)
    assert shown("runs") == ["deep", "found", *PRETRAINED]


def test_more_runs_than_can_be_shown_are_left_out_with_a_line(directory, checkpoint, caplog):
    for number in range(MAX_FOUND + 5):
        copy(checkpoint, directory / "runs" / f"digits-{number}")
    sources = find(["runs"])
    assert len(sources) == MAX_FOUND + len(PRETRAINED)
    assert caplog.messages == [f"zoo: runs holds more than {MAX_FOUND} runs: the others are left out."]


def test_a_model_that_is_asked_for_twice_is_shown_once(runs):
    twice = [runs, runs / "tiny", runs / "tiny" / "model.safetensors", runs / "tiny" / ".." / "tiny"]
    assert shown(*map(str, twice)) == ["colour", "conditional", "maps", "tiny", *PRETRAINED]


def test_a_broken_run_that_was_found_is_left_out_with_a_line(directory, checkpoint, caplog):
    copy(checkpoint, directory / "runs" / "good")
    copy(checkpoint[:-1], directory / "runs" / "cut")
    copy(b"", directory / "runs" / "empty")
    assert shown("runs")[0] == "good"
    assert len(caplog.messages) == 2
    assert all(re.match(r"zoo: left out: runs/(cut|empty)/model\.safetensors is ", line) for line in caplog.messages)


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "missing"])
def test_a_broken_file_that_was_asked_for_is_an_error(directory, content):
    if content is not None:
        (directory / "model.safetensors").write_bytes(content)
    with pytest.raises(zoo.CheckpointError, match=r"model\.safetensors"):
        shown("model.safetensors")


def test_a_model_that_was_asked_for_and_cannot_be_built_is_an_error(directory, third_party):
    make_run(directory / "run", TINY)
    opened = checkpoints.read("run")
    other = zoo.resolve(TINY | {"latent_dim": 4})
    checkpoints.save(opened.path, opened.build(), opened.metadata.model_copy(update={"config": other}))
    with pytest.raises(zoo.CheckpointError, match="must be"):
        shown("run")


def test_an_unknown_name_is_an_error_that_suggests_the_nearest():
    with pytest.raises(zoo.UnknownComponentError, match=rf"'{PRETRAINED[0]}x'\. Did you mean '{PRETRAINED[0]}'\?"):
        find([f"{PRETRAINED[0]}x"])


def test_a_directory_without_runs_is_an_error(directory):
    (directory / "photos").mkdir()
    with pytest.raises(
        zoo.CheckpointError, match=r"^photos holds no run: there is no model\.safetensors, neither in it"
    ):
        find(["photos"])


def test_nothing_to_show_is_an_error_that_says_what_to_type(monkeypatch):
    monkeypatch.setenv("ZOO_BLOCK", ",".join({model.plugin.name for model in zoo.installed().models()}))
    installed.cache_clear()
    with pytest.raises(zoo.UsageError, match="zoo train --encoder mlp --dataset mnist"):
        find([])
    monkeypatch.undo()
    installed.cache_clear()


def test_ids_are_unique_and_fit_into_addresses_and_pretrained_models_keep_their_names(directory, checkpoint):
    names = ["a b", "a/b", "A_B", "실험", "<img src=x>", "x" * 300, PRETRAINED[0]]
    places = [directory / str(number) / name.replace("/", "%2f")[:200] for number, name in enumerate(names)]
    copy(checkpoint, *places)
    cards = Catalogue(find([str(place) for place in places])).read()
    assert [each["title"] for each in cards.values()][: len(names)] == [place.name for place in places]
    assert len(set(cards)) == len(names) + len(PRETRAINED)
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", id_) for id_ in cards)
    assert cards[PRETRAINED[0]]["source"] == "pretrained"
    assert cards[f"{PRETRAINED[0]}-2"]["source"] == "run"


def test_runs_of_one_name_are_called_by_their_paths(directory, checkpoint):
    copy(checkpoint, *(directory / place for place in ("old/digits", "new/digits", "new/blobs")))
    cards = Catalogue(find(["old", "new/digits", "new/blobs"])).read()
    assert [each["title"] for each in cards.values()][:3] == ["old/digits", "new/digits", "blobs"]
    assert list(cards)[:3] == ["old-digits", "new-digits", "blobs"]


def test_a_name_that_is_no_text_is_shown_escaped(directory, checkpoint):
    place = directory / "bad\udce9\nname"
    copy(checkpoint, place)
    each = card(place)
    assert each["title"] == r"bad\udce9\nname"
    json.dumps(each, ensure_ascii=False).encode()


def test_a_card_says_what_the_checkpoint_says(directory, third_party):
    rows = [{"epoch": 1, "train_loss": 0.5, "val_loss": 0.25, "val_rate": 0.1, "lr": 0.01}]
    make_run(
        directory / "run",
        COLOUR | {"epochs": 3, "distortion": "l1+0.5*mse"},
        history=checkpoints.history_of(rows),
    )
    each = card("run")
    kinds = [component["kind"] for component in each["components"]]
    assert kinds == ["encoder", "decoder", "objective", "distortion", "distortion", "dataset"]
    assert each["components"][1] == {
        "kind": "decoder",
        "name": "conv",
        "distribution": "autoencoder-zoo",
        "version": importlib.metadata.version("autoencoder-zoo"),
        "options": {"width": 4},
    }
    assert [(part["name"], part["weight"]) for part in each["components"][3:5]] == [("l1", 1), ("mse", 0.5)]
    assert each["components"][-1]["distribution"] == "zoo-tiny"
    assert (each["image_shape"], each["latent_dim"], each["epoch"]) == ([3, 17, 20], 2, 1)
    losses = {"train_loss": 0.5, "val_loss": 0.25, "val_rate": 0.1}
    assert each["history"] == [{"epoch": 1, "losses": losses, "lr": 0.01}]
    assert each["settings"]["epochs"] == 3
    assert not each["settings"].keys() & set(kinds)
    assert each["load"] == 'zoo.load("run")'
    assert re.fullmatch("[0-9a-f]{64}", each["sha256"])


def test_a_card_has_each_test_metric_as_its_plugin_writes_it(directory, third_party, monkeypatch):
    sharpness = MetricSpec(
        name="sharpness", target="nowhere:Sharpness", summary="A test's", digits=1, better="higher", unit="px"
    )
    plugin = Plugin("sharp", "nowhere", "zoo-sharp", "1.0")
    registry = Registry((), [*zoo.installed().components("metric"), Component(sharpness, plugin)], ())
    monkeypatch.setattr("zoo_demo.card.installed", lambda: registry)
    metrics = {"mse": 0.5, "psnr": math.inf, "ssim": math.nan, "sharpness": 2.55, "of-no-plugin": 1 / 3}
    make_run(directory / "run", TINY, test_metrics=metrics)
    assert {metric["name"]: metric["text"] for metric in card("run")["test_metrics"]} == {
        "mse": "0.50000",
        "psnr": "inf dB",
        "ssim": "nan",
        "sharpness": "2.5 px",
        "of-no-plugin": "0.33333",
    }


def test_a_card_of_a_run_that_is_not_finished_has_no_test_metrics(runs):
    assert card(runs / "tiny")["test_metrics"] == []


def test_a_pretrained_model_has_the_command_that_made_it():
    model = zoo.installed().models()[0]
    each = card(model.name)
    assert (each["command"], each["load"]) == (model.spec.command, f'zoo.load("{model.name}")')


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        COLOUR,
        TINY | {"scheduler": "cosine", "keep": "last"},
        MAPS,
        CONDITIONAL | {"label_dropout": 0.5, "distortion": "l1+0.25*mse"},
        TINY | {"distortion": "0.12345678901234568*bernoulli+1e-07*mse+1000000*l1"},
        TINY | {"betas": (0.5, 0.9), "scheduler": "multi-step", "milestones": (3, 5), "adversary_betas": (0.0, 0.5)},
        TINY | {"compile": True, "lr": 0.5, "ema": 0.99, "warmup": 0.1, "precision": "bf16-mixed", "seed": 7},
        TINY
        | {
            "encoder": {"name": "mlp", "options": {"hidden": (8, 4)}},
            "decoder": {"name": "mlp", "options": {"hidden": ()}},
            "objective": {"name": "vae", "options": {"beta": 0.5}},
            "dataset": {"name": "tiny", "options": {"broken": True}},
        },
    ],
    ids=["defaults", "components", "schedule", "maps", "conditional", "weights", "pairs", "settings", "options"],
)
def test_the_command_of_a_run_trains_with_its_very_settings(directory, third_party, monkeypatch, settings):
    make_run(directory / "run", settings)
    program, *arguments = shlex.split(card("run")["command"])
    trained = []
    training = SimpleNamespace(train=lambda config, **_: trained.append(config))
    monkeypatch.setitem(sys.modules, "zoo.training.fit", training)
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--quiet"])
    assert (program, exit_.value.code) == ("zoo", 0)
    assert trained == [zoo.resolve(settings)]


@pytest.mark.parametrize("kind", ["encoder", "decoder", "objective", "distortion"])
def test_a_model_whose_plugin_is_missing_is_an_error_or_left_out_with_what_to_install(
    directory, third_party, caplog, kind
):
    need_patch(make_run(directory / "runs" / "run", TINY), kind)
    with pytest.raises(zoo.MissingComponentError, match=rf"needs {kind} 'patch' .*: pip install zoo-patch$"):
        shown("runs/run")
    assert shown("runs") == PRETRAINED
    assert "pip install zoo-patch" in caplog.text


def test_a_model_whose_dataset_is_missing_is_shown_unmeasured(directory, third_party):
    need_patch(make_run(directory / "run", TINY), "dataset")
    model = Catalogue(find(["run"])).model("run")
    with pytest.raises(RefusedError, match=r"needs dataset 'patch' .*: pip install zoo-patch$"):
        Spaces().of(model)


def test_a_dataset_that_cannot_be_read_leaves_a_model_unmeasured_until_it_can(directory, third_party, monkeypatch):
    make_run(directory / "run", TINY)
    model, spaces = Catalogue(find(["run"])).model("run"), Spaces()
    with monkeypatch.context() as patch:
        patch.setattr("zoo_tiny.dataset.SHAPES", {})
        with pytest.raises(RefusedError, match=r"dataset 'tiny', split 'test', cannot be read: KeyError: 'tiny'\.$"):
            spaces.of(model)
    assert spaces.of(model).summary["available"] is True


def test_the_ranges_of_an_unmeasured_model_are_those_of_a_unit_gaussian():
    summary = unmeasured(2, "why")
    dims = [{"low": -3.0, "high": 3.0, "median": 0.0, "std": 1.0}] * 2
    assert summary == {"available": False, "why": "why", "dims": dims, "order": [0, 1], "labels": []}


def test_at_most_64_numbers_of_an_unmeasured_latent_have_sliders():
    summary = unmeasured(100, "why")
    assert (len(summary["dims"]), summary["order"]) == (100, list(range(64)))


def test_a_latent_that_is_too_large_for_the_page_is_an_error(directory, third_party, monkeypatch):
    monkeypatch.setattr("zoo_demo.model.MAX_LATENT_SIZE", 31)
    make_run(directory / "run", MAPS)
    with pytest.raises(zoo.IncompatibleError, match=r"run has a latent of 32 numbers, more than the page's 31\.$"):
        shown("run")


def test_an_unknown_id_is_refused():
    with pytest.raises(RefusedError) as refusal:
        Catalogue(find([])).model("../../etc/passwd")
    assert refusal.value.status_code == 404


def test_a_file_that_is_gone_when_its_model_is_opened_is_refused(directory, checkpoint):
    copy(checkpoint, directory / "runs" / "run")
    catalogue = Catalogue(find(["runs"]))
    assert "run" in catalogue.read()
    (directory / "runs" / "run" / "model.safetensors").unlink()
    with pytest.raises(RefusedError, match=r"runs/run") as refusal:
        catalogue.model("run")
    assert refusal.value.status_code == 410  # 503 would mean: ask again
