"""Metrics and pictures of finished runs."""

import itertools
import json
import math
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

import zoo
from conftest import write_distribution
from zoo.data.splits import ImageDataset, load_split, to_float
from zoo.evaluation.metrics import metrics_of
from zoo.evaluation.pictures import curves_figure, save_grid
from zoo.model import checkpoint


def write_plugin(site, name, files):
    """Write the plugin zoo-NAME with these files in its package."""
    write_distribution(site, f"zoo-{name}", {name: f"zoo_{name}.plugin"})
    (site / f"zoo_{name}").mkdir()
    for file, text in files.items():
        (site / f"zoo_{name}" / file).write_text(textwrap.dedent(text))


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


# SSIM


class Fixed(torch.nn.Module):
    """Gives these reconstructions, one batch after the other."""

    def __init__(self, reconstructions):
        super().__init__()
        self.image_shape = tuple(reconstructions.shape[1:])
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.classes = ()
        self.left = reconstructions

    def encode(self, images):
        return images

    def decode(self, latents, labels):
        taken, self.left = self.left[: len(latents)], self.left[len(latents) :]
        return taken


def ssim_of(reconstructions, images):
    metrics = metrics_of(Fixed(reconstructions), ImageDataset(images, torch.zeros(len(images), dtype=torch.int64)))
    return metrics["ssim"]


def ssim_by_the_formula(image, other):
    """Equation 13 of Wang et al. 2004 in float64, with the constants of its section III.C."""
    positions = np.arange(11) - 5
    profile = np.exp(-(positions**2) / (2 * 1.5**2))
    weights = np.outer(profile, profile) / profile.sum() ** 2
    x, y = (np.lib.stride_tricks.sliding_window_view(plane.astype(np.float64), (11, 11)) for plane in (image, other))
    mean_x, mean_y = (np.einsum("ijkl,kl->ij", plane, weights) for plane in (x, y))
    away_x, away_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
    var_x, var_y, covariance = (
        np.einsum("ijkl,kl->ij", product, weights) for product in (away_x**2, away_y**2, away_x * away_y)
    )
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


