"""The API beside the page, through gradio_client; and the real server with many users at once."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError

import zoo
from conftest import ROOT
from demo.serving import start_demo

USERS, REQUESTS = 20, 20


@pytest.fixture(scope="module")
def api(demo):
    return Client(demo, verbose=False, analytics_enabled=False)


@pytest.fixture(scope="module")
def model(runs):
    return zoo.load(runs / "tiny")


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_images_are_encoded(api, model, images):
    latents = api.predict("tiny", images.tolist(), api_name="/encode")
    assert np.allclose(latents, model.encode(images).numpy(), atol=1e-5)


def test_latents_are_decoded(api, model):
    latents = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    images = api.predict("tiny", latents.tolist(), api_name="/decode")
    assert np.allclose(images, model.decode(latents).clamp(0, 1).numpy(), atol=1e-5)


def test_what_a_decoder_gives_can_be_encoded_again(api, model):
    latents = 3 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert model.decode(latents).min() < 0
    images = api.predict("tiny", latents.tolist(), api_name="/decode")
    assert np.shape(api.predict("tiny", images, api_name="/encode")) == (20, 3)


def test_latents_of_maps_have_their_shape(api, runs, images):
    model = zoo.load(runs / "maps")
    latents = api.predict("maps", images.tolist(), api_name="/encode")
    assert np.shape(latents) == (3, 2, 4, 4)
    assert np.allclose(latents, model.encode(images).numpy(), atol=1e-5)
    decoded = api.predict("maps", latents, api_name="/decode")
    assert np.allclose(decoded, model.decode(torch.tensor(latents)).numpy(), atol=1e-5)


@pytest.mark.parametrize("labels", [[0, 3, 4], None])
def test_a_conditional_model_is_told_classes(api, runs, images, labels):
    model, given = zoo.load(runs / "conditional"), [] if labels is None else [labels]
    told = None if labels is None else torch.tensor(labels)
    answer = api.predict("conditional", images.tolist(), *given, api_name="/reconstruct")
    assert np.allclose(answer["reconstructions"], model.reconstruct(images, told).clamp(0, 1).numpy(), atol=1e-5)
    decoded = api.predict("conditional", answer["latents"], *given, api_name="/decode")
    assert np.allclose(decoded, answer["reconstructions"], atol=1e-5)


ONE_CLASS = "labels must be a list of the numbers of 1 classes, one for each image."


@pytest.mark.parametrize(
    ("model", "labels", "line"),
    [
        ("tiny", [0], "This model takes no labels: it was trained without --conditional."),
        ("conditional", [5], "Labels must be 0 to 3, or 4 for unknown."),
        ("conditional", [-1], ONE_CLASS),
        ("conditional", [2**70], ONE_CLASS),
        ("conditional", [0, 1], ONE_CLASS),
        ("conditional", ["0"], ONE_CLASS),
        ("conditional", [True], ONE_CLASS),
        ("conditional", 0, ONE_CLASS),
    ],
)
def test_labels_that_make_no_sense_are_refused_with_a_line(api, model, labels, line):
    with pytest.raises(AppError) as refusal:
        api.predict(model, [[0.0] * 3], labels, api_name="/decode")
    assert refusal.value.message == line


def readme_programs():
    text = (ROOT / "demo" / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.+?)^```$", text, re.DOTALL | re.MULTILINE)


def assert_runs(program, url):
    names = {}
    exec(program.replace("http://127.0.0.1:7860", url), names)
    assert np.shape(names["images"]) == (1, 1, 28, 28)
    assert np.shape(names["latents"]) == (1, 3)
    assert set(names["answer"]) == {"reconstructions", "latents", "mse"}


def test_the_readmes_program_runs(demo):
    program, _ = readme_programs()
    assert_runs(program, demo)


def test_the_readmes_program_runs_behind_a_password(zoo_environment, tmp_path):
    program, client = readme_programs()
    guarded = re.sub(r"^client = .*\n", client, program, flags=re.MULTILINE)
    with start_demo(zoo_environment, tmp_path, "--auth", "me", ZOO_DEMO_PASSWORD="correct horse") as (_, url):
        assert_runs(guarded, url)


def test_images_are_reconstructed(api, model, images):
    answer = api.predict("tiny", images.tolist(), api_name="/reconstruct")
    reconstructions = model.reconstruct(images)
    assert np.allclose(answer["reconstructions"], reconstructions.clamp(0, 1).numpy(), atol=1e-5)
    assert np.allclose(answer["latents"], model.encode(images).numpy(), atol=1e-5)
    assert np.allclose(answer["mse"], (reconstructions - images).square().mean(dim=(1, 2, 3)).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("endpoint", "name", "values", "line"),
    [
        ("encode", "nothing", [[[[0.5]]]], "There is no model 'nothing'."),
        ("encode", "tiny", [[[0.5]]], "images must be N × 1 × 16 × 16 numbers in nested lists, got 1 × 1 × 1."),
        ("encode", "tiny", np.full((1, 1, 16, 16), 255).tolist(), "Pixels must be in [0, 1]: divide 0 to 255 by 255."),
        ("encode", "tiny", np.zeros((257, 1, 16, 16)).tolist(), "At most 256 images at once, got 257."),
        ("decode", "tiny", [], "latents must be N × 3 numbers in nested lists, got 0."),
        ("decode", "tiny", [[1, 2, 3], [1, 2]], "latents must be N × 3 numbers in nested lists."),
        ("decode", "tiny", [["a", "b", "c"]], "latents must be N × 3 numbers in nested lists."),
        ("decode", "maps", [[0.0] * 32], "latents must be N × 2 × 4 × 4 numbers in nested lists, got 1 × 32."),
        ("decode", "tiny", [[None, 1, 2]], "Latents must be finite, got NaN or infinity."),
        ("decode", "tiny", [[1e300, 1, 2]], "Latents must be finite, got NaN or infinity."),
        ("reconstruct", "tiny", 5, "images must be N × 1 × 16 × 16 numbers in nested lists, got a single number."),
        ("reconstruct", {"a": 1}, [], "There is no model '{'a': 1}'."),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_line(api, endpoint, name, values, line):
    with pytest.raises(AppError) as refusal:
        api.predict(name, values, api_name=f"/{endpoint}")
    assert refusal.value.message == line


def test_the_endpoints_are_documented_and_there_are_no_others(demo):
    information = httpx.get(f"{demo}/gradio_api/info").json()
    assert set(information["named_endpoints"]) == {"/encode", "/decode", "/reconstruct"}
    assert information["unnamed_endpoints"] == {}
    for endpoint in information["named_endpoints"].values():
        assert "numbers" in endpoint["description"]
        assert all(returned["type"] for returned in endpoint["returns"])


def test_the_page_asks_no_other_host_for_a_script_style_or_font(demo):
    page, theme = httpx.get(demo).text, httpx.get(f"{demo}/theme.css").text
    loaded = [tag.split(">")[0] for tag in page.split("<") if tag.startswith(("script", "link"))]
    assert loaded
    assert not [tag for tag in loaded if "http" in tag]
    assert "url(http" not in theme
    assert "@import" not in theme


@pytest.mark.parametrize("path", ["gradio_api/file=/etc/passwd", "gradio_api/upload", "monitoring", "docs"])
def test_what_gradio_offers_beyond_the_page_is_shut(demo, path):
    for method in ("GET", "POST"):
        assert httpx.request(method, f"{demo}/{path}").json() == {"error": "There is nothing here."}


def test_many_users_at_once_each_get_their_own_answers(demo, runs):
    """Twenty users, each with its own latents, on two models: no error, and no answer for another."""
    models = {name: zoo.load(runs / name) for name in ("tiny", "colour")}

    def use(user):
        generator, order = torch.Generator().manual_seed(user), random.Random(user)
        with httpx.Client(base_url=f"{demo}/zoo/models", timeout=60) as client:
            for _ in range(REQUESTS):
                name = order.choice(list(models))
                latents = torch.randn(order.randint(1, 4), models[name].latent_dim, generator=generator)
                response = client.post(f"/{name}/decode", content=latents.numpy().tobytes())
                assert response.status_code == 200, response.text
                expected = models[name].decode(latents).numpy().ravel()
                assert np.allclose(np.frombuffer(response.content, "<f4"), expected, atol=1e-5)

    with ThreadPoolExecutor(USERS) as pool:
        list(pool.map(use, range(USERS)))
