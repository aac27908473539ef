"""What the demo is built of: brokers, processes that do not outlive it, ports, its folder."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from greenhaul_protocols.errors import ConfigError, Unavailable
from greenhaul_protocols.times import parse_time
from greenhaul_sim.demo import broker, ports, setting
from greenhaul_sim.demo.children import Child, ChildEnded
from greenhaul_sim.demo.figures import Account
from greenhaul_sim.demo.folder import fresh_folder
from greenhaul_sim.identity import fleet_identities
from greenhaul_sim.streets import Plane

PYTHON = sys.executable
PASSWORDS = {"collector": "collector-secret", "gw-demo": "gateway-secret"}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(holds: Callable[[], object], patience_s: float = 10.0) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)  # nothing announces that a process of somebody else's has gone
    return False


@pytest.fixture(params=["mosquitto", "amqtt"])
def running_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    port = ports.take("mqtt", None, 28_830)
    name, command = broker.broker_command(tmp_path, port, PASSWORDS, request.param)
    assert name.lower() == request.param
    child = Child("broker", command, tmp_path)
    child.wait_until(lambda: ports.answers(port), "port", 20)
    yield name, port
    child.end(10)
    assert not is_alive(child.pid)
    assert "Traceback" not in child.log.read_text()


def connect(port: int, user: str, password: str) -> tuple[paho.Client, str]:
    """A client, and what the broker said to it."""
    said: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{user}")
    client.username_pw_set(user, password)
    client.on_connect = lambda _c, _u, _f, reason, _p: said.append(str(reason))
    client.connect("127.0.0.1", port)
    until(lambda: client.loop(0.05) or said)
    return client, said[0]


def test_a_broker_wants_the_right_password(running_broker: tuple[str, int]) -> None:
    _, port = running_broker
    client, said = connect(port, "collector", PASSWORDS["collector"])
    assert said == "Success"
    client.disconnect()
    _, refused = connect(port, "collector", "wrong")
    assert refused == "Not authorized"
    _, refused = connect(port, "nobody", PASSWORDS["collector"])
    assert refused == "Not authorized"


def test_mosquitto_keeps_a_gateway_to_its_own_topics(tmp_path: Path) -> None:
    port = ports.take("mqtt", None, 28_930)
    name, command = broker.broker_command(tmp_path, port, PASSWORDS)
    assert name == "Mosquitto"
    child = Child("broker", command, tmp_path)
    try:
        child.wait_until(lambda: ports.answers(port), "port", 20)
        heard: list[str] = []
        collector, _ = connect(port, "collector", PASSWORDS["collector"])
        collector.on_message = lambda _c, _u, message: heard.append(message.topic)
        subscribed: list[int] = []
        collector.on_subscribe = lambda *_: subscribed.append(1)
        collector.subscribe("gh/v1/#")
        assert until(lambda: collector.loop(0.02) or subscribed)
        gateway, _ = connect(port, "gw-demo", PASSWORDS["gw-demo"])
        for topic in ("gh/v1/up/00/other/1", "gh/v1/rx/gw-demo", "gh/v1/up/00/gw-demo/1"):
            gateway.publish(topic, b"x", qos=1)
        assert until(lambda: gateway.loop(0.02) or collector.loop(0.02) or heard)
        assert heard == ["gh/v1/up/00/gw-demo/1"]
        collector.disconnect()
        gateway.disconnect()
    finally:
        child.end(10)


def test_a_child_that_ends_is_named_with_its_last_lines(tmp_path: Path) -> None:
    child = Child("edge", [PYTHON, "-c", "print('so long'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(ChildEnded, match=r"(?s)edge ended with code 3.*so long"):
        child.wait_until(lambda: False, "anything", 10)
    with pytest.raises(ChildEnded):
        child.insist()
    child.end(1)


def test_a_child_that_takes_too_long_is_named(tmp_path: Path) -> None:
    child = Child("cloud", [PYTHON, "-c", "import time; time.sleep(60)"], tmp_path)
    with pytest.raises(Unavailable, match="cloud: no port"):
        child.wait_until(lambda: False, "port", 0.1)
    assert child.is_running
    child.end(5)
    assert not child.is_running


def test_a_child_that_will_not_go_is_killed_with_its_own_children(tmp_path: Path) -> None:
    script = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "own = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(own.pid, flush=True)\ntime.sleep(60)\n"
    )
    child = Child("stubborn", [PYTHON, "-c", script], tmp_path)
    child.wait_until(lambda: bool(child.last_lines()), "line", 10)
    grandchild = int(child.last_lines()[0])
    child.end(0.1)
    assert not child.is_running
    assert until(lambda: not is_alive(grandchild))


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from greenhaul_sim.demo.children import Child\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        f"child = Child('c', sleep, Path({str(tmp_path)!r}))\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([PYTHON, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not is_alive(pid))


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="broker: /none/mosquitto"):
        Child("broker", ["/none/mosquitto"], tmp_path)


def test_busy_ports_are_avoided_or_named() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.answers(port)
        assert ports.take("api", None, port) > port
        with pytest.raises(ConfigError, match=f"--port {port}"):
            ports.take("--port", port, 8080)
    assert ports.take("--port", port, 8080) == port


def test_the_folder_is_emptied_only_if_it_is_a_demos(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with fresh_folder(folder) as fresh:
        (fresh / "old.db").touch()
        (fresh / "outbox").mkdir()
        with pytest.raises(ConfigError, match="another demo"), fresh_folder(folder):
            pass
    with fresh_folder(folder) as fresh:
        assert len(list(fresh.iterdir())) == 1
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="not empty"), fresh_folder(mine):
        pass
    assert (mine / "thesis.txt").exists()
    shutil.rmtree(mine)


def test_the_law_is_an_equation() -> None:
    assert Account(10, 1, 5, 2, 1, 1).holds
    assert not Account(10, 1, 5, 2, 1, 0).holds
    assert Account(10, 1, 5, 2, 1, 1).law() == (
        "appended 10 = stored 5 + duplicate 2 + quarantined 1 + dropped 1 + waiting 1"
    )


def test_the_setting_leaves_two_unclaimed_and_has_plates_as_people_write_them() -> None:
    identities = fleet_identities(24, 1, None)
    now_ms = parse_time("2026-11-20T08:00:00Z")
    enrolled = setting.enrol(identities, now_ms)
    assert len(enrolled) == 22
    assert len({each.vehicle["id"] for each in enrolled}) == 22
    assert {each.vehicle["energy"] for each in enrolled} == {"electric", "diesel"}
    assert all(each.vehicle["plate"].startswith("豫R·") for each in enrolled)
    assert {each.binding["vehicle_id"] for each in enrolled} == {
        each.vehicle["id"] for each in enrolled
    }
    assert enrolled[0].binding["source"] == f"808:{identities[0].phone}"
    fences = setting.fences(Plane(), now_ms)
    assert [each["properties"]["id"] for each in fences] == [
        "core",
        "hospital",
        "park",
    ]
    for feature in fences:
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert all(abs(lon - 112.53) < 0.05 and abs(lat - 32.99) < 0.05 for lon, lat in ring)
