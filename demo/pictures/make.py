"""Make the screenshots of the README files: `python demo/pictures/make.py` (needs chromium and playwright)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 1100, "height": 860}


def main() -> None:
    """Start the demo, open each tab and write its picture."""
    command = [str(Path(sys.executable).with_name("zoo")), "demo", "--no-browser", "--port", "0"]
    shots: list[tuple[str, str, Callable[[Page], None] | None]] = [
        ("reconstruct", "mnist-conv", choose_worst),
        ("explore", "mnist-conv", None),
        ("map", "mnist-vae", pin),
        ("morph", "mnist-conv", None),
    ]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,  # noqa: S603 - our own program
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(address(server), wait_until="domcontentloaded")
        page.wait_for_selector(".zoo-app[data-ready]", timeout=60_000)
        for tab, model, prepare in shots:
            page.click(f"#zoo-tab-{tab}")
            page.select_option("#zoo-model", model)
            page.wait_for_function("document.querySelector('.zoo-status').textContent === ''", timeout=60_000)
            page.wait_for_timeout(1500)  # strips and the map's background follow
            if prepare:
                prepare(page)
            page.screenshot(path=HERE / f"demo-{tab}.png")
        browser.close()
        server.terminate()


def address(server: subprocess.Popen[str]) -> str:
    """Return the address that the demo prints when it is ready."""
    assert server.stdout
    return next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))


def choose_worst(page: Page) -> None:
    """Choose the worst test image of a class."""
    page.select_option("#zoo-order", "worst")
    page.wait_for_timeout(500)
    page.click(".zoo-shelf button >> nth=0")
    page.wait_for_timeout(500)


def pin(page: Page) -> None:
    """Pin a place of the map."""
    page.wait_for_selector(".zoo-map[data-manifold]")
    page.click(".zoo-map", position={"x": 200, "y": 260})
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
