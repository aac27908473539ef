"""Unknown query parameters are refused: a slip in a filter must not answer with everything."""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute

from greenhaul_cloud.api.problems import FAULTS_MAX


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route. Raises RequestValidationError naming what is not known."""
    if not request.query_params:
        return
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


def _advice(name: str, known: list[str]) -> str:
    near = get_close_matches(name[:100], known, n=1, cutoff=0.5)
    if near:
        return f"unknown; did you mean {near[0]!r}?"
    return f"unknown; this path takes {', '.join(known) or 'none'}"
