"""Planted faults, each to be named by its check, with something to do about it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.chaos.chain import Mosquitto
from tests.chaos.secure_broker import SecureBroker
from tests.edge import faults_of_its_lines, faults_of_the_box
from tests.edge.doctor_box import Box

from greenhaul_edge.clock import Clock
from greenhaul_edge.doctor.examination import CHECKS, as_json, as_text, examine, is_well
from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Finding, Level
from greenhaul_edge.main import NO, WELL, main

NOBODY = 65_534
SHARE_MIN = 0.95


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """The shipped broker, with somebody who answers a hello."""
    broker = SecureBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def box(broker: SecureBroker) -> Iterator[Box]:
    """A gateway in good health in a folder that anybody can enter."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gh-doctor-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Box(folder, broker, stack)


FAULTS = faults_of_the_box.FAULTS + faults_of_its_lines.FAULTS
# Root may do everything; what rights forbid is looked at as somebody else.
AS_NOBODY = {
    faults_of_the_box.plant_folder_of_others,
    faults_of_its_lines.plant_port_of_others,
}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_planted_faults_are_named_with_advice(
    broker: SecureBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.doctor.broker_probe._RECEIPT_S_MAX", 0.3)
    missed = []
    for plant, check in FAULTS:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="gh-doctor-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            box = Box(folder, broker, stack)
            plant(box)
            config = box.write()
            # All that the fault's own check needs: each looks at the gateway as a whole.
            found = _examined(config, box.clock, check, as_nobody=plant in AS_NOBODY)
            named = [one for one in found if one.remark.level > Level.WELL]
            if not named or not all(one.remark.advice for one in named):
                missed.append((plant.__name__, check, found))
            assert not any("check itself failed" in one.remark.said for one in found), found
    print(f"named {len(FAULTS) - len(missed)} of {len(FAULTS)}; missed: {missed}")
    assert len(FAULTS) >= 40
    assert 1 - len(missed) / len(FAULTS) >= SHARE_MIN, missed


def _examined(config: Path, clock: Clock, check: str, *, as_nobody: bool) -> list[Finding]:
    if not as_nobody or os.geteuid() != 0:
        return examine(Patient(config, clock), [check])
    patient = Patient(config, clock)
    os.seteuid(NOBODY)
    try:
        with pytest.MonkeyPatch.context() as patch:
            # access() asks by the real user id, which stays root's here.
            real = os.access
            patch.setattr(os, "access", lambda path, mode: real(path, mode, effective_ids=True))
            return examine(patient, [check])
    finally:
        os.seteuid(0)


def test_a_healthy_gateway_has_nothing_wrong(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = examine(Patient(box.write()))
    assert is_well(findings), as_text(findings)
    assert main(["doctor", "-v", "-c", str(box.config)]) == WELL
    printed = capsys.readouterr().out
    assert "0 wrong" in printed
    assert "broker-tls: the broker proved who it is" in printed
    box.password.unlink()
    assert main(["doctor", "--json", "-c", str(box.config)]) == NO
    said = json.loads(capsys.readouterr().out)
    assert not said["is_well"]
    wrong = [one for one in said["findings"] if one["level"] == "wrong"]
    assert wrong[0]["check"] == "credential-files"
    assert wrong[0]["advice"]


def test_there_are_enough_checks_and_each_says_what_it_is_for() -> None:
    assert len(CHECKS) >= 25
    assert all((check.__doc__ or "").strip() for check in CHECKS.values())
    assert as_json([])["is_well"]


def test_topic_rights_are_proven_by_a_receipt(box: Box, tmp_path: Path) -> None:
    from tests.chaos.chain import Collector

    broker = Mosquitto(tmp_path / "mosquitto")
    broker.start()
    box.stack.callback(broker.kill)
    collector = Collector(tmp_path / "cloud", broker.port, ["gw-a"])
    box.stack.callback(collector.close)
    collector.start()
    collector.wait_connected()
    box.uplink = {"port": broker.port}
    box.fill()
    patient = Patient(box.write(), box.clock)
    (finding,) = examine(patient, ["topic-rights"])
    assert finding.remark.level is Level.WELL, finding
    assert "answered with a receipt" in finding.remark.said
    (finding,) = examine(patient, ["clock-agrees"])
    assert finding.remark.level is Level.WELL
