"""Recorded CAN traffic in every form that loggers write gives the same readings."""

import gzip
import logging
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_edge.sources.can_logs import read_log, replay
from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_pace import CanPace
from greenhaul_edge.sources.can_state import CanState
from greenhaul_edge.sources.can_text_logs import line_reader
from greenhaul_protocols.catalogue import BatteryReading
from greenhaul_protocols.errors import ConfigError

BEGIN_S = 1_790_000_000.0
COUNT = 20


def traffic() -> list[can.Message]:
    """Ten seconds: the pack voltage of a J1939 truck, rising by 0.05 V, and others' frames."""
    found = []
    for step in range(COUNT):
        data = struct.pack("<HHHH", 2_000, 1_200, 10_800 + step, 30_900)
        at_s = BEGIN_S + step / 2
        found.append(can.Message(at_s, 0x18F090F3, is_extended_id=True, data=data, channel="can0"))
        found.append(can.Message(at_s + 0.01, 0x123, is_extended_id=False, data=b"\x01\x02"))
    return found


def voltages(path: Path) -> list[tuple[int, float]]:
    """(milliseconds since the first, pack voltage) of what a log gives at 1 Hz."""
    state = CanState(load_mapping(Path("j1939-hvess")), "replay/can", 3_000)
    readings = list(replay(read_log(path), state, CanPace(state, "replay/can", 1_000)))
    assert state.counts.undecodable == 0
    found = [one for one in readings if isinstance(one, BatteryReading)]
    return [
        (one.device_time_ms - found[0].device_time_ms, round(one.pack_voltage_v or 0.0, 2))
        for one in found
    ]


EXPECTED = [(500 * (step - 2), round(540 + step / 20, 2)) for step in (*range(2, 19, 2), 19)]


def frame_id(message: can.Message) -> str:
    """As candump writes it."""
    return f"{message.arbitration_id:0{8 if message.is_extended_id else 3}X}"


def logged(message: can.Message) -> str:
    """candump -L."""
    return f"({message.timestamp:.6f}) can0 {frame_id(message)}#{message.data.hex().upper()}\n"


def shown(time: str, message: can.Message, more: str = "") -> str:
    """candump on the screen."""
    data = message.data.hex(" ").upper()
    return f" {time}  can0  {frame_id(message):>8}   [{message.dlc}]  {data}{more}\n"


def human(message: can.Message) -> str:
    """candump -tA."""
    return f"({datetime.fromtimestamp(message.timestamp, UTC):%Y-%m-%d %H:%M:%S.%f})"


def gvret(message: can.Message, direction: str) -> str:
    """SavvyCAN."""
    since_us = round((message.timestamp - BEGIN_S) * 1e6)
    data = message.data.hex(",").upper()
    extended = str(message.is_extended_id).lower()
    return (
        f"{since_us},{message.arbitration_id:08X},{extended},{direction}0,{message.dlc},{data},\n"
    )


def crtd(message: can.Message) -> str:
    """OVMS."""
    width = 29 if message.is_extended_id else 11
    return f"{message.timestamp:.6f} 1R{width} {frame_id(message)} {message.data.hex(' ')}\n"


def spaced(message: can.Message) -> str:
    """Seconds, id, length, bytes."""
    since_s = message.timestamp - BEGIN_S
    return f"{since_s:.6f} {message.arbitration_id:X} {message.dlc} {message.data.hex(' ')}\n"


GVRET_HEAD = "Time Stamp,ID,Extended,{}Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"
ODD = (
    "# a comment\n\n(1790000000.000000) can0 20000080#0000000000000000\n"
    "(1790000000.000000) can0 123#R4\n(1790000000.000000) can0 321##1AABB\n"
)
TEXT: dict[str, Callable[[], str]] = {
    "log.log": lambda: "".join(map(logged, traffic())),
    "other_name.txt": lambda: "".join(map(logged, traffic())),
    "no_suffix": lambda: "".join(map(logged, traffic())),
    "lower.log": lambda: "".join(map(logged, traffic())).lower(),
    "crlf.log": lambda: "".join(map(logged, traffic())).replace("\n", "\r\n"),
    "directions.log": lambda: "".join(map(logged, traffic())).replace("\n", " R\n"),
    "odd.log": lambda: ODD + "".join(map(logged, traffic())) + "(1790000010.50",
    "ta.log": lambda: "".join(shown(f"({m.timestamp:.6f})", m) for m in traffic()),
    "tz.log": lambda: "".join(shown(f"({m.timestamp - BEGIN_S:010.6f})", m) for m in traffic()),
    "human.log": lambda: "".join(shown(human(m), m) for m in traffic()),
    "ascii.log": lambda: "".join(shown(human(m), m, "   '..[8]..'") for m in traffic()),
    "extra.log": lambda: "".join(shown(human(m) + "  can0  RX - -", m) for m in traffic()).replace(
        "-  can0", "-"
    ),
    "td.log": lambda: "".join(
        shown(f"({b.timestamp - a.timestamp:010.6f})", b)
        for a, b in zip([traffic()[0], *traffic()], traffic(), strict=False)
    ),
    "gvret.csv": lambda: GVRET_HEAD.format("") + "".join(gvret(m, "") for m in traffic()),
    "newer.csv": lambda: GVRET_HEAD.format("Dir,") + "".join(gvret(m, "Rx,") for m in traffic()),
    "ovms.crtd": lambda: "".join(map(crtd, traffic())),
    "spaced.txt": lambda: "".join(map(spaced, traffic())),
}


