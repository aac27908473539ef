"""cloud.toml: what it may say, and one clear line when it says something else.

A setting comes from the environment (`GREENHAUL_SECTION_KEY`, as in GREENHAUL_API_LISTEN), else
from the file, else from its default. Relative paths are relative to the file's folder. Secrets
stand in the environment or in files of their own, never in cloud.toml.
"""

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from greenhaul_cloud.reasons import reason_of
from greenhaul_protocols.errors import ConfigError

ENV_PREFIX = "GREENHAUL_"
# A password or key fits in far less; a larger file is the wrong file.
SECRET_SIZE_MAX = 4096
STORES = ("sqlite", "postgresql", "postgresql+psycopg")


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) <= 65535):
        raise ValueError("write HOST:PORT, as in 127.0.0.1:8080; port 0 takes a free one")
    return text


def _store_url(text: str) -> str:
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("write sqlite:///FILE or postgresql://HOST/NAME") from None
    if url.drivername not in STORES:
        raise ValueError("the store is sqlite:///FILE or postgresql://HOST/NAME")
    if url.password:
        raise ValueError("keep the password out of the URL: store.password_file")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        near = get_close_matches(text, sorted(available_timezones()), n=1)
        raise ValueError(f"no such time zone{f'; did you mean {near[0]}?' if near else ''}")
    return text


def _shards(text: str) -> str:
    match = re.fullmatch(r"([0-9a-f]{2})-([0-9a-f]{2})", text)
    if not match or match[1] > match[2]:
        raise ValueError("write two hex numbers of two digits, as in 00-ff or 00-7f")
    return text


class Section(BaseModel):
    """A table of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class StoreConfig(Section):
    """Where everything is kept."""

    url: Annotated[str, AfterValidator(_store_url)] = "sqlite:///greenhaul.db"
    password: SecretStr | None = None
    password_file: Path | None = None
    retention_days: Annotated[int, Field(ge=1)] | None = None

    @property
    def full_url(self) -> str:
        """The URL with the password in it: for the driver, never for a log."""
        url = make_url(self.url)
        if self.password is not None:
            url = url.set(password=self.password.get_secret_value())
        return url.render_as_string(hide_password=False)


Days = Annotated[int, Field(ge=1)] | Literal["forever"]


class RetentionConfig(Section):
    """Days that readings of a kind, and what lies in quarantine, are kept."""

    position: Days | None = None
    battery: Days | None = None
    drive: Days | None = None
    cargo: Days | None = None
    event: Days | None = None
    undecodable: Days | None = None
    dropped: Days | None = None
    media_part: Days | None = None
    quarantine: Days | None = None

    def days(self, otherwise: int | None) -> dict[str, int | None]:
        """By subject; `otherwise` for what is not named, None keeps for ever."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: otherwise if days is None else None if days == "forever" else days
            for name, days in named.items()
        }


class BrokerConfig(Section):
    """The MQTT broker gateways publish to."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    shards: Annotated[str, AfterValidator(_shards)] = "00-ff"

    @property
    def shard_range(self) -> tuple[int, int]:
        """First and last shard this collector takes."""
        first, _, last = self.shards.partition("-")
        return int(first, 16), int(last, 16)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


class CollectorConfig(Section):
    """Where a collector alone answers /healthz, /readyz and /metrics."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9108"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to bind; port 0 takes a free one."""
        return _address(self.listen)

    @property
    def is_chosen(self) -> bool:
        """Whether somebody wants this very port, so that no other will do."""
        return "listen" in self.model_fields_set


class ApiConfig(Section):
    """Where the API and the console listen."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8080"
    public_url: str | None = None
    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12
    # As many store calls at a time as one machine's disk serves well; the rest wait in line.
    # The store's pool has 26 connections, some of them the collector's.
    threads: Annotated[int, Field(ge=2, le=20)] = 16

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to bind; port 0 takes a free one."""
        return _address(self.listen)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us by TLS, so that cookies may insist on it."""
        return (self.public_url or "").startswith("https://")


class DeriveConfig(Section):
    """How days and schedules are read, and who folds.

    in_collector: collectors fold as well; else `greenhaul-cloud derive` does, in processes of its
    own.
    """

    in_collector: bool = True
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    calendar: Literal["CN"] = "CN"


