"""Compare in a real browser: two models on the same images, and on the same latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zoo
from demo.browsing import choose_tab, held, visit, wait_for_text
from zoo.model import checkpoint as checkpoints

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_two_models_are_compared_on_the_same_images(opened: Page) -> None:
    choose_tab(opened, "compare")
    opened.select_option("#zoo-other", "mnist-conv")
    opened.wait_for_function("document.querySelectorAll('.zoo-compare-images td').length === 32")
    table = opened.text_content(".zoo-compare .zoo-table") or ""
    for name in ("mnist-mlp", "mnist-conv"):
        metrics = zoo.evaluate(name).metrics
        assert f"{metrics['mse']:.4f}" in table
    assert opened.locator("text=The same latent").is_hidden()  # 3 and more dimensions


def inputs_of(page: Page, other: str) -> list[str]:
    """The titles of the images, once they are compared with another model."""
    page.select_option("#zoo-other", other)
    wait_for_text(page, ".zoo-compare-images tr:nth-child(3) th", other)
    images = page.locator(".zoo-compare-images tr:first-child canvas")
    return images.evaluate_all("(all) => all.map((each) => each.ariaLabel)")


def test_another_model_is_compared_on_the_very_images(opened: Page) -> None:
    choose_tab(opened, "compare")
    before = inputs_of(opened, "mnist-conv")
    assert inputs_of(opened, "mnist-vae") == before
    opened.click("text=Other images")
    opened.wait_for_function(
        "(before) => document.querySelector('.zoo-compare-images canvas').ariaLabel !== before", arg=before[0]
    )


def test_each_metric_that_one_of_two_models_has_is_compared(page: Page, demo: str) -> None:
    visit(page, demo, "compare", "judged")
    page.select_option("#zoo-other", "mnist-mlp")
    wait_for_text(page, ".zoo-compare .zoo-table tr th:nth-child(3)", "mnist-mlp")
    rows = page.locator(".zoo-compare .zoo-table").first.locator("tr")
    cells = rows.evaluate_all("(all) => all.map((row) => [...row.cells].map((cell) => cell.textContent))")
    metadata = checkpoints.read(zoo.installed().model("mnist-mlp").path).metadata
    metrics = metadata.test_metrics or {}
    assert {name: texts for name, *texts in cells if name.startswith("test ")} == {
        "test crispness": ["0.5", "–"],
        "test psnr": ["inf dB", f"{metrics['psnr']:.2f} dB"],
        "test mse": ["–", f"{metrics['mse']:.5f}"],
        "test ssim": ["–", f"{metrics['ssim']:.3f}"],
    }


def test_models_of_images_of_other_sizes_are_compared_by_their_metrics(opened: Page) -> None:
    choose_tab(opened, "compare")
    inputs_of(opened, "mnist-conv")
    opened.select_option("#zoo-other", "tiny")
    opened.wait_for_selector("text=images of another size")
    for text in ("Other images", "errs more", "The same images"):
        assert opened.locator(f".zoo-compare >> text={text}").first.is_hidden()


def test_the_same_latent_is_offered_once_it_is_known_that_sizes_agree(page: Page, demo: str) -> None:
    visit(page, demo, "reconstruct", "conditional")
    with held(page, "**/zoo/models/*"):
        choose_tab(page, "compare")
        assert page.locator("text=The same latent").is_hidden()
    page.wait_for_selector("text=The same latent")
    page.select_option("#zoo-other", "mnist-mlp")
    page.wait_for_function("document.querySelectorAll('.zoo-compare .zoo-medium')[1].pixels?.length === 784")


def test_without_the_dataset_no_images_are_compared(page: Page, demo: str) -> None:
    visit(page, demo, "compare", "homeless")
    page.wait_for_selector(".zoo-compare >> text=pip install zoo-patch")
    assert page.locator("text=Other images").is_hidden()
