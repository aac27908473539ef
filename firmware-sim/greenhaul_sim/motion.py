"""How a truck moves: accelerates, brakes, waits at lights, delivers, parks, charges.

A truck is a state machine stepped through simulated time; the same streets, traits and seed give
the same drive. It knows nothing of terminals: `observe` says what a good receiver would see.
"""

import math
import random
from dataclasses import dataclass
from enum import Enum

from greenhaul_sim.streets import Point, Street, StreetMap

_STEP_S = 1.0

_ACCELERATION_MS2 = 1.0  # a loaded light truck
_BRAKING_MS2 = 1.6
_TURN_KMH = 20.0
_CRAWL_KMH = 4.0  # slowest approach to a stop; else the last metre takes for ever
_STOP_WITHIN_M = 0.8

_LIGHTS_RED_SHARE = 0.3
_LIGHTS_RED_S = (8.0, 40.0)
_IGNITION_OFF_AFTER_S = 120.0  # a shorter stop is made with the ignition on

_BATTERY_KWH = 80.0
_DRAIN_KWH_PER_KM = 0.33
_DRAIN_IDLE_KW = 1.2
_CHARGING_KW = 60.0
_CHARGE_BELOW_PERCENT = 20.0
_CHARGE_UNTIL_PERCENT = 90.0

_GNSS_MEMORY_S = 60.0  # over which the receiver's error forgets itself


class Phase(Enum):
    """What a truck is doing."""

    DRIVING = "driving"
    WAITING = "waiting"  # at a light, ignition on
    DELIVERING = "delivering"
    PARKED = "parked"  # ignition off
    CHARGING = "charging"


