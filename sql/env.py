"""Alembic's environment: runs inside the transaction that foundation.migrations opened."""

from alembic import context

from foundation.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=False,
)
context.run_migrations()
