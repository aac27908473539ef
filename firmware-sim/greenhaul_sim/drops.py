"""What gateways report as given up, and whether it accounts for what is missing."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.times import format_time, parse_time


class Drop(NamedTuple):
    """One `Dropped` record that names its numbers. Times None: the gateway does not know."""

    gateway: str
    numbers: int
    from_ms: int | None
    to_ms: int | None
    reason: str

    def line(self) -> str:
        """For people."""
        window = "at times not known"
        if self.from_ms is not None and self.to_ms is not None:
            window = f"{format_time(self.from_ms)} to {format_time(self.to_ms)}"
        return f"{self.gateway} gave up {self.numbers}, {window}: {self.reason}"


def drop_of(gateway: str, item: dict[str, Any]) -> Drop | None:
    """A record as the API shows it; None when it names no numbers. Raises DecodeError."""
    try:
        if item["first"] is None or item["last"] is None:
            return None
        from_ms, to_ms = (
            None if item[key] is None else parse_time(item[key]) for key in ("from_time", "to_time")
        )
        count = int(item["last"]) - int(item["first"]) + 1
        return Drop(gateway, count, from_ms, to_ms, str(item["reason"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"dropped records of {gateway}: {error!r} in {item}") from error


def unnamed(times_ms: Sequence[int], drops: Iterable[Drop]) -> list[int]:
    """Places in `times_ms` of missing readings that no record accounts for.

    A record accounts for as many readings as it names numbers, each within its window. Of all
    ways to share them out this finds one that leaves the fewest: readings in order of time, each
    to the open window that closes first.
    """
    known = sorted(
        (drop for drop in drops if drop.from_ms is not None and drop.to_ms is not None),
        key=lambda drop: drop.to_ms or 0,
    )
    room = [drop.numbers for drop in known]
    left = []
    for place in sorted(range(len(times_ms)), key=times_ms.__getitem__):
        for i, drop in enumerate(known):
            if room[i] and (drop.from_ms or 0) <= times_ms[place] <= (drop.to_ms or 0):
                room[i] -= 1
                break
        else:
            left.append(place)
    # Where the times went with the readings, only their number speaks.
    at_any_time = sum(drop.numbers for drop in drops if drop.from_ms is None or drop.to_ms is None)
    return sorted(left[at_any_time:])
