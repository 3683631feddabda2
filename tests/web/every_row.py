"""Everything that a database holds, to say that a request changed nothing, or only what it had to."""

from sqlalchemy import select

from foundation.database import Database, metadata

Rows = dict[str, list[str]]


def every_row(db: Database) -> Rows:
    """Every row of every table, in an order that does not depend on where it lies."""
    with db.read() as tx:
        return {
            table.name: sorted(repr(tuple(row)) for row in tx.execute(select(table)))
            for table in metadata.sorted_tables
        }


def changed_tables(before: Rows, after: Rows) -> set[str]:
    """The tables in which a row came, went or changed."""
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}
