"""TOML sections into frozen dataclasses; every mistake names file, key and what would be right."""

import re
import tomllib
import types
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from greenhaul_protocols.errors import ConfigError

T = TypeVar("T")

# How alike a wrong name must be for a hint.
_NEAR = 0.5

_WANTED = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


@dataclass(frozen=True, slots=True)
class Between:
    """A number's bounds, inclusive."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Matches:
    """A text's pattern, and what to say when it does not match."""

    pattern: str
    wanted: str


class Section:
    """One table of a TOML file. Keys are taken out as they are read."""

    def __init__(self, path: Path, name: str, table: dict[str, Any], prefix: str = "") -> None:
        self.path, self.name = path, name
        self._prefix = f"{prefix}{name}." if name else ""
        self._table = dict(table)

    def error(self, message: str) -> ConfigError:
        """A mistake in this section."""
        return ConfigError(f"{self.path}: [{self._prefix.rstrip('.')}] {message}")

    def allow_only(self, known: Iterable[str]) -> None:
        """Raises ConfigError for any other key, with the nearest of the known ones."""
        for key in self._table:
            if key not in known:
                nearest = get_close_matches(key, list(known), 1, _NEAR)
                hint = f"did you mean {nearest[0]!r}?" if nearest else _list(known)
                raise ConfigError(f"{self.path}: unknown key {self._prefix}{key}; {hint}")

    def take(self, key: str) -> Any:
        """A value, or None; the key counts as read."""
        return self._table.pop(key, None)

    def choose(self, key: str, value: Any, known: Iterable[str]) -> None:
        """Raises ConfigError unless the value is one of the known ones."""
        if value not in known:
            nearest = get_close_matches(str(value), list(known), 1, _NEAR)
            hint = f"did you mean {nearest[0]!r}?" if nearest else _list(known)
            said = "is missing" if value is None else f"is {value!r}"
            raise ConfigError(f"{self.path}: {self._prefix}{key} {said}; {hint}")

    def section(self, name: str) -> "Section":
        """A table inside; empty if it is not there."""
        table = self._table.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{self.path}: {self._prefix}{name} must be a section, [{name}]")
        return Section(self.path, name, table, self._prefix)

    def sections(self, pattern: str) -> Iterator["Section"]:
        """All tables inside; their names must match."""
        for name in self._table:
            if not re.fullmatch(pattern, name):
                raise ConfigError(
                    f"{self.path}: {self._prefix}{name}: use 1 to 32 of letters, digits, . _ -"
                )
            yield self.section(name)

    def value(self, key: str, hint: Any) -> Any:
        """A value checked against a type hint. Raises ConfigError."""
        return _convert(self._table[key], hint, f"{self.path}: {self._prefix}{key}", self.path)

    def has(self, key: str) -> bool:
        """Whether the key stands in the file."""
        return key in self._table


def read_toml(path: Path) -> Section:
    """The top of a TOML file. Raises ConfigError."""
    try:
        return Section(path, "", tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def read_section(section: Section, settings_class: type[T]) -> T:
    """A section as an instance of a frozen dataclass. Raises ConfigError."""
    hints = get_type_hints(settings_class, include_extras=True)
    declared = fields(settings_class)  # type: ignore[arg-type]  # callers pass dataclasses
    section.allow_only([one.name for one in declared])
    values: dict[str, Any] = {}
    for one in declared:
        if section.has(one.name):
            values[one.name] = section.value(one.name, hints[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise section.error(f"{one.name} is missing")
        elif isinstance(one.default, Path):
            values[one.name] = section.path.parent / one.default
    return settings_class(**values)


def _convert(value: Any, hint: Any, where: str, path: Path) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        converted = _convert(value, inner, where, path)
        for mark in marks:
            _check(converted, mark, where)
        return converted
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where} is {value!r}; {_list(map(str, get_args(hint)))}")
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, where, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table")
        of_value = get_args(hint)[1]
        return {key: _convert(one, of_value, f"{where}.{key}", path) for key, one in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list")
        return tuple(_convert(item, get_args(hint)[0], where, path) for item in value)
    return _convert_plain(value, hint, where, path)


def _convert_union(value: Any, hint: Any, where: str, path: Path) -> Any:
    failure: ConfigError | None = None
    for option in get_args(hint):
        if option is type(None):
            continue
        try:
            return _convert(value, option, where, path)
        except ConfigError as error:
            failure = error
    assert failure is not None
    raise failure


def _convert_plain(value: Any, hint: Any, where: str, path: Path) -> Any:
    if hint is Path:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where} must be a path in quotes")
        return path.parent / Path(value).expanduser()
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        said = "a text in quotes" if hint is str else {"bool": "true or false"}.get(hint.__name__)
        wanted = said or {"int": "a whole number", "float": "a number"}.get(
            hint.__name__, "a table"
        )
        raise ConfigError(f"{where} is {value!r}, must be {wanted}")
    return value


def _check(value: Any, mark: Any, where: str) -> None:
    if isinstance(mark, Between) and not mark.low <= value <= mark.high:
        raise ConfigError(f"{where} is {value!r}, must lie in {mark.low:g} to {mark.high:g}")
    if isinstance(mark, Matches) and not re.fullmatch(mark.pattern, value):
        raise ConfigError(f"{where} is {value!r}, must be {mark.wanted}")


def _list(known: Iterable[str]) -> str:
    return f"there are: {', '.join(known)}"
