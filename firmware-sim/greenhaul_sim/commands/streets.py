"""greenhaul-sim streets: the town as GeoJSON, for a map to draw."""

import argparse
import json
import sys
from pathlib import Path

from greenhaul_protocols.errors import Unavailable
from greenhaul_sim.commands.arguments import Commands, add_command
from greenhaul_sim.fleet import town_of
from greenhaul_sim.scenario import Scenario, read_scenario


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "streets",
        "Write the streets of a seed's town as GeoJSON.",
        "streets --seed 7 --output streets.geojson",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the collection."""
    scenario = read_scenario(options.scenario) if options.scenario else Scenario()
    text = json.dumps(town_of(scenario, options.seed).to_geojson(), ensure_ascii=False)
    if options.output is None:
        sys.stdout.write(text + "\n")
        return 0
    try:
        options.output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{options.output}: {error.strerror}") from error
    return 0
