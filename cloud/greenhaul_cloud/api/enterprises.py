"""Enterprises: who runs vehicles."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Admin, Caller
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    Listing,
    Name,
    PageByText,
    Shape,
    Wish,
    listing_of,
)
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store.scope import Scope

router = APIRouter(prefix="/enterprises", tags=["enterprises"])


class EnterpriseName(Wish):
    """What an enterprise is called."""

    name: Name


class EnterpriseWish(EnterpriseName):
    """An enterprise to be."""

    id: Id


class EnterpriseShape(Shape):
    """An enterprise."""

    id: str
    name: str
    created_at: Instant


@router.get("", response_model=Listing[EnterpriseShape])
def list_enterprises(context: Context, caller: Caller, page: PageByText) -> object:
    """Enterprises the caller may see, by id."""
    with context.store.read() as connection:
        return listing_of(registry.list_enterprises(connection, caller.scope, page), dict)


@router.post("", response_model=EnterpriseShape, status_code=HTTPStatus.CREATED)
def add_enterprise(wish: EnterpriseWish, context: Context, admin: Admin) -> object:
    """Enters an enterprise."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        if registry.find_enterprise(connection, admin.scope, wish.id):
            raise Problem(HTTPStatus.CONFLICT, f"there is an enterprise {wish.id!r} already")
        registry.add_enterprise(connection, wish.id, wish.name, now_ms)
        detail = {"name": wish.name}
        accounts.record(connection, now_ms, admin.name, "enterprise.add", wish.id, detail)
        return dict(_found(connection, admin.scope, wish.id))


@router.get("/{enterprise_id}", response_model=EnterpriseShape)
def show_enterprise(enterprise_id: str, context: Context, caller: Caller) -> object:
    """An enterprise."""
    with context.store.read() as connection:
        return dict(_found(connection, caller.scope, enterprise_id))


@router.put("/{enterprise_id}", response_model=EnterpriseShape)
def rename_enterprise(
    enterprise_id: str, wish: EnterpriseName, context: Context, admin: Admin
) -> object:
    """Gives an enterprise another name."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        _found(connection, admin.scope, enterprise_id)
        registry.rename_enterprise(connection, enterprise_id, wish.name)
        detail = {"name": wish.name}
        accounts.record(connection, now_ms, admin.name, "enterprise.rename", enterprise_id, detail)
        return dict(_found(connection, admin.scope, enterprise_id))


@router.delete("/{enterprise_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_enterprise(enterprise_id: str, context: Context, admin: Admin) -> None:
    """Takes out an enterprise without vehicles, fleets and users."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        _found(connection, admin.scope, enterprise_id)
        if registry.is_enterprise_used(connection, enterprise_id):
            raise Problem(HTTPStatus.CONFLICT, "vehicles, fleets or users belong to it")
        registry.remove_enterprise(connection, enterprise_id)
        accounts.record(connection, now_ms, admin.name, "enterprise.remove", enterprise_id)


def _found(connection: Connection, scope: Scope, key: str) -> RowMapping:
    row = registry.find_enterprise(connection, scope, key)
    if row is None:
        raise not_found("enterprise", key)
    return row
