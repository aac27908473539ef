"""The gateway's RSA key, for terminals that encrypt their bodies."""

from pathlib import Path

from greenhaul_protocols.errors import ConfigError, DecodeError
from greenhaul_protocols.jt808.rsa import PrivateKey
from greenhaul_protocols.jt808.rsa_pem import private_key_of


def load_private_key(path: Path | None) -> PrivateKey | None:
    """The key in a PEM file; None without a file. Raises ConfigError."""
    if path is None:
        return None
    try:
        return private_key_of(path.read_text(encoding="ascii", errors="replace"))
    except (OSError, DecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
