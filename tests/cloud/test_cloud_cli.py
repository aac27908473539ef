"""greenhaul-cloud as somebody types it."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.cloud.api_city import square_fence

from greenhaul_cloud.main import COMMANDS, build_parser, main

if TYPE_CHECKING:
    from tests.conftest import Broker

WAIT_S = 60
PASSWORD = "correct horse battery"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings, as working directory."""
    (tmp_path / "cloud.toml").write_text(
        '[store]\nurl = "sqlite:///c.db"\n[api]\nlisten = "127.0.0.1:0"\n'
    )
    (tmp_path / "lin.password").write_text(PASSWORD + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(list(arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A long-running command and the URL its ready file says."""
    ready = folder / "ready.json"
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "greenhaul_cloud.main", *arguments,
         "--ready-file", str(ready)],
        cwd=folder, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + WAIT_S
            while not ready.exists():
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)  # the file is the announcement
            yield process, json.loads(ready.read_text())["api"]
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """What a process said, asked to end by a signal; it must end well."""
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    return said


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        code, out, _ = run(*command.words.split(), "--help", capsys=capsys)
        assert code == 0
        assert f"example: greenhaul-cloud {command.words}" in out
        assert "-c FILE" in out


def test_examples_parse() -> None:
    parser = build_parser()
    for command in COMMANDS:
        arguments = command.example.replace("'", "").split()
        assert parser.parse_args(arguments).command is command


def test_commands_of_later_days_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("backup", "restore", "archive", "move-store"):
        assert run(word, capsys=capsys)[0] == 2


def test_a_user_and_a_token_and_what_they_open(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("migrate", capsys=capsys)[0] == 0
    by_file = ("user", "add", "lin", "--role", "admin", "--password-file", "lin.password")
    assert run(*by_file, capsys=capsys)[0] == 0
    code, _, err = run(*by_file, capsys=capsys)
    assert (code, "already" in err) == (1, True)
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    code, _, err = run(
        "user", "add", "bo", "--role", "regulator", "--password-stdin", capsys=capsys
    )
    assert (code, "12 to 256" in err) == (2, True)
    code, out, _ = run("token", "create", "lin", "--name", "t", "--days", "3", capsys=capsys)
    token = out.strip()
    assert (code, token.startswith("greenhaul_")) == (0, True)
    assert run("token", "create", "nobody", "--name", "t", capsys=capsys)[0] == 1

    with started(folder, "api") as (process, url):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, verify=False) as client:
            users = client.get("/api/v1/users", headers=headers).json()["items"]
            assert [user["name"] for user in users] == ["lin"]
            wish = {"name": "lin", "password": PASSWORD}
            assert client.post("/api/v1/session", json=wish).status_code == 200
        said = ended(process, signal.SIGINT)
    assert token not in said
    assert PASSWORD not in said
    assert "Traceback" not in said
    assert not (folder / "ready.json").exists()


def test_gateways_and_fences_are_put(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("gateway", "add", "gw-1", "--sources", "808:*", capsys=capsys)
    assert (code, out) == (0, "gw-1: new; may carry gw-1/*, 808:*\n")
    assert "changed" in run("gateway", "add", "gw-1", "--sources", "*", capsys=capsys)[1]
    assert run("gateway", "add", "gw/1", capsys=capsys)[0] == 2
    fences = folder / "fences.geojson"
    features = [square_fence("a"), square_fence("b")]
    fences.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for said in ("2 fences: 2 new\n", "2 fences: 2 as before\n"):
        assert run("fences", "import", str(fences), capsys=capsys)[:2] == (0, said)
    features[1] = square_fence("c", rules=[{"rule": "nonsense"}])
    features[0] = square_fence("d")
    fences.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    code, _, err = run("fences", "import", str(fences), capsys=capsys)
    assert (code, "nonsense" in err) == (1, True)
    fences.write_text(json.dumps(square_fence("d")))  # all or none: it was not put before
    assert run("fences", "import", str(fences), capsys=capsys)[1] == "1 fences: 1 new\n"
    fences.write_text("[]")
    assert run("fences", "import", str(fences), capsys=capsys)[0] == 2


def test_check_opens_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("check", capsys=capsys)
    assert (code, out.startswith("cloud.toml: well")) == (0, True)
    assert not (folder / "c.db").exists()
    code, _, err = run("check", "-c", "other.toml", capsys=capsys)
    assert (code, "other.toml: no such file" in err) == (2, True)


def test_a_busy_port_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        (folder / "cloud.toml").write_text(f'[api]\nlisten = "127.0.0.1:{port}"\n')
        code, _, err = run("serve", capsys=capsys)
    assert code == 2
    assert f"api.listen: 127.0.0.1:{port}" in err


def test_serve_is_ready_when_the_broker_is_there_and_ends_clean(
    folder: Path, mosquitto: Broker
) -> None:
    settings = (folder / "cloud.toml").read_text()
    (folder / "cloud.toml").write_text(f"{settings}[broker]\nport = {mosquitto.port}\n")
    with started(folder, "serve") as (process, url):
        with httpx.Client(base_url=url, verify=False) as client:
            assert client.get("/readyz").json() == {"status": "ready"}
            metrics = client.get("/metrics").text
        assert "greenhaul_derive_last_turn_timestamp_seconds" in metrics
        said = ended(process, signal.SIGTERM)
    assert "event=ready api=http://127.0.0.1:" in said
    assert "event=stopped" in said
    assert "Traceback" not in said


def test_an_open_stream_does_not_keep_the_api_from_ending(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("user", "add", "lin", "--role", "admin", "--password-file", "lin.password", capsys=capsys)
    token = run("token", "create", "lin", "--name", "t", capsys=capsys)[1].strip()
    headers = {"Authorization": f"Bearer {token}"}
    with (
        started(folder, "api") as (process, url),
        httpx.Client(base_url=url, verify=False, timeout=WAIT_S) as client,
        client.stream("GET", "/api/v1/live", headers=headers) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        process.send_signal(signal.SIGTERM)
        assert all("Traceback" not in line for line in lines)  # until the stream ends, well
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said
