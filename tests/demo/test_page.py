"""The page in a real browser: every tab driven as a user would, by pointer and by keyboard."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page, Route

    OpenPage = Callable[..., AbstractContextManager[Page]]

SHIPPED = [model.name for model in zoo.installed().models() if model.plugin.built_in]
TABS = ["reconstruct", "explore", "map", "morph", "compare", "about"]
TOLERANCE = 1 / 255


@pytest.fixture
def opened(page: Page, demo: str) -> Page:
    """The page, ready, showing the document's own model."""
    return visit(page, demo)


@pytest.fixture
def korean_page(open_page: OpenPage) -> Iterator[Page]:
    with open_page(locale="ko-KR") as page:
        yield page


@pytest.fixture
def dark_page(open_page: OpenPage) -> Iterator[Page]:
    with open_page(color_scheme="dark") as page:
        yield page


@pytest.fixture
def phone_page(open_page: OpenPage) -> Iterator[Page]:
    with open_page(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True) as page:
        yield page


def visit(page: Page, url: str, tab: str = "reconstruct", model: str = "mnist-mlp") -> Page:
    page.goto(f"{url}#{tab}", wait_until="domcontentloaded")
    page.wait_for_selector(".zoo-app[data-ready]", timeout=60_000)
    choose_model(page, model)
    return page


def choose_model(page: Page, name: str) -> None:
    page.select_option("#zoo-model", name)
    page.wait_for_function("document.querySelector('.zoo-status').textContent === ''", timeout=60_000)


def choose_tab(page: Page, name: str) -> None:
    page.click(f"#zoo-tab-{name}")


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
            return Math.abs(latent[Number(slider.id.split('-').pop())] - Number(slider.value)) < 0.02;
          });
        }"""
    )
    return pixels_of(page, ".zoo-explore .zoo-large")


def decoded_by_pytorch(page: Page, name: str) -> np.ndarray:
    latent = page.evaluate("Array.from(document.querySelector('.zoo-explore .zoo-large').latent)")
    with torch.inference_mode():
        return zoo.load(name).decode(torch.tensor([latent])).flatten().numpy()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_is_decoded_in_the_browser_as_pytorch_decodes_it(page: Page, demo: str, name: str) -> None:
    visit(page, demo, "explore", name)
    assert page.get_attribute(".zoo-badge", "data-where") == "browser"
    for _ in range(5):
        page.click("#zoo-explore >> text=Random")
        assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, name)).max() <= TOLERANCE


def test_an_arrow_key_on_a_slider_moves_the_image(opened: Page) -> None:
    choose_tab(opened, "explore")
    before = decoded_at_sliders(opened)
    opened.focus(".zoo-slider input")
    for _ in range(200):
        opened.keyboard.press("ArrowRight")
    after = decoded_at_sliders(opened)
    assert np.abs(after - before).max() > 0.05
    assert np.abs(after - decoded_by_pytorch(opened, "mnist-mlp")).max() <= TOLERANCE


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


def test_an_objective_without_a_prior_offers_no_sample_of_it(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "mnist-mlp")
    assert page.locator("text=Sample the prior").is_hidden()
    choose_model(page, "mnist-vae")
    page.click("text=Sample the prior")
    assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, "mnist-vae")).max() <= TOLERANCE


def test_models_with_latents_of_different_sizes_are_switched_between(page: Page, demo: str) -> None:
    for tab in TABS:
        visit(page, demo, tab)
        for name in SHIPPED:
            choose_model(page, name)
            choose_tab(page, "explore")
            expected = zoo.load(name).latent_dim
            page.wait_for_function(f"document.querySelectorAll('.zoo-slider').length === {expected}")
            choose_tab(page, tab)
        assert page.text_content(".zoo-error") == ""


def test_the_worst_test_images_come_first_when_asked_for(opened: Page) -> None:
    opened.select_option("#zoo-order", "worst")
    opened.wait_for_function("document.querySelectorAll('.zoo-shelf button').length === 24")
    opened.click(".zoo-shelf button >> nth=0")
    opened.wait_for_function("document.querySelector('.zoo-verdict').dataset.unusual === 'true'")
    assert "Unusual: above 100 % of the validation images." in (opened.text_content(".zoo-verdict") or "")


def test_a_class_can_be_picked(opened: Page) -> None:
    opened.select_option("#zoo-class", "7")
    opened.wait_for_function(
        "[...document.querySelectorAll('.zoo-shelf button')].every((each) => each.title.endsWith('class 7'))"
    )


def test_an_image_by_its_number_is_shown_with_its_reconstruction_and_error(opened: Page) -> None:
    opened.fill("#zoo-index", "3")
    opened.press("#zoo-index", "Enter")
    opened.wait_for_function("document.querySelector('.zoo-verdict').textContent.startsWith('Test image 3,')")
    model = zoo.load("mnist-mlp")
    image = torch.tensor(pixels_of(opened, ".zoo-trio canvas"), dtype=torch.float32).view(1, 1, 28, 28) / 255
    with torch.inference_mode():
        reconstruction = model.reconstruct(image)
    shown = pixels_of(opened, ".zoo-trio figure:nth-child(2) canvas")
    errors = pixels_of(opened, ".zoo-trio figure:nth-child(3) canvas")
    assert np.abs(shown - reconstruction.flatten().numpy()).max() <= TOLERANCE
    assert np.abs(errors - (reconstruction - image).flatten().numpy()).max() <= TOLERANCE
    mse = float((reconstruction - image).square().mean())
    assert f"MSE {mse:.4f}." in (opened.text_content(".zoo-verdict") or "")


def ink_of(page: Page) -> np.ndarray:
    page.wait_for_function("document.querySelector('.zoo-verdict').textContent.startsWith('Your drawing')")
    return pixels_of(page, ".zoo-trio canvas").reshape(28, 28)


def assert_centred(image: np.ndarray) -> None:
    """As MNIST's digits are: in a box of 20, the centre of mass in the middle."""
    rows, columns = np.nonzero(image > 40)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    weights = image / image.sum()
    assert (weights.sum(axis=1) @ np.arange(28), weights.sum(axis=0) @ np.arange(28)) == pytest.approx(
        (13.5, 13.5), abs=0.75
    )


