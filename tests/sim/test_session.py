"""A terminal's session, byte by byte, against a platform that is the same protocol class."""

from random import Random
from typing import Any

import pytest

from greenhaul_protocols.jt808 import (
    BAD_MESSAGE,
    FAILED,
    UNSUPPORTED,
    Authentication,
    BatchReport,
    Conversation,
    Event,
    Heartbeat,
    LocationAnswer,
    LocationQuery,
    LocationReport,
    Received,
    Registration,
    RegistrationAnswer,
    TerminalAnswer,
    TextMessage,
)
from greenhaul_sim.identity import identity_of
from greenhaul_sim.session import KEPT_MAX, Manners, Session, Stage

MANNERS = Manners(answer_timeout_s=2.0, resend_max=3, heartbeat_s=30.0, window_max=4)


def report(second: int) -> LocationReport:
    return LocationReport(
        alarms=0,
        status=3,
        latitude_deg=32.99,
        longitude_deg=112.5,
        altitude_m=130,
        speed_kmh=36.5,
        heading_deg=90,
        device_time=f"261120{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}",
    )


class Wire:
    """Session on one side, conversation of a platform on the other."""

    def __init__(self, revision: int = 2013) -> None:
        self.session = Session(identity_of("13912345678", revision), MANNERS)
        self.platform = Conversation()
        self.now = 100.0

    def heard(self, data: bytes) -> list[Received]:
        events = self.platform.receive(data)
        assert all(isinstance(event, Received) for event in events), events
        return [event for event in events if isinstance(event, Received)]

    def poll(self) -> list[Received]:
        return self.heard(self.session.poll(self.now))

    def say(self, data: bytes) -> list[Received]:
        return self.heard(self.session.receive(data, self.now))

    def answer(self, event: Event, result: int = 0) -> list[Received]:
        return self.say(self.platform.answer(event, result))

    def go_online(self) -> None:
        (first,) = self.heard(self.session.connected(self.now))
        if isinstance(first.message, Registration):
            code = RegistrationAnswer(first.header.serial, 0, "secret")
            (first,) = self.say(self.platform.send(code))
        assert isinstance(first.message, Authentication)
        assert first.message.auth_code == "secret"
        self.answer(first)
        assert self.session.stage is Stage.ONLINE

    def break_off(self) -> None:
        self.session.disconnected()
        self.platform = Conversation()


def only(events: list[Received], message_class: type[Any]) -> Received:
    (event,) = events
    assert isinstance(event.message, message_class)
    return event


@pytest.mark.parametrize("revision", [2011, 2013, 2019])
def test_register_authenticate_report(revision: int) -> None:
    wire = Wire(revision)
    wire.go_online()
    wire.session.put(report(1))
    event = only(wire.poll(), LocationReport)
    assert event.revision == revision
    assert wire.session.waiting == 1
    wire.now += 0.25
    wire.answer(event)
    (taken,) = wire.session.take_acknowledged()
    assert taken == (event.message, event.header.serial, 0x0200, 100.0, 100.25)
    assert wire.session.is_idle
    assert wire.session.take_acknowledged() == []


def test_nothing_is_reported_before_authentication() -> None:
    wire = Wire()
    wire.session.put(report(1))
    only(wire.heard(wire.session.connected(wire.now)), Registration)
    assert wire.poll() == []
    assert wire.session.waiting == 1


def test_the_code_is_kept_over_a_reconnect() -> None:
    wire = Wire()
    wire.go_online()
    wire.break_off()
    only(wire.heard(wire.session.connected(wire.now)), Authentication)


def test_a_refused_code_is_thrown_away_and_the_next_connection_registers() -> None:
    wire = Wire()
    wire.go_online()
    wire.break_off()
    wire.answer(only(wire.heard(wire.session.connected(wire.now)), Authentication), FAILED)
    assert wire.session.has_given_up
    assert wire.session.stage is Stage.REFUSED
    wire.break_off()
    only(wire.heard(wire.session.connected(wire.now)), Registration)


def test_a_refused_registration_ends_the_connection() -> None:
    wire = Wire()
    event = only(wire.heard(wire.session.connected(wire.now)), Registration)
    wire.say(wire.platform.send(RegistrationAnswer(event.header.serial, 3)))
    assert wire.session.has_given_up
    assert "3" in wire.session.last_refusal


def test_resends_follow_the_standard_and_then_the_connection_is_given_up() -> None:
    """T(n+1) = T(n) × (n+1): after 2 s, 4 s, 12 s, and 48 s of waiting for nothing."""
    wire = Wire()
    wire.go_online()
    wire.session.put(report(1))
    first = only(wire.poll(), LocationReport)
    for pause_s in (2.0, 4.0, 12.0):
        assert wire.session.next_due() == pytest.approx(wire.now + pause_s)
        wire.now += pause_s - 0.01
        assert wire.poll() == []
        wire.now += 0.01
        again = only(wire.poll(), LocationReport)
        assert again.raw == first.raw
    wire.now += 47.9
    wire.answer(only(wire.poll(), Heartbeat))
    assert not bool(wire.session.has_given_up)
    wire.now += 0.1
    wire.session.poll(wire.now)
    assert wire.session.has_given_up
    assert wire.session.counts.resent == 3
    assert wire.session.waiting == 1, "given up is the connection, never the report"


def test_what_was_not_acknowledged_goes_as_a_batch_after_reconnect() -> None:
    wire = Wire()
    wire.go_online()
    for second in range(3):
        wire.session.put(report(second))
    live = wire.poll()
    assert [type(event.message) for event in live] == [LocationReport] * 3
    wire.answer(live[0])
    wire.break_off()
    wire.session.put(report(3))
    (authentication,) = wire.heard(wire.session.connected(wire.now))
    batch = only(wire.answer(authentication), BatchReport)
    assert batch.message.reports == (report(1), report(2), report(3))


