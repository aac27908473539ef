"""What compose.yaml, the Dockerfile and the systemd units name is what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from tests.conftest import ROOT

from greenhaul_cloud.config import ENV_PREFIX, load_config
from greenhaul_cloud.main import build_parser

CLOUD = ROOT / "cloud"
COMPOSE = yaml.safe_load((CLOUD / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "greenhaul-cloud"}
UNITS = sorted(CLOUD.glob("*.service"))
# Made by the installer, as scaling.md says; never in the repository.
SECRETS = {"store.password", "collector.password", "users", "ca.pem", "broker.pem", "broker.key"}


def exists(path: str) -> bool:
    """Whether a bind mount's source is in the repository, or a secret that the page makes."""
    folder, _, name = path.rpartition("/")
    return (CLOUD / path).exists() or (folder.endswith("compose/secrets") and name in SECRETS)


def names_of(environment: list[str]) -> dict[str, str]:
    return dict(one.split("=", 1) for one in environment)


@pytest.mark.parametrize("name", OURS)
def test_services_run_commands_there_are(name: str) -> None:
    service = OURS[name]
    args = build_parser().parse_args(service["command"])
    mounts = [one.split(":") for one in service["volumes"]]
    (source,) = [source for source, target, _ in mounts if target == str(args.config)]
    assert (CLOUD / source).is_file()
    assert service["build"]["dockerfile"] == "cloud/Dockerfile"
    assert (CLOUD / service["build"]["context"]).resolve() == ROOT


def test_what_services_mount_and_wait_for_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or exists(source), f"{name}: {volume}"
        assert set(service.get("depends_on", {})) <= SERVICES.keys()
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    assert all(exists(secret["file"]) for secret in COMPOSE["secrets"].values())
    page = (CLOUD / "scaling.md").read_text()
    assert all(name in page for name in SECRETS)


def test_the_configuration_of_compose_fits_the_composition(tmp_path: Path) -> None:
    text = (CLOUD / "compose/cloud.toml").read_text()
    for path in re.findall(r'"/run/secrets/(\w+)"', text):
        assert path in COMPOSE["secrets"]
        assert all(path in service["secrets"] for service in OURS.values())
        (tmp_path / path).write_text("secret\n")
    config_path = tmp_path / "cloud.toml"
    config_path.write_text(text.replace("/run/secrets", str(tmp_path)))
    config = load_config(config_path)
    assert config.broker.host in SERVICES
    assert config.broker.port == 8885
    database = SERVICES["db"]["environment"]
    assert config.store.url == (
        f"postgresql://{database['POSTGRES_USER']}@db/{database['POSTGRES_DB']}"
    )
    probes = str(SERVICES["collector"]["healthcheck"]), str(SERVICES["api"]["healthcheck"])
    assert str(config.collector.address[1]) in probes[0]
    assert str(config.api.address[1]) in probes[1]
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8080:8080"]


def test_the_image_is_made_of_what_the_project_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (CLOUD / "Dockerfile").read_text()
    extras = {extra for found in re.findall(r"\[([a-z,]+)\]'", text) for extra in found.split(",")}
    assert extras <= project["optional-dependencies"].keys()
    (program,) = re.findall(r'ENTRYPOINT \["([^"]+)"\]', text)
    assert program in project["scripts"]
    arguments = re.findall(r'"([^"]+)"', re.findall(r"CMD (.*)", text)[0])
    build_parser().parse_args(arguments)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_commands_there_are(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *arguments = command.split()
    assert Path(program).name == "greenhaul-cloud"
    build_parser().parse_args(arguments)
    for name, value in names_of(re.findall(r"^Environment=(.*)$", text, re.MULTILINE)).items():
        monkeypatch.setenv(name, value.replace("%i", "1"))
        section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("_")
        found = getattr(load_config(CLOUD / "cloud.sample.toml"), section)
        assert getattr(found, key) == value.replace("%i", "1")
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        return  # Debian's systemd; the rest of the test stands without it
    unit = tmp_path / path.name
    unit.write_text(text.replace(program, "/bin/true"))
    done = subprocess.run(
        [systemd, "verify", "--man=no", str(unit).replace("@.", "@1.")],
        capture_output=True,
        text=True,
    )
    complaints = [line for line in done.stderr.splitlines() if path.stem.rstrip("@") in line]
    assert complaints == []


def test_the_page_names_what_is_here() -> None:
    page = (CLOUD / "scaling.md").read_text()
    assert all(path.name in page or "greenhaul-*.service" in page for path in UNITS)
    for words in re.findall(r"greenhaul-cloud (?!\\)([a-z-]+) -c (\S+)", page):
        build_parser().parse_args([words[0], "-c", words[1]])
