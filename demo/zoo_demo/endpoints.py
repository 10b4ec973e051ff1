"""The API beside the page: `encode`, `decode` and `reconstruct`, for gradio_client and for curl.

    from gradio_client import Client

    client = Client("http://127.0.0.1:7860")
    latents = client.predict("mnist-mlp", images, api_name="/encode")

Arguments and results are JSON: nested lists, so that nothing is written to disk. What the
docstrings say above `Args:` is what Gradio's API page shows.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
import numpy as np
from gradio.events import api

from zoo_demo.safety import RefusedError
from zoo_demo.service import Service, require_count, require_finite

if TYPE_CHECKING:
    from zoo_demo.model import Floats, Labels, Model

T = TypeVar("T")

# Gradio reads the signatures at run time: the annotations must be types, not text.
Latents = list[list[Any]]  # as deep as the model's latent shape
Images = list[list[list[list[float]]]]
MaybeLabels = list[int] | None


def add_endpoints(service: Service) -> None:
    """Add the endpoints to the `gr.Blocks` around the call."""

    async def run(function: Callable[[], T]) -> T:
        try:
            return await service.computing.run(function)
        except RefusedError as refusal:
            raise gr.Error(refusal.detail, print_exception=False) from refusal

    async def encode(model: str, images: Images) -> Latents:
        """Encode images into latents.

        Images are N × C × H × W numbers in [0, 1], at most 256 of them, in nested lists. Latents
        are N × D numbers, or N × D × h × w where they are maps.

        Args:
            model: A model's id, e.g. "mnist-mlp"; the page's list of models has them.
            images: N × C × H × W.

        Raises:
            gr.Error: With one line that says what is wrong.
        """

        def work() -> Any:
            opened = service.catalogue.model(str(model))
            return _numbers(opened.encode(_images(opened, images)))

        encoded: Latents = await run(work)
        return encoded

    async def decode(model: str, latents: Latents, labels: MaybeLabels = None) -> Images:
        """Decode latents into images.

        Latents are N × D finite numbers, or N × D × h × w where they are maps, at most 512 of them,
        in nested lists. Labels are the N numbers of the classes that a conditional model is told;
        the number of its classes means unknown, and without labels all are. Images are
        N × C × H × W numbers in [0, 1], as `encode` takes them.

        Args:
            model: A model's id.
            latents: N × D, or N × D × h × w.
            labels: N, or none.

        Raises:
            gr.Error: With one line that says what is wrong.
        """

        def work() -> Any:
            opened = service.catalogue.model(str(model))
            given = _latents(opened, latents)
            return _pixels(opened.decode(given, _labels(labels, len(given))))

        decoded: Images = await run(work)
        return decoded

    async def reconstruct(model: str, images: Images, labels: MaybeLabels = None) -> dict[str, Any]:
        """Encode images and decode their latents.

        Images are N × C × H × W numbers in [0, 1], at most 256 of them, in nested lists; labels are
        those of `decode`. The answer holds "reconstructions", N × C × H × W numbers in [0, 1],
        "latents", as `encode` gives them, and "mse", N numbers: the mean squared error of each image
        over its pixels, of what the model gives before it is clamped to [0, 1].

        Args:
            model: A model's id.
            images: N × C × H × W.
            labels: N, or none.

        Raises:
            gr.Error: With one line that says what is wrong.
        """

        def work() -> dict[str, Any]:
            opened = service.catalogue.model(str(model))
            given = _images(opened, images)
            latents, errors, reconstructions = opened.reconstruct(given, _labels(labels, len(given)))
            return {
                "reconstructions": _pixels(reconstructions),
                "latents": _numbers(latents),
                "mse": _numbers(errors),
            }

        return await run(work)

    for function in (encode, decode, reconstruct):
        api(function)


def _images(model: "Model", given: Any) -> "Floats":
    images = _array(given, model.image_shape, model.most_images, "images")
    if not (images.min() >= 0 and images.max() <= 1):  # not: NaN is neither
        raise RefusedError(400, "Pixels must be in [0, 1]: divide 0 to 255 by 255.")
    return images


def _latents(model: "Model", given: Any) -> "Floats":
    latents = _array(given, model.latent_shape, model.most_latents, "latents")
    require_finite(latents)
    return latents


def _labels(given: Any, count: int) -> "Labels | None":
    if given is None:
        return None
    are_numbers = isinstance(given, list) and all(type(label) is int and 0 <= label < 2**31 for label in given)
    if not are_numbers or len(given) != count:
        raise RefusedError(400, f"labels must be a list of the numbers of {count} classes, one for each image.")
    return np.array(given, dtype=np.int64)


def _array(given: Any, shape: tuple[int, ...], most: int, what: str) -> "Floats":
    """Return nested lists as an array `(N, *shape)`.

    Raises:
        RefusedError: 400, they are not of that form; 413, there are too many.
    """
    expected = " × ".join(map(str, ("N", *shape)))
    try:
        array = np.asarray(given, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(400, f"{what} must be {expected} numbers in nested lists.") from error
    if array.shape[1:] != shape or not len(array):
        got = " × ".join(map(str, array.shape)) or "a single number"
        raise RefusedError(400, f"{what} must be {expected} numbers in nested lists, got {got}.")
    require_count(len(array), most, what)
    return array


def _pixels(images: "Floats") -> Any:
    """Return images as nested lists of numbers in [0, 1]: a decoder's own may leave it slightly."""
    return _nested(_finite(images).clip(0, 1))


def _numbers(array: "Floats") -> Any:
    return _nested(_finite(array))


def _finite(array: "Floats") -> "Floats":
    """Return an array as it is.

    Raises:
        RefusedError: 400, it holds NaN or infinity, which JSON cannot.
    """
    if not np.isfinite(array).all():
        raise RefusedError(400, "The model gives NaN or infinite numbers for this.")
    return array


def _nested(array: "Floats") -> Any:
    """Return an array as nested lists, with the digits that a float32 has."""
    return np.char.mod("%.7g", array).astype(np.float64).tolist()