def test_a_batch_carries_reports_in_order_and_each_is_acknowledged() -> None:
    wire = Wire()
    for second in range(50):
        wire.session.put(report(second))
    (registration,) = wire.heard(wire.session.connected(wire.now))
    (authentication,) = wire.say(
        wire.platform.send(RegistrationAnswer(registration.header.serial, 0, "secret"))
    )
    batches = wire.answer(authentication)
    assert len(batches) == 2
    assert all(event.message.batch_type == 1 for event in batches)
    assert all(len(event.body) <= 1023 for event in batches)
    reports = [each for event in batches for each in event.message.reports]
    assert reports == [report(second) for second in range(50)]
    for event in batches:
        wire.answer(event)
    taken = wire.session.take_acknowledged()
    assert [each.report for each in taken] == reports
    assert {each.message_id for each in taken} == {0x0704}


def test_2011_has_no_batch() -> None:
    wire = Wire(2011)
    wire.session.put(report(1))
    (registration,) = wire.heard(wire.session.connected(wire.now))
    (authentication,) = wire.say(
        wire.platform.send(RegistrationAnswer(registration.header.serial, 0, "secret"))
    )
    only(wire.answer(authentication), LocationReport)


def test_a_platform_without_batches_gets_single_reports() -> None:
    wire = Wire()
    wire.go_online()
    wire.break_off()
    for second in range(2):
        wire.session.put(report(second))
    (authentication,) = wire.heard(wire.session.connected(wire.now))
    batch = only(wire.answer(authentication), BatchReport)
    singles = wire.answer(batch, UNSUPPORTED)
    assert [event.message for event in singles] == [report(0), report(1)]


def test_failed_means_later_and_bad_means_never() -> None:
    wire = Wire()
    wire.go_online()
    wire.session.put(report(1))
    wire.answer(only(wire.poll(), LocationReport), FAILED)
    assert wire.session.waiting == 1
    wire.now += 2.0
    wire.answer(only(wire.poll(), LocationReport), BAD_MESSAGE)
    assert wire.session.waiting == 0
    assert wire.session.counts.refused == 1
    assert wire.session.take_acknowledged() == []


def test_an_answer_to_something_else_acknowledges_nothing() -> None:
    wire = Wire()
    wire.go_online()
    wire.session.put(report(1))
    event = only(wire.poll(), LocationReport)
    wrong = event.header._replace(message_id=0x0002)
    wire.say(
        wire.platform.answer(Received(wrong, event.message, event.body, event.raw, event.revision))
    )
    assert wire.session.waiting == 1
    wire.answer(event)
    wire.answer(event)
    assert len(wire.session.take_acknowledged()) == 1


def test_the_window_and_the_memory_are_bounded() -> None:
    wire = Wire()
    wire.go_online()
    for second in range(10):
        wire.session.put(report(second))
    sent = wire.poll()
    assert len(sent) == MANNERS.window_max
    assert len(wire.answer(sent[0])) == 1
    while wire.session.has_room:
        wire.session.put(report(1))
    assert wire.session.waiting == KEPT_MAX + MANNERS.window_max
    with pytest.raises(AssertionError):
        wire.session.put(report(1))


def test_serials_wrap_and_go_on_over_a_reconnect() -> None:
    wire = Wire()
    wire.go_online()
    wire.session._conversation.next_serial = 65_535
    wire.session.put(report(1))
    wire.session.put(report(2))
    first, second = wire.poll()
    assert (first.header.serial, second.header.serial) == (65_535, 0)
    wire.answer(second)
    wire.answer(first)
    assert len(wire.session.take_acknowledged()) == 2
    wire.break_off()
    (event,) = wire.heard(wire.session.connected(wire.now))
    assert event.header.serial == 1


def test_the_heart_beats_at_the_very_instant_it_is_due() -> None:
    """due = last + 30 and now - last >= 30 are not the same to the last bit."""
    chance = Random(808)
    for _ in range(200):
        wire = Wire()
        wire.now = chance.uniform(0, 100)
        wire.go_online()
        wire.poll()
        wire.now = wire.session.next_due()
        only(wire.poll(), Heartbeat)
        assert wire.session.next_due() > wire.now


def test_a_quiet_terminal_sends_heartbeats() -> None:
    wire = Wire()
    wire.go_online()
    wire.now += 29.9
    assert wire.poll() == []
    assert wire.session.next_due() == pytest.approx(130.0)
    wire.now += 0.1
    wire.answer(only(wire.poll(), Heartbeat))
    assert wire.session.next_due() == pytest.approx(160.0)


def test_a_copy_is_sent_and_not_counted() -> None:
    wire = Wire()
    wire.go_online()
    wire.session.put(report(1), is_copy=True, is_late=True)
    wire.answer(only(wire.poll(), BatchReport))
    assert wire.session.take_acknowledged() == []
    assert wire.session.counts.acknowledged == 0
    assert wire.session.is_idle


def test_a_platform_may_ask() -> None:
    wire = Wire()
    wire.go_online()
    wire.session.put(report(7))
    wire.answer(only(wire.poll(), LocationReport))
    query = wire.platform.send(LocationQuery())
    answer = only(wire.say(query), LocationAnswer).message
    assert answer.report == report(7)
    answered = only(wire.say(wire.platform.send(TextMessage(1, text="到了"))), TerminalAnswer)
    assert (answered.message.answer_id, answered.message.result) == (0x8300, 0)
