"""greenhaul-sim demo: the whole chain on one machine, with trucks to look at."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

from greenhaul_protocols.errors import ConfigError, Unavailable
from greenhaul_sim.commands.arguments import Commands, add_command, count, positive
from greenhaul_sim.commands.verify import prove
from greenhaul_sim.demo.broker import BROKERS
from greenhaul_sim.demo.figures import Account, Figures
from greenhaul_sim.demo.folder import fresh_folder
from greenhaul_sim.demo.stage import DemoPlan, Stage
from greenhaul_sim.fleet import OPEN_END_RUN_S
from greenhaul_sim.ledger import read_ledger
from greenhaul_sim.scenario import FleetPart, LinkPart, Scenario, read_scenario

# A machine with two small cores shows so many at ten times their pace with ease. Some of them
# drive into tunnels and repeat themselves, so that batches and duplicates are seen.
_SCENARIO = Scenario(
    fleet=FleetPart(terminals=24, speeding_share=0.2),
    link=LinkPart(outage_probability=0.003, repeat_probability=0.005),
)
_TERMINALS_MAX = 2_000

# What must have been seen for a run with --for to have shown anything.
_ONLINE_WANTED, _VIOLATIONS_WANTED = 20, 1

_LINE_S_TTY, _LINE_S_PIPE = 2.0, 10.0
_POLL_S = 0.25
_SETTLE_S = 60.0
_VERIFY_S = 20.0


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "demo",
        "Start broker, cloud, edge and a simulated fleet, each a process, on loopback; "
        "Ctrl-C ends all.",
        "demo --for 60",
    )
    parser.add_argument(
        "--for",
        dest="run_s",
        type=positive,
        metavar="S",
        help="stop after S seconds, print the reconciliation; exit 0 only if it holds",
    )
    parser.add_argument("--terminals", type=count, metavar="N", help="default: the scenario's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", type=Path, metavar="FILE")
    parser.add_argument(
        "--speed", type=positive, default=10.0, metavar="X", help="default 10 times real time"
    )
    parser.add_argument("--port", type=_port, metavar="P", help="of API and console")
    parser.add_argument(
        "--broker", choices=BROKERS, default="auto", help="auto: Mosquitto if it is installed"
    )
    parser.add_argument(
        "--state", type=Path, default=Path(".demo"), metavar="DIR", help="emptied; default .demo"
    )
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """0 when it was stopped, or --for ended well."""
    scenario = read_scenario(options.scenario) if options.scenario else _SCENARIO
    terminals = options.terminals or scenario.fleet.terminals
    if terminals > _TERMINALS_MAX:
        raise ConfigError(f"--terminals {terminals}: the demo shows {_TERMINALS_MAX} at most")
    scenario = replace(scenario, fleet=replace(scenario.fleet, terminals=terminals))
    with fresh_folder(options.state) as folder:
        plan = DemoPlan(
            folder=folder,
            scenario=scenario,
            seed=options.seed,
            speed=options.speed,
            run_s=options.run_s,
            api_port=options.port,
            broker=options.broker,
        )
        with _staged(plan) as stage:
            return _show(stage)


@contextlib.contextmanager
def _staged(plan: DemoPlan) -> Iterator[Stage]:
    """A stage whose processes are gone when the context ends, whatever ends it."""
    stage = Stage(plan)
    # SIGINT too: a shell starts what it puts in the background with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        yield stage
    finally:

        def hurry(_number: int, _frame: FrameType | None) -> None:
            stage.kill()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, hurry)
        stage.close()


def _show(stage: Stage) -> int:
    try:
        _say("starting broker, cloud, edge and fleet …")
        stage.open()
        _introduce(stage)
        figures = _watch(stage)
        return _conclude(stage, figures)
    except KeyboardInterrupt:
        _say("\nstopping …")
        return 0
    except Unavailable as error:
        _say(f"\ngreenhaul-sim demo: {error}")
        return 1


def _introduce(stage: Stage) -> None:
    plan = stage.plan
    _say(f"\n  console  {stage.url}")
    for login in stage.logins:
        _say(f"  login    {login.name} / {login.password}")
    _say(f"  token    of the API's admin: {stage.token_file}")
    _say(f"  broker   {stage.broker_name}; logs and ledger in {plan.folder}")
    if plan.speed > 1:
        until_s = plan.run_s or OPEN_END_RUN_S
        _say(f"  clock    {plan.speed:g}× ours, from the past to now in {until_s:g} s")
    _say("  stop     Ctrl-C\n")


def _watch(stage: Stage) -> Figures | None:
    """Show the line until --for is over; the last figures seen with the fleet driving."""
    is_tty = sys.stdout.isatty()
    run_s = stage.plan.run_s
    started_at = time.monotonic()
    next_line_at = started_at + _POLL_S
    best: Figures | None = None
    while True:
        stage.insist(but="fleet" if run_s else "")
        if run_s and not stage.children["fleet"].is_running:
            return best
        if time.monotonic() >= next_line_at:
            with contextlib.suppress(Unavailable):  # asked again soon; a dead child is seen above
                figures = stage.look()
                if best is None or figures.online >= best.online:
                    best = figures
                _show_line(figures.line(), is_tty)
            next_line_at = time.monotonic() + (_LINE_S_TTY if is_tty else _LINE_S_PIPE)
        time.sleep(_POLL_S)


def _show_line(text: str, is_tty: bool) -> None:
    if is_tty:
        print(f"\r\x1b[K{text}", end="", flush=True)
    else:
        _say(text)


def _conclude(stage: Stage, best: Figures | None) -> int:
    """The reconciliation: the law, the proof, and whether there was anything to see."""
    fleet = stage.children["fleet"]
    deadline = time.monotonic() + _SETTLE_S
    account = stage.account()
    while not _is_settled(account) and time.monotonic() < deadline:
        stage.insist(but="fleet")
        time.sleep(_POLL_S)
        account = stage.account()
    figures = stage.look()
    _say("\n" + "\n".join(f"fleet: {line}" for line in fleet.last_lines()[-2:]))
    _say(f"{account.law()}   {'holds' if _is_settled(account) else 'DOES NOT HOLD'}")
    entries = list(read_ledger(stage.ledger))
    proof = prove(entries, stage.api, _VERIFY_S)
    _say(f"verify: {proof.text()}" if entries else "verify: the ledger is empty")
    online = max(figures.online, best.online if best else 0)
    wanted = min(_ONLINE_WANTED, stage.plan.scenario.fleet.terminals)
    _say(f"trucks {online}, visits {figures.visits}, violations {figures.violations}")
    has_shown = online >= wanted and figures.violations >= _VIOLATIONS_WANTED
    if not has_shown:
        _say(f"wanted: {wanted} trucks, {_VIOLATIONS_WANTED} violation")
    is_proven = bool(entries) and proof.holds and fleet.wait(0) == 0
    return 0 if _is_settled(account) and is_proven and has_shown else 1


def _is_settled(account: Account) -> bool:
    return account.holds and account.waiting == 0


def _say(text: str) -> None:
    print(text, flush=True)
