"""A person as a decision needs it: what an id stands for, its members and what is open about it, by one statement."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from foundation.direct import Statement


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A record of a person, with the form from which age and death are read."""

    record_id: int
    organisation: str
    system: str
    local_id: str = field(repr=False)
    restricted: bool
    is_held: bool
    normalised: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WholeRow:
    """A record by its id, and the person that it is of, where there is one.

    ``is_bound``: an open binding task joins the person to another; ``is_doubted``: an open task says that its numbers conflict.
    """

    state: str
    person_id: int | None
    epoch: int
    is_bound: bool
    is_doubted: bool
    members: tuple[MemberRow, ...]


_WHOLE = Statement.alike(
    "WITH asked AS {materialised} (SELECT r.state, r.person_id, "
    "(SELECT p.epoch FROM person p WHERE p.person_id = r.person_id) AS epoch, "
    "EXISTS (SELECT 1 FROM source_record our_record JOIN task_member ours ON ours.record_id = our_record.record_id "
    "JOIN task t ON t.task_id = ours.task_id "
    "JOIN task_member theirs ON theirs.task_id = ours.task_id AND theirs.side <> ours.side "
    "JOIN source_record their_record ON their_record.record_id = theirs.record_id "
    "WHERE our_record.person_id = r.person_id AND t.state = 'open' AND t.is_binding "
    "AND their_record.person_id IS NOT NULL AND their_record.person_id <> r.person_id) AS is_bound, "
    "EXISTS (SELECT 1 FROM task t WHERE t.kind = 'number-conflict' AND t.subject = CAST(r.person_id AS varchar) "
    "AND t.state = 'open') AS is_doubted "
    "FROM source_record r WHERE r.record_id = {given}) "
    "SELECT asked.state, asked.person_id, asked.epoch, asked.is_bound, asked.is_doubted, "
    "m.record_id, m.organisation, m.system, m.local_id, m.restricted, COALESCE(m.held_version, m.held_change_id), m.normalised "
    "FROM asked LEFT JOIN source_record m ON m.person_id = asked.person_id AND asked.state = 'active'"
)


def read_whole(tx: Connection, record_id: int) -> WholeRow | None:
    """Return what an id stands for; None where no record ever had it. The members are in order of id."""
    rows = _WHOLE.rows(tx, record_id)
    if not rows:
        return None
    state, person_id, epoch, is_bound, is_doubted, *_ = rows[0]
    members = [
        MemberRow(row[5], row[6], row[7], row[8], bool(row[9]), row[10] is not None, row[11])
        for row in rows
        if row[5] is not None
    ]
    members.sort(key=lambda one: one.record_id)
    return WholeRow(state, person_id, epoch or 0, bool(is_bound), bool(is_doubted), tuple(members))
