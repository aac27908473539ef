"""Unknown query parameters are refused: a slip in a filter must not answer with everything."""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams

from greenhaul_cloud.api.problems import FAULTS_MAX
from greenhaul_protocols.times import parse_time


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route. Raises RequestValidationError naming what is not known, for
    NUL, which PostgreSQL is not even asked for, and for a `to` before `from`: no answer is right
    about a time that runs backwards."""
    for place, values in (("path", request.path_params), ("query", request.query_params)):
        for name, value in values.items():
            if "\0" in value:
                raise RequestValidationError([{"loc": (place, name[:100]), "msg": "holds NUL"}])
    if not request.query_params:
        return
    _refuse_time_backwards(request.query_params)
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = sorted(
        field.alias
        for field in get_flat_params(route.dependant)
        if getattr(field.field_info, "in_", None) == ParamTypes.query
    )
    unknown = sorted(set(request.query_params) - set(known))[:FAULTS_MAX]
    if unknown:
        raise RequestValidationError(
            [{"loc": ("query", name[:100]), "msg": _advice(name, known)} for name in unknown]
        )


def _refuse_time_backwards(asked: QueryParams) -> None:
    if "from" not in asked or "to" not in asked:
        return
    try:
        is_backwards = parse_time(asked["from"]) > parse_time(asked["to"])
    except (ValueError, OverflowError):  # no instants: refused where they are read
        return
    if is_backwards:
        raise RequestValidationError([{"loc": ("query", "to"), "msg": "lies before from"}])


def _advice(name: str, known: list[str]) -> str:
    near = get_close_matches(name[:100], known, n=1, cutoff=0.5)
    if near:
        return f"unknown; did you mean {near[0]!r}?"
    return f"unknown; this path takes {', '.join(known) or 'none'}"
