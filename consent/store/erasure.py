"""What the consent wing holds of a record that is erased: anchors, facts of care, and words that people wrote."""

from collections.abc import Callable, Collection, Iterable

from sqlalchemy import Column, Connection, Table, delete, insert, select, update

from consent.store.tables import (
    alert,
    celebrity_anchor,
    celebrity_entry,
    directive,
    directive_anchor,
    directive_event,
    emergency_grant,
    opt_out_asked,
    opt_out_evidence,
    opt_out_list,
    relationship,
    release_ticket,
    release_use,
)
from foundation.database import upsert

ERASED = "[erased]"
"""What stands where words were that quoted an erased record."""

Quotes = Callable[[str | None], bool]


def add_anchors(tx: Connection, directive_id: int, record_ids: Iterable[int]) -> None:
    rows = [{"record_id": number, "directive_id": directive_id} for number in sorted(record_ids)]
    tx.execute(insert(directive_anchor), rows)


def remove_anchors(tx: Connection, record_id: int) -> int:
    return tx.execute(delete(directive_anchor).where(directive_anchor.c.record_id == record_id)).rowcount


def forget_asked(tx: Connection, record_id: int) -> int:
    """Take a record out of the lists that wait for the national opt-out service's answer; return how many there were.

    It comes before the record's answers are touched: an answer that is being read holds these rows, and is waited for.
    """
    gone = delete(opt_out_asked).where(opt_out_asked.c.record_id == record_id)
    lists = list(tx.scalars(gone.returning(opt_out_asked.c.list_id)))
    taken_back = opt_out_list.c.taken_back + 1
    tx.execute(update(opt_out_list).where(opt_out_list.c.list_id.in_(lists)).values(taken_back=taken_back))
    return len(lists)


def hand_over_care(tx: Connection, record_id: int, to: int) -> int:
    """Let another record of the same person bear the relationships, emergency access and opt-out answers of this one, and its alerts.

    Alerts are not among what is counted: some of them are not for everybody to know of.
    """
    tx.execute(update(alert).where(alert.c.person_id == record_id).values(person_id=to))
    moved = 0
    for table in (relationship, emergency_grant):
        moved += tx.execute(update(table).where(table.c.record_id == record_id).values(record_id=to)).rowcount
    answers = tx.execute(select(opt_out_evidence).where(opt_out_evidence.c.record_id == record_id)).all()
    for answer in answers:
        known = select(opt_out_evidence.c.state).where(
            opt_out_evidence.c.record_id == to, opt_out_evidence.c.checked_at == answer.checked_at
        )
        # Of two answers of one instant the one that opts out stands.
        if tx.execute(known).scalar() == "opted-out":
            continue
        row = {**answer._mapping, "record_id": to}
        upsert(tx, opt_out_evidence, [row], key=["record_id", "checked_at"], update=["state", "number_key"])
    tx.execute(delete(opt_out_evidence).where(opt_out_evidence.c.record_id == record_id))
    return moved + len(answers)


def end_care(tx: Connection, record_id: int) -> int:
    """Take away what is known of the care of someone of whom no record is left; who was let in, and by what code, stays."""
    facts = tx.execute(
        update(relationship).where(relationship.c.record_id == record_id).values(incident_id=None)
    ).rowcount
    facts += tx.execute(
        update(emergency_grant).where(emergency_grant.c.record_id == record_id).values(reason=ERASED)
    ).rowcount
    statement = delete(opt_out_evidence).where(opt_out_evidence.c.record_id == record_id)
    return facts + tx.execute(statement).rowcount


def blank_words(
    tx: Connection,
    record_ids: Collection[int],
    person_ids: Collection[int],
    directive_ids: Collection[int],
    quotes: Quotes,
) -> int:
    """Blank the reasons and references around some records, persons and directives that quote what is erased; return how many."""
    records, persons, directives = list(record_ids), list(person_ids), list(directive_ids)
    anchored = select(celebrity_anchor.c.entry_id).where(celebrity_anchor.c.record_id.in_(records))
    entries = list(tx.scalars(anchored))
    places: tuple[tuple[Table, Column[int], Column[int], list[int], tuple[str, ...]], ...] = (
        (emergency_grant, emergency_grant.c.grant_id, emergency_grant.c.record_id, records, ("reason",)),
        (alert, alert.c.alert_id, alert.c.person_id, [*records, *persons], ("reason", "comment")),
        (celebrity_entry, celebrity_entry.c.entry_id, celebrity_entry.c.entry_id, entries, ("reason",)),
        (directive, directive.c.directive_id, directive.c.directive_id, directives, ("evidence", "reason")),
        (
            directive_event,
            directive_event.c.event_id,
            directive_event.c.directive_id,
            directives,
            ("reason",),
        ),
    )
    blanked = 0
    for table, key, owner, owners, names in places:
        for row in tx.execute(select(key, *(table.c[name] for name in names)).where(owner.in_(owners))).all():
            found = {name: ERASED for name, words in zip(names, row[1:], strict=True) if quotes(words)}
            if found:
                tx.execute(update(table).where(key == row[0]).values(found))
                blanked += len(found) if table is not celebrity_entry else 0  # nobody is to count these
    return blanked


def remove_tickets(
    tx: Connection, person_ids: Collection[int], record_id: int, quotes: Callable[[object], bool]
) -> int:
    """Remove the tickets about these persons that name the record or quote it, with their use; whoever holds one must ask again."""
    found = tx.execute(
        select(release_ticket.c.ticket_id, release_ticket.c.asked_by, release_use.c.answer)
        .select_from(
            release_ticket.outerjoin(release_use, release_use.c.ticket_id == release_ticket.c.ticket_id)
        )
        .where(release_ticket.c.person_id.in_(list(person_ids)))
    ).all()
    ids = [
        row.ticket_id
        for row in found
        if record_id in row.asked_by.get("records", ()) or quotes(row.asked_by) or quotes(row.answer)
    ]
    for table in (release_use, release_ticket):
        for start in range(0, len(ids), 500):
            tx.execute(delete(table).where(table.c.ticket_id.in_(ids[start : start + 500])))
    return len(ids)
