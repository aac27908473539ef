"""An archive loses nothing: what is read back is what was there, on either engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet
from sqlalchemy import select, update
from tests.cloud.rows import fill, rows_of

from greenhaul_cloud.housekeeping import archive as module
from greenhaul_cloud.housekeeping.archive import read_archive, write_archive
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.main import main
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

ALWAYS = (-62_135_596_800_000, None)
KEPT = [kind.name for kind in KINDS.values()]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several row groups, as in a large store."""
    monkeypatch.setattr(module, "GROUP_ROWS", 17)


def readings_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All readings with their sources' names, in order of identity."""
    rows = rows_of(store)
    names = {row["id"]: row["name"] for row in rows["source"]}
    found = {}
    for kind in KEPT:
        named = [{**row, "source_id": names[row["source_id"]]} for row in rows[kind]]
        found[kind] = sorted(named, key=lambda r: (r["source_id"], r["device_time"], r["digest"]))
    entries = [{**row, "id": None} for row in rows["quarantine"]]
    found["quarantine"] = sorted(entries, key=lambda row: (row["stored_time"], row["digest"]))
    return found


def sources_of(store: Store) -> list[dict[str, Any]]:
    """What the store says of each source, whatever its number."""
    return [{**row, "id": None} for row in rows_of(store)["source"]]


def latest_of(store: Store) -> list[dict[str, Any]]:
    """Where the store says that each source is."""
    rows = rows_of(store)
    names = {row["id"]: row["name"] for row in rows["source"]}
    named = [{**row, "source_id": names[row["source_id"]]} for row in rows["latest"]]
    return sorted(named, key=lambda row: str(row["source_id"]))


def add_odd_ones(store: Store, kit: Kit) -> None:
    """Dates far away, with one of an honest clock after them, and fields of a newer catalogue."""
    odd = [kit.position("808:1", at_ms) for at_ms in (0, 4_070_908_800_000, 253_402_300_799_999)]
    store_blocks(store, [kit.outbox(epoch=9, readings=odd).received(1, 3)], kit.now_ms + 1)
    honest = [kit.position("808:1", kit.now_ms + 5)]
    store_blocks(store, [kit.outbox(epoch=10, readings=honest).received(1, 1)], kit.now_ms + 9)
    with store.write() as conn:
        for kind in (tables.battery, tables.readings[5]):
            if conn.dialect.name == "sqlite":
                extra = json.dumps({"99": 2**60, "100": "00ff"})
                conn.execute(update(kind).values(extra=extra))


@pytest.mark.parametrize("engine", ["same", "sqlite"])
def test_what_is_read_back_is_what_was_there(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit, engine: str
) -> None:
    fill(store, kit)
    add_odd_ones(store, kit)
    rows = write_archive(store, tmp_path / "all", *ALWAYS, Progress())
    before = readings_of(store)
    assert rows == {name: len(found) for name, found in before.items()}
    assert rows["position"] == 55
    other = open_store(empty_url if engine == "same" else f"sqlite:///{tmp_path}/o.db", 0)
    try:
        back = read_archive(other, tmp_path / "all", kit.now_ms, Progress())
        assert back == {name: count for name, count in rows.items() if count}
        assert readings_of(other) == before
        assert sources_of(other) == sources_of(store)
        assert latest_of(other) == latest_of(store)
        assert latest_of(other)[0]["device_time"] == kit.now_ms + 5
        assert len(rows_of(other)["dirty"]) == 2
        # the same again changes nothing
        again = read_archive(other, tmp_path / "all", kit.now_ms, Progress())
        assert set(again.values()) == {0}
        assert readings_of(other) == before
        assert sources_of(other) == sources_of(store)
    finally:
        other.close()