def test_a_stroke_in_a_corner_is_scaled_and_centred_as_mnist_is(opened: Page) -> None:
    pad = opened.locator(".zoo-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box
    opened.mouse.move(box["x"] + 20, box["y"] + 20)
    opened.mouse.down()
    for step in range(1, 15):
        opened.mouse.move(box["x"] + 20 + step, box["y"] + 20 + 4 * step)
    opened.mouse.up()
    opened.wait_for_timeout(300)
    assert_centred(ink_of(opened))


def test_the_pen_follows_the_arrow_keys(opened: Page) -> None:
    opened.focus(".zoo-pad")
    for key in ["ArrowRight"] * 4 + ["ArrowDown"] * 8:
        opened.keyboard.press(key)
    opened.wait_for_timeout(300)
    assert_centred(ink_of(opened))


def test_an_uploaded_image_is_reconstructed(opened: Page) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))).save(buffer, format="PNG")
    opened.set_input_files("#zoo-file", {"name": "ramp.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    opened.wait_for_function("document.querySelector('.zoo-verdict').textContent.startsWith('ramp.png')")
    image = pixels_of(opened, ".zoo-trio canvas").reshape(28, 28)
    assert (np.diff(image, axis=1) > 0).all()
    opened.check("#zoo-invert")
    opened.wait_for_function("document.querySelector('.zoo-trio canvas').pixels[0] > 200")


def test_an_upload_that_is_no_image_earns_a_message(opened: Page, expected_statuses: set[int]) -> None:
    expected_statuses.add(415)
    opened.set_input_files("#zoo-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"})
    opened.wait_for_function("document.querySelector('.zoo-error').textContent !== ''")
    choose_tab(opened, "explore")
    decoded_at_sliders(opened)


def test_a_click_on_the_map_pins_a_latent_and_moves_the_sliders(page: Page, demo: str) -> None:
    visit(page, demo, "map", "mnist-vae")
    page.wait_for_selector(".zoo-map[data-manifold]")
    box = page.locator(".zoo-map").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    pixels_of(page, ".zoo-map-tab .zoo-medium")  # hovering decodes
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    pinned = [float(value) for value in (page.text_content(".zoo-map-tab .zoo-verdict") or "").split(", ")]
    page.wait_for_function("document.querySelectorAll('.zoo-map-tab .zoo-shelf canvas').length === 8")
    page.click("#zoo-map >> text=Explore this latent")
    for dim, value in enumerate(pinned):
        assert float(page.input_value(f"#zoo-slider-{dim}")) == pytest.approx(value, abs=0.02)


def test_enter_pins_where_the_arrow_keys_moved(page: Page, demo: str) -> None:
    visit(page, demo, "map", "mnist-vae")
    page.focus(".zoo-map")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    before = page.text_content(".zoo-map-tab .zoo-verdict")
    page.keyboard.press("Enter")
    choose_tab(page, "explore")
    values = [page.input_value(f"#zoo-slider-{dim}") for dim in range(2)]
    assert ", ".join(f"{float(value):.2f}" for value in values) == before


def test_a_latent_of_more_dimensions_is_shown_by_its_principal_components_or_a_pair(opened: Page) -> None:
    choose_tab(opened, "map")
    assert opened.input_value("#zoo-axes") == "pca"
    opened.select_option("#zoo-axes", "pair")
    opened.select_option("#zoo-x", "2")
    opened.focus(".zoo-map")
    opened.keyboard.press("ArrowUp")
    opened.wait_for_function("document.querySelector('.zoo-map-tab .zoo-verdict').textContent.includes(', ')")
    assert opened.text_content(".zoo-error") == ""


def test_a_morph_is_drawn_played_and_saved_as_a_gif(opened: Page) -> None:
    choose_tab(opened, "morph")
    for way in ("straight", "spherical", "arithmetic"):
        opened.select_option("#zoo-way", way)
        opened.wait_for_function("document.querySelector('.zoo-morph > .zoo-strip').width === 11 * 29 - 1")
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


def test_two_models_are_compared_on_the_same_images(opened: Page) -> None:
    choose_tab(opened, "compare")
    opened.select_option("#zoo-other", "mnist-conv")
    opened.wait_for_function("document.querySelectorAll('.zoo-compare-images td').length === 32")
    table = opened.text_content(".zoo-compare .zoo-scroll") or ""
    for name in ("mnist-mlp", "mnist-conv"):
        metrics = zoo.evaluate(name).metrics
        assert f"{metrics['mse']:.4f}" in table
    assert opened.locator("text=The same latent").is_hidden()  # 3 and more dimensions


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


def test_the_page_speaks_korean_where_the_browser_does(korean_page: Page, demo: str) -> None:
    visit(korean_page, demo)
    assert korean_page.get_attribute("html", "lang") == "ko"
    for tab in TABS:
        choose_tab(korean_page, tab)
        korean_page.wait_for_timeout(100)
        labels = korean_page.evaluate(
            "[...document.querySelectorAll('.zoo-app button, .zoo-app legend, .zoo-app h2')]"
            ".filter((each) => each.offsetParent).map((each) => each.textContent)"
        )
        english = [label for label in labels if re.fullmatch(r"[A-Z][a-z]+( [a-z]+)*", label)]
        assert english == []


def test_dark_mode_follows_the_system(dark_page: Page, demo: str) -> None:
    visit(dark_page, demo)
    colours = dark_page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.zoo-app')).color]"
    )
    background, text = (sum(map(float, re.findall(r"[\d.]+", colour)[:3])) for colour in colours)
    assert background < 150
    assert text > 550