@pytest.mark.parametrize("name", TEXT)
def test_text_logs_are_read_whatever_their_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(TEXT[name](), newline="")
    assert voltages(path) == EXPECTED
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert voltages(packed) == EXPECTED


@pytest.mark.parametrize("suffix", ["log", "asc", "blf", "trc", "csv"])
def test_what_python_can_writes_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive.{suffix}"
    with can.Logger(path) as logger:
        for message in traffic():
            message.channel = 0
            logger.on_message_received(message)
    assert voltages(path) == EXPECTED


ASC_HEAD = (
    "date {date}\nbase {base}  timestamps {times}\ninternal events logged\n"
    "Begin Triggerblock {date}\n   0.000000 Start of measurement\n"
)


def asc(message: can.Message, at_s: float, base: str, more: str = "") -> str:
    """Vector's text form."""
    style = "X" if base == "hex" else "d"
    name = format(message.arbitration_id, style) + ("x" if message.is_extended_id else "")
    data = " ".join(format(byte, "02X" if base == "hex" else "d") for byte in message.data)
    return f"   {at_s:.6f} 1  {name:15} Rx   d {message.dlc} {data}{more}\n"


@pytest.mark.parametrize("base", ["hex", "dec"])
@pytest.mark.parametrize("times", ["absolute", "relative"])
@pytest.mark.parametrize(
    ("date", "begin_ms"),
    [
        ("Tue Sep 22 10:00:00.000 am 2026", 1_790_071_200_000),
        ("Mar 22. Sep 10:00:00 2026", None),  # a weekday in another language
    ],
)
def test_asc_logs_of_either_base_and_either_kind_of_times(
    tmp_path: Path, base: str, times: str, date: str, begin_ms: int | None
) -> None:
    lines = [ASC_HEAD.format(date=date, base=base, times=times)]
    before_s = 0.0
    for index, message in enumerate(traffic()):
        at_s = message.timestamp - BEGIN_S
        if index % 6 == 5:  # lines that are no frames have times, too
            lines.append(f"   {at_s - before_s * (times == 'relative'):.6f} 1  ErrorFrame\n")
            before_s = at_s
        lines.append(asc(message, at_s - before_s * (times == "relative"), base, "  Length = 2"))
        before_s = at_s
    path = tmp_path / "drive.asc"
    path.write_text("".join(lines) + "End TriggerBlock\n")
    assert voltages(path) == EXPECTED
    if begin_ms is not None:
        assert round(next(read_log(path)).timestamp * 1000) == begin_ms


def test_kinds_of_frames_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "odd.log"
    path.write_text(
        ODD + " (0.5)  can0       123   [0]  remote request\n (0.6)  can1  20000004   [8]"
        "  00 04 00 00 00 00 00 00   ERRORFRAME\n (0.7) can1 123 [3] 00 11\n"
    )
    error, remote, fast = read_log(path)  # of the first form: a log has one
    assert (error.is_error_frame, error.arbitration_id) == (True, 0x80)
    assert (remote.is_remote_frame, remote.arbitration_id) == (True, 0x123)
    assert (fast.arbitration_id, bytes(fast.data)) == (0x321, b"\xaa\xbb")
    path.write_text(path.read_text().partition("AABB\n")[2])
    remote, error = read_log(path)
    assert (remote.is_remote_frame, remote.channel) == (True, "can0")
    assert (error.is_error_frame, error.arbitration_id, error.channel) == (True, 4, "can1")


@pytest.mark.parametrize("suffix", ["log", "asc", "blf", "trc", "csv"])
def test_noise_is_no_log(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise.{suffix}"
    path.write_bytes(bytes(range(255, 0, -1)) * 20)
    with pytest.raises(ConfigError, match="no CAN log that can be read"):
        list(read_log(path))


def test_a_log_that_is_cut_short_is_read_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "drive.csv"
    with can.Logger(path) as logger:
        for message in traffic():
            message.channel = 0
            logger.on_message_received(message)
    path.write_text(path.read_text()[:-20])
    with caplog.at_level(logging.WARNING):
        assert len(list(read_log(path))) == 2 * COUNT - 1
    assert "ends after 39 frames" in caplog.text


@given(st.text(max_size=80))
def test_no_line_raises(line: str) -> None:
    for example in ("(1.5) can0 123#11", " (1.5) can0 123 [1] 11", "1.5 1R11 123 11", "1 123 1 11"):
        for text in (line, example[: len(line)] + line, line + example):
            read_line = _reader(text)
            if read_line is not None:
                read_line(text)


def _reader(text: str) -> Callable[[str], can.Message | None] | None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.log"
        path.write_text(text, encoding="latin-1", errors="replace")
        return line_reader(path)
