"""greenhaul-edge terminals: which box has which number, and letting another one have it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from greenhaul_edge.config import Config, load_config
from greenhaul_edge.sources.terminal_registry import Binding, TerminalRegistry
from greenhaul_protocols.times import format_time

_EXAMPLES = """\
examples:
  greenhaul-edge terminals ls -c edge.toml --json
  greenhaul-edge terminals release 13912345678 -c edge.toml
"""


def registry_file(config: Config) -> Path:
    """Where the bindings lie: beside the outbox's file, not in it."""
    return config.outbox.path / "terminals.sqlite"


def add(commands: Any) -> None:
    """The `terminals` commands, to the sub-parsers of greenhaul-edge."""
    group = commands.add_parser(
        "terminals",
        help="which terminals are bound; let another box have a number",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(required=True, metavar="COMMAND")
    listing = group.add_parser("ls", help="bound terminals", epilog=_EXAMPLES)
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(command=_list)
    releasing = group.add_parser(
        "release", help="let any box register with this number", epilog=_EXAMPLES
    )
    releasing.add_argument("phone", metavar="PHONE", help="the terminal's number")
    releasing.set_defaults(command=_release)
    for one in (listing, releasing):
        one.formatter_class = argparse.RawDescriptionHelpFormatter
        one.add_argument(
            "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
        )


def _list(options: argparse.Namespace) -> int:
    path = registry_file(load_config(options.config))
    if not path.exists():
        return 0
    registry = TerminalRegistry(path)
    registry.open()
    try:
        for binding in registry.bindings():
            print(json.dumps(_as_json(binding), ensure_ascii=False) if options.json else
                  _as_text(binding))  # fmt: skip
    finally:
        registry.close()
    return 0


def _release(options: argparse.Namespace) -> int:
    path = registry_file(load_config(options.config))
    number = options.phone.lstrip("0")
    was_bound = False
    if path.exists():
        registry = TerminalRegistry(path)
        registry.open()
        try:
            was_bound = registry.release(number, time.time_ns() // 1_000_000).result()
        finally:
            registry.close()
    print(f"{number}: {'released; any box may register now' if was_bound else 'not bound'}")
    return 0 if was_bound else 1


def _as_json(binding: Binding) -> dict[str, Any]:
    return {
        "phone": binding.phone,
        "is_bound": binding.released_ms is None,
        "maker_id": binding.maker,
        "model": binding.model,
        "terminal_id": binding.terminal_id,
        "plate_colour": binding.plate_colour,
        "plate": binding.plate,
        "bound_at": format_time(binding.bound_ms),
        "released_at": binding.released_ms and format_time(binding.released_ms),
        "revision": binding.revision or None,
        "heartbeat_s": binding.heartbeat_s or None,
    }


def _as_text(binding: Binding) -> str:
    state = "bound" if binding.released_ms is None else "released"
    return (
        f"{binding.phone:<20} {state:<8} {binding.revision or '?':<4} maker={binding.maker!r} "
        f"terminal={binding.terminal_id!r} plate={binding.plate!r} since "
        f"{format_time(binding.bound_ms)}"
    )
