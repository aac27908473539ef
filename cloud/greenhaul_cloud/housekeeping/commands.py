"""The commands that keep a store: each says what it did in one line."""

import argparse
from pathlib import Path

from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import CloudConfig
from greenhaul_cloud.housekeeping.backup import back_up, restore
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.store.engine import open_store


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `backup`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="to write; must not exist")


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `restore`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")


def run_backup(config: CloudConfig, args: argparse.Namespace) -> int:
    """Writes the store into a file, while it works."""
    progress, now_ms = Progress(), system_now_ms()
    store = open_store(config.store.full_url, now_ms)
    try:
        back_up(store, args.file, now_ms, progress)
    finally:
        store.close()
        progress.clear()
    print(f"{args.file}: {args.file.stat().st_size:,} bytes, the store as it was just now")
    return 0


def run_restore(config: CloudConfig, args: argparse.Namespace) -> int:
    """Makes the store from such a file."""
    progress = Progress()
    try:
        restore(config.store.full_url, args.file, system_now_ms(), progress)
    finally:
        progress.clear()
    print(f"{config.store.url}: as {args.file} has it; gateways send what came after")
    return 0
