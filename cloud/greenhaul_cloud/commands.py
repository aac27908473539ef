"""The short commands: each opens the store, does one thing, says what it did."""

import argparse
import sys
from contextlib import closing

from greenhaul_cloud.auth.passwords import PASSWORD_LENGTH_MAX, hash_password
from greenhaul_cloud.auth.principal import Role
from greenhaul_cloud.auth.secrets import hash_secret, new_token
from greenhaul_cloud.broker_users import password_of, put_user
from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.config import CloudConfig, read_secret
from greenhaul_cloud.shards import roster
from greenhaul_cloud.shards.pieces import Piece, clashes, cut, uncut
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store.engine import Store, claims_of, describe_store, migrate, open_store
from greenhaul_cloud.store.gateways import put_gateway
from greenhaul_cloud.store.scope import EVERYTHING
from greenhaul_protocols.errors import ConfigError, Rejected
from greenhaul_protocols.topics import GATEWAY_ID

_MS_PER_DAY = 86_400_000
# Who did it, in the audit: somebody with a shell here.
_SHELL = "(command line)"


def check(config: CloudConfig, args: argparse.Namespace) -> int:
    """Says that the settings are fit, what the store is, who collects; makes nothing, no port.

    Raises Rejected when a collector of these settings and one that runs would take shards from each
    other.
    """
    basemap = config.console.basemap
    if basemap and not basemap.is_file():
        raise ConfigError(f"{args.config}: console.basemap: {basemap}: no such file")
    described = describe_store(config.store.full_url)
    print(f"{args.config}: well; store {config.store.url}, API on {config.api.listen}")
    print(f"store: {described}")
    with claims_of(config.store.full_url) as (claims, is_shared):
        running = roster.running(claims)
    said = ", ".join(f"{running[whole]} on shards {whole}" for whole in sorted(running))
    print(f"collectors running: {said or 'none'}")
    ours, divide = Piece(*config.broker.shard_range), cut if is_shared else uncut
    for whole in sorted(set(running) - {ours}):
        for one, other in clashes(divide(ours), divide(whole)):
            raise Rejected(
                f"{args.config}: broker.shards: {ours} and {whole} cut each other's pieces "
                f"({one} and {other}): let them be the same, or apart, or on PostgreSQL begin and "
                "end at multiples of 10 hex"
            )
    return 0


def migrate_store(config: CloudConfig, _args: argparse.Namespace) -> int:
    """Brings the database to this version's schema."""
    migrate(config.store.full_url)
    print(f"{config.store.url}: up to date")
    return 0


def add_user(config: CloudConfig, args: argparse.Namespace) -> int:
    """Enters a user."""
    role, enterprise_id = Role(args.role), args.enterprise
    if (role is Role.MANAGER) != (enterprise_id is not None):
        raise ConfigError("--enterprise: a manager has one, others have none")
    password_hash = _hashed(_password(args))
    now_ms = system_now_ms()
    with _opened(config) as store, store.write() as connection:
        if accounts.find_user(connection, args.name):
            raise Rejected(f"there is a user {args.name!r} already")
        if enterprise_id and not registry.find_enterprise(connection, EVERYTHING, enterprise_id):
            raise Rejected(f"no enterprise {enterprise_id!r}")
        accounts.add_user(
            connection,
            name=args.name,
            password_hash=password_hash,
            role=role,
            enterprise_id=enterprise_id,
            now_ms=now_ms,
        )
        accounts.record(connection, now_ms, _SHELL, "user.add", args.name, {"role": role})
    print(f"{args.name}: {role}")
    return 0


def create_token(config: CloudConfig, args: argparse.Namespace) -> int:
    """Prints a new token of a user: nothing else, this once."""
    now_ms = system_now_ms()
    token = new_token()
    with _opened(config) as store, store.write() as connection:
        user = accounts.find_user(connection, args.user)
        if user is None:
            raise Rejected(f"no user {args.user!r}; greenhaul-cloud user add makes one")
        accounts.add_token(
            connection,
            user_id=user.id,
            name=args.name,
            token_hash=hash_secret(token),
            expires_at_ms=now_ms + args.days * _MS_PER_DAY if args.days else None,
            now_ms=now_ms,
        )
        accounts.record(connection, now_ms, _SHELL, "token.add", args.name, {"user": args.user})
    print(token)
    return 0


def add_gateway(config: CloudConfig, args: argparse.Namespace) -> int:
    """Lets a gateway in, or changes what it may carry."""
    if not GATEWAY_ID.fullmatch(args.id):
        raise ConfigError(f"gateway id {args.id!r}: 1 to 64 of letters, digits, dot, _ and -")
    if (args.broker_users is None) != (args.password_file is None):
        raise ConfigError("--broker-users and --password-file go together")
    now_ms = system_now_ms()
    with _opened(config) as store:
        is_new = put_gateway(store, args.id, args.sources, now_ms)
        with store.write() as connection:
            detail = {"sources": args.sources}
            accounts.record(connection, now_ms, _SHELL, "gateway.put", args.id, detail)
    granted = ", ".join([f"{args.id}/*", *args.sources])
    print(f"{args.id}: {'new' if is_new else 'changed'}; may carry {granted}")
    if args.broker_users is not None:
        put_user(args.broker_users, args.id, password_of(args.password_file))
        print(
            f"{args.broker_users}: has user {args.id}; tell the broker: systemctl reload mosquitto"
            f"\nput {args.password_file} beside its edge.toml, which says:\n"
            f'[gateway]\nid = "{args.id}"\n[uplink]\nport = 8883\ntls = true\n'
            f'username = "{args.id}"\npassword_file = "{args.password_file.name}"'
        )
    return 0


def add_broker_user(args: argparse.Namespace) -> int:
    """Enters a user into Mosquitto's password file."""
    is_new = put_user(args.users, args.name, password_of(args.password_file))
    print(f"{args.users}: {'new' if is_new else 'changed'} user {args.name}")
    return 0


def _opened(config: CloudConfig) -> closing[Store]:
    return closing(open_store(config.store.full_url, system_now_ms()))


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        return sys.stdin.readline(PASSWORD_LENGTH_MAX + 2).rstrip("\r\n")
    return read_secret(args.password_file, "user add")


def _hashed(password: str) -> str:
    try:
        return hash_password(password)
    except ValueError as error:
        raise ConfigError(str(error)) from None
