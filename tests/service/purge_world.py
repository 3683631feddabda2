"""Lawful erasure to test with: two people who may, one record in every corner of the index, and a search of every table for it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import LargeBinary, select

from app import Composition
from foundation.clock import FixedClock
from foundation.database import Database, metadata
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.service.purge import Purge, confirm_purge, propose_purge

FIRST = Principal("person", "officer.one", "RRV", frozenset({"records:purge"}), role="R0001")
SECOND = Principal("person", "officer.two", "RRV", frozenset({"records:purge"}), role="R5105")
EVERYWHERE = frozenset({"*"})


def composed(db: Database, clock: FixedClock) -> Composition:
    """The service as it is composed: with everyone who holds something of a record."""
    return Composition(Settings.from_environment({}), database=db, clock=clock)


def proposed(mpi: Mpi, key: RecordKey, act: str = "erase", by: Principal = FIRST) -> Purge:
    reason, basis = {"erase": ("unlawful", "uk-gdpr-17-1-d"), "lift": ("may-be-sent-again", "controller")}[
        act
    ]
    by = replace(by, organisations=EVERYWHERE)
    return propose_purge(mpi, act, key, by, reason=reason, legal_basis=basis)


def purged(mpi: Mpi, key: RecordKey, act: str = "erase") -> Purge:
    """Do it: one proposes, the other confirms."""
    waiting = proposed(mpi, key, act)
    return confirm_purge(mpi, waiting.purge_id, replace(SECOND, organisations=EVERYWHERE))


def where_found(db: Database, needles: Iterable[str]) -> set[tuple[str, str, str]]:
    """Search every column of every table that there is for some texts; return table, column and text of what was found.

    Upper and lower case are one; bytes are searched as they are; a number is found as text.
    """
    wanted = [(one, one.casefold(), one.encode()) for one in needles]
    found = set()
    with db.read() as tx:
        for table in metadata.sorted_tables:
            # Read as they are stored, so that nothing a type does on the way hides a text.
            for row in tx.execute(select(table)).mappings():
                for column in table.columns:
                    value = row[column.name]
                    for name, folded, raw in wanted:
                        if _holds(value, folded, raw, isinstance(column.type, LargeBinary)):
                            found.add((table.name, column.name, name))
    return found


def _holds(value: Any, folded: str, raw: bytes, is_bytes: bool) -> bool:
    if value is None:
        return False
    if is_bytes:
        return raw in bytes(value) or folded in bytes(value).decode("utf-8", "replace").casefold()
    return folded in (value if isinstance(value, str) else repr(value)).casefold()
