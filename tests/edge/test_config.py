"""edge.toml: what is accepted, and what is said about the rest."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings, Jt808Settings, UplinkSettings, load_config, schema
from greenhaul_edge.main import CANNOT_START, WELL, main
from greenhaul_edge.sample import SAMPLE
from greenhaul_edge.uplink.credentials import Credentials, read_password
from greenhaul_protocols.errors import ConfigError

EDGE = Path(__file__).parent.parent.parent / "edge"
HEAD = '[gateway]\nid = "gw-1"\n'


def load(tmp_path: Path, text: str) -> Any:
    """A file with this text."""
    path = tmp_path / "edge.toml"
    path.write_text(text)
    return load_config(path)


def test_a_gateway_id_is_all_it_takes(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD)
    assert config.outbox_file == tmp_path / "outbox" / "outbox.sqlite"
    assert config.uplink.send_window_s == 10.0
    assert not config.sources


def test_sources_of_every_type_are_read(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        HEAD
        + '[sources.t]\ntype = "jt808"\nlisten = "[::1]:0"\nauth = "allow-list"\nallow = ["139"]\n'
        + '[sources.g]\ntype = "gnss"\nbaud = 9600\n'
        + '[sources.b]\ntype = "can"\nchannel = "can0"\nmapping = "m.toml"\ncadence_s = 1\n',
    )
    terminals, gnss, battery = config.sources.values()
    assert isinstance(terminals, Jt808Settings)
    assert terminals.allow == ("139",)
    assert isinstance(gnss, GnssSettings)
    assert gnss.baud == 9600
    assert battery.mapping == tmp_path / "m.toml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"\[gateway\] id is missing"),
        ("[gatewy]\nid = 'a'", "unknown key gatewy; did you mean 'gateway'"),
        ("[gateway]\nid = 'a b'", "gateway.id is 'a b', must be 1 to 64 letters"),
        (
            HEAD + "[outbox]\nsize_max = 3",
            "outbox.size_max; did you mean 'size_max_mb'",
        ),
        (HEAD + "[outbox]\nsize_max_mb = 1", "outbox.size_max_mb is 1, must lie in 4 to"),
        (HEAD + "[outbox]\nsize_max_mb = true", "must be a whole number"),
        (HEAD + "[uplink]\nport = '1883'", "uplink.port is '1883', must be a whole number"),
        (HEAD + "[uplink]\nport = 99999", "uplink.port is 99999, must lie in 1 to 65535"),
        (
            HEAD + "[sources.t]\ntype = 'jt808'\nlisten = '127.0.0.1:99999'",
            "sources.t.listen is '127.0.0.1:99999', must be HOST:PORT, 0 to 65535",
        ),
        (
            HEAD + "[sources.g]\ntype = 'gnss'\nport = 'gpsd://127.0.0.1:70000'",
            "sources.g.port is 'gpsd://127.0.0.1:70000', must be a path",
        ),
        (HEAD + "[outbox]\ncommit_window_s = nan", "outbox.commit_window_s is nan, must lie in"),
        (HEAD + "[uplink]\nprotocol = '4'", "uplink.protocol is '4'; there are: auto, 3.1.1, 5.0"),
        (HEAD + "[uplink]\nclient_cert_file = 'a'", "go together"),
        (HEAD + "[uplink]\nca_file = 'a'", "need tls = true"),
        (HEAD + "[uplink]\npassword_file = 'a'", "needs a username"),
        (HEAD + "[sources.t]\nlisten = 'x:1'", "sources.t.type is missing; there are: jt808, gnss"),
        (HEAD + "[sources.t]\ntype = 'jt809'", "sources.t.type is 'jt809'; did you mean 'jt808'"),
        (HEAD + "[sources.t]\ntype = 'jt808'\nlisten = '8808'", "must be HOST:PORT"),
        (HEAD + "[sources.t]\ntype = 'jt808'\nlistn = 'x:1'", "did you mean 'listen'"),
        (HEAD + "[sources.t]\ntype = 'jt808'\nallow = ['1']", "sources.t.allow is given but auth"),
        (HEAD + "[sources.t]\ntype = 'jt808'\nallow = '1'", "must be a list"),
        (HEAD + "[sources.b]\ntype = 'can'\nchannel = 'c'", r"\[sources.b\] mapping is missing"),
        (HEAD + "[sources.'a b']\ntype = 'gnss'", "sources.a b: use 1 to 32"),
        (HEAD + "sources = 3", "unknown key gateway.sources"),
        ("gateway = 3", "gateway must be a section"),
        ("[gateway", "edge.toml: "),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_would_be_right(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "edge.toml"))
    assert "\n" not in str(caught.value).strip() or "[gateway" in text


def test_the_sample_is_what_init_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge.toml"
    assert (EDGE / "edge.sample.toml").read_text() == SAMPLE
    assert main(["init", "-c", str(path)]) == WELL
    assert main(["check", "-c", str(path)]) == WELL
    assert main(["init", "-c", str(path)]) == CANNOT_START
    assert "File exists" in capsys.readouterr().err


def test_everything_the_sample_comments_out_is_accepted(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=[a-z_]+ = |\[)", "", SAMPLE, flags=re.MULTILINE)
    config = load(tmp_path, text)
    assert set(config.sources) == {"terminals", "datagrams", "gnss", "battery"}
    assert config.uplink.tls
    assert config.outbox.live_lanes == 8


def test_the_schema_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == WELL
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(schema()))
    outbox = printed["properties"]["outbox"]
    assert outbox["properties"]["size_max_mb"] == {
        "type": "integer",
        "minimum": 4,
        "maximum": 1 << 20,
        "default": 512,
    }
    kinds = printed["properties"]["sources"]["additionalProperties"]["oneOf"]
    assert [kind["properties"]["type"]["const"] for kind in kinds] == ["jt808", "gnss", "can"]


def test_a_configuration_that_cannot_be_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("run", "check", "status"):
        assert main([command, "-c", str(tmp_path / "none.toml")]) == CANNOT_START
        assert capsys.readouterr().err.count("\n") == 1


def test_credentials_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = tmp_path / "password"
    good.write_text("secret\n")
    settings = UplinkSettings(username="gw", password_file=good)
    Credentials(settings, Clock())
    assert read_password(settings) == "secret"
    with pytest.raises(ConfigError, match=r"uplink\.password_file"):
        Credentials(replace(settings, password_file=tmp_path / "none"), Clock())
    with pytest.raises(ConfigError, match="certificate files cannot be used"):
        Credentials(UplinkSettings(tls=True, ca_file=good), Clock())
    Credentials(UplinkSettings(tls=True), Clock())
