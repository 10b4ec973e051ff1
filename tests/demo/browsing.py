"""What the browser's tests do on the page: open it, choose, and read what it shows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import torch

import zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import FloatRect, Page, Route

SHIPPED = [model.name for model in zoo.installed().models() if model.plugin.built_in]
TABS = ["reconstruct", "explore", "map", "morph", "compare", "about"]
TOLERANCE = 1 / 255


def visit(page: Page, url: str, tab: str = "reconstruct", model: str = "mnist-mlp") -> Page:
    """Open the page, or go there on it, and wait until the model is shown."""
    page.goto(f"{url}#{tab}/{model}", wait_until="domcontentloaded")
    page.wait_for_selector(f".zoo-app[data-ready] #zoo-tab-{tab}[aria-selected=true]", timeout=60_000)
    wait_for_model(page, model)
    return page


def choose_model(page: Page, name: str) -> None:
    page.select_option("#zoo-model", name)
    wait_for_model(page, name)


def wait_for_model(page: Page, name: str) -> None:
    page.wait_for_function(
        f"document.querySelector('#zoo-model').value === '{name}' &&"
        "document.querySelector('.zoo-status').textContent === ''",
        timeout=60_000,
    )


def choose_tab(page: Page, name: str) -> None:
    page.click(f"#zoo-tab-{name}")


def wait_for_text(page: Page, selector: str, start: str) -> None:
    """Wait until what the first such element says begins with a text."""
    page.wait_for_function(
        "([selector, start]) => document.querySelector(selector)?.textContent.startsWith(start)", arg=[selector, start]
    )


def wait_for_verdict(page: Page, title: str) -> str:
    """Wait until an image of this title is judged, and return what is said."""
    wait_for_text(page, ".zoo-verdict", title)
    return page.text_content(".zoo-verdict") or ""


def errors_on(page: Page) -> list[str]:
    return [line for line in page.locator(".zoo-error").all_text_contents() if line]


def pixels_of(page: Page, selector: str) -> np.ndarray:
    """What a picture shows, as the floats it was drawn from."""
    page.wait_for_function(f"document.querySelector('{selector}')?.pixels")
    return np.array(page.evaluate(f"Array.from(document.querySelector('{selector}').pixels)"))


def decoded_at_sliders(page: Page) -> np.ndarray:
    """The picture of Explore, once it shows where the sliders are."""
    page.wait_for_function(
        """() => {
          const latent = document.querySelector('.zoo-explore .zoo-large').latent;
          return latent && [...document.querySelectorAll('.zoo-slider')].every((row) => {
            const slider = row.querySelector('input');
            return Math.abs(latent[Number(slider.id.split('-').pop())] - Number(slider.value)) < 1e-4;
          });
        }"""
    )
    return pixels_of(page, ".zoo-explore .zoo-large")


def decoded_by_pytorch(page: Page, run: str | Path, label: int | None = None) -> np.ndarray:
    model = zoo.load(run)
    latent = page.evaluate("Array.from(document.querySelector('.zoo-explore .zoo-large').latent)")
    labels = None if label is None else torch.tensor([label])
    with torch.inference_mode():
        return model.decode(torch.tensor(latent).view(1, *model.latent_shape), labels).flatten().numpy()


def tell(page: Page, name: str) -> None:
    """Choose the class that the model is told, by its name, and wait until Explore's picture is drawn again."""
    picture = "document.querySelector('.zoo-explore .zoo-large')"
    before = page.evaluate(f"{picture}.frames")
    page.select_option("#zoo-told", label=name)
    page.wait_for_function(f"{picture}.frames > {before}")


def box_of(page: Page, selector: str) -> FloatRect:
    box = page.locator(selector).first.bounding_box()
    assert box
    return box


@contextlib.contextmanager
def held(page: Page, pattern: str) -> Iterator[None]:
    """Let requests to such addresses wait for their answers meanwhile."""
    waiting = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route(pattern, hold)
    yield
    page.unroute(pattern)  # lets them go
    assert waiting


def draw_stroke(page: Page, **options: str) -> None:
    """Draw a short line in the pad's upper left corner."""
    page.locator(".zoo-pad").scroll_into_view_if_needed()
    box = box_of(page, ".zoo-pad")
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down(**options)
    for step in range(1, 15):
        page.mouse.move(box["x"] + 20 + step, box["y"] + 20 + 4 * step)
    page.mouse.up(**options)


def is_in_sight(page: Page, selector: str) -> bool:
    """Whether the whole of an element is within the window, and nothing lies over its middle."""
    return page.evaluate(
        """(selector) => {
          const element = document.querySelector(selector);
          const { left, right, top, bottom } = element.getBoundingClientRect();
          const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
          const within = top >= -1 && bottom <= innerHeight + 1 && left >= -1 && right <= innerWidth + 1;
          return within && element.contains(seen);
        }""",
        selector,
    )
