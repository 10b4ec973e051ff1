"""What the demo's tests share: tiny models, the real server, a real browser."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from demo.browsing import visit
from demo.serving import COLOUR, CONDITIONAL, MAPS, ORIGIN, TINY, TWINS, make_run, need_patch, start_demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page
    from starlette.testclient import TestClient

    OpenPage = Callable[..., contextlib.AbstractContextManager[Page]]


RUNS = ("tiny", "colour", "maps", "conditional")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, third_party: list[str]) -> Path:
    """A directory with runs: `tiny` without a prior, and with one `colour`, `maps` and `conditional`."""
    directory = tmp_path_factory.mktemp("runs")
    make_run(directory / "tiny", TINY)
    make_run(directory / "colour", COLOUR)
    make_run(directory / "maps", MAPS)
    make_run(directory / "conditional", CONDITIONAL)
    return directory


@pytest.fixture(scope="session")
def client(runs: Path) -> Iterator[TestClient]:
    """The routes behind their gate, without Gradio, on the models of `runs` and the pretrained ones."""
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from zoo_demo.catalogue import Catalogue, find
    from zoo_demo.routes import add_routes
    from zoo_demo.safety import Gate, Hosts
    from zoo_demo.service import Service

    app = FastAPI()
    app.add_middleware(Gate, hosts=Hosts("127.0.0.1"))
    add_routes(app, Service(Catalogue(find([str(runs / name) for name in RUNS]))))
    with TestClient(app, base_url=ORIGIN) as client:
        yield client


@pytest.fixture(scope="session")
def odd_runs(tmp_path_factory: pytest.TempPathFactory, third_party: list[str]) -> Path:
    """A directory with odd runs: see their names.

    No browser decodes `fourier`, nobody has the data of `homeless`, nobody has a metric of
    `judged`, and two classes of `twins` have one name.
    """
    from zoo.model.checkpoint import DataRecord

    directory = tmp_path_factory.mktemp("odd-runs")
    make_run(directory / "fourier", TINY | {"decoder": "fourier"})
    make_run(directory / "<img src=x onerror=alert(1)>", TINY)
    make_run(directory / f"{'a-very-' * 15}long-name", TINY)
    make_run(directory / "line", TINY | {"latent_dim": 1})
    make_run(directory / "judged", TINY, test_metrics={"crispness": 0.5, "psnr": math.inf})
    make_run(directory / "twins", CONDITIONAL, data=DataRecord(image_shape=(1, 16, 16), classes=TWINS))
    need_patch(make_run(directory / "homeless", TINY), "dataset")
    return directory


@pytest.fixture(scope="session")
def demo(
    runs: Path, odd_runs: Path, zoo_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the real server, with the models of `runs`, odd ones and the pretrained ones."""
    temporary = tmp_path_factory.mktemp("temporary")
    with start_demo(zoo_environment, temporary, *(runs / name for name in RUNS), odd_runs) as (process, url):
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window; where it is missing tests are skipped, in CI they fail."""
    executable = shutil.which("chromium")
    if executable is None:
        required = os.environ.get("CI") or os.environ.get("ZOO_REQUIRE_BROWSER") == "1"
        (pytest.fail if required else pytest.skip)("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # no-sandbox: with it Chromium does not run as root; it opens none but our own pages
        chromium = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", *OFFLINE]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def expected_statuses() -> set[int]:
    """HTTP statuses from 400 on that a test means to see, 0 where it lets nobody answer; it adds them."""
    return set()


@pytest.fixture
def page(open_page: OpenPage, expected_statuses: set[int]) -> Iterator[Page]:
    """A page without history on which nothing may go wrong."""
    with open_page(expected_statuses) as page:
        yield page


@pytest.fixture
def opened(page: Page, demo: str) -> Page:
    """The page, ready, showing the document's own model."""
    return visit(page, demo)


@pytest.fixture
def phone_page(open_page: OpenPage, expected_statuses: set[int]) -> Iterator[Page]:
    with open_page(expected_statuses, viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True) as page:
        yield page


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> OpenPage:
    """Opens a page without history, to be used in a `with`; in the end nothing may have gone wrong on it.

    The options are those of `Browser.new_context`: locale, colour scheme, viewport. Pages with the
    same ones share a cache of files; nothing else of a page outlives it.
    """
    contexts: dict[str, BrowserContext] = {}

    def open_page(expected_statuses: Collection[int] = (), **options: Any) -> contextlib.AbstractContextManager[Page]:
        context = contexts.get(repr(options)) or browser.new_context(**options)
        contexts[repr(options)] = context
        return watched(context.new_page(), expected_statuses)

    return open_page


@contextlib.contextmanager
def watched(page: Page, expected_statuses: Collection[int]) -> Iterator[Page]:
    """Assert that a page has no error, no request to other hosts and no status from 400 on but the expected ones."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on("request", lambda request: wrong.append(f"outside: {request.url}") if outside(request.url) else None)
    try:
        yield page
    finally:
        page.close()
    console = "console: Failed to load resource: "
    expected = tuple(
        text
        for status in expected_statuses
        for text in (
            f"{status} ",
            f"{console}the server responded with a status of {status} " if status else f"{console}net::ERR_FAILED",
        )
    )
    assert [line for line in wrong if not line.startswith(expected)] == []


def outside(url: str) -> bool:
    """Whether a request leaves the machine."""
    address = urlsplit(url)
    return address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1"
