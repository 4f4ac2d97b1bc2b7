"""The web app's requests: the page, uploads, results and their files."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from synergy.app.clips import Clip, ClipJob, analyse_clip
from synergy.app.examples import examples
from synergy.app.files import media_type
from synergy.app.limits import Limits, RateLimiter, RequestError
from synergy.app.memory import ResultStore
from synergy.app.names import clean_name
from synergy.app.photos import Photo, analyse_photo
from synergy.app.security import BrowserRules
from synergy.app.workers import Workers
from synergy.errors import UserError
from synergy.predictor import FacePredictor

_LOG = logging.getLogger("synergy.app")
_OUR_FAULT = "Something went wrong on the server. Its log has the details."


class _State(NamedTuple):
    """What the requests share."""

    predictor: FacePredictor
    limits: Limits
    is_local: bool
    workers: Workers
    uploads: RateLimiter
    results: ResultStore[Photo | Clip]


def create_app(predictor: FacePredictor, limits: Limits | None = None, is_local: bool = True) -> ASGIApp:
    """Make the web application.

    Args:
        predictor: predicts the faces.
        limits: the limits; the default ones if None.
        is_local: whether only requests under the name localhost are answered.
    """
    limits = Limits() if limits is None else limits
    uploads = RateLimiter(limits.uploads_per_minute)
    state = _State(predictor, limits, is_local, Workers(limits), uploads, ResultStore(limits))

    async def forget_expired() -> None:
        while True:
            await asyncio.sleep(30)
            state.results.remove_expired()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(forget_expired())
        yield
        task.cancel()
        state.workers.close()

    # The pages of the automatic documentation load scripts from other sites.
    app = FastAPI(title="Synergy", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(UserError, lambda _, error: _error(422, str(error)))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, lambda _, __: _error(422, "The request is not valid."))
    app.add_exception_handler(Exception, lambda _, __: _error(500, _OUR_FAULT))
    static = files("synergy.app") / "static"
    app.mount("/static", StaticFiles(directory=str(static)), "static")

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(str(static / "index.html"), headers={"Cache-Control": "no-cache"})

    @app.get("/api/settings")
    def settings() -> dict[str, Any]:
        return {
            "photo_megabytes": limits.photo_megabytes,
            "clip_megabytes": limits.clip_megabytes,
            "megapixels": limits.megapixels,
            "clip_seconds": limits.clip_seconds,
            "result_minutes": limits.result_minutes,
            "is_local": is_local,
            "model": predictor.net.model_id,
            "examples": list(examples()),
        }

    app.include_router(_upload_routes(state))
    app.include_router(_result_routes(state))
    # Outside of everything, so that the answer to an error of ours has the headers too.
    return BrowserRules(app, is_local)


def _upload_routes(state: _State) -> APIRouter:
    """Return the requests that analyse a photo or a clip."""
    limits, workers, uploads, results = state.limits, state.workers, state.uploads, state.results
    router = APIRouter()

    async def add_photo(data: bytes, name: str) -> dict[str, Any]:
        work = partial(analyse_photo, data, name, state.predictor, limits)
        photo = await workers.run(work, limits.photo_work_seconds)
        return {"id": results.add(photo), **photo.to_dict()}

    @router.post("/api/photos")
    async def upload_photo(request: Request, name: str = "") -> dict[str, Any]:
        uploads.check(_client(request))
        with workers.upload():
            data = await _read_body(request, limits.photo_megabytes, limits.upload_seconds)
        return await add_photo(data, clean_name(name, "photo"))

    @router.get("/api/examples/{name}.jpg")
    async def example_picture(name: str) -> Response:
        return Response(await workers.run(_example(name), limits.photo_work_seconds), media_type="image/jpeg")

    @router.post("/api/examples/{name}")
    async def upload_example(request: Request, name: str) -> dict[str, Any]:
        uploads.check(_client(request))
        return await add_photo(await workers.run(_example(name), limits.photo_work_seconds), f"{name}.jpg")

    @router.post("/api/clips")
    async def upload_clip(request: Request, name: str = "") -> StreamingResponse:
        uploads.check(_client(request))
        with workers.upload():
            data = await _read_body(request, limits.clip_megabytes, limits.upload_seconds)
        job = ClipJob(asyncio.get_running_loop())
        future = workers.start(partial(analyse_clip, data, clean_name(name, "clip"), state.predictor, limits, job))
        future.add_done_callback(lambda _: job.finish())

        async def lines() -> AsyncIterator[str]:
            try:
                async for fraction in job.progress():
                    yield json.dumps({"progress": round(fraction, 3)}) + "\n"
                clip = await future
                yield json.dumps({"result": {"id": results.add(clip), **clip.to_dict()}}) + "\n"
            except (RequestError, UserError) as error:
                yield json.dumps({"error": str(error)}) + "\n"
            except Exception:
                _LOG.exception("analysis of a clip")
                yield json.dumps({"error": _OUR_FAULT}) + "\n"
            finally:
                # The client may have gone; then the analysis ends at the next frame.
                job.stop()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    return router


def _result_routes(state: _State) -> APIRouter:
    """Return the requests for pictures, meshes and files of a result."""
    limits, workers, results = state.limits, state.workers, state.results
    router = APIRouter()

    @router.get("/api/results/{name}/view.jpg")
    async def view(name: str) -> Response:
        photo = _photo(results.get(name))
        return Response(await workers.run(photo.view_file, limits.photo_work_seconds), media_type="image/jpeg")

    @router.get("/api/results/{name}/layers/{layer}.png")
    async def layer_picture(name: str, layer: str) -> Response:
        photo = _photo(results.get(name))
        if layer not in photo.layers():
            raise RequestError(404, "There is no such layer.")
        content = await workers.run(partial(photo.layer_file, layer), limits.photo_work_seconds)
        return Response(content, media_type="image/png")

    @router.get("/api/results/{name}/models/{number}.glb")
    async def model(request: Request, name: str, number: int) -> Response:
        result = results.get(name)
        if number not in result.model_numbers():
            raise RequestError(404, "There is no such face.")
        # Morph targets are mostly zeros. Compressing them saves time on a network, and costs time on one machine.
        compresses = not state.is_local and "gzip" in request.headers.get("accept-encoding", "")

        def make() -> bytes:
            content = result.model_file(number)
            return gzip.compress(content, 1) if compresses else content

        headers = {"Content-Encoding": "gzip"} if compresses else {}
        content = await workers.run(make, limits.photo_work_seconds)
        return Response(content, media_type="model/gltf-binary", headers=headers)

    @router.get("/api/results/{name}/files/{file}")
    async def download(name: str, file: str) -> Response:
        result = results.get(name)
        make = result.files().get(file)
        if make is None:
            raise RequestError(404, "There is no such file.")
        content = await workers.run(make, limits.photo_work_seconds)
        stem = result.name.rpartition(".")[0] or result.name
        disposition = f"attachment; filename*=UTF-8''{quote(f'{stem}_{file}')}"
        return Response(content, media_type=media_type(file), headers={"Content-Disposition": disposition})

    @router.delete("/api/results/{name}", status_code=204)
    async def forget(name: str) -> None:
        results.remove(name)

    return router


def _example(name: str) -> Any:
    """Return the function that makes an example."""
    found = examples().get(name)
    if found is None:
        raise RequestError(404, "There is no such example.")
    return found


def _photo(result: Photo | Clip) -> Photo:
    """Return a result that is a photo."""
    if not isinstance(result, Photo):
        raise RequestError(404, "This result is a clip.")
    return result


def _client(request: Request) -> str:
    """Return the address of the client, for the limit on uploads."""
    return request.client.host if request.client else ""


async def _read_body(request: Request, megabytes: float, seconds: float) -> bytes:
    """Receive a request's body into memory.

    Args:
        request: the request.
        megabytes: largest size.
        seconds: longest time.

    Raises:
        RequestError: the body is larger or takes longer, or the client has gone.
    """
    too_large = RequestError(413, f"The file is too large. At most {megabytes:g} MB are accepted.")
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > megabytes * 1e6:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > megabytes * 1e6:
                    raise too_large
    except TimeoutError:
        raise RequestError(408, f"The upload took longer than {seconds:g} seconds.") from None
    except ClientDisconnect:
        raise RequestError(499, "The client has gone.") from None
    return bytes(body)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)


def _request_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    response = _error(error.status, error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail) + ".")
