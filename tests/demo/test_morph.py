"""Morph in a real browser: its corners, paths, animation and GIF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

import zoo
from demo.browsing import TOLERANCE, choose_tab, pixels_of, visit
from zoo.data.splits import load_split

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_morph_is_drawn_played_and_saved_as_a_gif(opened: Page) -> None:
    choose_tab(opened, "morph")
    for path in ("straight", "spherical", "arithmetic"):
        opened.select_option("#zoo-path", path)
        opened.wait_for_function("document.querySelector('.zoo-morph .zoo-strip').width === 11 * 29 - 1")
    frames = "document.querySelector('.zoo-morph .zoo-large').frames"
    before = opened.evaluate(frames)
    opened.click("text=Play")
    opened.wait_for_function(f"{frames} > {before} + 10")
    opened.click("text=Pause")
    with opened.expect_download() as download:
        opened.click("text=Save as GIF")
    with Image.open(download.value.path()) as gif:
        assert (gif.format, gif.is_animated, gif.size) == ("GIF", True, (224, 224))


def test_the_ends_of_a_morph_are_its_images(opened: Page) -> None:
    choose_tab(opened, "morph")
    opened.fill("#zoo-corner-A", "5")
    opened.press("#zoo-corner-A", "Enter")
    opened.wait_for_function("document.querySelector('.zoo-corners canvas').pixels")
    opened.wait_for_timeout(200)
    corner = pixels_of(opened, ".zoo-corners canvas")
    assert np.allclose(corner, pixels_of(opened, ".zoo-morph .zoo-stage .zoo-large"), atol=TOLERANCE)


def test_a_corner_can_be_chosen_by_its_class(opened: Page) -> None:
    choose_tab(opened, "morph")
    opened.select_option("#zoo-corner-class-B", "6")
    index = int(opened.input_value("#zoo-corner-B"))
    opened.fill("#zoo-corner-A", str(index))
    opened.press("#zoo-corner-A", "Enter")
    assert opened.input_value("#zoo-corner-class-A") == "6"


def test_the_first_arithmetic_makes_an_image_like_a(opened: Page) -> None:
    choose_tab(opened, "morph")
    opened.select_option("#zoo-path", "arithmetic")
    a, b, c = (int(opened.input_value(f"#zoo-corner-{name}")) for name in "ABC")
    test = load_split(zoo.installed().get("dataset", "mnist"), {}, "test")
    with torch.inference_mode():
        latents = zoo.load("mnist-mlp").encode(test.images[:2000].float() / 255)
    nearest = (latents - (latents[c] + latents[a] - latents[b])).norm(dim=1).topk(5, largest=False).indices
    assert test.labels[b] == test.labels[c] != test.labels[a]
    assert test.labels[nearest].mode().values == test.labels[a]


def test_play_goes_on_from_where_the_slider_is(opened: Page) -> None:
    choose_tab(opened, "morph")
    time = opened.locator("#zoo-time")
    for _ in range(40):
        time.press("ArrowRight")
    assert time.input_value() == "0.4"
    opened.evaluate(
        """() => {
          window.times = [];
          const time = document.querySelector('#zoo-time');
          new MutationObserver(() => window.times.push(Number(time.value))).observe(time, { attributes: true });
        }"""
    )
    opened.click("text=Play")
    opened.wait_for_function("window.times.length > 3")
    opened.click("text=Pause")
    first, second, *_ = opened.evaluate("window.times")
    assert 0.4 < first < second < 0.5
    assert opened.text_content("label:has(#zoo-time)") == "Position"


def test_without_the_dataset_what_needs_it_looks_disabled(page: Page, demo: str) -> None:
    visit(page, demo, "morph", "homeless")
    for control in ("#zoo-corner-A", "#zoo-corner-class-A", "fieldset:has(#zoo-corner-A) >> text=Random"):
        assert page.locator(control).is_disabled()
        assert page.locator(control).evaluate("(each) => Number(getComputedStyle(each).opacity)") < 0.6
    page.click("fieldset:has(#zoo-corner-A) >> text=From Explore")
    assert np.ptp(pixels_of(page, ".zoo-morph .zoo-stage .zoo-large")) > 0
