"""Coverage-guided fuzzing of what reads a peer's bytes: Conversation, border, greenhaul-decode.

    python tests/protocols/fuzz_jt808.py [-max_total_time=600] [CORPUS]

Whatever comes, the answer is a value: an exception ends the run with its input. The first byte
chooses an edition and how the stream is chopped. Frames begin with right checksums, or the fuzzer
would never see the inside of one.
"""

import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

with atheris.instrument_imports(include=["greenhaul_protocols"]):
    from greenhaul_protocols.decode import Decoder, explanation
    from greenhaul_protocols.errors import EncodeError
    from greenhaul_protocols.jt808 import Conversation, Received
    from greenhaul_protocols.jt808.border import readings_of
    from greenhaul_protocols.jt808.declaration import MESSAGES, encode
    from greenhaul_protocols.jt808.framing import frame_of

RECEIVED_MS = 1_795_158_245_000
REVISIONS = (None, 2011, 2013, 2019)
IDS = sorted(MESSAGES)


def fuzz(data: bytes) -> None:
    """One input: a choice, then either a raw stream or the inside of frames."""
    if len(data) < 3:
        return
    choice, which, rest = data[0], data[1], data[2:]
    stream = rest if choice & 0x80 else frames_around(which, rest, is_2019=bool(choice & 0x40))
    revision = REVISIONS[choice & 3]
    conversation = Conversation(revision=revision)
    step = (choice >> 2 & 7) * 9 or len(stream) or 1
    for at in range(0, len(stream), step):
        for event in conversation.receive(stream[at : at + step]):
            body = event.message if isinstance(event, Received) else event
            readings_of(body, source="808:1", received_time_ms=RECEIVED_MS)
            if event.header:
                conversation.answer(event)
            if isinstance(event, Received):
                written_again(event)
    conversation.poll(0)
    conversation.poll(1_000_000)
    conversation.close()
    decoder = Decoder(revision=revision)
    for answer in [*decoder.line(1, stream.hex()), *decoder.stream([stream]), *decoder.close()]:
        explanation(answer)


def written_again(event: Received) -> None:
    """What was read is written again byte by byte, or it is said why not."""
    try:
        body = encode(event.message, event.revision) + event.rest
    except EncodeError:
        return
    assert body == event.body, f"{event.message} is not {event.body.hex()}"


def frames_around(which: int, data: bytes, *, is_2019: bool) -> bytes:
    """A frame of a declared message with these bytes as its body, in two packets if long."""
    message_id = IDS[which % len(IDS)]
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    frames = []
    for number, piece in enumerate(pieces, start=1):
        attributes = len(piece) | (0x2000 if len(pieces) > 1 else 0) | (0x4000 if is_2019 else 0)
        head = message_id.to_bytes(2, "big") + attributes.to_bytes(2, "big")
        head += b"\x01" + bytes(9) + b"\x01" if is_2019 else bytes(5) + b"\x01"
        head += number.to_bytes(2, "big")
        if len(pieces) > 1:
            head += len(pieces).to_bytes(2, "big") + number.to_bytes(2, "big")
        frames.append(frame_of(head + piece))
    return b"".join(frames)


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
