"""An SQLite store moves to PostgreSQL whole, compared row by row, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, update
from tests.cloud.api_city import furnished_city
from tests.cloud.rows import fill, rows_of

from greenhaul_cloud.housekeeping import copying, moving
from greenhaul_cloud.housekeeping.moving import move_store
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.main import main
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import open_store
from greenhaul_protocols.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


@pytest.fixture
def target_url(store_url: str) -> str:
    """An empty PostgreSQL database."""
    return store_url


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_every_row_arrives_as_it_was(
    sqlite_store: Store, target_url: str, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "GROUP_ROWS", 33)
    with furnished_city(sqlite_store, tmp_path, kit):
        fill(sqlite_store, kit)
    odd = {"was": {"km": 1e22, "b": [1, 2.5, True, None], "a": "\u0001车"}}
    with sqlite_store.write() as conn:
        conn.execute(insert(tables.audit).values(
            at=0, user_name="x", action="y", subject="z", detail=odd))  # fmt: skip
    before = rows_of(sqlite_store)
    rows = move_store(f"sqlite:///{tmp_path}/store.db", target_url, kit.now_ms, Progress())
    assert rows == {name: len(found) for name, found in before.items()}
    assert rows["position"] > 400
    moved = open_store(target_url, kit.now_ms)
    try:
        assert rows_of(moved) == before
        assert moved.store_id == sqlite_store.store_id
        with moved.write() as conn:  # numbering goes on
            conn.execute(insert(tables.source).values(name="new"))
    finally:
        moved.close()
    with pytest.raises(ConfigError, match="has tables already"):
        move_store(f"sqlite:///{tmp_path}/store.db", target_url, kit.now_ms, Progress())


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_what_does_not_agree_is_not_kept(
    sqlite_store: Store, target_url: str, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_store, kit)
    url = f"sqlite:///{tmp_path}/store.db"
    real = copying.set_sequences

    def spoil(conn, numbers):  # type: ignore[no-untyped-def]  # a bit flips on its way
        real(conn, numbers)
        conn.execute(update(tables.gateway).values(created_at=1))

    monkeypatch.setattr(moving, "set_sequences", spoil)
    with pytest.raises(Rejected, match="gateway"):
        move_store(url, target_url, kit.now_ms, Progress())
    monkeypatch.setattr(moving, "set_sequences", real)
    assert move_store(url, target_url, kit.now_ms, Progress())["position"] == 51


def test_other_ways_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[store]\nurl = "sqlite:///c.db"\n')
    for url in (f"sqlite:///{tmp_path}/d.db", "postgresql://u:secret@127.0.0.1/x", "rubbish"):
        assert main(["move-store", "--to", url, "-c", str(config)]) == 2
    assert "secret" not in capsys.readouterr().err
