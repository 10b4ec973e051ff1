"""The command line: one module a command; parsing only, torch imported inside commands."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.metadata
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

import click

from zoo.cli.check import check
from zoo.cli.common import with_example
from zoo.cli.evaluate import evaluate
from zoo.cli.hints import meant_flag
from zoo.cli.info import info
from zoo.cli.listing import list_components
from zoo.cli.new_plugin import new_plugin
from zoo.cli.plugins import plugins
from zoo.cli.reconstruct import reconstruct
from zoo.cli.resume import resume
from zoo.cli.runs import runs
from zoo.cli.streams import prepare_streams
from zoo.cli.train import train
from zoo.contract.distributions import find
from zoo.contract.registry import DISTRIBUTION
from zoo.errors import TrainingInterruptedError, UsageError, ZooError, printable
from zoo.training.runs import is_first_process

COMMAND_GROUP = "zoo.commands"  # of entry points
MAX_MESSAGE = 5000  # characters: a path in a command, which is never cut, may have 4,096


class _Group(click.Group):
    """Lists its commands in the order in which they were added: the order of a first visit.

    Commands of packages that core does not import are entry points, loaded when they are needed;
    they stand after the commands that work on a run.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = list(self.commands)
        place = names.index(str(reconstruct.name)) + 1
        return [*names[:place], *_other_commands(), *names[place:]]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _other_commands():
            return super().get_command(ctx, cmd_name)
        command: click.Command = _other_commands()[cmd_name].load()
        return command


@functools.cache
def _other_commands() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the commands of this distribution's other packages, by name.

    Of no other distribution: a plugin offers components, whose problems the registry catches. A
    command that it brought would break `zoo --help` with it, or stand in for one of ours.
    """
    try:
        distribution = find(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:  # the source tree alone
        return {}
    return {point.name: point for point in distribution.entry_points.select(group=COMMAND_GROUP)}


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"zoo, version {find(DISTRIBUTION).version}")
        context.exit()


@with_example("zoo train --encoder mlp --dataset mnist")
@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--no-plugins", is_flag=True, help="Load the built-in components only.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the version and exit.")  # fmt: skip
def app(no_plugins: bool) -> None:
    """Train, keep, compare and show autoencoders composed from plugins."""
    if no_plugins:
        os.environ["ZOO_NO_PLUGINS"] = "1"


for _command in (train, resume, evaluate, reconstruct, runs, list_components, info, plugins, check, new_plugin):
    app.add_command(_command)


def program() -> None:
    """Be the program `zoo`: run the command line, and leave without taking apart what was imported.

    Python would destroy torch's objects one by one: over a second, and the system gets their
    memory back anyway. What asked to be called at the end is called.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int) or any(not thread.daemon for thread in threading.enumerate()[1:]):
            raise
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # `main` has said so
                stream.flush()
        os._exit(end.code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit: one line on stderr for an error, 2 for usage, 1 for all else."""
    prepare_streams()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells at length where no home directory is
    try:
        _require_working_directory()
        status = app.main(arguments, prog_name="zoo", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        message = error.format_message()
        if isinstance(error, click.NoSuchOption):
            message = error.message + meant_flag(error, sys.argv[1:] if arguments is None else arguments)
        hint = f" See: {context.command_path} --help" if context else ""
        _fail(message + hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Stopped.", 128 + signal.SIGINT)
    except TrainingInterruptedError as error:
        if not is_first_process():  # the first one speaks for all
            sys.exit(error.exit_status)
        _fail(str(error), error.exit_status)
    except ZooError as error:
        _fail(str(error), error.exit_status)
    except BrokenPipeError:  # the reader of our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 1)
    except Exception as error:  # a defect, ours or a plugin's
        _fail(f"{type(error).__name__}: {error} (this should not happen; --debug shows where it did)", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _require_working_directory() -> None:
    """Refuse a directory that was removed: PyTorch's libraries would abort the process in it."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError("The working directory is gone: cd to one that is there.") from error


def _fail(message: str, status: int) -> None:
    if os.environ.get("ZOO_DEBUG"):
        traceback.print_exc()
    line = re.sub(r"\s*\n\s*", " ", message.strip())  # spaces inside a line may be those of a quoted path
    print(f"zoo: {printable(line, limit=MAX_MESSAGE)}", file=sys.stderr)
    sys.exit(status)