class ConsoleConfig(Section):
    """What the console's map shows beneath the trucks."""

    tile_url: str | None = None
    tile_attribution: str | None = None
    datum: Literal["wgs84", "gcj02", "bd09"] = "wgs84"
    center: tuple[
        Annotated[float, Field(ge=-180, le=180)], Annotated[float, Field(ge=-90, le=90)]
    ] = (112.53, 32.99)
    zoom: Annotated[float, Field(ge=0, le=22)] = 11
    basemap: Path | None = None


class CloudConfig(BaseSettings):
    """All of cloud.toml."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    store: StoreConfig = StoreConfig()
    retention: RetentionConfig = RetentionConfig()
    broker: BrokerConfig = BrokerConfig()
    collector: CollectorConfig = CollectorConfig()
    api: ApiConfig = ApiConfig()
    derive: DeriveConfig = DeriveConfig()
    console: ConsoleConfig = ConsoleConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the hook's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment outweighs the file, whose tables come as arguments."""
        return env_settings, init_settings


def load_config(path: Path) -> CloudConfig:
    """Settings of a file and the environment, secrets read and paths made absolute.

    Raises ConfigError with one line that names file, key and the nearest valid name.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; cloud/cloud.sample.toml is one to start from, -c names another"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {reason_of(error)}") from error
    for section, table in tables.items():
        if isinstance(table, dict) and "password" in table:
            raise ConfigError(
                f"{path}: {section}.password: a secret does not belong here; use "
                f"{section}.password_file or {ENV_PREFIX}{section.upper()}_PASSWORD"
            )
    try:
        config = CloudConfig(**tables)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_fault(error)}") from error
    except SettingsError as error:  # a list or table in the environment that is not JSON
        raise ConfigError(f"{ENV_PREFIX}…: {error}") from error
    return _settled(config, path)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in fault["loc"]]
    key = ".".join(where)
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(where[-1], _valid_names(where[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it may be {_listed(where[:-1])}"
        return f"{key}: no such setting; {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    variable = ENV_PREFIX + "_".join(where).upper()
    return f"{key}: {message}{f' (from {variable})' if variable in os.environ else ''}"


def _valid_names(where: list[str]) -> list[str]:
    fields = CloudConfig.model_fields
    for part in where:
        section = fields[part].annotation if part in fields else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        fields = section.model_fields
    return [name for name in fields if name != "password"]


def _listed(where: list[str]) -> str:
    return ", ".join(_valid_names(where))


def _settled(config: CloudConfig, path: Path) -> CloudConfig:
    folder = path.resolve().parent
    store = config.store.model_copy(
        update={
            "url": _anchored_url(config.store.url, path),
            "password": _secret(config.store, "store", path),
        }
    )
    broker: dict[str, Any] = {"password": _secret(config.broker, "broker", path)}
    if config.broker.ca_file:
        broker["ca_file"] = folder / config.broker.ca_file
    console = {"basemap": folder / config.console.basemap} if config.console.basemap else {}
    return config.model_copy(
        update={
            "store": store,
            "broker": config.broker.model_copy(update=broker),
            "console": config.console.model_copy(update=console),
        }
    )


def _anchored_url(text: str, path: Path) -> str:
    url = make_url(text)
    if url.drivername != "sqlite":
        return text
    if not url.database or url.database == ":memory:":
        raise ConfigError(
            f"{path}: store.url: name a file, as in sqlite:///greenhaul.db: memory forgets"
        )
    return url.set(database=str(path.resolve().parent / url.database)).render_as_string(
        hide_password=False
    )


def _secret(section: StoreConfig | BrokerConfig, name: str, path: Path) -> SecretStr | None:
    """The password of a section: from the environment, else from its file."""
    if section.password is not None or section.password_file is None:
        return section.password
    return SecretStr(read_secret(path.resolve().parent / section.password_file, f"{path}: {name}"))


def read_secret(path: Path, key: str) -> str:
    """The one line of a secret's file. Raises ConfigError, which never shows what stood there."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{key}.password_file: {path}: {error.strerror}") from error
    if len(content) > SECRET_SIZE_MAX:
        raise ConfigError(f"{key}.password_file: {path} is too large to be a password")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{key}.password_file: {path} is not UTF-8") from None
    if not text or "\n" in text:
        raise ConfigError(f"{key}.password_file: {path} must hold one line, the password")
    return text
