"""Bits flipped, pages zeroed, files cut short: the outbox always opens, and loses what was hit.

5,000 kinds of damage to an outbox and its WAL as a killed agent left them. Every time it must open,
keep the damaged file, and deliver the readings whose bytes were not touched.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox import recovery
from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.chunks import Batch, Chunk, DamagedChunk, Priority, Row, chunks_from
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.keeper import Keeper
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.schema import open_to_read
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, Dropped, Event, Position, Reading
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.series import decode_body

SEED = 808
CASES, SOAK_CASES = 5_000, 100_000
GATEWAY = "gw-damage"
FAR_MS = 1_790_000_000_000
NOW_MS = FAR_MS + 10**6
BOUNDS = Bounds(size_max=1 << 20)
COMMITS, CHECKPOINTED = 9, (3, 6, 8)
NAMES = ("outbox.sqlite", "outbox.sqlite-wal")


@dataclass(frozen=True)
class Spot:
    """Where bytes of a commit's readings lie in one of the files."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Image:
    """An outbox as a killed process left it, and where in it each commit's readings lie.

    A commit is named by the device time of its first reading.
    """

    files: dict[str, bytes]
    readings: dict[int, frozenset[int]]
    spots: dict[int, list[list[Spot]]]  # each copy of a commit is a list of spots


def readings_at(rng: Random, at: int, count: int) -> list[Reading]:
    """Readings whose device times name them: positions, battery, some large events."""
    source = rng.choice(["808:13912345678", "808:13900000001", f"{GATEWAY}/gnss"])
    made: list[Reading] = []
    for time_ms in range(FAR_MS + at, FAR_MS + at + count):
        kind = rng.random()
        if kind < 0.7:
            made.append(
                Position(
                    source=source,
                    device_time_ms=time_ms,
                    received_time_ms=time_ms,
                    latitude_deg=rng.uniform(20, 40),
                    longitude_deg=rng.uniform(100, 120),
                    speed_kmh=float(rng.randrange(90)),
                )
            )
        elif kind < 0.96:
            soc = float(rng.randrange(100))
            made.append(
                BatteryReading(
                    source=source, device_time_ms=time_ms, received_time_ms=0, soc_percent=soc
                )
            )
        else:
            raw = rng.randbytes(rng.randrange(100, 9_000))
            made.append(
                Event(
                    source=source, device_time_ms=time_ms, received_time_ms=0, code="photo", raw=raw
                )
            )
    return made


def make_image(folder: Path, seed: int, checkpointed: int) -> Image:
    """Commits, the first of them checkpointed, the rest in the WAL: copied while it is open."""
    rng = Random(seed)
    path = folder / NAMES[0]
    commits: dict[int, frozenset[int]] = {}

    def append(file: OutboxFile, times: int) -> None:
        for _ in range(times):
            at, count = sum(map(len, commits.values())), rng.randrange(1, 8)
            priority = rng.choice(list(Priority))
            file.append([Batch(readings_at(rng, at, count), priority)], FAR_MS + at)
            commits[FAR_MS + at] = frozenset(range(FAR_MS + at, FAR_MS + at + count))

    with closing(open_outbox(path, GATEWAY, 1, FAR_MS, BOUNDS)) as file:
        append(file, checkpointed)
    with closing(open_outbox(path, GATEWAY, 1, FAR_MS, BOUNDS)) as file:
        append(file, COMMITS - checkpointed)
        with closing(open_to_read(path)) as reader:
            rows = reader.execute("SELECT body FROM chunk ORDER BY first").fetchall()
        files = {name: (folder / name).read_bytes() for name in NAMES}
    bodies = {min(times_of(Chunk(1, 1, body))): body for (body,) in rows}
    assert sorted(bodies) == sorted(commits)
    spots = {first: list(copies_of(files, body)) for first, body in bodies.items()}
    assert all(spots.values())
    return Image(files, commits, spots)


def times_of(chunk: Chunk) -> set[int]:
    """Device times of a row, but of no record that says what is lost."""
    return {
        time_ms
        for series in decode_body(chunk.body)
        if series.kind != KIND_OF[Dropped].number
        for time_ms in series.device_time_ms
    }


def copies_of(files: dict[str, bytes], body: bytes) -> Iterator[list[Spot]]:
    """Every copy of a row, with the record header before it; pieces of it where it is chained.

    Found by its bytes, not by SQLite's structures: pieces longer than 32 bytes are unique.
    """
    for name, data in files.items():
        at = data.find(body[:32])
        while at >= 0:
            spots, done = [Spot(name, at - 60, at)], 0
            where = at
            while done < len(body):
                length = min(_same(data, where, body, done), len(body) - done)
                spots.append(Spot(name, where - 4, where + length + 4))
                done += length
                if done < len(body):
                    where = data.find(body[done : done + 32])
                    if where < 0:
                        break
            yield spots
            at = data.find(body[:32], at + 1)


def _same(data: bytes, where: int, body: bytes, done: int) -> int:
    """How many bytes agree from here, up to the end of the page."""
    pairs = zip(data[where : where + 4096], body[done : done + 4096], strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), 4096)


