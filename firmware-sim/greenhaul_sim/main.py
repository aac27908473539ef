"""The command line of greenhaul-sim."""

import argparse
import asyncio
import logging
import sys

from greenhaul_protocols.errors import ConfigError, GreenhaulError
from greenhaul_sim.commands import demo, fleet, replay, streets, verify

COMMANDS = (demo, fleet, replay, verify, streets)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 well, 1 the answer is no, 2 cannot start."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    try:
        code: int = options.run(options)
    except ConfigError as error:
        print(f"greenhaul-sim: {error}", file=sys.stderr)
        return 2
    except GreenhaulError as error:
        print(f"greenhaul-sim: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greenhaul-sim",
        description="Fleets of JT/T 808 terminals, and the proof of what arrived.",
        epilog="example: greenhaul-sim demo",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
