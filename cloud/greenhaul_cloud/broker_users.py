"""Users of the broker: lines of Mosquitto's password file, and files with the passwords."""

import os
import re
import secrets
import stat
from base64 import b64encode
from hashlib import pbkdf2_hmac
from pathlib import Path

from greenhaul_cloud.config import read_secret
from greenhaul_cloud.reasons import reason_of
from greenhaul_protocols.errors import ConfigError

# `@` keeps users that are no gateway apart from gateway ids.
USER = re.compile(r"@?[A-Za-z0-9._-]{1,64}")
# As mosquitto_passwd does; it reads no other salt.
_SALT_SIZE = 12
_ITERATIONS = 20_000
_PASSWORD_SIZE = 24


def password_of(path: Path) -> str:
    """The password in a file; a new random one in a new file that only its owner can read.

    Raises ConfigError.
    """
    if path.exists():
        return read_secret(path, "--password-file")
    password = secrets.token_urlsafe(_PASSWORD_SIZE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password + "\n")
    except OSError as error:
        raise ConfigError(f"--password-file: {path}: {error.strerror}") from error
    return password


def put_user(path: Path, user: str, password: str) -> bool:
    """Enter a user into Mosquitto's password file, or change its password; whether it is new.

    The file is replaced as a whole, with the owner and rights it had. Raises ConfigError.
    """
    if not USER.fullmatch(user):
        raise ConfigError(f"user {user!r}: 1 to 64 of letters, digits, dot, _ and -")
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition(":")[0] != user]
        _replace(path, [*kept, password_line(user, password)])
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"users: {path}: {reason_of(error)}") from error
    return len(kept) == len(lines)


def password_line(user: str, password: str, salt: bytes | None = None) -> str:
    """`user:$7$iterations$salt$hash`, PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(_SALT_SIZE) if salt is None else salt
    digest = pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def _replace(path: Path, lines: list[str]) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
        if path.exists():
            found = path.stat()
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            if os.geteuid() == 0:
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
    draft.replace(path)
