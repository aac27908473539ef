"""greenhaul-edge: the agent on a gateway."""

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from greenhaul_edge import input_commands, outbox_commands
from greenhaul_edge.assembly import assemble, status_file_of
from greenhaul_edge.config import load_config, schema
from greenhaul_edge.sample import SAMPLE
from greenhaul_edge.sources import terminal_commands
from greenhaul_edge.status import as_json, as_proof, as_text, read_outbox, read_running
from greenhaul_protocols.errors import ConfigError, Unavailable

log = logging.getLogger("greenhaul_edge")

WELL, NO, CANNOT_START = 0, 1, 2

_EXAMPLES = """\
examples:
  greenhaul-edge init -c edge.toml     write a configuration to start from
  greenhaul-edge check -c edge.toml    say what is wrong with it, or nothing
  greenhaul-edge doctor -c edge.toml   say what is wrong with the gateway, and what to do
  greenhaul-edge run -c edge.toml      run until Ctrl-C
  greenhaul-edge status -c edge.toml --proof
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. 0 well, 1 the answer is no, 2 cannot start."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ConfigError as error:
        print(f"greenhaul-edge: {error}", file=sys.stderr)
        return CANNOT_START
    except Unavailable as error:
        print(f"greenhaul-edge: {error}", file=sys.stderr)
        return NO
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WELL
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greenhaul-edge",
        description="Reads terminals, GNSS and CAN; keeps every reading until the cloud has it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], what: str, example: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name, help=what, description=what, epilog=f"example: greenhaul-edge {name} {example}"
        )
        one.add_argument(
            "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
        )
        one.set_defaults(command=command)
        return one

    one = add("run", _run, "run the agent until SIGTERM or Ctrl-C", "-c edge.toml")
    one.add_argument("-v", "--verbose", action="store_true", help="log more")
    one = add("check", _check, "check the configuration; opens nothing else", "-c edge.toml")
    one.add_argument("--schema", action="store_true", help="print the JSON schema instead")
    one = add("status", _status, "what the outbox holds, running or not", "-c edge.toml --json")
    one.add_argument("--json", action="store_true", help="as one JSON object")
    one.add_argument(
        "--proof",
        action="store_true",
        help="print appended = stored + duplicate + quarantined + dropped + waiting; "
        "exit 0 only if it holds",
    )
    one = add("doctor", _doctor, "say what is wrong with this gateway, and what to do", "-v")
    one.add_argument("-v", "--verbose", action="store_true", help="also say what is well")
    one.add_argument("--json", action="store_true", help="as one JSON object")
    add("init", _init, "write a configuration that `check` accepts", "-c edge.toml")
    outbox_commands.add(commands)
    terminal_commands.add(commands)
    input_commands.add(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    if options.schema:
        print(json.dumps(schema(), indent=2))
        return WELL
    config = load_config(options.config)
    print(f"{options.config}: good; gateway {config.gateway.id}, {len(config.sources)} sources")
    return WELL


def _init(options: argparse.Namespace) -> int:
    try:
        with options.config.open("x", encoding="utf-8") as file:
            file.write(SAMPLE)
    except OSError as error:
        raise ConfigError(f"{options.config}: {error.strerror}") from error
    print(f"{options.config}: written; see `greenhaul-edge run -c {options.config}`")
    return WELL


def _status(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    status = read_outbox(config.outbox_file)
    running = read_running(status_file_of(config))
    size_max = config.outbox.size_max_mb << 20
    if options.json:
        print(json.dumps(as_json(status, running, size_max)))
    else:
        print(as_proof(status) if options.proof else as_text(status, running, size_max))
    return NO if options.proof and not status.is_balanced else WELL


def _doctor(options: argparse.Namespace) -> int:
    from greenhaul_edge.doctor import examination  # the agent itself does not need it

    findings = examination.examine_gateway(options.config)
    if options.json:
        print(json.dumps(examination.as_json(findings)))
    else:
        print(examination.as_text(findings, is_verbose=options.verbose))
    return WELL if examination.is_well(findings) else NO


def _run(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s level=%(levelname)s %(name)s %(message)s",
    )
    try:
        config.outbox.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{config.path}: outbox.path: {error}") from error
    with _only_one(config.outbox.path):
        agent = assemble(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        signal.signal(signal.SIGHUP, lambda *_: agent.reload())
        agent.run()
    return WELL


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two agents on one outbox would number readings twice."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: another agent runs on this outbox") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
