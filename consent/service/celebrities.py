"""The celebrity list: people whom many are curious about, put on and taken off by privacy officers, and shown to nobody else."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import Connection

from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.service.staff import theirs
from consent.store import celebrities as store
from consent.store.celebrities import CelebrityEntry
from foundation.auth.roles import PRIVACY_ROLES
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import format_id, new_id
from foundation.principal import Principal
from mpi.service.persons import resolve_person, resolve_records


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry, and the persons who hold its records now: one, several after a split, none while they are being linked."""

    entry: CelebrityEntry
    person_ids: tuple[int, ...] = field(repr=False)


def is_privacy_officer(by: Principal) -> bool:
    """Whether this is a privacy officer in person: a system is none, whatever its scopes."""
    return by.kind == "person" and by.role in PRIVACY_ROLES


def list_celebrities(consent: Consent, by: Principal) -> list[Listed]:
    """Return who stands on the list of the officer's organisations; the look is audited.

    Raises:
        Forbidden: ``privacy-officer-needed``.
    """
    _check(by)

    def take(tx: Connection) -> list[Listed]:
        found = store.read_entries(tx, theirs(by))
        trail.append(tx, "celebrities-read", by, consent.clock.now())
        return [_listed(tx, one) for one in found]

    return taken_again(consent, take)


def list_celebrity(consent: Consent, person_id: int, reason: str, review_on: date, by: Principal) -> Listed:
    """Put a person on the list, by the records that make them now: the entry stays with these through merges and splits.

    What the audit log keeps of it names the entry and nobody: who is on the list is told by the list alone.

    Raises:
        Forbidden: ``privacy-officer-needed``. NotFound: ``person-unknown``. Conflict: ``celebrity-listed``, by the officer's own
            organisation: that another has listed somebody is not told. Invalid: ``reason-missing``, ``review-date-past``.
    """
    _check(by)
    words = reason.strip()
    if not words or len(words) > 500:
        raise Invalid("reason-missing", field="reason")
    now = consent.clock.now()
    if review_on <= consent.mpi.today():
        raise Invalid("review-date-past", field="review_on")

    def take(tx: Connection) -> Listed:
        resolution = resolve_person(tx, person_id)
        if not resolution.is_current:
            raise NotFound("person-unknown")
        anchors = frozenset(resolution.record_ids)
        if any(not anchors.isdisjoint(one.anchors) for one in store.read_entries(tx, {by.organisation})):
            raise Conflict("celebrity-listed")
        made = CelebrityEntry(
            new_id(), by.organisation, words, review_on, now, by.id, anchors=tuple(sorted(anchors))
        )
        store.insert_entry(tx, made)
        trail.append(tx, "celebrity-listed", by, now, detail={"entry_id": format_id(made.entry_id)})
        return _listed(tx, made)

    return taken_again(consent, take)


def unlist_celebrity(consent: Consent, entry_id: int, by: Principal) -> None:
    """Take somebody off the list. Alerts that were raised stay, and the entry without whom it was of or why.

    Raises:
        Forbidden: ``privacy-officer-needed``. NotFound: ``entry-unknown``, also for another organisation's and one that has ended.
    """
    _check(by)

    def take(tx: Connection) -> None:
        entry = store.find_entry(tx, entry_id)
        own = theirs(by)
        if entry is None or entry.ended_at is not None or (own is not None and entry.organisation not in own):
            raise NotFound("entry-unknown")
        now = consent.clock.now()
        store.end_entry(tx, entry_id, now, by.id)
        trail.append(tx, "celebrity-unlisted", by, now, detail={"entry_id": format_id(entry_id)})

    return taken_again(consent, take)


def listed_among(tx: Connection, person_ids: Collection[int]) -> dict[int, datetime]:
    """Return which of some person ids, old ones too, now stand for somebody on anybody's list, and since when."""
    entries = store.read_entries(tx)
    if not entries:
        return {}
    since: dict[int, datetime] = {}
    holders = resolve_records(tx, {number for one in entries for number in one.anchors})
    for one in entries:
        for number in one.anchors:
            holder = holders.get(number)
            if holder is not None:
                since[holder] = min(since.get(holder, one.listed_at), one.listed_at)
    current = resolve_records(tx, person_ids)
    return {
        number: since[holder] for number, holder in current.items() if holder is not None and holder in since
    }


def share_entries(tx: Connection, record_id: int, others: Collection[int]) -> None:
    """Let entries of a record that is withdrawn hold other records too: whoever these are, they stay listed."""
    for one in store.entries_of_record(tx, record_id):
        store.add_anchors(tx, one.entry_id, frozenset(others) - frozenset(one.anchors))


def hand_over(tx: Connection, record_id: int, kin: Collection[int], at: datetime) -> int:
    """Hand entries of a record that is erased on to the person's other records; one that hung on it alone ends.

    Returns how many.
    """
    entries = store.entries_of_record(tx, record_id)
    for one in entries:
        store.add_anchors(tx, one.entry_id, frozenset(kin) - frozenset(one.anchors))
    store.remove_anchors_of(tx, record_id)
    for one in entries:
        if not kin and one.anchors == (record_id,):
            store.end_entry(tx, one.entry_id, at, "erasure")
    return len(entries)


def _check(by: Principal) -> None:
    if not is_privacy_officer(by):
        raise Forbidden("privacy-officer-needed")


def _listed(tx: Connection, entry: CelebrityEntry) -> Listed:
    holders = resolve_records(tx, entry.anchors).values()
    return Listed(entry, tuple(sorted({number for number in holders if number is not None})))
