"""Explore in a real browser: sliders by pointer and by keyboard, and the strips under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from demo.browsing import (
    SHIPPED,
    TOLERANCE,
    box_of,
    choose_model,
    choose_tab,
    decoded_at_sliders,
    decoded_by_pytorch,
    is_in_sight,
    tell,
    visit,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_is_decoded_in_the_browser_as_pytorch_decodes_it(page: Page, demo: str, name: str) -> None:
    visit(page, demo, "explore", name)
    assert page.get_attribute(".zoo-badge", "data-where") == "browser"
    for _ in range(5):
        page.click("#zoo-explore >> text=Random")
        assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, name)).max() <= TOLERANCE


def test_maps_are_explored_by_the_numbers_that_vary_most(page: Page, demo: str, runs: Path) -> None:
    visit(page, demo, "explore", "maps")
    assert page.get_attribute(".zoo-badge", "data-where") == "browser"
    assert "latent maps 2×4×4" in (page.text_content(".zoo-summary") or "")
    assert page.locator(".zoo-slider").count() == 32
    number = int((page.get_attribute(".zoo-slider input", "id") or "").split("-")[-1])
    channel, row, column = np.unravel_index(number, (2, 4, 4))
    label = (page.text_content(".zoo-slider label") or "").replace("\N{NO-BREAK SPACE}", " ")
    assert label == f"Map {channel + 1} ({row + 1}, {column + 1})"
    for control in ("Random", "From a test image", "Sample the prior", "Reset"):
        page.click(f"#zoo-explore >> text={control}")
        page.wait_for_selector("#zoo-explore .zoo-stage:not(:has([aria-busy]))")  # the server draws from the prior
        assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, runs / "maps")).max() <= TOLERANCE
    before = decoded_at_sliders(page)
    page.press(".zoo-slider input", "ArrowRight")
    after = decoded_at_sliders(page)
    assert np.abs(after - before).max() > 0
    assert np.abs(after - decoded_by_pytorch(page, runs / "maps")).max() <= TOLERANCE


@pytest.mark.parametrize("where", ["browser", "server"])
def test_a_conditional_model_decodes_as_the_class_that_it_is_told(
    page: Page, demo: str, runs: Path, where: str
) -> None:
    if where == "server":
        page.route("**/decoder-*.bin", lambda route: route.fulfill(body=b""))
    visit(page, demo, "explore", "conditional")
    assert page.get_attribute(".zoo-badge", "data-where") == where
    assert page.locator("#zoo-told option").all_text_contents() == ["unknown class", "0", "1", "2", "3"]
    unknown = decoded_at_sliders(page)
    assert np.abs(unknown - decoded_by_pytorch(page, runs / "conditional")).max() <= TOLERANCE
    tell(page, "2")
    told = decoded_at_sliders(page)
    assert np.abs(told - decoded_by_pytorch(page, runs / "conditional", 2)).max() <= TOLERANCE
    assert np.abs(told - unknown).max() > 10 * TOLERANCE
    tell(page, "unknown class")
    assert np.abs(decoded_at_sliders(page) - unknown).max() <= TOLERANCE


def test_classes_of_one_name_are_told_apart(page: Page, demo: str, odd_runs: Path) -> None:
    visit(page, demo, "explore", "twins")
    assert page.locator("#zoo-told option").all_text_contents() == ["unknown class", "0", "twin (1)", "twin (2)", "3"]
    for label in (1, 2):
        tell(page, f"twin ({label})")
        told = decoded_at_sliders(page)
        assert np.abs(told - decoded_by_pytorch(page, odd_runs / "twins", label)).max() <= TOLERANCE
        assert np.abs(told - decoded_by_pytorch(page, odd_runs / "twins", 3 - label)).max() > TOLERANCE


@pytest.mark.parametrize(("key", "share"), [("ArrowRight", 0.02), ("ArrowDown", -0.02), ("Shift+ArrowRight", 0.001)])
def test_an_arrow_key_moves_a_slider_by_a_share_of_its_range(opened: Page, key: str, share: float) -> None:
    choose_tab(opened, "explore")
    before = decoded_at_sliders(opened)
    low, high, value = slider_of(opened)
    opened.focus(".zoo-slider input")
    for _ in range(10):
        opened.keyboard.press(key)
    after = decoded_at_sliders(opened)
    assert slider_of(opened)[2] - value == pytest.approx(10 * share * (high - low), rel=1e-3)
    assert np.abs(after - before).max() > 0.001
    assert np.abs(after - decoded_by_pytorch(opened, "mnist-mlp")).max() <= TOLERANCE


def slider_of(page: Page) -> list[float]:
    """The first slider's low and high end, and its value."""
    slider = page.locator(".zoo-slider input").first
    return [float(slider.evaluate(f"(slider) => slider.{name}")) for name in ("min", "max", "value")]


def test_a_slider_reads_its_value_aloud_and_zero_has_no_sign(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "homeless")  # from −3 to 3, starting at 0
    slider = page.locator(".zoo-slider input").first
    page.evaluate(
        """() => {
          const slider = document.querySelector('.zoo-slider input');
          slider.value = '-0.001';
          slider.dispatchEvent(new Event('input'));
        }"""
    )
    assert page.locator(".zoo-slider output").first.text_content() == "0.00"
    assert slider.get_attribute("aria-valuetext") == "0.00"
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "0.12"


