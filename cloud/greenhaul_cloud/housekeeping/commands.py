"""The commands that keep a store: each says what it did in one line."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import CloudConfig, read_secret
from greenhaul_cloud.housekeeping.archive import read_archive, write_archive
from greenhaul_cloud.housekeeping.backup import back_up, restore
from greenhaul_cloud.housekeeping.moving import move_store
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.housekeeping.retention import Retention, retain
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import TIME_MS_MIN, parse_time


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `backup`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="to write; must not exist")


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `restore`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `archive`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of Parquet files, one a kind")
    parser.add_argument("--from", dest="from_time", metavar="TIME", help="device time, RFC 3339")
    parser.add_argument("--to", dest="to_time", metavar="TIME", help="device time, not included")
    parser.add_argument(
        "--read", action="store_true", help="put what is in the folder back into the store"
    )


def add_move_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `move-store`."""
    parser.add_argument("--to", required=True, metavar="URL", help="an empty PostgreSQL database")
    parser.add_argument(
        "--to-password-file", type=Path, metavar="FILE", help="a file of one line, its password"
    )


def run_backup(config: CloudConfig, args: argparse.Namespace) -> int:
    """Writes the store into a file, while it works."""
    now_ms = system_now_ms()
    with _shown() as progress, _opened(config, now_ms) as store:
        back_up(store, args.file, now_ms, progress)
    print(f"{args.file}: {args.file.stat().st_size:,} bytes, the store as it was just now")
    return 0


def run_restore(config: CloudConfig, args: argparse.Namespace) -> int:
    """Makes the store from such a file."""
    with _shown() as progress:
        restore(config.store.full_url, args.file, system_now_ms(), progress)
    print(f"{config.store.url}: as {args.file} has it; gateways send what came after")
    return 0


def run_archive(config: CloudConfig, args: argparse.Namespace) -> int:
    """Writes a period into Parquet files, or reads such files back."""
    if args.read and (args.from_time or args.to_time):
        raise ConfigError("--read: takes all that is in the folder, without --from and --to")
    from_ms = TIME_MS_MIN if args.from_time is None else _instant("--from", args.from_time)
    to_ms = None if args.to_time is None else _instant("--to", args.to_time)
    if to_ms is not None and from_ms > to_ms:
        raise ConfigError("--to: lies before --from")
    now_ms = system_now_ms()
    with _shown() as progress, _opened(config, now_ms, may_make=args.read) as store:
        if args.read:
            rows = read_archive(store, args.folder, now_ms, progress)
        else:
            rows = write_archive(store, args.folder, from_ms, to_ms, progress)
    what = "rows the store did not have" if args.read else "rows"
    print(f"{args.folder}: {sum(rows.values()):,} {what}{_listed(rows)}")
    return 0


def run_move(config: CloudConfig, args: argparse.Namespace) -> int:
    """Moves an SQLite store into an empty PostgreSQL database."""
    try:
        target = make_url(args.to)
    except ArgumentError:
        raise ConfigError("--to: write postgresql://HOST/NAME") from None
    if target.password:
        raise ConfigError("--to: keep the password out of the URL: --to-password-file")
    if args.to_password_file:
        target = target.set(password=read_secret(args.to_password_file, "--to"))
    with _shown() as progress:
        full_url = target.render_as_string(hide_password=False)
        rows = move_store(config.store.full_url, full_url, system_now_ms(), progress)
    print(f"{args.to}: {sum(rows.values()):,} rows, compared{_listed(rows)}")
    print(f'now say in the settings: [store] url = "{args.to}"')
    return 0


def run_retain(config: CloudConfig, _args: argparse.Namespace) -> int:
    """Deletes now what a collector would delete within the hour."""
    days = config.retention.days(config.store.retention_days)
    now_ms = system_now_ms()
    with _opened(config, now_ms) as store:
        gone = retain(store, Retention(days, quarantine=days.pop("quarantine")), now_ms)
    print(f"{sum(gone.values()):,} rows deleted{_listed(gone)}")
    return 0


def _opened(config: CloudConfig, now_ms: int, *, may_make: bool = False) -> closing[Store]:
    url, timezone = config.store.full_url, config.derive.timezone
    return closing(open_store(url, now_ms, timezone=timezone, may_make=may_make))


@contextmanager
def _shown() -> Iterator[Progress]:
    progress = Progress()
    try:
        yield progress
    finally:
        progress.clear()


def _instant(option: str, text: str) -> int:
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{option}: {text!r} is no time like 2026-11-20T00:00:00Z") from error


def _listed(rows: dict[str, int]) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in rows.items() if count)
    return f": {told}" if told else ""
