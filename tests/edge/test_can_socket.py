"""What the kernel says besides a CAN frame: when it came, and how many it could not keep."""

import socket
import struct
from contextlib import suppress

import can
import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.sources.can_socket import (
    KernelCanBus,
    ask_for_ancillary,
    read_ancillary,
    receive,
)


def test_frames_of_the_kernel_are_read_as_the_header_files_say() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        there.send(struct.pack("=IBBxx8s", 0x98F090F3, 8, 0, bytes(range(8))))
        there.send(struct.pack("=IBBxx8s", 0x7E8, 3, 0, b"\x02\x41\x00"))
        there.send(struct.pack("=IBBxx64s", 0x123, 12, 3, bytes(range(64))))
        there.send(struct.pack("=IBBxx8s", 0x20000040, 8, 0, b""))
        there.send(struct.pack("=IBBxx8s", 0x40000123, 2, 0, b""))
        truck, car, fast, fault, remote = (receive(here)[0] for _ in range(5))
        assert (truck.arbitration_id, truck.is_extended_id) == (0x18F090F3, True)
        assert bytes(truck.data) == bytes(range(8))
        assert (car.arbitration_id, car.is_extended_id, car.dlc) == (0x7E8, False, 3)
        assert (bytes(fast.data), fast.is_fd, fast.bitrate_switch) == (bytes(range(12)), True, True)
        assert (fault.is_error_frame, bool(fault.arbitration_id & 0x40)) == (True, True)
        assert (remote.is_remote_frame, remote.arbitration_id) == (True, 0x123)
        there.send(b"short")
        with pytest.raises(OSError, match="5 bytes"):
            receive(here)


def test_ancillary_messages_tell_time_and_losses() -> None:
    stamp = (socket.SOL_SOCKET, 35, struct.pack("@ll", 1_790_000_000, 250_000_000))
    lost = (socket.SOL_SOCKET, 40, struct.pack("@I", 96))
    assert read_ancillary([stamp]) == (1_790_000_000.25, None)
    assert read_ancillary([stamp, lost]) == (1_790_000_000.25, 96)
    assert read_ancillary([(socket.SOL_SOCKET, 1, b"\0" * 4), (0, 40, b"\0" * 4)]) == (0.0, None)


def test_this_kernels_own_losses_and_times_are_read(clock: Clock) -> None:
    """Datagrams stand in for frames: the same kernel code marks them, where there is no CAN."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        here.bind(("127.0.0.1", 0))
        here.settimeout(10)
        ask_for_ancillary(here)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
        there.connect(here.getsockname())
        frame = struct.pack("=IBBxx8s", 0x98F090F3, 8, 0, bytes(8))
        for _ in range(100):
            there.send(frame)
        here.setblocking(False)
        messages: list[can.Message] = []
        with suppress(BlockingIOError):
            while True:
                messages.append(receive(here)[0])
        message, read = messages[-1], len(messages)
        assert abs(message.timestamp * 1000 - clock.now_ms()) < 60_000
        assert 0 < read < 100
        here.settimeout(10)
        there.send(frame)
        assert receive(here)[1] == 100 - read


def test_the_bus_hands_on_frames_and_counts_what_its_socket_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the address family is stood in for: this kernel may have no CAN."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    module = "can.interfaces.socketcan.socketcan"
    monkeypatch.setattr(f"{module}.create_socket", lambda: here)
    monkeypatch.setattr(f"{module}.bind_socket", lambda *_: None)
    frame = struct.pack("=IBBxx8s", 0x98F090F3, 8, 0, bytes(range(8)))
    with (
        KernelCanBus("can0") as bus,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        there.connect(here.getsockname())
        assert bus.recv(0.01) is None
        there.send(frame)
        message = bus.recv(10)
        assert message is not None
        assert (message.arbitration_id, bytes(message.data)) == (0x18F090F3, bytes(range(8)))
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
        for _ in range(100):
            there.send(frame)
        read = sum(1 for _ in iter(lambda: bus.recv(0.01), None))
        there.send(frame)
        bus.recv(10)
        assert bus.dropped == 100 - read > 0
    assert here.fileno() == -1  # closed with the bus


def test_losing_the_interface_is_an_error_the_source_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    module = "can.interfaces.socketcan.socketcan"
    monkeypatch.setattr(f"{module}.create_socket", lambda: here)
    monkeypatch.setattr(f"{module}.bind_socket", lambda *_: None)
    with there, KernelCanBus("can0") as bus:
        there.send(b"half")
        with pytest.raises(can.CanOperationError, match="4 bytes"):
            bus.recv(10)
