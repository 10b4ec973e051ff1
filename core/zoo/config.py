"""RunConfig: everything that defines a run, validated, JSON in and out.

The fields of `RunConfig` are also the flags of `zoo train` (`gradient_clip` is `--gradient-clip`):
a setting is declared here and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from zoo.contract.options import count_values, explain, options_of, parse_options
from zoo.contract.registry import Component, Registry, installed
from zoo.contract.specs import KINDS, Kind
from zoo.errors import ConfigError, UsageError, did_you_mean, printable
from zoo.files import open_regular


def _split(value: Any) -> Any:
    """Return the values of a command line's `0.9,0.999`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], BeforeValidator(_split)]
Milestones = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...], Field(max_length=100), BeforeValidator(_split)
]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # weights stay float32 in all of them


ONE_CYCLE_LR = 0.01  # The peak of the one-cycle schedule, which is held only briefly.
OTHER_LR = 0.003  # The other schedulers start at it or stay at it.
MAX_OPTION_VALUES = 2000  # Checkpoints hold them, and one with far more values is refused.
MAX_TERMS = 16  # A sum of distortions has at most this many terms.

_TERM = re.compile(r"\s*(?:(?P<weight>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e-?[0-9]+)?)\s*\*\s*)?(?P<name>[^\s*]+)\s*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class ComponentConfig(_Frozen):
    """A component by name, with its options as JSON values."""

    name: StrictStr
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _not_too_many(cls, options: dict[str, Any]) -> dict[str, Any]:
        if (count := count_values(options)) > MAX_OPTION_VALUES:
            raise ValueError(f"a component's options hold at most {MAX_OPTION_VALUES} values, not {count}")
        return options

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class DistortionTerm(ComponentConfig):
    """A distortion, and its weight in a sum of them."""

    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0


def distortion_terms(value: Any) -> Any:
    """Return the terms of a sum that is written as text, `l1+0.1*perceptual`; one term becomes a sum of one."""
    if isinstance(value, str):
        terms = [_TERM.fullmatch(text) for text in value.split("+")]
        if not all(terms):
            raise ValueError("a sum of distortions reads NAME+WEIGHT*NAME, e.g. l1+0.1*perceptual")
        return [{"name": t["name"], "weight": float(t["weight"] or 1)} for t in terms if t]
    return [value] if isinstance(value, Mapping | ComponentConfig) else value


def sum_text(terms: Sequence[DistortionTerm]) -> str:
    """Return a sum of distortions as it is written on the command line."""
    return "+".join(_term_text(term.weight, term.name) for term in terms)


Distortion = Annotated[
    tuple[DistortionTerm, ...], Field(min_length=1, max_length=MAX_TERMS), BeforeValidator(distortion_terms)
]


class RunConfig(_Frozen):
    """Everything that defines a run.

    `resolve` makes one from a user's settings: components looked up, their options validated and
    filled in. Its JSON is a run's `config.json`, and part of every checkpoint.
    """

    encoder: ComponentConfig = Field(description="Encoder, see `zoo list encoder`.")
    decoder: ComponentConfig = Field(description="Decoder, see `zoo list decoder`; by default the encoder's name.")
    objective: ComponentConfig = Field(
        description="What the latent is and what training minimises, see `zoo list objective`."
    )
    distortion: Distortion = Field(
        description="Reconstruction loss, see `zoo list distortion`, or a sum of them, e.g. l1+0.1*perceptual."
    )
    dataset: ComponentConfig = Field(description="Dataset, see `zoo list dataset`.")
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = Field(
        3, description="Size of the latent; its channels where it is maps."
    )
    conditional: bool = Field(False, description="Tell the decoder the class of each image.")
    label_dropout: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="With --conditional, the share of training images whose class is not told."
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(10, description="Passes over the training images.")
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        128, description="Images a batch, over all devices together."
    )
    lr: Annotated[float, Field(gt=0, le=1e3)] = Field(
        description="Learning rate; the schedule's peak. "
        f"By default {ONE_CYCLE_LR} with one-cycle, {OTHER_LR} with the other schedulers."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Optimizer.")
    betas: Betas = Field(
        (0.9, 0.999),
        description="Adam's betas; the first is the momentum of sgd, which one-cycle moves between 0.85 and 0.95.",
    )
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = Field(0.0, description="Weight decay.")
    scheduler: Literal["none", "one-cycle", "cosine", "plateau", "multi-step"] = Field(
        "one-cycle", description="Learning-rate schedule."
    )
    milestones: Milestones = Field(
        (), description="With multi-step, the epochs after which the learning rate falls, e.g. 200,350."
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="With multi-step, what the learning rate is multiplied by."
    )
    adversary_lr: Annotated[float, Field(gt=0, le=1e3)] | None = Field(
        None, description="Learning rate of an adversary; by default what its owner declares."
    )
    adversary_betas: Betas | None = Field(
        None, description="Betas of an adversary's Adam; by default what its owner declares."
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Share of the steps in which the learning rate rises; one-cycle has 0.3, the others 0."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Decides the weights, the validation images, the order and all noise."
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="Share of the training images cut off for validation."
    )
    gradient_clip: Annotated[float, Field(gt=0)] | None = Field(None, description="Largest norm of the gradient.")
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, description="Batches an optimizer step.")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Decay of an exponential moving average of the weights, e.g. 0.999; "
        "at most (1 + step) / (10 + step), so that short runs forget their first weights.",
    )
    early_stopping: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after this many epochs in which the monitored column did not fall."
    )
    keep: Literal["best", "last"] = Field(
        "best", description="Which epoch's weights to keep: where the monitored column is lowest, or the last."
    )
    monitor: StrictStr = Field(
        "val_loss",
        description="Validation column of metrics.csv that keep, early stopping and plateau follow; lower is better.",
    )
    accelerator: StrictStr = Field("auto", description="Lightning's accelerator: auto, cpu, cuda, mps, …")
    devices: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1, description="Devices a node; under torchrun its own numbers count."
    )
    num_nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="Machines that train together.")
    strategy: StrictStr = Field("auto", description="Lightning's strategy: auto, ddp, …")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads of each process; by default one for small models, else all cores."
    )
    precision: Precision = Field("32-true", description="Lightning's precision.")
    compile: bool = Field(False, description="Compile the training step with torch.compile.")

    @model_validator(mode="before")
    @classmethod
    def _with_lr(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping) or settings.get("lr") is not None:
            return settings
        scheduler = settings.get("scheduler", cls.model_fields["scheduler"].default)
        return {**settings, "lr": default_lr(scheduler)}

    def parts(self) -> Iterator[tuple[Kind, ComponentConfig]]:
        """Give out the components with their kinds; of distortions there may be several."""
        yield "encoder", self.encoder
        yield "decoder", self.decoder
        yield "objective", self.objective
        for term in self.distortion:
            yield "distortion", term
        yield "dataset", self.dataset

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def resolve(settings: Mapping[str, Any], registry: Registry | None = None) -> RunConfig:
    """Return the run that a user's settings mean.

    Args:
        settings: Fields of `RunConfig` by name; a component by its name or as
            `{"name": …, "options": {…}}`, a distortion also as a list of these, each with a
            `weight`. Where there is no decoder of the encoder's name, and for the objective and the
            distortion, the defaults are the components whose specs say so.
        registry: The components to choose from; those installed by default.

    Raises:
        ConfigError: A setting or option is unknown, missing, of the wrong type or out of bounds.
        UnknownComponentError: No such component.
        AmbiguousComponentError: Several plugins offer the name.
    """
    registry = registry or installed()
    for name in settings:
        if name not in RunConfig.model_fields:
            raise ConfigError(f"Unknown setting '{printable(name)}'." + did_you_mean(name, RunConfig.model_fields))
    given = {name: value for name, value in settings.items() if value is not None}
    for kind in ("encoder", "dataset"):
        if kind not in given:
            known = ", ".join(c.name for c in registry.components(kind))
            raise ConfigError(f"No {kind} given: --{kind} NAME, one of: {known}.")
    given.setdefault("decoder", default_decoder(given["encoder"], registry))
    given.setdefault("objective", registry.default("objective").name)
    given.setdefault("distortion", registry.default("distortion").name)
    try:
        config = RunConfig.model_validate(given)
    except ValidationError as error:
        name, *inside = map(str, error.errors()[0]["loc"])
        location = ".".join([name, *inside]) if inside else setting(name)
        raise ConfigError(f"{location}: {explain(error)}") from error
    _require_different(config.distortion, registry)
    parts = [(kind, _resolve_component(kind, part, registry)) for kind, part in config.parts()]
    terms = tuple(part for kind, part in parts if kind == "distortion")
    return config.model_copy(update={**dict(parts), "distortion": terms})


