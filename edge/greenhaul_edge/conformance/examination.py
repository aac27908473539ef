"""The trials every source must pass: noise, disconnection, overload, clocks, a quick end.

Each trial is one run of the source under test on an outbox of its own in a temporary folder; the
real outbox, port, bus and terminals are left alone.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import SOURCE_SETTINGS, Config
from greenhaul_edge.conformance.rigs import RIGS, Rig
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.schema import open_to_read
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources import Source
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.series import decode_body

# What a source that was unplugged, or heard noise, has to be back in.
RECOVERY_S = 5.0
STOP_S = 5.0
NOISE_SIZE = 64 * 1024
OVERLOAD_REPORTS = 4_000
_PATIENCE_S = 30.0
# How long a source speaks before the gateway learns the time: a dozen reports.
_UNCLOCKED_S = 1.5

# Makes a source: the configuration, its name, and the outbox and clock of the trial.
MakeSource = Callable[[Config, str, Outbox, Clock], Source]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one trial. fault: None if it was passed."""

    trial: str
    fault: str | None
    figures: str = ""


class _Failed(Exception):
    pass


@dataclass
class _Bench:
    """A source under test, its outbox and its rig."""

    source: Source
    outbox: Outbox
    clock: Clock
    rig: Rig
    path: Path
    now_ms: int

    def readings(self) -> list[Reading]:
        """Everything committed so far, by lane and number."""
        self.outbox.append([], is_urgent=True).result(_PATIENCE_S)
        with closing(open_to_read(self.path)) as connection:
            bodies = connection.execute("SELECT body FROM chunk ORDER BY lane, first").fetchall()
        return [one for (body,) in bodies for two in decode_body(body) for one in two.readings()]

    def count(self) -> int:
        """How many readings are committed; those that wait for the clock, too."""
        self.outbox.append([], is_urgent=True).result(_PATIENCE_S)
        with closing(open_to_read(self.path)) as connection:
            (count,) = connection.execute(
                'SELECT (SELECT total("count") FROM chunk) + (SELECT total("count") FROM unclocked)'
            ).fetchone()
        return int(count)

    def until_read(self, more_than: int, within_s: float = RECOVERY_S) -> float:
        """Says reports until more readings are committed; how many seconds it took."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < within_s:
            self.now_ms += 2_000
            self.rig.say(2, self.now_ms)
            time.sleep(0.2)  # a truck's own pace; nothing announces a reading
            if self.count() > more_than:
                return time.monotonic() - began_s
        raise _Failed(f"nothing read within {within_s:g} s")


def examine(
    config: Config, name: str, make_source: MakeSource, trials: Iterable[str] | None = None
) -> Iterator[Outcome]:
    """Trials of a configured source, by default all, one after the other. Raises ConfigError."""
    if name not in config.sources:
        raise ConfigError(
            f"{config.path}: no source {name!r}; there are: {', '.join(config.sources)}"
        )
    kind = next(k for k, cls in SOURCE_SETTINGS.items() if isinstance(config.sources[name], cls))
    if kind not in RIGS:
        raise ConfigError(f"{config.path}: sources of type {kind!r} have no rig; add it to RIGS")
    for trial in TRIALS if trials is None else trials:
        try:
            figures = TRIALS[trial](lambda **how: _bench(config, name, kind, make_source, **how))
            yield Outcome(trial, None, figures)
        except _Failed as failed:
            yield Outcome(trial, str(failed))


@contextmanager
def _bench(
    config: Config, name: str, kind: str, make_source: MakeSource, *, clock: Clock | None = None
) -> Iterator[_Bench]:
    if clock is None:
        clock = Clock()
        clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
    now_ms = time.time_ns() // 1_000_000 - 3_600_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.sqlite"
        file = OutboxFile(path, config.gateway.id, boot=clock.boot, now_ms=clock.now_ms())
        outbox = Outbox(file, clock, commit_window_s=0.05)
        outbox.start()
        rig = RIGS[kind](config.sources[name])
        trial_config = replace(
            config,
            outbox=replace(config.outbox, path=Path(folder)),
            sources={name: rig.settings},
        )
        source = make_source(trial_config, name, outbox, clock)
        try:
            source.start()
            rig.plug(source)
            yield _Bench(source, outbox, clock, rig, path, now_ms)
        finally:
            source.stop()
            rig.close()
            outbox.close()


def _garbage(bench: Callable[..., Any]) -> str:
    """Noise between good reports: nothing dies, and the next good report is read."""
    with _errors_logged() as errors, bench() as one:
        one.until_read(0, _PATIENCE_S)
        for seed in range(4):
            before = one.count()
            one.rig.garble(seed, NOISE_SIZE // 4)
            took_s = one.until_read(before)
        _say_no_errors(errors)
        return f"{NOISE_SIZE} bytes of noise, read again after {took_s:.1f} s"


def _disconnect(bench: Callable[..., Any]) -> str:
    """The cable is pulled and plugged in again, under another name."""
    longest_s = 0.0
    with _errors_logged() as errors, bench() as one:
        one.until_read(0, _PATIENCE_S)
        for _ in range(3):
            before = one.count()
            one.rig.unplug()
            time.sleep(0.5)  # long enough to be noticed, as a hand is slow
            one.rig.plug(one.source)
            longest_s = max(longest_s, one.until_read(before))
        _say_no_errors(errors)
    return f"3 times, read again after {longest_s:.1f} s at most"


def _overload(bench: Callable[..., Any]) -> str:
    """Reports as fast as the line takes them: what is refused is counted, and it goes on."""
    with _errors_logged() as errors, bench() as one:
        one.until_read(0, _PATIENCE_S)
        one.now_ms += 2_000
        one.rig.say(OVERLOAD_REPORTS, one.now_ms)
        one.now_ms += OVERLOAD_REPORTS * 1000
        one.until_read(one.count())
        _say_no_errors(errors)
        return f"{OVERLOAD_REPORTS} reports at once, {one.count()} readings kept"


def _clocks(bench: Callable[..., Any]) -> str:
    """A gateway that woke in 1970: no reading gets a date that cannot be, and none is lost."""
    clock = Clock(read_system_ms=lambda: 1_000)
    with _errors_logged() as errors, bench(clock=clock) as one:
        began_s = time.monotonic()
        while time.monotonic() - began_s < _UNCLOCKED_S:
            one.now_ms += 2_000
            one.rig.say(2, one.now_ms)
            time.sleep(0.2)  # a truck's own pace
        utc_ms = time.time_ns() // 1_000_000
        clock.learn(utc_ms, WallQuality.NTP)
        assert clock.offset_ms is not None
        one.outbox.map_clock(clock.offset_ms).result(_PATIENCE_S)
        if not one.readings():
            one.until_read(0)  # terminals keep their reports until then
        readings = one.readings()
        wrong = [r for r in readings if abs(r.device_time_ms - utc_ms) > 86_400_000]
        foldable = [r for r in wrong if r.time_quality.is_foldable]
        if foldable:
            raise _Failed(f"{len(foldable)} readings have a date that cannot be")
        _say_no_errors(errors)
        return f"{len(readings)} readings, none of a date that cannot be"


def _end(bench: Callable[..., Any]) -> str:
    """It says its state in plain values and ends soon, plugged or not."""
    longest_s = 0.0
    for is_plugged in (True, False):
        with bench() as one:
            if not is_plugged:
                one.rig.unplug()
            state = dict(one.source.state())
            odd = [key for key, value in state.items() if not isinstance(value, str | int)]
            if odd:
                raise _Failed(f"state: {', '.join(odd)} must be text or a whole number")
            began_s = time.monotonic()
        longest_s = max(longest_s, time.monotonic() - began_s)
    if longest_s > STOP_S:
        raise _Failed(f"took {longest_s:.1f} s to stop")
    return f"stopped within {longest_s:.1f} s"


TRIALS: dict[str, Callable[[Callable[..., Any]], str]] = {
    "garbage": _garbage,
    "disconnect": _disconnect,
    "overload": _overload,
    "clock": _clocks,
    "end": _end,
}


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """Messages of level ERROR: a source logs one when its loop met what it did not expect."""
    found: list[str] = []

    class _Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    collector = _Collector(logging.ERROR)
    logger = logging.getLogger("greenhaul_edge")
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)


def _say_no_errors(errors: list[str]) -> None:
    if errors:
        raise _Failed(f"logged {len(errors)} errors, first: {errors[0]}")
