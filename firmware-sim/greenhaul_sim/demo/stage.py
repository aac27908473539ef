"""The demo's processes: broker, cloud, edge, fleet, in this order, and back again at the end."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from greenhaul_protocols.errors import Unavailable
from greenhaul_sim.api import Api
from greenhaul_sim.demo import ports, setting
from greenhaul_sim.demo.broker import broker_command
from greenhaul_sim.demo.children import Child, ChildEnded
from greenhaul_sim.demo.figures import Account, Figures, edge_account, joint_account, look
from greenhaul_sim.fleet import town_of
from greenhaul_sim.identity import fleet_identities
from greenhaul_sim.scenario import Scenario, to_toml
from greenhaul_sim.streets import Plane

GATEWAY = "gw-demo"

_START_S = 60.0  # a process that takes longer does not start
_FLEET_DRAIN_S = 5.0
_EDGE_DRAIN_S = 5.0
_END_S = 10.0

_PORT_TRIES = 5
_USUAL_MQTT_PORT, _USUAL_API_PORT, _USUAL_TERMINAL_PORT = 18_830, 8_080, 8_808

_CLOUD = (sys.executable, "-m", "greenhaul_cloud.main")
_EDGE = (sys.executable, "-m", "greenhaul_edge.main")
_SIM = (sys.executable, "-m", "greenhaul_sim")


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What was asked for. run_s None: until Ctrl-C."""

    folder: Path
    scenario: Scenario
    seed: int = 1
    speed: float = 10.0
    run_s: float | None = None
    api_port: int | None = None
    broker: str = "auto"


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the console."""

    name: str
    password: str
    role: str


class Stage:
    """All processes of one demo."""

    def __init__(self, plan: DemoPlan) -> None:
        self.plan = plan
        self.children: dict[str, Child] = {}
        self.url = ""
        self.broker_name = ""
        self.logins: list[Login] = []
        self.ledger = plan.folder / "ledger.jsonl"
        self.token_file = plan.folder / "admin.token"
        self._edge_config = plan.folder / "edge.toml"
        self._cloud_config = plan.folder / "cloud.toml"
        self._token = ""

    @property
    def api(self) -> Api:
        """The collector as its administrator sees it."""
        return Api(self.url, self._token)

    def open(self) -> None:
        """Start everything. Raises Unavailable, ConfigError."""
        ports.take("--port", self.plan.api_port, _USUAL_API_PORT)  # said before anything starts
        passwords = {"collector": secrets.token_urlsafe(24), GATEWAY: secrets.token_urlsafe(24)}
        for user, password in passwords.items():
            self._write_secret(f"{user}.password", password)
        mqtt_port = self._start_broker(passwords)
        self._start_cloud(mqtt_port)
        self._furnish()
        self._start_fleet(self._start_edge(mqtt_port))

    def insist(self, *, but: str = "") -> None:
        """Raises ChildEnded if a process has ended; that of the name `but` may."""
        for name, child in self.children.items():
            if name != but:
                child.insist()

    def look(self) -> Figures:
        """All figures now. Raises Unavailable."""
        return look(self.api, self._edge_config)

    def account(self) -> Account:
        """Edge and cloud, one against the other. Raises Unavailable."""
        return joint_account(self.api, self._edge_config, GATEWAY)

    def close(self) -> None:
        """End everything: the fleet first, then the edge when it has drained, cloud, broker."""
        fleet, edge = self.children.get("fleet"), self.children.get("edge")
        if fleet:
            fleet.ask_to_end()
            fleet.wait(_FLEET_DRAIN_S + 2)
            fleet.end(0)
        if edge and edge.is_running and fleet and self.children["cloud"].is_running:
            self._await_drained()
        for name in ("edge", "cloud", "broker"):
            if name in self.children:
                self.children[name].end(_END_S)

    def kill(self) -> None:
        """End everything at once, in a signal handler too; `close` collects what is left."""
        for child in self.children.values():
            child.kill()

    # -------------------------------------------------------------------------------------------

    def _await_drained(self) -> None:
        deadline = time.monotonic() + _EDGE_DRAIN_S
        with contextlib.suppress(Unavailable):
            while edge_account(self._edge_config).waiting and time.monotonic() < deadline:
                time.sleep(0.2)

    def _start(self, name: str, command: list[str]) -> Child:
        child = self.children[name] = Child(name, command, self.plan.folder)
        return child

    def _start_listening(
        self,
        name: str,
        ports_wanted: tuple[int | None, int],
        command_for: Callable[[int], list[str]],
        is_up: Callable[[int], bool] = ports.answers,
    ) -> int:
        """Start a process that listens; its port.

        ports_wanted: the one asked for, if any, and the usual one. Between our look and its own
        somebody else may take a port: then another one is tried.
        """
        for _ in range(_PORT_TRIES):
            port = ports.take("--port", *ports_wanted)
            child = self._start(name, command_for(port))
            try:
                child.wait_until(partial(is_up, port), f"port {port}", _START_S)
            except ChildEnded:
                if ports.is_free(port):
                    raise
            else:
                return port
        raise ChildEnded(self.children[name].obituary())

    def _start_broker(self, passwords: dict[str, str]) -> int:
        plan = self.plan

        def command_for(port: int) -> list[str]:
            self.broker_name, command = broker_command(plan.folder, port, passwords, plan.broker)
            return command

        return self._start_listening("broker", (None, _USUAL_MQTT_PORT), command_for)

    def _start_cloud(self, mqtt_port: int) -> None:
        town = town_of(self.plan.scenario, self.plan.seed)
        streets = self.plan.folder / "streets.geojson"
        streets.write_text(json.dumps(town.to_geojson(), ensure_ascii=False), encoding="utf-8")
        ready = self.plan.folder / "cloud.ready"

        def command_for(port: int) -> list[str]:
            self._write_cloud_config(mqtt_port, port, town.plane)
            return [*_CLOUD, "serve", "-c", str(self._cloud_config), "--ready-file", str(ready)]

        # Its short commands want the configuration before it serves; any port will do for them.
        self._write_cloud_config(mqtt_port, 0, town.plane)
        password = self._write_secret("admin.password", secrets.token_urlsafe(24))
        self._cloud("user", "add", "admin", "--role", "admin", "--password-file", str(password))
        self._token = self._cloud("token", "create", "admin", "--name", "demo").split()[-1]
        self._write_secret(self.token_file.name, self._token)
        wanted = (self.plan.api_port, _USUAL_API_PORT)
        self._start_listening("cloud", wanted, command_for, lambda _port: ready.exists())
        self.url = json.loads(ready.read_text())["api"]

    def _write_cloud_config(self, mqtt_port: int, api_port: int, plane: Plane) -> None:
        self._cloud_config.write_text(
            '[store]\nurl = "sqlite:///greenhaul.db"\n'
            f'[broker]\nport = {mqtt_port}\nusername = "collector"\n'
            'password_file = "collector.password"\n'
            f'[api]\nlisten = "127.0.0.1:{api_port}"\n'
            '[console]\nbasemap = "streets.geojson"\n'
            f"center = [{plane.longitude_deg}, {plane.latitude_deg}]\nzoom = 12\n"
        )

    def _furnish(self) -> None:
        """Enterprise, users, gateway, vehicles, bindings, fences."""
        plan, api = self.plan, self.api
        now_ms = round(time.time() * 1000)
        api.post("/gateways", {"id": GATEWAY, "sources": ["*"]})
        api.post("/enterprises", setting.ENTERPRISE)
        self._add_user("regulator", "regulator")
        self._add_user("manager", "manager", enterprise_id=setting.ENTERPRISE["id"])
        identities = fleet_identities(plan.scenario.fleet.terminals, plan.seed, None)
        for enrolment in setting.enrol(identities, now_ms):
            api.post("/vehicles", enrolment.vehicle)
            api.post("/bindings", enrolment.binding)
        plane = town_of(plan.scenario, plan.seed).plane
        for fence in setting.fences(plane, now_ms):
            api.post("/fences", fence)

    def _add_user(self, name: str, role: str, **more: str) -> None:
        login = Login(name, f"demo-{secrets.token_hex(5)}", role)
        self.api.post("/users", {"name": name, "password": login.password, "role": role, **more})
        self.logins.append(login)

    def _start_edge(self, mqtt_port: int) -> int:
        def command_for(port: int) -> list[str]:
            self._edge_config.write_text(
                f'[gateway]\nid = "{GATEWAY}"\n[outbox]\npath = "outbox"\n'
                f'[uplink]\nport = {mqtt_port}\nusername = "{GATEWAY}"\n'
                f'password_file = "{GATEWAY}.password"\nsend_window_s = 1.0\n'
                f'[sources.terminals]\ntype = "jt808"\nlisten = "127.0.0.1:{port}"\n'
            )
            return [*_EDGE, "run", "-c", str(self._edge_config)]

        return self._start_listening("edge", (None, _USUAL_TERMINAL_PORT), command_for)

    def _start_fleet(self, terminal_port: int) -> None:
        plan = self.plan
        scenario = plan.folder / "scenario.toml"
        scenario.write_text(to_toml(plan.scenario))
        command = [*_SIM, "fleet", "--to", f"127.0.0.1:{terminal_port}"]
        command += ["--scenario", str(scenario), "--seed", str(plan.seed)]
        command += ["--revision", "mixed", "--speed", str(plan.speed)]
        command += ["--ledger", str(self.ledger)]
        if plan.run_s:
            command += ["--for", str(plan.run_s), "--drain", "30"]
        else:
            command += ["--drain", str(_FLEET_DRAIN_S)]
        self._start("fleet", command)

    def _cloud(self, *arguments: str) -> str:
        """Run one of greenhaul-cloud's short commands; its output. Raises Unavailable."""
        command = [*_CLOUD, *arguments, "-c", str(self._cloud_config)]
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                command, capture_output=True, text=True, timeout=_START_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"greenhaul-cloud {arguments[0]}: {error}") from error
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise Unavailable(f"greenhaul-cloud {' '.join(arguments[:2])}: {said}")
        return done.stdout

    def _write_secret(self, name: str, text: str) -> Path:
        path = self.plan.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return path
