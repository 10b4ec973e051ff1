"""Reconstruct in a real browser: test images, drawings, uploads, and what is said about them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from demo.browsing import (
    TOLERANCE,
    box_of,
    choose_model,
    draw_stroke,
    errors_on,
    is_in_sight,
    pixels_of,
    visit,
    wait_for_text,
    wait_for_verdict,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


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
    wait_for_verdict(opened, "Test image 3,")
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


def test_what_the_error_and_its_colours_mean_is_written_beside_them(opened: Page) -> None:
    wait_for_verdict(opened, "Test image 0,")
    caption = opened.locator(".zoo-reconstruct figcaption").last.inner_text().split("\n")
    assert caption == ["Error", "too bright", "too dark"]
    error, limit = opened.locator(".zoo-meter-label").all_inner_texts()
    assert f"MSE {error}." in (opened.text_content(".zoo-verdict") or "")
    assert limit.startswith("95th percentile: 0.0")


def test_random_gives_an_image_of_the_chosen_class(opened: Page) -> None:
    opened.select_option("#zoo-class", "7")
    for _ in range(5):  # by chance all of them are once in 100,000 times
        opened.click(".zoo-gallery >> text=Random")
        opened.wait_for_function("document.querySelector('#zoo-index').value !== '0'")
        assert "class 7" in wait_for_verdict(opened, f"Test image {opened.input_value('#zoo-index')},")


def shelf_of(page: Page) -> list[str]:
    return page.locator(".zoo-gallery .zoo-shelf button").evaluate_all("(all) => all.map((each) => each.title)")


def test_a_random_order_can_be_had_anew(opened: Page) -> None:
    assert opened.locator("#zoo-shuffle").is_hidden()
    first = shelf_of(opened)
    opened.select_option("#zoo-order", "random")
    opened.wait_for_function("(first) => document.querySelector('.zoo-shelf button').title !== first", arg=first[0])
    second = shelf_of(opened)
    opened.click("#zoo-shuffle")
    opened.wait_for_function("(second) => document.querySelector('.zoo-shelf button').title !== second", arg=second[0])


def test_the_chosen_thumbnail_is_marked_until_something_else_is_shown(opened: Page) -> None:
    marked = ".zoo-gallery button[aria-pressed=true]"
    opened.click(".zoo-gallery .zoo-shelf button >> nth=2")
    wait_for_verdict(opened, "Test image 2,")
    assert opened.locator(marked).evaluate_all("(all) => all.map((each) => each.value)") == ["2"]
    assert opened.input_value("#zoo-index") == "2"
    draw_stroke(opened)
    wait_for_verdict(opened, "Your drawing")
    assert opened.locator(marked).count() == 0
    assert opened.input_value("#zoo-index") == ""


def test_another_model_is_asked_about_the_same_class_and_image(opened: Page) -> None:
    opened.select_option("#zoo-class", "3")
    opened.click(".zoo-gallery .zoo-shelf button[title$='class 3'] >> nth=1")
    opened.wait_for_function("document.querySelector('#zoo-index').value !== '0'")
    image = f"Test image {opened.input_value('#zoo-index')}, class 3"
    wait_for_verdict(opened, image)
    choose_model(opened, "mnist-conv")
    wait_for_verdict(opened, image)
    assert opened.input_value("#zoo-class") == "3"
    assert all(title.endswith("class 3") for title in shelf_of(opened))


def ink_of(page: Page) -> np.ndarray:
    wait_for_verdict(page, "Your drawing")
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
    draw_stroke(opened)
    assert_centred(ink_of(opened))


def test_the_pen_follows_the_arrow_keys_and_is_seen(opened: Page) -> None:
    assert opened.locator(".zoo-pad-invitation").is_visible()
    assert opened.locator(".zoo-pad-pen").is_hidden()
    opened.focus(".zoo-pad")
    before = box_of(opened, ".zoo-pad-pen")
    for key in ["ArrowRight"] * 4 + ["ArrowDown"] * 8:
        opened.keyboard.press(key)
    after = box_of(opened, ".zoo-pad-pen")
    assert after["x"] > before["x"] + 20
    assert after["y"] > before["y"] + 40
    assert_centred(ink_of(opened))


@pytest.mark.parametrize("by_key", [False, True], ids=["button", "key"])
def test_what_is_cleared_leaves_nothing_behind(opened: Page, by_key: bool) -> None:
    opened.focus(".zoo-pad")
    start = box_of(opened, ".zoo-pad-pen")
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    wait_for_verdict(opened, "Your drawing")
    if by_key:
        opened.keyboard.press("Delete")
    else:
        opened.click("text=Clear")
        opened.focus(".zoo-pad")
    opened.wait_for_function("document.querySelector('.zoo-verdict').textContent === ''")
    opened.keyboard.press("Shift+ArrowUp")
    opened.keyboard.press("Shift+ArrowDown")
    assert box_of(opened, ".zoo-pad-pen") == start
    assert opened.evaluate("document.querySelector('.zoo-trio canvas').pixels") is None
    assert opened.locator(".zoo-meter").is_hidden()
    assert opened.locator("#zoo-explore-this").is_disabled()


def test_the_right_button_does_not_draw(opened: Page) -> None:
    wait_for_verdict(opened, "Test image 0,")
    draw_stroke(opened, button="right")
    assert opened.get_attribute(".zoo-pad-frame", "data-drawn") == "false"


def test_another_model_is_asked_about_the_same_drawing(opened: Page) -> None:
    draw_stroke(opened)
    before = wait_for_verdict(opened, "Your drawing")
    choose_model(opened, "mnist-conv")
    assert wait_for_verdict(opened, "Your drawing") != before
    choose_model(opened, "tiny")  # 16 pixels a side
    wait_for_verdict(opened, "Your drawing")
    assert opened.evaluate("document.querySelector('.zoo-trio canvas').pixels.length") == 16 * 16


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


RAMP = png(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1)))


def upload(page: Page, name: str, content: bytes) -> None:
    page.set_input_files("#zoo-file", {"name": name, "mimeType": "image/png", "buffer": content})


def test_an_uploaded_image_is_reconstructed(opened: Page) -> None:
    upload(opened, "ramp.png", RAMP)
    wait_for_verdict(opened, "ramp.png")
    image = pixels_of(opened, ".zoo-trio canvas").reshape(28, 28)
    assert (np.diff(image, axis=1) > 0).all()
    opened.check("#zoo-invert")
    opened.wait_for_function("document.querySelector('.zoo-trio canvas').pixels[0] > 200")


def test_another_model_is_asked_about_the_same_upload(opened: Page) -> None:
    upload(opened, "ramp.png", RAMP)
    wait_for_verdict(opened, "ramp.png")
    choose_model(opened, "tiny")
    wait_for_verdict(opened, "ramp.png")
    assert opened.evaluate("document.querySelector('.zoo-trio canvas').pixels.length") == 16 * 16


def test_the_same_file_can_be_chosen_again(opened: Page) -> None:
    upload(opened, "ramp.png", RAMP)
    with opened.expect_file_chooser():
        opened.click("#zoo-file")
    assert opened.evaluate("document.querySelector('#zoo-file').files.length") == 0  # else no change would be seen


def test_an_upload_that_is_no_image_earns_a_message_beside_it(opened: Page, expected_statuses: set[int]) -> None:
    expected_statuses.add(415)
    upload(opened, "ramp.png", RAMP)
    wait_for_verdict(opened, "ramp.png")
    opened.locator("#zoo-file").scroll_into_view_if_needed()
    upload(opened, "x.png", b"<svg onload=alert(1)>")
    wait_for_text(opened, "fieldset:has(#zoo-file) .zoo-error", "x.png: This is no image file of a kind")
    assert is_in_sight(opened, "fieldset:has(#zoo-file) .zoo-error")
    assert opened.text_content(".zoo-verdict") == ""
    assert opened.evaluate("document.querySelector('.zoo-trio canvas').pixels") is None
    opened.click(".zoo-gallery .zoo-shelf button >> nth=1")
    wait_for_verdict(opened, "Test image 1,")
    assert errors_on(opened) == []


def test_on_a_phone_the_result_of_a_drawing_is_in_sight_of_the_pad(phone_page: Page, demo: str) -> None:
    visit(phone_page, demo)
    phone_page.locator(".zoo-pad").evaluate("(pad) => pad.scrollIntoView({ block: 'center' })")
    draw_stroke(phone_page)
    wait_for_verdict(phone_page, "Your drawing")
    for selector in (".zoo-pad", ".zoo-trio"):
        assert is_in_sight(phone_page, selector)


def test_on_a_phone_an_upload_and_its_message_are_in_sight(
    phone_page: Page, demo: str, expected_statuses: set[int]
) -> None:
    expected_statuses.add(0)
    visit(phone_page, demo)
    phone_page.route("**/upload*", lambda route: route.abort())
    phone_page.locator("#zoo-file").evaluate("(file) => file.scrollIntoView({ block: 'center' })")
    upload(phone_page, "x.png", b"x")
    wait_for_text(phone_page, "fieldset:has(#zoo-file) .zoo-error", "x.png: The server does not answer")
    for selector in ("fieldset:has(#zoo-file) .zoo-error", ".zoo-trio"):
        assert is_in_sight(phone_page, selector)


def test_without_the_dataset_a_drawing_is_reconstructed_and_not_judged(opened: Page, demo: str) -> None:
    wait_for_verdict(opened, "Test image 0,")
    choose_model(opened, "homeless")
    assert "pip install zoo-patch" in (opened.text_content(".zoo-results") or "")
    assert opened.text_content(".zoo-verdict") == ""
    for selector in (".zoo-meter", ".zoo-gallery"):
        assert opened.locator(selector).is_hidden()
    assert opened.locator("#zoo-explore-this").is_disabled()
    draw_stroke(opened)
    assert "validation" not in wait_for_verdict(opened, "Your drawing")
    opened.click("#zoo-explore-this")
    assert opened.locator("#zoo-explore").is_visible()
