"""Recomputing: a decision made again from its audit row and the versions of facts that the row names, to explain it or to check it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import Connection

from consent import rules
from consent.facts import (
    Actor,
    CaseFile,
    Cell,
    Directive,
    EmergencyGrant,
    OptOutEvidence,
    OptOutState,
    Request,
    SourceSetting,
    Subject,
)
from consent.rules import Decision
from consent.service import trail
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.store import agreements as agreement_store
from consent.store import care as care_store
from consent.store.directives import read_directive
from foundation.audit import AuditEvent, read_event
from foundation.errors import Conflict, NotFound
from foundation.ids import format_id
from foundation.principal import Principal


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A decision made again. ``is_same``: outcome and determining rules are those that the row holds."""

    event: AuditEvent
    decision: Decision
    is_same: bool


def explain_event(consent: Consent, event_id: int, by: Principal) -> Recomputed:
    """Make the decision behind an audit row again; that someone asked for it is audited too.

    Raises:
        NotFound: ``decision-unknown`` when the row records no decision, or its personal parts were erased.
        Conflict: ``policy-not-kept`` when it was made under rules of which only the revision is known.
        Unavailable: ``policy-unreadable``.
    """

    def take(tx: Connection) -> Recomputed:
        event = read_event(tx, event_id)
        if event is None or event.detail is None or "facts" not in event.detail:
            raise NotFound("decision-unknown")
        made = recompute(tx, consent, event)
        trail.append(
            tx,
            "decision-explained",
            by,
            consent.clock.now(),
            person_id=event.person_id,
            detail={"event": format_id(event_id)},
        )
        return made

    return taken_again(consent, take)


def recompute(tx: Connection, consent: Consent, event: AuditEvent) -> Recomputed:
    """Build the case file of an audit row and decide it under the rules that the row names; see ``explain_event``."""
    detail: Mapping[str, Any] = event.detail or {}
    policy = consent.policies.kept(tx, detail["policy"][2])
    if policy is None:
        raise Conflict(
            "policy-not-kept", detail="Only the revision of the rules that it was made by is known."
        )
    decision = rules.decide(_case(tx, event, detail), policy)
    is_same = detail["determining"] == [finding.rule_id for finding in decision.determining] and (
        event.kind == "gate" or detail["outcome"] == decision.outcome.value
    )
    return Recomputed(event, decision, is_same)


def _case(tx: Connection, event: AuditEvent, detail: Mapping[str, Any]) -> CaseFile:
    facts = detail["facts"]
    asked, subject, organisations = facts["request"], facts["subject"], facts["organisations"]
    actor = Actor(
        user_id=facts["actor"]["user"],
        organisation=facts["actor"]["organisation"],
        role=facts["actor"]["role"],
        assurance=facts["actor"]["assurance"],
        activities=frozenset(facts["actor"]["activities"]),
    )
    return CaseFile(
        at=event.at,
        subject=Subject(
            person_id=int(subject["person"]),
            state=subject["state"],
            epoch=subject["epoch"],
            is_restricted=subject["restricted"],
            is_deceased=subject["deceased"],
            age_years=subject["age"],
            warned_sources=frozenset(subject["warned"]),
        ),
        actor=actor,
        request=Request(
            purpose=asked["purpose"],
            cells=read_cells(asked["cells"]),
            action=asked["action"],
            identified_by=asked["identified_by"],
            claimed_relationship=asked["claimed"],
            reason_code=asked["reason_code"],
            incident_id=asked["incident"],
            min_epoch=asked["min_epoch"],
        ),
        directives=tuple(
            _directive(tx, *written, via_task=via_task)
            for via_task, several in ((False, facts["directives"]), (True, facts["through_tasks"]))
            for written in several
        ),
        agreements=tuple(
            agreement_store.read_version(tx, int(number), version) for number, version in facts["agreements"]
        ),
        relationships=tuple(
            replace(care_store.read_relationship(tx, int(number)), ends_at=_instant(ends_at))
            for number, ends_at in facts["relationships"]
        ),
        sources={
            code: SourceSetting(code, kind, frozenset(categories), frozenset(labels))
            for code, (kind, categories, labels, _) in organisations.items()
            if kind is not None
        },
        lineages={code: frozenset(row[3]) | {code} for code, row in organisations.items()},
        opt_out=OptOutEvidence(OptOutState(facts["opt_out"][0]), datetime.fromisoformat(facts["opt_out"][1]))
        if facts["opt_out"]
        else None,
        emergency=_grant(facts["grant"], actor, int(subject["person"])),
        unreadable=frozenset(facts["unreadable"]),
    )


def _directive(
    tx: Connection, number: str, standing: str, withdrawn_at: str | None, *, via_task: bool
) -> Directive:
    found = read_directive(tx, int(number))
    if found is None:
        raise NotFound("decision-unknown")
    return replace(found.as_fact(via_task=via_task), standing=standing, withdrawn_at=_instant(withdrawn_at))


def _grant(row: list[Any] | None, actor: Actor, person_id: int) -> EmergencyGrant | None:
    if row is None:
        return None
    number, reason_code, opened_at, expires_at, renewals = row
    return EmergencyGrant(
        grant_id=int(number),
        person_id=person_id,
        user_id=actor.user_id,
        organisation=actor.organisation,
        reason_code=reason_code,
        opened_at=datetime.fromisoformat(opened_at),
        expires_at=datetime.fromisoformat(expires_at),
        renewals=renewals,
    )


def read_cells(written: Any) -> tuple[Cell, ...]:
    """Read what ``casefile.written_cells`` wrote."""
    if isinstance(written, list):
        return tuple(Cell(*parts) for parts in product(*written))
    return tuple(
        Cell(category, label, source)
        for source, labels in written.items()
        for label, categories in labels.items()
        for category in categories
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
