"""The outbox and its receipts against everything a network, a broker and a disk may do.

The real outbox file, the real rules and the real wire format; only the network and the store are
models. Blocks of an earlier connection arrive before the answer to a later hello, or never: that
is what one publisher's order on one topic means.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.edge.outbox_model import Model

from greenhaul_edge.outbox import receipts
from greenhaul_edge.outbox.receipts import Ledger, Settlement, Verdict
from greenhaul_protocols.receipt import Receipt

RUNS = 40
# Losing power is not what is tested here: a memory disk makes commits cheap.
FAST_DISK = Path("/dev/shm")


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a memory disk, where there is one."""
    if not FAST_DISK.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=FAST_DISK) as folder:
        yield Path(folder)


@pytest.mark.parametrize("seed", range(RUNS))
def test_nothing_is_lost_and_nothing_is_held_for_ever(fast_folder: Path, seed: int) -> None:
    with closing(Model(fast_folder, seed)) as model:
        model.run()


def judge_without_return(ledger: Ledger, receipt: Receipt) -> Verdict:
    """The wrong rule: once settled, settled for ever."""
    verdict = receipts.judge(ledger, receipt)
    if isinstance(verdict, Settlement):
        lanes = tuple(replace(lane, returned=(), lost=()) for lane in verdict.lanes)
        return replace(verdict, lanes=lanes)
    return verdict


def judge_without_image_rule(ledger: Ledger, receipt: Receipt) -> Verdict:
    """The wrong rule: a receipt may settle numbers that were never sent."""
    for lane in ledger.lanes.values():
        lane.sent_mark = 10**9
    return receipts.judge(ledger, receipt)


@pytest.mark.parametrize("rule", ["known by first number", "highest seen", "answer before commit"])
def test_wrong_rules_of_a_collector_are_caught(fast_folder: Path, rule: str) -> None:
    assert any(is_caught(fast_folder / str(seed), seed, rule=rule) for seed in range(RUNS))


# The second: a seed near the first that catches it, to save time; others follow.
@pytest.mark.parametrize(
    ("judge", "first_seed"), [(judge_without_return, 0), (judge_without_image_rule, 24)]
)
def test_wrong_rules_of_an_edge_are_caught(
    fast_folder: Path, judge: Callable[[Ledger, Receipt], Verdict], first_seed: int
) -> None:
    seeds = range(first_seed, RUNS)
    assert any(is_caught(fast_folder / str(seed), seed, judge=judge) for seed in seeds)


def is_caught(
    folder: Path,
    seed: int,
    *,
    rule: str = "right",
    judge: Callable[[Ledger, Receipt], Verdict] = receipts.judge,
) -> bool:
    """Whether a run with a planted fault fails."""
    folder.mkdir()
    with closing(Model(folder, seed, rule=rule, judge=judge)) as model:
        try:
            model.run()
        except AssertionError as error:
            return str(error).startswith(
                ("lost without a record", "held for ever", "the store lost")
            )
    return False
