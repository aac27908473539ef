"""What a check says."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is."""

    WELL = 0
    WORTH_KNOWING = 1
    WRONG = 2


@dataclass(frozen=True, slots=True)
class Remark:
    """One line about one thing. advice: what to do; empty when all is well."""

    level: Level
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark with the name of the check that made it."""

    check: str
    remark: Remark


def well(said: str) -> Remark:
    """Nothing to do."""
    return Remark(Level.WELL, said)


def worth_knowing(said: str, advice: str) -> Remark:
    """It works, and will not for ever, or not as it could."""
    return Remark(Level.WORTH_KNOWING, said, advice)


def wrong(said: str, advice: str) -> Remark:
    """It does not work like this."""
    return Remark(Level.WRONG, said, advice)
