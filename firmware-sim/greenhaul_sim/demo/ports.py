"""Loopback ports nobody uses."""

import socket

from greenhaul_protocols.errors import ConfigError

_TRIES = 50


def is_free(port: int) -> bool:
    """Whether a loopback port can be listened on now."""
    with socket.socket() as probe:
        # As servers do it: a connection in TIME_WAIT does not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def take(name: str, wanted: int | None, usual: int) -> int:
    """The port asked for, or the first free one from the usual on.

    Raises ConfigError that names the option when the port asked for is busy.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise ConfigError(f"{name} {wanted}: the port is busy on 127.0.0.1; leave it out")
        return wanted
    for port in range(usual, usual + _TRIES):
        if is_free(port):
            return port
    raise ConfigError(f"no free port from {usual} to {usual + _TRIES - 1} for {name}")


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
