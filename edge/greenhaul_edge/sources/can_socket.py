"""SocketCAN with what the kernel knows besides: when a frame came, and how many it could not keep.

python-can asks for the first and takes no second ancillary message; this is its bus with another
way to receive.
"""

import select
import socket
import struct

import can
from can.interfaces.socketcan.socketcan import SocketcanBus

# Room for a second of a full 1 Mbit/s bus while the disk is busy; the kernel doubles it.
RECEIVE_SIZE = 1 << 20
# <asm-generic/socket.h>, <linux/can.h>; the socket module does not name all of them.
SO_TIMESTAMPNS, SO_RXQ_OVFL = 35, 40
_EXTENDED, _REMOTE, _ERROR = 0x80000000, 0x40000000, 0x20000000
_FRAME_SIZE_MAX = 72  # struct canfd_frame
_HEAD = struct.Struct("=IBBxx")  # id with flags, length, FD flags
_TIME = struct.Struct("@ll")
_COUNT = struct.Struct("@I")
_ANCILLARY_SIZE = socket.CMSG_SPACE(_TIME.size) + socket.CMSG_SPACE(_COUNT.size)


class KernelCanBus(SocketcanBus):
    """Receives classic and FD frames; `dropped` counts what the socket's queue had no room for."""

    def __init__(self, channel: str) -> None:
        self.dropped = 0
        super().__init__(channel=channel, fd=True)
        ask_for_ancillary(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_SIZE)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        try:
            ready, _, _ = select.select([self.socket], [], [], timeout)
            if not ready:
                return None, self._is_filtered
            message, dropped = receive(self.socket)
        except OSError as error:
            raise can.CanOperationError(
                f"receiving: {error.strerror or error}", error.errno
            ) from error
        if dropped is not None:
            self.dropped = dropped
        return message, self._is_filtered


def ask_for_ancillary(link: socket.socket) -> None:
    """Times and losses are to come with every datagram."""
    link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    link.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def receive(link: socket.socket) -> tuple[can.Message, int | None]:
    """The next frame, and how many the socket lost since it was made. Raises OSError.

    None: the kernel says nothing, as it does until it loses one.
    """
    frame, ancillary, flags, _ = link.recvmsg(_FRAME_SIZE_MAX, _ANCILLARY_SIZE)
    if len(frame) < _HEAD.size:
        raise OSError(f"a frame of {len(frame)} bytes")
    at_s, dropped = read_ancillary(ancillary)
    frame_id, size, fd_flags = _HEAD.unpack_from(frame)
    is_extended = bool(frame_id & _EXTENDED)
    message = can.Message(
        timestamp=at_s,
        arbitration_id=frame_id & (0x1FFFFFFF if is_extended else 0x7FF),
        is_extended_id=is_extended,
        is_remote_frame=bool(frame_id & _REMOTE),
        is_error_frame=bool(frame_id & _ERROR),
        is_fd=len(frame) == _FRAME_SIZE_MAX,
        bitrate_switch=bool(fd_flags & 1),
        error_state_indicator=bool(fd_flags & 2),
        is_rx=not flags & socket.MSG_DONTROUTE,  # set on what this machine sent
        dlc=size,
        data=frame[_HEAD.size : _HEAD.size + size],
    )
    return message, dropped


def read_ancillary(ancillary: list[tuple[int, int, bytes]]) -> tuple[float, int | None]:
    """Receive time in seconds since 1970, 0.0 if none is told, and lost datagrams."""
    at_s, dropped = 0.0, None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIME.size:
            seconds, nanoseconds = _TIME.unpack_from(data)
            at_s = seconds + nanoseconds * 1e-9
        elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL and len(data) >= _COUNT.size:
            (dropped,) = _COUNT.unpack_from(data)
    return at_s, dropped
