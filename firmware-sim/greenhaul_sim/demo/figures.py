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

    appended: int  # by the edge
    waiting: int  # by the edge
    stored: int  # these four by the cloud
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


def look(api: Api, edge_config: Path, gateway: str) -> Figures:
    """Ask edge and cloud. Raises Unavailable."""
    features = api.get("/positions/latest")["features"]
    return Figures(
        online=sum(feature["properties"]["state"] != "offline" for feature in features),
        account=read_account(api, edge_config, gateway),
        visits=sum(1 for _ in api.items("/visits")),
        violations=sum(1 for each in api.items("/violations") if each["state"] != "withdrawn"),
    )


def read_account(api: Api, edge_config: Path, gateway: str) -> Account:
    """Both sides of the law. Raises Unavailable."""
    lanes = edge_status(edge_config)["lanes"]
    epochs = api.get(f"/gateways/{gateway}")["epochs"]
    settled = {
        name: sum(lane[name] for epoch in epochs for lane in epoch["lanes"]) for name in _SETTLED
    }
    return Account(
        appended=sum(lane["appended"] for lane in lanes),
        waiting=sum(lane["waiting"] for lane in lanes),
        **settled,
    )


def edge_status(edge_config: Path) -> dict[str, Any]:
    """What `greenhaul-edge status --json` says. Raises Unavailable."""
    command = [sys.executable, "-m", "greenhaul_edge.main", "status", "--json"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [*command, "-c", str(edge_config)],
            capture_output=True,
            text=True,
            timeout=_STATUS_TIMEOUT_S,
            check=True,
        )
        status: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", "") or ""
        raise Unavailable(f"greenhaul-edge status: {said.strip() or error}") from error
    return status