def test_dragging_a_slider_draws_while_it_moves(opened: Page) -> None:
    choose_tab(opened, "explore")
    decoded_at_sliders(opened)
    frames = "document.querySelector('.zoo-explore .zoo-large').frames"
    before = opened.evaluate(frames)
    box = opened.locator(".zoo-slider input").first.bounding_box()
    assert box
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.mouse.down()
    for step in range(1, 11):
        opened.mouse.move(box["x"] + box["width"] * (0.5 + step / 25), box["y"] + box["height"] / 2)
    assert opened.evaluate(frames) >= before + 5
    opened.mouse.up()
    assert np.abs(decoded_at_sliders(opened) - decoded_by_pytorch(opened, "mnist-mlp")).max() <= TOLERANCE


def test_a_click_on_a_traversal_strip_sets_its_dimension(opened: Page) -> None:
    choose_tab(opened, "explore")
    strip = opened.locator(".zoo-slider .zoo-strip").first
    opened.wait_for_function("document.querySelector('.zoo-slider .zoo-strip').width > 300")  # 11 images are drawn
    box = strip.bounding_box()
    assert box
    strip.click(position={"x": box["width"] - 3, "y": 3})
    slider = opened.locator(".zoo-slider input").first
    assert float(slider.input_value()) == pytest.approx(float(slider.get_attribute("max") or ""), abs=0.05)


def test_keys_on_a_strip_go_on_from_where_its_slider_is(opened: Page) -> None:
    choose_tab(opened, "explore")
    strip = opened.locator(".zoo-slider .zoo-strip").first
    opened.wait_for_function("document.querySelector('.zoo-slider .zoo-strip').width > 300")  # 11 images are drawn

    def place() -> tuple[float, str | None]:
        low, high, value = slider_of(opened)
        return 10 * (value - low) / (high - low), strip.get_attribute("aria-valuenow")

    before, now = place()
    assert now == str(round(before))
    strip.press("ArrowRight")
    assert place() == (pytest.approx(np.floor(before) + 1, abs=1e-3), str(int(before) + 1))
    strip.press("ArrowLeft")
    assert place() == (pytest.approx(np.floor(before), abs=1e-3), str(int(before)))
    strip.press("End")
    assert place() == (pytest.approx(10, abs=1e-3), "10")
    strip.press("Home")
    assert place() == (pytest.approx(0, abs=1e-3), "0")
    assert strip.get_attribute("aria-valuetext") == "image 1 of 11"


@pytest.mark.parametrize("end", ["Home", "End"])
def test_each_image_of_a_strip_is_under_the_thumb_that_gives_it(opened: Page, end: str) -> None:
    choose_tab(opened, "explore")
    opened.wait_for_function("document.querySelector('.zoo-slider .zoo-strip').width > 300")
    opened.press(".zoo-slider input", end)
    slider, strip, framed = (
        box_of(opened, f".zoo-slider {part}") for part in ("input", ".zoo-strip", ".zoo-strip-mark")
    )
    thumb = float(
        opened.evaluate(
            "parseFloat(getComputedStyle(document.querySelector('.zoo-slider input')).getPropertyValue('--thumb'))"
        )
    )
    middle = slider["x"] + thumb / 2 if end == "Home" else slider["x"] + slider["width"] - thumb / 2
    assert middle == pytest.approx(framed["x"] + framed["width"] / 2, abs=1)
    assert framed["width"] == pytest.approx(strip["width"] / 11, abs=1)


def test_a_sample_outside_the_range_widens_it_until_it_is_left(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "mnist-vae")
    usual = slider_of(page)[:2]
    page.route("**/sample?count=1", lambda route: route.fulfill(body=np.full(2, 9, "<f4").tobytes()))
    page.click("text=Sample the prior")
    page.wait_for_function("document.querySelector('.zoo-slider input').max === '9'")
    page.click("#zoo-explore >> text=Reset")
    assert slider_of(page)[:2] == usual


def test_an_objective_without_a_prior_offers_no_sample_of_it(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "mnist-mlp")
    assert page.locator("text=Sample the prior").is_hidden()
    choose_model(page, "mnist-vae")
    decoded_at_sliders(page)
    latent = "String(document.querySelector('.zoo-explore .zoo-large').latent)"
    before = page.evaluate(latent)
    page.click("text=Sample the prior")
    page.wait_for_function(f"(before) => {latent} !== before", arg=before)
    assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, "mnist-vae")).max() <= TOLERANCE


def test_the_picture_stays_in_sight_of_the_sliders_below(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "mnist-conv")
    page.locator(".zoo-slider input").last.scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 300
    assert is_in_sight(page, ".zoo-explore .zoo-large")


def test_on_a_phone_a_small_picture_stays_in_sight(phone_page: Page, demo: str) -> None:
    visit(phone_page, demo, "explore", "mnist-conv")
    phone_page.locator(".zoo-slider input").last.scroll_into_view_if_needed()
    assert phone_page.evaluate("scrollY") > 300
    assert is_in_sight(phone_page, ".zoo-explore .zoo-large")
    assert box_of(phone_page, ".zoo-explore .zoo-stage")["height"] < 200


def test_without_the_dataset_no_percentile_is_claimed(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "homeless")
    hint = page.text_content(".zoo-explore .zoo-hint") or ""
    assert "from -3.00 to 3.00" in hint
    assert "percentile" not in hint
    choose_model(page, "mnist-mlp")
    assert "99th percentile" in (page.text_content(".zoo-explore .zoo-hint") or "")
