"""Alembic's environment: runs inside the transaction that foundation.migrations opened."""

from typing import Any

from alembic import context
from sqlalchemy import BigInteger

from foundation.database import Json, UtcDateTime, metadata

# A landed revision must not change when our types do, so it spells out what they are in SQL.
_SPELLED = {UtcDateTime: "sa.DateTime(timezone=True)", Json: "sa.Text()"}


def _render(kind: str, item: Any, _context: Any) -> str | bool:
    if kind == "type":
        if type(item) in _SPELLED:
            return _SPELLED[type(item)]
        if isinstance(item, BigInteger):
            is_id = "sqlite" in item._variant_mapping
            return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")' if is_id else "sa.BigInteger()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_item=_render,
)
context.run_migrations()
