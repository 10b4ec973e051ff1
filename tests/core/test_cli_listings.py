"""`zoo list`, `zoo info`, `zoo plugins` and every `--help`: what they print, and how they refuse."""

import json
import re
import shlex

import click
import pytest

import zoo
from zoo.cli import app
from zoo.cli.offers import LISTED
from zoo.contract.specs import KINDS


def commands(command=app, path=()):
    """Return every command of the program by what is typed to run it: `()` is `zoo` itself."""
    found = {path: command}
    for name, inner in getattr(command, "commands", {}).items():
        found |= commands(inner, (*path, name))
    return found


def cells(text):
    """Return a table's rows as lists of cells."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def example_of(command):
    """Return what the command's help has under `Example:`, at its very end."""
    _, heading, example = command.get_help(click.Context(command)).rpartition("Example:\n")
    assert heading
    return [line.strip() for line in example.splitlines()]


every_command = pytest.mark.parametrize("path", commands(), ids=lambda path: " ".join(("zoo", *path)))


@every_command
def test_help_is_shown_and_ends_with_an_example(run_zoo, path):
    result = run_zoo(*path, "--help")
    assert (result.status, result.stderr) == (0, "")
    assert re.search(r"\n\n  Example:\n(    zoo .+\n)+$", result.stdout)


@every_command
def test_the_example_of_a_help_is_a_command_line_that_parses(path):
    for line in example_of(commands()[path]):
        program, *arguments = shlex.split(line)
        command = app
        while isinstance(command, click.Group):
            command = command.commands[arguments.pop(0)]
        command.make_context(program, arguments)


@pytest.mark.parametrize("path", [path for path in commands() if path], ids=" ".join)
def test_the_example_of_a_commands_help_shows_that_command(path):
    for line in example_of(commands()[path]):
        assert shlex.split(line)[1 : len(path) + 1] == list(path)


def test_zoo_alone_shows_its_help(run_zoo):
    result = run_zoo()
    assert result.stdout + result.stderr == run_zoo("--help").stdout


def test_every_command_is_in_the_help(run_zoo):
    shown = {row[0] for row in cells(run_zoo("--help").stdout)}
    assert set(app.commands) <= shown


def test_the_version_is_shown(run_zoo):
    assert re.fullmatch(r"zoo, version \d+(\.\d+)+\S*\n", run_zoo("--version").stdout)


def test_list_shows_a_component_with_its_kind_summary_and_distribution(run_zoo):
    assert ["dataset", "tiny", "Bright blobs", "zoo-tiny 1.0"] in cells(run_zoo("list").stdout)


def test_list_shows_the_pretrained_models_after_the_components(run_zoo):
    rows = cells(run_zoo("list").stdout)
    assert ["mnist-mlp", "autoencoder-zoo"] in [[row[1], row[3].split()[0]] for row in rows if row[0] == "model"]
    assert list(dict.fromkeys(row[0] for row in rows)) == list(LISTED)


def test_list_aligns_its_columns(run_zoo):
    lines = run_zoo("list").stdout.splitlines()
    starts = {re.search(r"(autoencoder-zoo|zoo-tiny) \d", line).start() for line in lines}
    assert len(starts) == 1


@pytest.mark.parametrize("kind", LISTED)
def test_list_of_a_kind_shows_that_kind_only(run_zoo, kind):
    everything = cells(run_zoo("list").stdout)
    assert cells(run_zoo("list", kind).stdout) == [row for row in everything if row[0] == kind]


@pytest.mark.parametrize("kind", LISTED)
def test_the_plural_of_a_kind_means_the_kind(run_zoo, kind):
    assert run_zoo("list", f"{kind}s") == run_zoo("list", kind)


def test_list_as_json_says_the_same(run_zoo):
    listed = json.loads(run_zoo("list", "--json").stdout)
    rows = [[c["kind"], c["name"], c["summary"], f"{c['distribution']} {c['version']}"] for c in listed]
    assert rows == cells(run_zoo("list").stdout)


def test_list_as_json_of_a_kind_holds_that_kind_only(run_zoo):
    assert {c["kind"] for c in json.loads(run_zoo("list", "dataset", "--json").stdout)} == {"dataset"}


def test_list_as_json_says_how_a_model_was_made_and_how_large_it_is(run_zoo):
    listed = {model["name"]: model for model in json.loads(run_zoo("list", "models", "--json").stdout)}
    model = zoo.installed().model("mnist-mlp")
    assert listed["mnist-mlp"]["command"] == "zoo train --encoder mlp --dataset mnist"
    assert listed["mnist-mlp"]["bytes"] == model.path.stat().st_size