def default_lr(scheduler: str) -> float:
    """Return the learning rate that goes with a scheduler, where none is given."""
    return ONE_CYCLE_LR if scheduler == "one-cycle" else OTHER_LR


def flag_of(name: str) -> str:
    """Return a setting's flag of `zoo train`."""
    return "--" + name.replace("_", "-")


def setting(name: str) -> str:
    """Return how messages name a setting, for readers in Python and on the command line."""
    return f"{name} ({flag_of(name)})"


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON file such as a run's `config.json`.

    Raises:
        UsageError: It cannot be read, or holds no JSON object.
    """
    try:
        with open_regular(path) as file:
            settings = json.loads(file.read(2**20))  # bytes: a thousand times what a config takes
    except OSError as error:
        raise UsageError(f"Cannot read {printable(path)}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{printable(path)} is not JSON: {printable(error)}.") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{printable(path)} must hold a JSON object such as a run's config.json.")
    return settings


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config's JSON by the names that they are set by: `lr`, `encoder`, `encoder.hidden`."""
    flat = dict(settings)
    for kind in KINDS:
        part = flat.get(kind)
        if isinstance(part, Mapping):
            flat[kind] = part.get("name")
            flat |= _flat_options(kind, part)
        if kind == "distortion" and isinstance(part, list) and all(isinstance(term, Mapping) for term in part):
            flat[kind] = "+".join(_term_text(term.get("weight", 1), term.get("name")) for term in part)
            for term in part:
                flat |= _flat_options(f"{kind}.{term.get('name')}", term)
    return flat


