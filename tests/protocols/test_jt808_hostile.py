"""Frames with right checksums and wrong insides: whatever reads them answers, nothing raises."""

import json
import random
from typing import Any

import pytest

from greenhaul_protocols.decode import Decoder, explanation
from greenhaul_protocols.jt808 import (
    MESSAGES,
    Authentication,
    BatchReport,
    Conversation,
    Header,
    Item,
    LocationAnswer,
    LocationReport,
    ParameterAnswer,
    PartNumber,
    PlatformResendRequest,
    Received,
    Registration,
    TextMessage,
    wrap,
)
from greenhaul_protocols.jt808.border import readings_of
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS, encode

ITEMS = (
    Item(0x01, bytes(4)),
    Item(0x06, b"\x80\x05"),
    Item(0x11, bytes(5)),
    Item(0xE4, b"\1\x32"),
    Item(0xF1, b"vendor"),
)
REPORT = LocationReport(1, 3, 32.99, 112.52, 130, 36.5, 90, "261120150405", ITEMS)
BODIES: list[tuple[Any, int]] = [
    (REPORT, 2013),
    (BatchReport.of((REPORT, REPORT), 1), 2013),
    (LocationAnswer(1, REPORT), 2019),
    (Registration(41, 1300, "GHAUL", "M", "T", 2, "豫R12345"), 2011),
    (Registration(41, 1300, "GHAUL", "M", "T", 2, "豫R12345"), 2019),
    (Authentication("abc", "1" * 15, "1.0"), 2019),
    (ParameterAnswer(1, (Item(0x83, b"\xd4\xa5"), Item(0x84, b"\2"), Item(0xF364, b"x"))), 2013),
    (PlatformResendRequest(1, (1, 2, 3)), 2019),
    (TextMessage(4, 1, "停车"), 2019),
]


def mutated(rng: random.Random, body: bytes) -> bytes:
    """Up to three bytes changed, cut out or put in."""
    wire = bytearray(body)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(wire)) if wire else 0
        match rng.randrange(3):
            case 0:
                wire[at : at + 1] = rng.choice((b"\x00", b"\x7e", b"\x7f", b"\xff"))
            case 1:
                del wire[at : at + rng.randrange(1, 8)]
            case _:
                wire[at:at] = rng.randbytes(rng.randrange(1, 8))
    return bytes(wire)


def hostile_frame(rng: random.Random) -> bytes:
    message, revision = rng.choice(BODIES)
    message_id = MESSAGE_IDS[type(message)]
    if rng.random() < 0.3:
        message_id = rng.choice([*MESSAGES, 0x0F01])
    is_2019 = rng.random() < 0.5
    part = PartNumber(rng.randrange(4), rng.randrange(4)) if rng.random() < 0.2 else None
    phone = f"{rng.randrange(5):0{20 if is_2019 else 12}x}"
    encryption = rng.choice((0, 0, 0, 1))
    header = Header(message_id, phone, rng.randrange(50), is_2019, encryption, part)
    frame = wrap(header, mutated(rng, encode(message, revision)))
    return frame[: rng.randrange(len(frame))] if rng.random() < 0.1 else frame


@pytest.mark.parametrize("seed", range(4))
def test_hostile_frames_are_answered(seed: int) -> None:
    rng = random.Random(seed)
    platform, decoder = Conversation(), Decoder()
    decoded = 0
    for number in range(500):
        frame = hostile_frame(rng)
        for event in platform.receive(frame):
            told = event.message if isinstance(event, Received) else event
            readings_of(told, source="808:1", received_time_ms=1_795_158_245_000)
            if event.header:
                platform.answer(event)
            decoded += isinstance(event, Received)
        for answer in decoder.line(number, frame.hex()):
            assert explanation(answer)
            json.dumps(answer.json)
    assert decoded > 100
