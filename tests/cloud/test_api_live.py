"""The live stream over a real socket: what changes comes once, in order, to whom it concerns."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from socket import SHUT_RDWR
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.cloud.api_city import PASSWORD, WAIT_S, City

from greenhaul_cloud.api import live
from greenhaul_cloud.api.hub import Board, texts_of
from greenhaul_cloud.store import tables


@dataclass(frozen=True)
class Event:
    """One server-sent event, or the end of the stream (name None)."""

    name: str | None
    number: str | None = None
    data: Any = None

    def subjects(self, key: str = "vehicle_id") -> list[Any]:
        return [item[key] for item in self.data["items"]]


class Watch:
    """Reads a stream in a thread, so that a test can act meanwhile."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer
        self._events: queue.Queue[Event] = queue.Queue()
        self.last_number: str | None = None
        self.names: list[str] = []
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def next(self, name: str, holds: Callable[[Event], bool] = lambda _event: True) -> Event:
        """The next event of a name for which something holds."""
        while True:
            event = self._events.get(timeout=WAIT_S)
            if event.name is None and name != "end":
                raise AssertionError("the stream ended")
            if (event.name or "end") == name and holds(event):
                return event

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._answer.iter_lines():
                name, colon, value = line.partition(": ")
                if colon:
                    fields[name] = value
                elif not line:
                    self._dispatch(fields)
                    fields = {}
        except httpx.HTTPError:
            pass  # the test closed it
        self._events.put(Event(None))

    def _dispatch(self, fields: dict[str, str]) -> None:
        self.last_number = fields.get("id", self.last_number)
        if "data" in fields:
            data = json.loads(fields["data"])
            self.names.append(fields["event"])
            self._events.put(Event(fields["event"], fields.get("id"), data))


@contextmanager
def watching(
    city: City, role: str | None, client: httpx.Client | None = None, **options: Any
) -> Iterator[Watch]:
    own = client or city.client(role)
    with closing(own), own.stream("GET", "/live", timeout=WAIT_S, **options) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        watch = Watch(answer)
        try:
            yield watch
        finally:
            # a thread that waits for bytes does not notice close()
            answer.extensions["network_stream"].get_extra_info("socket").shutdown(SHUT_RDWR)
            watch.thread.join()


def test_everybody_comes_first_and_then_what_changes(town: City) -> None:
    with watching(town, "regulator") as watch:
        everybody = watch.next("positions")
        assert everybody.subjects() == ["v-foreign", "v-own", None]
        town.now_ms += 10_000
        town.report([town.position("808:own", town.now_ms, speed_kmh=0.0)], epoch=8)
        changed = watch.next("positions")
        assert changed.subjects() == ["v-own"]
        assert changed.data["items"][0]["state"] == "stopped"
        assert changed.number is None  # only violations can be resumed


def test_a_manager_hears_of_own_vehicles_only(town: City) -> None:
    with watching(town, "manager", headers={"Last-Event-ID": "0"}) as watch:
        assert watch.next("positions").subjects() == ["v-own"]
        assert watch.next("violations").subjects() == ["v-own"]
        town.now_ms += 1000
        town.report([town.position("808:foreign", town.now_ms)], epoch=8)
        town.report([town.position("808:own", town.now_ms)], epoch=9)
        assert watch.next("positions").subjects() == ["v-own"]


def test_violations_resume_where_the_last_stream_ended(town: City) -> None:
    with watching(town, "admin", headers={"Last-Event-ID": "1"}) as watch:
        event = watch.next("violations")
        assert event.subjects() == ["v-foreign"]
        assert event.number == "2"
    missed = town.ids["own"]["violation_id"]
    town.ask("POST", f"/violations/{missed}/handling", json={})
    with watching(town, "admin", headers={"Last-Event-ID": "2"}) as watch:
        event = watch.next("violations")
        assert (event.subjects("id"), event.number) == ([missed], "3")


def test_a_new_stream_learns_its_number_before_anything_happens(town: City) -> None:
    with watching(town, "admin") as watch:
        watch.next("positions")
        assert watch.last_number == "2"
        town.ask("POST", f"/violations/{town.ids['own']['violation_id']}/handling", json={})
        assert watch.next("violations").number == "3"


