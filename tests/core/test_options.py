"""A component's keyword-only arguments are its options: in the signature, on the command line, in JSON."""

import enum
import functools
import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ImportString

from zoo.contract.options import REQUIRED, describe, options_of, parse_options
from zoo.errors import ConfigError, PluginError

Width = Annotated[int, Field(ge=1, le=4096)]
Hidden = Annotated[tuple[Width, ...], Field(max_length=3)]


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


class Encoder:
    """An encoder.

    Args:
        image_shape: Not an option.
        width: Channels of
            the first layer.
        rate (float): Share that is dropped: none by default.

    Returns:
        mode: Nothing that concerns an option.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *others: int,
        width: Width = 32,
        rate: float = 0.0,
        mode: Annotated[Mode, Field(description="How it is done.")] = Mode.FAST,
        **rest: int,
    ) -> None: ...


class Unserialisable: ...


def option_of(annotation, default=REQUIRED):
    """Return the one option of a target that declares it with this annotation."""

    def target(*, option): ...

    target.__annotations__ = {"option": annotation}
    target.__kwdefaults__ = None if default is REQUIRED else {"option": default}
    (option,) = options_of(target)
    return option


def parse(annotation, value):
    return parse_options("encoder", (option_of(annotation),), {"option": value})["option"]


def test_the_keyword_only_arguments_of_a_class_are_its_options():
    assert [option.name for option in options_of(Encoder)] == ["width", "rate", "mode"]


def test_the_keyword_only_arguments_of_a_function_are_its_options():
    def dataset(split: str, *, root: str | None = None, seed: int = 0) -> None: ...

    assert [option.name for option in options_of(dataset)] == ["root", "seed"]


def test_a_class_without_a_constructor_has_no_options():
    assert options_of(Unserialisable) == ()


def test_an_option_has_the_default_of_its_argument():
    assert [option.default for option in options_of(Encoder)] == [32, 0.0, Mode.FAST]


def test_an_option_without_a_default_is_required():
    assert option_of(int).default is REQUIRED


def test_the_help_comes_from_the_docstring_or_the_field():
    helps = {option.name: option.help for option in options_of(Encoder)}
    assert helps == {
        "width": "Channels of the first layer.",
        "rate": "Share that is dropped: none by default.",
        "mode": "How it is done.",
    }


def test_the_constructors_own_docstring_helps_too():
    class Decoder:
        def __init__(self, *, width: int = 32) -> None:
            """Make one.

            Args:
                width: Channels.
            """

    assert options_of(Decoder)[0].help == "Channels."


def test_an_option_without_a_documented_argument_has_no_help():
    assert option_of(int).help == ""


def test_the_schema_has_bounds_default_and_description():
    schema = options_of(Encoder)[0].schema()
    assert schema == {
        "type": "integer",
        "minimum": 1,
        "maximum": 4096,
        "default": 32,
        "description": "Channels of the first layer.",
    }


def without_annotation():
    def target(*, option=3): ...

    return target


def with_unknown_annotation():
    def target(*, option: "Nowhere" = 3): ...  # noqa: F821

    return target


def with_default(annotation, default):
    def target(*, option): ...

    target.__annotations__ = {"option": annotation}
    target.__kwdefaults__ = {"option": default}
    return target


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(without_annotation(), id="no annotation"),
        pytest.param(with_unknown_annotation(), id="an annotation that names nothing"),
        pytest.param(with_default(Unserialisable, None), id="a type that cannot be validated"),
        pytest.param(with_default(list, [Unserialisable()]), id="a default that JSON cannot hold"),
        pytest.param(with_default(bytes, b"\xff"), id="bytes that JSON cannot hold"),
        pytest.param(with_default(float, float("inf")), id="an infinite default"),
    ],
)
def test_an_option_that_cannot_be_kept_is_the_plugins_fault(target):
    with pytest.raises(PluginError, match="option"):
        options_of(target)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(Width, 0), (int, None), (int, "many")],
    ids=["out of bounds", "none", "another type"],
)
def test_a_default_that_its_own_annotation_refuses_is_the_plugins_fault(annotation, default):
    with pytest.raises(PluginError, match="option"):
        options_of(with_default(annotation, default))


def test_a_target_that_cannot_be_called_is_the_plugins_fault():
    with pytest.raises(PluginError):
        options_of(3)


def test_a_partial_function_may_be_a_target():
    def dataset(split: str, *, noise: float = 0.0, seed: int = 0) -> None: ...

    options = options_of(functools.partial(dataset, noise=0.5))
    assert {option.name: option.default for option in options} == {"noise": 0.5, "seed": 0}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "64", 64),
        (float, "0.5", 0.5),
        (float, "1e-3", 1e-3),
        (bool, "true", True),
        (bool, "no", False),
        (str, "none", "none"),
        (str, "a,b", "a,b"),
        (str | None, "none", None),
        (str | None, "~/data", "~/data"),
        (Annotated[int | None, Field(ge=1)], "None", None),
        (Hidden, "256, 64", (256, 64)),
        (Hidden, "256", (256,)),
        (Hidden, "", ()),
        (Hidden | None, "256,64", (256, 64)),
        (list[str], "a,b", ["a", "b"]),
        (Mode, "exact", Mode.EXACT),
        (Literal["a", "b"], "b", "b"),
        (Path, "somewhere", Path("somewhere")),
    ],
)
def test_text_from_the_command_line_is_parsed(annotation, text, value):
    assert parse(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Width, 64),
        (float, 0.1),
        (bool, True),
        (str | None, None),
        (Hidden, (256, 64)),
        (Mode, Mode.EXACT),
        (Path, Path("somewhere")),
        (dict[str, int], {"a": 1}),
        (tuple[int, int], (3, 4)),
    ],
)
def test_a_value_survives_the_way_through_json(annotation, value):
    text = json.dumps(option_of(annotation).to_json(value))
    assert parse(annotation, json.loads(text)) == value


@pytest.mark.parametrize(
    ("annotation", "value", "complaint"),
    [
        (Width, 0, "encoder.option: must be greater than or equal to 1, got 0"),
        (Width, "5000", "encoder.option: must be less than or equal to 4096, got '5000'"),
        (Width, "wide", "encoder.option: must be a valid integer, got 'wide'"),
        (Width, 1.5, "encoder.option: must be a valid integer, got 1.5"),
        (float, "wide", "encoder.option: must be a valid number, got 'wide'"),
        (bool, "wide", "encoder.option: must be a valid boolean, got 'wide'"),
        (date, "wide", "encoder.option: must be a valid date or datetime, input is too short, got 'wide'"),
        (Literal["a, b", "c"], "d", "encoder.option: must be 'a, b' or 'c', got 'd'"),
        (Hidden, "64,0", "encoder.option: must be greater than or equal to 1, got '0'"),
        (Literal["a", "b"], "c", "encoder.option: must be 'a' or 'b', got 'c'"),
        (str, 5, "encoder.option: must be a valid string, got 5"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(annotation, value, complaint):
    with pytest.raises(ConfigError) as caught:
        parse(annotation, value)
    assert str(caught.value) == complaint


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", float("nan")], ids=repr)
def test_a_number_that_json_cannot_hold_is_refused(value):
    with pytest.raises(ConfigError, match=r"^encoder\.option: "):
        parse(float, value)


def test_what_a_message_quotes_is_on_one_line_and_short():
    with pytest.raises(ConfigError) as caught:
        parse(int, "\x1b[31m\n" + "9" * 1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_options_that_are_not_given_have_their_defaults():
    assert parse_options("encoder", options_of(Encoder), {"width": 8}) == {"width": 8, "rate": 0.0, "mode": Mode.FAST}


@pytest.mark.parametrize("annotation", [ImportString, ImportString[Any] | None, list[ImportString]], ids=str)
def test_an_option_that_would_import_what_a_checkpoint_names_is_refused(annotation):
    with pytest.raises(PluginError, match=r"^option 'option' of .* is an import path"):
        option_of(annotation)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        parse_options("encoder", options_of(Encoder), {"widht": 8})
    expected = "Unknown option 'encoder.widht'. Did you mean 'width'? Its options: width, rate, mode."
    assert str(caught.value) == expected


def test_an_unknown_option_of_a_component_that_has_none_is_refused():
    with pytest.raises(ConfigError, match=r"^Unknown option 'encoder\.width'\. It has none\.$"):
        parse_options("encoder", (), {"width": 8})


def test_a_positional_argument_is_no_option():
    with pytest.raises(ConfigError, match=r"^Unknown option 'encoder\.image_shape'\."):
        parse_options("encoder", options_of(Encoder), {"image_shape": (1, 28, 28)})


def test_a_required_option_that_is_missing_is_refused_with_what_to_type():
    with pytest.raises(ConfigError, match=r"^'encoder\.option' must be given: --set encoder\.option=VALUE$"):
        parse_options("encoder", (option_of(int),), {})


@pytest.mark.parametrize(
    ("annotation", "description"),
    [
        (int, "integer"),
        (bool, "boolean"),
        (str | None, "string or none"),
        (Width, "integer, 1 to 4096"),
        (Annotated[int, Field(ge=1)], "integer, at least 1"),
        (Annotated[float, Field(lt=1)], "number, under 1"),
        (Annotated[float, Field(gt=0, lt=1)], "number, over 0 and under 1"),
        (Annotated[float, Field(gt=0, le=1)], "number, over 0 and at most 1"),
        (Annotated[float, Field(ge=0, lt=1)], "number, at least 0 and under 1"),
        (Annotated[int, Field(ge=0, le=0)], "integer, 0 to 0"),
        (Literal["a", "b"], "a or b"),
        (Mode, "fast or exact"),
        (tuple[int, ...], "values, each integer"),
        (Hidden, "up to 3 values, each integer, 1 to 4096"),
    ],
)
def test_a_type_is_described_as_a_reader_says_it(annotation, description):
    assert describe(option_of(annotation).schema()) == description


def test_a_pair_is_not_described_as_up_to_two_values():
    assert not describe(option_of(tuple[int, int]).schema()).startswith("up to")


def test_a_choice_among_numbers_is_set_from_text():
    assert option_of(Literal[18, 34]).parse("34") == 34
    assert option_of(Annotated[Literal[18, 34], "depth"]).parse("18") == 18
