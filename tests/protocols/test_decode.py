"""greenhaul-decode: the command as a user meets it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenhaul_protocols.__main__ import main
from greenhaul_protocols.decode import Decoder
from greenhaul_protocols.jt808 import (
    BatchReport,
    Conversation,
    Header,
    Heartbeat,
    Item,
    LocationReport,
    ParameterAnswer,
    PartNumber,
    Registration,
    messages_areas,
    messages_records,
    wrap,
)
from greenhaul_protocols.jt808.border import battery_item

REPORT = LocationReport(
    alarms=0,
    status=3,
    latitude_deg=32.99,
    longitude_deg=112.52,
    altitude_m=130,
    speed_kmh=36.5,
    heading_deg=90,
    device_time="261120150405",
    items=(Item(0x01, bytes.fromhex("00018fc9")),),
)


def frame_of(message: Any, *, revision: int = 2013, serial: int = 126) -> bytes:
    terminal = Conversation(phone="13912345678", revision=revision)
    terminal.next_serial = serial
    return terminal.send(message)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any]]:
    code = main(["--jsonl", *arguments])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def piped(data: bytes, *arguments: str) -> tuple[int, list[Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "greenhaul_protocols", "--jsonl", *arguments],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    )
    out = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return done.returncode, out, done.stderr.decode()


def test_a_report_has_the_shape_others_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    code, answers = run([frame_of(REPORT).hex()], capsys)
    assert code == 0
    assert answers == [
        {
            "line": 1,
            "ok": True,
            "protocol": "jt808",
            "revision": 2013,
            "message_id": "0x0200",
            "message": "LocationReport",
            "terminal": "013912345678",
            "serial": 126,
            "part": None,
            "joined": False,
            "encryption": 0,
            "body": {
                "alarms": 0,
                "status": 3,
                "latitude_deg": 32.99,
                "longitude_deg": 112.52,
                "altitude_m": 130,
                "speed_kmh": 36.5,
                "heading_deg": 90,
                "device_time": "2026-11-20T15:04:05+08:00",
                "items": [
                    {"id": "0x01", "name": "odometer_km", "value": 10234.5, "raw": "00018fc9"}
                ],
            },
            "reading": {
                "kind": "position",
                "device_time": "2026-11-20T07:04:05Z",
                "latitude_deg": 32.99,
                "longitude_deg": 112.52,
                "altitude_m": 130,
                "speed_kmh": 36.5,
                "heading_deg": 90,
                "is_located": True,
                "odometer_km": 10234.5,
                "alarms": 0,
                "status": 3,
            },
        }
    ]


def test_a_bad_frame_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    good = frame_of(REPORT).hex()
    bad = good[:-4] + f"{int(good[-4:-2], 16) ^ 1:02x}7e"
    code, answers = run([good, bad, good], capsys)
    assert code == 1
    assert [a["ok"] for a in answers] == [True, False, True]
    assert answers[1] == {
        "line": 2,
        "ok": False,
        "error": f"checksum: computed 0x{int(good[-4:-2], 16):02X}, "
        f"frame says 0x{int(good[-4:-2], 16) ^ 1:02X}",
        "raw": bad,
    }


@pytest.mark.parametrize("text", ["7e", "zz", "7e0200zz7e", "123", "", "0200", "7e02 0"])
def test_whatever_is_given_is_answered(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, answers = run([text], capsys)
    assert code == 1
    assert answers[0]["ok"] is False


def test_hex_may_have_spaces_and_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    frame = frame_of(Heartbeat())
    code, answers = run([frame.hex(" ").upper(), frame.hex() * 2], capsys)
    assert (code, [a["message"] for a in answers]) == (0, ["Heartbeat"] * 3)


def test_lines_of_a_log_are_read_where_the_frame_is() -> None:
    heartbeat, report = frame_of(Heartbeat()).hex(), frame_of(REPORT).hex(" ")
    log = f"""# 7e is a delimiter
2026-11-20 15:04:05 terminal 13912345678 connected

