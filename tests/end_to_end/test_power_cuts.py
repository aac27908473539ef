"""kill -9 of edge and cloud, one at a time, in the middle of a run: nothing is lost."""

import json
import subprocess
import sys
from typing import Any


def test_what_terminals_were_promised_is_there_after_both_were_killed(
    chain: Any, until: Any
) -> None:
    ledger = chain.folder / "ledger.jsonl"
    fleet = subprocess.Popen(
        [
            sys.executable, "-m", "greenhaul_sim", "fleet", "--terminals", "20", "--seed", "7",
            "--to", chain.terminals, "--speed", "20", "--for", "24", "--drain", "60",
            "--ledger", str(ledger),
        ],
        cwd=chain.folder,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for name in ("edge", "cloud", "edge"):
            lines = acknowledged(ledger)
            until(
                lambda seen=lines: acknowledged(ledger) > seen + 40, f"reports before {name} dies"
            )
            chain.kill(name)
            chain.start_cloud() if name == "cloud" else chain.start_edge()
        assert fleet.wait(120) == 0, fleet.stderr and fleet.stderr.read()
    finally:
        fleet.kill()
        if fleet.stderr:
            fleet.stderr.close()
    assert acknowledged(ledger) > 200
    chain.await_drained()
    chain.sim(
        "verify", "--ledger", str(ledger), "--api", chain.url, "--token-file", "token",
        "--wait", "30",
    )  # fmt: skip
    (lane,) = (lane for lane in chain.status["lanes"] if lane["lane"] == 1)
    named = lane["stored"] + lane["duplicate"] + lane["quarantined"] + lane["dropped"]
    assert lane["appended"] == named + lane["waiting"]


def acknowledged(ledger: Any) -> int:
    """How many reports the terminals have an acknowledgement for."""
    if not ledger.exists():
        return 0
    return sum(
        1 for line in ledger.read_text().splitlines() if line.endswith("}") and json.loads(line)
    )
