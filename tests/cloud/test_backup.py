"""A backup is the store at one moment, whole; a restored store gets what it lacks once more."""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select
from tests.chaos.chain import Gateway, Mosquitto, until
from tests.cloud.rows import fill, rows_of

from greenhaul_cloud.housekeeping.backup import back_up, restore
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.intake.service import Intake
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.main import main
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.write import store_blocks
from greenhaul_edge.config import UplinkSettings
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cloud.conftest import Kit


def test_what_was_in_the_store_is_in_the_restored_one(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit
) -> None:
    fill(store, kit)
    back_up(store, tmp_path / "b", kit.now_ms, Progress())
    restore(empty_url, tmp_path / "b", kit.now_ms, Progress())
    restored = open_store(empty_url, kit.now_ms)
    try:
        assert restored.store_id == store.store_id
        assert rows_of(restored) == rows_of(store)
        # numbering goes on behind the highest number ever given
        with restored.write() as conn:
            row = {"at": 0, "user_name": "x", "action": "x", "subject": "x"}
            conn.execute(insert(tables.audit).values(row))
            conn.execute(insert(tables.source).values(name="new"))
            ids = conn.execute(select(tables.source.c.id)).scalars().all()
        assert len(ids) == len(set(ids)) > 1
    finally:
        restored.close()


def test_a_backup_taken_while_readings_come_is_of_one_moment(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit
) -> None:
    """Ledger and readings say the same: a copy table by table would not."""
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", i * 1000) for i in range(2_000)])
    ended, began = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(1, 2_001):
            store_blocks(store, [outbox.received(number, number)], kit.now_ms)
            if number == 20:
                began.set()
            if ended.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    assert began.wait(20)
    try:
        back_up(store, tmp_path / "b", kit.now_ms, Progress())
    finally:
        ended.set()
        writer.join()
    restore(empty_url, tmp_path / "b", kit.now_ms, Progress())
    restored = open_store(empty_url, kit.now_ms)
    try:
        rows = rows_of(restored)
        assert len(rows["position"]) == rows["lane"][0]["stored"] >= 20
    finally:
        restored.close()


def test_nothing_is_overwritten(store: Store, empty_url: str, tmp_path: Path, kit: Kit) -> None:
    back_up(store, tmp_path / "b", kit.now_ms, Progress())
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0, "it is nobody else's"
    with pytest.raises(ConfigError, match="exists already"):
        back_up(store, tmp_path / "b", kit.now_ms, Progress())
    restore(empty_url, tmp_path / "b", kit.now_ms, Progress())
    with pytest.raises(ConfigError, match=r"move it away|has tables already"):
        restore(empty_url, tmp_path / "b", kit.now_ms, Progress())


def test_a_backup_that_has_no_room_leaves_nothing_behind(
    store: Store, tmp_path: Path, kit: Kit
) -> None:
    fill(store, kit)
    folder = tmp_path / "backups"
    folder.mkdir()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, most))
    try:
        with pytest.raises((ConfigError, Unavailable), match="backups/one"):
            back_up(store, folder / "one", kit.now_ms, Progress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert list(folder.iterdir()) == []


def test_a_backup_of_the_other_engine_says_what_to_do(sqlite_store: Store, tmp_path: Path) -> None:
    back_up(sqlite_store, tmp_path / "b", 0, Progress())
    with pytest.raises(ConfigError, match="move-store"):
        restore("postgresql://nobody@127.0.0.1:1/nothing", tmp_path / "b", 0, Progress())


def test_a_damaged_backup_leaves_nothing_behind(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit
) -> None:
    fill(store, kit, 3_000)
    path = tmp_path / "b"
    back_up(store, path, kit.now_ms, Progress())
    whole = path.read_bytes()
    if empty_url.startswith("sqlite"):
        spoilt = [
            whole[: len(whole) // 2],
            b"",
            whole.replace(b"store_identity", b"other_identity"),
        ]
    else:
        # in the middle of a table, at the end, not ours
        middle = whole.index(b"position_main.copy") + 2_000
        spoilt = [whole[:-100], whole[:middle] + bytes(100) + whole[middle + 100 :]]
        with ZipFile(tmp_path / "other", "w", ZIP_DEFLATED) as other:
            other.writestr("manifest.json", "{}")
        spoilt.append((tmp_path / "other").read_bytes())
    for data in spoilt:
        path.write_bytes(data)
        with pytest.raises(Rejected):
            restore(empty_url, path, kit.now_ms, Progress())
    path.write_bytes(whole)
    restore(empty_url, path, kit.now_ms, Progress())


def test_commands_back_up_and_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kit: Kit
) -> None:
    (tmp_path / "one.toml").write_text('[store]\nurl = "sqlite:///one.db"\n')
    (tmp_path / "two.toml").write_text('[store]\nurl = "sqlite:///two.db"\n')
    one, two, file = (str(tmp_path / name) for name in ("one.toml", "two.toml", "b"))
    assert main(["backup", file, "-c", one]) == 2  # nothing there: a wrong URL, more likely
    assert list(tmp_path.glob("one.db*")) == []
    assert main(["gateway", "add", "gw-9", "-c", one]) == 0
    assert main(["backup", file, "-c", one]) == 0
    assert main(["backup", file, "-c", one]) == 2
    assert main(["restore", file, "-c", two]) == 0
    assert main(["restore", file, "-c", two]) == 2
    assert main(["restore", str(tmp_path / "none"), "-c", two]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "exists already" in shown.err
    restored = open_store(f"sqlite:///{tmp_path}/two.db", kit.now_ms)
    assert [row["id"] for row in rows_of(restored)["gateway"]] == ["gw-9"]
    restored.close()


# -- gateways heal the difference ------------------------------------------------------------------


@contextmanager
def collecting(store: Store, port: int) -> Iterator[None]:
    """The collector of a store, while it lasts."""
    address = BrokerAddress(host="127.0.0.1", port=port, client_id="collector")
    intake = Intake(store, address, CollectorRegistry())
    intake.start()
    try:
        assert intake.wait_connected(20)
        yield
    finally:
        intake.stop()


def test_gateways_send_again_what_a_restored_store_lacks(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit
) -> None:
    kit.register(store, "gw-1")
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    settings = UplinkSettings(host="127.0.0.1", port=broker.port)
    gateway = Gateway(tmp_path / "edge", "gw-1", settings)
    try:
        gateway.uplink.start()
        with collecting(store, broker.port):
            gateway.append(300)
            until(lambda: not gateway.waiting, "300 are settled")
            back_up(store, tmp_path / "b", kit.now_ms, Progress())
            gateway.append(200)
            until(lambda: not gateway.waiting, "500 are settled")
        restore(empty_url, tmp_path / "b", kit.now_ms, Progress())
        restored = open_store(empty_url, kit.now_ms)
        broker.kill()  # a new connection opens with a hello, which is answered at once
        broker.start()
        with collecting(restored, broker.port):
            assert len(rows_of(restored)["position"]) == 300
            gateway.append(10)
            until(lambda: len(rows_of(restored)["position"]) == 510, "the lost 200 came again")
            until(lambda: not gateway.waiting, "510 are settled")
        (lane,) = rows_of(restored)["lane"]
        assert _counters(lane) == {"stored": 510, "duplicate": 0, "quarantined": 0, "dropped": 0}
        assert lane["settled"] == "[[1,510]]"
        restored.close()
    finally:
        gateway.close()
        broker.kill()


def _counters(lane: dict[str, Any]) -> dict[str, int]:
    return {name: lane[name] for name in ("stored", "duplicate", "quarantined", "dropped")}
