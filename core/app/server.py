"""The server of the studio: REST under /api, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from ..types import BadInput
from ..util.messages import shorten
from ..util.packages import package_version
from .limits import RequestRefused
from .model_info import describe_model
from .routes_items import item_routes
from .routes_jobs import job_routes
from .routes_runs import data_routes, run_routes
from .security import LOCAL_HOSTS, RequestGuard
from .studio import Studio

STATIC = Path(__file__).parent / "static"


def create_server(studio: Studio, hosts: Iterable[str] | None = LOCAL_HOSTS, token: str | None = None) -> RequestGuard:
    """The ASGI application of a studio.

    Args:
        studio: What it serves.
        hosts: Host names under which it may be asked; None: any, with a token.
        token: What every request must show; None: nothing.
    """

    @asynccontextmanager
    async def run_queue(_: FastAPI) -> AsyncIterator[None]:
        studio.queue.start()
        try:
            yield
        finally:
            studio.queue.stop()

    app = FastAPI(
        title="sonolux studio",
        version=package_version("sonolux") or "",
        lifespan=run_queue,
        docs_url=None,  # its page loads scripts of another site
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    for kind in (BadInput, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)

    @app.get("/api/state")
    def read_state() -> dict[str, Any]:
        """What this studio serves, and its bounds."""
        return {
            "version": package_version("sonolux"),
            "device": studio.models.device,
            "models": studio.models.names,
            "runs": list(studio.runs),
            "data": list(studio.data),
            "out": str(studio.folder),
            "limits": studio.limits.to_dict(),
        }

    @app.get("/api/models/{name}")
    def read_model(name: str) -> dict[str, Any]:
        """What a model takes and makes."""
        return describe_model(studio.models, name)

    app.include_router(job_routes(studio))
    app.include_router(item_routes(studio))
    app.include_router(run_routes(studio))
    app.include_router(data_routes(studio))

    @app.get("/", include_in_schema=False)
    def read_page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    return RequestGuard(app, hosts, studio.limits, token, uploads=("/api/uploads",))


async def _answer_error(_: Request, error: Any) -> JSONResponse:
    """One sentence as JSON."""
    if isinstance(error, RequestValidationError):
        return JSONResponse({"error": _first_error(error)}, 400)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
    status = error.status if isinstance(error, RequestRefused) else 400
    return JSONResponse({"error": str(error)}, status)


def _first_error(error: RequestValidationError) -> str:
    """The first error of a body or a query: where it is, and what is wrong."""
    first = error.errors()[0]
    names = [str(one) for one in first["loc"] if one not in ("body", "query", "path")]
    what = "it is missing" if first["type"] == "missing" else str(first["msg"]).removeprefix("Value error, ")
    return f"{shorten('.'.join(names))}: {shorten(what, 160)}" if names else shorten(what, 160)
