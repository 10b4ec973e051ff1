"""The HTTP routes under /zoo that the page calls: JSON, and arrays as raw little-endian bytes.

Every refusal is `{"error": line}` with 400 (the request makes no sense), 404, 410 (the model's file
cannot be read any more), 413 (too much), 415 (no image), 422 (a damaged one) or 503 (too busy, with
Retry-After). Arrays have no header: both sides know their shape from the model's card.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from numpy.typing import DTypeLike, NDArray
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from zoo.contract.registry import installed
from zoo.errors import printable
from zoo_demo.gif import to_gif
from zoo_demo.safety import RefusedError
from zoo_demo.service import Service, require_count, require_finite
from zoo_demo.uploads import to_image

if TYPE_CHECKING:
    from zoo_demo.graph import Plan
    from zoo_demo.model import Model

MOST_SAMPLES = 64
MOST_FRAMES = 120
MAX_GIF_PIXELS = 40_000_000  # All frames of an animation together, enlarged.

_STATIC = Path(__file__).with_name("static")
_NOT_KEPT = {"cache-control": "no-store"}
_TYPES = {".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

Label = Annotated[int | None, Query(ge=0, le=1_000_000)]
Count = Annotated[int, Query(ge=1, le=MOST_SAMPLES)]
Side = Annotated[int, Query(ge=1, le=65_536)]
Scale = Annotated[int, Query(ge=1, le=64)]
Milliseconds = Annotated[int, Query(ge=20, le=10_000)]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add the routes, and answers in their form for whatever goes wrong."""
    catalogue, computing, measuring = service.catalogue, service.computing, service.measuring
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _TYPES}

    @app.get("/zoo/models")
    async def models() -> Response:
        cards = await measuring.run(catalogue.read)
        return _json({"default": next(iter(cards), None), "models": list(cards.values())})

    @app.get("/zoo/models/{id_}")
    async def model(id_: str) -> Response:
        return _json(await computing.run(lambda: _details(catalogue.model(id_))))

    @app.get("/zoo/models/{id_}/decoder-{hash_}.json")
    async def plan(request: Request, id_: str, hash_: str) -> Response:
        plan = await computing.run(lambda: _plan(catalogue.model(id_), hash_))
        text = json.dumps(plan.json, separators=(",", ":"), allow_nan=False)
        return _unchanging(request, text.encode(), "application/json", hash_)

    @app.get("/zoo/models/{id_}/decoder-{hash_}.bin")
    async def weights(request: Request, id_: str, hash_: str) -> Response:
        plan = await computing.run(lambda: _plan(catalogue.model(id_), hash_))
        return _unchanging(request, plan.weights, "application/octet-stream", hash_)

    @app.get("/zoo/models/{id_}/space")
    async def space(id_: str) -> Response:
        return _json(await measuring.run(lambda: _space(service, catalogue.model(id_))))

    @app.get("/zoo/models/{id_}/points")
    async def points(id_: str) -> Response:
        space = await measuring.run(lambda: service.spaces.of(catalogue.model(id_)))
        return _arrays(space.latents, space.errors, space.labels.astype("<i4"))

    @app.get("/zoo/models/{id_}/images")
    async def images(id_: str, index: str) -> Response:
        return _arrays(await measuring.run(lambda: _test_images(service, catalogue.model(id_), index)))

    @app.post("/zoo/models/{id_}/reconstruct")
    async def reconstruct(request: Request, id_: str, label: Label = None) -> Response:
        body = await request.body()
        return _arrays(*await computing.run(lambda: _reconstruct(catalogue.model(id_), body, label)))

    @app.post("/zoo/models/{id_}/decode")
    async def decode(request: Request, id_: str, label: Label = None) -> Response:
        body = await request.body()
        return _arrays(await computing.run(lambda: _decode(catalogue.model(id_), body, label)))

    @app.get("/zoo/models/{id_}/sample")
    async def sample(id_: str, count: Count) -> Response:
        return _arrays(await computing.run(lambda: catalogue.model(id_).sample(count)))

    @app.post("/zoo/models/{id_}/upload")
    async def upload(request: Request, id_: str, invert: bool = False) -> Response:
        body = await request.body()
        return _arrays(await computing.run(lambda: to_image(body, catalogue.model(id_).image_shape, invert=invert)))

    @app.post("/zoo/gif")
    async def gif(
        request: Request,
        *,
        channels: Literal["1", "3"],
        height: Side,
        width: Side,
        scale: Scale,
        milliseconds: Milliseconds,
    ) -> Response:
        body = await request.body()
        shape = (int(channels), height, width)
        content = await computing.run(lambda: _gif(body, shape, scale, milliseconds))
        return Response(content, media_type="image/gif", headers=_NOT_KEPT)

    @app.get("/zoo/static/{name}")
    def static(request: Request, name: str) -> Response:
        if name not in files:
            raise RefusedError(404, "There is nothing here.")
        content = files[name].read_bytes()
        headers = {"cache-control": "no-cache"}  # kept, and asked for again: a new version of the zoo has new files
        return _tagged(request, content, _TYPES[files[name].suffix], hashlib.sha256(content).hexdigest(), headers)

    @app.api_route("/zoo/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def nothing(rest: str) -> Response:
        raise RefusedError(404, "There is nothing here.")

    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_query)
    app.add_exception_handler(Exception, _fail)


