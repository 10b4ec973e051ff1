"""The map in a real browser: hovering, pinning, choosing axes, and following what other tabs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import zoo
from demo.browsing import box_of, choose_tab, errors_on, is_in_sight, pixels_of, visit

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_click_on_the_map_pins_a_latent_and_moves_the_sliders(page: Page, demo: str) -> None:
    visit(page, demo, "map", "mnist-vae")
    page.wait_for_selector(".zoo-map[data-manifold]")
    box = page.locator(".zoo-map").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    pixels_of(page, ".zoo-map-tab .zoo-medium")  # hovering decodes
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    pinned = [float(value) for value in (page.text_content(".zoo-where") or "").split(", ")]
    page.wait_for_function("document.querySelectorAll('.zoo-neighbours button').length === 8")
    page.click("#zoo-map >> text=Explore this latent")
    for dim, value in enumerate(pinned):
        assert float(page.input_value(f"#zoo-slider-{dim}")) == pytest.approx(value, abs=0.006)


def test_enter_pins_where_the_arrow_keys_moved(page: Page, demo: str) -> None:
    visit(page, demo, "map", "mnist-vae")
    page.focus(".zoo-map")
    before = where_of(page)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => document.querySelector('.zoo-where').textContent !== before", arg=before)
    page.keyboard.press("Enter")
    pinned = [float(value) for value in where_of(page).split(", ")]
    choose_tab(page, "explore")
    assert [float(page.input_value(f"#zoo-slider-{dim}")) for dim in range(2)] == pytest.approx(pinned, abs=0.006)


def where_of(page: Page) -> str:
    return page.text_content(".zoo-where") or ""


def test_a_latent_of_more_dimensions_is_shown_by_its_principal_components_or_a_pair(opened: Page) -> None:
    choose_tab(opened, "map")
    assert opened.input_value("#zoo-axes") == "pca"
    opened.select_option("#zoo-axes", "pair")
    opened.select_option("#zoo-x", "2")
    opened.focus(".zoo-map")
    opened.keyboard.press("ArrowUp")
    opened.wait_for_function("document.querySelector('.zoo-where').textContent.includes(', ')")
    assert errors_on(opened) == []


def white_at_pin(page: Page, model: str, axes: tuple[int, int]) -> bool:
    """Whether a cross-hair is drawn where the sliders' latent is on the plane of two dimensions."""
    latent = [float(page.input_value(f"#zoo-slider-{dim}")) for dim in range(zoo.load(model).latent_dim)]
    return page.evaluate(
        """async ([first, second, latent]) => {
          const { Model } = await import('/zoo/static/model.mjs');
          const { Square, around } = await import('/zoo/static/plane.mjs');
          const model = await Model.open(document.querySelector('#zoo-model').value);
          await model.measure();
          const places = new Float32Array(2 * model.points.count);
          for (let index = 0; index < model.points.count; index += 1) {
            const each = model.latentOf(index);
            places.set([each[first], each[second]], 2 * index);
          }
          const [x, y] = new Square(640, around(places)).toCanvas([latent[first], latent[second]]);
          const context = document.querySelector('.zoo-map').getContext('2d');
          return [-14, 14].every((step) => context.getImageData(x + step, y, 1, 1).data.every((value) => value > 250));
        }""",
        [*axes, latent],
    )


def test_the_pin_is_where_the_latent_is_on_whatever_axes(opened: Page) -> None:
    choose_tab(opened, "map")
    opened.click(".zoo-map", position={"x": 200, "y": 300})
    opened.mouse.move(1, 1)
    opened.select_option("#zoo-axes", "pair")
    axes = [int(opened.input_value(f"#zoo-{name}")) for name in "xy"]
    choose_tab(opened, "explore")
    choose_tab(opened, "map")
    assert white_at_pin(opened, "mnist-mlp", (axes[0], axes[1]))
    opened.select_option("#zoo-x", str(axes[1]))
    assert white_at_pin(opened, "mnist-mlp", (axes[1], axes[0]))


def test_the_axes_are_named_and_never_the_same(opened: Page) -> None:
    choose_tab(opened, "map")
    names = opened.locator(".zoo-axis")
    assert names.nth(0).text_content() == "Component 1: 57 % of the variance"
    opened.select_option("#zoo-axes", "pair")
    x, y = (opened.input_value(f"#zoo-{name}") for name in "xy")
    opened.select_option("#zoo-x", y)
    assert [opened.input_value(f"#zoo-{name}") for name in "xy"] == [y, x]
    assert names.all_text_contents() == [f"Latent {int(y) + 1}", f"Latent {int(x) + 1}"]


