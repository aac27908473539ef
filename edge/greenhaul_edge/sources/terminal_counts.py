"""What a listener of terminals counts."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Over all connections of a listener, since it was started."""

    received_messages: int = 0
    received_readings: int = 0
    registered: int = 0
    authenticated: int = 0
    refused_registrations: int = 0
    refused_authentications: int = 0
    refused_unauthenticated: int = 0
    undecodable: int = 0
    unopened: int = 0  # of these: encrypted, and no key for it
    unknown_messages: int = 0
    acknowledged: int = 0  # deliveries answered after their commit
    held_back: int = 0  # deliveries not answered: the outbox did not take them
    rejected: int = 0
    # What peers did that costs no more than this.
    rubbish_not_kept: int = 0  # beyond what is kept of strangers
    skipped_bytes: int = 0  # of frames longer than any frame
    evicted_parts: int = 0  # packets given up, because others needed the room
    given_up_messages: int = 0  # split ones, whose missing packets never came
    throttled: int = 0  # times a connection was faster than its rate
    dropped_datagrams: int = 0
    bad_proxy_headers: int = 0
    # Connections, by how they ended.
    replaced_connections: int = 0
    closed_idle: int = 0
    closed_rubbish: int = 0
    closed_refused: int = 0  # too many wrong codes or registrations
    closed_released: int = 0  # their number was released meanwhile
    closed_parts: int = 0  # too many packets of messages that never end
    closed_unread: int = 0  # did not read its answers
    refused_connections: int = 0
    displaced_strangers: int = 0  # made room for a newer connection
