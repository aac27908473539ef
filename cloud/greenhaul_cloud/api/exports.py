"""Tracks as text, a chunk at a time."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any

import numpy as np

from greenhaul_cloud.api.columns import json_text, number_texts, numbers_of, time_texts
from greenhaul_cloud.store.tracks import EXPORT_FIELDS, Float64s, TrackColumns
from greenhaul_protocols.catalogue import KIND_OF, Position, TimeQuality

# A line drawn over a longer silence would claim a way nobody knows.
GAP_MS_MAX = 120_000

_POSITION = KIND_OF[Position]
_QUALITIES = {quality.value: quality.name.lower() for quality in TimeQuality}
_SPECS = {spec.name: spec for spec in _POSITION.fields}
# What a GIS wants per vertex.
_OF_VERTEX = ("altitude_m", "speed_kmh", "heading_deg", "odometer_km")
VERTEX_FIELDS = ("latitude_deg", "longitude_deg", *_OF_VERTEX)

CSV_HEADER = ("vehicle_id", "device_time", *EXPORT_FIELDS, "received_time", "source")
RAW_FIELDS = tuple(spec.name for spec in _POSITION.fields if not spec.is_bytes)
RAW_HEADER = ("source", "device_time", "received_time", "stored_time", "time_quality", *RAW_FIELDS)


def csv_lines(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[str]:
    """CSV with a header; `fences evaluate --tracks` reads it."""
    yield _csv([CSV_HEADER])
    vehicle_cell = _csv_cell(vehicle_id)
    for chunk in chunks:
        source_cells = list(map(_csv_cell, chunk.sources))
        rows = zip(
            repeat(vehicle_cell, len(chunk)),
            time_texts(chunk.device_time_ms),
            *(_csv_cells(name, chunk.values[name]) for name in EXPORT_FIELDS),
            time_texts(chunk.received_time_ms),
            (source_cells[number] for number in chunk.source.tolist()),
            strict=True,
        )
        yield "\n".join(map(",".join, rows)) + "\n"


def raw_csv_lines(source: str, chunks: Iterable[Sequence[Sequence[Any]]]) -> Iterator[str]:
    """CSV of a source's positions; a row is (three times, time quality, *RAW_FIELDS)."""
    yield _csv([RAW_HEADER])
    source_cell = _csv_cell(source)
    for rows in chunks:
        device_times, received_times, stored_times, qualities, *fields = zip(*rows, strict=True)
        cells = zip(
            repeat(source_cell, len(rows)),
            *map(time_texts, (device_times, received_times, stored_times)),
            (_QUALITIES[quality] for quality in qualities),
            *map(_plain_cells, fields),
            strict=True,
        )
        yield "\n".join(map(",".join, cells)) + "\n"


def geojson_parts(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[str]:
    """A FeatureCollection, a feature for each run of one source without a gap."""
    yield '{"type":"FeatureCollection","features":['
    separator = ""
    for chunk in chunks:
        for run in runs_of(chunk):
            yield separator + _feature(vehicle_id, chunk, run)
            separator = ",\n"
    yield "]}\n"


def runs_of(chunk: TrackColumns) -> Iterator[slice]:
    """Uninterrupted runs of one source, in order."""
    is_break = np.diff(chunk.source) != 0
    is_break |= np.diff(chunk.device_time_ms) > GAP_MS_MAX
    borders = [0, *(np.flatnonzero(is_break) + 1).tolist(), len(chunk)]
    return (slice(first, end) for first, end in pairwise(borders))


def _feature(vehicle_id: str, chunk: TrackColumns, run: slice) -> str:
    latitude, longitude = (chunk.values[name][run] for name in ("latitude_deg", "longitude_deg"))
    vertices = np.column_stack((longitude, latitude)).tolist()
    is_line = len(vertices) > 1
    return json_text(
        {
            "type": "Feature",
            "geometry": {
                "type": "LineString" if is_line else "Point",
                "coordinates": vertices if is_line else vertices[0],
            },
            "properties": {
                "vehicle_id": vehicle_id,
                "source": chunk.sources[int(chunk.source[run.start])],
                "device_time": time_texts(chunk.device_time_ms[run]),
                **{name: chunk.values[name][run].tolist() for name in _OF_VERTEX},
            },
        }
    )


def _csv_cells(name: str, column: Float64s) -> list[str]:
    """(n,) numbers, an empty cell for NaN."""
    cells = number_texts(numbers_of(column, is_whole=_SPECS[name].per_unit == 1))
    for i in np.flatnonzero(np.isnan(column)).tolist():
        cells[i] = ""
    return cells


def _csv_cell(text: str) -> str:
    """A text that may hold commas and quotes."""
    return _csv([[text]])[:-1]


def _plain_cells(values: Sequence[float | None]) -> list[str]:
    """Numbers, true and false; an empty cell for None."""
    return ["" if text == "null" else text for text in number_texts(values)]


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
