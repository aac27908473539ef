"""The reports of one turn of the loop, read together by the vectorised reader (extra `[bulk]`).

What is no whole location report of the terminal that the line is known to be, goes the ordinary
way, with everything else the line sent in this turn.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from greenhaul_edge.sources.terminal_delivery import Delivery
from greenhaul_protocols.bulk_jt808 import (
    ReportColumns,
    read_reports,
    write_answers,
    write_readings,
)
from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.fleet_body import WrittenReading

if TYPE_CHECKING:
    from greenhaul_edge.sources.terminal_line import TerminalLine

# Below this the ordinary reader is quicker than the arrays are made.
TOGETHER_SIZE_MIN = 40 * 60
# A stretch the vectorised reader reads fastest.
TOGETHER_SIZE_MAX = 256 * 1024

_Stretch = tuple["TerminalLine", bytes]


class BulkReader:
    """Between lines and their sessions; everything here runs in the source's thread."""

    def __init__(self) -> None:
        self._waiting: list[_Stretch] = []
        self.size = 0  # bytes put since the last flush

    def put(self, line: "TerminalLine", data: bytes) -> None:
        """Bytes that begin and end with a delimiter, of a line whose last bytes did."""
        self._waiting.append((line, data))
        self.size += len(data)

    @property
    def is_due(self) -> bool:
        """Whether a stretch is full."""
        return self.size >= TOGETHER_SIZE_MAX

    def flush(self, received_time_ms: int) -> None:
        """Read what was put."""
        waiting, self._waiting = self._waiting, []
        size, self.size = self.size, 0
        if size < TOGETHER_SIZE_MIN:
            for line, data in waiting:
                line.read(data)
            return
        data = b"".join(data for _, data in waiting)
        reports = read_reports(data, received_time_ms=received_time_ms)
        readings = _readings_of(reports, received_time_ms)
        taken: list[tuple[TerminalLine, list[int]]] = []
        for (line, own), places in zip(waiting, _shared_out(waiting, reports), strict=True):
            if places and all(line.session.expects(*readings[place][:2]) for place in places):
                taken.append((line, places))
            else:
                line.read(own)
        self._deliver(taken, reports, readings)

    def _deliver(
        self,
        taken: "list[tuple[TerminalLine, list[int]]]",
        reports: ReportColumns,
        readings: "list[_Report]",
    ) -> None:
        at = [place for _, places in taken for place in places]
        serials = [
            one for line, places in taken for one in line.session.answers.serials(len(places))
        ]
        answers = iter(write_answers(reports, at, serials))
        for line, places in taken:
            alarms = [readings[place].alarms for place in places]
            own: list[Reading] = [one for place in places for one in readings[place].readings]
            delivery = Delivery(
                own,
                b"".join(islice(answers, len(places))),
                is_alarm=line.session.note_reports(alarms, len(own)),
            )
            line.deliver(delivery)


class _Report(NamedTuple):
    source: str
    is_2019: bool
    alarms: int
    readings: list[WrittenReading]


def _readings_of(reports: ReportColumns, received_time_ms: int) -> list[_Report]:
    if not len(reports):
        return []
    return [
        _Report(
            source,
            is_2019,
            alarms,
            [
                WrittenReading(
                    source=source,
                    device_time_ms=device_time_ms,
                    received_time_ms=received_time_ms,
                    series=one,
                )
                for one in series
            ],
        )
        for source, device_time_ms, series, is_2019, alarms in zip(
            reports.sources(),
            reports.device_time_ms.tolist(),
            write_readings(reports, received_time_ms),
            reports.is_2019.tolist(),
            reports.numbers["alarms"].values.tolist(),
            strict=True,
        )
    ]


def _shared_out(waiting: list[_Stretch], reports: ReportColumns) -> Iterator[list[int]]:
    """Places of each stretch's reports; none if it has anything else, or a report of unusable
    time."""
    is_plain = (reports.time_quality == TimeQuality.SOURCE).tolist()
    begins = deque(reports.spans[:, 0].tolist())
    others = deque(reports.others[:, 0].tolist())
    place = end = 0
    for _, data in waiting:
        end += len(data)
        first, is_good = place, True
        while begins and begins[0] < end - 1:
            begins.popleft()
            is_good &= is_plain[place]
            place += 1
        while others and others[0] < end - 1:
            others.popleft()
            is_good = False
        yield list(range(first, place)) if is_good else []
