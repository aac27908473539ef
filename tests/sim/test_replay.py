"""Replay: point for point, refusals counted, against a real socket."""

import asyncio
import json
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.reports import BENT, FRAMES, NOISE
from tests.sim.honest_platform import Platform, running

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.jt808 import Conversation, Heartbeat, LocationReport, Received
from greenhaul_protocols.jt808.framing import FrameReader
from greenhaul_protocols.times import parse_time
from greenhaul_sim.commands.replay import phone_of
from greenhaul_sim.frame_replay import FramePlayer, FrameResult, Parcel, sort_frames
from greenhaul_sim.ledger import Claim, LedgerWriter, claim_of, read_ledger
from greenhaul_sim.replay import Planned, Player, ReplayResult, plan, shift_of
from greenhaul_sim.tracks import LocalTimes, Track, TrackPoint, Unreadable, read_track
from greenhaul_sim.tracks.frames import read_frames

START_MS = parse_time("2026-11-20T08:00:00Z")


def point(number: int, time_ms: int | None, latitude_deg: float, **more: float) -> TrackPoint:
    values = {"longitude_deg": 112.53, **more}
    return TrackPoint(number, time_ms, latitude_deg, **values)  # type: ignore[arg-type]


def planned(*points: TrackPoint, shift_ms: int = 0) -> tuple[list[Planned], ReplayResult]:
    result = ReplayResult("t")
    return plan(Track("t", points), shift_ms, result), result


def play(
    platform: Platform, track: Track, path: Path, *, shift_ms: int = 0, speed: float = 0
) -> ReplayResult:
    async def whole() -> ReplayResult:
        result = ReplayResult(track.name)
        reports = plan(track, shift_ms, result)
        async with running(platform):
            with LedgerWriter(path) as ledger:
                player = Player("13800000001", 2013, platform.address, ledger)
                await player.play(reports, result, speed=speed, drain_s=5)
        return result

    return asyncio.run(whole())


def test_what_the_protocol_cannot_carry_is_refused_and_counted() -> None:
    reports, result = planned(
        point(1, None, 32.0),
        point(2, START_MS, 90.5),
        point(3, START_MS, 32.0, longitude_deg=181.0),
        point(4, START_MS, float("nan")),
        point(5, 0, 32.0),
        point(6, parse_time("2100-01-01T00:00:00Z"), 32.0),
        point(7, START_MS, -90.0, longitude_deg=-180.0),
        point(8, START_MS, 0.0, longitude_deg=0.0),
    )
    assert [each.report.device_time for each in reports] == ["261120160000"] * 2
    assert result.read == 8
    assert result.refused == {
        "no time": 1,
        "position not on Earth": 3,
        "time before 2000": 1,
        "time after 2099": 1,
    }


def test_unreadable_rows_are_counted() -> None:
    result = ReplayResult("t")
    track = Track("t", (point(1, START_MS, 32.0),), (Unreadable(2, "not a point: x"),))
    assert len(plan(track, 0, result)) == 1
    assert (result.read, result.refused) == (2, {"not a point": 1})
    assert "1× not a point" in result.line()


def test_values_are_the_files_to_the_resolution_of_the_wire() -> None:
    reports, _ = planned(
        point(1, START_MS + 900, -32.9900014, longitude_deg=-112.5300006, speed_kmh=12.34)
    )
    assert claim_of(reports[0].report) == Claim(START_MS, -32_990_001, -112_530_001, 123)


def test_speed_and_heading_come_from_positions_where_the_file_has_none() -> None:
    step_deg = 10 / 111_320  # 10 m north a second: 36 km/h
    points = [point(n, START_MS + 1000 * n, 32.0 + n * step_deg) for n in range(4)]
    points.append(point(4, START_MS + 5000, 33.0))  # a jump of the fix
    points.append(point(5, START_MS + 6000, 33.0))
    reports, _ = planned(*points)
    assert [round(each.report.speed_kmh) for each in reports] == [36, 36, 36, 36, 0, 0]
    assert [each.report.heading_deg for each in reports] == [0] * 6
    east, _ = planned(point(1, START_MS, 32.0), point(2, START_MS, 32.0, longitude_deg=112.54))
    assert [each.report.heading_deg for each in east] == [0, 90]


