"""`zoo new-plugin`: a package of one's own to start from."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli.common import with_example
from zoo.contract.specs import KINDS, Kind
from zoo.errors import command, printable
from zoo.scaffold import new_plugin as write_plugin
from zoo.scaffold import train_command


@with_example("zoo new-plugin patch", "zoo new-plugin my-photos --kind dataset")
@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="encoder", show_default=True, help="What it offers.")
@click.option("--directory", metavar="DIR", type=click.Path(path_type=Path), default=".",
              help="Where to put its folder; the current directory by default.")  # fmt: skip
def new_plugin(name: str, kind: Kind, directory: Path) -> None:
    """Write the package of a new plugin, zoo-NAME.

    It holds one small working component to change, and tests that any plugin should pass.
    """
    folder = write_plugin(name, kind, directory)
    click.echo(f"wrote  {printable(folder)}")
    path = folder if folder.is_absolute() else f"./{folder}"  # pip takes a bare name for one on the package index
    click.echo(f"next   {command('pip', 'install', '-e', f'{path}[test]')}")
    click.echo(f"       {command('pytest', folder)}")
    click.echo(f"       {train_command(name, kind)}")
