"""The PROXY protocol, versions 1 and 2: a load balancer's line on who really called.

Neither header begins with 7E, so a terminal's own bytes are never taken for one.
"""

import ipaddress
import struct
from typing import NamedTuple

# "PROXY TCP6 " with two addresses of 39 digits and two ports (specification, section 2.1).
_LINE_SIZE_MAX = 107
_LINE_START = b"PROXY "
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = struct.Struct(">12sBBH")
# Addresses of IPv6 are 36 bytes; what follows them may be certificates' names.
_BODY_SIZE_MAX = 2048
_LOCAL = 0x20
_ADDRESS_SIZES = {0x10: 4, 0x20: 16}


class Proxied(NamedTuple):
    """The header of a connection. peer: HOST:PORT, None where the proxy speaks for itself."""

    peer: str | None
    size: int  # of the header; 0 if there is none


def read_proxy_header(data: bytes) -> Proxied | None:
    """The header at the start of a connection's bytes; None while it may go on.

    Raises ValueError for bytes that begin as one and are none.
    """
    if data[: len(_LINE_START)] == _LINE_START[: len(data)]:
        return _read_line(data)
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _read_binary(data)
    return Proxied(None, 0)


def _read_line(data: bytes) -> Proxied | None:
    end = data.find(b"\r\n", 0, _LINE_SIZE_MAX)
    if end < 0:
        if len(data) >= _LINE_SIZE_MAX:
            raise ValueError("PROXY line without an end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if words[1:2] == ["UNKNOWN"]:
        return Proxied(None, end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("PROXY line of an unknown kind")
    return Proxied(_peer(ipaddress.ip_address(words[2]), int(words[4])), end + 2)


def _read_binary(data: bytes) -> Proxied | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family, size = _HEAD.unpack_from(data)
    if command not in (_LOCAL, _LOCAL | 1) or size > _BODY_SIZE_MAX:
        raise ValueError("PROXY header of an unknown kind")
    if len(data) < _HEAD.size + size:
        return None
    address_size = _ADDRESS_SIZES.get(family & 0xF0)
    peer = None
    if command != _LOCAL and address_size and size >= 2 * address_size + 4:
        at = _HEAD.size
        (port,) = struct.unpack_from(">H", data, at + 2 * address_size)
        peer = _peer(ipaddress.ip_address(data[at : at + address_size]), port)
    return Proxied(peer, _HEAD.size + size)


def _peer(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
