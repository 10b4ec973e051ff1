"""`zoo demo`: the web demo. Imports neither Gradio nor torch: `zoo --help` shows this command too."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from zoo.cli.common import waiting, with_example
from zoo.cli.completion import run_or_model
from zoo.errors import MissingDependencyError, UsageError, printable

if TYPE_CHECKING:
    from zoo_demo.safety import Credentials

FIRST_PORT = 7860
PORTS = 100
PASSWORD_VARIABLE = "ZOO_DEMO_PASSWORD"  # noqa: S105 - its name
SHORTEST_PASSWORD = 8


@with_example("zoo demo", "zoo demo runs/mnist-mlp-1", "zoo demo runs --port 8000",
              "zoo demo runs --auth me --public-name zoo.example.org")  # fmt: skip
@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=run_or_model)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True,
              help="Address to listen on. One that others can reach, such as 0.0.0.0, needs --auth.")  # fmt: skip
@click.option("--port", metavar="N", type=click.IntRange(0, 65_535),
              help=f"Port to listen on; 0 for any free one. Without it: the first free from {FIRST_PORT}.")  # fmt: skip
@click.option("--auth", "user", metavar="USER",
              help=f"Ask for this user and a password. The password is typed at a prompt or read from "
                   f"{PASSWORD_VARIABLE}: on the command line others could see it. The connection is not "
                   f"encrypted; over a network you do not trust, tunnel it.")  # fmt: skip
@click.option("--public-name", "public_names", metavar="NAME", multiple=True,
              help="Host name of a proxy in front of the page, e.g. zoo.example.org, with its port where that is not "
                   "80 or 443; may be repeated. Needs --auth. demo/README.md shows a proxy's settings.")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
def demo(
    *,
    runs: tuple[str, ...],
    host: str,
    port: int | None,
    user: str | None,
    public_names: tuple[str, ...],
    no_browser: bool,
) -> None:
    """Show models in the browser: move through their latents.

    RUN is a run directory, a .safetensors file, a directory with runs in it, or the name of a
    pretrained model. The pretrained models are shown after the RUNs. Ctrl-C stops it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError("zoo demo needs Gradio: pip install 'autoencoder-zoo[demo]'")
    _require_names(public_names)
    credentials = _credentials((host, *public_names), user)
    signal.signal(signal.SIGTERM, _exit)
    with listen(host, port) as listener:
        with waiting("Reading models…"):
            from zoo_demo.app import serve
            from zoo_demo.catalogue import Catalogue, find
            from zoo_demo.safety import Hosts

            catalogue = Catalogue(find(runs))
            if runs:  # a broken one ends the program now; what comes with the package is read later
                catalogue.read()

        def ready() -> None:
            url = url_of(host, listener)
            click.echo(f"ready  {url}  (Ctrl-C stops it)")
            if not no_browser and sys.stdout.isatty():  # else nobody sits there
                threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()

        # Ctrl-C ends in KeyboardInterrupt: exit status 130, as in every other command of zoo.
        serve(catalogue, listener, Hosts(host, public_names), credentials, ready)


def _require_names(public_names: Sequence[str]) -> None:
    from zoo_demo.safety import is_public_name

    for name in public_names:
        if not is_public_name(name):
            raise UsageError(
                "--public-name takes a host name, perhaps with a port, such as zoo.example.org or "
                f"zoo.example.org:8443, got '{printable(name)}'."
            )


def _credentials(names: Sequence[str], user: str | None) -> Credentials | None:
    """Return what every request must show; nothing where the page has no name by which others reach it."""
    from zoo_demo.safety import Credentials, is_loopback

    if user is None:
        if reachable := [name for name in names if not is_loopback(name)]:
            raise UsageError(f"Others can reach {printable(reachable[0])}: add --auth USER.")
        return None
    if not user or ":" in user:
        raise UsageError(f"--auth takes a user's name without ':', got '{printable(user)}'.")
    password = os.environ.get(PASSWORD_VARIABLE) or _typed_password(user)
    if len(password) < SHORTEST_PASSWORD:
        raise UsageError(f"The password is too short: {SHORTEST_PASSWORD} characters or more.")
    return Credentials(user, password)


def _typed_password(user: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"--auth needs a password: there is no terminal to type it at, so set {PASSWORD_VARIABLE}.")
    password: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
    return password


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on the port, or on the first free one where none was asked for.

    Raises:
        UsageError: The port is taken, or the address is not this machine's.
    """
    for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            listener = socket.create_server(address[:2], family=family)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name at all
            if port is None and _is_taken(error):
                continue
            remedy = "Choose another --port." if _is_taken(error) else "--host takes an address of this machine."
            raise UsageError(f"Cannot listen on {printable(host)} port {number}: {_reason(error)}. {remedy}") from error
        # Connections take it over; asyncio sets it on its own sockets alone. Without, an answer waits 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    raise UsageError(f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are taken: choose another with --port.")


def _is_taken(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or error.errno is None:
        return str(getattr(error, "strerror", None) or error)
    return os.strerror(error.errno)  # its own text repeats the address


def url_of(host: str, listener: socket.socket) -> str:
    """Return the page's address, for this machine and for others that may reach it."""
    from zoo_demo.safety import is_unspecified

    name = _own_address(listener.family) if is_unspecified(host) else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def _own_address(family: int) -> str:
    """Return the address by which other machines find this one, which they may not do by its name."""
    elsewhere, here = ("2001:db8::1", "::1") if family == socket.AF_INET6 else ("192.0.2.1", "127.0.0.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):  # there is no network
        probe.connect((elsewhere, 9))  # chooses the way there; nothing is sent
        here = probe.getsockname()[0]
    return here


def _exit(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
