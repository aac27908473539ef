"""What a vehicle model is: DBC files and a mapping file, from signals to catalogue fields.

No code knows a vehicle. A mapping file says which signal of which message means which field, how
messages are recognised (by whole id, or by J1939 parameter group), and how long ones travel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as declare
from pathlib import Path
from typing import Annotated, Any, Literal

import cantools
from cantools.database.errors import Error as CantoolsError

from greenhaul_edge.sources.can_transport import pgn_of
from greenhaul_edge.toml_reader import Between, Matches, Section, read_section, read_toml
from greenhaul_protocols.catalogue import KINDS, FieldSpec, KindSpec
from greenhaul_protocols.errors import ConfigError

# Vehicles map tens of signals; a file with more is not a mapping.
SIGNALS_MAX = 500
# Mapping files that come with the program, by name without `.toml`.
SHIPPED = Path(__file__).parent.parent / "mappings"

# What a mapping asks for; each takes its turn, a second apart.
REQUESTS_MAX = 100
# Services that only read: OBD 01, 02, 09; read DTCs, identification, local id, id (KWP 2000, UDS).
READING_SERVICES = (0x01, 0x02, 0x09, 0x19, 0x1A, 0x21, 0x22)

_KINDS_BY_NAME = {kind.name: kind for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """The top of a mapping file."""

    dbc: str | tuple[str, ...]
    match: Literal["id", "pgn"] = "id"
    transport: Literal["none", "isotp"] = "none"  # with match = "pgn", J1939's always
    # DBC files for UDS answers count bits from the length byte that ISO-TP puts in front, or not.
    has_length_byte: bool = True
    source_addresses: tuple[int, ...] = ()  # with match = "pgn": who is believed; empty: all
    sentinels: Literal["none", "j1939"] | None = None  # default: as the match
    channel: str = ""  # of a log with several buses


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """[[signals]]: value of the field = value of the signal × scale + offset"""

    signal: str  # MESSAGE.SIGNAL of the DBC file
    field: str  # kind.field of the catalogue, such as battery.soc_percent
    scale: float = 1.0
    offset: float = 0.0
    invalid: tuple[float, ...] = ()  # values of the signal that mean: not available
    values: dict[str, float] = declare(
        default_factory=dict
    )  # codes: signal's to field's; no others
    minimum: float | None = None  # of the signal; outside it is not available
    maximum: float | None = None
    stale_s: Annotated[float, Between(0.1, 86_400)] | None = None  # default: three cadences


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """[[requests]]: what a control unit is asked, where the gateway's `polling` allows it"""

    id: Annotated[int, Between(0, 0x1FFFFFFF)]
    answer_id: Annotated[int, Between(0, 0x1FFFFFFF)]
    data: Annotated[str, Matches(r"([0-9A-Fa-f]{2} ?){1,7}", "1 to 7 bytes in hex")]
    period_s: Annotated[float, Between(1, 86_400)] = 10.0

    @property
    def is_extended(self) -> bool:
        """Whether the ids have 29 bits."""
        return self.id > 0x7FF or self.answer_id > 0x7FF

    @property
    def body(self) -> bytes:
        """Service and parameters."""
        return bytes.fromhex(self.data)


@dataclass(frozen=True, slots=True)
class Target:
    """One signal of a message and the field it fills. sentinel: raw values from it on say nothing.

    codes: raw signal values to field values; None: scale and offset.
    """

    settings: SignalSettings
    signal: Any
    kind: KindSpec
    spec: FieldSpec
    sentinel: int | None
    codes: dict[float, float] | None


@dataclass(frozen=True, slots=True)
class MappedMessage:
    """A message of the DBC files and its mapped signals. mask: the bits that matter, as an int of
    the big-endian bytes."""

    message: Any
    targets: tuple[Target, ...]
    mask: int


# A message's key: (id, is extended), or (PGN, True).
Key = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class CanMapping:
    """Which signals of which messages become which fields."""

    settings: MappingSettings
    path: Path
    by_key: Mapping[Key, tuple[MappedMessage, ...]]
    known_ids: frozenset[Key]  # every message of the DBC files, mapped or not
    requests: tuple[RequestSettings, ...] = ()

    @property
    def is_by_pgn(self) -> bool:
        """Whether messages are known by parameter group."""
        return self.settings.match == "pgn"


def load_mapping(path: Path) -> CanMapping:
    """A mapping file and the DBC files it names; or a shipped one, by its bare name.

    Raises ConfigError.
    """
    if not path.suffix and not path.exists() and (SHIPPED / f"{path.name}.toml").exists():
        path = SHIPPED / f"{path.name}.toml"
    top = read_toml(path)
    tables = top.take("signals")
    asked = top.take("requests") or []
    settings = read_section(top, MappingSettings)
    if not isinstance(tables, list) or not 0 < len(tables) <= SIGNALS_MAX:
        raise ConfigError(f"{path}: needs 1 to {SIGNALS_MAX} [[signals]]")
    names = (settings.dbc,) if isinstance(settings.dbc, str) else settings.dbc
    messages = [message for name in names for message in _load_dbc(path, name).messages]
    found: dict[Key, dict[int, tuple[Any, list[Target]]]] = {}
    for number, table in enumerate(tables, start=1):
        section = Section(path, f"signals {number}", table)
        own = read_section(section, SignalSettings)
        for message, target in _targets(section, own, messages, settings):
            of_key = found.setdefault(_key(message, settings), {})
            of_key.setdefault(id(message), (message, []))[1].append(target)
    by_key = {
        key: tuple(
            MappedMessage(message, tuple(targets), _mask(message, targets))
            for message, targets in of_key.values()
        )
        for key, of_key in found.items()
    }
    known = frozenset(_key(message, settings) for message in messages)
    return CanMapping(settings, path, by_key, known, _requests(path, asked, settings, by_key))


