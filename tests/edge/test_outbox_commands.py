"""greenhaul-edge outbox: what it prints, and what it makes whole."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from greenhaul_edge.main import CANNOT_START, NO, WELL, main
from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.chunks import Batch
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_protocols.catalogue import Position

NOW_MS = 1_790_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose outbox holds twenty readings of two terminals."""
    path = tmp_path / "edge.toml"
    path.write_text('[gateway]\nid = "gw-1"\n')
    folder = tmp_path / "outbox"
    folder.mkdir()
    with closing(open_outbox(folder / "outbox.sqlite", "gw-1", 1, NOW_MS, Bounds())) as file:
        for n in range(20):
            reading = Position(
                source=f"808:{n % 2}", device_time_ms=NOW_MS + n, received_time_ms=NOW_MS,
                speed_kmh=float(n), items=b"\x01\x02",
            )  # fmt: skip
            file.append([Batch([reading])], NOW_MS)
    return path


def run(config: Path, *arguments: str) -> int:
    """One of the commands."""
    return main(["outbox", *arguments, "-c", str(config)])


def damage(config: Path, at: int, data: bytes) -> None:
    """Write over the file."""
    path = config.parent / "outbox/outbox.sqlite"
    old = path.read_bytes()
    path.write_bytes(old[:at] + data + old[at + len(data) :])


def test_ls_says_what_is_held(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "ls") == WELL
    said = capsys.readouterr().out
    assert "lane 1: 20 readings in 20 rows" in said
    assert "20 waiting" in said
    assert run(config, "ls", "--json") == WELL
    (lane,) = json.loads(capsys.readouterr().out)["lanes"]
    assert lane["waiting"] == [[1, 20]]


def test_export_prints_every_reading(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "export") == WELL
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["number"] for line in lines] == list(range(1, 21))
    assert lines[3]["kind"] == "position"
    assert lines[3]["device_time"].endswith("Z")
    assert lines[3]["items"] == "0102"
    assert run(config, "export", "--source", "808:1") == WELL
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_epochs_are_text_everywhere(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """jq and JavaScript would round a number of 63 bits."""
    with closing(
        open_outbox(config.parent / "outbox/outbox.sqlite", "gw-1", 1, NOW_MS, Bounds())
    ) as file:
        epoch = f"{file.ledger.epoch:016x}"
        file.append_lost(3, (None, None), "lost", NOW_MS)

    assert run(config, "ls", "--json") == WELL
    assert json.loads(capsys.readouterr().out)["epoch"] == epoch
    assert run(config, "export", "--source", "gw-1/outbox") == WELL
    assert json.loads(capsys.readouterr().out)["epoch"] == epoch
    assert main(["status", "--json", "-c", str(config)]) == WELL
    told = json.loads(capsys.readouterr().out)
    assert (told["epoch"], [one["epoch"] for one in told["epochs"]]) == (epoch, [epoch])


def test_verify_and_repair_agree(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "verify") == WELL
    assert "20 readings, all as written" in capsys.readouterr().out
    damage(config, 0, bytes(8_192))
    assert run(config, "verify") == NO
    assert "damaged: " in capsys.readouterr().out
    assert run(config, "ls") == NO
    assert "outbox repair" in capsys.readouterr().err
    assert run(config, "repair") == WELL
    assert "20 readings appended" in capsys.readouterr().out
    assert run(config, "verify") == WELL
    capsys.readouterr()
    (aside,) = asides(config.parent / "outbox/outbox.sqlite")
    assert run(config, "export", "--file", str(aside)) == WELL
    assert len(capsys.readouterr().out.splitlines()) == 20
    assert run(config, "repair", "--file", str(aside)) == WELL
    assert "20 readings appended" in capsys.readouterr().out
    assert run(config, "repair", "--file", "nothing") == CANNOT_START


def test_verify_names_a_damaged_row(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (config.parent / "outbox/outbox.sqlite").read_bytes()
    at = data.rindex(b"808:1")
    damage(config, at, b"808:7")
    assert run(config, "verify") == NO
    assert "damaged: lane 1: readings" in capsys.readouterr().out


def test_repair_wants_the_agent_stopped(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (config.parent / "outbox/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(config, "repair") == NO
    assert "stop it first" in capsys.readouterr().err
