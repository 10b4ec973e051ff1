"""`zoo train`: its flags are the fields of `RunConfig`."""

from __future__ import annotations

import contextlib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from zoo.cli.common import metrics_text, set_option, waiting, with_example
from zoo.cli.completion import Completion, choices, component_names, directory
from zoo.cli.hints import meant_components
from zoo.contract.specs import KINDS, Kind
from zoo.errors import ConfigError, command, printable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from zoo.training.runs import Run


logger_option = click.option("--logger", type=click.Choice(["tensorboard"]), help="A second log beside metrics.csv.")
quiet_option = click.option("--quiet", is_flag=True, help="Print nothing but errors.")


class _TrainCommand(click.Command):
    """Adds a flag for each field of `RunConfig`, when they are first needed: pydantic takes a while."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from zoo.config import RunConfig

        fields = RunConfig.model_fields.items()
        # While the shell completes a line, no broken plugin may complain: the defaults are left out.
        flags: list[click.Parameter] = [
            _flag(name, field, None if ctx.resilient_parsing else _default_of(name, field)) for name, field in fields
        ]
        return flags + super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments without a flag, as click does, and say which flags they may want."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            plural = "s" if len(rest) > 1 else ""
            given = [kind for kind in KINDS if ctx.params.get(kind) is not None]
            meant = meant_components(rest, given)
            raise click.UsageError(f"Got unexpected extra argument{plural} ({' '.join(rest)}).{meant}", ctx)
        return rest


@with_example(
    "zoo train --encoder mlp --dataset mnist",
    "zoo train --encoder conv --objective vae --dataset mnist --latent-dim 8 --set objective.beta=0.5",
)
@click.command(cls=_TrainCommand)
@set_option
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path),
              help="Settings to start from, such as a run's config.json; flags go over them.")  # fmt: skip
@click.option("--output", metavar="DIR", shell_complete=directory,
              help="Run directory; by default a new one under runs/.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run in --output where it stopped, if it was begun.")
@logger_option
@quiet_option
def train(
    *,
    options: dict[str, dict[str, str]],
    config_file: Path | None,
    output: str | None,
    resume: bool,
    logger: typing.Literal["tensorboard"] | None,
    quiet: bool,
    **flags: Any,
) -> None:
    """Train an autoencoder and keep it in a run directory."""
    with waiting("Loading PyTorch Lightning…"):
        from zoo.config import read_config, resolve

        settings = read_config(config_file) if config_file else {}
        settings |= {name: value for name, value in flags.items() if value is not None}
        config = resolve(_with_options(settings, options))

        from zoo.training.fit import train as train_run
    run = train_run(config, output=output, resume=resume, quiet=quiet, logger=logger)
    if not quiet:
        report(run)


def _with_options(settings: dict[str, Any], options: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return the settings with what `--set` gave put into their components."""
    for name, given in options.items():
        kind, _, distortion = name.partition(".")
        if kind not in settings:
            settings[kind] = _default(kind, settings, next(iter(given)))
        if kind == "distortion":
            settings[kind] = _with_distortion_options(settings[kind], distortion, given)
        else:
            settings[kind] = _part_with_options(settings[kind], given)
    return settings


def _default(kind: str, settings: dict[str, Any], option: str) -> str:
    """Return the component that an option is for where none of its kind was named."""
    from zoo.config import default_decoder
    from zoo.contract.options import options_of
    from zoo.contract.registry import installed

    if kind == "decoder":
        return default_decoder(settings.get("encoder"))
    if kind == "distortion":
        return installed().default("distortion").name
    needs = f"--set {printable(f'{kind}.{option}')} needs --{kind} NAME"
    if kind != "objective":
        raise ConfigError(f"{needs}.")
    default = installed().default("objective")
    if option not in (known.name for known in options_of(default.load())):
        raise ConfigError(f"{needs}: '{default.name}', the default, has no such option.")
    return default.name


def _with_distortion_options(distortion: Any, name: str, given: dict[str, str]) -> Any:
    from zoo.config import distortion_terms

    try:
        terms = distortion_terms(distortion)
    except ValueError:
        terms = None
    if not isinstance(terms, list) or not terms:
        return distortion  # it is invalid, and `resolve` says why
    names = [_name_of(term) for term in terms]
    if name not in names:
        option = printable(next(iter(given)))
        has = f"the distortion is {printable('+'.join(map(str, names)))}"
        example = f"--set distortion.{printable(names[0])}.{option}=VALUE"
        raise ConfigError(f"--set distortion.{printable(name)}.{option}: {has}, e.g. {example}")
    return [_part_with_options(term, given) if _name_of(term) == name else term for term in terms]


def _part_with_options(part: Any, given: dict[str, str]) -> dict[str, Any]:
    settings = part if isinstance(part, dict) else {"name": part}
    options = settings.get("options", {})
    return {**settings, "options": {**options, **given} if isinstance(options, dict) else options}


def _name_of(part: Any) -> Any:
    return part.get("name") if isinstance(part, dict) else part


def _flag(name: str, field: FieldInfo, default: Any) -> click.Option:
    from zoo.config import flag_of

    flag = flag_of(name)
    help_text = field.description or ""
    if isinstance(field.default, bool):
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=help_text)
    if default is not None:
        help_text += f"  [default: {default}]"
    return click.Option([flag], metavar=_metavar(field), help=help_text, shell_complete=_completion(name, field))


def _completion(name: str, field: FieldInfo) -> Completion:
    if name in KINDS:
        return component_names(name)
    return choices(typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ())


def _default_of(name: str, field: FieldInfo) -> Any:
    """Return what a setting is where it is not given; None where there is nothing to say."""
    if name in ("objective", "distortion"):
        from zoo.contract.registry import installed

        with contextlib.suppress(ConfigError):
            return installed().default(cast(Kind, name)).name
    default = None if field.is_required() else field.default
    return ",".join(map(str, default)) or None if isinstance(default, tuple) else default


def _metavar(field: FieldInfo) -> str:
    text = str(field.annotation)
    if typing.get_origin(field.annotation) is typing.Literal:
        return "|".join(typing.get_args(field.annotation))
    if "tuple" in text and "Term" not in text:
        return "N,N,…" if "int" in text else "X,X"
    return "N" if "int" in text else "X" if "float" in text else "NAME"


def _kept_epoch(run: Run) -> str:
    """Say which epoch's weights a run keeps, and why these."""
    from zoo.model.checkpoint import read

    metadata, history = read(run.checkpoint).metadata, run.history
    monitor = metadata.config.monitor
    why = (
        "the last" if metadata.config.keep == "last" else f"lowest {monitor} {history[metadata.epoch - 1][monitor]:.5f}"
    )
    return f"epoch {metadata.epoch} of {len(history)}: {why}"


def report(run: Run) -> None:
    """Print what a finished training has left."""
    from zoo.training.runs import is_first_process

    if not is_first_process():
        return
    metrics = run.test_metrics
    assert metrics  # the run is finished
    click.echo(f"test  {metrics_text(metrics)}")
    click.echo(f"kept  {run.checkpoint}  {_kept_epoch(run)}")
    others = (run.config_file, run.metrics_file, run.reconstructions_picture, run.curves_picture)
    click.echo("also  " + "  ".join(path.name for path in others if path.exists()))
    click.echo(f"next  {command('zoo', 'reconstruct', run.directory, '--output', 'grid.png')}")