def _requests(
    path: Path, tables: Any, settings: MappingSettings, by_key: Mapping[Key, object]
) -> tuple[RequestSettings, ...]:
    if not isinstance(tables, list) or len(tables) > REQUESTS_MAX:
        raise ConfigError(f"{path}: at most {REQUESTS_MAX} [[requests]]")
    found = []
    for number, table in enumerate(tables, start=1):
        section = Section(path, f"requests {number}", table)
        one = read_section(section, RequestSettings)
        if settings.transport != "isotp":
            raise section.error('requests need transport = "isotp"')
        if one.body[0] not in READING_SERVICES:
            services = ", ".join(f"{service:02X}" for service in READING_SERVICES)
            raise section.error(f"data: service {one.body[0]:02X} is none that reads: {services}")
        if (one.answer_id, one.is_extended) not in by_key:
            raise section.error(f"answer_id: no [[signals]] is of message {one.answer_id:X}")
        found.append(one)
    return tuple(found)


def _load_dbc(path: Path, name: str) -> Any:
    try:
        text = (path.parent / name).read_text(encoding="cp1252", errors="replace")
        try:
            return cantools.database.load_string(text, "dbc", strict=False)
        except CantoolsError:
            # Some published files lack the (empty) bit timing section, which cantools wants.
            first = re.search(r"(?m)^(BU_|BO_ )", text)
            if first is None or re.search(r"(?m)^BS_", text):
                raise
            text = f"{text[: first.start()]}BS_:\n{text[first.start() :]}"
            return cantools.database.load_string(text, "dbc", strict=False)
    except (OSError, ValueError, CantoolsError) as error:
        hint = ""
        if "more than 11 bits" in str(error):
            hint = "; ids over 7FF need bit 31 in a DBC file (add 2147483648)"
        raise ConfigError(f"{path}: dbc: {name}: {error}{hint}") from error


def _key(message: Any, settings: MappingSettings) -> Key:
    if settings.match == "pgn":
        return pgn_of(message.frame_id), True
    return message.frame_id, bool(message.is_extended_frame)


def _targets(
    section: Section, own: SignalSettings, messages: list[Any], settings: MappingSettings
) -> list[tuple[Any, Target]]:
    """One, or several where the files have several messages of one name."""
    message_name, _, signal_name = own.signal.partition(".")
    section.choose("signal", message_name, {message.name for message in messages})
    named = [message for message in messages if message.name == message_name]
    section.choose(
        "signal", signal_name, [one.name for message in named for one in message.signals]
    )
    kind_name, _, field_name = own.field.partition(".")
    section.choose("field", kind_name, _KINDS_BY_NAME)
    kind = _KINDS_BY_NAME[kind_name]
    fields = {spec.name: spec for spec in kind.fields if not spec.is_bytes}
    section.choose("field", field_name, fields)
    try:
        codes = {float(key): value for key, value in own.values.items()} or None
    except ValueError:
        raise section.error("values: its keys must be numbers of the signal") from None
    has_sentinels = (
        settings.sentinels or ("j1939" if settings.match == "pgn" else "none")
    ) != "none"
    return [
        (
            message,
            Target(
                own,
                signal,
                kind,
                fields[field_name],
                _sentinel(signal) if has_sentinels else None,
                codes,
            ),
        )
        for message in named
        for signal in message.signals
        if signal.name == signal_name
    ]


def _sentinel(signal: Any) -> int | None:
    """The lowest raw value that SAE J1939-71 takes for error or not available.

    FE and FF in the highest byte; 10 and 11 for two bits, 1110 and 1111 for four.
    """
    length = int(signal.length)
    if signal.is_signed or signal.is_float or length == 1:
        return None
    if length < 8:
        return (1 << length) - 2
    return 0xFE << (length - 8)


def _mask(message: Any, targets: list[Target]) -> int:
    """The bits of mapped signals and multiplexers: if they are the same, so are all values."""
    size = message.length
    signals = [target.signal for target in targets]
    signals += [signal for signal in message.signals if signal.is_multiplexer]
    mask = 0
    for signal in signals:
        for bit in _bits(signal):
            mask |= 1 << (8 * (size - 1 - bit // 8) + bit % 8)
    return mask


def _bits(signal: Any) -> list[int]:
    """Numbers of a signal's bits: byte × 8 + bit in the byte, bit 0 the lowest."""
    if signal.byte_order == "little_endian":
        return list(range(signal.start, signal.start + signal.length))
    # Motorola: downwards in the byte, then on with the highest bit of the next.
    first = 8 * (signal.start // 8) + 7 - signal.start % 8
    return [8 * (at // 8) + 7 - at % 8 for at in range(first, first + signal.length)]