@dataclass(frozen=True)
class Damage:
    """Bytes first…last of a file are not what they were, or are not there."""

    name: str
    first: int
    last: int
    data: bytes | None  # None: cut off here

    def apply(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The files with it."""
        old = files[self.name]
        if self.data is None:
            return {**files, self.name: old[: self.first]}
        new = old[: self.first] + self.data + old[self.last + 1 :]
        return {**files, self.name: new}

    def touches(self, spots: list[Spot]) -> bool:
        """Whether a copy lies in it."""
        return any(
            spot.name == self.name and spot.first <= self.last and self.first <= spot.last
            for spot in spots
        )


def make_damage(rng: Random, image: Image) -> Damage:
    """One flip, page or cut, anywhere in either file."""
    name = rng.choice(NAMES)
    size = len(image.files[name])
    match rng.choice(["flip", "flip", "page", "sector", "noise", "cut"]):
        case "flip":
            # Headers and settings are few bytes; half of the flips go where they lie.
            at = rng.randrange(min(size, rng.choice([100, 8_192, size])))
            flipped = image.files[name][at] ^ 1 << rng.randrange(8)
            return Damage(name, at, at, bytes([flipped]))
        case "page":
            at = rng.randrange(size // 4096) * 4096
            return Damage(name, at, min(at + 4095, size - 1), bytes(min(4096, size - at)))
        case "sector":
            at = rng.randrange(size // 512) * 512
            return Damage(name, at, at + 511, bytes(512))
        case "noise":
            length = rng.randrange(1, 200)
            at = rng.randrange(size - length)
            return Damage(name, at, at + length - 1, rng.randbytes(length))
    at = rng.randrange(size)
    return Damage(name, at, size, None)


def delivered(keeper: Keeper) -> set[int]:
    """Device times of all an uplink would send, under the numbers it would send them."""
    while True:
        file = keeper.file
        with closing(open_to_read(file.path)) as reader:
            try:
                return {
                    time_ms
                    for lane in file.ledger.lanes.values()
                    for first, last in lane.unsettled()
                    for chunk in chunks_from(reader, lane.lane, first, last)
                    for time_ms in times_of(chunk)
                }
            except DamagedChunk as error:
                file.give_up(1, error.first, error.last, "damaged", NOW_MS)


def test_untouched_readings_survive_damage(tmp_path: Path) -> None:
    run(tmp_path, CASES)


def trust_without_crc(patch: pytest.MonkeyPatch) -> None:
    """What looks like a row is one."""
    patch.setattr(Row, "is_intact", True)


def drop_a_row(patch: pytest.MonkeyPatch) -> None:
    """One of each slice is lost on its way into the new file."""
    adopt = OutboxFile.adopt
    patch.setattr(
        OutboxFile, "adopt", lambda file, rows, *rest, **more: adopt(file, rows[1:], *rest, **more)
    )


@pytest.mark.parametrize("plant", [trust_without_crc, drop_a_row])
def test_a_planted_fault_of_the_salvage_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, DecodeError)) as found:
        run(tmp_path, CASES // 25)
    print(f"{plant.__name__}: {found.value}")


@pytest.mark.soak
def test_untouched_readings_survive_a_lot_of_damage(tmp_path: Path) -> None:
    run(tmp_path, SOAK_CASES)


def run(tmp_path: Path, cases: int) -> None:
    """Damage, open, salvage, compare; many times."""
    print(f"seed {SEED}")
    rng = Random(SEED)
    images = []
    for count in CHECKPOINTED:
        folder = tmp_path / str(count)
        folder.mkdir()
        images.append(make_image(folder, SEED + count, count))
    untouched = lost = asides = 0
    for case in range(cases):
        image = rng.choice(images)
        damage = make_damage(rng, image)
        everything = frozenset().union(*image.readings.values())
        folder = Path("/dev/shm") / f"greenhaul-damage-{os.getpid()}"
        folder.mkdir()
        try:
            for name, data in damage.apply(image.files).items():
                (folder / name).write_bytes(data)
            held, put_aside = reopened(folder / NAMES[0], is_large=case % 2 == 0)
        finally:
            shutil.rmtree(folder)
        assert held <= everything, f"case {case}: {damage} invented readings"
        whole = {
            reading
            for first, copies in image.spots.items()
            if not any(damage.touches(spots) for spots in copies)
            for reading in image.readings[first]
        }
        untouched += len(whole)
        missing = whole - held
        lost += len(missing)
        asides += put_aside
        if missing:
            print(image.files.keys(), case, damage.name, damage.first, damage.last, len(missing))
    print(f"{cases} cases, {asides} put aside, {lost} of {untouched} untouched readings lost")
    assert lost <= untouched // 100
    assert asides > cases // 20, "the damage was not worth the name"


def reopened(path: Path, *, is_large: bool) -> tuple[set[int], bool]:
    """What is delivered after a start, and whether the file was put aside."""
    limit = recovery.CHECKED_AT_OPEN_MAX
    if is_large:  # as a large file, it is compared while it is in use
        recovery.CHECKED_AT_OPEN_MAX = 0
    try:
        keeper = Keeper(open_outbox(path, GATEWAY, 2, NOW_MS, BOUNDS), Clock())
    finally:
        recovery.CHECKED_AT_OPEN_MAX = limit
    with closing(keeper):
        while keeper.tidy(is_idle=True):
            pass
        assert not asides(path, "damaged")
        return delivered(keeper), bool(asides(path))
