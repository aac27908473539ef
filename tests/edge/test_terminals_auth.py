"""Who is let in: one box a number, until it is released."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.edge.terminal_peer import PHONE, REGISTRATION, SECRET, Dial, Listen, Terminal

from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.main import main
from greenhaul_edge.sources.terminal_auth import TerminalAuth, allow_list, tag_of
from greenhaul_edge.sources.terminal_registry import Binding, Claim, TerminalRegistry
from greenhaul_protocols.jt808 import (
    Authentication,
    Conversation,
    Heartbeat,
    Item,
    Logout,
    ParameterAnswer,
    PlatformAnswer,
    RegistrationAnswer,
)

OTHER_BOX = replace(REGISTRATION, terminal_id="T000002")
OTHER_VEHICLE = replace(REGISTRATION, plate="豫R99999")


def result(answer: object) -> int:
    """Of a registration or a general answer."""
    assert isinstance(answer, RegistrationAnswer | PlatformAnswer)
    return answer.result


def test_another_box_with_the_number_is_refused_until_it_is_released(
    listen: Listen, dial: Dial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "edge.toml"
    configuration.write_text(f'[gateway]\nid = "gw-test"\n[outbox]\npath = "{tmp_path}"\n')
    source = listen()
    code = dial(source).sign_in()
    thief = dial(source)
    assert result(thief.ask(OTHER_BOX)) == 3
    assert result(thief.ask(OTHER_VEHICLE)) == 1
    assert source.counts.refused_registrations == 2
    assert main(["terminals", "ls", "-c", str(configuration)]) == 0
    listed = capsys.readouterr().out
    assert PHONE in listed
    assert "T000001" in listed
    assert "豫R12345" in listed
    assert main(["terminals", "release", PHONE, "-c", str(configuration)]) == 0
    assert main(["terminals", "release", PHONE, "-c", str(configuration)]) == 1
    assert result(thief.ask(OTHER_BOX)) == 0
    # What proved the first box proves nothing any more.
    assert dial(source).ask(Authentication(code)) == PlatformAnswer(0, 0x0102, 1)
    assert result(dial(source).ask(REGISTRATION)) == 3


def test_releasing_a_number_ends_the_connection_of_the_box_that_had_it(
    listen: Listen, dial: Dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.jt808.TICK_S", 0.05)
    configuration = tmp_path / "edge.toml"
    configuration.write_text(f'[gateway]\nid = "gw-test"\n[outbox]\npath = "{tmp_path}"\n')
    source = listen()
    released, other = dial(source), dial(source, "13900000000")
    code = released.sign_in()
    other.sign_in()
    assert main(["terminals", "release", PHONE, "-c", str(configuration)]) == 0
    assert released.answer() is None
    assert source.counts.closed_released == 1
    assert PHONE not in source.by_terminal
    # The others stay, and what the box once proved is worth nothing.
    assert other.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 0)
    returned = dial(source)
    assert returned.ask(Authentication(code)) == PlatformAnswer(0, 0x0102, 1)
    # It may register like any other box, and is left alone then.
    returned.sign_in()
    main(["terminals", "release", "13900000000", "-c", str(configuration)])
    assert other.answer() is None
    assert result(returned.ask(Heartbeat())) == 0


def test_a_connection_stands_for_the_terminal_it_proved_to_be_last(
    listen: Listen, dial: Dial, until: Callable[[Callable[[], bool]], None]
) -> None:
    source = listen()
    first, other = dial(source), dial(source, "13900000000")
    code, other_code = first.sign_in(), other.sign_in()
    # A tester's one connection shows both codes in turn.
    both = dial(source)
    assert result(both.ask(Authentication(code))) == 0
    both.conversation.phone = "13900000000"
    assert result(both.ask(Authentication(other_code))) == 0
    assert list(source.by_terminal) == ["13900000000"]
    # The first terminal comes back, and does not end what it is no longer.
    assert result(dial(source).ask(Authentication(code))) == 0
    assert result(both.ask(Heartbeat())) == 0
    both.close()
    until(lambda: list(source.by_terminal) == [PHONE])


def test_a_binding_outlives_restarts(listen: Listen, dial: Dial) -> None:
    code = dial(listen()).sign_in()
    again = listen()
    assert result(dial(again).ask(OTHER_BOX)) == 3
    assert dial(again).ask(Authentication(code)) == PlatformAnswer(0, 0x0102, 0)


def test_a_terminal_that_lost_its_code_registers_again_and_gets_the_same(
    listen: Listen, dial: Dial
) -> None:
    source = listen()
    code = dial(source).sign_in()
    returned = dial(source)
    assert returned.ask(Authentication("")) == PlatformAnswer(0, 0x0102, 1)
    assert returned.sign_in() == code


def test_a_lost_registry_locks_nobody_out_and_binds_who_proves_itself(
    listen: Listen, dial: Dial, tmp_path: Path
) -> None:
    first = listen()
    code = dial(first).sign_in()
    first.stop()
    for path in tmp_path.glob("terminals.sqlite*"):
        path.unlink()
    second = listen()
    assert dial(second).ask(Authentication(code)) == PlatformAnswer(0, 0x0102, 0)
    assert result(dial(second).ask(OTHER_BOX)) == 3
    assert result(dial(second).ask(REGISTRATION)) == 0


def test_a_damaged_registry_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "terminals.sqlite"
    path.write_bytes(b"no database at all" * 100)
    registry = TerminalRegistry(path)
    registry.open()
    try:
        assert registry.claim(Binding(PHONE, "A", "M", "", "T", 0, "", 1)).result(10) is Claim.BOUND
    finally:
        registry.close()
    assert (tmp_path / "terminals.sqlite.damaged-1").read_bytes().startswith(b"no database")


def test_a_registry_has_room_for_so_many_and_then_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.terminal_registry.BINDINGS_MAX", 2)
    registry = TerminalRegistry(tmp_path / "terminals.sqlite")
    registry.open()
    try:
        claims = [
            registry.claim(Binding(str(phone), "A", "M", "", "T", 0, "", 1)) for phone in range(3)
        ]
        assert [claim.result(10) for claim in claims] == [Claim.BOUND, Claim.BOUND, Claim.NO_ROOM]
        assert [binding.phone for binding in registry.bindings()] == ["0", "1"]
    finally:
        registry.close()


def test_of_two_boxes_that_register_at_once_one_is_bound(tmp_path: Path) -> None:
    registries = [TerminalRegistry(tmp_path / "terminals.sqlite") for _ in range(2)]
    for registry in registries:
        registry.open()
    try:
        claims = [
            registry.claim(Binding(PHONE, f"{n}{box}", "M", "", f"T{n}{box}", 0, "", 1))
            for n in range(10)
            for box, registry in enumerate(registries)
        ]
        results = [claim.result(10) for claim in claims]
        assert results.count(Claim.BOUND) == 1
        assert results.count(Claim.OTHER_BOX) == len(claims) - 1
    finally:
        for registry in registries:
            registry.close()


def test_an_allow_list_may_name_the_vehicle(listen: Listen, dial: Dial) -> None:
    source = listen(Jt808Settings(auth="allow-list", allow=(f"{PHONE} 豫R12345", "13900000001")))
    assert result(dial(source).ask(OTHER_VEHICLE)) == 2
    assert result(dial(source, "13900000002").ask(REGISTRATION)) == 4
    assert result(dial(source, "13900000001").ask(OTHER_VEHICLE)) == 0
    dial(source).sign_in()


def test_a_code_is_sixteen_plain_characters_and_only_its_own(listen: Listen, dial: Dial) -> None:
    code = dial(listen()).sign_in()
    assert len(code) == 16
    assert code.isascii()
    assert code.isalnum()
    auth = TerminalAuth("register", SECRET)
    assert code == auth.code(PHONE, tag_of(REGISTRATION))
    others = {
        auth.code("13912345679", tag_of(REGISTRATION)),
        auth.code(PHONE, tag_of(OTHER_BOX)),
        TerminalAuth("register", b"\x02" * 32).code(PHONE, tag_of(REGISTRATION)),
    }
    assert len({code, *others}) == 4
    assert auth.authenticate(PHONE, code, 0) is not None
    assert auth.authenticate("13912345679", code, 0) is None
    assert auth.authenticate(PHONE, tag_of(OTHER_BOX) + code[5:], 0) is None


def test_logging_out_gives_the_registration_up(listen: Listen, dial: Dial) -> None:
    source = listen()
    terminal = dial(source)
    code = terminal.sign_in()
    assert result(terminal.ask(Logout())) == 0
    assert terminal.ask(Heartbeat()) == PlatformAnswer(3, 0x0002, 1)
    assert result(terminal.ask(Authentication(code))) == 1
    assert result(dial(source).ask(OTHER_BOX)) == 0


def test_who_guesses_codes_is_hung_up_on(listen: Listen, dial: Dial) -> None:
    source = listen()
    terminal = dial(source)
    for serial in range(9):
        assert terminal.ask(Authentication(f"{serial:016}")) == PlatformAnswer(serial, 0x0102, 1)
    assert result(terminal.ask(Authentication("x"))) == 1
    assert terminal.answer() is None
    assert source.counts.closed_refused == 1


def test_the_revision_of_a_registration_is_remembered(listen: Listen, dial: Dial) -> None:
    """The answer to a picture differs between 2011 and 2013, and its frame does not say which."""
    source = listen()
    old = Terminal(source.address)
    old.conversation = Conversation(phone=PHONE, revision=2011)
    code = old.sign_in()
    old.close()
    auth = source.auth
    standing = auth.authenticate(PHONE, code, 0)
    assert standing is not None
    assert standing.revision == 2011
    returned = dial(source)
    returned.conversation = Conversation(phone=PHONE, revision=2011)
    assert result(returned.ask(Authentication(code))) == 0
    (line,) = source.by_terminal.values()
    assert line.session.revision == 2011


def test_the_heartbeat_interval_is_asked_for_once_and_remembered(
    listen: Listen, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.terminal_line.HEARTBEAT_QUERY_DELAY_S", 0.2)
    source = listen()
    terminal = dial(source)
    code = terminal.sign_in()
    query = terminal.answer()
    assert getattr(query, "parameter_ids", None) == (0x0001,)
    answer = ParameterAnswer(0, (Item(0x0001, (30).to_bytes(4, "big")),))
    assert result(terminal.ask(answer)) == 0
    (line,) = source.by_terminal.values()
    assert line.session.heartbeat_s == 30
    assert line.ends_s() - line.source.now_s() <= 90  # three heartbeats, not ten minutes
    again = dial(source)
    assert result(again.ask(Authentication(code))) == 0
    (line,) = source.by_terminal.values()
    assert line.session.heartbeat_s == 30
    assert line.session.heartbeat_query() == b""


def test_allow_list_entries_are_numbers_and_plates() -> None:
    assert allow_list(["013912345678", "139 豫R 1"]) == {"13912345678": "", "139": "豫R 1"}
