"""Errors named by what the catcher must do (architecture, section 8)."""


class GreenhaulError(Exception):
    """Root of every error greenhaul raises on purpose."""


class EncodeError(GreenhaulError, ValueError):
    """We asked for what the standard or the catalogue cannot carry: a bug of ours."""


class DecodeError(GreenhaulError, ValueError):
    """They sent what is not allowed: becomes a value (`Undecodable`) or goes to quarantine."""


class Unavailable(GreenhaulError):
    """A broker, database or port is gone: keep the data, back off, try again."""


class Rejected(GreenhaulError):
    """Will never be accepted: set aside, count, go on."""


class ConfigError(GreenhaulError):
    """Cannot start like this: one clear line that names file, key and nearest valid name."""
