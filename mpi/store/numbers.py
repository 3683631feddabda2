"""NHS numbers that another has taken the place of, as records say so."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, union

from foundation.database import insert_ignore
from foundation.direct import Statement
from mpi.store.batch import within
from mpi.store.tables import past_superseded_number, superseded_number

_NEW = Statement.alike("SELECT old_number, new_number FROM superseded_number WHERE old_number {among}")
_OLD = Statement.alike("SELECT new_number, old_number FROM superseded_number WHERE new_number {among}")
_NEWS = Statement.alike(
    "SELECT NULL, NULL, "
    "(SELECT revision FROM model_change WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1), {plan_once} "
    "UNION ALL SELECT old_number, new_number, NULL, NULL FROM superseded_number WHERE old_number {among}"
)


def read_superseded(tx: Connection, old_numbers: Collection[str]) -> dict[str, set[str]]:
    """Return for each of these numbers those that records name in its place."""
    return _named(_NEW.rows(tx, [int(one) for one in old_numbers])) if old_numbers else {}


def read_predecessors(tx: Connection, new_numbers: Collection[str]) -> dict[str, set[str]]:
    """Return for each of these numbers those whose place it took."""
    return _named(_OLD.rows(tx, [int(one) for one in new_numbers])) if new_numbers else {}


def read_news(tx: Connection, numbers: Collection[str]) -> tuple[str | None, dict[str, set[str]]]:
    """Return by one statement the model's revision in force, None where there never was one, and as ``read_superseded`` of numbers."""
    first, *others = _NEWS.rows(tx, [int(one) for one in numbers])
    return first[2], _named(others)


def _named(rows: Iterable[Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(_digits(row[0]), set()).add(_digits(row[1]))
    return found


def read_all_superseded(tx: Connection) -> list[str]:
    """Return every number that any record says was superseded."""
    return [_digits(number) for number in tx.scalars(select(superseded_number.c.old_number).distinct())]


def read_said(tx: Connection, record_id: int) -> dict[str, str]:
    """Return what a record says: each superseded number, and the one in its place."""
    table = superseded_number.c
    rows = tx.execute(select(table.old_number, table.new_number).where(table.record_id == record_id))
    return {_digits(row[0]): _digits(row[1]) for row in rows}


def read_numbers_said(tx: Connection, record_ids: Collection[int]) -> set[str]:
    """Return the superseded numbers of which these records say so."""
    table = superseded_number.c
    statement = select(table.old_number).distinct().where(within(tx, table.record_id, record_ids))
    return {_digits(number) for number in tx.scalars(statement)}


def read_sayers(tx: Connection, old_numbers: Collection[str]) -> set[int]:
    """Return the records that say that one of these numbers was superseded, or said so once."""
    if not old_numbers:
        return set()
    among = [int(one) for one in old_numbers]
    statement = union(
        *(
            select(table.c.record_id).where(within(tx, table.c.old_number, among))
            for table in (superseded_number, past_superseded_number)
        )
    )
    return set(tx.scalars(statement))


def replace_said(
    tx: Connection, record_id: int, said: Mapping[str, str], before: Collection[str] = ()
) -> None:
    """Let a record say this, and nothing else, of superseded numbers.

    Args:
        before: the numbers of which it said so until now; it is kept that it once did.
    """
    past = [{"old_number": int(old), "record_id": record_id} for old in sorted(before) if old not in said]
    insert_ignore(tx, past_superseded_number, past, ["old_number", "record_id"])
    _replace_said(tx, record_id, said)


def forget_said(tx: Connection, record_id: int) -> None:
    """Forget what a record says, and ever said, of superseded numbers."""
    _replace_said(tx, record_id, {})
    tx.execute(delete(past_superseded_number).where(past_superseded_number.c.record_id == record_id))


def _replace_said(tx: Connection, record_id: int, said: Mapping[str, str]) -> None:
    tx.execute(delete(superseded_number).where(superseded_number.c.record_id == record_id))
    rows = [
        {"old_number": int(old), "record_id": record_id, "new_number": int(new)}
        for old, new in sorted(said.items())
    ]
    if rows:
        tx.execute(insert(superseded_number), rows)


def _digits(number: int) -> str:
    return f"{number:010}"
