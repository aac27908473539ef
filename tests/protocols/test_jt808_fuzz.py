"""Coverage-guided fuzzing finds nothing but values: a taste here, ten minutes in the soak."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from greenhaul_protocols.jt808 import MESSAGES
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS

SCRIPT = Path(__file__).with_name("fuzz_jt808.py")
SOAK_S = 600
TASTE_RUNS = 3000

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: no wheel for this platform or Python",
)


def seeds(folder: Path) -> None:
    """An input for every message, so that the fuzzer begins inside each."""
    for number in range(len(MESSAGES)):
        for choice in (0x02, 0x43, 0x01):
            (folder / f"{number}-{choice}").write_bytes(bytes((choice, number)) + bytes(64))
    for name, wire in {
        "items": "0000 01 04 00018fc9 64 04 00000000 eb 06 0004 00ce 06d6 11 01 00",
        "text": "d4a55231 00 20 ff fe 02 6162",
    }.items():
        (folder / name).write_bytes(bytes.fromhex("02 00" + wire))


def fuzzed(tmp_path: Path, *options: str) -> int:
    """Inputs tried without a finding."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    seeds(corpus)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "-max_len=4096", "-timeout=20", str(corpus)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-6000:]
    executed = re.search(r"Done (\d+) runs", told)
    assert executed is not None, told[-6000:]
    return int(executed[1])


def test_a_taste_of_fuzzing_finds_nothing(tmp_path: Path) -> None:
    assert len(MESSAGE_IDS) >= len(MESSAGES)
    assert fuzzed(tmp_path, f"-runs={TASTE_RUNS}", "-seed=808") >= TASTE_RUNS


@pytest.mark.soak
def test_ten_minutes_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    assert fuzzed(tmp_path, f"-max_total_time={SOAK_S}") > 10_000
