"""MQTT topics. Shards let a cluster spread gateways' lanes over collectors."""

import re
from zlib import crc32

from greenhaul_protocols.errors import DecodeError, EncodeError

GATEWAY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UP_FILTER = "gh/v1/up/+/+/+"
STATE_FILTER = "gh/v1/state/+"
LANE_BULK = 0
LANE_LIVE = 1
LANE_MAX = 255

_UP = re.compile(rf"gh/v1/up/([^/]*)/({GATEWAY_ID.pattern})/([^/]*)")
_LANE = re.compile(r"0|[1-9][0-9]{0,2}")


class Misdirected(DecodeError):
    """A block's topic that names a gateway, but not as it should. lane: None when there is none."""

    def __init__(self, message: str, gateway: str, lane: int | None) -> None:
        super().__init__(message)
        self.gateway, self.lane = gateway, lane


def shard_of(gateway: str, lane: int) -> str:
    """Two hex digits: the low byte of CRC-32 of `gateway/lane`."""
    return f"{crc32(f'{gateway}/{lane}'.encode()) & 0xFF:02x}"


def up_topic(gateway: str, lane: int) -> str:
    """Where a gateway publishes the blocks of a lane."""
    return f"gh/v1/up/{shard_of(_checked(gateway), lane)}/{gateway}/{lane}"


def parse_up_topic(topic: str) -> tuple[str, int]:
    """Gateway and lane of a block's topic.

    Raises DecodeError; Misdirected when the shard or the lane is not that of the gateway it names.
    """
    match = _UP.fullmatch(topic)
    if not match:
        raise DecodeError(f"topic {topic[:120]!r} is not gh/v1/up/SHARD/GATEWAY/LANE")
    gateway = match[2]
    lane = int(match[3]) if _LANE.fullmatch(match[3]) else None
    if lane is None or lane > LANE_MAX:
        raise Misdirected(f"topic {topic[:120]!r}: no such lane", gateway, None)
    if match[1] != shard_of(gateway, lane):
        raise Misdirected(
            f"topic {topic[:120]!r}: shard of {gateway}/{lane} is not {match[1]}", gateway, lane
        )
    return gateway, lane


def receipt_topic(gateway: str) -> str:
    """Where the collector says what is settled; retained."""
    return f"gh/v1/rx/{_checked(gateway)}"


def command_topic(gateway: str) -> str:
    """What a manager asks of a gateway's terminals; QoS 1."""
    return f"gh/v1/cmd/{_checked(gateway)}"


def state_topic(gateway: str) -> str:
    """Presence of a gateway; retained, last will."""
    return f"gh/v1/state/{_checked(gateway)}"


def _checked(gateway: str) -> str:
    if not GATEWAY_ID.fullmatch(gateway):
        raise EncodeError(f"gateway id {gateway!r}: use 1 to 64 of letters, digits, dot, _ and -")
    return gateway
