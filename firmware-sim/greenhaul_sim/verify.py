"""The proof: every acknowledged reading is stored exactly once, or named as dropped.

A ledger line says what a terminal was told is safe. Two lines alike (same terminal, second, place
and speed) may be one reading or two: identity counts fields the ledger does not have. So a claim
made n times must be stored at least once and at most n times. A claim that is not stored must lie
in the window of a `Dropped` record, and each record accounts for no more readings than it names.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from greenhaul_protocols.errors import DecodeError, Rejected
from greenhaul_protocols.jt808.border import source_name
from greenhaul_protocols.times import format_time, parse_time
from greenhaul_sim.api import Api
from greenhaul_sim.drops import Drop, drop_of, unnamed
from greenhaul_sim.ledger import Claim, LedgerEntry, claim_from

# Of each fault, how many are shown.
SHOWN_MAX = 10


class Fault(NamedTuple):
    """A claim the store does not bear out."""

    source: str
    claim: Claim

    def line(self) -> str:
        """For people."""
        time_ms, latitude_e6, longitude_e6, speed_e1 = self.claim
        return (
            f"{self.source} {format_time(time_ms)} {latitude_e6 / 1e6:.6f} "
            f"{longitude_e6 / 1e6:.6f} {speed_e1 / 10:.1f} km/h"
        )


@dataclass(slots=True)
class Proof:
    """What was compared and what came of it."""

    terminals: int = 0
    acknowledged: int = 0  # lines of the ledger
    different: int = 0  # claims among them
    stored: int = 0  # claims found
    beyond: int = 0  # stored in the window without a line: sent, and the answer was lost
    named: int = 0  # claims not stored, within a gateway's record of what it gave up
    drops: list[Drop] = field(default_factory=list)  # those records
    missing: list[Fault] = field(default_factory=list)
    repeated: list[Fault] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every acknowledged reading is stored once, or dropped with a record."""
        return not self.repeated and not self.missing

    def text(self) -> str:
        """A few lines for people."""
        what = f"{self.acknowledged} acknowledged readings of {self.terminals} terminals"
        found = f"stored {self.stored}, missing {len(self.missing)}, repeated {len(self.repeated)}"
        beside = f"dropped with a record {self.named}, stored without a line {self.beyond}"
        lines = [f"{what} ({self.different} different)", f"{found}, {beside}"]
        shown: tuple[tuple[str, Sequence[Fault | Drop]], ...] = (
            ("missing", self.missing),
            ("repeated", self.repeated),
            ("dropped", self.drops),
        )
        for word, found_ones in shown:
            lines += [f"  {word}: {one.line()}" for one in found_ones[:SHOWN_MAX]]
            if len(found_ones) > SHOWN_MAX:
                lines.append(f"  {word}: and {len(found_ones) - SHOWN_MAX} more")
        lines.append("holds" if self.holds else "DOES NOT HOLD")
        return "\n".join(lines)


def verify(entries: Iterable[LedgerEntry], api: Api) -> Proof:
    """Compare a ledger with a collector's store. Raises Unavailable, Rejected, DecodeError."""
    claims: defaultdict[str, Counter[Claim]] = defaultdict(Counter)
    for entry in entries:
        claims[source_name(entry.terminal)][entry.claim] += 1
    proof = Proof(terminals=len(claims))
    for source, claimed in claims.items():
        first_ms = min(claim.device_time_ms for claim in claimed)
        last_ms = max(claim.device_time_ms for claim in claimed)
        _compare(proof, source, claimed, _stored(api, source, first_ms, last_ms))
    if proof.missing:
        _excuse(proof, api)
    return proof


def _excuse(proof: Proof, api: Api) -> None:
    """Take from the missing what gateways report as given up."""
    proof.drops = list(_drops(api))
    times_ms = [fault.claim.device_time_ms for fault in proof.missing]
    left = unnamed(times_ms, proof.drops)
    proof.named = len(proof.missing) - len(left)
    proof.missing = [proof.missing[place] for place in left]


def _compare(proof: Proof, source: str, claimed: Counter[Claim], stored: Counter[Claim]) -> None:
    proof.acknowledged += claimed.total()
    proof.different += len(claimed)
    for claim, times in claimed.items():
        if not stored[claim]:
            proof.missing.append(Fault(source, claim))
            continue
        proof.stored += 1
        if stored[claim] > times:
            proof.repeated.append(Fault(source, claim))
    proof.beyond += sum(times for claim, times in stored.items() if claim not in claimed)


def _stored(api: Api, source: str, first_ms: int, last_ms: int) -> Counter[Claim]:
    found: Counter[Claim] = Counter()
    for row in api.track_rows(source, first_ms, last_ms):
        try:
            speed = row["speed_kmh"]
            claim = claim_from(
                parse_time(row["device_time"]),
                float(row["latitude_deg"]),
                float(row["longitude_deg"]),
                float(speed) if speed else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DecodeError(f"track of {source}: {error!r} in {row}") from error
        found[claim] += 1
    return found


def _drops(api: Api) -> Iterator[Drop]:
    """Records of all gateways. Who may not see gateways sees none."""
    try:
        gateways = [str(gateway["id"]) for gateway in api.items("/gateways")]
        for gateway in gateways:
            for item in api.items(f"/gateways/{gateway}/dropped"):
                drop = drop_of(gateway, item)
                if drop is not None:
                    yield drop
    except Rejected:
        return
