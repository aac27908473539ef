"""Frames of other implementations and the values their authors assert.

Each vector within the declared messages is compared in full; the numbers compared are asserted, so
that a change that silently compares less fails.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from greenhaul_protocols.decode import Decoder
from greenhaul_protocols.jt808 import MESSAGES, Conversation, Received, UnknownMessage
from greenhaul_protocols.jt808.declaration import encode

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def vectors(shared: Path) -> list[dict[str, Any]]:
    with (shared / "vectors" / "jt808.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def frames_of(vector: dict[str, Any]) -> list[str]:
    frames: list[str] = vector["frames"] if vector["kind"] == "group" else [vector["hex"]]
    return frames


def answer_of(vector: dict[str, Any]) -> dict[str, Any]:
    """The last answer to a vector's frames, read in its edition."""
    version = vector["version"]
    decoder = Decoder(revision=None if version == "unknown" else int(version))
    answers = [a for hex_frame in frames_of(vector) for a in decoder.argument(1, hex_frame)]
    return [*answers, *decoder.close()][-1].json


# -- our names for what the vectors say ------------------------------------------------------------

_FIELDS = {
    "ack_serial": "answer_serial",
    "ack_id": "answer_id",
    "province": "province_id",
    "city": "city_id",
    "maker": "maker_id",
    "plate_color": "plate_colour",
    "software": "software_version",
    "orig_serial": "first_serial",
    "flag": "flags",
    "alarm_type": "alarms",
    "alarm": "alarms",
    "lat": "latitude_deg",
    "lon": "longitude_deg",
    "server_time_bcd": "server_time",
}


def differences(expected: dict[str, Any], body: dict[str, Any]) -> list[str]:
    """What a decoded body says otherwise than a vector. Empty: they agree in everything."""
    found = []
    for key, value in expected.items():
        actual = _actual(key, body)
        if key == "params":
            pairs = zip(value, actual, strict=True)
            told = [(e, _parameter(a, e["value"])) for e, a in pairs]
            found += [f"expected {e}, got {a}" for e, a in told if e != a]
        elif _normal(key, value) != actual:
            found.append(f"{key}: expected {value!r}, got {actual!r}")
    return found


def _actual(key: str, body: dict[str, Any]) -> Any:
    match key:
        case "params":
            return body["parameters"]
        case "items":
            return body["reports"]
        case "ids":
            ids = body.get("numbers", body.get("parameter_ids"))
            return [i.lower() if isinstance(i, str) else i for i in ids or []]
        case "count":
            lists = [v for v in body.values() if isinstance(v, list)]
            return len(lists[0])
        case "extras_hex":
            return [[i["id"].lower(), i["raw"]] for i in body["items"]]
        case "time":
            return body["device_time"]
        case "time_raw":
            return body["device_time_raw"]
        case "type":
            return body["batch_type"]
        case "ack_id":
            return body["answer_id"].lower()
        case "lat" | "lon":
            return body[_FIELDS[key]]
    return body[_FIELDS.get(key, key)]


def _parameter(parameter: dict[str, Any], expected: Any) -> dict[str, Any]:
    """As the vectors write it: a number as it is on the wire, bytes as `hex:…`, else text.

    Of a vendor's parameters we know the bytes only, where a vector may guess a number.
    """
    raw = bytes.fromhex(parameter["raw"])
    value: Any = parameter["value"]
    is_guess = parameter["name"] is None and isinstance(expected, int)
    if is_guess or isinstance(value, int | float):
        value = int.from_bytes(raw, "big")
    elif value is None or (value and value == parameter["raw"]):
        value = "hex:" + parameter["raw"]
    return {"id": parameter["id"].lower(), "len": len(raw), "value": value}


def _normal(key: str, value: Any) -> Any:
    match key:
        case "lat" | "lon":
            return abs(value)  # the body says magnitudes, as the frame does
        case "items":
            return [_Report(item) for item in value]
    return value


class _Report:
    """A report of a batch: equal to a body that has all its values."""

    def __init__(self, expected: dict[str, Any]) -> None:
        self.expected = expected

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and not differences(self.expected, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.expected)


# Derived from extras_hex, in words of the vectors' own; asserted above by their bytes.
_NOT_COMPARED = {"extras", "reassembled_len"}


def is_declared(vector: dict[str, Any]) -> bool:
    return bool(vector["msg_id"]) and int(vector["msg_id"], 16) in MESSAGES