def test_choosing_axes_does_not_move_the_map(opened: Page) -> None:
    choose_tab(opened, "map")
    before = box_of(opened, ".zoo-map")
    opened.select_option("#zoo-axes", "pair")
    assert opened.locator("#zoo-x").is_visible()
    assert box_of(opened, ".zoo-map") == before


def neighbours_of(page: Page) -> list[str]:
    page.wait_for_function("document.querySelectorAll('.zoo-neighbours button').length === 8")
    return page.locator(".zoo-neighbours button").evaluate_all("(all) => all.map((each) => each.title)")


def test_a_neighbour_can_be_gone_to(opened: Page) -> None:
    choose_tab(opened, "map")
    first, *_, last = neighbours_of(opened)
    opened.click(".zoo-neighbours button >> nth=7")
    opened.wait_for_function("(last) => document.querySelector('.zoo-neighbours button').title === last", arg=last)
    assert first != last


def test_a_latent_that_another_tab_set_has_its_own_neighbours_and_background(opened: Page) -> None:
    choose_tab(opened, "map")
    opened.select_option("#zoo-axes", "pair")
    opened.wait_for_selector(".zoo-map[data-manifold]")
    opened.wait_for_selector(".zoo-map:not([aria-busy])")
    before, map_before = neighbours_of(opened), dots_hidden(opened)
    choose_tab(opened, "explore")
    opened.locator(".zoo-slider input").last.press("End")  # a dimension across the plane
    choose_tab(opened, "map")
    opened.wait_for_function(
        "(before) => document.querySelector('.zoo-neighbours button').title !== before", arg=before[0]
    )
    opened.wait_for_selector(".zoo-map:not([aria-busy])")
    assert neighbours_of(opened) != before
    assert dots_hidden(opened) != map_before


def dots_hidden(page: Page) -> str:
    """The map's background alone: its upper left corner, where no cross-hair is."""
    page.uncheck("#zoo-dots")
    pixels = page.evaluate(
        "document.querySelector('.zoo-map').getContext('2d').getImageData(0, 0, 128, 128).data.join()"
    )
    page.check("#zoo-dots")
    return pixels


def test_hovering_moves_a_cross_hair_and_draws_no_dot_again(opened: Page) -> None:
    choose_tab(opened, "map")
    opened.wait_for_selector(".zoo-map[data-manifold]:not([aria-busy])")
    opened.evaluate(
        """() => {
          window.rectangles = 0;
          for (const each of [OffscreenCanvasRenderingContext2D, CanvasRenderingContext2D]) {
            const fillRect = each.prototype.fillRect;
            each.prototype.fillRect = function (...box) { window.rectangles += 1; fillRect.apply(this, box); };
          }
        }"""
    )
    box = box_of(opened, ".zoo-map")
    before = where_of(opened)
    opened.mouse.move(box["x"] + 100, box["y"] + 100)
    opened.wait_for_function("(before) => document.querySelector('.zoo-where').textContent !== before", arg=before)
    assert opened.evaluate("window.rectangles") == 0


def test_only_who_moves_by_keys_hears_where_the_cursor_is(opened: Page) -> None:
    choose_tab(opened, "map")
    opened.hover(".zoo-map", position={"x": 100, "y": 100})
    assert opened.get_attribute(".zoo-where", "aria-live") == "off"
    opened.press(".zoo-map", "ArrowUp")
    assert opened.get_attribute(".zoo-where", "aria-live") == "polite"


def test_without_the_dataset_the_map_shows_what_is_decoded(page: Page, demo: str) -> None:
    visit(page, demo, "map", "homeless")
    page.wait_for_selector(".zoo-map[data-manifold]")
    page.click(".zoo-map", position={"x": 100, "y": 100})
    assert where_of(page).startswith("-")
    for selector in (".zoo-neighbours", "#zoo-dots"):
        assert page.locator(selector).is_hidden()
    assert errors_on(page) == []


def test_a_latent_of_one_dimension_has_a_map(page: Page, demo: str) -> None:
    visit(page, demo, "map", "line")
    page.wait_for_selector(".zoo-map[data-manifold]")
    assert page.locator(".zoo-axis").all_text_contents() == ["Latent 1", ""]


def test_on_a_phone_what_is_under_the_finger_is_in_sight(phone_page: Page, demo: str) -> None:
    visit(phone_page, demo, "map", "mnist-vae")
    phone_page.set_viewport_size({"width": 375, "height": 600})
    phone_page.locator(".zoo-map").evaluate("(map) => map.scrollIntoView({ block: 'start' })")
    phone_page.tap(".zoo-map", position={"x": 100, "y": 200})
    for selector in (".zoo-map-tab .zoo-medium", ".zoo-where"):
        assert is_in_sight(phone_page, selector)
    assert "Hover" not in (phone_page.text_content("#zoo-map") or "")
