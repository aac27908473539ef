"""`/docs`: the OpenAPI document as one plain page that loads nothing from anywhere."""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin: 2.5rem 0 0; text-transform: capitalize }
h3 { font: 600 1rem ui-monospace, monospace; margin: 1.5rem 0 0 }
h3 b { display: inline-block; min-width: 4.5rem; color: #0a7d4b }
p { margin: .2rem 0; white-space: pre-line }
table { border-collapse: collapse; margin: .4rem 0 }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
code { font-family: ui-monospace, monospace }
"""


@router.get("/docs", response_class=HTMLResponse)
def page(request: Request) -> HTMLResponse:
    """Every operation: what it does, takes and answers."""
    return HTMLResponse("\n".join(_page(request.app.openapi())))


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html><html lang=en><head><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width'>"
    yield f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield f"<p>{_prose(info.get('description', ''))}</p>"
    yield "<p>For machines: <a href=/api/v1/openapi.json>/api/v1/openapi.json</a></p>"
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = (operation.get("tags") or ["other"])[0]
                by_tag.setdefault(tag, []).extend(_operation(method, path, operation))
    for tag, lines in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from lines
    yield "<h2>shapes</h2>"
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield from _shape(name, schema)
    yield "</body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h3><b>{method.upper()}</b> {escape(path)}</h3>"
    yield f"<p>{_prose(operation.get('description', ''))}</p>"
    rows = [
        (f"{one['name']} ({one['in']})", _type(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", [])
    ]
    if "requestBody" in operation:
        rows += [("body", _content(operation["requestBody"]), "")]
    rows += [
        (status, _content(answer), answer.get("description", ""))
        for status, answer in operation["responses"].items()
    ]
    yield from _table(rows)


def _shape(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"<h3 id='{escape(name)}'>{escape(name)}</h3>"
    yield f"<p>{_prose(schema.get('description', ''))}</p>"
    yield from _table(
        (key, _type(value), value.get("description", ""))
        for key, value in schema.get("properties", {}).items()
    )


def _table(rows: Any) -> Iterator[str]:
    yield "<table>"
    for name, kind, note in rows:
        yield f"<tr><td><code>{escape(name)}</code><td>{kind}<td>{_prose(note)}"
    yield "</table>"


def _content(holder: dict[str, Any]) -> str:
    return "; ".join(
        f"{escape(media)} {_type(content.get('schema', {}))}"
        for media, content in holder.get("content", {}).items()
    )


def _prose(text: str) -> str:
    """A description as HTML; what stands in backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " | ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return escape(" | ".join(map(str, schema["enum"])))
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_type(schema['items'])}"
    return escape(str(schema.get("format") or schema.get("const") or schema.get("type") or ""))
