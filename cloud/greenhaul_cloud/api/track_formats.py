"""Tracks for other people's tools: GPX 1.1, KML 2.2, OGC Moving Features JSON, Parquet.

Each takes what `exports.csv_lines` takes. A run is uninterrupted and of one source; across a gap
no line is drawn.
"""

from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from greenhaul_cloud.api.columns import json_text, number_texts, time_texts
from greenhaul_cloud.api.exports import runs_of
from greenhaul_cloud.arrow import load_arrow
from greenhaul_cloud.store.tracks import EXPORT_FIELDS, TrackColumns

# What a point of GPX and KML has, and one of Moving Features.
POINT_FIELDS = ("latitude_deg", "longitude_deg", "altitude_m")
MOVING_FIELDS = ("latitude_deg", "longitude_deg", "speed_kmh")

_PART_BYTES = 1 << 16
_GPX = "http://www.topografix.com/GPX/1/1"
_KML, _GX = "http://www.opengis.net/kml/2.2", "http://www.google.com/kml/ext/2.2"
_PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>\n'


def gpx_parts(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[str]:
    """One track, a segment for each run."""
    yield f'{_PROLOGUE}<gpx version="1.1" creator="greenhaul" xmlns="{_GPX}"><trk>'
    yield f"<name>{escape(vehicle_id)}</name>\n"
    for chunk, run in _runs(chunks):
        yield "<trkseg>" + "".join(
            f'<trkpt lat="{latitude}" lon="{longitude}">'
            f"{'' if altitude == 'null' else f'<ele>{altitude}</ele>'}<time>{time}</time></trkpt>\n"
            for time, longitude, latitude, altitude in _points(chunk, run)
        )
        yield "</trkseg>\n"
    yield "</trk></gpx>\n"


def kml_parts(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[str]:
    """A document with a placemark for each run."""
    name = escape(vehicle_id)
    yield f'{_PROLOGUE}<kml xmlns="{_KML}" xmlns:gx="{_GX}"><Document><name>{name}</name>\n'
    for chunk, run in _runs(chunks):
        points = list(_points(chunk, run))
        yield f"<Placemark><name>{name}</name><gx:Track>\n"
        yield "".join(f"<when>{time}</when>\n" for time, *_ in points)
        # clamped to the ground, so an altitude nobody measured harms nothing
        yield "".join(
            f"<gx:coord>{longitude} {latitude} {altitude.replace('null', '0')}</gx:coord>\n"
            for _, longitude, latitude, altitude in points
        )
        yield "</gx:Track></Placemark>\n"
    yield "</Document></kml>\n"


def mfjson_parts(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[str]:
    """A FeatureCollection, a moving point for each run (OGC 19-045r3)."""
    yield '{"type":"FeatureCollection","features":['
    separator = ""
    for chunk, run in _runs(chunks):
        times = time_texts(chunk.device_time_ms[run])
        longitudes, latitudes = (chunk.values[n][run] for n in ("longitude_deg", "latitude_deg"))
        feature = {
            "type": "Feature",
            "temporalGeometry": {
                "type": "MovingPoint",
                "datetimes": times,
                "coordinates": np.column_stack((longitudes, latitudes)).tolist(),
                "interpolation": "Linear",
            },
            "temporalProperties": _speeds(chunk, run, times),
            "properties": {"vehicle_id": vehicle_id, "source": _source(chunk, run)},
        }
        yield separator + json_text(feature)
        separator = ",\n"
    yield "]}\n"


def parquet_parts(vehicle_id: str, chunks: Iterable[TrackColumns]) -> Iterator[bytes]:
    """A file of the CSV's columns, a row group a chunk; whole before its first byte goes out,
    since a Parquet file ends with its directory."""
    pa, parquet = load_arrow()
    time = pa.timestamp("ms", tz="UTC")
    names = ("vehicle_id", "device_time", *EXPORT_FIELDS, "received_time", "source")
    types = {"vehicle_id": pa.string(), "device_time": time, "received_time": time,
             "source": pa.string()}  # fmt: skip
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in names])
    with TemporaryFile() as file:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for chunk in chunks:
                columns: list[Any] = [
                    [vehicle_id] * len(chunk),
                    chunk.device_time_ms,
                    *(chunk.values[name] for name in EXPORT_FIELDS),
                    chunk.received_time_ms,
                    [chunk.sources[number] for number in chunk.source.tolist()],
                ]
                # NaN is what a source did not say
                arrays = [
                    pa.array(column, field.type, from_pandas=True)
                    for field, column in zip(schema, columns, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        file.seek(0)
        while data := file.read(_PART_BYTES):
            yield data


def _speeds(chunk: TrackColumns, run: slice, times: list[str]) -> list[dict[str, object]]:
    """Reported speed where there is one: a measure has no nulls."""
    known = [
        (time, speed)
        for time, speed in zip(times, chunk.values["speed_kmh"][run].tolist(), strict=True)
        if speed == speed  # not NaN
    ]
    if not known:
        return []
    datetimes, values = zip(*known, strict=True)
    measure = {"type": "Measure", "form": "KMH", "values": values, "interpolation": "Linear"}
    return [{"datetimes": datetimes, "speed_kmh": measure}]


def _runs(chunks: Iterable[TrackColumns]) -> Iterator[tuple[TrackColumns, slice]]:
    for chunk in chunks:
        for run in runs_of(chunk):
            yield chunk, run


def _points(chunk: TrackColumns, run: slice) -> Iterator[tuple[str, str, str, str]]:
    """Time, longitude, latitude and altitude (`null`: not said) of each reading of a run."""
    names = ("longitude_deg", "latitude_deg", "altitude_m")
    columns = (number_texts(chunk.values[name][run].tolist()) for name in names)
    return zip(time_texts(chunk.device_time_ms[run]), *columns, strict=True)


def _source(chunk: TrackColumns, run: slice) -> str:
    return chunk.sources[int(chunk.source[run.start])]
