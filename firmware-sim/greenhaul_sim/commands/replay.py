"""greenhaul-sim replay: recorded drives and frames, sent again."""

import argparse
import asyncio
import contextlib
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time
from greenhaul_sim.commands.arguments import (
    Commands,
    add_command,
    address,
    instant,
    not_negative,
    phone,
)
from greenhaul_sim.frame_replay import FramePlayer, FrameResult, sort_frames
from greenhaul_sim.ledger import LedgerWriter
from greenhaul_sim.replay import Planned, Player, ReplayResult, plan, shift_of
from greenhaul_sim.tracks import LocalTimes, read_track
from greenhaul_sim.tracks.frames import has_frames, read_frames
from greenhaul_sim.tracks.point import zone_of
from greenhaul_sim.tracks.reading import read_content

_DATE_ORDERS = {"dmy": True, "mdy": False}


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "replay",
        "Send recorded drives (GPX, CSV, JSON, NMEA) as a terminal's reports, point for point, "
        "or JT/T 808 frames (hexadecimal or binary) as they are.",
        "replay drive.gpx --to 127.0.0.1:8808 --speed 0 --ledger sent.jsonl",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--to", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument(
        "--speed",
        type=not_negative,
        default=10.0,
        metavar="X",
        help="times the recorded pace (default 10); 0: as fast as acknowledged",
    )
    parser.add_argument(
        "--start", type=instant, metavar="TIME", help="where tracks without usable dates begin"
    )
    parser.add_argument(
        "--shift-dated", action="store_true", help="begin dated tracks at --start as well"
    )
    parser.add_argument(
        "--timezone", metavar="ZONE", help="of times that have none: Europe/Dublin or +08:00"
    )
    parser.add_argument("--date-order", choices=_DATE_ORDERS, help="of dates like 04/05/2021")
    parser.add_argument(
        "--terminal",
        type=phone,
        metavar="PHONE",
        help="send all files as this terminal (default: one a file, from its name)",
    )
    parser.add_argument("--revision", type=int, choices=(2011, 2013, 2019), default=2013)
    parser.add_argument(
        "--register", action="store_true", help="frames: register as their terminals first"
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="a JSON line a report taken")
    parser.add_argument(
        "--drain",
        type=not_negative,
        default=20.0,
        metavar="S",
        help="give up S seconds after the last acknowledgement (default 20)",
    )
    parser.set_defaults(run=run)


@dataclass(slots=True)
class Drive:
    """One track, ready to go."""

    phone: str
    planned: list[Planned]
    result: ReplayResult


def run(options: argparse.Namespace) -> int:
    """0 when every point and frame that could be sent was taken, else 1."""
    times = LocalTimes(
        zone_of(options.timezone) if options.timezone else None,
        _DATE_ORDERS[options.date_order] if options.date_order else None,
    )
    drives: list[Drive] = []
    frame_files: list[tuple[Path, bytes]] = []
    for path in options.files:
        content = read_content(path)
        if has_frames(content):
            frame_files.append((path, content))
        else:
            drives.append(_drive(path, options, times))
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(LedgerWriter(options.ledger)) if options.ledger else None
        results = asyncio.run(_play_all(options, drives, frame_files, ledger))
    for result in results:
        print(result.line())
    return 0 if all(result.is_complete for result in results) else 1


def _drive(path: Path, options: argparse.Namespace, times: LocalTimes) -> Drive:
    track = read_track(path, times)
    start_ms = None
    if options.start is not None:
        if options.start.tzinfo is None and times.zone is None:
            raise ConfigError("--start has no zone; write it with Z or an offset")
        start_ms = times.to_ms(options.start)
    shift_ms = shift_of(track, start_ms, shift_dated=options.shift_dated)
    if shift_ms:
        assert start_ms is not None
        print(
            f"greenhaul-sim: {track.name}: times are shifted, the first point to "
            f"{format_time(start_ms)}",
            file=sys.stderr,
        )
    elif start_ms is not None and track.is_dated:
        print(
            f"greenhaul-sim: {track.name}: keeps its own dates (--shift-dated moves them)",
            file=sys.stderr,
        )
    result = ReplayResult(track.name)
    return Drive(options.terminal or phone_of(path), plan(track, shift_ms, result), result)


def phone_of(path: Path) -> str:
    """A terminal's number from a file's name: the same file is the same terminal."""
    return f"138{zlib.crc32(path.name.encode()) % 100_000_000:08d}"


async def _play_all(
    options: argparse.Namespace,
    drives: list[Drive],
    frame_files: list[tuple[Path, bytes]],
    ledger: LedgerWriter | None,
) -> list[ReplayResult | FrameResult]:
    by_phone: dict[str, list[Drive]] = {}
    for drive in drives:
        by_phone.setdefault(drive.phone, []).append(drive)

    async def play(phone: str, own: list[Drive]) -> None:
        player = Player(phone, options.revision, options.to, ledger)
        for drive in own:  # one terminal cannot be in two places
            await player.play(
                drive.planned, drive.result, speed=options.speed, drain_s=options.drain
            )

    async with asyncio.TaskGroup() as group:
        for phone, own in by_phone.items():
            group.create_task(play(phone, own))
    results: list[ReplayResult | FrameResult] = [drive.result for drive in drives]
    for path, content in frame_files:
        result = FrameResult(path.name)
        player = FramePlayer(options.to, result, ledger, registers=options.register)
        for (phone, is_2019), parcels in sort_frames(read_frames(content), result).items():
            await player.play(phone, is_2019, parcels)
        results.append(result)
    return results
