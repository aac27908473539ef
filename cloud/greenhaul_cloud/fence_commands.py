"""`fences import` and `fences export`: fences between files and the store."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import CloudConfig
from greenhaul_cloud.derive.trial import DIFFERENCES_MAX, Difference, try_version
from greenhaul_cloud.fence_export import write_features
from greenhaul_cloud.fence_file import parse_properties, read_features
from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.store import accounts
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import newest_features, planned_version, put_fence
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.jt808.declaration import REVISIONS

# Who did it, in the audit: somebody with a shell here.
_SHELL = "(command line)"

_FORMATS = "GeoJSON, KML, WKT (a line: id, tab, geometry) or .hex, frames of JT/T 808, one a line"


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `fences import`."""
    parser.add_argument("file", type=Path, metavar="FILE", help=_FORMATS)
    parser.add_argument(
        "--properties",
        metavar="JSON",
        help='for fences that do not say, as \'{"rules": [{"rule": "no_entry"}]}\'',
    )
    _add_revision(parser, None, "of frames that do not say it")
    past = parser.add_mutually_exclusive_group()
    past.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; a JSON line for each visit and violation that would be new or other",
    )
    past.add_argument(
        "--apply",
        action="store_true",
        help="let fences begin more than an hour ago, though vehicles were about since then",
    )


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `fences export`."""
    parser.add_argument("file", type=Path, metavar="FILE", help=_FORMATS)
    parser.add_argument("fences", nargs="*", metavar="FENCE", help="ids; all fences without any")
    parser.add_argument(
        "--terminal", default="0", metavar="PHONE", help="whom frames are addressed to"
    )
    _add_revision(parser, 2019, "of frames (default: 2019)")


def _add_revision(parser: argparse.ArgumentParser, default: int | None, text: str) -> None:
    parser.add_argument("--revision", type=int, choices=REVISIONS, default=default, help=text)


def run_import(config: CloudConfig, args: argparse.Namespace) -> int:
    """Puts every fence of a file, all or none."""
    given = parse_properties(args.properties)
    features = read_features(args.file, given, revision=args.revision)
    _refuse_doubles(args.file, features)
    now_ms = system_now_ms()
    with _opened(config) as store:
        try:
            if args.dry_run:
                return _try(store, config.derive.calendar, features, now_ms)
            with store.write() as connection:
                told = Counter(_put(connection, f, now_ms, args.apply) for f in features)
                action = "fences.apply" if args.apply else "fences.import"
                detail = {"fences": told.total()}
                accounts.record(connection, now_ms, _SHELL, action, str(args.file), detail)
        except FeatureError as error:
            raise Rejected(f"{args.file}: {error}") from error
    counts = ", ".join(f"{told[word]} {word}" for word in _WORDS if told[word])
    print(f"{told.total()} fences: {counts or 'none'}")
    return 0


def run_export(config: CloudConfig, args: argparse.Namespace) -> int:
    """Writes fences, as their newest versions have them, into a file."""
    with _opened(config) as store, store.read() as connection:
        features = newest_features(connection)
    if args.fences:
        known = {feature["properties"]["id"]: feature for feature in features}
        if strange := sorted(set(args.fences) - known.keys()):
            raise Rejected(f"no fence {strange[0]!r}")
        features = [known[fence_id] for fence_id in args.fences]
    write_features(args.file, features, phone=args.terminal, revision=args.revision)
    print(f"{args.file}: {len(features)} fences")
    return 0


_WORDS = ("new", "changed", "as before")


def _put(connection: Connection, feature: Any, now_ms: int, is_applied: bool) -> str:
    done = put_fence(connection, feature, now_ms, _SHELL, is_applied=is_applied)
    new, changed, as_before = _WORDS
    if done.is_new_fence:
        return new
    return changed if done.is_new_version else as_before


def _try(store: Store, calendar: str, features: Sequence[Any], now_ms: int) -> int:
    """What an import would change of the past, as far as it is listed."""
    with store.read() as connection:
        told = _differences(connection, calendar, features, now_ms)
        found = list(islice(told, DIFFERENCES_MAX + 1))
    for fence_id, difference in found[:DIFFERENCES_MAX]:
        print(json.dumps({"fence_id": fence_id, **asdict(difference)}, ensure_ascii=False))
    more = f"; only the first {DIFFERENCES_MAX}" if len(found) > DIFFERENCES_MAX else ""
    count = min(len(found), DIFFERENCES_MAX)
    print(f"{count} visits and violations would differ{more}; nothing written", file=sys.stderr)
    return 0


def _differences(
    connection: Connection, calendar: str, features: Sequence[Any], now_ms: int
) -> Iterator[tuple[str, Difference]]:
    for feature in features:
        version = planned_version(connection, feature, now_ms)
        if version is not None:
            for difference in try_version(connection, version, now_ms, calendar):
                yield version.fence_id, difference


def _refuse_doubles(path: Path, features: Sequence[Any]) -> None:
    """The second fence of a name would be taken for a change of the first."""
    named = [f.get("properties") or {} for f in features if isinstance(f, dict)]
    counts = Counter(str(properties["id"]) for properties in named if "id" in properties)
    for fence_id, count in counts.most_common(1):
        if count > 1:
            raise Rejected(f"{path}: {count} fences have the id {fence_id!r}")


def _opened(config: CloudConfig) -> closing[Store]:
    return closing(open_store(config.store.full_url, system_now_ms()))
