"""What tests of the audit log's tree need of a database that others share a cluster with."""

import time

from sqlalchemy import text

from foundation.database import Database

_ARE_SETTLED = """
    SELECT NOT EXISTS (
        SELECT 1 FROM audit_event
        WHERE txid >= (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + audit_txid_offset())::text::xid8
    )"""


def wait_until_settled(db: Database, seconds: float = 60.0) -> None:
    """Wait until the rows that are committed here can be sealed.

    On PostgreSQL an open transaction of any database of the cluster keeps them waiting, those of other tests among them.
    """
    if db.is_sqlite:
        return
    end = time.monotonic() + seconds
    while True:
        with db.read() as tx:
            if tx.execute(text(_ARE_SETTLED)).scalar_one():
                return
        assert time.monotonic() < end, "somebody's transaction stays open"
        time.sleep(0.02)