def _flat_options(owner: str, part: Mapping[str, Any]) -> dict[str, Any]:
    options = part.get("options")
    return {f"{owner}.{name}": value for name, value in options.items()} if isinstance(options, Mapping) else {}


def _term_text(weight: Any, name: Any) -> str:
    return str(name) if weight == 1 else f"{str(weight).removesuffix('.0')}*{name}"


def default_decoder(encoder: Any, registry: Registry | None = None) -> str:
    """Return the decoder that goes with an encoder: the one of its name, or else the default one."""
    registry = registry or installed()
    name = encoder.get("name") if isinstance(encoder, Mapping) else getattr(encoder, "name", encoder)
    return name if isinstance(name, str) and registry.has("decoder", name) else registry.default("decoder").name


@dataclass(frozen=True)
class Components:
    """The components that a model is built from."""

    encoder: Component
    decoder: Component
    objective: Component
    distortions: tuple[Component, ...]

    def __iter__(self) -> Iterator[Component]:
        yield from (self.encoder, self.decoder, self.objective, *self.distortions)


def components_of(config: RunConfig, registry: Registry | None = None) -> Components:
    """Return the installed components that a config names.

    Raises:
        UnknownComponentError, AmbiguousComponentError: As `Registry.get`.
    """
    registry = registry or installed()
    return Components(
        registry.get("encoder", config.encoder.name),
        registry.get("decoder", config.decoder.name),
        registry.get("objective", config.objective.name),
        tuple(registry.get("distortion", term.name) for term in config.distortion),
    )


def _require_different(terms: Sequence[DistortionTerm], registry: Registry) -> None:
    components = [registry.get("distortion", term.name) for term in terms]
    for component in components:
        if components.count(component) > 1:
            raise ConfigError(f"{setting('distortion')}: '{component.name}' stands in the sum twice.")


def _resolve_component(kind: Kind, part: ComponentConfig, registry: Registry) -> ComponentConfig:
    component = registry.get(kind, part.name)
    options = options_of(component.load())
    label = f"{kind}.{part.name}" if kind == "distortion" else kind
    parsed = parse_options(label, options, part.options)
    return part.model_copy(update={"options": {o.name: o.to_json(parsed[o.name]) for o in options}})