def test_an_old_archive_does_not_make_a_source_older(
    store: Store, empty_url: str, tmp_path: Path, kit: Kit
) -> None:
    """What came since stands; what came before is known to be older now."""
    fill(store, kit)
    write_archive(store, tmp_path / "all", *ALWAYS, Progress())
    (tmp_path / "all" / "source.parquet").rename(tmp_path / "kept")
    other = open_store(empty_url, 0)
    try:
        kit.register(other, "gw-9", ["808:*"])
        since = [kit.position("808:1", kit.now_ms)]
        late = kit.outbox(gateway="gw-9", readings=since).received(1, 1)
        store_blocks(other, [late], kit.now_ms + 5)
        read_archive(other, tmp_path / "all", kit.now_ms + 9, Progress())
        (tmp_path / "kept").rename(tmp_path / "all" / "source.parquet")
        first_ms = kit.now_ms - 3_600_000
        said = {row["name"]: row for row in sources_of(other)}
        assert said["808:2"]["gateway_id"] is None, "an archive of an older version does not know"
        assert said["808:2"]["last_received_time"] == first_ms
        read_archive(other, tmp_path / "all", kit.now_ms + 9, Progress())
        assert sources_of(other)[0] == {
            "id": None,
            "name": "808:1",
            "gateway_id": "gw-9",
            "first_stored_time": kit.now_ms,
            "last_received_time": kit.now_ms,
        }
    finally:
        other.close()


def test_a_period_is_cut_by_device_time_and_sorted(store: Store, tmp_path: Path, kit: Kit) -> None:
    fill(store, kit, 60)
    first_ms = kit.now_ms - 3_600_000
    write_archive(store, tmp_path / "a", first_ms, first_ms + 30_000, Progress())
    write_archive(store, tmp_path / "b", first_ms + 30_000, ALWAYS[1], Progress())
    tables_of = [parquet.read_table(tmp_path / name / "position.parquet") for name in "ab"]
    assert [len(one) for one in tables_of] == [31, 30]
    for one in tables_of:
        keys = list(zip(*(one[n].to_pylist() for n in ("source", "device_time")), strict=True))
        assert keys == sorted(keys)
    assert str(tables_of[0].schema.field("device_time").type) == "timestamp[ms, tz=UTC]"
    assert tables_of[0]["speed_kmh"].to_pylist()[:3] == [0.0, 0.1, 0.2]
    assert parquet.ParquetFile(tmp_path / "a" / "position.parquet").num_row_groups == 2


def test_what_is_no_archive_is_refused(sqlite_store: Store, tmp_path: Path, kit: Kit) -> None:
    fill(sqlite_store, kit)
    folder = tmp_path / "a"
    write_archive(sqlite_store, folder, *ALWAYS, Progress())
    with pytest.raises(ConfigError, match="exists already"):
        write_archive(sqlite_store, folder, *ALWAYS, Progress())
    with pytest.raises(ConfigError, match="no such folder"):
        read_archive(sqlite_store, tmp_path / "none", 0, Progress())
    file = folder / "position.parquet"
    plain = parquet.read_table(file)
    parquet.write_table(plain.append_column("altitude_ft", plain["source"]), file)
    with pytest.raises(Rejected, match="altitude_ft"):
        read_archive(sqlite_store, folder, 0, Progress())
    parquet.write_table(plain.replace_schema_metadata({}), file)
    with pytest.raises(Rejected, match="format"):
        read_archive(sqlite_store, folder, 0, Progress())
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(Rejected):
        read_archive(sqlite_store, folder, 0, Progress())
    (tmp_path / "empty").mkdir()
    with pytest.raises(Rejected):
        read_archive(sqlite_store, tmp_path / "empty", 0, Progress())
    with sqlite_store.read() as conn:
        assert len(conn.execute(select(tables.position)).all()) == 51


def test_the_command_writes_and_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[store]\nurl = "sqlite:///c.db"\n')
    rest = ["-c", str(config)]
    folder = str(tmp_path / "a")
    assert main(["archive", folder, *rest]) == 2  # there is no store yet
    assert main(["migrate", *rest]) == 0
    assert main(["archive", folder, "--from", "2026-11-01T00:00:00+08:00", *rest]) == 0
    assert main(["archive", folder, *rest]) == 2
    assert main(["archive", folder, "--read", *rest]) == 0, "nothing is a whole archive, too"
    assert main(["archive", str(tmp_path / "b"), "--from", "yesterday", *rest]) == 2
    assert main(["archive", folder, "--read", "--to", "2026-11-01T00:00:00Z", *rest]) == 2
    assert "Traceback" not in capsys.readouterr().err
