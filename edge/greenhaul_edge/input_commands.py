"""greenhaul-edge test-source and replay: does an input stand what trucks do; what a log gives."""

import argparse
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from greenhaul_edge.assembly import EdgeParts
from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Config, load_config
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources import Source
from greenhaul_protocols.catalogue import KINDS, Position, Reading
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time

# Stands for the time of a fix whose receiver told no date.
UNDATED_MS = -1


def add(commands: Any) -> None:
    """The commands, to the sub-parsers of greenhaul-edge."""
    one = commands.add_parser(
        "test-source",
        help="try a configured source with noise, disconnection, overload and wrong clocks",
        description="Runs the source with a played line and an outbox of its own; the real port, "
        "bus, terminals and outbox are left alone. 0: it stood everything.",
        epilog="example: greenhaul-edge test-source gnss -c edge.toml",
    )
    one.add_argument("name", metavar="NAME", help="of the section [sources.NAME]")
    one.add_argument(
        "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
    )
    one.add_argument("--json", action="store_true", help="one JSON object a trial")
    one.set_defaults(command=_test_source)
    two = commands.add_parser(
        "replay",
        help="print the readings that a recorded NMEA or CAN log gives, as JSON lines",
        description="With --mapping the log is CAN (candump, asc, blf, trc, csv; .gz), else NMEA. "
        "Times are the log's; the last line counts.",
        epilog="example: greenhaul-edge replay drive.log --mapping j1939-hvess",
    )
    two.add_argument("log", type=Path, help="the file")
    two.add_argument("--mapping", type=Path, help="mapping file, or the name of a shipped one")
    two.add_argument("--channel", default="", help="of a CAN log with several buses")
    two.add_argument("--cadence", type=float, default=1.0, metavar="S", help="default: 1 s")
    two.set_defaults(command=_replay)


def _test_source(options: argparse.Namespace) -> int:
    from greenhaul_edge.conformance.examination import examine  # the agent does not need it

    config = load_config(options.config)
    is_well = True
    for outcome in examine(config, options.name, make_source):
        is_well &= outcome.fault is None
        if options.json:
            print(json.dumps(asdict(outcome)), flush=True)
        else:
            verdict = outcome.figures if outcome.fault is None else f"FAILED: {outcome.fault}"
            print(f"{outcome.trial}: {verdict}", flush=True)
    return 0 if is_well else 1


def make_source(config: Config, name: str, outbox: Outbox, clock: Clock) -> Source:
    """As the agent makes it."""
    return EdgeParts(outbox, clock).source(config, name)


def _replay(options: argparse.Namespace) -> int:
    try:
        readings, counts = _can(options) if options.mapping else _nmea(options.log)
        for reading in readings:
            print(json.dumps(_as_json(reading)))
        print(json.dumps({"counts": asdict(counts)}))
    except OSError as error:
        raise ConfigError(f"{options.log}: {error.strerror or error}") from error
    return 0


def _can(options: argparse.Namespace) -> tuple[Iterator[Reading], Any]:
    from greenhaul_edge.sources.can_logs import read_log, replay
    from greenhaul_edge.sources.can_mapping import load_mapping
    from greenhaul_edge.sources.can_pace import CanPace
    from greenhaul_edge.sources.can_state import CanState

    mapping = load_mapping(options.mapping)
    cadence_ms = max(1, round(options.cadence * 1000))
    state = CanState(mapping, "replay/can", 3 * cadence_ms)
    pace = CanPace(state, "replay/can", cadence_ms)
    channel = options.channel or mapping.settings.channel
    return replay(read_log(options.log), state, pace, channel=channel), state.counts


def _nmea(log: Path) -> tuple[Iterator[Reading], Any]:
    from greenhaul_edge.sources.nmea import NmeaAssembler, NmeaCounts, NmeaLine

    data = gzip.decompress(log.read_bytes()) if log.suffix == ".gz" else log.read_bytes()
    counts = NmeaCounts()
    line, assembler = NmeaLine(counts), NmeaAssembler(counts)

    def read() -> Iterator[Reading]:
        sentences = [*line.feed(data), *line.finish()]
        for fix in [f for one in sentences for f in assembler.feed(one, 0)] + assembler.end():
            told_ms = UNDATED_MS if fix.utc_ms is None else fix.utc_ms
            yield Position(
                source="replay/gnss", device_time_ms=told_ms, received_time_ms=told_ms, **fix.values
            )

    return read(), counts


def _as_json(reading: Reading) -> dict[str, Any]:
    kind = next(kind for kind in KINDS.values() if kind.reading_class is type(reading))
    said = {
        one.name: float(f"{value:.10g}") if isinstance(value, float) else value
        for one in fields(reading)
        if one.name in {spec.name for spec in kind.fields}
        and (value := getattr(reading, one.name)) is not None
    }
    at_ms = reading.device_time_ms
    device_time = None if at_ms == UNDATED_MS else format_time(at_ms)
    return {"kind": kind.name, "device_time": device_time, **said}
