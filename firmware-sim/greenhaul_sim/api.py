"""The little of a greenhaul collector's HTTP API that the simulator uses."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable
from greenhaul_protocols.times import format_time

_TIMEOUT_S = 30.0
_ERROR_TEXT_MAX = 300  # of a foreign server's answer, in a message of ours
_PAGE = 500

# A collector is named by its address: no proxy of the environment stands before it.
_OPENER = build_opener(ProxyHandler({}))


class Refused(Rejected):
    """The collector will not do it; `status` is HTTP's, 4xx."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Api:
    """One collector, as one caller sees it."""

    url: str
    token: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"{self.url!r} is not a URL, as in http://127.0.0.1:8080")

    def get(self, path: str, **query: str) -> Any:
        """The JSON at a path under /api/v1. Raises Unavailable, Refused (with the reason)."""
        with self._open("GET", path, query) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send JSON, return JSON. Raises as `get`."""
        with self._open("POST", path, {}, body) as response:
            return json.load(response)

    def items(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            extra = {"cursor": cursor} if cursor else {}
            page = self.get(path, limit=str(_PAGE), **query, **extra)
            yield from page["items"]
            cursor = page["next"]
            if not cursor:
                return

    def track_rows(self, source: str, from_ms: int, to_ms: int) -> Iterator[dict[str, str]]:
        """Every stored position of a source in a window, both ends included; none if the source
        is not known."""
        query = {"format": "csv", "from": format_time(from_ms), "to": format_time(to_ms + 1)}
        try:
            with self._open("GET", f"/sources/{quote(source, safe='')}/track", query) as response:
                yield from csv.DictReader(io.TextIOWrapper(response, encoding="utf-8"))
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    @contextmanager
    def _open(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> Iterator[HTTPResponse]:
        url = f"{self.url.rstrip('/').removesuffix('/api/v1')}/api/v1{path}"
        if query:
            url += "?" + urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, {"Accept": "*/*"}, method=method)  # noqa: S310
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with _OPENER.open(request, timeout=_TIMEOUT_S) as response:
                yield response
        except HTTPError as error:
            text = error.read(_ERROR_TEXT_MAX).decode(errors="replace")
            message = f"{method} {path}: {error.code} {text}"
            if error.code >= 500:
                raise Unavailable(message) from error
            raise Refused(message, error.code) from error
        except (URLError, HTTPException, OSError) as error:
            raise Unavailable(f"{self.url}: {getattr(error, 'reason', error)}") from error