[{heartbeat}]
15:04:06.120\t{report}\tLocationReport added
上行: {heartbeat} 下行: {heartbeat}
"""
    code, answers, _ = piped(log.encode())
    assert code == 0
    assert [(a["line"], a["message"]) for a in answers] == [
        (4, "Heartbeat"),
        (5, "LocationReport"),
        (6, "Heartbeat"),
        (6, "Heartbeat"),
    ]


def test_a_binary_stream_is_read_as_one(tmp_path: Path) -> None:
    stream = b"\x00rubbish" + frame_of(Heartbeat()) + frame_of(REPORT) + b"\x7e\x02"
    expected = ["bytes outside a frame", None, None, "frame: the stream ends inside it"]
    path = tmp_path / "capture.bin"
    path.write_bytes(stream)
    for data, arguments in ((stream, ()), (b"", ("--raw", str(path))), (stream, ("--raw", "-"))):
        code, answers, _ = piped(data, *arguments)
        assert code == 1
        assert [a.get("error") for a in answers] == expected
        assert [a["line"] for a in answers] == [1, 2, 3, 4]


def test_a_split_message_is_answered_by_part_and_joined() -> None:
    reports = BatchReport.of((REPORT,) * 40, 1)
    terminal = Conversation(phone="13912345678", revision=2013)
    frames = terminal.send_frames(reports)
    assert len(frames) == 2
    code, answers, _ = piped(b"\n".join(f.hex().encode() for f in reversed(frames)))
    assert code == 0
    parts = [{"number": 2, "total": 2}, {"number": 1, "total": 2}, None]
    assert [a["part"] for a in answers] == parts
    assert [a["joined"] for a in answers] == [False, False, True]
    assert len(answers[2]["body"]["reports"]) == answers[2]["body"]["report_count"] == 40
    assert answers[2]["reading"]["kind"] == "position"
    assert len(answers[2]["readings"]) == 40


def test_the_end_of_the_input_settles_what_serials_leave_open() -> None:
    terminal = Conversation(phone="13912345678", revision=2013)
    first = terminal.send_frames(BatchReport.of((REPORT,) * 40, 0))[0]
    terminal.next_serial = 17
    second = terminal.send_frames(BatchReport.of((REPORT,) * 40, 0))[1]
    code, answers, _ = piped(first.hex().encode() + b"\n" + second.hex().encode())
    assert (code, answers[-1]["joined"], answers[-1]["line"]) == (0, True, 2)


def test_the_revision_settles_what_a_frame_alone_cannot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = frame_of(Registration(41, 1300, "GHAUL", "M", "T", 2, "豫R12345"), revision=2019)
    old = frame_of(Heartbeat(), revision=2011).hex()
    assert run([frame.hex()], capsys)[1][0]["revision"] == 2019
    assert run(["--revision", "2011", old], capsys)[1][0]["revision"] == 2011
    assert run([old], capsys)[1][0]["revision"] == 2013


def test_registration_and_battery_keys(capsys: pytest.CaptureFixture[str]) -> None:
    registration = Registration(41, 1300, "GHAUL", "M", "T", 2, "豫R12345")
    report = LocationReport(0, 3, 32.99, 112.52, 0, 0.0, 0, "000000000000", (battery_item(55),))
    _, (registered, reported) = run([frame_of(registration).hex(), frame_of(report).hex()], capsys)
    assert registered["body"] == {
        "province_id": 41,
        "city_id": 1300,
        "maker_id": "GHAUL",
        "model": "M",
        "terminal_id": "T",
        "plate_colour": 2,
        "plate": "豫R12345",
    }
    assert registered["reading"] is None
    assert reported["body"]["device_time"] is None
    assert reported["body"]["device_time_raw"] == "000000000000"
    assert [r["kind"] for r in reported["readings"]] == ["position", "battery"]
    assert reported["reading"]["device_time"] is None


def test_explain_names_offset_bytes_field_value_unit_and_bits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--explain", frame_of(REPORT).hex()]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["4", "00000003", "status", "3", "acc_on,", "located"] in lines
    assert ["18", "016d", "speed_kmh", "36.5", "km/h"] in lines
    assert ["28", "010400018fc9", "0x01", "odometer_km", "10234.5", "km"] in lines


def explained(message: Any, capsys: pytest.CaptureFixture[str], revision: int = 2013) -> list[str]:
    assert main(["--explain", frame_of(message, revision=revision).hex()]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_explain_goes_into_items_lists_and_the_header(capsys: pytest.CaptureFixture[str]) -> None:
    area = messages_areas.Circle(
        7, 0b10_0000_1000_0001, 32.99, 112.52, 500, "000000083000", "0" * 12
    )
    lines = explained(messages_areas.CircleSetting(1, (area,)), capsys)
    assert "2 0020 attributes 0x0020 body of 32 bytes" in lines
    assert "10 007e serial 126" in lines
    assert "0 01 action 1 append" in lines
    assert "1 01 areas count 1" in lines
    assert "6 2081 areas[0].attributes 8321 has_times, west, bit 13" in lines
    assert "16 000001f4 areas[0].radius_m 500 m" in lines
    can = messages_records.CanFrame(messages_records.CanId(1, True, False, 0x18FF50E5), bytes(8))
    lines = explained(messages_records.CanReport.of("1504050250", (can,)), capsys)
    assert (
        "7 d8ff50e5 frames[0].head 0xd8ff50e5 "
        "channel=1, is_extended=1, is_averaged=0, can_id=419385573" in lines
    )
    lines = explained(ParameterAnswer(3, (Item(0x32, bytes((22, 50, 6, 30))),)), capsys)
    assert "3 00000032041632061e 0x0032 illegal_driving_window 1632061e 22:50 to 06:30" in lines


def test_explain_shows_a_bad_body_up_to_the_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    frame = wrap(Header(0x0200, "13912345678", 9, is_2019=False), bytes.fromhex("00000001 0000"))
    assert main(["--explain", frame.hex()]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "10 0009 serial 9" in lines
    assert "body: 0x0200 status: wants 4 bytes at 4, has 2" in lines
    assert lines[-3:-1] == ["0 00000001 alarms 1 emergency", "4 0000 (not read)"]


def test_explain_shows_packets_and_unknown_messages(capsys: pytest.CaptureFixture[str]) -> None:
    part = Header(0x0801, "13912345678", 9, is_2019=True, part=PartNumber(2, 3))
    unknown = Header(0x0F01, "13912345678", 9, is_2019=False)
    assert main(["--explain", wrap(part, b"ab").hex(), wrap(unknown, b"cd").hex()]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "19 0002 packet_number 2" in lines
    assert "2 6002 attributes 0x6002 body of 2 bytes, split, edition 2019" in lines
    assert "0 6364 (not declared)" in lines


@pytest.mark.parametrize(
    "text",
    [
        "7E-00-02-00-00-01-39-12-34-56-78-00-7E",
        "7e:00:02:00:00:01:39:12:34:56:78:00:7e",
        "0x7e, 0x00, 0x02, 0x00, 0x00, 0x01, 0x7e",
        "0x7e,0x00,0x02,0x7e",
        r"b'\x7e\x00\x02\x7e'",
        "7E 00 02 00 00 01 7E",
    ],
)
def test_hex_is_found_as_programs_print_it(text: str) -> None:
    frame = frame_of(Heartbeat())
    style = re.split("(?i)7e|00", text)
    separator, prefix = style[1] or style[2], style[0].replace("b'", "")
    separator = separator.removesuffix(prefix) if prefix else separator
    line = separator.join(prefix + f"{byte:02x}" for byte in frame)
    (answer,) = Decoder().line(1, f"2026-11-20 15:04:05.120 up [{line}] done")
    assert answer.json["message"] == "Heartbeat", line


@pytest.mark.parametrize("revision", ["2012", "x"])
def test_wrong_arguments_end_with_2(revision: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--revision", revision, "7e"])
    assert ended.value.code == 2


def test_a_file_that_is_not_there_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--raw", "/nonexistent/capture.bin"]) == 2
    assert "/nonexistent/capture.bin" in capsys.readouterr().err


def test_an_input_without_frames_says_so() -> None:
    code, answers, error = piped(b"nothing of the kind\n")
    assert (code, answers, error) == (1, [], "greenhaul-decode: no frame in the input\n")
