"""Who takes which shards: pieces, equal shares, and claims that end with their holder."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cloud.test_derive_runner import REFOLD, Scene, stay

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_cloud.fold.refold import refold
from greenhaul_cloud.main import main
from greenhaul_cloud.shards.keeper import LEASE_S, ShardKeeper
from greenhaul_cloud.shards.pieces import Piece, clashes, cut, uncut
from greenhaul_cloud.shards.sharing import share_out
from greenhaul_cloud.store.claims import KEY_MAX, Space
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_protocols.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.claims import Claims

IDLE_S = 60.0
ALL = Piece(0x00, 0xFF)


@pytest.fixture
def make_claims(store: Store) -> Iterator[Callable[..., Claims]]:
    """Holders of claims in one store, on each engine."""
    made: list[Claims] = []

    def make(idle_s: float = IDLE_S) -> Claims:
        made.append(store.open_claims(idle_s))
        return made[-1]

    yield make
    for claims in made:
        claims.close()


@given(st.integers(0, 255), st.integers(0, 255))
def test_pieces_are_the_range_and_end_where_those_of_others_end(a: int, b: int) -> None:
    first, last = min(a, b), max(a, b)
    pieces = cut(Piece(first, last))
    assert [shard for piece in pieces for shard in piece.shards] == list(range(first, last + 1))
    whole = cut(ALL)
    assert len(whole) == 16
    assert set(pieces[1:-1]) <= set(whole)


@given(st.integers(1, 40), st.integers(0, 3))
def test_collectors_that_come_and_look_share_everything(collectors: int, rounds: int) -> None:
    """However they take turns, nothing stays free, and nobody has more than an equal share."""
    pieces = cut(ALL)
    held: list[set[Piece]] = [set() for _ in range(collectors)]
    held[0] = set(pieces)  # who was there first
    for turn in range(2 + rounds):
        for place, mine in enumerate(held if turn % 2 else held[::-1]):
            number = place if turn % 2 else collectors - 1 - place
            wish = share_out(pieces, mine, collectors, number)
            mine -= set(wish.to_leave)
            free = set(pieces).difference(*held)
            mine |= set([piece for piece in wish.to_try if piece in free][: wish.take_max])
    assert set().union(*held) == set(pieces)
    assert sum(map(len, held)) == len(pieces)
    assert max(map(len, held)) <= -(-len(pieces) // collectors)


def test_a_claim_is_held_by_one(make_claims: Callable[..., Claims]) -> None:
    one, other = make_claims(), make_claims()
    assert one.take(Space.SHARD, [1, 2, 3]) == {1, 2, 3}
    assert one.take(Space.SHARD, [3, 4]) == {3, 4}, "what is held stays held"
    assert other.take(Space.SHARD, [3, 4, 5]) == {5}
    assert other.take(Space.VEHICLE, [3, KEY_MAX]) == {3, KEY_MAX}, "spaces are apart"
    assert one.found(Space.SHARD, 2, 5) == other.found(Space.SHARD, 2, 5) == {2, 3, 4, 5}
    one.leave(Space.SHARD, [3, 5])
    assert other.take(Space.SHARD, [3, 4, 5]) == {3, 5}
    one.close()
    assert other.take(Space.SHARD, range(6)) == set(range(6))
    assert other.found(Space.SHARD, 0, 255) == set(range(6))


HOLDER = """
import sys
from greenhaul_cloud.store.claims import Space
from greenhaul_cloud.store.engine import open_store
claims = open_store(sys.argv[1], 0).open_claims(60)
assert claims.take(Space.SHARD, [7]) == {7}
print("held", flush=True)
sys.stdin.read()
"""


def test_a_claim_ends_with_its_process(kit: Kit, store_url: str) -> None:
    store = open_store(store_url, kit.now_ms)
    claims = store.open_claims(IDLE_S)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, store_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert claims.take(Space.SHARD, [7]) == set()
        holder.kill()
    for _ in range(1_000):  # the server has to see its socket close
        if claims.take(Space.SHARD, [7]):
            break
        claims.renew()
    assert claims.take(Space.SHARD, [7]) == {7}
    claims.close()
    store.close()


def test_a_holder_that_hangs_loses_its_claims(kit: Kit, postgres_dsn: str) -> None:
    """The server ends its session, not the holder: it does nothing at all."""
    store = open_store(postgres_dsn, kit.now_ms)
    hanging, other = store.open_claims(0.2), store.open_claims(IDLE_S)
    assert hanging.take(Space.SHARD, [1]) == {1}
    with store.read() as conn:
        while not other.take(Space.SHARD, [1]):
            conn.exec_driver_sql("SELECT pg_sleep(0.05)")
    with pytest.raises(Unavailable):
        hanging.renew()
    hanging.renew()
    assert hanging.take(Space.SHARD, [1]) == set()
    hanging.close()
    other.close()
    store.close()


class Recorder:
    """A collector's keeper, with what it was told to take and leave."""

    def __init__(
        self,
        claims: Claims,
        whole: Piece = ALL,
        divide: Callable[[Piece], list[Piece]] = cut,
    ) -> None:
        self.taken: list[Piece] = []
        self.left: list[Piece] = []
        self.now_s = 0.0
        self.has_broker = True
        self.keeper = ShardKeeper(
            claims,
            whole,
            divide,
            on_take=self.taken.append,
            on_leave=self.left.append,
            can_serve=lambda: self.has_broker,
            monotonic_s=lambda: self.now_s,
        )