def test_undated_tracks_want_a_start_and_dated_ones_keep_theirs() -> None:
    undated = Track("u", (point(1, 5_000, 32.0), point(2, 7_000, 32.0)))
    with pytest.raises(ConfigError, match="--start"):
        shift_of(undated, None)
    shift_ms = shift_of(undated, START_MS)
    reports = plan(undated, shift_ms, ReplayResult("u"))
    assert [each.time_ms for each in reports] == [START_MS, START_MS + 2_000]
    dated = Track("d", (point(1, START_MS, 32.0),))
    assert shift_of(dated, START_MS + 5) == 0
    assert shift_of(dated, START_MS + 5, shift_dated=True) == 5


def test_repeated_times_and_backward_steps_are_sent_in_the_files_order(
    platform: Platform, tmp_path: Path
) -> None:
    seconds = [0, 0, 5, 3, 3, 9]
    points = tuple(
        point(n, START_MS + 1000 * second, 32.0 + n / 1000) for n, second in enumerate(seconds)
    )
    result = play(platform, Track("t", points), tmp_path / "ledger")
    assert (result.sent, result.acknowledged) == (6, 6)
    assert [round((report.latitude_deg - 32) * 1000) for _, report in platform.reports] == [
        *range(6)
    ]
    assert [e.claim.device_time_ms - START_MS for e in read_ledger(tmp_path / "ledger")] == [
        1000 * second for second in seconds
    ]


def test_points_of_the_future_are_refused_when_their_turn_comes(
    platform: Platform, tmp_path: Path
) -> None:
    future_ms = parse_time("2090-01-01T00:00:00Z")
    track = Track("t", (point(1, START_MS - 10**10, 32.0), point(2, future_ms, 32.0)))
    result = play(platform, track, tmp_path / "ledger")
    assert result.refused == {"time in the future": 1}
    assert (result.sent, result.acknowledged) == (1, 1)
    assert result.is_complete


def test_pace_follows_the_recorded_one(platform: Platform, tmp_path: Path) -> None:
    points = tuple(point(n, START_MS - 10**10 + 1000 * n, 32.0 + n / 1e4) for n in range(4))
    play(platform, Track("t", points), tmp_path / "ledger", speed=20)
    sent_ms = [entry.sent_at_ms for entry in read_ledger(tmp_path / "ledger")]
    assert 140 <= sent_ms[-1] - sent_ms[0] < 1500


def test_nobody_listening_is_said_and_nothing_counted_as_sent() -> None:
    async def whole() -> ReplayResult:
        from greenhaul_sim.link import Address

        result = ReplayResult("t")
        reports = plan(Track("t", (point(1, START_MS, 32.0),)), 0, result)
        player = Player("13800000001", 2013, Address("127.0.0.1", 9), None)
        await player.play(reports, result, speed=0, drain_s=0.1)
        return result

    result = asyncio.run(whole())
    assert result.problem == "no server answers"
    assert (result.sent, result.is_complete) == (0, False)


