"""Recomputing: a decision made again from its audit row and the versions of facts that the row names, to explain it or to check it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self, TypeVar

from sqlalchemy import Connection

from consent import rules
from consent.facts import (
    Actor,
    Agreement,
    CaseFile,
    Cell,
    Directive,
    EmergencyGrant,
    OptOutEvidence,
    OptOutState,
    Relationship,
    Request,
    SourceSetting,
    Subject,
    every_cell,
)
from consent.rules import Decision, Judgement
from consent.service import trail
from consent.service.casefile import grouped
from consent.service.context import Consent
from consent.service.order import taken_again
from consent.store import agreements as agreement_store
from consent.store import care as care_store
from consent.store import directives as directive_store
from foundation.audit import AuditEvent, read_event
from foundation.errors import Conflict, NotFound
from foundation.ids import format_id
from foundation.principal import Principal

K = TypeVar("K")
V = TypeVar("V")


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
    try:
        case = case_of(event.at, detail["facts"], KeptFacts().read(tx, [detail["facts"]]))
    except FactGone as fault:
        raise NotFound("decision-unknown") from fault
    decision = rules.decide(case, policy)
    return Recomputed(event, decision, is_as_recorded(event.kind, detail, decision))


def is_as_recorded(kind: str, detail: Mapping[str, Any], decision: Decision | Judgement) -> bool:
    """Whether a decision made again has the outcome, the determining rules and the permitted cells that its row holds."""
    return bool(
        detail["determining"] == [finding.rule_id for finding in decision.determining]
        and (kind == "gate" or detail["outcome"] == decision.outcome.value)
        and detail["permitted"]
        == (_shown(decision) if isinstance(decision, Judgement) else grouped(decision.permitted))
    )


def _shown(judgement: Judgement) -> dict[str, dict[str, list[str]]]:
    """As ``grouped`` of what is permitted."""
    found: dict[str, dict[str, list[str]]] = {}
    for category, source in sorted(judgement.shown):
        by_label = found.setdefault(source, {})
        for label in judgement.shown[category, source]:
            by_label.setdefault(label, []).append(category)
    return found


class FactGone(Exception):
    """A fact that a row names is not there any more: its source record was erased."""


class KeptFacts:
    """The facts that audit rows name by id, as they write it, and version, read for many rows at once."""

    def __init__(self) -> None:
        self.directives: dict[tuple[str, bool], Directive] = {}
        self.agreements: dict[tuple[str, int], Agreement] = {}
        self.relationships: dict[str, Relationship] = {}

    def directive(self, number: str, standing: str, withdrawn_at: str | None, *, via_task: bool) -> Directive:
        """Return a directive as it stood by then.

        Raises:
            FactGone.
        """
        found = _there(self.directives, (number, via_task))
        at = None if withdrawn_at is None else datetime.fromisoformat(withdrawn_at)
        if found.standing == standing and found.withdrawn_at == at:
            return found
        return replace(found, standing=standing, withdrawn_at=at)

    def relationship(self, number: str, ends_at: str | None) -> Relationship:
        """Return a relationship as it stood by then.

        Raises:
            FactGone.
        """
        found = _there(self.relationships, number)
        at = None if ends_at is None else datetime.fromisoformat(ends_at)
        return found if found.ends_at == at else replace(found, ends_at=at)

    def agreement(self, number: str, version: int) -> Agreement:
        """Return a version of an agreement.

        Raises:
            FactGone.
        """
        return _there(self.agreements, (number, version))

    def read(self, tx: Connection, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Read what these rows name, in the place of what was read of rows before; versions of agreements stay, as they never change."""
        directives: set[str] = set()
        relationships: set[str] = set()
        agreements: set[tuple[str, int]] = set()
        for facts in rows:
            for part, _ in _DIRECTIVES:
                directives.update([one[0] for one in facts[part]])
            relationships.update([one[0] for one in facts["relationships"]])
            agreements.update(map(tuple, facts["agreements"]))
        self.directives = {
            (str(one.row.directive_id), via_task): one.as_fact(via_task=via_task)
            for one in directive_store.read_directives(tx, set(map(int, directives)))
            for via_task in (False, True)
        }
        found = care_store.read_relationships(tx, set(map(int, relationships)))
        self.relationships = {str(number): one for number, one in found.items()}
        missing = {(int(number), version) for number, version in agreements - self.agreements.keys()}
        for (number, version), one in agreement_store.read_versions(tx, missing).items():
            self.agreements[str(number), version] = one
        return self


_DIRECTIVES = (("directives", False), ("through_tasks", True))


def _there(kept: Mapping[K, V], key: K) -> V:
    found = kept.get(key)
    if found is None:
        raise FactGone
    return found


def case_of(at: datetime, facts: Mapping[str, Any], kept: KeptFacts) -> CaseFile:
    """Build the case file that a row's facts tell of.

    Raises:
        FactGone: a directive, an agreement or a relationship that it names.
    """
    asked, subject, organisations = facts["request"], facts["subject"], facts["organisations"]
    actor = Actor(
        user_id=facts["actor"]["user"],
        organisation=facts["actor"]["organisation"],
        role=facts["actor"]["role"],
        assurance=facts["actor"]["assurance"],
        activities=frozenset(facts["actor"]["activities"]),
    )
    return CaseFile(
        at=at,
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
            kept.directive(*written, via_task=via_task)
            for part, via_task in _DIRECTIVES
            for written in facts[part]
        ),
        agreements=tuple(kept.agreement(*written) for written in facts["agreements"]),
        relationships=tuple(kept.relationship(*written) for written in facts["relationships"]),
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
        return every_cell(*map(tuple, written))
    return tuple(
        Cell(category, label, source)
        for source, labels in written.items()
        for label, categories in labels.items()
        for category in categories
    )
