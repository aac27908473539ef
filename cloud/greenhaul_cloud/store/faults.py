"""Why a block or a reading was not stored: a cause to count by, and the words for who looks."""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Few and fixed, so that counting by them makes no end of series."""

    CRC = "crc"
    FORMAT = "format"  # no block, or of a later format
    TOPIC = "topic"  # the header says another gateway or lane than the topic
    NUMBERS = "numbers"
    BODY = "body"  # does not inflate, or contradicts itself
    KIND = "kind"
    SOURCE = "source"
    FLAGS = "flags"
    TIME = "time"
    FIELD = "field"  # of another type than the catalogue's
    PLACE = "place"  # nowhere on Earth
    GRANT = "grant"
    REFUSED = "refused"  # by the database


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with something, in words."""

    cause: Cause
    words: str

    def __str__(self) -> str:
        return self.words
