"""gpsd's JSON socket as a way to a receiver that other programs read, too."""

import json
import math
import socket
import time
from collections.abc import Callable, Generator
from typing import Any

from greenhaul_edge.sources.nmea import Fix, NmeaCounts
from greenhaul_protocols.times import parse_time

# gpsd's sentences are under 10 KiB even with every satellite in view.
LINE_SIZE_MAX = 64 * 1024
_CONNECT_TIMEOUT_S = 3.0
_READ_TIMEOUT_S = 0.5
# gpsd reports every second, fix or not; a silent one has lost its receiver or hangs.
_SILENCE_S = 30.0
_WATCH = b'?WATCH={"enable":true,"json":true};\n'
_PREFIX = "gpsd://"
# TPV.status to GGA quality: gpsd tells 2 DGPS, 3 RTK fixed, 4 RTK float, 5 and 6 dead reckoning.
_QUALITY = {2: 2, 3: 4, 4: 5, 5: 6, 6: 6, 8: 8, 9: 3}


def is_gpsd(port: str) -> bool:
    """Whether a configured port is `gpsd://HOST:PORT`."""
    return port.startswith(_PREFIX)


class GpsdInput:
    """Watches one gpsd."""

    def __init__(self, port: str, counts: NmeaCounts, read_ms: Callable[[], int]) -> None:
        self._host, _, number = port.removeprefix(_PREFIX).rpartition(":")
        self._port = int(number)
        self._counts, self._read_ms = counts, read_ms
        self._sky: dict[str, Any] = {}
        self._has_fix = False

    def fixes(self) -> Generator[list[Fix], None, None]:
        """As GnssInput says. The first list is empty and says that the socket is open."""
        address = (self._host.strip("[]"), self._port)
        with socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S) as link:
            link.sendall(_WATCH)
            link.settimeout(_READ_TIMEOUT_S)
            yield []
            rest, heard_s = b"", time.monotonic()
            while True:
                try:
                    data = link.recv(16_384)
                except TimeoutError:
                    if time.monotonic() - heard_s > _SILENCE_S:
                        raise OSError("gpsd is silent") from None
                    yield []
                    continue
                if not data:
                    raise OSError("gpsd closed the connection")
                heard_s = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LINE_SIZE_MAX:
                    raise OSError("that is no gpsd: a line without end")
                at_ms = self._read_ms()
                yield [fix for line in lines for fix in self._take(line, at_ms)]

    def _take(self, line: bytes, at_ms: int) -> list[Fix]:
        counts = self._counts
        try:
            report = json.loads(line)
            kind = report["class"]
        except (ValueError, TypeError, KeyError, RecursionError):
            counts.noise += 1
            return []
        counts.sentences += 1
        if kind == "SKY":
            self._sky = report
        if kind != "TPV":
            return []
        try:
            fix = self._fix(report, at_ms)
        except (KeyError, ValueError, TypeError, OverflowError):
            counts.unreadable += 1
            return []
        if fix is None:
            counts.unfixed += 1
            counts.fixes_lost += self._has_fix
        else:
            counts.fixes += 1
        self._has_fix = fix is not None
        return [fix] if fix else []

    def _fix(self, report: dict[str, Any], at_ms: int) -> Fix | None:
        if report.get("mode", 0) < 2:  # 2 is a fix in the plane, 3 in space
            return None
        latitude_deg, longitude_deg = float(report["lat"]), float(report["lon"])
        if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180):
            raise ValueError("no place on earth")
        speed_m_s = _number(report.get("speed"))
        told = report.get("time")
        satellites = self._sky.get("uSat")
        values = {
            "latitude_deg": latitude_deg,
            "longitude_deg": longitude_deg,
            "is_located": True,
            "altitude_m": _number(report.get("altMSL", report.get("alt"))),
            "speed_kmh": None if speed_m_s is None else speed_m_s * 3.6,
            "heading_deg": _number(report.get("track")),
            "accuracy_m": _number(report.get("eph")),
            "hdop": _number(self._sky.get("hdop")),
            "satellites": None if satellites is None else int(satellites),
            "fix_quality": _QUALITY.get(report.get("status", 1), 1),
        }
        return Fix(None if told is None else parse_time(told), at_ms, values)


def _number(value: object) -> float | None:
    if value is None:
        return None
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError("no measurement")
    return number