def ssim_by_scikit_image(image, other):
    _, similarity = structural_similarity(
        image.astype(np.float64), other.astype(np.float64), data_range=1, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return similarity[5:-5, 5:-5].mean()


def mean_over_planes(similarity, images, others):
    planes = zip(images.flatten(0, 1).numpy(), others.flatten(0, 1).numpy(), strict=True)
    return np.mean([similarity(image, other) for image, other in planes])


@pytest.mark.parametrize("shape", [(1, 11, 11), (1, 28, 28), (3, 17, 20), (1, 11, 40)], ids=str)
@pytest.mark.parametrize("reference", [ssim_by_the_formula, ssim_by_scikit_image])
def test_ssim_is_that_of_wang_et_al(reference, shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, *shape), dtype=torch.uint8, generator=generator)
    images[:, :, : shape[1] // 2] = 0  # flat borders, as in MNIST
    noise = 0.3 * torch.randn(images.shape, generator=generator)
    reconstructions = to_float(images) + noise
    expected = mean_over_planes(reference, reconstructions, to_float(images))
    assert ssim_of(reconstructions, images) == pytest.approx(expected, abs=2e-6)


def test_the_references_for_ssim_agree_on_mnist_and_so_does_the_published_metric():
    images = load_split(zoo.installed().get("dataset", "mnist"), {}, "test").images[:300]
    reconstructions = zoo.load("mnist-mlp").reconstruct(to_float(images))
    for reference in (ssim_by_the_formula, ssim_by_scikit_image):
        expected = mean_over_planes(reference, reconstructions, to_float(images))
        assert expected == pytest.approx(0.4378, abs=5e-5)
        assert ssim_of(reconstructions, images) == pytest.approx(expected, abs=1e-5)


def test_a_perfect_reconstruction_has_ssim_1():
    images = load_split(zoo.installed().get("dataset", "tiny-colour"), {}, "test").images
    metrics = metrics_of(Fixed(to_float(images)), ImageDataset(images, torch.zeros(len(images), dtype=torch.int64)))
    assert metrics["mse"] == 0
    assert metrics["ssim"] == pytest.approx(1)


def test_a_metric_that_fails_is_left_out_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr("zoo_metrics.reconstruction.PSNR.compute", lambda _: 1 / 0)
    images = load_split(zoo.installed().get("dataset", "tiny-colour"), {}, "test").images
    dataset = ImageDataset(images, torch.zeros(len(images), dtype=torch.int64))
    assert metrics_of(Fixed(to_float(images)), dataset).keys() == {"mse", "ssim"}
    assert "metric 'psnr' of autoencoder-zoo" in caplog.text


# Small images

SMALL = {
    "plugin.py": """
        from zoo import DatasetSpec, hookimpl

        SHAPES = [(1, 1, 128), (1, 5, 5), (3, 5, 9), (1, 1, 1), (1, 10, 11), (1, 11, 11)]

        @hookimpl
        def zoo_datasets():
            for shape in SHAPES:
                name = "small-" + "-".join(map(str, shape))
                yield DatasetSpec(
                    name=name, target=f"zoo_small.dataset:{name.replace('-', '_')}", summary="Small", image_shape=shape,
                    splits={"train": 64, "test": 16}, licence="CC0-1.0", credit="Nobody",
                )
    """,
    "dataset.py": """
        import math
        import torch
        from torch.utils.data import TensorDataset
        from zoo_small.plugin import SHAPES

        def small(shape, split: str):
            first, count = {"train": (0, 64), "test": (64, 16)}[split]
            numbers = torch.arange(first, first + count)[:, None] * 3 + torch.arange(math.prod(shape))
            return TensorDataset((numbers % 256).to(torch.uint8).reshape(-1, *shape), numbers[:, 0] % 2)

        def __getattr__(name):
            def dataset(split: str):
                return small(tuple(map(int, name.split("_")[1:])), split)
            if not name.startswith("small_"):
                raise AttributeError(name)
            return dataset
    """,
}


@pytest.fixture
def small(run_zoo, tmp_path):
    """Run the program beside the plugin zoo-small, whose datasets are named by their shapes."""
    write_plugin(tmp_path / "site", "small", SMALL)
    return lambda *arguments: run_zoo(*arguments, environment={"PYTHONPATH": str(tmp_path / "site")})


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ("1-1-128", ["mse", "psnr"]),
        ("1-5-5", ["mse", "psnr"]),
        ("3-5-9", ["mse", "psnr"]),
        ("1-1-1", ["mse", "psnr"]),
        ("1-10-11", ["mse", "psnr"]),
        ("1-11-11", ["mse", "psnr", "ssim"]),
    ],
)
def test_images_of_every_size_are_trained_on_and_only_large_ones_have_an_ssim(small, tmp_path, shape, names):
    dataset = f"small-{shape}"
    assert small("check", dataset).status == 0
    trained = small("train", "--encoder", "mlp", "--dataset", dataset, "--batch-size", 16, "--output", "run")
    assert (trained.status, trained.stderr) == (0, "")
    metrics = json.loads(small("eval", "run", "--json").stdout)["metrics"]
    assert list(metrics) == names
    assert checkpoint.read(tmp_path / "run").metadata.test_metrics == pytest.approx(metrics)
    resumed = small("resume", "run", "--epochs", 11)
    assert (resumed.status, resumed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shape", "size"),
    [((28, 28), (84, 84)), ((1, 128), (512, 4)), ((1, 1), (64, 64)), ((2, 600), (600, 2)), ((600, 2), (2, 600))],
)
def test_small_images_are_enlarged_in_a_grid_unless_a_side_is_long(tmp_path, shape, size):
    save_grid(torch.zeros(1, 1, *shape), 1, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == size


def test_eval_prints_json_of_the_documented_form(run, run_zoo):
    printed = json.loads(run_zoo("eval", run.directory, "--json").stdout)
    assert printed == {
        "dataset": "tiny-colour",
        "split": "test",
        "metrics": {name: pytest.approx(value) for name, value in run.test_metrics.items()},
    }
    assert list(printed["metrics"]) == ["mse", "psnr", "ssim"]


def test_eval_prints_the_digits_that_matter_and_the_unit(run, run_zoo):
    metrics = run.test_metrics
    printed = run_zoo("eval", run.directory).stdout
    numbers = f"mse {metrics['mse']:.5f}  psnr {metrics['psnr']:.2f} dB  ssim {metrics['ssim']:.3f}"
    assert printed == f"tiny-colour test  {numbers}\n"


def test_eval_takes_a_checkpoint_file_as_well_as_a_directory(run, run_zoo):
    outputs = {run_zoo("eval", path).stdout for path in (run.directory, run.checkpoint)}
    assert len(outputs) == 1


def test_reconstruct_draws_originals_over_reconstructions(run, run_zoo, tmp_path):
    assert run_zoo("reconstruct", run.directory, "--output", "grid.png").status == 0
    with Image.open(tmp_path / "grid.png") as picture:
        columns, rows, enlarged = 10, 4, 4
        assert picture.size == (columns * (20 * enlarged + 2) + 2, rows * (17 * enlarged + 2) + 2)


def test_reconstruct_replaces_the_picture_that_it_is_told_to_write(run, run_zoo, tmp_path):
    (tmp_path / "grid.png").write_text("old")
    assert run_zoo("reconstruct", run.directory, "--output", "grid.png").status == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_reconstruct_without_an_output_replaces_nothing(run, run_zoo, tmp_path):
    taken = ["reconstructions.png", "reconstructions-2.png", "reconstructions-4.png"]
    for name in taken:
        (tmp_path / name).write_text("precious")
    result = run_zoo("reconstruct", run.directory)
    assert (result.status, result.stdout) == (0, "reconstructions-3.png\n")
    assert (tmp_path / "reconstructions-3.png").read_bytes().startswith(b"\x89PNG")
    assert [(tmp_path / name).read_text() for name in taken] == ["precious"] * 3


def test_reconstruct_without_an_output_writes_the_plain_name_where_it_is_free(run, run_zoo, tmp_path):
    assert run_zoo("reconstruct", run.directory).stdout == "reconstructions.png\n"
    assert (tmp_path / "reconstructions.png").read_bytes().startswith(b"\x89PNG")


# Images of the user's own


@pytest.fixture
def pictures(tmp_path):
    """Return three image files, none of the model's size."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / "my.png", tmp_path / "other.jpg", tmp_path / "grey.png"]
    Image.fromarray(generator.integers(0, 256, (34, 40, 3), np.uint8)).save(paths[0])
    Image.fromarray(generator.integers(0, 256, (50, 70, 3), np.uint8)).save(paths[1])
    Image.fromarray(generator.integers(0, 65_536, (17, 20), np.uint16)).save(paths[2])
    return paths


def cells(path, count):
    """Return the images of a grid of the model's size, float `(rows, columns, 17, 20, 3)` in [0, 1]."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    rows, columns = (pixels.shape[0] - 2) // (17 * 4 + 2), (pixels.shape[1] - 2) // (20 * 4 + 2)
    assert columns == count
    grid = pixels[2:, 2:].reshape(rows, 17 * 4 + 2, columns, 20 * 4 + 2, 3)[:, :-2:4, :, :-2:4]
    return grid.transpose(0, 2, 1, 3, 4) / 255


def test_reconstruct_draws_the_users_own_images_over_their_reconstructions(run, run_zoo, tmp_path, pictures):
    before = [path.read_bytes() for path in pictures]
    result = run_zoo("reconstruct", run.directory, "my.png", tmp_path / "other.jpg", "grey.png", "--output", "grid.png")
    assert (result.status, result.stdout) == (0, "grid.png\n")
    originals = torch.stack([zoo.read_image(path, (3, 17, 20)) for path in pictures]) / 255
    reconstructions = run.load().reconstruct(originals).detach().clamp(0, 1)
    expected = torch.stack([originals, reconstructions]).permute(0, 1, 3, 4, 2).numpy()
    assert np.abs(cells(tmp_path / "grid.png", 3) - expected).max() <= 1 / 255
    assert [path.read_bytes() for path in pictures] == before


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 2, 1), (10, 2, 10), (13, 4, 10)])
def test_each_image_stands_over_its_own_reconstruction(run, run_zoo, tmp_path, pictures, count, rows, columns):
    names = [pictures[number % 3] for number in range(count)]
    assert run_zoo("reconstruct", run.directory, *names).stdout == "reconstructions.png\n"
    grid = cells(tmp_path / "reconstructions.png", columns)
    assert len(grid) == rows
    filled = rows // 2 * columns
    places = [grid[half::2].reshape(filled, 17, 20, 3) for half in (0, 1)]
    for images in places:
        for number in range(3, count):
            assert np.abs(images[number] - images[number % 3]).max() <= 1 / 255
        assert (np.abs(images[count:] - 0.5) <= 1 / 255).all()
    assert np.abs(places[0][0] - places[1][0]).max() > 0.1