@dataclass(frozen=True, slots=True)
class Traits:
    """What tells one truck from another."""

    seed: int | str
    home: Point
    speed_factor: float = 0.95  # of the limit, on a free street; above 1 the driver speeds
    centre_share: float = 0.4  # of trips that go to the centre
    centre_radius_m: float = 900.0
    delivery_s: tuple[float, float] = (40.0, 260.0)
    gnss_noise_m: float = 2.5
    is_electric: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """What a receiver and the vehicle's bus would say at one instant."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    speed_kmh: float
    heading_deg: float
    odometer_km: float
    soc_percent: float | None  # None: no traction battery
    phase: Phase

    @property
    def is_ignition_on(self) -> bool:
        """Whether the terminal would see ACC on."""
        return self.phase not in (Phase.PARKED, Phase.CHARGING)


class Truck:
    """One truck on the streets."""

    def __init__(self, streets: StreetMap, traits: Traits) -> None:
        self._streets = streets
        self._traits = traits
        self._rng = random.Random(f"truck {traits.seed}")
        self._home = streets.nearest(traits.home)
        self._way: list[int] = [self._home]
        self._at = 0  # index into the way of the junction last passed
        self._along_m = 0.0  # beyond that junction
        self._speed_ms = 0.0
        self._wait_s = 0.0
        self._heading_deg = self._rng.uniform(0, 360)
        self._stops_ahead = False  # whether the next light is red
        self.odometer_km = self._rng.uniform(2_000, 60_000)
        self.soc_percent = self._rng.uniform(45.0, 95.0)
        self.phase = Phase.DELIVERING
        self._error = Point(
            self._rng.gauss(0, traits.gnss_noise_m), self._rng.gauss(0, traits.gnss_noise_m)
        )
        self._warm_up()

    def advance(self, seconds: float) -> None:
        """Live through that much simulated time."""
        while seconds > 1e-9:
            step_s = min(_STEP_S, seconds)
            self._step(step_s)
            seconds -= step_s

    def observe(self) -> Observation:
        """The truck as a receiver with its slowly wandering error sees it."""
        place = self._place()
        latitude_deg, longitude_deg = self._streets.plane.to_degrees(
            place.x_m + self._error.x_m, place.y_m + self._error.y_m
        )
        return Observation(
            latitude_deg=latitude_deg,
            longitude_deg=longitude_deg,
            altitude_m=128.0 + 6.0 * math.sin(place.x_m / 1_700.0) + 0.4 * self._error.x_m,
            speed_kmh=self._speed_ms * 3.6,
            heading_deg=self._heading_deg,
            odometer_km=self.odometer_km,
            soc_percent=self.soc_percent if self._traits.is_electric else None,
            phase=self.phase,
        )

    def _warm_up(self) -> None:
        """Begin somewhere on the way, so that a fleet does not leave its depots in step."""
        self._depart()
        self._at = self._rng.randrange(len(self._way) - 1)
        self._look_ahead()
        self.advance(self._rng.uniform(0.0, 30.0))

    def _step(self, step_s: float) -> None:
        self._wander(step_s)
        if self.phase is Phase.DRIVING:
            self._drive(step_s)
        elif self.phase is Phase.CHARGING:
            self._charge(step_s)
        else:
            self._drain(0.0, step_s)
            self._wait_s -= step_s
            if self._wait_s <= 0:
                self._go_on()

    def _drive(self, step_s: float) -> None:
        street = self._street()
        left_m = street.length_m - self._along_m
        passing_ms = self._passing_speed_ms()
        limit_ms = street.limit_kmh / 3.6 * self._traits.speed_factor
        safe_ms = math.sqrt(passing_ms**2 + 2 * _BRAKING_MS2 * max(left_m - _STOP_WITHIN_M, 0.0))
        target_ms = max(min(limit_ms, safe_ms), _CRAWL_KMH / 3.6)
        change_ms = max(
            min(target_ms - self._speed_ms, _ACCELERATION_MS2 * step_s),
            -2 * _BRAKING_MS2 * step_s,
        )
        before_ms, self._speed_ms = self._speed_ms, self._speed_ms + change_ms
        moved_m = (before_ms + self._speed_ms) / 2 * step_s
        if passing_ms == 0.0:
            moved_m = min(moved_m, left_m)
        self._along_m += moved_m
        self._drain(moved_m / 1000, step_s)
        if self._along_m >= street.length_m - _STOP_WITHIN_M:
            self._reach_junction(street)

    def _reach_junction(self, street: Street) -> None:
        must_stop = self._stops_ahead
        is_last = self._at + 2 >= len(self._way)
        if is_last:
            self._arrive()
            return
        self._along_m = max(self._along_m - street.length_m, 0.0)
        self._at += 1
        self._look_ahead()
        if must_stop:
            self._speed_ms = 0.0
            self.phase, self._wait_s = Phase.WAITING, self._rng.uniform(*_LIGHTS_RED_S)

    def _arrive(self) -> None:
        """At the end of the way: unload, rest or charge."""
        self._along_m, self._at, self._speed_ms = 0.0, len(self._way) - 1, 0.0
        if self._traits.is_electric and self.soc_percent < _CHARGE_BELOW_PERCENT:
            self.phase = Phase.CHARGING
            return
        self._wait_s = self._rng.uniform(*self._traits.delivery_s)
        is_long = self._wait_s >= _IGNITION_OFF_AFTER_S
        self.phase = Phase.PARKED if is_long else Phase.DELIVERING

    def _charge(self, step_s: float) -> None:
        self.soc_percent += _CHARGING_KW * step_s / 3600 / _BATTERY_KWH * 100
        if self.soc_percent >= _CHARGE_UNTIL_PERCENT:
            self._go_on()

    def _go_on(self) -> None:
        if self.phase is not Phase.WAITING:
            self._depart()
        self.phase = Phase.DRIVING

    def _depart(self) -> None:
        """Choose where to go next and the way there."""
        here = self._way[self._at]
        traits, rng = self._traits, self._rng
        if rng.random() < traits.centre_share:
            places = self._streets.near(Point(0.0, 0.0), traits.centre_radius_m)
        elif rng.random() < 0.3:
            places = [self._home]
        else:
            places = list(range(len(self._streets.junctions)))
        there = places[rng.randrange(len(places))]
        if there == here:
            neighbours = list(self._streets.neighbours[here])
            there = neighbours[rng.randrange(len(neighbours))]
        self._way, self._at = self._streets.route(here, there), 0
        self.phase = Phase.DRIVING
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Turn into the street ahead and see whether its light is red."""
        start, end = (self._streets.junctions[index] for index in self._way[self._at :][:2])
        self._heading_deg = math.degrees(math.atan2(end.x_m - start.x_m, end.y_m - start.y_m)) % 360
        self._stops_ahead = self._rng.random() < _LIGHTS_RED_SHARE

    def _passing_speed_ms(self) -> float:
        """How fast the junction ahead may be passed."""
        if self._stops_ahead or self._at + 2 >= len(self._way):
            return 0.0
        before, at, after = (
            self._streets.junctions[index] for index in self._way[self._at : self._at + 3]
        )
        ahead = (at.x_m - before.x_m, at.y_m - before.y_m)
        beyond = (after.x_m - at.x_m, after.y_m - at.y_m)
        cosine = (ahead[0] * beyond[0] + ahead[1] * beyond[1]) / (
            math.hypot(*ahead) * math.hypot(*beyond)
        )
        return math.inf if cosine > 0.85 else _TURN_KMH / 3.6

    def _street(self) -> Street:
        return self._streets.neighbours[self._way[self._at]][self._way[self._at + 1]]

    def _place(self) -> Point:
        start = self._streets.junctions[self._way[self._at]]
        if self._at + 1 >= len(self._way):
            return start
        end = self._streets.junctions[self._way[self._at + 1]]
        share = min(self._along_m / self._street().length_m, 1.0)
        return Point(
            start.x_m + share * (end.x_m - start.x_m), start.y_m + share * (end.y_m - start.y_m)
        )

    def _drain(self, moved_km: float, step_s: float) -> None:
        self.odometer_km += moved_km
        if self._traits.is_electric:
            idle_kw = 0.0 if self.phase is Phase.PARKED else _DRAIN_IDLE_KW
            used_kwh = moved_km * _DRAIN_KWH_PER_KM + idle_kw * step_s / 3600
            self.soc_percent = max(self.soc_percent - used_kwh / _BATTERY_KWH * 100, 0.0)

    def _wander(self, step_s: float) -> None:
        """The receiver's error as a first-order Gauss-Markov process."""
        keep = math.exp(-step_s / _GNSS_MEMORY_S)
        fresh_m = self._traits.gnss_noise_m * math.sqrt(1 - keep * keep)
        self._error = Point(
            self._error.x_m * keep + self._rng.gauss(0, fresh_m),
            self._error.y_m * keep + self._rng.gauss(0, fresh_m),
        )
