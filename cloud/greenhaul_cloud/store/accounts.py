"""Users, their tokens and sessions, and the record of who changed what."""

from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page

# A user with more live sessions than this has lost count; the oldest end.
SESSIONS_MAX = 20

_user = tables.user.c
_token = tables.token.c
_session = tables.session.c


def add_user(
    connection: Connection,
    *,
    name: str,
    password_hash: str,
    role: str,
    enterprise_id: str | None,
    now_ms: int,
) -> int:
    """Id of a new user. The name must be free and the enterprise known (IntegrityError)."""
    added = connection.execute(
        insert(tables.user)
        .values(
            name=name,
            password_hash=password_hash,
            role=role,
            enterprise_id=enterprise_id,
            created_at=now_ms,
        )
        .returning(_user.id)
    )
    return int(added.scalar_one())


def find_user(connection: Connection, name: str) -> Row[Any] | None:
    """The user of a name, disabled or not."""
    return connection.execute(select(tables.user).where(_user.name == name)).one_or_none()


def list_users(connection: Connection, page: PageSpec) -> Page:
    """Users by id."""
    return read_page(connection, select(tables.user), [_user.id], page)


def change_user(connection: Connection, user_id: int, changes: dict[str, Any]) -> bool:
    """Sets columns of a user and ends the sessions; whether there is such a user."""
    if not connection.execute(select(_user.id).where(_user.id == user_id)).first():
        return False
    if changes:
        connection.execute(update(tables.user).where(_user.id == user_id).values(**changes))
        connection.execute(delete(tables.session).where(_session.user_id == user_id))
    return True


def count_admins(connection: Connection) -> int:
    """How many administrators can sign in."""
    query = select(func.count()).where(_user.role == "admin", _user.disabled_at.is_(None))
    return int(connection.execute(query).scalar_one())


def add_token(
    connection: Connection,
    *,
    user_id: int,
    name: str,
    token_hash: bytes,
    expires_at_ms: int | None,
    now_ms: int,
) -> int:
    """Id of a new bearer token; only its hash is kept."""
    added = connection.execute(
        insert(tables.token)
        .values(
            user_id=user_id,
            name=name,
            token_hash=token_hash,
            created_at=now_ms,
            expires_at=expires_at_ms,
        )
        .returning(_token.id)
    )
    return int(added.scalar_one())


def list_tokens(connection: Connection, user_id: int | None, page: PageSpec) -> Page:
    """Tokens of a user, or of all users (None), without what would let anybody use them."""
    query = select(
        _token.id,
        _token.name,
        _user.name.label("user_name"),
        _token.created_at,
        _token.expires_at,
        _token.revoked_at,
    ).join(tables.user, _user.id == _token.user_id)
    if user_id is not None:
        query = query.where(_token.user_id == user_id)
    return read_page(connection, query, [_token.id], page)


def revoke_token(connection: Connection, token_id: int, user_id: int | None, now_ms: int) -> bool:
    """Ends a token of a user (None: of anybody); whether it was there and not yet ended."""
    where = [_token.id == token_id, _token.revoked_at.is_(None)]
    if user_id is not None:
        where.append(_token.user_id == user_id)
    ended = connection.execute(update(tables.token).where(*where).values(revoked_at=now_ms))
    return bool(ended.rowcount)


def user_of_token(connection: Connection, token_hash: bytes, now_ms: int) -> Row[Any] | None:
    """Whose token this is: a row of `user`, or None when it opens nothing (any more)."""
    query = _users(now_ms).join(tables.token, _token.user_id == _user.id)
    return connection.execute(
        query.where(
            _token.token_hash == token_hash,
            _token.revoked_at.is_(None),
            _token.expires_at.is_(None) | (_token.expires_at > now_ms),
        )
    ).one_or_none()


def user_of_session(connection: Connection, token_hash: bytes, now_ms: int) -> Row[Any] | None:
    """Whose session this is, with its `csrf_hash`, or None when it has ended."""
    query = (
        _users(now_ms)
        .add_columns(_session.csrf_hash)
        .join(tables.session, _session.user_id == _user.id)
    )
    return connection.execute(
        query.where(_session.token_hash == token_hash, _session.expires_at > now_ms)
    ).one_or_none()


def _users(now_ms: int) -> Select[Any]:
    able = _user.disabled_at.is_(None) | (_user.disabled_at > now_ms)
    return select(_user.id, _user.name, _user.role, _user.enterprise_id).where(able)


def open_session(
    connection: Connection,
    *,
    user_id: int,
    token_hash: bytes,
    csrf_hash: bytes,
    expires_at_ms: int,
    now_ms: int,
) -> None:
    """Keeps a new session; expired ones and a user's surplus ones end."""
    connection.execute(delete(tables.session).where(_session.expires_at <= now_ms))
    kept = (
        select(_session.token_hash)
        .where(_session.user_id == user_id)
        .order_by(_session.created_at.desc())
        .limit(SESSIONS_MAX - 1)
    )
    newest = connection.execute(kept).scalars().all()
    connection.execute(
        delete(tables.session).where(
            _session.user_id == user_id, _session.token_hash.not_in(newest)
        )
    )
    connection.execute(
        insert(tables.session).values(
            token_hash=token_hash,
            csrf_hash=csrf_hash,
            user_id=user_id,
            created_at=now_ms,
            expires_at=expires_at_ms,
        )
    )


def close_session(connection: Connection, token_hash: bytes) -> None:
    """Ends a session, if it is one."""
    connection.execute(delete(tables.session).where(_session.token_hash == token_hash))


def record(
    connection: Connection,
    now_ms: int,
    user_name: str,
    action: str,
    subject: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """Writes into the audit, in the transaction of what was done."""
    connection.execute(
        insert(tables.audit).values(
            at=now_ms, user_name=user_name, action=action, subject=subject, detail=detail
        )
    )


def list_audit(connection: Connection, page: PageSpec) -> Page:
    """What was done, newest first."""
    return read_page(
        connection, select(tables.audit), [tables.audit.c.id], page, is_descending=True
    )
