"""What we show the broker and whom we trust; files are read again when they change."""

import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from greenhaul_edge.clock import Clock, Moment
from greenhaul_edge.config import UplinkSettings
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name: dates are then ours to judge.
_NO_CHECK_TIME = 0x200000


@dataclass(frozen=True, slots=True)
class Shown:
    """Credentials of one connection."""

    password: str | None
    context: "BrokerContext | None"


class Credentials:
    """The files of [uplink]. New ones that cannot be used leave the old ones in use."""

    def __init__(self, settings: UplinkSettings, clock: Clock) -> None:
        """Raises ConfigError if the files cannot be used."""
        self._settings, self._clock = settings, clock
        self._seen = self._stamps()
        self._shown = self._read()
        self.fault = ""  # why the files that lie there now are not used

    def has_changed(self) -> bool:
        """Whether the files differ from those last tried."""
        return self._stamps() != self._seen

    def show(self) -> Shown:
        """For the next connection; dates are judged by the clock as it stands now."""
        if self.has_changed():
            self.renew()
        if self._shown.context is not None:
            self._shown.context.set_moment(self._clock.moment())
        return self._shown

    def renew(self) -> bool:
        """Try the files anew; whether they are used from now on."""
        self._seen = self._stamps()
        try:
            self._shown = self._read()
        except ConfigError as error:
            # A file half written: its writer will touch it again, and so will we.
            self.fault = str(error)
            log.warning("credentials not usable, the old ones stay: %s", error)
            return False
        self.fault = ""
        log.info("credentials read again")
        return True

    def _read(self) -> Shown:
        context = tls_context(self._settings) if self._settings.tls else None
        return Shown(read_password(self._settings), context)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        settings = self._settings
        files = (settings.ca_file, settings.client_cert_file, settings.client_key_file)
        return [_stamp(path) for path in (*files, settings.password_file) if path is not None]


class BrokerContext(ssl.SSLContext):
    """Checks the broker by its configured name, whichever of its addresses was dialled."""

    server_name: str
    moment: Moment | None = None  # None: OpenSSL judges dates by the system clock

    def set_moment(self, moment: Moment) -> None:
        """Judge dates by this where the system clock is wrong."""
        self.moment = None if moment.is_system else moment
        flags = self.verify_flags & ~_NO_CHECK_TIME
        if self.moment is not None:
            flags |= _NO_CHECK_TIME
        self.verify_flags = ssl.VerifyFlags(flags)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """As ssl.SSLContext does, for the broker's name."""
        named["server_hostname"] = self.server_name
        return super().wrap_socket(*arguments, **named)


class BrokerSocket(ssl.SSLSocket):
    """Judges the dates of the whole chain after the handshake, where OpenSSL did not."""

    def do_handshake(self, block: bool = False) -> None:
        """Raises ssl.SSLCertVerificationError for a chain that is out of date."""
        try:
            super().do_handshake(block)
            self._check_dates(cast(BrokerContext, self.context).moment)
        except BaseException:
            self.close()  # paho would leave it to the garbage collector
            raise

    def _check_dates(self, moment: Moment | None) -> None:
        fault = None if moment is None else date_fault(self, moment)
        if fault is not None:
            raise ssl.SSLCertVerificationError(fault)


def date_fault(connection: ssl.SSLSocket, moment: Moment) -> str | None:
    """What is wrong with the dates of the broker's chain at a moment; None: nothing.

    A moment that is only known to be at least so late can prove expiry, but not prematurity.
    """
    # Private until Python 3.13 made it public; there since 3.10.
    chain = connection._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    for certificate in chain:
        info: dict[str, Any] = certificate.get_info()
        ends_s = ssl.cert_time_to_seconds(info["notAfter"])
        begins_s = ssl.cert_time_to_seconds(info["notBefore"])
        if moment.utc_ms / 1000 > ends_s:
            return f"certificate has expired: {_subject(info)}, {info['notAfter']}"
        if moment.is_known and moment.utc_ms / 1000 < begins_s:
            return f"certificate is not yet valid: {_subject(info)}, {info['notBefore']}"
    return None


def tls_context(settings: UplinkSettings) -> BrokerContext:
    """TLS with the broker checked against `ca_file` or the system's authorities.

    Raises ConfigError if a file cannot be used.
    """
    context = BrokerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_name = settings.host
    context.sslsocket_class = BrokerSocket
    try:
        if settings.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.ca_file)
        if settings.client_cert_file:
            context.load_cert_chain(
                settings.client_cert_file,
                settings.client_key_file,
                password=_no_passphrase,
            )
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"uplink: certificate files cannot be used: {error}") from error
    return context


def read_password(settings: UplinkSettings) -> str | None:
    """The password's file. Raises ConfigError."""
    if settings.password_file is None:
        return None
    try:
        text = settings.password_file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"uplink.password_file: {settings.password_file}: {error}") from error
    if not text:
        raise ConfigError(f"uplink.password_file: {settings.password_file} is empty")
    return text


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal, and the agent hangs.
    raise ValueError("the key has a passphrase; store it without one, readable to its user only")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _subject(info: dict[str, Any]) -> str:
    names = {key: value for part in info.get("subject", ()) for key, value in part}
    return str(names.get("commonName", "unnamed"))


def days_left(info: dict[str, Any]) -> float:
    """Days until a certificate (as `getpeercert` gives it) expires; negative: since."""
    return (ssl.cert_time_to_seconds(info["notAfter"]) - time.time()) / 86_400
