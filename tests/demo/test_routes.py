"""The routes that the page calls answer with what the models compute, or with one line."""

from __future__ import annotations

import io
import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from demo.serving import COLOUR, CONDITIONAL, MAPS, TINY
from zoo.data.splits import load_split, split_validation
from zoo_demo import space
from zoo_demo.cache import Cache
from zoo_demo.catalogue import Catalogue, find

MODELS = {"tiny": TINY, "colour": COLOUR, "maps": MAPS, "conditional": CONDITIONAL}


@pytest.fixture(scope="module")
def models(runs):
    """The models that are served, opened without the server."""
    return {name: zoo.load(runs / name) for name in MODELS}


def split_of(name, split):
    return load_split(zoo.installed().get("dataset", MODELS[name]["dataset"]), {}, split)


def floats(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    return np.frombuffer(response.content, "<f4")


def refused(response, status):
    assert response.status_code == status, response.text
    ((key, line),) = response.json().items()
    assert key == "error"
    assert "\n" not in line
    return line


def test_the_models_are_listed_as_they_were_asked_for_the_pretrained_ones_last(client):
    answer = client.get("/zoo/models").json()
    assert answer["default"] == "tiny"
    pretrained = [model.name for model in zoo.installed().models()]
    assert [card["id"] for card in answer["models"]] == [*MODELS, *pretrained]


@pytest.mark.parametrize("name", MODELS)
def test_details_add_to_the_card_what_a_built_model_knows(client, models, name):
    card = next(card for card in client.get("/zoo/models").json()["models"] if card["id"] == name)
    details = client.get(f"/zoo/models/{name}").json()
    assert card.items() <= details.items()
    assert details["has_prior"] is models[name].objective.has_prior
    assert details["parameters"]["decoder"] == sum(weights.numel() for weights in models[name].decoder.parameters())
    assert details["dataset"] == {
        "name": MODELS[name]["dataset"],
        "summary": "Bright blobs",
        "licence": "CC0-1.0",
        "credit": "The Autoencoder Zoo developers",
    }
    assert details["most"] == {"images": 256, "latents": 512}
    assert details["latent_shape"] == list(models[name].latent_shape)
    assert details["classes"] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 3, 300])
