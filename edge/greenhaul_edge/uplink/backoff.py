"""When to connect again: decorrelated jitter, forgotten only after a stable time (pure)."""

from random import Random

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 60.0
# Refused credentials and a client id that somebody else uses wait longer: a wrong password must
# not get a shared address banned, two boxes of one name must not fight.
REFUSED_S_MIN = 15.0
# Shorter connections prove nothing: a twin kicks us right after the CONNACK.
STABLE_MS = 60_000
# So many short ones in a row, each accepted and then ended by the broker, look like a twin.
KICKS_SUSPICIOUS = 4


class Backoff:
    """One link's delays."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._delay_s = BACKOFF_S_MIN
        self._connected_ms: int | None = None
        self._kicks = 0

    @property
    def is_kicked(self) -> bool:
        """Whether the broker ends our connections again and again."""
        return self._kicks >= KICKS_SUSPICIOUS

    def connected(self, now_ms: int) -> None:
        """The broker took us."""
        self._connected_ms = now_ms

    def delay_ms(self, now_ms: int, *, is_refused: bool, is_by_broker: bool = False) -> int:
        """The connection is over, or never was: how long to wait.

        is_by_broker: it hung up on us, in contrast to a line that died.
        """
        began_ms, self._connected_ms = self._connected_ms, None
        if began_ms is not None and now_ms - began_ms >= STABLE_MS:
            self._delay_s, self._kicks = BACKOFF_S_MIN, 0
        elif began_ms is not None and is_by_broker:
            self._kicks += 1
        ceiling_s = min(3 * self._delay_s, BACKOFF_S_MAX)
        self._delay_s = self._random.uniform(BACKOFF_S_MIN, ceiling_s)
        # Jitter also there: a thousand gateways refused by one broker do not return together.
        is_unwanted = is_refused or self.is_kicked
        least_s = REFUSED_S_MIN * self._random.uniform(1, 2) if is_unwanted else 0.0
        return round(max(self._delay_s, least_s) * 1000)

    def forget(self) -> None:
        """The end was our own wish, or the machine slept: connect at once."""
        self._connected_ms = None
        self._delay_s = BACKOFF_S_MIN
