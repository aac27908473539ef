"""cloud.toml: what it says is taken, what it cannot mean is refused in one line."""

from pathlib import Path

import pytest

from greenhaul_cloud.config import SECRET_SIZE_MAX, load_config
from greenhaul_protocols.errors import ConfigError

SAMPLE = Path(__file__).parents[2] / "cloud" / "cloud.sample.toml"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "cloud.toml"


def test_the_sample_says_the_defaults(written: Path) -> None:
    written.write_text("")
    sample, empty = load_config(SAMPLE), load_config(written)
    own_url = f"sqlite:///{SAMPLE.parent}/greenhaul.db"
    assert sample.store.url == own_url
    store = empty.store.model_copy(update={"url": own_url})
    assert sample == empty.model_copy(update={"store": store})


def test_the_sample_names_every_setting() -> None:
    text = SAMPLE.read_text()
    config = load_config(SAMPLE)
    for section in type(config).model_fields:
        assert f"[{section}]" in text
        for key in type(getattr(config, section)).model_fields:
            assert f"{key} = " in text or key == "password", f"{section}.{key}"


def test_listeners_are_on_loopback_unless_told(written: Path) -> None:
    written.write_text("")
    assert load_config(written).api.address == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[api]\nlisen = 'x:1'", "api.lisen", "did you mean listen?"),
        ("[brokr]\nport = 1", "brokr", "did you mean broker?"),
        ("[api]\nzzz = 1", "api.zzz", "it may be listen, public_url"),
        ("[api]\nlisten = '8080'", "api.listen", "HOST:PORT"),
        ("[api]\nlisten = 'h:99999'", "api.listen", "HOST:PORT"),
        ("[store]\nurl = 'mysql://x/y'", "store.url", "sqlite:///FILE"),
        ("[store]\nurl = 'sqlite://'", "cloud.toml: store.url", "memory forgets"),
        ("[store]\nurl = 'postgresql://a:b@h/d'", "store.url", "password_file"),
        ("[derive]\ntimezone = 'Asia/Shangai'", "derive.timezone", "Asia/Shanghai"),
        ("[broker]\nshards = 'ff-00'", "broker.shards", "00-ff"),
        ("[broker]\nport = 'x'", "broker.port", "integer"),
        ("[console]\ncenter = [200, 10]", "console.center.0", "less than or equal to 180"),
        ("[broker]\npassword = 's3cret'", "broker.password", "GREENHAUL_BROKER_PASSWORD"),
        ("[broker]\npassword_file = 'gone'", "broker.password_file", "No such file"),
        ("store = 1", "store", "dictionary"),
        ("[api\nx = 1", "", "line 1"),
    ],
)
def test_a_fault_names_file_key_and_way_out(written: Path, text: str, key: str, hint: str) -> None:
    written.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(written)
    message = str(caught.value)
    assert key in message
    assert hint in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_a_fault_names_the_file(written: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(written)
    written.write_text("[api]\nx = 1")
    with pytest.raises(ConfigError, match=r"cloud\.toml: api\.x"):
        load_config(written)


def test_the_environment_outweighs_the_file(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_text("[api]\nlisten = '127.0.0.1:1'\nsession_hours = 3\n")
    monkeypatch.setenv("GREENHAUL_API_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("GREENHAUL_CONSOLE_CENTER", "[1.5, 2.5]")
    monkeypatch.setenv("GREENHAUL_BROKER_PASSWORD", "s3cret")
    monkeypatch.setenv("GREENHAUL_SHARED", "../shared")  # somebody else's
    config = load_config(written)
    assert config.api.address == ("127.0.0.1", 2)
    assert config.api.session_hours == 3
    assert config.console.center == (1.5, 2.5)
    assert config.broker.password is not None
    assert config.broker.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(config)


def test_a_fault_of_the_environment_names_the_variable(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.write_text("")
    monkeypatch.setenv("GREENHAUL_BROKER_PORT", "many")
    with pytest.raises(ConfigError, match="GREENHAUL_BROKER_PORT"):
        load_config(written)
    monkeypatch.setenv("GREENHAUL_BROKER_PORT", "1883")
    monkeypatch.setenv("GREENHAUL_CONSOLE_CENTER", "here")
    with pytest.raises(ConfigError, match="GREENHAUL_"):
        load_config(written)


def test_secrets_come_from_files_beside_the_settings(written: Path) -> None:
    secret = written.with_name("broker.password")
    secret.write_text("s3cret\n")
    written.write_text("[broker]\npassword_file = 'broker.password'\n")
    password = load_config(written).broker.password
    assert password is not None
    assert password.get_secret_value() == "s3cret"
    for wrong in ("", "two\nlines\n", "x" * (SECRET_SIZE_MAX + 1)):
        secret.write_text(wrong)
        with pytest.raises(ConfigError, match=r"broker\.password_file"):
            load_config(written)


def test_the_stores_password_joins_its_url_and_no_text(written: Path) -> None:
    written.with_name("pg").write_text("a@b")
    written.write_text("[store]\nurl = 'postgresql://u@h/d'\npassword_file = 'pg'\n")
    config = load_config(written)
    assert config.store.full_url == "postgresql://u:a%40b@h/d"
    assert "a@b" not in repr(config)
    assert "a%40b" not in repr(config)


def test_paths_start_at_the_files_folder(written: Path) -> None:
    written.write_text("[store]\nurl = 'sqlite:///d/x.db'\n[console]\nbasemap = 'm.geojson'\n")
    config = load_config(written)
    assert config.store.full_url == f"sqlite:///{written.parent}/d/x.db"
    assert config.console.basemap == written.parent / "m.geojson"