def hard(target, link):
    link.hardlink_to(target)


def soft(target, link):
    link.symlink_to(target)


@pytest.mark.parametrize("link", [hard, soft])
@pytest.mark.parametrize("inputs_name_the_link", [False, True])
def test_an_image_is_never_replaced_through_a_link(run, run_zoo, tmp_path, pictures, link, inputs_name_the_link):
    link(pictures[0], tmp_path / "link.png")
    names = ("link.png", "my.png") if inputs_name_the_link else ("my.png", "link.png")
    before = pictures[0].read_bytes()
    result = run_zoo("reconstruct", run.directory, "other.jpg", names[0], "--output", names[1])
    message = f"zoo: --output {names[1]} would replace {names[0]}: choose another file.\n"
    assert (result.status, result.stderr) == (2, message)
    assert pictures[0].read_bytes() == before
    assert pictures[0].samefile(tmp_path / "link.png")


@pytest.mark.parametrize("spelling", ["my.png", "./my.png", "folder/../my.png", "linked/my.png", "{}/my.png"])
def test_an_image_is_never_replaced_under_another_spelling(run, run_zoo, tmp_path, pictures, spelling):
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    before = pictures[0].read_bytes()
    output = Path(spelling.format(tmp_path))
    result = run_zoo("reconstruct", run.directory, "my.png", "--output", output)
    assert (result.status, result.stderr) == (2, f"zoo: --output {output} would replace my.png: choose another file.\n")
    assert pictures[0].read_bytes() == before