def test_list_without_a_component_is_empty(run_zoo):
    result = run_zoo("--no-plugins", "list", environment={"ZOO_BLOCK": "autoencoder-zoo"})
    assert (result.status, result.stdout, result.stderr) == (0, "", "")


def test_plugins_without_a_plugin_says_that_none_was_loaded(run_zoo):
    result = run_zoo("--no-plugins", "plugins", environment={"ZOO_BLOCK": "autoencoder-zoo"})
    assert (result.status, result.stdout.splitlines()[0]) == (0, "not loaded")


def test_info_shows_where_a_component_comes_from(run_zoo):
    facts = dict(row for row in cells(run_zoo("info", "encoder", "mlp").stdout) if len(row) == 2)
    assert (facts["kind"], facts["name"]) == ("encoder", "mlp")
    assert (facts["distribution"], facts["target"]) == ("autoencoder-zoo", "zoo_mlp.networks:MLPEncoder")


def test_info_shows_an_option_with_its_bounds_default_and_help(run_zoo):
    option = cells(run_zoo("info", "encoder", "mlp").stdout)[-1]
    assert option == [
        "--set encoder.hidden=…",
        "up to 8 values, each integer, 1 to 4096",
        "default [64]",
        "Sizes of the hidden layers, from the image on.",
    ]


def test_info_says_that_a_component_has_no_options(run_zoo):
    assert run_zoo("info", "dataset", "tiny-small").stdout.splitlines()[-1] == "no options"


def test_info_shows_a_datasets_shape_splits_licence_and_credit(run_zoo):
    facts = dict(row for row in cells(run_zoo("info", "dataset", "tiny").stdout) if len(row) == 2)
    assert (facts["image_shape"], facts["splits"]) == ("[1, 16, 16]", '{"train": 640, "test": 128}')
    assert (facts["licence"], facts["credit"]) == ("CC0-1.0", "The Autoencoder Zoo developers")


def test_info_as_json_holds_the_options_as_json_schema(run_zoo):
    options = json.loads(run_zoo("info", "decoder", "conv", "--json").stdout)["options"]
    assert options == {
        "width": {
            "type": "integer",
            "minimum": 1,
            "maximum": 256,
            "default": 16,
            "description": "Channels before the last layer.",
        }
    }


def test_info_as_json_holds_a_datasets_facts(run_zoo):
    facts = json.loads(run_zoo("info", "dataset", "tiny", "--json").stdout)
    assert (facts["image_shape"], facts["splits"]) == ([1, 16, 16], {"train": 640, "test": 128})


def test_info_takes_a_qualified_name(run_zoo):
    assert run_zoo("info", "dataset", "zoo-tiny:tiny") == run_zoo("info", "dataset", "tiny")


def test_info_shows_a_models_command_metrics_and_sizes(run_zoo):
    facts = dict(row for row in cells(run_zoo("info", "model", "mnist-mlp").stdout) if len(row) == 2)
    assert facts["command"] == "zoo train --encoder mlp --dataset mnist"
    assert facts["file"].endswith("mnist-mlp.safetensors")
    assert (facts["image_shape"], facts["latent_dim"], facts["epoch"]) == ("[1, 28, 28]", "3", "10")
    assert facts["weights"] == '{"encoder": 50435, "decoder": 51216}'  # 785·64 + 65·3 and 4·64 + 65·784


def test_info_shows_a_models_test_metrics_as_eval_does(run_zoo):
    shown = re.search(r"^test_metrics  (mse .+)$", run_zoo("info", "model", "mnist-mlp").stdout, re.MULTILINE)[1]
    assert run_zoo("eval", "mnist-mlp").stdout == f"mnist test  {shown}\n"


def test_info_shows_what_a_model_was_composed_from(run_zoo):
    _, _, components = run_zoo("info", "model", "mnist-mlp").stdout.partition("components\n")
    assert [[row[0], row[1], row[3]] for row in cells(components)] == [
        ["encoder", "mlp", '{"hidden": [64]}'],
        ["decoder", "mlp", '{"hidden": [64]}'],
        ["objective", "ae", "{}"],
        ["distortion", "mse", "{}"],
        ["dataset", "mnist", '{"root": null}'],
    ]


def test_info_shows_no_setting_of_a_model_that_was_left_at_its_default(run_zoo):
    assert "all settings are the defaults\n" in run_zoo("info", "model", "mnist-mlp").stdout


