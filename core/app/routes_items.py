"""Routes of items: list, read, rate, remove, upload, and download as a pack."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask

from .items import SHEET_TYPE, Name, Rating, media_type_of
from .pack import zip_items
from .studio import Studio
from .uploads import draw_item, store_upload


class ItemChanges(BaseModel):
    """What a client may change of an item; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    rating: Rating | None = None
    kept: bool | None = None


def item_routes(studio: Studio) -> APIRouter:
    """The routes under /api/items, and /api/uploads and /api/pack."""
    routes, items = APIRouter(prefix="/api", tags=["items"]), studio.items

    @routes.get("/items")
    def list_items(
        kept: bool | None = None, count: Annotated[int, Query(ge=1, le=20_000)] = 1000
    ) -> list[dict[str, Any]]:
        """Results and uploads, newest first."""
        return [item.to_dict() for item in items.listed(kept)[:count]]

    @routes.get("/items/{identifier}")
    def read_item(identifier: str) -> dict[str, Any]:
        """One item."""
        return items.get(identifier).to_dict()

    @routes.get("/items/{identifier}/file")
    def read_file(identifier: str) -> FileResponse:
        """The file of an item."""
        path = items.file(items.get(identifier))
        return FileResponse(path, media_type=media_type_of(path))

    @routes.get("/items/{identifier}/sheet")
    def read_sheet(identifier: str) -> FileResponse:
        """A drawing of an item, for media that cannot be shown as they are."""
        return FileResponse(draw_item(studio, items.get(identifier)), media_type=SHEET_TYPE)

    @routes.patch("/items/{identifier}")
    def change_item(identifier: str, changes: ItemChanges) -> dict[str, Any]:
        """Name, rate or keep an item."""
        given = {k: v for k, v in changes.model_dump(exclude_unset=True).items() if v is not None}
        return items.change(identifier, **given).to_dict()

    @routes.delete("/items/{identifier}")
    def remove_item(identifier: str) -> dict[str, Any]:
        """Remove an item and its file."""
        items.remove(identifier)
        return {"removed": identifier}

    @routes.post("/uploads", status_code=201)
    def upload(
        file: Annotated[UploadFile, File()],
        role: Annotated[str | None, Form(max_length=20)] = None,
        model: Annotated[str | None, Form(max_length=255)] = None,
    ) -> dict[str, Any]:
        """Add a file, which a model of this studio must be able to read."""
        return store_upload(studio, file, role, model).to_dict()

    @routes.get("/pack")
    def download_pack(items: Annotated[str, Query(max_length=8000)] = "", kept: bool = False) -> FileResponse:
        """A ZIP of items with samples.json: those that are named, separated by commas, or all that are kept."""
        path = zip_items(studio.items, [one for one in items.split(",") if one], kept)
        remove = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="pack.zip", background=remove)

    return routes
