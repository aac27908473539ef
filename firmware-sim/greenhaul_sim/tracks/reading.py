"""Which reader a file wants."""

import gzip
from pathlib import Path

from greenhaul_protocols.errors import ConfigError, DecodeError, Unavailable
from greenhaul_sim.tracks.csv_points import read_csv
from greenhaul_sim.tracks.gpx import read_gpx
from greenhaul_sim.tracks.json_points import read_json
from greenhaul_sim.tracks.nmea import read_nmea
from greenhaul_sim.tracks.point import LocalTimes, Reader, Track

# A drive of a year at one point a second is half of this; more is another kind of file.
FILE_SIZE_MAX = 4 * 1024**3

FORMATS: dict[str, Reader] = {
    "gpx": read_gpx,
    "json": read_json,
    "nmea": read_nmea,
    "csv": read_csv,
}


def read_content(path: Path) -> bytes:
    """A file's bytes, unpacked if it is gzip. Raises Unavailable."""
    try:
        if path.stat().st_size > FILE_SIZE_MAX:
            raise Unavailable(f"{path}: larger than {FILE_SIZE_MAX} bytes")
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError) as error:
        raise Unavailable(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def read_track(path: Path, times: LocalTimes) -> Track:
    """The points of a file. Raises DecodeError, ConfigError, Unavailable."""
    content = read_content(path)
    text = content.decode("utf-8-sig", errors="replace")
    try:
        track = FORMATS[format_of(text)](path.name, text, times)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not track.points and not track.unreadable:
        raise DecodeError(f"{path}: no points")
    return track


def format_of(text: str) -> str:
    """The name of the reader for a text, by how it begins."""
    head = text[:65_536].lstrip()
    if head.startswith("<"):
        return "gpx"
    if head.startswith(("[", "{")):
        return "json"
    if any(mark in head for mark in ("RMC,", "GGA,")) and "$" in head:
        return "nmea"
    return "csv"
