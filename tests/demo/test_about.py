"""About in a real browser: the card, and programs that can be copied and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from demo.browsing import box_of, choose_model, choose_tab, visit

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_card_says_what_the_model_is_and_how_to_load_it(opened: Page) -> None:
    choose_tab(opened, "about")
    text = opened.text_content("#zoo-about") or ""
    for expected in (
        'zoo.load("mnist-mlp")',
        "zoo train --encoder mlp --dataset mnist",
        "CC-BY-SA-3.0",
        "client.predict",
    ):
        assert expected in text
    assert opened.locator("#zoo-about svg polyline").count() == 2


def test_the_card_has_the_metrics_of_any_plugin(page: Page, demo: str) -> None:
    visit(page, demo, "about", "judged")
    text = page.text_content("#zoo-about .zoo-facts") or ""
    assert "test crispness0.5test psnrinf dB" in text
    assert "test mse" not in text
    assert (page.text_content(".zoo-summary") or "").endswith(" · test crispness 0.5")
    choose_model(page, "tiny")
    assert "test" not in (page.text_content(".zoo-summary") or "")


def program_of(page: Page, title: str) -> str:
    return page.text_content(f"#zoo-about pre[aria-label='{title}']") or ""


@pytest.mark.parametrize("title", ["In Python", "From another program"])
@pytest.mark.parametrize(
    ("model", "latent_shape", "image_shape"),
    [
        ("mnist-vae-16", (16,), (1, 28, 28)),
        ("maps", (2, 4, 4), (1, 16, 16)),
        ("conditional", (3,), (1, 16, 16)),
    ],
)
def test_the_programs_run(
    page: Page, demo: str, title: str, model: str, latent_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> None:
    visit(page, demo, "about", model)
    names: dict[str, Any] = {}
    exec(program_of(page, title), names)
    assert np.shape(names["latents"])[1:] == latent_shape
    assert np.shape(names["images"])[1:] == image_shape


def test_the_curve_of_losses_below_zero_is_drawn_on_a_linear_axis(page: Page, demo: str) -> None:
    visit(page, demo, "about", "mnist-conv")
    points = page.evaluate(
        """async () => {
          const { curve } = await import('/zoo/static/curve.mjs');
          const row = (epoch, loss) => ({ epoch, losses: { val_loss: loss, val_rate: 9 } });
          return curve([row(1, 2), row(2, 1), row(3, -2)]).querySelector('.zoo-val').getAttribute('points');
        }"""
    )
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert (heights[1] - heights[0]) / (heights[2] - heights[0]) == pytest.approx(1 / 4)


def test_a_history_without_losses_has_no_curve(page: Page, demo: str) -> None:
    visit(page, demo, "about", "mnist-conv")
    rows = "[1, 2].map((epoch) => ({ epoch, losses: {} }))"
    assert page.evaluate(f"import('/zoo/static/curve.mjs').then(({{ curve }}) => curve({rows}))") is None


def test_a_program_is_told_how_to_show_its_password(opened: Page, demo: str) -> None:
    choose_tab(opened, "about")
    client = f'Client("{demo}", httpx_kwargs={{"auth": ("USER", "PASSWORD")}})'  # as in demo/README.md, where it is run
    assert client in program_of(opened, "From another program")


def test_a_runs_path_is_said_to_be_relative(page: Page, demo: str) -> None:
    visit(page, demo, "about", "tiny")
    assert "in the directory where zoo demo was started" in (page.text_content("#zoo-about") or "")


def test_a_program_can_be_copied(opened: Page, demo: str) -> None:
    choose_tab(opened, "about")
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=demo)
    opened.click("section:has(> pre[aria-label='In Python']) >> text=Copy")
    opened.wait_for_selector("text=Copied")
    assert opened.evaluate("navigator.clipboard.readText()") == program_of(opened, "In Python")


def test_the_labels_of_the_curve_are_whole(page: Page, demo: str) -> None:
    visit(page, demo, "about", "mnist-conv")
    box = box_of(page, ".zoo-curve")
    for label in page.locator(".zoo-curve text").all():
        each = label.bounding_box()
        assert each
        assert each["x"] >= box["x"]
        assert each["x"] + each["width"] <= box["x"] + box["width"]