def test_collectors_find_their_shares_by_looking(make_claims: Callable[..., Claims]) -> None:
    pieces = cut(ALL)
    first, second, third = (Recorder(make_claims()) for _ in range(3))
    first.keeper.look()
    assert first.keeper.held == set(pieces)
    assert not first.keeper.fault
    second.keeper.look()  # nothing is free yet
    assert second.keeper.fault
    first.keeper.look()
    second.keeper.look()
    assert len(first.keeper.held) == len(second.keeper.held) == 8
    assert first.keeper.held | second.keeper.held == set(pieces)
    assert not second.keeper.fault
    third.keeper.look()
    for one in (first, second, third):
        one.keeper.look()
    assert sorted(len(one.keeper.held) for one in (first, second, third)) == [4, 6, 6]
    second.keeper.stop()  # in good order, or not: its claims are free
    assert len(second.left) == len(second.taken)
    first.keeper.look()
    third.keeper.look()
    assert first.keeper.held | third.keeper.held == set(pieces)


def test_ranges_that_are_configured_apart_stay_apart(make_claims: Callable[..., Claims]) -> None:
    ranges = Piece(0x00, 0x54), Piece(0x55, 0xFF)
    low, high = (Recorder(make_claims(), whole) for whole in ranges)
    for _ in range(3):
        low.keeper.look()
        high.keeper.look()
    for one, whole in zip((low, high), ranges, strict=True):
        assert one.keeper.held == set(cut(whole))
    assert low.keeper.fault is high.keeper.fault is None


def test_pieces_clash_when_they_share_shards_and_are_not_the_same() -> None:
    assert clashes(cut(ALL), cut(Piece(0x40, 0x7F))) == []
    assert clashes(cut(Piece(0x00, 0x54)), cut(Piece(0x55, 0xFF))) == []
    cut_apart = (Piece(0x60, 0x6F), Piece(0x64, 0x6F))
    assert clashes(cut(Piece(0x00, 0x7F)), cut(Piece(0x64, 0xFF))) == [cut_apart]
    halves = (Piece(0x00, 0x7F), Piece(0x64, 0xFF))
    assert clashes(uncut(halves[0]), uncut(halves[1])) == [halves]


