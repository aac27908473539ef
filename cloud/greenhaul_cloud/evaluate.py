"""`greenhaul-cloud fences evaluate`: fences and tracks from files, visits as lines.

The same engine as the collector's, without a store: each vehicle's track is folded from scratch.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from greenhaul_cloud.fence_file import parse_properties, read_features
from greenhaul_cloud.fences.feature import FeatureError, parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import NEVER_MS, Fence, FenceVersion
from greenhaul_cloud.fold.fold import fold_path
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.path import Path as TrackPath
from greenhaul_cloud.fold.windows import scope_of, windows_of
from greenhaul_cloud.rules.wanting import can_want
from greenhaul_cloud.track_file import VehicleTrack, read_tracks
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--fences",
        type=Path,
        required=True,
        metavar="FILE",
        help="GeoJSON features as for the API, KML or WKT",
    )
    parser.add_argument(
        "--properties",
        metavar="JSON",
        help='for fences that do not say, as \'{"datum": "gcj02", "confirm_s": 0}\'',
    )
    parser.add_argument(
        "--tracks",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV: vehicle_id, device_time, latitude_deg, longitude_deg and, if known, speed_kmh, "
        "heading_deg, odometer_km, energy, class, tags; any order, doubles allowed",
    )
    parser.add_argument(
        "--as-of",
        metavar="TIME",
        help="judge as things stood then (RFC 3339); default: the last device_time",
    )
    parser.add_argument(
        "--jsonl", action="store_true", help="JSON, one visit a line, instead of a table"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command. Raises ConfigError for files and arguments that cannot be used."""
    as_of_ms = _as_of(args.as_of)
    fences = read_fences(args.fences, parse_properties(args.properties))
    evaluate(fences, args.tracks, as_of_ms, sys.stdout, is_jsonl=args.jsonl)
    return 0


def evaluate(
    fences: list[Fence],
    tracks_path: Path,
    as_of_ms: int | None,
    out: TextIO,
    *,
    is_jsonl: bool = True,
) -> int:
    """Write every visit, by vehicle, time and fence; returns how many. Raises ConfigError."""
    tracks = read_tracks(tracks_path)
    if as_of_ms is None:
        as_of_ms = max((int(t.track.device_time_ms[-1]) for t in tracks.values()), default=0)
    index = FenceIndex([version for fence in fences for version in fence.versions])
    count = 0
    for vehicle_id in sorted(tracks):
        for line in evaluate_vehicle(vehicle_id, tracks[vehicle_id], fences, index, as_of_ms):
            out.write((json.dumps(line, ensure_ascii=False) if is_jsonl else _text(line)) + "\n")
            count += 1
    return count


def evaluate_vehicle(
    vehicle_id: str,
    vehicle: VehicleTrack,
    fences: list[Fence],
    index: FenceIndex,
    as_of_ms: int,
) -> Iterator[dict[str, Any]]:
    """The lines of one vehicle, by time and fence."""
    path = TrackPath(vehicle.track.between(-NEVER_MS, as_of_ms + 1), index)
    found: list[tuple[int, str, dict[str, Any]]] = []
    touched = path.touched_fences()
    for fence in fences:
        # Of the other fences there is nothing to say, and they are most: not even when they bind.
        if fence.fence_id not in touched and not can_want(fence):
            continue
        windows = windows_of(fence, scope_of(fence, vehicle.attributes))
        result = fold_path(path, windows, as_of_ms)
        for visit in result.visits:
            broken = [v for v in result.violations if v.visit_entered_ms == visit.entered_ms]
            found.append((visit.entered_ms, fence.fence_id, line_of(visit, broken)))
        found += [
            (missed.began_ms, fence.fence_id, absence_line_of(missed))
            for missed in result.violations
            if missed.visit_entered_ms is None
        ]
    for _, fence_id, line in sorted(found, key=lambda row: row[:2]):
        yield {"vehicle_id": vehicle_id, "fence_id": fence_id, **line}


def line_of(visit: Visit, violations: list[Violation]) -> dict[str, Any]:
    """A visit and its violations, as JSON."""
    return {
        "fence_version": visit.fence_version,
        "entered_at": format_time(visit.entered_ms),
        "entered_by": visit.entered_by.value,
        "left_at": _instant(visit.left_ms),
        "left_by": visit.left_by.value,
        "entered_certainty": visit.entered_certainty.value,
        "left_certainty": visit.left_certainty and visit.left_certainty.value,
        "certainty": visit.certainty.value,
        "violations": [violation_of(violation) for violation in violations],
    }


def absence_line_of(violation: Violation) -> dict[str, Any]:
    """A violation for want of a visit, as JSON: a line without the visit."""
    return {
        "fence_version": violation.fence_version,
        **dict.fromkeys(_OF_VISIT),
        "certainty": violation.certainty.value,
        "violations": [violation_of(violation)],
    }


_OF_VISIT = (
    "entered_at", "entered_by", "left_at", "left_by", "entered_certainty", "left_certainty",
)  # fmt: skip


def violation_of(violation: Violation) -> dict[str, Any]:
    """A violation, as JSON."""
    window = violation.window
    return {
        "rule": violation.rule.value,
        "began_at": format_time(violation.began_ms),
        "ended_at": _instant(violation.ended_ms),
        "certainty": violation.certainty.value,
        "window": window and {"began_at": _instant(window[0]), "ended_at": _instant(window[1])},
        "detail": violation.detail,
    }


def read_fences(path: Path, properties: Mapping[str, Any] | None = None) -> list[Fence]:
    """Fences of a file, by id; features that share an id are versions, by `valid_from`.

    properties: for features that do not say. Raises ConfigError that names the file and feature.
    """
    features = read_features(path, properties)
    by_id: dict[str, list[FenceVersion]] = {}
    for number, feature in enumerate(features, 1):
        try:
            version = parse_feature(feature, default_id=f"feature-{number}")
        except FeatureError as error:
            raise ConfigError(f"{path}: feature {number}: {error}") from error
        by_id.setdefault(version.fence_id, []).append(version)
    return [_numbered(versions) for _, versions in sorted(by_id.items())]


def _numbered(versions: list[FenceVersion]) -> Fence:
    ordered = Fence.of(versions).versions
    return Fence.of(replace(version, version=n) for n, version in enumerate(ordered, 1))


def _as_of(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise ConfigError(
            f"--as-of: {text!r} is not a time like 2026-11-20T08:00:00Z: {error}"
        ) from error


def _instant(time_ms: int | None) -> str | None:
    """RFC 3339; None for an end that is not known or not there."""
    if time_ms is None or not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        return None
    return format_time(time_ms)


def _text(line: dict[str, Any]) -> str:
    """A line for people: who, where, from, to, how certainly, what was broken."""
    ends = (
        f"{line['entered_at'] or '-'} ({line['entered_by'] or 'missing'})",
        f"{line['left_at'] or '…'} ({line['left_by'] or 'missing'})",
    )
    broken = " ".join(violation["rule"] for violation in line["violations"]) or "-"
    return "\t".join((line["vehicle_id"], line["fence_id"], *ends, line["certainty"], broken))
