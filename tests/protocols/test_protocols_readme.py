"""The README's message table is what is declared."""

import re
import shlex
from pathlib import Path

import pytest

from greenhaul_protocols.__main__ import main
from greenhaul_protocols.jt808 import MESSAGES, is_downlink

README = Path(__file__).parents[2] / "protocols" / "README.md"


def declared_rows() -> list[str]:
    return [
        f"| 0x{spec.message_id:04X} | {spec.message_class.__name__} "
        f"| {'down' if is_downlink(spec.message_id) else 'up'} "
        f"| {spec.revisions[0]} | {spec.clause} |"
        for spec in sorted(MESSAGES.values(), key=lambda spec: spec.message_id)
    ]


def test_the_message_table_is_the_declarations() -> None:
    table = re.search(
        r"<!-- messages: .*? -->\n.*\n\|[-|]+\|\n(.*?)<!-- end of messages -->",
        README.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert table is not None
    assert table[1].splitlines() == declared_rows()


def test_the_frame_of_the_readme_decodes(capsys: pytest.CaptureFixture[str]) -> None:
    line = re.search(r"^(greenhaul-decode 7e\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    assert main(shlex.split(line[1])[1:]) == 0
    assert '"Heartbeat"' in capsys.readouterr().out