def test_a_number_of_another_store_holds_no_violation_back(town: City) -> None:
    with watching(town, "admin", headers={"Last-Event-ID": "1000"}) as watch:
        watch.next("positions")
        assert watch.last_number == "2"
        town.ask("POST", f"/violations/{town.ids['own']['violation_id']}/handling", json={})
        assert watch.next("violations").number == "3"


def test_gateways_show_to_authorities(town: City) -> None:
    with watching(town, "regulator") as watch:
        before = watch.next("gateways").data["items"][0]["stored"]
        town.now_ms += 1000
        town.report([town.position("808:own", town.now_ms)], epoch=8)
        assert watch.next("gateways").data["items"][0]["stored"] == before + 1


def test_a_box_keeps_others_out(town: City) -> None:
    with watching(town, "regulator", params={"bbox": "0,0,1,1"}) as watch:
        town.now_ms += 1000
        inside = {"latitude_deg": 0.5, "longitude_deg": 0.5}
        town.report([town.position("808:own", town.now_ms, **inside)], epoch=8)
        assert watch.next("positions").subjects() == ["v-own"]


def test_a_box_keeps_violations_and_gateways_of_elsewhere_out(town: City) -> None:
    for owner, place in (("own", [112.52, 32.99]), ("foreign", [100.5, 20.5])):
        evidence = {"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [place]}}
        of_owner = tables.violation.c.id == town.ids[owner]["violation_id"]
        with town.store.write() as conn:
            conn.execute(update(tables.violation).where(of_owner).values(evidence=evidence))
    resumed = {"Last-Event-ID": "0"}
    with watching(town, "admin", params={"bbox": "112,32,113,33"}, headers=resumed) as watch:
        assert watch.next("positions").subjects() == ["v-foreign", "v-own", None]
        assert watch.next("violations").subjects() == ["v-own"]
        assert watch.next("gateways").subjects("id") == ["gw-city"]
    with watching(town, "admin", params={"bbox": "100,20,101,21"}, headers=resumed) as watch:
        assert watch.next("violations").subjects() == ["v-foreign"]
        town.now_ms += 1000
        there = {"latitude_deg": 20.5, "longitude_deg": 100.5}
        town.report([town.position("808:foreign", town.now_ms, **there)], epoch=8)
        assert watch.next("gateways").subjects("id") == ["gw-city"]
        assert watch.names == ["violations", "positions", "gateways"]


def test_a_cookie_opens_the_stream_too(town: City) -> None:
    client = town.client(None)
    signed = client.post("/session", json={"name": "manager", "password": PASSWORD})
    assert signed.status_code == 200
    with watching(town, None, client) as watch:
        assert watch.next("positions").subjects() == ["v-own"]


def test_nobody_watches_without_a_name(city: City) -> None:
    assert city.ask("GET", "/live", None).status_code == 401


def test_a_stream_ends_when_its_user_is_barred(town: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)
    with watching(town, "manager") as watch:
        watch.next("positions")
        user_id = town.ids["user"]["manager"]
        barred = town.ask("PATCH", f"/users/{user_id}", json={"is_disabled": True})
        assert barred.status_code == 204
        watch.next("end")


def test_streams_are_bounded(town: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAMS_MAX", 1)
    with watching(town, "manager") as watch:
        watch.next("positions")
        refused = town.ask("GET", "/live", "manager")
        assert refused.status_code == 503
        assert "retry-after" in refused.headers


def test_a_slow_watcher_misses_beats_not_news() -> None:
    """However many beats passed, the newest word about each subject comes once."""
    board = Board()
    rendered: list[str] = []

    def render(values: list[str]) -> list[str]:
        rendered.extend(values)
        return values

    def shown(beat: int) -> list[str]:
        return texts_of(board.since(beat), render)

    for beat in range(1, 100):
        board.update(beat, [("v1", f"v1 at {beat}", beat), ("v2", "v2", "still")])
    assert shown(0) == ["v1 at 99", "v2"]
    assert shown(50) == ["v1 at 99"]
    assert rendered == ["v1 at 99", "v2"]  # once, for however many watch
    board.update(100, [("v2", "v2", "still")])
    assert shown(0) == ["v2"]
