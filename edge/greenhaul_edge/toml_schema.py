"""JSON schema of a settings dataclass."""

import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from greenhaul_edge.toml_reader import Between, Matches

_PLAIN = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}


def section_schema(settings_class: type[Any]) -> dict[str, Any]:
    """Schema of one section, with defaults."""
    hints = get_type_hints(settings_class, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for one in fields(settings_class):
        properties[one.name] = _value_schema(hints[one.name])
        if one.default is MISSING and one.default_factory is MISSING:
            required.append(one.name)
        elif one.default is not MISSING and one.default is not None:
            default = one.default
            properties[one.name]["default"] = str(default) if isinstance(default, Path) else default
    return {
        "description": (settings_class.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _value_schema(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        found = _value_schema(inner)
        for mark in marks:
            if isinstance(mark, Between):
                found |= {"minimum": mark.low, "maximum": mark.high}
            if isinstance(mark, Matches):
                found["pattern"] = f"^({mark.pattern})$"
        return found
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (Union, types.UnionType):
        options = [_value_schema(option) for option in get_args(hint) if option is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin is tuple:
        return {"type": "array", "items": _value_schema(get_args(hint)[0])}
    return {"type": _PLAIN[hint]}
