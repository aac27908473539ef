"""The live stream: one look at the store a second, shared by all who watch.

Nothing is queued for anybody. The hub keeps a *board* (the newest word about every vehicle, with
the beat at which it changed) and the tail of the feed; a watcher remembers how far it has seen.
One that is slow misses beats, not news: it gets the newest positions, and every violation, since
those are read from the feed by number.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, Gauge

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.findings import feed_end, read_feed, violations_by_id
from greenhaul_cloud.store.gateways import activity
from greenhaul_cloud.store.positions import Whereabouts, where_everybody
from greenhaul_cloud.store.scope import EVERYTHING, Scope
from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

# A human eye and a browser both have enough with one change a second.
BEAT_S = 1.0
# One event of 500 positions is about 150 kB; more come as several events.
ITEMS_MAX = 500
# One look takes at most this many feed entries; the rest come with the next beat.
FEED_STEP_MAX = 2000


@dataclass(frozen=True, slots=True)
class _Look:
    """What the store said at one moment."""

    everybody: list[Whereabouts]
    gateways: dict[str, dict[str, Any]]
    feed_end: int


@dataclass(slots=True)
class Entry:
    """The newest word about one subject, and the beat at which it last changed."""

    value: Any
    word: Any
    beat: int
    text: str | None = None


def texts_of(entries: Sequence[Entry], render: Callable[[list[Any]], list[str]]) -> list[str]:
    """Values as watchers get them, each rendered once for all of them."""
    unwritten = [entry for entry in entries if entry.text is None]
    rendered = render([entry.value for entry in unwritten])
    for entry, text in zip(unwritten, rendered, strict=True):
        entry.text = text
    return [entry.text for entry in entries if entry.text is not None]


@dataclass(slots=True)
class Board:
    """The newest word about every subject."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def update(self, beat: int, words: Iterable[tuple[str, Any, Any]]) -> None:
        """Takes (subject, value, word): `word` changes when watchers must hear of it."""
        found: dict[str, Entry] = {}
        for subject, value, word in words:
            known = self.entries.get(subject)
            is_same = known is not None and known.word == word
            found[subject] = known if known and is_same else Entry(value, word, beat)
        self.entries = found

    def since(self, beat: int) -> list[Entry]:
        """What changed after a beat."""
        return [entry for entry in self.entries.values() if entry.beat > beat]


class Hub:
    """Looks at the store once a beat while anybody watches. Lives in one event loop."""

    def __init__(
        self, store: Store, now_ms: Callable[[], int], registry: CollectorRegistry
    ) -> None:
        self._streams = Gauge("greenhaul_live_streams", "Open streams of /live", registry=registry)
        self.positions = Board()
        self.gateways = Board()
        self.feed_end = 0
        self.beat = 0
        self.is_stopping = False
        self._store = store
        self._now_ms = now_ms
        self._watching = 0
        self._wanted = asyncio.Event()
        self._beaten = asyncio.Event()

    @property
    def watching(self) -> int:
        """How many streams are open."""
        return self._watching

    async def run(self) -> None:
        """Looks until stopped."""
        while not self.is_stopping:
            await self._wanted.wait()
            try:
                look = await run_sync(self._look)
            except Unavailable as error:
                log.warning("event=live_look_put_off reason=%s", error)
            except Exception:  # top of the task: one bad row must not end the stream for all
                log.exception("event=live_look_failed")
            else:
                self._take(look)
            await asyncio.sleep(BEAT_S)

    def stop(self) -> None:
        """Ends every stream; `run` returns after its beat."""
        self.is_stopping = True
        self._wanted.set()
        self._beaten.set()

    def enter(self) -> None:
        """Somebody watches."""
        self._watching += 1
        self._streams.inc()
        self._wanted.set()

    def leave(self) -> None:
        """Somebody watches no longer."""
        self._watching -= 1
        self._streams.dec()
        if self._watching == 0 and not self.is_stopping:
            self._wanted.clear()

    async def next_beat(self, wait_s: float) -> bool:
        """Waits for news; False when there were none for so long."""
        beaten = self._beaten
        try:
            await asyncio.wait_for(beaten.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    async def violations_since(self, after: int, scope: Scope) -> tuple[int, list[Any]]:
        """How far the feed was read, and violations that changed there and the scope admits."""
        if after >= self.feed_end:
            return after, []
        return await run_sync(self._read_violations, after, scope)

    def _look(self) -> _Look:
        with self._store.read() as connection:
            return _Look(
                where_everybody(connection, EVERYTHING, self._now_ms()),
                activity(connection),
                feed_end(connection),
            )

    def _take(self, look: _Look) -> None:
        self.beat += 1
        self.positions.update(self.beat, ((one.key, one, _word(one)) for one in look.everybody))
        self.gateways.update(
            self.beat, ((key, figures, figures) for key, figures in look.gateways.items())
        )
        self.feed_end = look.feed_end
        beaten, self._beaten = self._beaten, asyncio.Event()
        beaten.set()

    def _read_violations(self, after: int, scope: Scope) -> tuple[int, list[Any]]:
        with self._store.read() as connection:
            entries = read_feed(connection, after, FEED_STEP_MAX)
            if not entries:
                return after, []
            ids = _violation_ids(entries)
            rows = violations_by_id(connection, ids)
        seen = [rows[key] for key in ids if key in rows]
        return entries[-1]["id"], [row for row in seen if scope.admits(row["enterprise_id"])]


def _violation_ids(entries: Sequence[Any]) -> list[int]:
    """Violations the feed speaks of, each once, in order of its last mention."""
    ids: dict[int, None] = {}
    for entry in entries:
        if entry["topic"] == "violations":
            violation_id = entry["body"]["violation_id"]
            ids.pop(violation_id, None)
            ids[violation_id] = None
    return list(ids)


def _word(one: Whereabouts) -> tuple[Any, ...]:
    seen = (one.device_time, one.digest, one.source, one.plate, one.enterprise_id)
    return (*seen, one.state, one.is_violating)
