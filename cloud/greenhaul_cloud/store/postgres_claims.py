"""Claims as advisory locks of a session of their own.

The server ends the session, and with it the claims, of a holder that dies (its socket closes),
whose machine vanishes (keepalive), or that hangs (`idle_session_timeout`).
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from greenhaul_cloud.store.claims import Space
from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

Connect = Callable[..., psycopg.Connection[Any]]

# From the last packet of a machine that vanished to the end of its session: 3 s + 3 × 1 s.
_KEEPALIVE = "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3"
_CONNECT_S_MAX = 3


class PostgresClaims:
    """Advisory locks; connects when first asked, and again after a loss."""

    def __init__(self, connect: Connect, idle_s: float) -> None:
        """connect: opens a session, given libpq's parameters beside those of the store's URL."""
        self._connect, self._idle_ms = connect, round(idle_s * 1000)
        self._lock = threading.Lock()
        self._session: psycopg.Connection[Any] | None = None
        self._held: set[tuple[Space, int]] = set()

    def renew(self) -> None:
        """As `Claims.renew`."""
        with self._asking() as session:
            session.execute("SELECT 1")

    def take(self, space: Space, keys: Iterable[int]) -> set[int]:
        """As `Claims.take`."""
        wanted = set(keys)
        with self._asking() as session:
            # a session may lock what it holds again and would have to unlock it twice
            new = sorted(key for key in wanted if (space, key) not in self._held)
            if new:
                rows = session.execute(
                    "SELECT key FROM unnest(%s::int[]) AS key "
                    "WHERE pg_try_advisory_lock(%s::int, key)",
                    (new, space),
                )
                self._held |= {(space, key) for (key,) in rows}
            return {key for key in wanted if (space, key) in self._held}

    def leave(self, space: Space, keys: Iterable[int]) -> None:
        """As `Claims.leave`."""
        with self._asking() as session:
            held = sorted(key for key in set(keys) if (space, key) in self._held)
            if held:
                session.execute(
                    "SELECT pg_advisory_unlock(%s::int, key) FROM unnest(%s::int[]) AS key",
                    (space, held),
                )
                self._held -= {(space, key) for key in held}

    def found(self, space: Space, first: int, last: int) -> set[int]:
        """As `Claims.found`."""
        with self._asking() as session:
            rows = session.execute(
                "SELECT objid::bigint FROM pg_locks "
                "JOIN pg_database ON pg_database.oid = database "
                "WHERE locktype = 'advisory' AND granted AND datname = current_database() "
                "AND classid = %s::int::oid AND objid BETWEEN %s::int::oid AND %s::int::oid "
                "AND objsubid = 2",
                (space, first, last),
            )
            return {key for (key,) in rows}

    def close(self) -> None:
        """As `Claims.close`; free for others when this returns, not when the server notices."""
        with self._lock:
            if self._session is not None:
                with suppress(psycopg.Error):
                    self._session.execute("SELECT pg_advisory_unlock_all()")
            self._lose()

    @contextmanager
    def _asking(self) -> Iterator[psycopg.Connection[Any]]:
        """The session; a loss takes every claim with it."""
        with self._lock:
            try:
                if self._session is None:
                    self._session = self._connect(
                        autocommit=True,
                        connect_timeout=_CONNECT_S_MAX,
                        options=f"-c idle_session_timeout={self._idle_ms} {_KEEPALIVE}",
                    )
                yield self._session
            except psycopg.Error as error:
                self._lose()
                raise Unavailable(f"store: {str(error).partition(chr(10))[0][:200]}") from error

    def _lose(self) -> None:
        session, self._session = self._session, None
        self._held.clear()
        if session is not None:
            with suppress(psycopg.Error):
                session.close()
