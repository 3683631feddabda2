"""Relationships: evidence of care, recorded and ended by the organisation that gives it."""

from dataclasses import dataclass, field
from datetime import datetime

from consent.facts import Relationship, codes
from consent.service import trail
from consent.service.context import Consent
from consent.store import care as care_store
from foundation.errors import Forbidden, Invalid, NotFound
from foundation.ids import format_id, new_id
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.service.activity import CARED, cared_payload
from mpi.service.persons import resolve_person


@dataclass(frozen=True, slots=True)
class NewRelationship:
    """Care of a person by an organisation, or by one user of it. ``ends_at`` already holds any grace."""

    person_id: int
    kind: str
    organisation: str
    user_id: str | None = field(default=None, repr=False)
    incident_id: str | None = None
    started_at: datetime | None = None
    ends_at: datetime | None = None


def record_relationship(consent: Consent, new: NewRelationship, by: Principal) -> Relationship:
    """Record evidence of care.

    It is anchored to the organisation's own record of the person, if it has one, so that a wrong join taken back takes the evidence
    to the right side.

    Raises:
        Invalid: ``relationship-kind-unknown``, ``end-before-start``. Forbidden: ``organisation-not-yours``. NotFound: ``person-unknown``.
    """
    if new.kind not in codes.RELATIONSHIP_KINDS:
        raise Invalid("relationship-kind-unknown", field="kind")
    if not by.may_act_for(new.organisation):
        raise Forbidden("organisation-not-yours", field="organisation")
    now = consent.clock.now()
    started_at = new.started_at or now
    if new.ends_at is not None and new.ends_at < started_at:
        raise Invalid("end-before-start", field="ends_at")
    with consent.db.write() as tx:
        resolution = resolve_person(tx, new.person_id)
        if not resolution.is_current:
            raise NotFound("person-unknown")
        own = [m.record_id for m in resolution.members if m.organisation == new.organisation]
        fact = Relationship(
            relationship_id=new_id(),
            kind=new.kind,
            organisation=new.organisation,
            started_at=started_at,
            ends_at=new.ends_at,
            user_id=new.user_id,
            incident_id=new.incident_id,
        )
        record_id = new.person_id if new.person_id in own else min(own, default=new.person_id)
        care_store.insert_relationship(tx, fact, record_id=record_id, recorded_at=now, recorded_by=by.id)
        emit(tx, CARED, record_id, cared_payload(record_id, fact.kind))
        trail.append(
            tx,
            "relationship-recorded",
            by,
            now,
            person_id=resolution.person_id,
            detail={"relationship_id": format_id(fact.relationship_id), "kind": fact.kind},
        )
        return fact


def end_relationship(
    consent: Consent, person_id: int, kind: str, organisation: str, ends_at: datetime, by: Principal
) -> int:
    """End an organisation's relationships of one kind with a person (a discharge, a hand-over); return how many.

    Raises:
        Forbidden: ``organisation-not-yours``. NotFound: ``person-unknown``.
    """
    if not by.may_act_for(organisation):
        raise Forbidden("organisation-not-yours", field="organisation")
    with consent.db.write() as tx:
        resolution = resolve_person(tx, person_id)
        if not resolution.is_current:
            raise NotFound("person-unknown")
        ended = care_store.end_relationships(
            tx, resolution.record_ids, kind=kind, organisation=organisation, ends_at=ends_at
        )
        trail.append(
            tx,
            "relationship-ended",
            by,
            consent.clock.now(),
            person_id=resolution.person_id,
            detail={"kind": kind, "organisation": organisation, "ended": ended},
        )
        return ended
