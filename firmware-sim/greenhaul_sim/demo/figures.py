"""What the demo's line shows: the edge's account, the cloud's account, and what was found."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenhaul_protocols.errors import Unavailable
from greenhaul_sim.api import Api

_STATUS_TIMEOUT_S = 20.0

_SETTLED = ("stored", "duplicate", "quarantined", "dropped")


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of one gateway over all lanes of its open epoch."""

    appended: int
    waiting: int
    stored: int
    duplicate: int
    quarantined: int
    dropped: int

    @property
    def holds(self) -> bool:
        """The conservation law."""
        settled = self.stored + self.duplicate + self.quarantined + self.dropped
        return self.appended == settled + self.waiting

    def law(self) -> str:
        """The law with its numbers."""
        return (
            f"appended {self.appended} = stored {self.stored} + duplicate {self.duplicate} + "
            f"quarantined {self.quarantined} + dropped {self.dropped} + waiting {self.waiting}"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at everything."""

    online: int
    account: Account
    visits: int
    violations: int

    def line(self) -> str:
        """One line for people."""
        account = self.account
        return (
            f"trucks online {self.online} · appended {account.appended} · stored {account.stored}"
            f" · duplicate {account.duplicate} · waiting {account.waiting}"
            f" · visits {self.visits} · violations {self.violations}"
        )


def look(api: Api, edge_config: Path) -> Figures:
    """One look; the account is the edge's, so that its numbers are of one moment.

    Raises Unavailable.
    """
    features = api.get("/positions/latest")["features"]
    return Figures(
        online=sum(feature["properties"]["state"] != "offline" for feature in features),
        account=edge_account(edge_config),
        visits=sum(1 for _ in api.items("/visits")),
        violations=sum(1 for each in api.items("/violations") if each["state"] != "withdrawn"),
    )


def edge_account(edge_config: Path) -> Account:
    """The account as the edge has it from its receipts. Raises Unavailable."""
    lanes = _edge_lanes(edge_config)
    return Account(**{name: _total(lanes, name) for name in ("appended", "waiting", *_SETTLED)})


def joint_account(api: Api, edge_config: Path, gateway: str) -> Account:
    """What the edge appended and still holds, against what the cloud settled.

    Two witnesses, so it holds only while nothing is on its way. Raises Unavailable.
    """
    lanes = _edge_lanes(edge_config)
    epochs = api.get(f"/gateways/{gateway}")["epochs"]
    settled = [lane for epoch in epochs for lane in epoch["lanes"]]
    return Account(
        appended=_total(lanes, "appended"),
        waiting=_total(lanes, "waiting"),
        **{name: _total(settled, name) for name in _SETTLED},
    )


def _total(lanes: list[dict[str, Any]], name: str) -> int:
    return sum(lane[name] for lane in lanes)


def _edge_lanes(edge_config: Path) -> list[dict[str, Any]]:
    """The lanes of `greenhaul-edge status --json`. Raises Unavailable."""
    command = [sys.executable, "-m", "greenhaul_edge.main", "status", "--json"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [*command, "-c", str(edge_config)],
            capture_output=True,
            text=True,
            timeout=_STATUS_TIMEOUT_S,
            check=True,
        )
        lanes: list[dict[str, Any]] = json.loads(done.stdout)["lanes"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        said = getattr(error, "stderr", "") or ""
        raise Unavailable(f"greenhaul-edge status: {said.strip() or error}") from error
    return lanes
