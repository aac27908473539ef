"""Scenario files: what may stand in them."""

from pathlib import Path

import pytest

from greenhaul_protocols.errors import ConfigError
from greenhaul_sim.scenario import Scenario, read_scenario, to_toml

SHIPPED = Path(__file__).parents[2] / "firmware-sim" / "scenarios"


def test_shipped_scenarios_are_read() -> None:
    names = {path.stem for path in SHIPPED.glob("*.toml")}
    assert names == {"nanyang", "rough-roads"}
    for name in names:
        scenario = read_scenario(SHIPPED / f"{name}.toml")
        assert scenario.fleet.terminals >= 20
        assert scenario.link.outage_probability > 0


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("")
    assert read_scenario(path) == Scenario()


def test_a_scenario_written_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for original in (Scenario(), read_scenario(SHIPPED / "rough-roads.toml")):
        path.write_text(to_toml(original))
        assert read_scenario(path) == original


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[flet]\n", "did you mean fleet"),
        ("[fleet]\nterminal = 3\n", "did you mean terminals"),
        ("[fleet]\nterminals = 0\n", "terminals"),
        ("[fleet]\nterminals = true\n", "terminals"),
        ("[fleet]\nspeeding_share = 1.5\n", "between 0 and 1"),
        ("[link]\noutage_s = [9, 3]\n", "outage_s"),
        ("[link]\noutage_s = 9\n", "outage_s"),
        ("fleet = 3\n", "fleet"),
        ("[fleet\n", "s.toml"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_scenario(path)
    assert "s.toml" in str(caught.value)
    with pytest.raises(ConfigError):
        read_scenario(tmp_path / "none.toml")
