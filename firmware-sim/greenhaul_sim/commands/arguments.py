"""Arguments that mean the same in every command. A wrong one ends with code 2."""

import argparse
import re
from datetime import datetime

from greenhaul_sim.link import Address

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, example: str
) -> argparse.ArgumentParser:
    """A command with its help and an example in it."""
    return commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: greenhaul-sim {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def address(text: str) -> Address:
    """HOST:PORT; brackets around an IPv6 address."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in 127.0.0.1:8808")
    return Address(host.strip("[]"), int(port))


def positive(text: str) -> float:
    """A number above zero."""
    number = not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def not_negative(text: str) -> float:
    """A finite number, zero or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return number


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count")
    return int(text)


def phone(text: str) -> str:
    """A terminal's number: digits, 20 at most."""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 to 20 digits")
    return text


def instant(text: str) -> datetime:
    """An ISO 8601 time, with or without zone."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time, as in 2026-11-20T08:00:00+08:00"
        ) from error
