"""greenhaul-sim fleet: trucks in Nanyang report to a server."""

import argparse
import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time
from greenhaul_sim.commands.arguments import (
    Commands,
    add_command,
    address,
    count,
    not_negative,
    positive,
)
from greenhaul_sim.faults import PROFILES
from greenhaul_sim.fleet import OPEN_END_RUN_S, Fleet, FleetFigures, FleetPlan
from greenhaul_sim.ledger import LedgerWriter
from greenhaul_sim.scenario import Scenario, read_scenario

# A number has eight digits of the fleet's own; more terminals than this wants several machines.
_TERMINALS_MAX = 99_999

_REVISIONS = {"2011": 2011, "2013": 2013, "2019": 2019, "mixed": None}

_PROGRESS_S = 1.0


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "fleet",
        "Drive a fleet of trucks whose terminals report to a JT/T 808 server.",
        "fleet --terminals 50 --seed 7 --to 127.0.0.1:8808 --speed 10 --for 60 --ledger sent.jsonl",
    )
    parser.add_argument("--to", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--terminals", type=count, metavar="N", help="default: the scenario's")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same fleet (default 1)")
    parser.add_argument(
        "--revision", choices=_REVISIONS, default="2013", help="of JT/T 808 (default 2013)"
    )
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="a TOML file; see scenarios/")
    parser.add_argument(
        "--faults",
        choices=PROFILES,
        default="none",
        help="what the network does to every link: chopped, delayed, repeated, reordered or lost "
        "frames, half-open connections, low rates, outages; hostile is all of it (default none)",
    )
    parser.add_argument(
        "--speed",
        type=positive,
        default=60.0,
        metavar="X",
        help="simulated seconds a second (default 60); times start in the past and end now",
    )
    parser.add_argument(
        "--interval", type=positive, metavar="S", help="between reports, simulated seconds"
    )
    parser.add_argument(
        "--for", dest="run_s", type=positive, metavar="S", help="stop after S real seconds"
    )
    parser.add_argument(
        "--drain",
        type=not_negative,
        default=20.0,
        metavar="S",
        help="wait for the last acknowledgements (default 20)",
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="a JSON line a report taken")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 when every report made was acknowledged, else 1."""
    plan = FleetPlan(
        address=options.to,
        scenario=_scenario(options),
        seed=options.seed,
        revision=_REVISIONS[options.revision],
        speed=options.speed,
        run_s=options.run_s,
        drain_s=options.drain,
        faults=PROFILES[options.faults],
    )
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(LedgerWriter(options.ledger)) if options.ledger else None
        figures = asyncio.run(_drive(plan, ledger))
    print(figures.line())
    if figures.waiting:
        print(f"greenhaul-sim: {figures.waiting} reports were not acknowledged", file=sys.stderr)
    return 1 if figures.waiting or figures.refused else 0


def _scenario(options: argparse.Namespace) -> Scenario:
    scenario = read_scenario(options.scenario) if options.scenario else Scenario()
    fleet = scenario.fleet
    if options.terminals:
        fleet = replace(fleet, terminals=options.terminals)
    if options.interval:
        fleet = replace(fleet, interval_s=options.interval)
    if fleet.terminals > _TERMINALS_MAX:
        raise ConfigError(f"terminals: {fleet.terminals} is more than {_TERMINALS_MAX}")
    return replace(scenario, fleet=fleet)


async def _drive(plan: FleetPlan, ledger: LedgerWriter | None) -> FleetFigures:
    fleet = Fleet(plan, ledger)
    running = asyncio.ensure_future(fleet.run())
    _stop_on_signals(fleet, running)
    start = format_time(round(fleet.start_s) * 1000)
    if plan.speed > 1:
        caught_up_s = plan.run_s or OPEN_END_RUN_S
        print(
            f"greenhaul-sim: simulated time starts at {start}, runs at {plan.speed:g}× "
            f"and reaches now in {caught_up_s:g} s",
            file=sys.stderr,
        )
    watching = asyncio.ensure_future(_watch(fleet)) if sys.stderr.isatty() else None
    try:
        return await running
    finally:
        if watching:
            watching.cancel()
            print(file=sys.stderr)


def _stop_on_signals(fleet: Fleet, running: "asyncio.Future[FleetFigures]") -> None:
    """The first signal ends the driving and lets acknowledgements come in; a second ends it all."""
    signals_seen = 0

    def stop() -> None:
        nonlocal signals_seen
        signals_seen += 1
        fleet.stop()
        if signals_seen > 1:
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def _watch(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_S)
        print(f"\r\x1b[K{fleet.figures().line()}", end="", file=sys.stderr, flush=True)
