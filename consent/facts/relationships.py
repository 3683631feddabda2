"""Relationships: evidence that someone is being cared for, created and ended by events."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Relationship:
    """Care of the subject by an organisation, or by one user of it.

    ``ends_at`` already holds any grace (a hand-over plus the time to write it up). ``incident_id`` ties an ambulance
    relationship to one call: a request that names another incident cannot use it.
    """

    relationship_id: int
    kind: str
    organisation: str
    started_at: datetime
    ends_at: datetime | None = None
    user_id: str | None = None
    incident_id: str | None = None

    def is_current(self, at: datetime) -> bool:
        return self.started_at <= at and (self.ends_at is None or at < self.ends_at)
