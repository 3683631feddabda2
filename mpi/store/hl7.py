"""HL7 v2: who sends, and which of its messages were kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from foundation.database import insert_ignore
from mpi.store.tables import hl7_feed, hl7_message


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A sender; ``reading`` is JSON of how its messages are read."""

    feed_id: int
    application: str
    facility: str
    organisation: str
    system: str
    reading: str
    state: str
    changed_by: str
    changed_at: datetime


def insert_feed(tx: Connection, row: FeedRow) -> bool:
    """Add a sender; False where its application and facility are there already."""
    values = {name: getattr(row, name) for name in FeedRow.__slots__}
    return insert_ignore(tx, hl7_feed, [values], ["application", "facility"]) == 1


def update_feed(tx: Connection, feed_id: int, values: Mapping[str, Any]) -> None:
    tx.execute(update(hl7_feed).where(hl7_feed.c.feed_id == feed_id).values(**values))


def read_feed(tx: Connection, application: str, facility: str) -> FeedRow | None:
    found = select(hl7_feed).where(hl7_feed.c.application == application, hl7_feed.c.facility == facility)
    row = tx.execute(found).first()
    return None if row is None else FeedRow(*row)


def get_feed(tx: Connection, feed_id: int, *, for_update: bool = False) -> FeedRow | None:
    found = select(hl7_feed).where(hl7_feed.c.feed_id == feed_id)
    row = tx.execute(found.with_for_update() if for_update else found).first()
    return None if row is None else FeedRow(*row)


def list_feeds(tx: Connection) -> list[FeedRow]:
    found = select(hl7_feed).order_by(hl7_feed.c.application, hl7_feed.c.facility)
    return [FeedRow(*row) for row in tx.execute(found)]


def note_message(tx: Connection, feed_id: int, control_id: str, digest: bytes, at: datetime) -> bytes | None:
    """Write a message down; return None, or the digest under which one of this id is there already.

    Who writes the same one at that moment is waited for.
    """
    row = {"feed_id": feed_id, "control_id": control_id, "digest": digest, "received_at": at}
    if insert_ignore(tx, hl7_message, [row], ["feed_id", "control_id"]):
        return None
    mine = (hl7_message.c.feed_id == feed_id, hl7_message.c.control_id == control_id)
    known: bytes | None = tx.scalar(select(hl7_message.c.digest).where(*mine))
    if known is None:  # purged between the two statements
        tx.execute(insert(hl7_message), row)
    return known


def purge_messages(tx: Connection, before: datetime) -> int:
    """Forget messages that were kept before an instant; return how many."""
    return tx.execute(delete(hl7_message).where(hl7_message.c.received_at < before)).rowcount
