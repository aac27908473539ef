"""What stands beside a layout in an annotation: when the field is there, and what it means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class When:
    """Stands beside a layout: the field is there only if an earlier field of the same structure
    says so. Absent, its value is None."""

    field: str
    holds: Callable[[Any], bool]
    text: str  # the condition in words


@dataclass(frozen=True, eq=False)
class IfLeft:
    """Stands beside a layout: the field may be missing at the end of the structure, and whether it
    is there only the number of bytes tells. Missing, its value is None, and none may follow."""


@dataclass(frozen=True, eq=False)
class CountOf:
    """Stands beside a layout: the field is the length of a list that does not follow at once. Only
    writing insists on it."""

    field: str


@dataclass(frozen=True, eq=False)
class HexId:
    """Stands beside a layout: the number is an id, shown as `0x0200`."""

    digits: int = 4

    def text(self, value: int) -> str:
        """The id as text."""
        return f"0x{value:0{self.digits}X}"


@dataclass(frozen=True, eq=False)
class Meanings:
    """Stands beside a layout: what the values mean."""

    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class BitNames:
    """Stands beside a layout: what the bits mean; the lowest bit is 0. A mapping by year holds
    from its year until the next."""

    names: Mapping[int, str | Mapping[int, str]]

    def of(self, value: int, revision: int) -> list[str]:
        """Names of the set bits; `bit n` for those without one in the revision."""
        return [self._name(bit, revision) for bit in range(value.bit_length()) if value >> bit & 1]

    def _name(self, bit: int, revision: int) -> str:
        name = self.names.get(bit, "")
        if not isinstance(name, str):
            years = [year for year in name if year <= revision]
            name = name[max(years)] if years else ""
        return name or f"bit {bit}"


@dataclass(frozen=True, eq=False)
class BitRanges:
    """Stands beside a layout: parts of the number. Lowest bit and how many, to a name."""

    names: Mapping[tuple[int, int], str]

    def text(self, value: int) -> str:
        """Every part as `name=number`."""
        return ", ".join(
            f"{name}={value >> lowest & (1 << count) - 1}"
            for (lowest, count), name in self.names.items()
        )


@dataclass(frozen=True, eq=False)
class Spelled:
    """Stands beside a layout: a value in words."""

    text: Callable[[Any], str]


def equals(field: str, wanted: int) -> When:
    """Present only if `field` has this value."""
    return When(field, lambda value: value == wanted, f"{field} = {wanted}")


def differs(field: str, unwanted: int) -> When:
    """Present only if `field` has another value."""
    return When(field, lambda value: value != unwanted, f"{field} ≠ {unwanted}")


def has_bit(field: str, bit: int) -> When:
    """Present only if a bit of `field` is set."""
    return When(field, lambda value: bool(value >> bit & 1), f"bit {bit} of {field}")
