"""The console's settings and its files."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Shape

router = APIRouter(prefix="/console", tags=["console"])

CONSOLE_FOLDER = Path(__file__).parent.parent / "console"
BASEMAP_PATH = "/api/v1/console/basemap.geojson"
# Their names carry a hash of their content.
_CACHE_ASSETS = "public, max-age=31536000, immutable"


class ConsoleSettings(Shape):
    """How this installation shows things. `streets`: where lines to draw beneath the trucks are."""

    tile_url: str | None
    tile_attribution: str | None
    datum: str
    center: tuple[float, float]
    zoom: float
    timezone: str
    streets: str | None


@router.get("/settings", response_model=ConsoleSettings)
def settings(context: Context, _caller: Caller) -> object:
    """Settings of the console."""
    config = context.config
    return {
        **config.console.model_dump(),
        "timezone": config.derive.timezone,
        "streets": BASEMAP_PATH if config.console.basemap else None,
    }


@router.get(
    "/basemap.geojson",
    response_class=FileResponse,
    responses={200: {"content": {"application/geo+json": {}}}},
)
def basemap(context: Context, _caller: Caller) -> FileResponse:
    """The file of `[console] basemap`."""
    path = context.config.console.basemap
    if path is None or not path.is_file():
        raise Problem(HTTPStatus.NOT_FOUND, "no basemap is configured")
    return FileResponse(path, media_type="application/geo+json")


class ConsoleFiles:
    """Serves the built console at whatever no route of the API answers."""

    def __init__(self, folder: Path) -> None:
        self._files = (
            _Assets(directory=folder, html=True) if (folder / "index.html").is_file() else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI; a 404 of the API itself never turns into a page."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith("/api/"):
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such path; /docs lists them")
        if self._files is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the console is not built: make web")
        await self._files(scope, receive, send)


class _Assets(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        is_asset = "/assets/" in Path(args[0]).as_posix()
        response.headers["Cache-Control"] = _CACHE_ASSETS if is_asset else "no-cache"
        return response
