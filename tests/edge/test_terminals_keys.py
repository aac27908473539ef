"""Encrypted bodies at a listener: opened with the gateway's key, kept whole without it."""

import secrets
import subprocess
from pathlib import Path

import pytest
from tests.edge.conftest import ReadingsIn, Until
from tests.edge.terminal_peer import PHONE, Dial, Listen, Terminal, report

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.main import main
from greenhaul_edge.sources.terminal_session import STRANGER_KEY_USES_MAX
from greenhaul_protocols.catalogue import Position, Undecodable
from greenhaul_protocols.jt808 import (
    Authentication,
    Header,
    PartNumber,
    PlatformAnswer,
    unwrap,
    wrap,
)
from greenhaul_protocols.jt808.messages_records import PlatformKey, TerminalKey
from greenhaul_protocols.jt808.rsa import PublicKey


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As an operator makes one."""
    path = tmp_path_factory.mktemp("keys") / "terminals.key"
    command = ["openssl", "genrsa", "-out", str(path), "1024"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def encrypted(terminal: Terminal, message: object) -> bytes:
    """The message as a terminal that knows the gateway's key sends it."""
    frames = terminal.conversation.send_frames(message, random_bytes=secrets.token_bytes)
    return b"".join(frames)


def told_key(terminal: Terminal) -> PublicKey:
    """The key the gateway answers the terminal's own with."""
    terminal.socket.sendall(terminal.conversation.send(TerminalKey(3, b"\xc0" + bytes(127))))
    answer, key = terminal.answers(2)
    assert isinstance(answer, PlatformAnswer)
    assert isinstance(key, PlatformKey)
    return PublicKey(int.from_bytes(key.modulus, "big"), key.exponent)


def test_an_encrypted_report_is_opened_with_the_key(
    listen: Listen,
    dial: Dial,
    clock: Clock,
    key_file: Path,
    outbox_path: Path,
    readings_in: ReadingsIn,
) -> None:
    source = listen(Jt808Settings(rsa_key_file=key_file))
    terminal = dial(source)
    terminal.sign_in()
    assert told_key(terminal) == terminal.conversation.peer_key
    terminal.socket.sendall(encrypted(terminal, report(clock.now_ms(), 32.5)))
    answer = terminal.answer()
    assert isinstance(answer, PlatformAnswer)
    assert (answer.answer_id, answer.result) == (0x0200, 0)
    assert source.counts.unopened == 0
    positions = [one for one in readings_in(outbox_path) if isinstance(one, Position)]
    assert [one.latitude_deg for one in positions] == [32.5]