def test_frames_go_as_they_are_by_terminal_and_broken_ones_too(
    platform: Platform, tmp_path: Path
) -> None:
    one, two = (
        Conversation(phone="13900000001", revision=2013),
        Conversation(phone="13900000002", revision=2019),
    )
    report = LocationReport(0, 3, 32.0, 112.0, 0, 0.0, 0, "261120160000")
    frames = [one.send(Heartbeat()), two.send(report), one.send(report)]
    bad = frames[2][:-2] + bytes([frames[2][-2] ^ 1]) + b"\x7e"
    downlink = Conversation(phone="13900000001").send(Heartbeat())
    downlink = Conversation(phone="13900000001", revision=2013).answer(
        Conversation().receive(downlink)[0]
    )
    file = b"\n".join(frame.hex().encode() for frame in (*frames, downlink))

    async def whole() -> FrameResult:
        result = FrameResult("f")
        async with running(platform):
            with LedgerWriter(tmp_path / "ledger") as ledger:
                player = FramePlayer(platform.address, result, ledger, registers=False)
                for (phone, is_2019), parcels in sort_frames(read_frames(file), result).items():
                    await player.play(phone, is_2019, parcels)
        return result

    result = asyncio.run(whole())
    assert (result.read, result.sent, result.downlink) == (4, 3, 1)
    assert result.answered == {0: 3}
    assert sorted(event.raw for event in platform.received) == sorted(frames)
    assert len(list(read_ledger(tmp_path / "ledger"))) == 2
    broken = FrameResult("b")
    assert [
        [p.wants_answer for p in parcels]
        for parcels in sort_frames(read_frames(bad), broken).values()
    ] == [[False]]
    assert broken.malformed == 1


@settings(max_examples=60)
@given(st.lists(FRAMES | BENT | NOISE, max_size=12).map(b"".join))
def test_frames_are_sorted_alike_with_and_without_the_vectorised_reader(stream: bytes) -> None:
    frames = FrameReader().feed(stream)
    together, alone = FrameResult("together"), FrameResult("alone")
    fast = sort_frames(frames, together)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("greenhaul_sim.frame_replay._reporters", lambda _: {})
        slow = sort_frames(frames, alone)
    assert {key: list(map(said, parcels)) for key, parcels in fast.items()} == {
        key: list(map(said, parcels)) for key, parcels in slow.items()
    }
    assert (together.malformed, together.downlink) == (alone.malformed, alone.downlink)


def said(parcel: Parcel) -> object:
    """The frame, and what the ledger needs of its event."""
    event = parcel.told()
    told = (event.header, event.message) if isinstance(event, Received) else None
    return parcel.raw, parcel.wants_answer, told


def test_a_files_terminal_follows_from_its_name() -> None:
    assert phone_of(Path("/a/drive.gpx")) == phone_of(Path("/b/drive.gpx"))
    assert phone_of(Path("drive.gpx")) != phone_of(Path("other.gpx"))
    assert len(phone_of(Path("drive.gpx"))) == 11


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name",
    [
        "barefoot_x0001-001.json",
        "gpxpy_around-visnjan-with-car.gpx",
        "graphhopper_test1.gpx",
        "gpsbabel_garmin_xt_strk.gpx",
    ],
)
def test_other_peoples_drives_arrive_point_for_point(
    platform: Platform, shared: Path, tmp_path: Path, name: str
) -> None:
    track = read_track(shared / "data" / "tracks" / name, LocalTimes(UTC))
    shift_ms = shift_of(track, START_MS)
    result = play(platform, track, tmp_path / "ledger", shift_ms=shift_ms)
    assert result.refused.total() == 0
    assert result.read == result.sent == result.acknowledged == len(track.points)
    arrived = [claim_of(report) for _, report in platform.reports]
    for said, claim in zip(track.points, arrived, strict=True):
        assert said.time_ms is not None
        assert claim is not None
        assert claim.device_time_ms == (said.time_ms + shift_ms) // 1000 * 1000
        assert abs(claim.latitude_e6 - said.latitude_deg * 1e6) <= 0.5 + 1e-6
        assert abs(claim.longitude_e6 - said.longitude_deg * 1e6) <= 0.5 + 1e-6


def test_lines_are_json(tmp_path: Path, platform: Platform) -> None:
    play(platform, Track("t", (point(1, START_MS - 10**10, 32.0),)), tmp_path / "ledger")
    (line,) = (tmp_path / "ledger").read_text().splitlines()
    assert json.loads(line)["terminal"] == "13800000001"
