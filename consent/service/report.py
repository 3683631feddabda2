"""Who saw my record: the accesses to one person, read from the audit log, told to officers and to patients."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from consent.rules import Outcome, Policy
from consent.rules.decision import Texts
from consent.rules.explain import compose
from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from foundation.audit import AuditEvent, Sought, events_about, read_event, search_events
from foundation.errors import NotFound
from foundation.ids import format_id
from foundation.principal import Principal
from mpi.service.persons import resolve_person

_WORDS = {
    "decision": "asked",
    "release": "asked",
    "redemption": "saw",
    "redemption-repeated": "saw again",
    "redemption-replayed": "replayed",
    "release-inspected": "looked up by the record's holder",
    "ticket-refused": "refused",
    "emergency-opened": "opened emergency access",
    "emergency-renewed": "renewed emergency access",
    "emergency-refused": "asked for emergency access",
    "gate": "read identity",
    "directives-read": "read directives",
    "directive-recorded": "recorded a directive",
    "directive-withdrawn": "withdrew a directive",
    "directive-upheld": "upheld a directive",
    "directive-refused": "refused a directive",
    "directive-entered-in-error": "struck out a directive",
    "access-report": "read this report",
    "decision-explained": "had a decision explained",
}
"""The kinds of audit rows that a report tells, in words."""

_NOTHING_SEEN = {"redemption": "asked to see", "redemption-repeated": "asked to see again"}
"""What stands instead where nothing was let go."""


@dataclass(frozen=True, slots=True)
class SeenItem:
    item_id: str
    category: str
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class Access:
    """One act that touched the person's record."""

    event_id: int
    at: datetime
    kind: str
    act: str
    outcome: str
    organisation: str | None
    user_id: str | None = field(repr=False)
    role: str | None
    client_id: str | None
    purpose: str | None
    is_emergency: bool
    items: tuple[SeenItem, ...]
    request_id: str | None
    texts: Texts
    leaf_hash: str


TOLD = frozenset(_WORDS)
"""The kinds of audit rows that are told of a person."""


@dataclass(frozen=True, slots=True)
class ToldRow:
    """A row of the log that may be told, and to whom its person's id leads now; no one for a row whose personal parts were erased."""

    row: AuditEvent
    person_id: int | None
    texts: Texts


@dataclass(frozen=True, slots=True)
class AccessReport:
    person_id: int
    made_at: datetime
    since: datetime | None
    until: datetime | None
    accesses: tuple[Access, ...]


def access_report(
    consent: Consent,
    person_id: int,
    by: Principal,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AccessReport:
    """Tell who asked for and saw a person's record, oldest first; the making of the report is audited too.

    Accesses made under any id that is now part of this person are told. Texts never name what was hidden.

    Raises:
        NotFound: ``person-unknown``.
    """

    def take(tx: Connection) -> AccessReport:
        resolution = resolve_person(tx, person_id)
        if resolution.person_id is None:
            raise NotFound("person-unknown")
        now = consent.clock.now()
        rows = events_about(tx, {resolution.person_id, *resolution.record_ids}, since, until)
        accesses = tuple(_access(row, _policy_of(tx, consent, row)) for row in rows if row.kind in _WORDS)
        trail.append(
            tx,
            "access-report",
            by,
            now,
            person_id=resolution.person_id,
            detail={"accesses": len(accesses)},
        )
        return AccessReport(resolution.person_id, now, since, until, accesses)

    return taken_again(consent, take)


def search_accesses(
    consent: Consent,
    person_id: int,
    by: Principal,
    sought: Sought,
    *,
    parameters: Sequence[str],
    after: tuple[datetime, int] | None = None,
    limit: int,
) -> list[ToldRow]:
    """Tell some of what ``access_report`` tells, in order of time; each look is audited as the report is.

    Args:
        sought: kinds that a report does not tell are not told here either.
        parameters: the names of what was asked by, for the log.

    Raises:
        NotFound: ``person-unknown``.
    """

    def take(tx: Connection) -> list[ToldRow]:
        resolution = resolve_person(tx, person_id)
        person = resolution.person_id
        if person is None:
            raise NotFound("person-unknown")
        told = replace(sought, kinds=sought.kinds & TOLD)
        rows = search_events(tx, {person, *resolution.record_ids}, told, after=after, limit=limit)
        detail = {"accesses": len(rows), "parameters": list(parameters)}
        trail.append(tx, "access-report", by, consent.clock.now(), person_id=person, detail=detail)
        return [_told_row(tx, consent, row, person) for row in rows]

    return taken_again(consent, take)


def read_access(consent: Consent, event_id: int, by: Principal) -> ToldRow:
    """Tell one row that a report tells or, before its personal parts were erased, may have told; the look is audited.

    Raises:
        NotFound: ``audit-event-unknown``, for a row too that no report tells, or whose person is nobody now.
    """

    def take(tx: Connection) -> ToldRow:
        row = read_event(tx, event_id)
        if row is None or row.kind not in TOLD:
            raise NotFound("audit-event-unknown")
        person = None
        if row.detail is not None:
            found = resolve_person(tx, row.person_id or 0)
            person = found.person_id
            if person is None or row.person_id not in {person, *found.record_ids}:
                raise NotFound("audit-event-unknown")
        detail = {"accesses": 1, "event": format_id(event_id)}
        trail.append(tx, "access-report", by, consent.clock.now(), person_id=person, detail=detail)
        return _told_row(tx, consent, row, person)

    return taken_again(consent, take)


def _told_row(tx: Connection, consent: Consent, row: AuditEvent, person_id: int | None) -> ToldRow:
    if row.detail is None:
        return ToldRow(row, person_id, Texts("", "", ""))
    return ToldRow(row, person_id, _access(row, _policy_of(tx, consent, row)).texts)


def _policy_of(tx: Connection, consent: Consent, row: AuditEvent) -> Policy:
    """The policy that a row was decided by, whose words are told; where that is not kept, or none was, the one in force."""
    named = (row.detail or {}).get("policy")
    found = consent.policies.kept(tx, named[2]) if named else None
    return found or consent.policies.at(tx)


def _access(row: AuditEvent, policy: Policy) -> Access:
    detail = row.detail or {}
    told = detail.get("outcome")
    outcome = Outcome(str(told)) if told in Outcome.__members__ else None
    if outcome is not None and row.kind.startswith("redemption") and row.outcome == "denied":
        outcome = Outcome.DENY
    return Access(
        event_id=row.event_id,
        at=row.at,
        kind=row.kind,
        act=_NOTHING_SEEN.get(row.kind, _WORDS[row.kind]) if row.outcome == "denied" else _WORDS[row.kind],
        outcome=outcome.value if outcome is not None else row.outcome,
        organisation=row.organisation,
        user_id=row.actor_id,
        role=row.actor_role,
        client_id=row.client_id,
        purpose=row.purpose,
        is_emergency=row.purpose == "BTG",
        items=tuple(SeenItem(*map(str, item)) for item in detail.get("items", ())),
        request_id=row.request_id,
        texts=compose(outcome, row.reasons, policy) if outcome is not None else Texts("", "", ""),
        leaf_hash=row.leaf_hash,
    )
