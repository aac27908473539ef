"""When a gateway gets its receipt: one, coalesced, as late as is still useful (pure).

`now_ms` here is of any clock that never jumps.
"""

from dataclasses import dataclass, replace

from greenhaul_protocols.receipt import Receipt

# At once when asked; these otherwise.
DRAINING_MS = 1_000
LIVE_MS = 60_000
# Blocks that come closer than this are a backlog: a live gateway sends one in 10 s.
BACKLOG_GAP_MS = 5_000

EpochKey = tuple[str, int]


@dataclass(slots=True)
class _Waiting:
    receipt: Receipt
    due_ms: int


class ReceiptSchedule:
    """The newest receipt of each gateway and epoch, until it is due."""

    def __init__(self) -> None:
        self._waiting: dict[EpochKey, _Waiting] = {}
        self._heard_ms: dict[EpochKey, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, receipt: Receipt, now_ms: int, *, is_asked: bool) -> None:
        """A newer receipt to send; it takes the place of one that waits, but not its due time."""
        key = (receipt.gateway, receipt.epoch)
        heard_ms = self._heard_ms.get(key)
        is_backlog = heard_ms is not None and now_ms - heard_ms < BACKLOG_GAP_MS
        self._heard_ms[key] = now_ms
        wait_ms = 0 if is_asked else DRAINING_MS if is_backlog else LIVE_MS
        waiting = self._waiting.setdefault(key, _Waiting(receipt, now_ms + wait_ms))
        # A newer receipt answers the hello of the one it takes the place of, too.
        hello_ms = receipt.hello_ms or waiting.receipt.hello_ms
        waiting.receipt = replace(receipt, hello_ms=hello_ms)
        waiting.due_ms = min(waiting.due_ms, now_ms + wait_ms)

    def due(self, now_ms: int) -> list[Receipt]:
        """Receipts whose time has come; they wait on until `sent`."""
        return [one.receipt for one in self._waiting.values() if one.due_ms <= now_ms]

    def sent(self, receipt: Receipt) -> None:
        """Forget a receipt that went out."""
        self._waiting.pop((receipt.gateway, receipt.epoch), None)

    def next_due_ms(self) -> int | None:
        """When the next receipt is due; None when none waits."""
        return min((one.due_ms for one in self._waiting.values()), default=None)

    def forget_idle(self, now_ms: int) -> None:
        """Drop what is only needed to tell a backlog, so that old epochs cost nothing."""
        self._heard_ms = {
            key: heard_ms
            for key, heard_ms in self._heard_ms.items()
            if now_ms - heard_ms < BACKLOG_GAP_MS
        }
