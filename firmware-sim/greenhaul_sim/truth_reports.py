"""What is reported of a known drive and how it arrives: thinned, noisy, late, doubled."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenhaul_sim.motion import Phase
from greenhaul_sim.streets import Plane, Point
from greenhaul_sim.truth import Moment

# How much of a receiver's error is left after ten seconds.
NOISE_KEPT_10_S = 0.95

_STANDING = (Phase.PARKED, Phase.CHARGING)


@dataclass(frozen=True, slots=True)
class Report:
    """One position report; `time_s` counts from the beginning of the drive."""

    vehicle: int
    time_s: int
    latitude_deg: float
    longitude_deg: float
    speed_kmh: float
    heading_deg: float
    odometer_km: float
    is_ignition_on: bool


def reports_of(
    vehicle: int,
    drive: Sequence[Moment],
    plane: Plane,
    *,
    every_s: int,
    noise_m: float = 0.0,
    seed: int = 0,
) -> list[Report]:
    """Reports at every so many seconds from a random one on, in order of time."""
    rng = random.Random(f"reports {seed} {vehicle}")
    seconds = range(rng.randrange(every_s), len(drive), every_s)
    errors = wandering_m(rng, noise_m, every_s)
    return [
        _report(vehicle, second, drive[second], error, plane)
        for second, error in zip(seconds, errors, strict=False)
    ]


def parked_reports(
    vehicle: int,
    place: Point,
    plane: Plane,
    *,
    duration_s: int,
    every_s: int,
    noise_m: float,
    seed: int = 0,
) -> list[Report]:
    """A truck that stands with its ignition off and whose receiver wanders."""
    moment = Moment(place, 0.0, 0.0, 1_234.5, Phase.PARKED)
    drive = [moment] * duration_s
    return reports_of(vehicle, drive, plane, every_s=every_s, noise_m=noise_m, seed=seed)


def wandering_m(rng: random.Random, noise_m: float, every_s: float) -> Iterator[Point]:
    """A receiver's error, east and north: a first-order Gauss-Markov process without end."""
    keep = NOISE_KEPT_10_S ** (every_s / 10)
    fresh_m = noise_m * math.sqrt(1 - keep * keep)
    error = Point(rng.gauss(0, noise_m), rng.gauss(0, noise_m))
    while True:
        yield error
        error = Point(
            error.x_m * keep + rng.gauss(0, fresh_m), error.y_m * keep + rng.gauss(0, fresh_m)
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """How reports arrive. Shares are parts of 1."""

    outage_s: int = 1_200  # length of each truck's one outage; its backlog comes interleaved
    backlog_per_live: int = 2  # backlog reports for each live one
    doubled_share: float = 0.3
    day_late_share: float = 0.1  # arrives after everything else
    chunk_max: int = 50  # a batch has 1 to so many


def delivered(
    reports: Sequence[Report], delivery: Delivery, seed: int, *, is_shuffled: bool = False
) -> Iterator[list[Report]]:
    """Batches of a fleet's reports as they arrive; every report at least once."""
    rng = random.Random(f"delivery {seed}")
    by_vehicle: dict[int, list[Report]] = {}
    for report in reports:
        by_vehicle.setdefault(report.vehicle, []).append(report)
    streams = [_interleaved(rng, stream, delivery) for stream in by_vehicle.values()]
    arrivals = [pair for stream in streams for pair in stream]
    order = [report for _, report in sorted(arrivals, key=lambda pair: pair[0])]
    late = [report for report in order if rng.random() < delivery.day_late_share]
    late_ones = set(late)
    order = [report for report in order if report not in late_ones] + late
    for report in rng.sample(order, round(len(order) * delivery.doubled_share)):
        order.insert(rng.randrange(len(order) + 1), report)
    if is_shuffled:
        rng.shuffle(order)
    while order:
        size = rng.randint(1, delivery.chunk_max)
        yield order[:size]
        del order[:size]


def _interleaved(
    rng: random.Random, reports: list[Report], delivery: Delivery
) -> list[tuple[int, Report]]:
    """(arrival, report): what an outage held back comes between live reports, oldest first."""
    ordered = sorted(reports, key=lambda report: report.time_s)
    end_s = ordered[-1].time_s
    began_s = rng.uniform(0, max(end_s - delivery.outage_s, 0))
    over_s = began_s + delivery.outage_s
    held = [r for r in ordered if began_s <= r.time_s < over_s]
    arrivals = [(r.time_s, r) for r in ordered if r.time_s < began_s]
    waiting = iter(held)
    last_s = end_s
    for report in (r for r in ordered if r.time_s >= over_s):
        arrivals.append((report.time_s, report))
        for _, old in zip(range(delivery.backlog_per_live), waiting, strict=False):
            arrivals.append((report.time_s, old))
    arrivals.extend((last_s, old) for old in waiting)
    return arrivals


def _report(vehicle: int, second: int, moment: Moment, error: Point, plane: Plane) -> Report:
    latitude_deg, longitude_deg = plane.to_degrees(
        moment.place.x_m + error.x_m, moment.place.y_m + error.y_m
    )
    return Report(
        vehicle,
        second,
        latitude_deg,
        longitude_deg,
        round(moment.speed_kmh, 1),
        round(moment.heading_deg),  # terminals say whole degrees
        round(moment.odometer_km, 1),
        moment.phase not in _STANDING,
    )