def test_every_conforming_vector_decodes_to_its_values(vectors: list[dict[str, Any]]) -> None:
    compared: Counter[str] = Counter()
    wrong = []
    for vector in vectors:
        expected = vector["expect"]
        is_part = vector.get("subpackage") is not None
        if not is_declared(vector) or not vector.get("conforms", True) or is_part:
            continue
        if "error" in expected:
            continue
        answer = answer_of(vector)
        assert answer["ok"], f"{vector['id']}: {answer}"
        assert int(answer["message_id"], 16) == int(vector["msg_id"], 16)
        if vector["phone"]:
            assert answer["terminal"] == vector["phone"]
        if vector["kind"] == "frame":
            assert answer["serial"] == vector["serial"]
        body = answer["body"]
        if vector["msg_id"] == "0x0201":
            body = body["report"] | {"answer_serial": body["answer_serial"]}
        wanted = {k: v for k, v in expected.items() if k not in _NOT_COMPARED}
        wrong += [f"{vector['id']}: {text}" for text in differences(wanted, body)]
        compared[vector["msg_id"]] += 1
    assert not wrong, "\n".join(wrong)
    assert compared.total() >= 150, compared
    assert compared["0x0200"] >= 30, compared


def test_signed_degrees_are_in_the_reading(vectors: list[dict[str, Any]]) -> None:
    compared = 0
    for vector in vectors:
        expected = vector["expect"]
        if vector["msg_id"] not in ("0x0200", "0x0201") or "lat" not in expected:
            continue
        reading = answer_of(vector)["reading"]
        assert reading["latitude_deg"] == pytest.approx(expected["lat"]), vector["id"]
        assert reading["longitude_deg"] == pytest.approx(expected["lon"]), vector["id"]
        compared += 1
    assert compared >= 35


def test_what_a_strict_decoder_must_reject_is_an_answer(vectors: list[dict[str, Any]]) -> None:
    rejected = 0
    for vector in vectors:
        if is_declared(vector) and "error" in vector["expect"]:
            answer = answer_of(vector)
            # One frame has the header of 2013 and the bit of 2019: its length tells.
            if "decoded_as_2013_header" in vector["expect"]:
                expected = vector["expect"]["decoded_as_2013_header"]
                assert answer["terminal"] == expected["phone"]
                continue
            assert not answer["ok"], vector["id"]
            rejected += 1
    assert rejected >= 10


def test_every_frame_of_the_corpus_is_answered(vectors: list[dict[str, Any]]) -> None:
    decoder = Decoder()
    for vector in vectors:
        for hex_frame in frames_of(vector):
            assert decoder.argument(1, hex_frame), vector["id"]


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_every_vector_however_it_is_fed_and_followed_by_rubbish(
    vectors: list[dict[str, Any]], step: int
) -> None:
    for vector in vectors:
        if vector["kind"] != "frame" or not vector["checksum_ok"] or not vector["len_ok"]:
            continue
        frame = bytes.fromhex(vector["hex"])
        whole = Conversation().receive(frame)
        stream = frame + b"\x00rubbish\x7d"
        fed = Conversation()
        pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert [e for piece in pieces for e in fed.receive(piece)] == whole


def test_split_messages_join_in_any_order(vectors: list[dict[str, Any]]) -> None:
    joined = 0
    for vector in vectors:
        if vector["kind"] != "group" or not vector.get("conforms", True):
            continue
        if not vector["checksum_ok"]:
            continue
        frames = [bytes.fromhex(f) for f in frames_of(vector)]
        for order in (frames, frames[::-1], frames[1::2] + frames[::2]):
            fed = Conversation()
            events = [e for frame in order for e in fed.receive(frame)]
            whole = [*events, *fed.close()][-1]
            assert isinstance(whole, Received | UnknownMessage), vector["id"]
            assert whole.is_joined
            assert whole.raw == b"".join(frames)
            length = vector["expect"].get("reassembled_len")
            assert length is None or len(whole.body) == length
            joined += 1
    assert joined >= 9


# Bodies that do not come back byte by byte, and why.
_PADDING = "text filled up otherwise than the standard says"
KNOWN_REWRITES = {"0x0100": _PADDING, "0x0102": _PADDING}


def test_what_decodes_comes_back_byte_by_byte(vectors: list[dict[str, Any]]) -> None:
    same = 0
    other: Counter[str] = Counter()
    for vector in vectors:
        if vector["kind"] != "frame" or not is_declared(vector):
            continue
        for event in Conversation().receive(bytes.fromhex(vector["hex"])):
            if isinstance(event, Received):
                if encode(event.message, event.revision) + event.rest == event.body:
                    same += 1
                else:
                    other[vector["msg_id"]] += 1
    assert set(other) <= set(KNOWN_REWRITES), other
    assert same >= 130
    assert other.total() <= 12, other


def test_the_frames_of_real_terminals_are_answered(shared: Path) -> None:
    counts = {}
    for path in sorted((shared / "data" / "jt808").glob("*.*")):
        if path.suffix == ".md":
            continue
        decoder = Decoder()
        lines = path.read_text(encoding="utf-8").splitlines()
        answers = [a for number, line in enumerate(lines, 1) for a in decoder.line(number, line)]
        counts[path.name] = (len(answers), sum(a.is_ok for a in answers))
    assert counts == {
        "gojt808_0x1205_subpackages.txt": (19, 19),
        "gojt808_su_biao_session.log": (62, 62),
        # Checksums, escapes or lengths are wrong in the others; one has a bare 7E inside.
        "traccar_jt808_frames.txt": (57, 46),
    }
