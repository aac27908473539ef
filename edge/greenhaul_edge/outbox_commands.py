"""greenhaul-edge outbox ls|verify|export|repair: what lies in an outbox, and making it whole."""

import argparse
import fcntl
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import load_config
from greenhaul_edge.outbox import inspection
from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.epochs import text_of
from greenhaul_edge.outbox.keeper import Keeper
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_protocols.catalogue import KIND_OF, Reading
from greenhaul_protocols.errors import ConfigError, Unavailable
from greenhaul_protocols.times import format_time

WELL, NO = 0, 1

_EXAMPLES = """\
examples:
  greenhaul-edge outbox ls -c edge.toml                  what is held, lane by lane
  greenhaul-edge outbox verify -c edge.toml              0 if all of it can be read
  greenhaul-edge outbox export -c edge.toml > all.jsonl  every reading, one a line
  greenhaul-edge outbox repair -c edge.toml              with the agent stopped
"""


def add(commands: Any) -> None:
    """The command, to the sub-parsers of greenhaul-edge."""
    outbox = commands.add_parser(
        "outbox",
        help="list, verify, export or repair what the outbox holds",
        description="The first three work beside a running agent and change nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = outbox.add_subparsers(required=True, metavar="COMMAND")

    def add_one(
        name: str, command: Callable[[argparse.Namespace], int], what: str
    ) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = parts.add_parser(
            name,
            help=what,
            description=what,
            epilog=f"example: greenhaul-edge outbox {name} -c edge.toml",
        )
        one.add_argument(
            "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
        )
        one.set_defaults(command=command)
        return one

    one = add_one("ls", _ls, "what is held, lane by lane, and what was put aside")
    one.add_argument("--json", action="store_true", help="as one JSON object")
    one = add_one("verify", _verify, "read everything; exit 0 only if it is what was written")
    one.add_argument("--json", action="store_true", help="as one JSON object")
    one = add_one("export", _export, "print every reading as one JSON object a line")
    one.add_argument("--source", help="only of this source")
    one.add_argument(
        "--file", type=Path, help="a file that was put aside; whatever is readable in it"
    )
    one = add_one(
        "repair", _repair, "with the agent stopped: put a damaged file aside, salvage what it holds"
    )
    one.add_argument("--file", type=Path, help="salvage this file that was put aside once more")


def _ls(options: argparse.Namespace) -> int:
    contents = _answered(inspection.contents_of, load_config(options.config).outbox_file)
    if options.json:
        told = asdict(contents) | {"epoch": text_of(contents.epoch)}
        print(json.dumps(told, default=str))
        return WELL
    print(f"gateway {contents.gateway}   epoch {text_of(contents.epoch)}")
    for lane in contents.lanes:
        waiting = sum(last - first + 1 for first, last in lane.waiting)
        print(
            f"lane {lane.lane}: {lane.readings} readings in {lane.rows} rows, {lane.size} bytes, "
            f"{format_time(lane.from_ms)} to {format_time(lane.to_ms)}; {waiting} waiting"
        )
        for first, last in lane.waiting[:10]:
            print(f"  {first} to {last}")
        if len(lane.waiting) > 10:
            print(f"  and {len(lane.waiting) - 10} ranges more")
    if contents.unclocked_rows:
        print(f"{contents.unclocked_rows} rows wait for the time")
    for aside in contents.asides:
        print(f"put aside: {aside.name}, {aside.stat().st_size} bytes")
    return WELL


def _verify(options: argparse.Namespace) -> int:
    verdict = _answered(inspection.verify, load_config(options.config).outbox_file)
    if options.json:
        print(json.dumps(asdict(verdict)))
    else:
        for fault in verdict.faults:
            print(f"damaged: {fault}")
        said = "; see `greenhaul-edge outbox repair`" if verdict.faults else ", all as written"
        print(f"{verdict.rows} rows, {verdict.readings} readings{said}")
    return NO if verdict.faults else WELL


def _export(options: argparse.Namespace) -> int:
    path = options.file or load_config(options.config).outbox_file
    if not path.is_file():
        raise Unavailable(f"{path}: no such file")
    rows = inspection.salvaged_rows_of(path) if options.file else inspection.rows_of(path)
    damaged = 0
    try:
        for row in rows:
            damaged += not row.is_intact
            for number, reading in inspection.readings_of(row):
                if options.source in (None, reading.source):
                    print(json.dumps({"lane": row.lane, "number": number, **_plain(reading)}))
    except (sqlite3.Error, DamagedFile) as error:
        print(f"damaged: {error}", file=sys.stderr)
        damaged += 1
    return NO if damaged else WELL


def _repair(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    path = config.outbox_file
    with _stopped(path.parent):
        if options.file:
            _put_up_again(path, options.file)
        clock = Clock()
        bounds = Bounds(config.outbox.size_max_mb << 20)
        opened = open_outbox(path, config.gateway.id, clock.boot, clock.now_ms(), bounds)
        before = opened.ledger.lane(1).next
        with closing(Keeper(opened, clock)) as keeper:
            while keeper.tidy(is_idle=True):
                if sys.stderr.isatty():
                    print(".", end="", flush=True, file=sys.stderr)
            held = keeper.file.ledger.lane(1).next
        print(f"{held - before} readings appended; put aside: {len(asides(path))} files")
        waiting = asides(path, "damaged")
        for aside in waiting:
            print(f"{aside.name}: the outbox is full; the agent goes on when there is room")
    return NO if waiting else WELL


def _put_up_again(path: Path, aside: Path) -> None:
    """Call a file damaged, so that it is salvaged."""
    known = [one for one in asides(path) if one.name == aside.name]
    if not known:
        names = ", ".join(one.name for one in asides(path)) or "none"
        raise ConfigError(f"--file {aside}: not a file that was put aside; there are: {names}")
    # Under another name: what is noted about this one is that all of it was searched.
    highest = max(int(one.name.rpartition("-")[2]) for one in asides(path))
    to = path.with_name(f"{path.name}.damaged-{highest + 1}")
    for suffix in ("-wal", ""):
        part = known[0].with_name(known[0].name + suffix)
        if part.exists():
            part.rename(to.with_name(to.name + suffix))


@contextmanager
def _stopped(folder: Path) -> Iterator[None]:
    """Hold the lock an agent holds while it runs."""
    if not folder.is_dir():
        raise Unavailable(f"{folder}: there is no outbox yet")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(f"{folder}: an agent runs on this outbox; stop it first") from None
        yield


def _answered(question: Callable[[Path], Any], path: Path) -> Any:
    try:
        return question(path)
    except (sqlite3.Error, DamagedFile) as error:
        raise Unavailable(f"{path}: {error}; see `greenhaul-edge outbox repair`") from error


def _plain(reading: Reading) -> dict[str, object]:
    """A reading for JSON: times as text, bytes as hexadecimal, nothing that is not known."""
    found: dict[str, object] = {"kind": KIND_OF[type(reading)].name}
    for one in fields(reading):
        value = getattr(reading, one.name)
        if value is None:
            continue
        name = one.name
        if name in ("device_time_ms", "received_time_ms"):
            name, value = name.removesuffix("_ms"), format_time(value)
        elif isinstance(value, bytes):
            value = value.hex()
        elif name in ("time_quality", "flags"):
            value = int(value)
        elif name == "epoch":
            value = text_of(value)
        found[name] = value
    return found
