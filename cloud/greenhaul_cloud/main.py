"""greenhaul-cloud: the command line."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greenhaul_cloud import commands, evaluate, fence_commands
from greenhaul_cloud.auth.principal import Role
from greenhaul_cloud.config import CloudConfig, load_config
from greenhaul_cloud.housekeeping import commands as housekeeping
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable

PROGRAM = "greenhaul-cloud"
CONFIG_DEFAULT = Path("cloud.toml")
# A fold of its own gives way to collectors on its machine: gateways wait for their receipts.
FOLD_NICENESS = 10
Act = Callable[[argparse.Namespace], int]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, what it does, an example, its arguments."""

    words: str
    help: str
    example: str
    act: Act
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _parser: None


def _configured(act: Callable[[CloudConfig, argparse.Namespace], int]) -> Act:
    """An act on the settings of -c."""
    return lambda args: act(load_config(args.config), args)


def _running(*, has_collector: bool = False, has_api: bool = False, folds: bool = False) -> Act:
    """An act that lasts until a signal."""

    def act(config: CloudConfig, args: argparse.Namespace) -> int:
        from greenhaul_cloud import service  # a second of imports the short commands can do without

        if folds:
            os.nice(FOLD_NICENESS)
        service.run(
            config,
            has_collector=has_collector,
            has_api=has_api,
            folds=folds or (has_collector and config.derive.in_collector),
            ready_file=args.ready_file,
        )
        return 0

    return _configured(act)


def _ready_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help='written when all is up: {"api": "http://127.0.0.1:8080"}; gone when it ends',
    )


def _user_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--role", required=True, choices=[role.value for role in Role])
    parser.add_argument("--enterprise", metavar="ID", help="whose vehicles a manager sees")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument(
        "--password-file", type=Path, metavar="FILE", help="a file of one line, the password"
    )
    secret.add_argument("--password-stdin", action="store_true", help="the first line of stdin")


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--name", required=True, help="what it is for, to tell tokens apart")
    parser.add_argument("--days", type=int, help="how long it is good; without it until revoked")


def _gateway_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--sources",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what it may carry beside its own inputs; a final * is any rest ('*', '808:*')",
    )
    parser.add_argument(
        "--broker-users",
        type=Path,
        metavar="FILE",
        help="Mosquitto's password file, to enter the gateway there as well",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="the gateway's password: read if the file exists, else made and written there",
    )


def _broker_user_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="@collector, or a gateway's id")
    parser.add_argument(
        "--users", type=Path, required=True, metavar="FILE", help="Mosquitto's password file"
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="the password: read if the file exists, else made and written there",
    )


COMMANDS = (
    Command(
        "serve",
        "collector, API and console in one process",
        "serve -c cloud.toml",
        _running(has_collector=True, has_api=True),
        _ready_arguments,
    ),
    Command(
        "collect",
        "the collector alone: from the broker into the store, and the fold",
        "collect -c cloud.toml",
        _running(has_collector=True),
        _ready_arguments,
    ),
    Command(
        "derive",
        "the fold alone, beside collectors with derive.in_collector = false",
        "derive -c cloud.toml",
        _running(folds=True),
        _ready_arguments,
    ),
    Command(
        "api",
        "API and console alone",
        "api -c cloud.toml",
        _running(has_api=True),
        _ready_arguments,
    ),
    Command(
        "migrate",
        "bring the database to this version's schema",
        "migrate -c cloud.toml",
        _configured(commands.migrate_store),
    ),
    Command(
        "check",
        "check the settings and say what the store is; opens no port or broker",
        "check -c cloud.toml",
        _configured(commands.check),
    ),
    Command(
        "user add",
        "enter a user",
        "user add lin --role regulator --password-file lin.password",
        _configured(commands.add_user),
        _user_arguments,
    ),
    Command(
        "token create",
        "print a new bearer token of a user, this once",
        "token create lin --name reports --days 90",
        _configured(commands.create_token),
        _token_arguments,
    ),
    Command(
        "gateway add",
        "let a gateway in, or change what it may carry",
        "gateway add gw-17 --sources '808:*'",
        _configured(commands.add_gateway),
        _gateway_arguments,
    ),
    Command(
        "broker add-user",
        "enter a user into Mosquitto's password file",
        "broker add-user @collector --users users --password-file collector.password",
        commands.add_broker_user,
        _broker_user_arguments,
    ),
    Command(
        "fences import",
        "put every fence of a GeoJSON, KML or WKT file, or of frames, all or none",
        "fences import fences.geojson",
        _configured(fence_commands.run_import),
        fence_commands.add_import_arguments,
    ),
    Command(
        "fences export",
        "write fences as GeoJSON, KML or WKT, or as frames that set them at a terminal",
        "fences export fences.geojson",
        _configured(fence_commands.run_export),
        fence_commands.add_export_arguments,
    ),
    Command(
        "fences evaluate",
        "visits and violations of tracks in a file; uses no store",
        "fences evaluate --fences fences.geojson --tracks tracks.csv --jsonl",
        evaluate.run,
        evaluate.add_arguments,
    ),
    Command(
        "backup",
        "write the store into one file, while it works",
        "backup greenhaul-2026-11-20.backup",
        _configured(housekeeping.run_backup),
        housekeeping.add_backup_arguments,
    ),
    Command(
        "restore",
        "make the store of -c from a backup; there must be none yet",
        "restore greenhaul-2026-11-20.backup",
        _configured(housekeeping.run_restore),
        housekeeping.add_restore_arguments,
    ),
    Command(
        "archive",
        "write a period into Parquet files, or read such files back",
        "archive november --from 2026-11-01T00:00:00+08:00 --to 2026-12-01T00:00:00+08:00",
        _configured(housekeeping.run_archive),
        housekeeping.add_archive_arguments,
    ),
    Command(
        "move-store",
        "move the SQLite store of -c into an empty PostgreSQL database",
        "move-store --to postgresql://greenhaul@127.0.0.1/greenhaul",
        _configured(housekeeping.run_move),
        housekeeping.add_move_arguments,
    ),
    Command(
        "retain",
        "delete what was kept long enough now; collectors do it every hour",
        "retain -c cloud.toml",
        _configured(housekeeping.run_retain),
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="The collector of greenhaul: store, fences, API and console.",
        epilog=f"example: {PROGRAM} serve -c cloud.toml",
    )
    first = parser.add_subparsers(required=True)
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command in COMMANDS:
        group, _, leaf = command.words.rpartition(" ")
        if group and group not in groups:
            groups[group] = first.add_parser(group, help=f"{group} …").add_subparsers(required=True)
        holder = groups[group] if group else first
        one = holder.add_parser(leaf, help=command.help, description=command.help)
        command.add_arguments(one)
        one.epilog = f"example: {PROGRAM} {command.example}"
        one.add_argument(
            "-c",
            "--config",
            type=Path,
            default=CONFIG_DEFAULT,
            metavar="FILE",
            help=f"settings (default: {CONFIG_DEFAULT})",
        )
        one.set_defaults(command=command)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs a command: 0 well, 1 the answer is no, 2 it cannot start, 130 interrupted."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
        stream=sys.stderr,
    )
    # one line a migration step is news only to who writes migrations
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    command: Command = args.command
    try:
        return command.act(args)
    except (ConfigError, Unavailable) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except Rejected as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before or after the part that waits for signals
        return 130


if __name__ == "__main__":
    sys.exit(main())
