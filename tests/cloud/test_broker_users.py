"""`gateway add` and `broker add-user`: lines of Mosquitto's password file."""

import stat
from pathlib import Path

import pytest

from greenhaul_cloud.broker_users import password_line, password_of, put_user
from greenhaul_cloud.main import main
from greenhaul_protocols.errors import ConfigError


def test_a_gateway_gets_its_password_and_the_broker_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, users, password = (tmp_path / name for name in ("cloud.toml", "users", "gw.password"))
    config.write_text('[store]\nurl = "sqlite:///cloud.db"\n')
    assert main(["migrate", "-c", str(config)]) == 0
    files = ["--broker-users", str(users), "--password-file", str(password)]
    assert main(["gateway", "add", "gw-17", *files, "-c", str(config)]) == 0
    printed = capsys.readouterr().out
    assert 'username = "gw-17"' in printed
    secret = password.read_text().strip()
    assert len(secret) >= 32
    assert secret not in printed + users.read_text()
    assert stat.S_IMODE(password.stat().st_mode) == stat.S_IMODE(users.stat().st_mode) == 0o600
    assert users.read_text().startswith("gw-17:$7$")
    # Once more: the password stays, and there is still one line.
    assert main(["gateway", "add", "gw-17", *files, "-c", str(config)]) == 0
    assert password.read_text().strip() == secret
    assert len(users.read_text().splitlines()) == 1
    both = ["--users", str(users), "--password-file", str(tmp_path / "collector.password")]
    assert main(["broker", "add-user", "@collector", *both]) == 0
    assert [line.partition(":")[0] for line in users.read_text().splitlines()] == [
        "gw-17",
        "@collector",
    ]


def test_half_of_the_options_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text("")
    command = ["gateway", "add", "gw-1", "--broker-users", "users", "-c", str(config)]
    assert main(command) == 2
    assert "go together" in capsys.readouterr().err


def test_the_hash_is_what_mosquitto_makes() -> None:
    # As mosquitto_passwd writes it: PBKDF2, SHA-512, 64 bytes.
    line = password_line("u", "p", salt=b"123456789012")
    user, _, rest = line.partition(":")
    _, kind, iterations, salt, digest = rest.split("$")
    assert (user, kind, salt) == ("u", "7", "MTIzNDU2Nzg5MDEy")
    assert int(iterations) >= 101
    assert len(digest) == 88


def test_what_is_no_user_is_refused(tmp_path: Path) -> None:
    for user in ("a:b", "+", "#", "", "a/b", "a\nb"):
        with pytest.raises(ConfigError, match="1 to 64"):
            put_user(tmp_path / "users", user, "p")
    with pytest.raises(ConfigError, match="password-file"):
        password_of(tmp_path / "no folder" / "password")
