"""Metrics and pictures of finished runs."""

import json
import math

import pytest
import torch
from PIL import Image

import zoo
from zoo.data import load_split
from zoo.pictures import save_grid


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation") / "run"
    return zoo.train(encoder="conv", dataset="tiny-colour", epochs=1, output=output, quiet=True)


def test_mse_is_the_mean_over_every_pixel_and_psnr_belongs_to_it(run):
    images = load_split(zoo.installed().get("dataset", "tiny-colour"), {}, "test")
    originals = images.images.float() / 255
    mse = (run.load().reconstruct(originals) - originals).double().square().mean().item()
    metrics = zoo.evaluate(run.directory).metrics
    assert metrics["mse"] == pytest.approx(mse, rel=1e-5)
    assert metrics["psnr"] == pytest.approx(-10 * math.log10(mse), rel=1e-5)
    assert -1 <= metrics["ssim"] <= 1


def test_a_perfect_reconstruction_has_ssim_1(run):
    from zoo.evaluation import reconstruction_metrics

    class Perfect(torch.nn.Module):
        image_shape = (3, 17, 20)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def reconstruct(self, images):
            return images

    images = load_split(zoo.installed().get("dataset", "tiny-colour"), {}, "test")
    metrics = reconstruction_metrics(Perfect(), images)
    assert metrics["mse"] == 0
    assert metrics["ssim"] == pytest.approx(1)


def test_eval_prints_json_of_the_documented_form(run, run_zoo):
    printed = json.loads(run_zoo("eval", run.directory, "--json").stdout)
    assert printed == {
        "dataset": "tiny-colour",
        "split": "test",
        "metrics": {name: pytest.approx(value) for name, value in run.test_metrics.items()},
    }
    assert list(printed["metrics"]) == ["mse", "psnr", "ssim"]


def test_eval_takes_a_checkpoint_file_as_well_as_a_directory(run, run_zoo):
    outputs = {run_zoo("eval", path).stdout for path in (run.directory, run.checkpoint)}
    assert len(outputs) == 1


def test_reconstruct_draws_originals_over_reconstructions(run, run_zoo, tmp_path):
    assert run_zoo("reconstruct", run.directory, "--output", "grid.png").status == 0
    with Image.open(tmp_path / "grid.png") as picture:
        columns, rows, enlarged = 10, 4, 4
        assert picture.size == (columns * (20 * enlarged + 2) + 2, rows * (17 * enlarged + 2) + 2)


def test_a_grid_shows_pixels_unsmoothed(tmp_path):
    images = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 1, 1, 1)
    save_grid(images, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        grey = picture.convert("L")
        assert {grey.getpixel((x, y)) for x in range(2, 66) for y in range(2, 66)} == {0, 255}