def test_latents_are_decoded_as_the_model_decodes_them(client, models, name, count):
    latents = torch.randn(count, *models[name].latent_shape, generator=torch.Generator().manual_seed(count))
    images = floats(client.post(f"/zoo/models/{name}/decode", content=latents.numpy().tobytes()))
    expected = models[name].decode(latents).numpy().ravel()
    assert np.allclose(images, expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_images_are_reconstructed_as_the_model_reconstructs_them(client, models, name):
    pixels = split_of(name, "test").images[:5]
    answer = floats(client.post(f"/zoo/models/{name}/reconstruct", content=pixels.numpy().tobytes()))
    model, images = models[name], pixels.float() / 255
    latents, reconstructions = model.encode(images), model.reconstruct(images)
    errors = (reconstructions - images).square().mean(dim=(1, 2, 3))
    expected = torch.cat([latents.flatten(), errors, reconstructions.flatten()])
    assert np.allclose(answer, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("label", range(5))
def test_a_conditional_model_is_told_a_class(client, models, label):
    model, latents = models["conditional"], torch.ones(2, 3)
    labels = torch.full((2,), label)
    decoded = floats(client.post(f"/zoo/models/conditional/decode?label={label}", content=latents.numpy().tobytes()))
    assert np.allclose(decoded, model.decode(latents, labels).numpy().ravel(), atol=1e-6)
    pixels = split_of("conditional", "test").images[:2]
    answer = floats(client.post(f"/zoo/models/conditional/reconstruct?label={label}", content=pixels.numpy().tobytes()))
    expected = model.reconstruct(pixels.float() / 255, labels).numpy().ravel()
    assert np.allclose(answer[2 * 3 + 2 :], expected, atol=1e-6)


def test_the_numbers_of_a_request_are_bounded_by_the_size_of_its_latents(client, monkeypatch):
    monkeypatch.setattr("zoo_demo.model.MAX_BODY_BYTES", 10 * 4 * 32)
    monkeypatch.setattr("zoo_demo.model.MAX_ANSWER_BYTES", 2 * 4 * (256 + 32))
    assert client.get("/zoo/models/maps").json()["most"] == {"images": 2, "latents": 2}
    monkeypatch.setattr("zoo_demo.model.MAX_ANSWER_BYTES", 2**20)
    assert client.get("/zoo/models/maps").json()["most"]["latents"] == 10


def test_test_images_are_given_by_their_numbers(client):
    response = client.get("/zoo/models/colour/images?index=3,127,3")
    images = split_of("colour", "test").images
    assert response.content == images[[3, 127, 3]].numpy().tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_points_are_the_latents_errors_and_labels_of_the_test_images(client, models, name):
    test, size = split_of(name, "test"), math.prod(models[name].latent_shape)
    content = client.get(f"/zoo/models/{name}/points").content
    latents, errors, _ = np.split(np.frombuffer(content, "<f4"), [128 * size, 128 * (size + 1)])
    labels = np.frombuffer(content, "<i4")[128 * (size + 1) :]
    images = test.images.float() / 255
    expected = (models[name].reconstruct(images) - images).square().mean(dim=(1, 2, 3))
    assert np.allclose(latents.reshape(128, size), models[name].encode(images).flatten(1).numpy(), atol=1e-5)
    assert np.allclose(errors, expected.numpy(), atol=1e-6)
    assert (labels == test.labels.numpy()).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_threshold_comes_from_the_images_that_training_held_out(client, models, name):
    summary = client.get(f"/zoo/models/{name}/space").json()
    train = split_of(name, "train")
    _, validation = split_validation(len(train), zoo.RunConfig.model_fields["validation_fraction"].default, 0)
    images = train.images[validation].float() / 255
    errors = (models[name].reconstruct(images) - images).square().mean(dim=(1, 2, 3))
    assert summary["threshold"] == {
        "quantile": 0.95,
        "mse": pytest.approx(float(errors.quantile(0.95)), rel=1e-5),
        "count": 64,
        "split": "validation",
    }
    assert summary["validation_errors"] == pytest.approx(np.quantile(errors.numpy(), np.arange(101) / 100), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_space_describes_the_latents_of_the_test_images(client, models, name):
    summary = client.get(f"/zoo/models/{name}/space").json()
    latents = models[name].encode(split_of(name, "test").images.float() / 255).flatten(1).double()
    facts = [summary[name] for name in ("available", "count", "test_count", "labels")]
    assert facts == [True, 128, 128, [0, 1, 2, 3]]
    for dim, column in zip(summary["dims"], latents.T, strict=True):
        low, median, high = column.quantile(torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64)).tolist()
        assert (dim["low"], dim["median"], dim["high"]) == pytest.approx((low, median, high), abs=1e-4)
        assert dim["std"] == pytest.approx(float(column.std(correction=0)), abs=1e-4)
    in_order = [summary["dims"][dim]["std"] for dim in summary["order"]]
    assert in_order == sorted((dim["std"] for dim in summary["dims"]), reverse=True)


def test_principal_components_hold_the_most_variance_and_have_a_sign_of_their_own(client, models):
    pca = client.get("/zoo/models/tiny/space").json()["pca"]
    latents = models["tiny"].encode(split_of("tiny", "test").images.float() / 255).double().numpy()
    components = np.array(pca["components"])
    assert np.allclose(components @ components.T, np.eye(2), atol=1e-6)
    projected = (latents - pca["mean"]) @ components.T
    assert projected.var(axis=0) == pytest.approx(pca["variance"], rel=1e-4)
    largest = np.linalg.eigvalsh(np.cov(latents.T, bias=True))[::-1][:2]
    assert pca["variance"] == pytest.approx(largest.tolist(), rel=1e-4)
    assert all(row[np.abs(row).argmax()] > 0 for row in components)


def test_samples_are_drawn_from_the_prior_anew_each_time(client):
    first, second = (floats(client.get("/zoo/models/colour/sample?count=64")) for _ in range(2))
    assert first.shape == (128,)
    assert abs(first.mean()) < 0.5
    assert (first != second).all()


def test_samples_of_maps_are_as_many_numbers(client):
    assert floats(client.get("/zoo/models/maps/sample?count=3")).shape == (3 * 32,)


def test_a_model_without_a_prior_refuses_to_sample(client):
    assert "no prior" in refused(client.get("/zoo/models/tiny/sample?count=1"), 400)


def test_the_plan_of_a_decoder_may_be_kept_for_ever(client):
    decoder = client.get("/zoo/models/tiny").json()["decoder"]
    assert decoder["where"] == "browser"
    for address, kind in ((decoder["plan"], "application/json"), (decoder["weights"], "application/octet-stream")):
        response = client.get(address)
        assert response.headers["content-type"] == kind
        assert "immutable" in response.headers["cache-control"]
        again = client.get(address, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_another_hash_is_no_plan(client):
    plan = client.get("/zoo/models/tiny").json()["decoder"]["plan"]
    other = re.sub(r"[0-9a-f]{4}\.json", "0000.json", plan)
    refused(client.get(other), 404)


def test_the_pages_files_are_served_with_their_types(client):
    script = client.get("/zoo/static/app.mjs")
    assert script.headers["content-type"].startswith("text/javascript")
    assert client.get("/zoo/static/page.css").headers["content-type"].startswith("text/css")
    assert client.get("/zoo/static/app.mjs", headers={"if-none-match": script.headers["etag"]}).status_code == 304


def test_a_gif_shows_the_frames_enlarged(client):
    frames = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 6), dtype=np.uint8)
    query = "channels=1&height=4&width=6&scale=5&milliseconds=80"
    response = client.post(f"/zoo/gif?{query}", content=frames.tobytes())
    assert response.headers["content-type"] == "image/gif"
    gif = Image.open(io.BytesIO(response.content))
    assert (gif.n_frames, gif.size, gif.info["duration"], gif.info["loop"]) == (3, (30, 20), 80, 0)
    for number, (frame,) in enumerate(frames):
        gif.seek(number)
        assert (np.asarray(gif.convert("L")) == frame.repeat(5, axis=0).repeat(5, axis=1)).all()


def test_a_gif_may_be_coloured(client):
    frames = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    frames[0, 0], frames[1, 2] = 200, 100
    query = "channels=3&height=4&width=4&scale=1&milliseconds=20"
    gif = Image.open(io.BytesIO(client.post(f"/zoo/gif?{query}", content=frames.tobytes()).content))
    assert gif.convert("RGB").getpixel((0, 0)) == (200, 0, 0)
    gif.seek(1)
    assert gif.convert("RGB").getpixel((0, 0)) == (0, 0, 100)


def values(*numbers):
    return np.array(numbers, "<f4").tobytes()


GIF = "/zoo/gif?channels=1&height=4&width=4&scale=1&milliseconds=80"
REFUSED = {
    "no model": ("GET", "/zoo/models/nothing", None, 404, "There is no model 'nothing'"),
    "a path for a model": ("GET", "/zoo/models/..%2f..%2fetc%2fpasswd", None, 404, ""),
    "a model of a very long name": ("GET", "/zoo/models/" + "a" * 5000, None, 404, "…"),
    "nothing to decode": ("POST", "/zoo/models/tiny/decode", b"", 400, "latents of 12 bytes each, got 0 bytes"),
    "part of a latent": ("POST", "/zoo/models/tiny/decode", values(1, 2), 400, "latents of 12 bytes"),
    "NaN": ("POST", "/zoo/models/tiny/decode", values(1, math.nan, 3), 400, "finite"),
    "infinity": ("POST", "/zoo/models/tiny/decode", values(1, -math.inf, 3), 400, "finite"),
    "too many latents": (
        "POST",
        "/zoo/models/tiny/decode",
        bytes(513 * 12),
        413,
        "At most 512 latents at once, got 513",
    ),
    "part of a map": ("POST", "/zoo/models/maps/decode", bytes(12), 400, "latents of 128 bytes"),
    "a label that is no number": ("POST", "/zoo/models/conditional/decode?label=x", bytes(12), 400, "label"),
    "a label below 0": ("POST", "/zoo/models/conditional/decode?label=-1", bytes(12), 400, "label"),
    "a huge label": ("POST", f"/zoo/models/conditional/decode?label={10**30}", bytes(12), 400, "label"),
    "no such class": ("POST", "/zoo/models/conditional/decode?label=5", bytes(12), 400, "Labels must be 0 to 3, or 4"),
    "a label for nothing": ("POST", "/zoo/models/tiny/decode?label=0", bytes(12), 400, "takes no labels"),
    "part of an image": ("POST", "/zoo/models/tiny/reconstruct", bytes(255), 400, "images of 256 bytes"),
    "too many images": ("POST", "/zoo/models/tiny/reconstruct", bytes(257 * 256), 413, "At most 256 images"),
    "no sample": ("GET", "/zoo/models/colour/sample?count=0", None, 400, "count"),
    "too many samples": ("GET", "/zoo/models/colour/sample?count=65", None, 400, "count"),
    "a sample that is no number": ("GET", "/zoo/models/colour/sample?count=many", None, 400, "count"),
    "no index": ("GET", "/zoo/models/tiny/images", None, 400, "index"),
    "an index that is no number": ("GET", "/zoo/models/tiny/images?index=1,x", None, 400, "such as 3,14,15"),
    "an index below 0": ("GET", "/zoo/models/tiny/images?index=-1", None, 400, "such as 3,14,15"),
    "an index of other digits": ("GET", "/zoo/models/tiny/images?index=٣", None, 400, "such as 3,14,15"),
    "an index past the end": ("GET", "/zoo/models/tiny/images?index=128", None, 400, "the last one is 127"),
    "too many indices": ("GET", f"/zoo/models/tiny/images?index={'1,' * 256}1", None, 413, "At most 256 images"),
    "no frames": ("POST", GIF, b"", 400, "frames of 16 bytes"),
    "too many frames": ("POST", GIF, bytes(121 * 16), 413, "At most 120 frames"),
    "frames of two channels": ("POST", GIF.replace("channels=1", "channels=2"), bytes(32), 400, "channels"),
    "frames enlarged too much": ("POST", GIF.replace("scale=1", "scale=65"), bytes(16), 400, "scale"),
    "a gif that is too large": (
        "POST",
        "/zoo/gif?channels=1&height=1000&width=1000&scale=64&milliseconds=80",
        bytes(10**6),
        413,
        "At most 40000000 pixels",
    ),
    "no file of the page": ("GET", "/zoo/static/nothing.mjs", None, 404, ""),
    "a file beside the page's": ("GET", "/zoo/static/..%2fapp.py", None, 404, ""),
    "a route that is none": ("GET", "/zoo/nothing", None, 404, ""),
    "a method that is none": ("DELETE", "/zoo/models", None, 404, ""),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "line"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_with_a_line(client, method, path, body, status, line):
    assert line in refused(client.request(method, path, content=body), status)


def test_each_refusal_leaves_the_server_as_it_was(client, models):
    for method, path, body, *_ in REFUSED.values():
        client.request(method, path, content=body)
    latents = torch.ones(1, 3)
    answer = floats(client.post("/zoo/models/tiny/decode", content=latents.numpy().tobytes()))
    assert np.allclose(answer, models["tiny"].decode(latents).numpy().ravel(), atol=1e-6)


def test_a_model_that_many_ask_about_at_once_is_measured_once(runs, monkeypatch):
    model, spaces, measured = Catalogue(find([str(runs / "tiny")])).model("tiny"), space.Spaces(), []
    measure = space._measure
    monkeypatch.setattr(space, "_measure", lambda *arguments: measured.append(arguments) or measure(*arguments))
    with ThreadPoolExecutor(20) as pool:
        answers = set(map(id, pool.map(lambda _: spaces.of(model), range(20))))
    assert (len(measured), len(answers)) == (1, 1)


def test_a_value_that_many_ask_for_at_once_is_made_once():
    cache, made = Cache(4), []
    everyone = threading.Barrier(20)

    def ask(_):
        everyone.wait()
        return cache.get("key", lambda: made.append(threading.Event().wait(0.05)) or len(made))

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(ask, range(20))) == {1}


def test_a_value_that_could_not_be_made_is_tried_again():
    cache = Cache(4)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 / 0)
    assert cache.get("key", lambda: 2) == 2


def test_the_value_that_was_used_longest_ago_is_dropped():
    cache, made = Cache(2), []

    def use(key):
        return cache.get(key, lambda: made.append(key))

    for key in ("a", "b", "a", "c", "a", "b"):
        use(key)
    assert made == ["a", "b", "c", "b"]
