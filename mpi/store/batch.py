"""One statement for many ids on both databases: an array on PostgreSQL, a JSON list on SQLite."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY


def within(tx: Connection, column: ColumnElement[Any], numbers: Collection[int]) -> ColumnElement[bool]:
    """Say that a column is one of these numbers; the statement's text does not grow with them, so it is prepared once."""
    if tx.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(list(numbers))).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == func.any(bindparam(None, list(numbers), type_=ARRAY(BigInteger)))