def _json(value: Any) -> Response:
    return JSONResponse(value, headers=_NOT_KEPT)


def _arrays(*arrays: NDArray[Any]) -> Response:
    """Answer with arrays one after the other, little-endian."""
    content = b"".join(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    return Response(content, media_type="application/octet-stream", headers=_NOT_KEPT)


def _unchanging(request: Request, content: bytes, media_type: str, tag: str) -> Response:
    """Answer with content whose hash is in its address."""
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return _tagged(request, content, media_type, tag, headers)


def _tagged(request: Request, content: bytes, media_type: str, tag: str, headers: dict[str, str]) -> Response:
    headers["etag"] = f'"{tag}"'
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _details(model: Model) -> dict[str, Any]:
    plan = model.plan
    address = f"/zoo/models/{model.card['id']}/decoder-"
    if isinstance(plan, Exception):
        decoder = {"where": "server", "why": str(plan)}
    else:
        decoder = {
            "where": "browser",
            "plan": f"{address}{plan.hash}.json",
            "weights": f"{address}{plan.hash}.bin",
        }
    return model.card | {
        "latent_shape": model.latent_shape,
        "classes": model.checkpoint.metadata.data.classes,
        "has_prior": model.has_prior,
        "parameters": model.parameters,
        "decoder": decoder,
        "dataset": _dataset(model),
        "most": {"images": model.most_images, "latents": model.most_latents},
    }


def _dataset(model: Model) -> dict[str, str | None]:
    """Return what the dataset's plugin says about it; without the plugin only its name is known."""
    record = model.dataset
    spec = None
    if installed().has("dataset", name := f"{record.distribution}:{record.name}"):
        spec = installed().get("dataset", name).spec
    return {"name": record.name} | {field: getattr(spec, field, None) for field in ("summary", "licence", "credit")}


def _plan(model: Model, hash_: str) -> Plan:
    if isinstance(model.plan, Exception) or model.plan.hash != hash_:
        raise RefusedError(404, "There is no such plan of this decoder.")
    return model.plan


def _space(service: Service, model: Model) -> dict[str, Any]:
    from zoo_demo.space import NoDatasetError, unmeasured

    try:
        return service.spaces.of(model).summary
    except NoDatasetError as error:
        return unmeasured(model.latent_size, error.detail)


def _test_images(service: Service, model: Model, index: str) -> NDArray[np.uint8]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", index):
        raise RefusedError(400, f"index must be numbers such as 3,14,15, got '{printable(index, 40)}'.")
    indices = [int(number) for number in index.split(",")]
    require_count(len(indices), model.most_images, "images")
    return service.spaces.test_images(model, indices)


def _reconstruct(model: Model, body: bytes, label: int | None) -> tuple[NDArray[np.float32], ...]:
    images = _rows(body, "u1", model.image_shape, model.most_images, "images")
    return model.reconstruct(np.divide(images, 255, dtype=np.float32), _labels(label, len(images)))


def _decode(model: Model, body: bytes, label: int | None) -> NDArray[np.float32]:
    latents = _rows(body, "<f4", model.latent_shape, model.most_latents, "latents").astype(np.float32)
    require_finite(latents)
    return model.decode(latents, _labels(label, len(latents)))


def _labels(label: int | None, count: int) -> NDArray[np.int64] | None:
    """Return a label for each of `count` images or latents; None where no class is told."""
    return None if label is None else np.full(count, label, dtype=np.int64)


def _gif(body: bytes, shape: tuple[int, int, int], scale: int, milliseconds: int) -> bytes:
    frames = _rows(body, "u1", shape, MOST_FRAMES, "frames")
    pixels = frames.size // shape[0] * scale**2
    if pixels > MAX_GIF_PIXELS:
        raise RefusedError(413, f"At most {MAX_GIF_PIXELS} pixels, enlarged, in all frames, got {pixels}.")
    return to_gif(frames, scale=scale, milliseconds=milliseconds)


def _rows(body: bytes, dtype: DTypeLike, shape: tuple[int, ...], most: int, what: str) -> NDArray[Any]:
    """Return a body as an array `(N, *shape)`.

    Raises:
        RefusedError: 400, it does not hold a whole number of them; 413, it holds too many.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not body or len(body) % size:
        raise RefusedError(400, f"The body must hold {what} of {size} bytes each, got {len(body)} bytes.")
    require_count(len(body) // size, most, what)
    return np.frombuffer(body, dtype).reshape(-1, *shape)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _refuse_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}."}, 400)


async def _fail(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"{type(error).__name__}: {printable(error)} (this should not happen)"}, 500)
