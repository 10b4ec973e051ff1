"""The server: our routes and Gradio's page behind one gate, and nothing that reaches outside."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from zoo.cli.common import waiting
from zoo_demo.catalogue import Catalogue
from zoo_demo.connections import ACCEPTED_AT_ONCE, WAITING, limited_protocol, most_connections
from zoo_demo.routes import add_routes
from zoo_demo.safety import MAX_BODY_BYTES, Credentials, Gate, Hosts
from zoo_demo.service import WORKING, Service

CACHE_SECONDS = 3600
QUEUE_SIZE = 128
_BARE: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None}


def serve(
    catalogue: Catalogue,
    listener: socket.socket,
    hosts: Hosts,
    credentials: Credentials | None,
    on_ready: Callable[[], None],
) -> None:
    """Serve until a signal stops it: Ctrl-C becomes KeyboardInterrupt, SIGTERM what its handler makes of it.

    Args:
        catalogue: The models to show.
        listener: A socket that listens already.
        hosts: The names under which the server may be asked for.
        credentials: What every request must show; None where nobody is asked.
        on_ready: Called once it answers.
    """

    def ready() -> None:
        # Importing torch takes seconds: it begins while the browser still loads the page.
        threading.Thread(target=_warm_up, args=[catalogue]).start()
        on_ready()

    with _private_gradio():
        with waiting("Loading Gradio…"), _no_proxies():
            app = _application(catalogue, hosts, credentials)
        config = uvicorn.Config(
            app, log_level="error", access_log=False, server_header=False, proxy_headers=False, ws="none",
            http=limited_protocol(most_connections()), backlog=ACCEPTED_AT_ONCE, timeout_graceful_shutdown=3,
        )  # fmt: skip
        _Server(config, ready).run(sockets=[listener])


def _application(catalogue: Catalogue, hosts: Hosts, credentials: Credentials | None) -> FastAPI:
    """Return our routes and Gradio's page, behind the gate."""
    import gradio as gr

    from zoo_demo.endpoints import add_endpoints
    from zoo_demo.page import build_page, mount_arguments

    service = Service(catalogue)
    page = build_page(lambda: add_endpoints(service))
    page.delete_cache = (CACHE_SECONDS, CACHE_SECONDS)
    page.queue(max_size=QUEUE_SIZE, default_concurrency_limit=WORKING)
    app = FastAPI(**_BARE)
    app.add_middleware(Gate, hosts=hosts, credentials=credentials)
    add_routes(app, service)
    gr.mount_gradio_app(
        app, page, "/", show_error=False, max_file_size=MAX_BODY_BYTES, run_history=False, app_kwargs=dict(_BARE),
        **mount_arguments(),
    )  # fmt: skip
    return app


@contextlib.contextmanager
def _private_gradio() -> Iterator[None]:
    """Let Gradio follow none of its environment variables, ask no other host, and keep its files to itself.

    Whatever GRADIO_SHARE, GRADIO_SERVER_NAME, GRADIO_ALLOWED_PATHS and the like say is for other
    apps, and FastAPI's OTEL_… would report requests elsewhere. To be entered before Gradio is
    imported: it reads some of them then.
    """
    for name in [name for name in os.environ if name.startswith(("GRADIO_", "OTEL_"))]:
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="zoo-demo-", ignore_cleanup_errors=True) as directory:
        os.environ["GRADIO_TEMP_DIR"] = directory
        yield


@contextlib.contextmanager
def _no_proxies() -> Iterator[None]:
    """Hide the user's proxies while Gradio is imported: it makes HTTP clients then, which follow them.

    A proxy that needs a package which is not installed, as SOCKS does, would end the program. The
    browser that is opened later gets the user's settings.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    os.environ["NO_PROXY"] = "*"  # else the system's settings count on macOS and Windows
    try:
        yield
    finally:
        del os.environ["NO_PROXY"]
        os.environ.update(hidden)


class _Server(uvicorn.Server):
    """Says when it is ready, and lets go of Gradio's endless heartbeats when it stops."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)
        self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for route in self.config.app.routes:  # type: ignore[union-attr]
            if event := getattr(getattr(route, "app", None), "stop_event", None):
                event.set()
        await super().shutdown(sockets)


def _warm_up(catalogue: Catalogue) -> None:
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // WORKING))  # else they would wait for one another's
    with contextlib.suppress(Exception):  # the request that needs it will say what is wrong
        catalogue.model(next(iter(catalogue.read())))
    gc.freeze()  # Gradio and torch stay: no collection need look through them, not even the last one
