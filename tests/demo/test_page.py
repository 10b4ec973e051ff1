"""The page in a real browser: what the tabs share, for every user, language, screen and mishap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import zoo
from demo.browsing import (
    SHIPPED,
    TABS,
    TOLERANCE,
    box_of,
    choose_model,
    choose_tab,
    decoded_at_sliders,
    decoded_by_pytorch,
    errors_on,
    held,
    is_in_sight,
    pixels_of,
    visit,
    wait_for_model,
    wait_for_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Page, Route

    OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def korean_page(open_page: OpenPage, expected_statuses: set[int]) -> Iterator[Page]:
    with open_page(expected_statuses, locale="ko-KR") as page:
        yield page


@pytest.fixture
def dark_page(open_page: OpenPage) -> Iterator[Page]:
    with open_page(color_scheme="dark") as page:
        yield page


def test_models_with_latents_of_different_sizes_are_switched_between(page: Page, demo: str) -> None:
    for tab in TABS:
        visit(page, demo, tab)
        for name in SHIPPED:
            choose_model(page, name)
            choose_tab(page, "explore")
            expected = zoo.load(name).latent_dim
            page.wait_for_function(f"document.querySelectorAll('.zoo-slider').length === {expected}")
            choose_tab(page, tab)
        assert errors_on(page) == []


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_works_for_maps(page: Page, demo: str, tab: str) -> None:
    visit(page, demo, tab, "maps")
    page.wait_for_selector(f"#zoo-{tab}:not(:has([aria-busy]))")
    assert errors_on(page) == []


def test_all_tabs_are_drawn_for_the_class_that_is_told(page: Page, demo: str, runs: Path) -> None:
    visit(page, demo, "reconstruct", "conditional")
    output = ".zoo-trio figure:nth-child(2) canvas"
    corner = "#zoo-morph .zoo-corner canvas"
    unknown = pixels_of(page, output)
    choose_tab(page, "morph")
    wait_for_pixels(page, corner, unlike=np.zeros(1))
    unknown_corner = pixels_of(page, corner)
    page.select_option("#zoo-told", label="3")
    wait_for_pixels(page, corner, unlike=unknown_corner)
    choose_tab(page, "reconstruct")
    wait_for_pixels(page, output, unlike=unknown)
    model = zoo.load(runs / "conditional")
    image = torch.tensor(pixels_of(page, ".zoo-trio canvas"), dtype=torch.float32).view(1, 1, 16, 16) / 255
    with torch.inference_mode():
        expected = model.reconstruct(image, torch.tensor([3]))
    assert np.abs(pixels_of(page, output) - expected.flatten().numpy()).max() <= TOLERANCE
    choose_tab(page, "compare")
    page.wait_for_function("document.querySelectorAll('.zoo-compare-images td').length === 32")
    titles = "document.querySelector('.zoo-compare-images canvas').ariaLabel"
    before = page.evaluate(titles)
    page.select_option("#zoo-told", label="0")
    page.wait_for_selector("#zoo-compare:not(:has([aria-busy]))")
    assert page.evaluate(titles) == before
    assert errors_on(page) == []


def wait_for_pixels(page: Page, selector: str, unlike: np.ndarray) -> None:
    """Wait until a picture shows something else."""
    page.wait_for_function(
        """([selector, before]) => {
          const { pixels } = document.querySelector(selector);
          return pixels && String(Array.from(pixels)) !== String(before);
        }""",
        arg=[selector, unlike.tolist()],
    )


def test_the_class_that_is_told_is_kept_for_the_next_conditional_model(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "conditional")
    page.select_option("#zoo-told", label="1")
    choose_model(page, "tiny")
    assert page.locator("#zoo-told").is_hidden()
    choose_model(page, "conditional")
    assert page.input_value("#zoo-told") == "1"


def test_ones_own_runs_come_before_the_pretrained_models(opened: Page) -> None:
    for picker in ("#zoo-model", "#zoo-other"):
        choose_tab(opened, "compare")
        opened.wait_for_selector(f"{picker} optgroup", state="attached")
        groups = opened.locator(f"{picker} optgroup")
        assert groups.evaluate_all("(all) => all.map((each) => each.label)") == ["Your runs", "Pretrained"]
        assert groups.nth(0).locator("option").first.text_content() == "tiny"


def test_the_address_names_the_tab_and_the_model_and_back_goes_back(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "mnist-vae")
    choose_tab(page, "map")
    choose_model(page, "mnist-mlp")
    assert page.url == f"{demo}/#map/mnist-mlp"
    page.go_back()
    wait_for_model(page, "mnist-vae")
    assert page.url == f"{demo}/#map/mnist-vae"
    page.go_back()
    page.wait_for_selector("#zoo-explore", state="visible")
    page.evaluate("location.hash = '#morph/colour'")
    wait_for_model(page, "colour")
    page.wait_for_selector("#zoo-morph", state="visible")
    assert page.locator(".zoo-panel:visible").count() == 1


def test_an_address_that_names_nothing_there_is_shows_what_comes_first(page: Page, demo: str) -> None:
    page.goto(f"{demo}#nowhere/nothing", wait_until="domcontentloaded")
    page.wait_for_selector(".zoo-app[data-ready]")
    assert page.url == f"{demo}/#reconstruct/tiny"


def test_one_dimension_is_one(page: Page, demo: str) -> None:
    visit(page, demo, "reconstruct", "line")
    assert " 1 latent dimension ·" in (page.text_content(".zoo-summary") or "")


def test_a_model_that_cannot_be_opened_leaves_the_one_before(opened: Page, expected_statuses: set[int]) -> None:
    expected_statuses.add(410)
    line = "runs/gone is not there any more."
    opened.route("**/zoo/models/colour", lambda route: route.fulfill(status=410, json={"error": line}))
    opened.select_option("#zoo-model", "colour")
    wait_for_text(opened, ".zoo-error:not(:empty)", line)
    wait_for_model(opened, "mnist-mlp")
    assert opened.url.endswith("#reconstruct/mnist-mlp")
    choose_tab(opened, "explore")
    assert np.abs(decoded_at_sliders(opened) - decoded_by_pytorch(opened, "mnist-mlp")).max() <= TOLERANCE
    assert errors_on(opened) == []


def test_a_page_whose_first_model_cannot_be_opened_offers_the_others(
    page: Page, demo: str, expected_statuses: set[int]
) -> None:
    expected_statuses.add(0)
    page.route("**/zoo/models/tiny", lambda route: route.abort())
    page.goto(demo, wait_until="domcontentloaded")
    page.wait_for_selector(".zoo-app[data-ready]")
    assert errors_on(page) == ["The server does not answer; is zoo demo still running?"]
    choose_model(page, "mnist-mlp")
    assert page.locator("#zoo-reconstruct").is_visible()


def test_a_failure_of_the_server_is_a_line_until_the_next_act(
    page: Page, demo: str, expected_statuses: set[int]
) -> None:
    expected_statuses.add(500)
    visit(page, demo, "explore", "fourier")
    decoded_at_sliders(page)
    page.route("**/decode", lambda route: route.fulfill(status=500, json={"error": "Broken."}))
    page.press(".zoo-slider input", "ArrowRight")
    page.wait_for_function("document.querySelector('.zoo-notes .zoo-error').textContent === 'Broken.'")
    assert is_in_sight(page, ".zoo-notes .zoo-error")
    page.unroute("**/decode")
    page.press("#zoo-tab-explore", "ArrowRight")
    page.wait_for_selector("#zoo-map", state="visible")
    assert errors_on(page) == []


def test_a_picture_says_that_it_is_waited_for(page: Page, demo: str) -> None:
    visit(page, demo, "explore", "fourier")
    decoded_at_sliders(page)
    page.wait_for_selector(".zoo-sliders:not([aria-busy])")
    with held(page, "**/decode"):
        page.press(".zoo-slider input", "ArrowRight")
        page.wait_for_selector(".zoo-explore .zoo-large[aria-busy=true]")
        page.wait_for_function("getComputedStyle(document.querySelector('.zoo-explore .zoo-large')).opacity < 0.5")
    page.wait_for_selector(".zoo-explore .zoo-large:not([aria-busy])")


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


def test_both_languages_have_every_text(opened: Page) -> None:
    english, korean = (
        set(opened.evaluate(f"import('/zoo/static/text.mjs').then((text) => Object.keys(text.LANGUAGES.{language}))"))
        for language in ("en", "ko")
    )
    assert english - korean == set()
    assert {key.split(".")[0] for key in korean - english} == {"refusal"}  # the server's own lines are English


def test_the_servers_refusals_are_korean_too_and_words_are_whole(
    korean_page: Page, demo: str, expected_statuses: set[int]
) -> None:
    expected_statuses.add(415)
    visit(korean_page, demo)
    korean_page.set_input_files("#zoo-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no image"})
    wait_for_text(korean_page, "fieldset:has(#zoo-file) .zoo-error", "x.png: 읽을 수 있는")
    assert korean_page.evaluate("getComputedStyle(document.querySelector('.zoo-hint')).wordBreak") == "keep-all"


def test_dark_mode_follows_the_system(dark_page: Page, demo: str) -> None:
    visit(dark_page, demo)
    colours = dark_page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.zoo-app')).color]"
    )
    background, text = (sum(map(float, re.findall(r"[\d.]+", colour)[:3])) for colour in colours)
    assert background < 150
    assert text > 550
    error_map = dark_page.evaluate("getComputedStyle(document.querySelector('.zoo-signed')).backgroundColor")
    assert sum(map(float, re.findall(r"[\d.]+", error_map)[:3])) < 150
    edge = dark_page.evaluate("getComputedStyle(document.querySelector('.zoo-pad')).borderTopColor")
    assert edge not in (colours[0], "rgb(0, 0, 0)")


def test_hints_and_errors_have_colours_of_their_own(opened: Page) -> None:
    text, *others = (
        opened.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
        for selector in (".zoo-app", ".zoo-app .zoo-hint", ".zoo-summary", ".zoo-error")
    )
    assert text not in others
    assert len(set(others)) == 2


RING = """() => {
  const focused = document.activeElement;
  if (!focused || focused === document.body) return null;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(focused);
  const paper = getComputedStyle(document.body).backgroundColor;
  return [focused.id || focused.outerHTML.slice(0, 80), outlineStyle, parseFloat(outlineWidth), outlineColor, paper];
}"""


@pytest.mark.parametrize("tab", TABS)
def test_the_focus_is_seen_on_every_control(opened: Page, dark_page: Page, demo: str, tab: str) -> None:
    for page in (opened, visit(dark_page, demo)):
        choose_tab(page, tab)
        page.locator(f"#zoo-{tab} button:visible").first.wait_for()  # Compare's come with the other model
        page.focus("#zoo-model")
        seen = set()
        while (ring := page.evaluate(RING)) and ring[0] not in seen:
            seen.add(ring[0])
            assert (ring[1], ring[2]) == ("solid", 3), ring
            assert contrast(*ring[3:]) >= 3, ring
            page.keyboard.press("Tab")
        assert len(seen) > 3


def contrast(*colours: str) -> float:
    """The contrast ratio of two opaque colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        shares = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, bright = sorted(map(luminance, colours))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tab", TABS)
def test_nothing_is_wider_than_a_phone(phone_page: Page, demo: str, tab: str) -> None:
    visit(phone_page, demo, tab, f"{'a-very-' * 15}long-name"[:64].strip("-"))
    phone_page.wait_for_timeout(300)
    assert phone_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_phones_margins_are_narrow(phone_page: Page, demo: str) -> None:
    visit(phone_page, demo)
    assert box_of(phone_page, ".zoo-app")["x"] <= 16


@pytest.mark.parametrize("tab", TABS)
def test_every_control_has_a_name_for_screen_readers(opened: Page, tab: str) -> None:
    choose_tab(opened, tab)
    opened.wait_for_timeout(300)
    nameless = opened.evaluate(
        """() => {
          const named = (each) => each.ariaLabel || each.textContent.trim() ||
            [...(each.labels ?? [])].some((label) => label.textContent.trim());
          const controls = ':is(button, input, select, [tabindex], [role=img])';
          return [...document.querySelectorAll(`.zoo-app ${controls}`)]
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
