"""RunConfig: a user's settings become a whole run's, and its JSON gives the same run again."""

import json
from typing import Annotated, get_args

import pytest
from pydantic import Field, ValidationError

from zoo import AmbiguousComponentError, ConfigError, DatasetSpec, RunConfig, UnknownComponentError, UsageError, resolve
from zoo.config import MAX_OPTION_VALUES, ComponentConfig, DistortionTerm, flat_settings, read_config, sum_text
from zoo.contract.registry import Component, Plugin, Registry
from zoo.contract.specs import DecoderSpec, DistortionSpec, EncoderSpec, ObjectiveSpec

Width = Annotated[int, Field(ge=1, le=64)]


def encoder(image_shape, out_features, *, widths: tuple[Width, ...] = (8,), dropout: float = 0.0): ...


def decoder(latent_shape, output_shape, *, width: Width = 8): ...


def objective(latent_dim, data): ...


def distortion(image_shape, *, sharpness: float = 1.0): ...


def dataset(split, *, root: str | None = None): ...


def plugin(distribution):
    return Plugin(distribution.removeprefix("zoo-"), "nowhere", distribution, "1.0")


def component(kind, name, distribution="autoencoder-zoo"):
    default = name in ("ae", "mse", "other")
    plain = {"name": name, "target": f"{__name__}:{kind}", "summary": "A test's", "default": default}
    data = {"image_shape": (1, 8, 8), "splits": {"train": 4, "test": 2}, "licence": "CC0-1.0", "credit": "Nobody"}
    specs = {"encoder": EncoderSpec, "decoder": DecoderSpec, "objective": ObjectiveSpec, "distortion": DistortionSpec}
    spec = DatasetSpec(**plain, **data) if kind == "dataset" else specs[kind](**plain)
    return Component(spec, plugin(distribution))


COMPONENTS = [
    component("encoder", "patch"),
    component("encoder", "lonely"),
    component("decoder", "patch"),
    component("decoder", "other"),
    component("objective", "ae"),
    component("distortion", "mse"),
    component("distortion", "sharp"),
    component("dataset", "dots"),
    component("encoder", "both", "zoo-one"),
    component("encoder", "both", "zoo-two"),
    component("decoder", "both", "zoo-one"),
]
REGISTRY = Registry((), COMPONENTS, ())
SETTINGS = {"encoder": "patch", "dataset": "dots"}


def resolved(**settings):
    return resolve(SETTINGS | settings, REGISTRY)