def test_a_checkpoint_is_never_replaced_through_a_link(run, run_zoo, tmp_path):
    (tmp_path / "link.png").symlink_to(run.checkpoint)
    before = run.checkpoint.read_bytes()
    result = run_zoo("reconstruct", run.directory, "--output", "link.png")
    assert result.status == 2
    assert result.stderr == f"zoo: --output link.png would replace {run.checkpoint}: choose another file.\n"
    assert run.checkpoint.read_bytes() == before


def test_an_image_is_never_replaced_by_default(run, run_zoo, tmp_path, pictures):
    image = pictures[0].rename(tmp_path / "reconstructions.png")
    (tmp_path / "reconstructions-2.png").symlink_to("nowhere")
    before = image.read_bytes()
    assert run_zoo("reconstruct", run.directory, "reconstructions.png").stdout == "reconstructions-3.png\n"
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.png", "No such file or directory."),
        ("folder", "Is a directory."),
        ("text.png", "it is no image file of the kinds PNG, JPEG, WEBP, GIF, BMP or TIFF."),
        ("cut.png", "it is damaged, or was cut short."),
    ],
)
def test_an_image_that_cannot_be_read_is_named(run, run_zoo, tmp_path, pictures, name, why):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:200])
    result = run_zoo("reconstruct", run.directory, "my.png", name, "--output", "grid.png")
    assert (result.status, result.stderr) == (1, f"zoo: {name} cannot be read: {why}\n")
    assert not (tmp_path / "grid.png").exists()


def test_an_option_of_the_dataset_is_refused_where_images_are_given(run, run_zoo, pictures):
    result = run_zoo("reconstruct", run.directory, "my.png", "--set", "dataset.root=photos")
    message = "zoo: --set dataset.root: no dataset is read where images are given. Leave it out.\n"
    assert (result.status, result.stderr) == (2, message)