def test_info_as_json_holds_a_models_facts(run_zoo):
    facts = json.loads(run_zoo("info", "model", "mnist-mlp", "--json").stdout)
    assert facts["test_metrics"].keys() == {"mse", "psnr", "ssim"}
    assert facts["weights"] == {"encoder": 50435, "decoder": 51216}
    assert [component["kind"] for component in facts["components"]] == list(KINDS)
    assert facts["components"][0] == {
        "kind": "encoder",
        "name": "mlp",
        "distribution": "autoencoder-zoo",
        "version": zoo.model.checkpoint.read("mnist-mlp").metadata.components[0].version,
        "options": {"hidden": [64]},
    }


@pytest.mark.parametrize("arguments", [["models", "mnist-mlp"], ["model", "autoencoder-zoo:mnist-mlp"]], ids=" ".join)
def test_info_takes_a_plural_and_a_models_qualified_name(run_zoo, arguments):
    assert run_zoo("info", *arguments) == run_zoo("info", "model", "mnist-mlp")


def tiny_components(run_zoo):
    """Return what `zoo list` shows of zoo-tiny, each as `KIND NAME`."""
    listed = json.loads(run_zoo("list", "--json").stdout)
    return [f"{c['kind']} {c['name']}" for c in listed if c["distribution"] == "zoo-tiny"]


def test_plugins_shows_what_each_plugin_offers(run_zoo):
    offered = tiny_components(run_zoo)
    assert "dataset tiny" in offered
    assert ["tiny", "zoo-tiny 1.0", ", ".join(offered)] in cells(run_zoo("plugins").stdout)


def test_plugins_as_json_shows_what_each_plugin_offers(run_zoo):
    plugins = json.loads(run_zoo("plugins", "--json").stdout)
    assert plugins["not_loaded"] == []
    assert {
        "name": "tiny",
        "module": "zoo_tiny.plugin",
        "distribution": "zoo-tiny",
        "version": "1.0",
        "components": tiny_components(run_zoo),
        "models": [],
    } in plugins["loaded"]


def test_plugins_shows_models_too(run_zoo):
    offered = {row[0]: row[2] for row in cells(run_zoo("plugins").stdout)}
    assert "model mnist-mlp" in offered["models"].split(", ")
    loaded = {plugin["name"]: plugin for plugin in json.loads(run_zoo("plugins", "--json").stdout)["loaded"]}
    assert "mnist-mlp" in loaded["models"]["models"]
    assert loaded["models"]["components"] == []


@pytest.mark.parametrize(
    "arguments", [["list"], ["info", "encoder", "mlp"], ["info", "model", "mnist-mlp"], ["plugins"]], ids=" ".join
)
def test_a_listing_says_nothing_on_stderr(run_zoo, arguments):
    result = run_zoo(*arguments)
    assert (result.status, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["list", "modle"],
            "No kind 'modle'. Did you mean 'model'? The kinds: encoder, decoder, objective, distortion, dataset, "
            "metric, model.",
        ),
        (["list", "classes"], "No kind 'classes'."),
        (["list", "--nonsense"], "--nonsense"),
        (["lst"], "No such command 'lst'"),
        (["info"], "Missing argument"),
        (["info", "encoder"], "Missing argument 'NAME'"),
        (["info", "nonsense", "mlp"], "No kind 'nonsense'. The kinds: encoder, "),
        (["info", "mlp"], "zoo: Say which kind: zoo info encoder mlp or zoo info decoder mlp\n"),
        (["info", "zoo-tiny:tiny"], "zoo: Say which kind: zoo info dataset zoo-tiny:tiny\n"),
        (["info", "encoder"], "zoo info encoder NAME, one of: conv, mlp."),
        (["info", "mnist-mpl"], "No run directory, checkpoint or pretrained model 'mnist-mpl'. Did you mean "),
        (["info", "model", "mnist-mpl"], "No model 'mnist-mpl'. Did you mean 'mnist-mlp'? Models: "),
        (["info", "encoder", "mpl"], "No encoder 'mpl'. Did you mean 'mlp'? Installed: "),
        (["info", "encoder", "two\nlines"], "No encoder 'two"),
        (["plugins", "nonsense"], "unexpected extra argument (nonsense)"),
    ],
    ids=lambda value: shlex.join(value) if isinstance(value, list) else "",
)
def test_a_request_that_cannot_be_is_refused_on_one_line(run_zoo, arguments, complaint):
    result = run_zoo(*arguments)
    assert re.fullmatch(r"zoo: [^\n]+\n", result.stderr)
    assert complaint in result.stderr
    assert (result.status, result.stdout) == (2, "")


def test_debug_shows_the_traceback_of_a_refusal(run_zoo):
    result = run_zoo("info", "encoder", "mpl", "--debug")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.status == 2