def refusal(**settings):
    """Return the message with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        resolved(**settings)
    return str(caught.value)


def test_an_encoder_and_a_dataset_are_enough():
    config = resolved()
    assert [part.name for _, part in config.parts()] == ["patch", "patch", "ae", "mse", "dots"]


def test_every_option_is_filled_in():
    assert resolved().encoder.options == {"widths": [8], "dropout": 0.0}


def test_options_are_kept_as_json_holds_them():
    config = resolved(encoder={"name": "patch", "options": {"widths": "4, 2", "dropout": "0.5"}})
    assert config.encoder.options == {"widths": [4, 2], "dropout": 0.5}


def test_settings_may_be_text():
    config = resolved(epochs="3", lr="0.5", compile="true")
    assert (config.epochs, config.lr, config.compile) == (3, 0.5, True)


def test_a_setting_of_none_is_one_that_is_not_given():
    assert resolved(epochs=None, warmup=None, decoder=None) == resolved()


def test_the_decoder_may_be_another():
    assert resolved(decoder="other").decoder.name == "other"


@pytest.mark.parametrize(
    "given", ["patch", {"name": "patch"}, ComponentConfig(name="patch")], ids=["text", "dict", "config"]
)
def test_a_component_is_given_by_name_or_with_options(given):
    assert resolved(encoder=given) == resolved()


@pytest.mark.parametrize(
    "text",
    ["mse", "0.1*mse", "mse+0.5*sharp", "0.12345678901234568*mse+1e-07*sharp", "2*mse+1000000*sharp"],
)
def test_a_sum_of_distortions_is_written_as_it_was_typed(text):
    config = resolved(distortion=text)
    assert sum_text(config.distortion) == text
    assert flat_settings(config.model_dump(mode="json"))["distortion"] == text


def test_a_qualified_name_is_kept():
    config = resolved(encoder="zoo-one:both")
    assert (config.encoder.name, config.decoder.name) == ("zoo-one:both", "zoo-one:both")


def test_its_json_gives_the_same_run_again():
    config = resolved(encoder={"name": "patch", "options": {"widths": (4, 2)}}, seed=7, warmup=0.25, lr=0.1)
    assert resolve(json.loads(config.to_json()), REGISTRY) == config


def test_its_json_is_read_back_as_it_was():
    config = resolved(gradient_clip=1.5, accumulate=2)
    assert RunConfig.model_validate_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "lr"),
    [
        ({}, 0.01),
        ({"scheduler": "one-cycle"}, 0.01),
        ({"scheduler": "none"}, 0.003),
        ({"scheduler": "cosine"}, 0.003),
        ({"scheduler": "plateau"}, 0.003),
        ({"scheduler": "none", "lr": None}, 0.003),
        ({"scheduler": "none", "lr": 0.01}, 0.01),
    ],
    ids=str,
)
def test_the_default_learning_rate_is_that_of_the_scheduler(settings, lr):
    config = resolved(**settings)
    assert config.lr == json.loads(config.to_json())["lr"] == lr


def test_a_config_of_before_a_setting_was_introduced_has_its_default():
    settings = json.loads(resolved(scheduler="none", lr=0.02).to_json())
    old = {name: value for name, value in settings.items() if name not in ("keep", "monitor")}
    config = RunConfig.model_validate(old)
    assert (config.lr, config.keep, config.monitor) == (0.02, "best", "val_loss")


def test_its_json_ends_with_a_newline():
    assert resolved().to_json().endswith("}\n")


@pytest.mark.parametrize("name", RunConfig.model_fields)
def test_every_setting_is_in_the_json(name):
    assert name in json.loads(resolved().to_json())


@pytest.mark.parametrize("name", RunConfig.model_fields)
def test_every_setting_says_what_it_is(name):
    assert RunConfig.model_fields[name].description


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        resolved().epochs = 3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", 4097),
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", "many"),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", -0.1),
        ("lr", "nan"),
        ("lr", float("inf")),
        ("scheduler", "linear"),
        ("warmup", 1),
        ("warmup", -0.1),
        ("seed", -1),
        ("seed", 2**63),
        ("validation_fraction", 0),
        ("validation_fraction", 1),
        ("gradient_clip", 0),
        ("gradient_clip", "inf"),
        ("accumulate", 0),
        ("ema", 0),
        ("ema", 1),
        ("early_stopping", 0),
        ("devices", 0),
        ("num_nodes", 0),
        ("precision", "8"),
        ("compile", "perhaps"),
        ("accelerator", 3),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_its_name_in_python_and_its_flag(setting, value):
    flag = "--" + setting.replace("_", "-")
    assert refusal(**{setting: value}).startswith(f"{setting} ({flag}): must be ")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("latent_dim", 1),
        ("latent_dim", 4096),
        ("epochs", 1),
        ("lr", 1e-9),
        ("warmup", 0),
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("early_stopping", 1),
    ],
)
def test_a_setting_at_its_bound_is_taken(setting, value):
    assert getattr(resolved(**{setting: value}), setting) == value


@pytest.mark.parametrize("scheduler", get_args(RunConfig.model_fields["scheduler"].annotation))
def test_each_choice_of_a_setting_is_taken(scheduler):
    assert resolved(scheduler=scheduler).scheduler == scheduler


def test_a_refusal_says_what_was_wrong_and_what_would_be_right():
    assert refusal(epochs=0) == "epochs (--epochs): must be greater than or equal to 1, got 0"


def test_an_unknown_setting_is_refused_with_a_close_one():
    assert refusal(epoch=3) == "Unknown setting 'epoch'. Did you mean 'epochs'?"


def test_an_unknown_option_is_refused_with_a_close_one():
    message = refusal(encoder={"name": "patch", "options": {"width": 3}})
    assert message == "Unknown option 'encoder.width'. Did you mean 'widths'? Its options: widths, dropout."


def test_an_option_out_of_bounds_is_refused_by_its_name():
    message = refusal(decoder={"name": "patch", "options": {"width": 65}})
    assert message == "decoder.width: must be less than or equal to 64, got 65"


def test_options_that_a_checkpoint_could_not_hold_are_refused():
    message = refusal(encoder={"name": "patch", "options": {"widths": [8] * MAX_OPTION_VALUES}})
    assert message.startswith(f"encoder.options: a component's options hold at most {MAX_OPTION_VALUES} values")


def test_an_option_that_json_cannot_hold_is_refused():
    assert refusal(encoder={"name": "patch", "options": {"dropout": "nan"}}).startswith("encoder.dropout: ")


@pytest.mark.parametrize(
    "part",
    [3, [], {}, {"options": {}}, {"name": 3}, {"name": "patch", "options": 3}, {"name": "patch", "opt": {}}],
    ids=repr,
)
def test_a_malformed_component_is_refused(part):
    assert refusal(encoder=part, decoder="patch").startswith("encoder")


@pytest.mark.parametrize("part", [3, [], {}, {"name": 3}], ids=repr)
def test_a_malformed_encoder_is_not_blamed_on_the_decoder(part):
    assert refusal(encoder=part).startswith("encoder")


@pytest.mark.parametrize("kind", ["encoder", "dataset"])
def test_a_run_without_encoder_or_dataset_is_refused_with_the_choices(kind):
    message, _, choices = refusal(**{kind: None}).rstrip(".").partition(", one of: ")
    assert message == f"No {kind} given: --{kind} NAME"
    assert set(choices.split(", ")) == {known.name for known in REGISTRY.components(kind)}


def test_an_encoder_without_a_decoder_of_its_name_gets_the_default_one():
    assert resolved(encoder="lonely").decoder.name == "other"


@pytest.mark.parametrize(("kind", "without"), [("decoder", "lonely"), ("objective", "patch"), ("distortion", "patch")])
def test_where_no_component_is_the_default_one_must_be_named(kind, without):
    registry = Registry((), [c for c in COMPONENTS if not (c.kind == kind and c.spec.default)], ())
    with pytest.raises(ConfigError, match=rf"^No {kind} given: --{kind} NAME, one of: "):
        resolve({"encoder": without, "dataset": "dots"}, registry)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "objective", "distortion", "dataset"])
def test_an_unknown_component_is_refused(kind):
    with pytest.raises(UnknownComponentError, match=f"^No {kind} 'nothing'"):
        resolved(**{kind: "nothing"})


def test_a_name_that_two_plugins_offer_is_refused():
    with pytest.raises(AmbiguousComponentError, match="'zoo-one:both' or 'zoo-two:both'"):
        resolved(encoder="both")


def test_component_options_are_what_the_target_takes():
    options = COMPONENTS[0].parse_options({"widths": [4, 2]})
    assert options == {"widths": (4, 2), "dropout": 0.0}


def test_a_file_of_settings_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(resolved(epochs=3).to_json(), encoding="utf-8")
    assert resolve(read_config(path), REGISTRY) == resolved(epochs=3)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"9" * 5000],
    ids=["empty", "cut short", "a list", "a number", "not UTF-8", "deep", "a huge number"],
)
def test_a_file_that_holds_no_settings_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.json"):
        read_config(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^Cannot read .*missing\.json: No such file or directory\.$"):
        read_config(tmp_path / "missing.json")


def test_a_directory_is_no_file_of_settings(tmp_path):
    with pytest.raises(UsageError, match=r"^Cannot read .*: Is a directory\.$"):
        read_config(tmp_path)


# Distortions


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse", [("mse", 1.0)]),
        ("mse+sharp", [("mse", 1.0), ("sharp", 1.0)]),
        ("mse+0.1*sharp", [("mse", 1.0), ("sharp", 0.1)]),
        (" 2*mse + 1e-3 * sharp ", [("mse", 2.0), ("sharp", 1e-3)]),
        ("sharp", [("sharp", 1.0)]),
    ],
)
def test_a_sum_of_distortions_is_written_as_text(text, terms):
    config = resolved(distortion=text)
    assert [(term.name, term.weight) for term in config.distortion] == terms
    assert resolve(json.loads(config.to_json()), REGISTRY) == config


@pytest.mark.parametrize(
    "given",
    [
        {"name": "sharp", "options": {"sharpness": 2.0}},
        [{"name": "sharp", "options": {"sharpness": "2"}, "weight": 1}],
        DistortionTerm(name="sharp", options={"sharpness": 2}),
    ],
    ids=["dict", "list", "config"],
)
def test_a_distortion_is_given_with_options(given):
    (term,) = resolved(distortion=given).distortion
    assert (term.name, term.weight, term.options) == ("sharp", 1.0, {"sharpness": 2.0})


@pytest.mark.parametrize("text", ["mse", "mse+sharp", "mse+0.1*sharp", "0.5*mse+0.001*sharp"])
def test_a_sum_is_shown_as_it_is_written(text):
    config = resolved(distortion=text)
    assert sum_text(config.distortion) == text
    assert flat_settings(json.loads(config.to_json()))["distortion"] == text


def test_the_options_of_a_distortion_are_shown_by_its_name():
    flat = flat_settings(json.loads(resolved(distortion="mse+0.1*sharp").to_json()))
    assert flat["distortion.sharp.sharpness"] == 1.0
    assert flat["encoder.dropout"] == 0.0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", r"distortion (--distortion): a sum of distortions reads NAME+WEIGHT*NAME, e.g. l1+0.1*perceptual"),
        ("mse+", r"distortion (--distortion): a sum of distortions reads NAME+WEIGHT*NAME"),
        ("mse+x*sharp", r"distortion (--distortion): a sum of distortions reads NAME+WEIGHT*NAME"),
        ("mse+-1*sharp", r"distortion (--distortion): a sum of distortions reads NAME+WEIGHT*NAME"),
        ("1.2.3*mse", r"distortion (--distortion): a sum of distortions reads NAME+WEIGHT*NAME"),
        ("mse+0*sharp", "distortion.1.weight: must be greater than 0, got 0.0"),
        ("1e9*mse", "distortion.0.weight: must be less than or equal to 1000000, got 1000000000.0"),
        ("mse+0.5*mse", "distortion (--distortion): 'mse' stands in the sum twice."),
        ("mse+autoencoder-zoo:mse", "distortion (--distortion): 'mse' stands in the sum twice."),
        ([], "distortion (--distortion): "),
        ([{"name": "mse"}] * 17, "distortion (--distortion): "),
        (3, "distortion (--distortion): "),
        ([{"name": "mse", "weight": "nan"}], "distortion.0.weight: "),
        ([{"name": "mse", "power": 2}], "distortion.0.power: "),
        ({"name": "sharp", "options": {"blur": 1}}, "Unknown option 'distortion.sharp.blur'. Its options: sharpness."),
        ({"name": "sharp", "options": {"sharpness": "x"}}, "distortion.sharp.sharpness: must be a valid number"),
    ],
    ids=repr,
)
def test_a_malformed_distortion_is_refused(given, complaint):
    assert refusal(distortion=given).startswith(complaint)


def test_labels_of_images_are_dropped_within_bounds_only():
    assert resolved(conditional=True).label_dropout == 0.1
    assert refusal(label_dropout=1.5).startswith("label_dropout (--label-dropout): must be less than or equal to 1")


# Optimizers


@pytest.mark.parametrize(("given", "betas"), [("0.5,0.9", (0.5, 0.9)), ([0.5, 0.9], (0.5, 0.9)), ("0, 0", (0.0, 0.0))])
def test_betas_are_two_numbers(given, betas):
    assert resolved(betas=given).betas == betas
    assert resolved(adversary_betas=given).adversary_betas == betas


@pytest.mark.parametrize("given", ["0.9", "0.9,0.99,0.999", "0.9,1", "-0.1,0.9", "a,b", 0.9], ids=repr)
def test_other_betas_are_refused(given):
    assert refusal(betas=given).startswith("betas")


@pytest.mark.parametrize(("given", "milestones"), [("200,350", (200, 350)), ("3", (3,)), ([1, 2], (1, 2)), ("", ())])
def test_milestones_are_epochs(given, milestones):
    assert resolved(scheduler="multi-step", milestones=given).milestones == milestones


@pytest.mark.parametrize("given", ["0", "-1", "2.5", "x", list(range(1, 102))], ids=str)
def test_other_milestones_are_refused(given):
    assert refusal(milestones=given).startswith("milestones")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("optimizer", "lion"), ("weight_decay", -1), ("factor", 1), ("factor", 0), ("adversary_lr", 0)],
)
def test_other_settings_of_the_optimizer_are_refused(setting, value):
    assert refusal(**{setting: value}).startswith(f"{setting} (--{setting.replace('_', '-')}): must be ")
