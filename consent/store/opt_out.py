"""Lists of NHS numbers that went to the national opt-out service, what they ask about while they wait, and the answers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from consent.facts import OptOutAnswer, OptOutState
from consent.store.tables import opt_out_asked, opt_out_evidence, opt_out_list
from foundation.database import upsert

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class OptOutList:
    """A list and what became of it. ``numbers`` is 0 until it is whole; ``taken_back`` are those whose records were erased meanwhile."""

    list_id: int
    name: str
    state: str  # waiting | answered | refused | abandoned
    numbers: int
    taken_back: int
    clear: int | None
    opted_out: int | None
    prepared_at: datetime
    prepared_by: str
    closed_at: datetime | None
    closed_by: str | None


def insert_list(tx: Connection, row: OptOutList) -> None:
    tx.execute(insert(opt_out_list), {name: getattr(row, name) for name in OptOutList.__slots__})


def read_list(tx: Connection, name: str) -> OptOutList | None:
    row = tx.execute(select(opt_out_list).where(opt_out_list.c.name == name)).first()
    return None if row is None else OptOutList(**row._mapping)


def read_lists(tx: Connection, *, after: int = 0, limit: int = 100) -> list[OptOutList]:
    """Return lists in order of preparation."""
    statement = select(opt_out_list).where(opt_out_list.c.list_id > after)
    rows = tx.execute(statement.order_by(opt_out_list.c.list_id).limit(limit))
    return [OptOutList(**row._mapping) for row in rows]


def waiting_lists(tx: Connection) -> list[OptOutList]:
    statement = select(opt_out_list).where(opt_out_list.c.state == "waiting")
    return [OptOutList(**row._mapping) for row in tx.execute(statement.order_by(opt_out_list.c.list_id))]


def count_named(tx: Connection, beginning: str) -> int:
    """Return how many lists have a name that begins so."""
    statement = select(func.count()).where(opt_out_list.c.name.startswith(beginning, autoescape=True))
    return int(tx.execute(statement).scalar_one())


def close_list(
    tx: Connection,
    list_id: int,
    state: str,
    at: datetime,
    by: str,
    *,
    clear: int | None = None,
    opted_out: int | None = None,
) -> bool:
    """End a list that waits; False when it waits no more. On PostgreSQL a second one waits here for the first."""
    statement = (
        update(opt_out_list)
        .where(opt_out_list.c.list_id == list_id, opt_out_list.c.state == "waiting")
        .values(state=state, closed_at=at, closed_by=by, clear=clear, opted_out=opted_out)
    )
    return tx.execute(statement).rowcount == 1


# What a list asks about ----------------------------------------------------------------------------------------------


def insert_asked(tx: Connection, list_id: int, asked: Sequence[tuple[int, str]]) -> None:
    """Ask, for records, about the numbers that they bear."""
    if asked:
        rows = [{"list_id": list_id, "record_id": one, "nhs_number": int(number)} for one, number in asked]
        tx.execute(insert(opt_out_asked), rows)


def asked_numbers(tx: Connection, list_id: int) -> Iterator[str]:
    """Yield each number that a list asks about once, in order."""
    column = opt_out_asked.c.nhs_number
    statement = select(column).where(opt_out_asked.c.list_id == list_id).distinct().order_by(column)
    for row in tx.execute(statement):
        yield f"{row[0]:010d}"


def count_asked(tx: Connection, list_id: int) -> int:
    statement = select(func.count(func.distinct(opt_out_asked.c.nhs_number)))
    return int(tx.execute(statement.where(opt_out_asked.c.list_id == list_id)).scalar_one())


def count_waiting(tx: Connection) -> int:
    """Return how many records are asked about by lists that no answer has closed."""
    return int(tx.execute(select(func.count()).select_from(opt_out_asked)).scalar_one())


def set_numbers(tx: Connection, list_id: int, numbers: int) -> str:
    """Say of how many numbers a list is, once it is whole; return its name."""
    statement = update(opt_out_list).where(opt_out_list.c.list_id == list_id).values(numbers=numbers)
    return str(tx.execute(statement.returning(opt_out_list.c.name)).scalar_one())


def hand_on_asked(tx: Connection, list_id: int, to: int, *, keep: int) -> None:
    """Leave the first ``keep`` numbers with a list and hand as many that come after them on to another one, which is then full or the last.

    So each number is handed on once, however many lists there are to be.
    """
    column = opt_out_asked.c.nhs_number
    mine = select(column).where(opt_out_asked.c.list_id == list_id).distinct().order_by(column)
    last_kept = tx.execute(mine.offset(keep - 1).limit(1)).scalar_one()
    last = tx.execute(mine.where(column > last_kept).offset(keep - 1).limit(1)).scalar()
    statement = update(opt_out_asked).where(opt_out_asked.c.list_id == list_id, column > last_kept)
    if last is not None:
        statement = statement.where(column <= last)
    tx.execute(statement.values(list_id=to))


def take_asked(tx: Connection, list_id: int) -> list[tuple[int, str]]:
    """Take away, and return, what a list asks about: of which record, and by which number."""
    statement = delete(opt_out_asked).where(opt_out_asked.c.list_id == list_id)
    rows = tx.execute(statement.returning(opt_out_asked.c.record_id, opt_out_asked.c.nhs_number))
    return [(row[0], f"{row[1]:010d}") for row in rows]


# Answers -------------------------------------------------------------------------------------------------------------


def answered_since(tx: Connection, record_ids: Collection[int], since: datetime) -> set[tuple[int, int]]:
    """Return for which of these records, and for which number's mark, there is an answer of that instant or later."""
    statement = select(opt_out_evidence.c.record_id, opt_out_evidence.c.number_key).where(
        opt_out_evidence.c.record_id.in_(list(record_ids)),
        opt_out_evidence.c.checked_at >= since,
        opt_out_evidence.c.number_key.is_not(None),
    )
    return {(row[0], row[1]) for row in tx.execute(statement)}


def put_answers(
    tx: Connection, answers: Iterable[OptOutAnswer], progress: Callable[[int], None] = lambda _: None
) -> None:
    """Keep answers in the place of older ones about the same records. Of two of one instant the one that opts out is kept."""
    rows = [
        {
            "record_id": one.record_id,
            "checked_at": one.checked_at,
            "state": one.state.value,
            "number_key": one.number_key,
        }
        for one in answers
    ]
    out = OptOutState.OPTED_OUT.value
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        ids = [row["record_id"] for row in part]
        held = {
            (row.record_id, row.checked_at)
            for row in tx.execute(
                select(opt_out_evidence.c.record_id, opt_out_evidence.c.checked_at).where(
                    opt_out_evidence.c.record_id.in_(ids), opt_out_evidence.c.state == out
                )
            )
        }
        fresh = [row for row in part if (row["record_id"], row["checked_at"]) not in held]
        upsert(tx, opt_out_evidence, fresh, key=["record_id", "checked_at"], update=["state", "number_key"])
        for at in {row["checked_at"] for row in part}:
            theirs = [row["record_id"] for row in part if row["checked_at"] == at]
            tx.execute(
                delete(opt_out_evidence).where(
                    opt_out_evidence.c.record_id.in_(theirs), opt_out_evidence.c.checked_at < at
                )
            )
        progress(len(part))
