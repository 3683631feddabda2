"""Match models as documents, and the changes of the one in force."""

from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from foundation.changes import Tables
from mpi.store.tables import link_decision, match_model, model_change, source_record

MODELS = Tables(match_model, model_change, "forecast")
revision_in_force = MODELS.revision_in_force


def count_since(tx: Connection, at: datetime) -> tuple[int, int, int]:
    """Return how many records there are, how many of them came or changed after an instant, and how many decisions were made or undone."""
    record, decision = source_record.c, link_decision.c
    records, changed = tx.execute(
        select(func.count(), func.count().filter(record.changed_at > at))
        .select_from(source_record)
        .where(record.state == "active")
    ).one()
    decided = tx.scalar(
        select(func.count())
        .select_from(link_decision)
        .where(or_(decision.decided_at > at, decision.undone_at > at))
    )
    return int(records), int(changed), int(decided or 0)
