"""The command as people run it: arguments, exit codes, signals."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from tests.sim.honest_platform import Platform, running

from greenhaul_protocols.jt808 import BatchReport, Event, LocationReport, Received
from greenhaul_sim.commands.arguments import address
from greenhaul_sim.ledger import read_ledger
from greenhaul_sim.link import Address
from greenhaul_sim.main import main

SIM = (sys.executable, "-m", "greenhaul_sim")


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*SIM, *arguments, stdout=pipe, stderr=pipe)


def run_fleet(
    platform: Platform, *arguments: str, signals: tuple[signal.Signals, ...] = ()
) -> tuple[int | None, str, str]:
    async def whole() -> tuple[int | None, str, str]:
        async with running(platform), asyncio.timeout(20):
            to = f"127.0.0.1:{platform.address.port}"
            process = await start("fleet", "--terminals", "5", "--to", to, *arguments)
            for number in signals:
                await platform.heard(len(platform.reports) + 5)
                process.send_signal(number)
            out, said = await process.communicate()
            return process.returncode, out.decode(), said.decode()

    return asyncio.run(whole())


def test_a_fleet_for_a_while(platform: Platform, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    code, out, said = run_fleet(
        platform, "--for", "0.5", "--speed", "100", "--revision", "2019", "--ledger", str(ledger)
    )
    assert code == 0
    assert "terminals=5 online=5" in out
    assert "simulated time starts at" in said
    assert "Traceback" not in said
    assert len(list(read_ledger(ledger))) == len(platform.reports) > 0
    assert {event.revision for event in platform.received} == {2019}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_fleet_when_all_is_acknowledged(
    platform: Platform, tmp_path: Path, number: signal.Signals
) -> None:
    ledger = tmp_path / "ledger"
    code, out, said = run_fleet(platform, "--ledger", str(ledger), signals=(number,))
    assert code == 0, said
    assert "waiting=0" in out
    assert "Traceback" not in said
    assert len(list(read_ledger(ledger))) == len(platform.reports)


def test_a_second_signal_does_not_wait(platform: Platform) -> None:
    reported = asyncio.Event()

    def decide(event: Event) -> int | None:
        if isinstance(event, Received) and isinstance(event.message, LocationReport | BatchReport):
            reported.set()
            return None
        return 0

    platform.decide = decide

    async def whole() -> tuple[int | None, str]:
        async with running(platform), asyncio.timeout(20):
            to = f"127.0.0.1:{platform.address.port}"
            process = await start("fleet", "--terminals", "5", "--to", to)
            await reported.wait()
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)  # two signals at once may be delivered as one
            process.send_signal(signal.SIGINT)
            _, said = await process.communicate()
            return process.returncode, said.decode()

    code, said = asyncio.run(whole())
    assert code == 130
    assert "Traceback" not in said


def test_what_was_not_acknowledged_is_said(platform: Platform) -> None:
    platform.decide = lambda _event: 0 if len(platform.reports) < 5 else None
    code, out, said = run_fleet(platform, "--for", "0.3", "--drain", "0.1")
    assert code == 1
    assert "were not acknowledged" in said
    assert "waiting=0" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["fleet"],
        ["fleet", "--to", "nowhere"],
        ["fleet", "--to", "127.0.0.1:1", "--terminals", "0"],
        ["fleet", "--to", "127.0.0.1:1", "--speed", "-1"],
        ["fleet", "--to", "127.0.0.1:1", "--speed", "nan"],
        ["fleet", "--to", "127.0.0.1:1", "--revision", "2015"],
        ["fleet", "--to", "127.0.0.1:1", "--scenario", "none.toml"],
        ["fleet", "--to", "127.0.0.1:1", "--terminals", "1000000"],
        ["replay", "--to", "127.0.0.1:1"],
        ["replay", "x", "--to", "127.0.0.1:1", "--timezone", "Mars"],
        ["replay", "x", "--to", "127.0.0.1:1", "--terminal", "truck"],
        ["replay", "x", "--to", "127.0.0.1:1", "--start", "yesterday"],
        ["demo", "--port", "99999"],
        ["demo", "--terminals", "5000"],
        ["verify", "--ledger", "x", "--api", "nowhere"],
    ],
)
def test_what_cannot_start_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert capsys.readouterr().err


def test_replay_of_several_files_ends_with_a_line_each(platform: Platform, tmp_path: Path) -> None:
    drive, undated = tmp_path / "drive.csv", tmp_path / "undated.csv"
    drive.write_text("time,lat,lon\n2026-11-20T08:00:00Z,32.9,112.5\n2026-11-20T08:00:01Z,99,1\n")
    undated.write_text("time,lat,lon\n5,32.9,112.5\n6,32.9,112.6\n")

    async def whole() -> tuple[int | None, str, str]:
        async with running(platform), asyncio.timeout(20):
            to = f"127.0.0.1:{platform.address.port}"
            options = ("--to", to, "--speed", "0", "--start", "2026-11-19T08:00:00Z")
            process = await start("replay", str(drive), str(undated), *options)
            out, said = await process.communicate()
            return process.returncode, out.decode(), said.decode()

    code, out, said = asyncio.run(whole())
    assert code == 0, said
    assert "drive.csv: read=2 sent=1 acknowledged=1 refused=1 (1× position not on Earth)" in out
    assert "undated.csv: read=2 sent=2 acknowledged=2 refused=0" in out
    assert "undated.csv: times are shifted, the first point to 2026-11-19T08:00:00Z" in said
    assert "drive.csv: keeps its own dates" in said
    assert {report.device_time for _, report in platform.reports} == {
        "261120160000",
        "261119160000",
        "261119160001",
    }


def test_streets_are_written(tmp_path: Path) -> None:
    output = tmp_path / "streets.geojson"
    assert main(["streets", "--seed", "3", "--output", str(output)]) == 0
    assert json.loads(output.read_text())["type"] == "FeatureCollection"
    assert main(["streets", "--output", str(tmp_path / "none" / "x")]) == 1


def test_addresses() -> None:
    assert address("127.0.0.1:8808") == Address("127.0.0.1", 8808)
    assert address("[::1]:8808") == Address("::1", 8808)
