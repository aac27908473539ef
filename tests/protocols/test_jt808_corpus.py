"""Frames of other implementations and the values their authors assert.

Every vector of a declared message is compared in full. Where we differ, `known_differences.toml`
names the clause that says we are right; the numbers compared are asserted, so that a change that
silently compares less fails.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenhaul_protocols.decode import Decoder
from greenhaul_protocols.jt808 import MESSAGES, Conversation, Received, UnknownMessage
from greenhaul_protocols.jt808.declaration import encode

pytestmark = pytest.mark.corpus

KNOWN_DIFFERENCES: dict[str, str] = {
    vector: difference["clause"]
    for difference in tomllib.loads(
        (Path(__file__).parent / "known_differences.toml").read_text(encoding="utf-8")
    )["difference"]
    for vector in difference["vectors"]
}


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

# What a vector calls a field, and what we call it: of several names, the one the body has.
_NAMES = {
    "ack_serial": ("answer_serial",),
    "ack_id": ("answer_id",),
    "province": ("province_id",),
    "city": ("city_id",),
    "maker": ("maker_id",),
    "plate_color": ("plate_colour",),
    "software": ("software_version",),
    "orig_serial": ("first_serial",),
    "flag": ("flags", "demand", "call_type", "call_direction"),
    "alarm_type": ("alarms",),
    "alarm": ("alarms",),
    "lat": ("latitude_deg",),
    "lon": ("longitude_deg",),
    "server_time_bcd": ("server_time",),
    "time": ("device_time", "card_time"),
    "time_raw": ("device_time_raw",),
    "params": ("parameters",),
    "items": ("reports", "media", "entries"),
    "ids": ("numbers", "parameter_ids", "media_ids", "area_ids", "route_ids"),
    "extras_hex": ("items",),
    "extras": ("items",),
    "type": (
        "batch_type", "media_type", "upgrade_type", "information_type", "setting_type",
        "pass_through_type", "area_type",
    ),
    "hardware": ("hardware_version",),
    "firmware": ("firmware_version",),
    "gnss": ("gnss_systems",),
    "comm": ("radio_systems",),
    "ic_result": ("card_result",),
    "expiry": ("valid_until",),
    "id_card": ("identity_number",),
    "time_hhmmssms": ("first_frame_time",),
    "extended": ("is_extended",),
    "averaged": ("is_averaged",),
    "format": ("media_format",),
    "args": ("arguments",),
    "start": ("start_time",),
    "end": ("end_time",),
    "save": ("storage",),
    "seconds": ("duration_s",),
    "delete": ("deletion",),
    "data_hex": ("data",),
    "len": ("data_size",),
    "data_len": ("data_size",),
    "e": ("exponent",),
    "n_hex": ("modulus",),
    "id": ("area_id", "route_id", "event_id", "answer_id", "control_id"),
    "attr": ("attributes",),
    "max_speed_kmh": ("speed_max_kmh",),
    "night_max_speed_kmh": ("night_speed_max_kmh",),
    "max_s": ("time_max_s",),
    "min_s": ("time_min_s",),
    "top_lat": ("top_latitude_deg",),
    "left_lon": ("left_longitude_deg",),
    "bottom_lat": ("bottom_latitude_deg",),
    "right_lon": ("right_longitude_deg",),
    "value": ("door",),
    "controls": ("commands",),
}  # fmt: skip
_LISTS = {"items", "events", "answers", "contacts", "areas", "points", "controls", "frames"}
_DEGREES = {"lat", "lon", "top_lat", "left_lon", "bottom_lat", "right_lon"}
# Said of the bytes, not by them.
_NOT_COMPARED = {"reassembled_len", "maker_len"}


def differences(expected: dict[str, Any], body: dict[str, Any]) -> Iterator[str]:
    """What a decoded body says otherwise than a vector. None: they agree in everything."""
    for key, value in expected.items():
        if key in _NOT_COMPARED:
            continue
        if key == "count":
            lists = [v for v in body.values() if isinstance(v, list)]
            actual: Any = body.get("area_count", len(lists[0]) if lists else 0)
        else:
            actual = body[next(n for n in (*_NAMES.get(key, ()), key) if n in body)]
        match key:
            case "params":
                pairs = zip(value, actual, strict=True)
                told = [(e, _parameter(a, e["value"])) for e, a in pairs]
                yield from (f"expected {e}, got {a}" for e, a in told if e != a)
                continue
            case "extras":
                yield from _item_differences(value, actual)
                continue
            case "location":
                yield from differences(value, actual)
                continue
            case _ if key in _LISTS:
                for e, a in zip(value, actual or [], strict=True):
                    yield from differences(e, a)
                continue
            case "vertices":
                actual = [[v["latitude_deg"], v["longitude_deg"]] for v in actual]
            case "extras_hex":
                actual = [[i["id"].lower(), i["raw"]] for i in actual]
                actual += [["truncated", body["cut"]]] if "cut" in body else []
            case "ids":
                actual = [i.lower() if isinstance(i, str) else i for i in actual or []]
            case "ack_id":
                actual = actual.lower()
            case "args" if "arguments_raw" in body:
                actual = "hex:" + body["arguments_raw"]
        if key in _DEGREES:
            value = abs(value)  # the body says magnitudes, as the frame does
        if value != actual:
            yield f"{key}: expected {value!r}, got {actual!r}"


def _parameter(parameter: dict[str, Any], expected: Any) -> dict[str, Any]:
    """As the vectors write it: a number as it is on the wire, bytes as `hex:…`, else text.

    Of a vendor's parameters we know the bytes only, where a vector may guess a number.
    """
    raw = bytes.fromhex(parameter["raw"])
    value: Any = parameter["value"]
    if isinstance(expected, int):
        value = int.from_bytes(raw, "big")
    elif isinstance(expected, str) and expected.startswith("hex:"):
        value = "hex:" + parameter["raw"]
    return {"id": parameter["id"].lower(), "len": len(raw), "value": value}


def _item_differences(expected: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[str]:
    """Every value the vectors read from an additional item is among those we read from it."""
    of_id: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        of_id.setdefault(item["id"].lower(), []).append(item)
    for key, fields in expected.items():
        if key == "_truncated":
            continue
        item_id, _, number = key.partition("#")
        item = of_id[item_id][int(number or 1) - 1]
        have = list(_leaves(item))
        for name, value in fields.items():
            for leaf in _leaves(value):
                wanted = abs(leaf) if name in _DEGREES else leaf
                if wanted not in have:
                    yield f"item {key} {name}: expected {leaf!r}, got {item}"


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def is_declared(vector: dict[str, Any]) -> bool:
    return bool(vector["msg_id"]) and int(vector["msg_id"], 16) in MESSAGES


def test_every_conforming_vector_decodes_to_its_values(vectors: list[dict[str, Any]]) -> None:
    compared: Counter[str] = Counter()
    wrong = []
    for vector in vectors:
        expected = vector["expect"]
        is_part = vector.get("subpackage") is not None
        if not is_declared(vector) or vector.get("conforms") is False or is_part:
            continue
        if "body_hex" in expected or vector["id"] in KNOWN_DIFFERENCES:
            continue  # a body the vectors leave as bytes; it comes back byte by byte below
        answer = answer_of(vector)
        assert answer["ok"], f"{vector['id']}: {answer}"
        assert int(answer["message_id"], 16) == int(vector["msg_id"], 16)
        if vector["phone"]:
            assert answer["terminal"] == vector["phone"]
        if vector["kind"] == "frame":
            assert answer["serial"] == vector["serial"]
        body = answer["body"]
        if vector["msg_id"] in ("0x0201", "0x0500"):
            body = body["report"] | {"answer_serial": body["answer_serial"]}
        wrong += [f"{vector['id']}: {text}" for text in differences(expected, body)]
        compared[vector["msg_id"]] += 1
    assert not wrong, "\n".join(wrong)
    assert compared.total() >= 369, compared.total()
    assert len(compared) >= 62, len(compared)
    assert compared["0x0200"] >= 30, compared


def test_packets_and_messages_of_other_standards_keep_their_bytes(
    vectors: list[dict[str, Any]],
) -> None:
    compared: Counter[str] = Counter()
    for vector in vectors:
        expected = vector["expect"]
        raw = expected.get("part_hex", expected.get("body_hex"))
        if raw is None or vector.get("conforms") is False:
            continue
        answer = answer_of(vector)
        assert answer["ok"], vector["id"]
        if is_declared(vector) and "part_hex" not in expected:
            # A body the vectors leave as bytes: it comes back byte by byte, below.
            continue
        assert answer["body"]["raw"] == raw, vector["id"]
        compared["part" if "part_hex" in expected else "whole"] += 1
    assert compared["part"] >= 30, compared
    assert compared["whole"] >= 63, compared


def test_bodies_of_2011_say_what_their_authors_put_in(vectors: list[dict[str, Any]]) -> None:
    by_id = {vector["id"]: vector for vector in vectors}
    driver = answer_of(by_id["hylexus-xtream-codec-0025"])["body"]
    assert driver == {
        "name": "张无忌",
        "identity_number": "11223344556677889900",
        "certificate": "9876543210987654321098765432109876543210",
        "agency": "没有名字",
    }
    for name in ("smallchi-jt808-0084", "smallchi-jt808-0085"):
        assert answer_of(by_id[name])["body"]["media_id"] == 129


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
            assert answer["ok"] == (vector["id"] in KNOWN_DIFFERENCES), vector["id"]
            rejected += not answer["ok"]
            if "decoded_as_2013_header" in vector["expect"]:
                read = vector["expect"]["decoded_as_2013_header"]
                told = {k: v for k, v in read.items() if k not in ("phone", "serial")}
                assert answer["terminal"] == read["phone"]
                assert not list(differences(told, answer["body"]))
    assert rejected >= 22


def test_known_differences_are_few_and_differ(vectors: list[dict[str, Any]]) -> None:
    ids = {vector["id"] for vector in vectors}
    assert set(KNOWN_DIFFERENCES) <= ids
    assert len(KNOWN_DIFFERENCES) <= 5
    assert all(KNOWN_DIFFERENCES.values())


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
        data = b"".join(map(bytes.fromhex, frames_of(vector)))
        whole = Conversation().receive(data)
        stream = data + b"\x00rubbish\x7d"
        fed = Conversation()
        pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert [e for piece in pieces for e in fed.receive(piece)] == whole, vector["id"]


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


def test_what_decodes_comes_back_byte_by_byte(vectors: list[dict[str, Any]]) -> None:
    same: Counter[str] = Counter()
    for vector in vectors:
        version = vector["version"]
        conversation = Conversation(revision=None if version == "unknown" else int(version))
        for hex_frame in frames_of(vector):
            for event in conversation.receive(bytes.fromhex(hex_frame)):
                if isinstance(event, Received):
                    body = encode(event.message, event.revision) + event.rest
                    assert body == event.body, vector["id"]
                    same[vector["msg_id"]] += 1
    assert same.total() >= 380, same.total()


def test_streams_give_up_their_frames(vectors: list[dict[str, Any]]) -> None:
    streams = [vector for vector in vectors if vector["kind"] == "stream"]
    for vector in streams:
        events = Conversation().receive_datagram(bytes.fromhex(vector["hex"]))
        found = iter([event.raw.hex() for event in events])
        # Those in the vectors are cut out only: our answers to them come in the same order.
        assert all(frame in found for frame in vector["expect"]["frames"]), vector["id"]
    assert len(streams) == 14


def test_what_real_terminals_send_comes_back_byte_by_byte(shared: Path) -> None:
    same = 0
    for path in sorted((shared / "data" / "jt808").glob("*.*")):
        decoder = Decoder()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for answer in decoder.line(number, line):
                event = answer.event
                if isinstance(event, Received):
                    body = encode(event.message, event.revision) + event.rest
                    assert body == event.body, f"{path.name}:{number}"
                    same += 1
    assert same >= 95, same


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
        # Checksums or lengths are wrong in the others; two are torn by a bare 7E before it joins.
        "traccar_jt808_frames.txt": (57, 52),
    }
