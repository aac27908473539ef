"""Messages longer than a CAN frame, put together by listening only (pure).

J1939 (SAE J1939-21, also GB/T 27930): TP.CM announces size and PGN, TP.DT brings seven bytes each.
ISO-TP (ISO 15765-2, under UDS): a first frame announces the size, consecutive ones bring the rest.
A message of which a frame was missed is forgotten: nobody repeats it for a listener.
"""

from dataclasses import dataclass

# J1939-21: 255 packets of 7 bytes. ISO-TP: 12 bits of length.
J1939_SIZE_MAX = 1785
ISOTP_SIZE_MAX = 4095
# Conversations at a time; a bus has a few. The oldest is forgotten.
OPEN_MAX = 64

_PF_CONNECTION, _PF_DATA = 0xEC, 0xEB
_RTS, _BAM, _ABORT = 16, 32, 255


def pgn_of(frame_id: int) -> int:
    """The parameter group of a 29-bit id; the destination of an addressed one is no part of it."""
    pgn = frame_id >> 8 & 0x3FFFF
    return pgn if pgn >> 8 & 0xFF >= 240 else pgn & 0x3FF00


def is_transport(frame_id: int) -> bool:
    """Whether a 29-bit id belongs to the transport protocol."""
    return frame_id >> 16 & 0xFF in (_PF_CONNECTION, _PF_DATA)


@dataclass(slots=True)
class _Parts:
    target: int  # J1939: the PGN
    size: int
    packets: int
    data: bytearray


class J1939Transport:
    """Reassembles broadcasts (BAM) and addressed conversations (RTS/CTS) of a bus."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Parts] = {}
        self.broken = 0  # messages of which something was missed

    def take(self, frame_id: int, data: bytes) -> tuple[int, int, bytes] | None:
        """(PGN, source address, data) that a transport frame completes."""
        source, destination = frame_id & 0xFF, frame_id >> 8 & 0xFF
        key = (source, destination)
        if len(data) < 8:
            return None
        if frame_id >> 16 & 0xFF == _PF_CONNECTION:
            self._announce(key, data)
            return None
        parts = self._open.get(key)
        if parts is None:
            return None
        if data[0] != parts.packets + 1:
            self.broken += 1
            del self._open[key]
            return None
        parts.packets += 1
        parts.data += data[1:8]
        if len(parts.data) < parts.size:
            return None
        del self._open[key]
        return parts.target, source, bytes(parts.data[: parts.size])

    def _announce(self, key: tuple[int, int], data: bytes) -> None:
        control, size = data[0], data[1] | data[2] << 8
        if control == _ABORT:
            self.broken += self._open.pop(key, None) is not None
        if control not in (_RTS, _BAM) or not 8 < size <= J1939_SIZE_MAX:
            return
        self.broken += self._open.pop(key, None) is not None
        pgn = int.from_bytes(data[5:8], "little") & 0x3FFFF
        if pgn >> 8 & 0xFF < 240:
            pgn &= 0x3FF00
        if len(self._open) >= OPEN_MAX:
            self._open.pop(next(iter(self._open)))
            self.broken += 1
        self._open[key] = _Parts(pgn, size, 0, bytearray())


class IsoTpTransport:
    """Reassembles what each id of a diagnostic bus answers."""

    def __init__(self) -> None:
        self._open: dict[int, _Parts] = {}
        self.broken = 0

    def take(self, frame_id: int, data: bytes) -> bytes | None:
        """The payload that a frame of this id completes."""
        if not data:
            return None
        kind, low = data[0] >> 4, data[0] & 0x0F
        if kind == 0 and 0 < low < len(data):
            return bytes(data[1 : 1 + low])
        if kind == 1 and len(data) > 2:
            self.broken += self._open.pop(frame_id, None) is not None
            size = low << 8 | data[1]
            if len(self._open) >= OPEN_MAX:
                self._open.pop(next(iter(self._open)))
                self.broken += 1
            if size > len(data) - 2:
                self._open[frame_id] = _Parts(frame_id, size, 0, bytearray(data[2:]))
            return None
        parts = self._open.get(frame_id)
        if kind != 2 or parts is None:
            return None
        if low != (parts.packets + 1) & 0x0F:
            self.broken += 1
            del self._open[frame_id]
            return None
        parts.packets += 1
        parts.data += data[1:]
        if len(parts.data) < parts.size:
            return None
        del self._open[frame_id]
        return bytes(parts.data[: parts.size])