@pytest.mark.parametrize("tab", TABS)
def test_nothing_is_wider_than_a_phone(phone_page: Page, demo: str, tab: str) -> None:
    visit(phone_page, demo, tab)
    phone_page.wait_for_timeout(300)
    assert phone_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("tab", TABS)
def test_every_control_has_a_name_for_screen_readers(opened: Page, tab: str) -> None:
    choose_tab(opened, tab)
    opened.wait_for_timeout(300)
    nameless = opened.evaluate(
        """() => {
          const named = (each) => each.ariaLabel || each.textContent.trim() ||
            [...(each.labels ?? [])].some((label) => label.textContent.trim());
          return [...document.querySelectorAll('.zoo-app :is(button, input, select, canvas[tabindex])')]
            .filter((each) => each.offsetParent && !named(each)).map((each) => each.outerHTML);
        }"""
    )
    assert nameless == []


def test_arrow_keys_move_between_the_tabs(opened: Page) -> None:
    opened.focus("#zoo-tab-reconstruct")
    for expected in [*TABS[1:], TABS[0]]:
        opened.keyboard.press("ArrowRight")
        assert opened.evaluate("document.activeElement.id") == f"zoo-tab-{expected}"
        assert opened.locator(f"#zoo-{expected}").is_visible()


def test_a_decoder_that_the_browser_does_not_know_is_served_by_the_server(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "fourier")
    assert page.get_attribute(".zoo-badge", "data-where") == "server"
    assert "does not know the operation" in (page.get_attribute(".zoo-badge", "title") or "")
    box = page.locator(".zoo-slider input").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(1, 21):  # faster than the server answers: the last one counts
        page.mouse.move(box["x"] + box["width"] * step / 25, box["y"] + box["height"] / 2)
    page.mouse.up()
    shown = decoded_at_sliders(page)
    latent = page.evaluate("Array.from(document.querySelector('.zoo-explore .zoo-large').latent)")
    answer = page.request.post(
        f"{demo}/zoo/models/fourier/decode", data=np.array(latent, "<f4").tobytes(), headers={"Origin": demo}
    )
    assert np.allclose(shown, np.frombuffer(answer.body(), "<f4"), atol=TOLERANCE)


def test_a_plan_that_does_not_decode_as_pytorch_does_is_not_used(page: Page, demo: str) -> None:
    def spoil(route: Route) -> None:
        weights = bytearray(route.fetch().body())
        weights[:4096] = bytes(4096)
        route.fulfill(body=bytes(weights), content_type="application/octet-stream")

    page.route("**/decoder-*.bin", spoil)
    visit(page, demo, "explore")
    assert page.get_attribute(".zoo-badge", "data-where") == "server"
    assert np.abs(decoded_at_sliders(page) - decoded_by_pytorch(page, "mnist-mlp")).max() <= TOLERANCE


def test_what_a_checkpoint_says_is_shown_as_text(page: Page, demo: str) -> None:
    visit(page, demo, "about", "img-src-x-onerror-alert-1")
    assert page.input_value("#zoo-model") == "img-src-x-onerror-alert-1"
    assert "<img src=x onerror=alert(1)>" in (page.text_content("#zoo-about") or "")
    assert page.locator(".zoo-app img").count() == 0