def test_the_key_is_told_to_terminals_that_never_ask(
    listen: Listen, dial: Dial, until: Until, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.terminal_line.HEARTBEAT_QUERY_DELAY_S", 0.2)
    source = listen(Jt808Settings(rsa_key_file=key_file))
    terminal = dial(source)
    # Also to one that takes longer to say who it is than the gateway waits.
    until(lambda: bool(source.lines))
    (line,) = source.lines
    until(lambda: source.now_s() - line._opened_s > 0.3)
    terminal.sign_in()
    first, second = terminal.answers(2)
    assert isinstance(first, PlatformKey)
    assert getattr(second, "parameter_ids", None) == (0x0001,)


def test_without_the_key_an_encrypted_message_is_kept_whole(
    listen: Listen,
    dial: Dial,
    clock: Clock,
    until: Until,
    key_file: Path,
    outbox_path: Path,
    readings_in: ReadingsIn,
) -> None:
    knowing = dial(listen(Jt808Settings(rsa_key_file=key_file)))
    knowing.sign_in()
    source = listen()
    terminal = dial(source)
    terminal.sign_in()
    terminal.conversation.peer_key = told_key(knowing)
    wire = encrypted(terminal, report(clock.now_ms()))
    terminal.socket.sendall(wire)
    answer = terminal.answer()
    assert isinstance(answer, PlatformAnswer)
    assert answer.result == 2
    assert source.counts.unopened == 1
    until(lambda: any(isinstance(one, Undecodable) for one in readings_in(outbox_path)))
    (kept,) = [one for one in readings_in(outbox_path) if isinstance(one, Undecodable)]
    assert (kept.source, kept.raw) == (f"808:{PHONE}", wire)
    assert kept.reason == "encrypted: RSA, no key"


def test_a_terminal_that_kept_the_key_may_begin_encrypted(
    listen: Listen, dial: Dial, key_file: Path
) -> None:
    source = listen(Jt808Settings(rsa_key_file=key_file))
    terminal = dial(source)
    code = terminal.sign_in()
    key = told_key(terminal)
    returned = dial(source)
    returned.conversation.peer_key = key
    returned.socket.sendall(encrypted(returned, Authentication(code)))
    assert returned.answer() == PlatformAnswer(0, 0x0102, 0)


def test_a_stranger_makes_us_decrypt_no_more_than_a_few(
    listen: Listen, dial: Dial, clock: Clock, key_file: Path
) -> None:
    source = listen(Jt808Settings(rsa_key_file=key_file))
    knowing = dial(source)
    knowing.sign_in()
    stranger = dial(source, "13900000000")
    stranger.conversation.peer_key = told_key(knowing)
    count = STRANGER_KEY_USES_MAX + 5
    for _ in range(count):
        stranger.socket.sendall(encrypted(stranger, report(clock.now_ms())))
    answers = stranger.answers(count)
    assert all(isinstance(one, PlatformAnswer) and one.result for one in answers)
    assert source.counts.unopened == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no PEM private key"),
        ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "no PEM private key"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n", "base64"),
        ("-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n", "DER"),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "DER"),
    ],
)
def test_a_file_that_is_no_key_is_a_mistake_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "terminals.key").write_text(text)
    configuration = tmp_path / "edge.toml"
    configuration.write_text(
        f'[gateway]\nid = "gw-test"\n[outbox]\npath = "{tmp_path}"\n'
        '[sources.t]\ntype = "jt808"\nlisten = "127.0.0.1:0"\nrsa_key_file = "terminals.key"\n'
    )
    main(["doctor", "-c", str(configuration)])
    told = capsys.readouterr().out
    assert "terminals-key: t: " in told
    assert f"{tmp_path}/terminals.key: " in told
    assert said in told
    assert "openssl genrsa" in told


@pytest.mark.parametrize("arguments", [["genrsa", "512"], ["genrsa", "2048"]])
def test_a_key_of_another_size_is_refused(
    tmp_path: Path, listen: Listen, arguments: list[str]
) -> None:
    path = tmp_path / "other.key"
    made = subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    path.write_bytes(made.stdout)
    with pytest.raises(Exception, match=f"a key of {arguments[1]} bits"):
        listen(Jt808Settings(rsa_key_file=path))


def test_the_older_form_of_the_file_is_read_too(
    tmp_path: Path, listen: Listen, dial: Dial, key_file: Path
) -> None:
    older = tmp_path / "older.key"
    command = ["openssl", "rsa", "-traditional", "-in", str(key_file), "-out", str(older)]
    subprocess.run(command, check=True, capture_output=True)
    assert b"BEGIN RSA PRIVATE KEY" in older.read_bytes()
    keys = []
    for path in (key_file, older):
        terminal = dial(listen(Jt808Settings(rsa_key_file=path)))
        terminal.sign_in()
        keys.append(told_key(terminal))
    assert keys[0] == keys[1]


def test_another_method_is_never_taken_for_rsa(
    listen: Listen,
    dial: Dial,
    clock: Clock,
    key_file: Path,
    outbox_path: Path,
    readings_in: ReadingsIn,
) -> None:
    source = listen(Jt808Settings(rsa_key_file=key_file, auth="open"))
    terminal = dial(source)
    (frame,) = terminal.conversation.send_frames(report(clock.now_ms()))
    # Both packets of a split message say method 2, which some agree on in private for SM4.
    body = unwrap(frame).body
    for number, piece in enumerate((body[:10], body[10:]), start=1):
        header = Header(0x0200, PHONE, number, False, 2, PartNumber(number, 2))
        terminal.socket.sendall(wrap(header, piece))
    answer = terminal.answer()
    assert isinstance(answer, PlatformAnswer)
    assert answer.result == 2
    assert not [one for one in readings_in(outbox_path) if isinstance(one, Position)]
