"""Saved views of the review queue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from foundation.database import insert_ignore
from mpi.store.tables import saved_view


@dataclass(frozen=True, slots=True)
class ViewRow:
    """What one reader chose of the queue, under a name of theirs."""

    view_id: int
    owner: str
    name: str = field(repr=False)
    chosen: Mapping[str, str]
    created_at: datetime


def list_views(tx: Connection, owner: str) -> list[ViewRow]:
    statement = select(saved_view).where(saved_view.c.owner == owner).order_by(saved_view.c.name)
    return [ViewRow(*row) for row in tx.execute(statement)]


def count_views(tx: Connection, owner: str) -> int:
    return tx.scalar(select(func.count()).where(saved_view.c.owner == owner)) or 0


def insert_view(tx: Connection, row: ViewRow) -> bool:
    """Keep a view, unless its owner has one of this name; say whether it was kept."""
    values = {name: getattr(row, name) for name in ViewRow.__slots__} | {"chosen": dict(row.chosen)}
    return insert_ignore(tx, saved_view, [values], ["owner", "name"]) == 1


def delete_view(tx: Connection, owner: str, view_id: int) -> bool:
    statement = delete(saved_view).where(saved_view.c.owner == owner, saved_view.c.view_id == view_id)
    return tx.execute(statement).rowcount == 1
