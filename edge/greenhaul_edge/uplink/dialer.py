"""Makes one connection after another, and remembers what was good for the next."""

from pathlib import Path

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.uplink.addresses import AddressBook, Lookup, look_up
from greenhaul_edge.uplink.credentials import Credentials
from greenhaul_edge.uplink.wire import PahoWire, Report


class Dialer:
    """What [uplink] says, as connections: addresses, credentials and the version of MQTT."""

    def __init__(
        self,
        settings: UplinkSettings,
        gateway: str,
        clock: Clock,
        memory: Path | None = None,
        lookup: Lookup = look_up,
    ) -> None:
        """memory: file of the last good address. Raises ConfigError for unusable credentials."""
        self._settings, self._gateway = settings, gateway
        self._book = AddressBook(settings.host, settings.port, memory, lookup)
        self._credentials = Credentials(settings, clock)
        self._is_v5 = settings.protocol != "3.1.1"
        self._is_proven = False

    def __call__(self, connection: int, report: Report) -> PahoWire:
        """Begin to connect; what becomes of it is reported."""
        return PahoWire(
            self._settings,
            self._gateway,
            connection,
            report,
            is_v5=self._is_v5,
            book=self._book,
            show=self._credentials.show,
            on_version=self._note_version,
        )

    @property
    def credentials_fault(self) -> str:
        """Why the credentials that lie on the disk now are not used; empty: they are."""
        return self._credentials.fault

    def renew(self) -> bool:
        """Look whether credentials changed on the disk; whether to connect again with them."""
        return self._credentials.has_changed() and self._credentials.renew()

    def _note_version(self, is_spoken: bool) -> None:
        if is_spoken:
            self._is_proven = True
        elif self._settings.protocol == "auto" and not self._is_proven:
            self._is_v5 = not self._is_v5