def test_a_grid_shows_pixels_unsmoothed(tmp_path):
    images = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 1, 1, 1)
    save_grid(images, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        grey = picture.convert("L")
        assert {grey.getpixel((x, y)) for x in range(2, 66) for y in range(2, 66)} == {0, 255}


# A dataset that has moved

PHOTOS = {
    "plugin.py": """
        from zoo import DatasetSpec, hookimpl

        @hookimpl
        def zoo_datasets():
            yield DatasetSpec(
                name="photos", target="zoo_photos.dataset:photos", summary="In a directory", image_shape=(1, 8, 8),
                splits={"train": 64, "test": 16}, licence="CC0-1.0", credit="Nobody",
            )
    """,
    "dataset.py": """
        from pathlib import Path
        import numpy, torch, zoo
        from torch.utils.data import TensorDataset

        def photos(split: str, *, root: str):
            path = Path(root, split)
            if not path.exists():
                raise zoo.DatasetError(f"There is no {path}.")
            images = torch.from_numpy(numpy.fromfile(path, "uint8")).reshape(-1, 1, 8, 8)
            return TensorDataset(images, torch.zeros(len(images), dtype=torch.int64))
    """,
}


@pytest.fixture
def moved(run_zoo, tmp_path):
    """Run the program beside the plugin zoo-photos, a run trained on `before/`, and the files now in `after/`."""
    write_plugin(tmp_path / "site", "photos", PHOTOS)
    (tmp_path / "before").mkdir()
    for split, count in (("train", 64), ("test", 16)):
        np.random.default_rng(0).integers(0, 256, (count, 64), np.uint8).tofile(tmp_path / "before" / split)

    def run(*arguments):
        return run_zoo(*arguments, environment={"PYTHONPATH": str(tmp_path / "site")})

    trained = run(
        "train", "--encoder", "mlp", "--dataset", "photos", "--set", "dataset.root=before", "--batch-size", 32,
        "--epochs", 1, "--output", "run",
    )  # fmt: skip
    assert trained.status == 0, trained.stderr
    (tmp_path / "before").rename(tmp_path / "after")
    return run


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
def test_a_dataset_that_has_moved_is_an_error_that_names_it(moved, command):
    result = moved(command, "run")
    assert (result.status, result.stderr) == (1, "zoo: There is no before/test.\n")


def test_a_dataset_that_has_moved_is_evaluated_where_it_is_now(moved, tmp_path):
    result = moved("eval", "run", "--set", "dataset.root=after", "--json")
    trained = checkpoint.read(tmp_path / "run").metadata.test_metrics
    assert json.loads(result.stdout)["metrics"] == pytest.approx(trained)


def test_a_dataset_that_has_moved_is_drawn_from_where_it_is_now(moved, tmp_path):
    assert moved("reconstruct", "run", "--set", "dataset.root=after").status == 0
    assert (tmp_path / "reconstructions.png").read_bytes() == (tmp_path / "run" / "reconstructions.png").read_bytes()


def test_another_dataset_is_given_options_too(moved):
    result = moved("eval", "run", "--dataset", "zoo-photos:photos", "--set", "dataset.root=after", "--json")
    assert json.loads(result.stdout)["dataset"] == "zoo-photos:photos"


def test_evaluate_takes_options_of_the_dataset(tmp_path):
    run = zoo.train(encoder="mlp", dataset="tiny", epochs=1, output=tmp_path / "run", quiet=True)
    assert zoo.evaluate(run.directory, dataset_options={"broken": False}).metrics == pytest.approx(run.test_metrics)
    with pytest.raises(zoo.PluginError, match="must hold uint8 images"):
        zoo.evaluate(run.directory, dataset_options={"broken": True})


# Curves


def labels_of(axis):
    """Return the labels that are seen on an axis, with the room that each takes."""
    axis.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    seen = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    return {label.get_text(): label.get_window_extent() for label in seen}, len(seen)


def history(*losses):
    return [{"epoch": float(i), "train_loss": loss, "val_loss": loss} for i, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, ["1"]), (2, ["1", "2"]), (3, ["1", "2", "3"]), (4, ["1", "2", "3", "4"])]
)
def test_curves_have_a_tick_an_epoch(epochs, expected):
    (axes,) = curves_figure(history(*[0.5] * epochs)).axes
    assert list(labels_of(axes.xaxis)[0]) == expected


def test_curves_of_many_epochs_have_whole_numbers_of_epochs():
    (axes,) = curves_figure(history(*[0.5] * 57)).axes
    assert all(re.fullmatch(r"\d+", label) for label in labels_of(axes.xaxis)[0])


@pytest.mark.parametrize("last", [0.06, 0.05999, 0.0599, 0.05, 0.04, 0.02, 0.002, 0.00002])
def test_curves_have_losses_that_can_be_read(last):
    (axes,) = curves_figure(history(0.06, last)).axes
    labels, count = labels_of(axes.yaxis)
    assert len(labels) == count >= 2
    boxes = sorted(labels.values(), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))
