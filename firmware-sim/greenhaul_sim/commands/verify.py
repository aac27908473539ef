"""greenhaul-sim verify: is everything there that was acknowledged?"""

import argparse
import os
import time
from pathlib import Path

from greenhaul_protocols.errors import ConfigError, Unavailable
from greenhaul_sim.api import Api
from greenhaul_sim.commands.arguments import Commands, add_command, not_negative
from greenhaul_sim.ledger import LedgerEntry, read_ledger
from greenhaul_sim.verify import Proof, verify

TOKEN_VARIABLE = "GREENHAUL_TOKEN"  # noqa: S105 - its name, not its value

_POLL_S = 1.0


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "verify",
        "Hold a collector's store against a ledger: exit 0 only when every acknowledged reading "
        "is stored exactly once or named in a Dropped record.",
        "verify --ledger sent.jsonl --api http://127.0.0.1:8080 --token-file token --wait 30",
    )
    parser.add_argument(
        "--ledger", type=Path, required=True, action="append", metavar="FILE", help="repeatable"
    )
    parser.add_argument("--api", required=True, metavar="URL")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"an API token that may see all sources; default: ${TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--wait", type=not_negative, default=0.0, metavar="S", help="try again for S seconds"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 when the proof holds, else 1."""
    api = Api(options.api, _token(options.token_file))
    entries = [entry for path in options.ledger for entry in read_ledger(path)]
    if not entries:
        print("the ledger has no lines: nothing was acknowledged, nothing is proven")
        return 1
    proof = prove(entries, api, options.wait)
    print(proof.text())
    return 0 if proof.holds else 1


def prove(entries: list[LedgerEntry], api: Api, wait_s: float) -> Proof:
    """Verify until it holds or `wait_s` is over; the last proof. Raises Unavailable at the end."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            proof = verify(entries, api)
            if proof.holds or time.monotonic() >= deadline:
                return proof
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        time.sleep(min(_POLL_S, max(deadline - time.monotonic(), 0.0)))


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE)
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"--token-file {path}: {error.strerror}") from error
