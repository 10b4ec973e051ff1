"""What Python and notebooks show of a run and of a model."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

import zoo
from zoo.model.display import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curves_svg
from zoo.training.runs import Run

HISTORY = [
    {"epoch": 1.0, "train_loss": 0.1, "val_loss": 0.2},
    {"epoch": 2.0, "train_loss": 0.01, "val_loss": 0.02},
    {"epoch": 5.0, "train_loss": 0.001, "val_loss": 0.002},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("finished") / "run"
    settings = {"encoder": "mlp", "objective": "vae", "dataset": "tiny", "epochs": 2, "accelerator": "cpu"}
    return zoo.train(**settings, output=directory, quiet=True)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of a finished run, which a test may damage."""
    shutil.copytree(finished.directory, tmp_path / "run")
    return Run(tmp_path / "run")


class Page(HTMLParser):
    """The text, tags and image sources of HTML; every tag must be closed by its own."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.sources = "", []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name == "src"]
        if tag != "img":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page_of(shown: Run | zoo.Autoencoder) -> Page:
    return Page(shown._repr_html_())


def test_a_run_is_one_line_of_text(finished: Run) -> None:
    loss = finished.history[-1]["val_loss"]
    assert repr(finished) == f"Run('{finished.directory}': mlp with vae on tiny, epoch 2/2, val loss {loss:.5f})"


@pytest.mark.parametrize("opened", [lambda run: run, lambda run: run.load()], ids=["run", "model"])
def test_a_notebook_shows_settings_metrics_curves_and_reconstructions(
    finished: Run, opened: Callable[[Run], Run | zoo.Autoencoder]
) -> None:
    page = page_of(opened(finished))
    metrics = finished.test_metrics
    assert metrics
    assert "mlp → vae → mlp, dataset tiny, latent_dim 3, 2 epochs, seed 0" in page.text
    assert f"{metrics['mse']:.5f}" in page.text
    assert f"{metrics['psnr']:.2f} dB" in page.text
    assert "svg" in page.tags
    (source,) = page.sources
    content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert content == finished.reconstructions_picture.read_bytes()
    Image.open(io.BytesIO(content)).verify()


def test_a_finished_run_says_so(finished: Run) -> None:
    assert re.search(r"finished; the weights are those of epoch [12] ", page_of(finished).text)


def test_a_model_says_its_shapes_weights_and_metrics_over_its_layers(finished: Run) -> None:
    model = finished.load()
    weights = sum(math.prod(weight.shape) for weight in model.parameters())
    first, second, *layers = repr(model).splitlines()
    assert first == "Autoencoder("
    assert second.strip().startswith(f"image_shape=(1, 16, 16), latent_dim=3, {weights:,} weights, mse 0.")
    assert any("MLPEncoder" in line for line in layers)
    assert (
        f"MLPEncoder, {sum(weight.numel() for weight in model.encoder.parameters()):,} weights" in page_of(model).text
    )


def test_a_model_that_comes_from_no_file_is_shown(finished: Run) -> None:
    model = finished.load()
    model.metadata = model.file = None
    page = page_of(model)
    assert "16×16" in page.text
    assert page.sources == []
    assert "svg" not in page.tags


# What is missing or damaged


def test_an_unfinished_run_says_how_far_it_is_and_how_to_go_on(run: Run) -> None:
    run.checkpoint.unlink()
    run.reconstructions_picture.unlink()
    run.metrics_file.write_text("epoch,train_loss,val_loss\r\n1,0.5,0.25\r\n")
    page = page_of(run)
    assert f"unfinished: 1 of 2 epochs are trained. To go on: zoo resume {run.directory}" in page.text
    assert page.sources == []
    assert "epoch 1/2, val loss 0.25000" in repr(run)


def test_a_run_that_trains_on_is_unfinished(run: Run) -> None:
    longer = run.config.model_copy(update={"epochs": 4})
    run.config_file.write_text(longer.to_json(), encoding="utf-8")
    assert "unfinished: 2 of 4 epochs are trained" in page_of(run).text


def test_the_command_to_go_on_is_quoted_for_the_shell(run: Run) -> None:
    run.checkpoint.unlink()
    named = Run(run.directory.rename(run.directory.with_name("my run")))
    assert f"zoo resume '{named.directory}'" in page_of(named).text


@pytest.mark.parametrize(
    ("directory", "said"), [("nowhere", "there is no such directory"), ("empty", "it is no run directory")]
)
def test_a_directory_without_a_run_says_so(tmp_path: Path, directory: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    run = Run(tmp_path / directory)
    assert said in page_of(run).text
    assert repr(run) == f"Run('{run.directory}': no run was begun)"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "metrics.csv", "reconstructions.png"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe<script>", b"epoch\r\nx\r\n", b"\x89PNG\r\n\x1a\n"], ids=repr)
def test_a_damaged_file_hides_no_other(run: Run, name: str, content: bytes) -> None:
    (run.directory / name).write_bytes(content)
    page = page_of(run)
    assert repr(run).startswith(f"Run('{run.directory}': ")
    assert "script" not in page.tags
    if name != "metrics.csv":
        assert "svg" in page.tags
    if name != "reconstructions.png":
        assert page.sources
    if name == "model.safetensors":
        assert "damaged: " in page.text


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "metrics.csv", "reconstructions.png"])
def test_a_directory_in_place_of_a_file_raises_nothing(run: Run, name: str) -> None:
    (run.directory / name).unlink()
    (run.directory / name).mkdir()
    assert page_of(run).text
    assert repr(run)


def test_a_picture_that_is_none_is_not_embedded(run: Run) -> None:
    run.reconstructions_picture.write_bytes(b"<svg onload=alert(1)>")
    page = page_of(run)
    assert page.sources == []
    assert "reconstructions.png is no PNG file" in page.text


def test_names_are_escaped(run: Run) -> None:
    evil = Run(run.directory.rename(run.directory.with_name("<img src=x onerror=alert(1)>\n&")))
    page = page_of(evil)
    assert "<img src=x onerror=alert(1)>\\n&" in page.text
    assert page.sources == page_of(Run(evil.directory)).sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "\n" not in repr(evil)


def test_names_of_metrics_are_escaped(finished: Run) -> None:
    model = finished.load()
    assert model.metadata
    model.metadata = model.metadata.model_copy(update={"test_metrics": {"<script>": 1.0}})
    page = page_of(model)
    assert "script" not in page.tags
    assert "test <script>" in page.text


# The curves


def svg_of(history: list[dict[str, float]]) -> ElementTree.Element:
    return ElementTree.fromstring(curves_svg(history).replace(' xmlns="http://www.w3.org/2000/svg"', ""))


def points_of(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]  # type: ignore[misc]


def test_losses_are_drawn_on_a_logarithmic_scale_from_the_lowest_to_the_highest() -> None:
    training, validation = map(points_of, svg_of(HISTORY).iter("polyline"))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert [x for x, _ in training] == pytest.approx([LEFT, LEFT + (right - LEFT) / 4, right], abs=0.1)
    decade = (bottom - TOP) / math.log10(0.2 / 0.001)
    assert [y for _, y in training] == pytest.approx([bottom - 2 * decade, bottom - decade, bottom], abs=0.1)
    assert next(y for _, y in validation) == pytest.approx(TOP, abs=0.1)


def test_the_axes_say_the_lowest_and_the_highest_loss_and_the_first_and_the_last_epoch() -> None:
    texts = {text.text for text in svg_of(HISTORY).iter("text")}
    assert {"0.001", "0.2", "1", "5", "epoch", "training", "validation"} <= texts


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_losses_that_a_logarithm_cannot_show_are_left_out(bad: float) -> None:
    history = [*HISTORY, {"epoch": 6.0, "train_loss": bad, "val_loss": 0.0015}]
    training, validation = map(points_of, svg_of(history).iter("polyline"))
    assert (len(training), len(validation)) == (3, 4)


def test_one_epoch_is_a_point() -> None:
    assert len(list(svg_of(HISTORY[:1]).iter("circle"))) == 2


@pytest.mark.parametrize("history", [[], [{"epoch": 1.0, "train_loss": math.nan, "val_loss": math.nan}]])
def test_no_loss_is_no_picture(history: list[dict[str, float]]) -> None:
    assert curves_svg(history) == ""


def test_a_long_history_is_drawn_by_some_of_its_epochs() -> None:
    history = [{"epoch": 1.0 + epoch, "train_loss": 1 / (1 + epoch), "val_loss": 0.5} for epoch in range(10_000)]
    assert len(curves_svg(history)) < 200_000
