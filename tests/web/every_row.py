"""Everything that a database holds, to say that a request changed nothing, or only what it had to."""

from collections import defaultdict
from functools import cache

from foundation.database import Database, metadata

Rows = dict[str, list[str]]


def every_row(db: Database) -> Rows:
    """Every row of every table in the database's words, in an order that does not depend on where it lies."""
    found: Rows = defaultdict(list)
    with db.read() as tx:
        cursor = tx.connection.cursor()
        if db.is_sqlite:
            for name in _tables():
                found[name] = sorted(map(repr, cursor.execute(f'select * from "{name}"')))
        else:  # told in one go: to ask eighty tables one after the other takes longer than most tests
            for name, row in cursor.execute(_all_of_postgresql()):
                found[name].append(row)
    return {name: sorted(found[name]) for name in _tables()}


@cache
def _tables() -> tuple[str, ...]:
    return tuple(sorted(table.name for table in metadata.sorted_tables))


@cache
def _all_of_postgresql() -> str:
    return " union all ".join(f"select '{name}', one::text from \"{name}\" one" for name in _tables())


def changed_tables(before: Rows, after: Rows) -> set[str]:
    """The tables in which a row came, went or changed."""
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}