@pytest.mark.parametrize("is_low_first", [True, False])
def test_ranges_that_cut_each_others_pieces_are_told_and_none_is_served_twice(
    make_claims: Callable[..., Claims], is_low_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    low = Recorder(make_claims(), Piece(0x00, 0x7F))
    high = Recorder(make_claims(), Piece(0x64, 0xFF))
    first, second = (low, high) if is_low_first else (high, low)
    for _ in range(6):
        first.keeper.look()
        second.keeper.look()
    served = [shard for one in (low, high) for piece in one.keeper.held for shard in piece.shards]
    assert len(served) == len(set(served))
    assert set(range(256)) - set(served) == (set() if is_low_first else set(range(0x60, 0x64)))
    assert first.keeper.fault is None, "it has all that it should have"
    fault = second.keeper.fault
    assert fault is not None
    assert "60-6f" in fault
    assert "64-6f" in fault
    assert caplog.text.count("event=shards_clash") == 2, "each says so, once"
    first.keeper.stop()
    second.keeper.look()
    assert second.keeper.fault is None


@pytest.mark.parametrize(
    ("running", "code", "said"),
    [
        (None, 0, "collectors running: none"),
        (ALL, 0, "collectors running: 1 on shards 00-ff"),
        (Piece(0x64, 0xFF), 1, "00-7f and 64-ff cut each other's pieces"),
    ],
)
def test_check_says_who_collects(
    make_claims: Callable[..., Claims],
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    running: Piece | None,
    code: int,
    said: str,
) -> None:
    url = store._engine.url
    shown = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
    shards = "00-ff" if code == 0 else "00-7f"
    config = tmp_path / "c.toml"
    config.write_text(f'[store]\nurl = "{shown}"\n[broker]\nshards = "{shards}"\n')
    if running:
        Recorder(make_claims(), running).keeper.look()
    assert main(["check", "-c", str(config)]) == code
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_a_collector_without_a_broker_leaves_its_shards_to_others(
    make_claims: Callable[..., Claims],
) -> None:
    one, other = Recorder(make_claims()), Recorder(make_claims())
    for keeper in (one.keeper, other.keeper, one.keeper, other.keeper):
        keeper.look()
    assert len(one.keeper.held) == len(other.keeper.held) == 8
    one.has_broker = False
    one.keeper.look()
    assert one.keeper.held == set()
    assert one.keeper.fault == "the broker is not reached"
    other.keeper.look()
    assert other.keeper.held == set(cut(ALL)), "who cannot serve is not counted"
    one.keeper.look()
    assert not one.keeper.held
    assert other.keeper.fault is None
    one.has_broker = True
    for keeper in (one.keeper, other.keeper, one.keeper):
        keeper.look()
    assert len(one.keeper.held) == len(other.keeper.held) == 8
    assert one.keeper.fault is None


class Loss:
    """Claims that the store takes away when asked to."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.is_away = False

    def renew(self) -> None:
        if self.is_away:
            self._claims.close()
            raise Unavailable("store: gone")
        self._claims.renew()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._claims, name)


def test_a_short_outage_disturbs_no_session_and_a_long_one_ends_all(
    make_claims: Callable[..., Claims],
) -> None:
    loss: Any = Loss(make_claims())
    one = Recorder(loss)
    one.keeper.look()
    loss.is_away = True
    one.now_s = LEASE_S - 1
    one.keeper.look()
    loss.is_away = False
    one.keeper.look()
    assert (len(one.taken), one.left, one.keeper.fault) == (16, [], None)
    loss.is_away = True
    one.now_s += LEASE_S
    one.keeper.look()
    assert one.left == one.taken
    assert one.keeper.fault
    other = Recorder(make_claims())
    other.keeper.look()
    loss.is_away = False
    one.keeper.look()
    other.keeper.look()
    one.keeper.look()
    assert len(one.keeper.held) == len(other.keeper.held) == 8


def test_a_vehicle_is_folded_by_one_process_at_a_time(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))
    elsewhere = Store(store._engine, store.driver, store.store_id, store.zone)
    seen = []

    def beside(*args: Any, **more: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(REFOLD, refold)
            seen.append(Deriver(elsewhere).run(kit.now_ms + 10**8))
        return refold(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(REFOLD, beside)
        ours = scene.fold()
    elsewhere.claims.close()
    assert [(one.marked, one.folded, one.elsewhere) for one in seen] == [(1, 0, 1)]
    assert (ours.folded, ours.elsewhere, ours.has_more) == (1, 0, False)
    assert len(scene.visits()) == 1


def test_a_turn_ends_early_when_its_process_does(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))
    cut_short = scene.deriver.run(kit.now_ms + 10**8, lambda: True)
    assert (cut_short.marked, cut_short.folded, cut_short.has_more) == (1, 0, True)
    assert scene.fold().folded == 1
