"""Decide: may this be seen? One transaction, one audit row, then the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from consent import rules
from consent.facts import Actor, CaseFile, Cell, Request
from consent.rules import Decision
from consent.service import trail
from consent.service.asking import Ask, acting_principal, actor_of, request_of
from consent.service.casefile import Reading, read_case, sources_of
from consent.service.context import Consent
from consent.service.order import decide_under_lock
from foundation.audit import AuditReceipt
from foundation.errors import Invalid, Unavailable
from foundation.ids import format_id, new_id
from foundation.principal import Principal
from mpi.service.persons import Resolution
from mpi.service.whole import WholePerson


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision that was audited. ``shown`` are the permitted cells."""

    decision_id: int
    decision: Decision
    shown: tuple[Cell, ...]
    receipt: AuditReceipt

    @property
    def leaf_hash(self) -> str:
        return self.receipt.leaf_hash


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision inside its transaction, not yet audited."""

    decision_id: int
    decision: Decision
    shown: tuple[Cell, ...]
    reading: Reading = field(repr=False)


def decide(consent: Consent, ask: Ask, by: Principal) -> Answer:
    """Decide one question about one person.

    A denial is an answer. A person who is not there, and one who must not be known of, get the same one.

    Raises:
        Invalid, Forbidden: the caller may not speak so (see ``actor_of``).
        Unavailable: ``audit-unavailable``, ``person-moving``, ``database-busy``; nothing was decided.
    """
    actor = actor_of(by, ask.user)

    def act(tx: Connection, whole: WholePerson) -> Answer:
        decided = decide_in(tx, consent, whole, ask, actor)
        receipt = audit_decision(tx, consent, whole.resolution, ask, actor, by, decided)
        return Answer(decided.decision_id, decided.decision, decided.shown, receipt)

    return decide_under_lock(consent, ask.person_id, act)


MOST_PEOPLE = 1_000
"""Who may stand on one worklist."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What came of one person of a worklist: an answer, or why there is none yet. ``person_id`` is as it was asked."""

    person_id: int
    answer: Answer | None
    code: str | None = None


def decide_worklist(
    consent: Consent, ask: Ask, people: Sequence[tuple[int, int]], by: Principal
) -> list[Listed]:
    """Decide one question about each person of a worklist, each in a transaction and with an audit row of its own, as ``decide`` does.

    Args:
        ask: the question; whom it is about is told by ``people``.
        people: ids, each with the epoch that its decision must not be older than.

    Raises:
        Invalid: ``people-repeated``; others as ``decide``.
        Forbidden: as ``decide``.
        Unavailable: ``audit-unavailable``, ``database-busy``: nothing is answered, though some may have been decided. Somebody who moves
            again and again (``person-moving``) is told of alone.
    """
    if len({person_id for person_id, _ in people}) < len(people):
        raise Invalid("people-repeated", field="people")
    found = []
    for person_id, min_epoch in people:
        try:
            answer = decide(consent, replace(ask, person_id=person_id, min_epoch=min_epoch), by)
        except Unavailable as fault:
            if fault.code != "person-moving":
                raise
            found.append(Listed(person_id, None, fault.code))
        else:
            found.append(Listed(person_id, answer))
    return found


def decide_in(
    tx: Connection,
    consent: Consent,
    whole: WholePerson,
    ask: Ask,
    actor: Actor,
    *,
    sources: tuple[str, ...] | None = None,
) -> Decided:
    """Read the facts and decide, in a transaction that holds the person's lock."""
    chosen = sources if sources is not None else ask.sources
    request = request_of(ask, chosen or sources_of(whole.resolution), are_named=bool(chosen))
    reading = read_case(tx, consent, whole, actor, request, ask.person_id)
    if not chosen:
        reading = _without_untold(reading)
    decision = rules.decide(reading.case, reading.policy)
    return Decided(new_id(), decision, decision.permitted, reading)


def redecide_in(
    tx: Connection, consent: Consent, whole: WholePerson, actor: Actor, request: Request, asked_id: int
) -> Decided:
    """Decide an earlier question again, over the facts of this moment."""
    reading = read_case(tx, consent, whole, actor, request, asked_id)
    decision = rules.decide(reading.case, reading.policy)
    return Decided(new_id(), decision, decision.permitted, reading)


def _without_untold(reading: Reading) -> Reading:
    """Leave out of the question the sources that the caller did not name and whose knowing the person may not be told.

    So they show in nothing: not in what is permitted, nor in the outcome, the reasons or the obligations. Where nobody else knows the
    person, the question is that of the knowing itself: nothing is permitted, and the answer says whether an emergency would help.
    """
    case, labels = reading.case, reading.organisations.membership_labels
    guarded = {
        source: Cell("membership", labels[source], source)
        for source in {source for _, _, source in case.request.cells}
        if labels.get(source, "N") != "N"
    }
    if not guarded:
        return reading
    knowing = tuple(guarded[source] for source in sorted(guarded))
    told = {source for _, source in rules.judge(_about(case, knowing), reading.policy).shown}
    untold = guarded.keys() - told
    cells = tuple(cell for cell in case.request.cells if cell.source not in untold)
    return replace(reading, case=_about(case, cells or knowing))


def _about(case: CaseFile, cells: tuple[Cell, ...]) -> CaseFile:
    return replace(case, request=replace(case.request, cells=cells))


def audit_decision(
    tx: Connection,
    consent: Consent,
    resolution: Resolution,
    ask: Ask,
    actor: Actor,
    by: Principal,
    decided: Decided,
    *,
    kind: str = "decision",
    more: Mapping[str, object] | None = None,
) -> AuditReceipt:
    """Append the decision's audit row and raise its alerts."""
    decision = decided.decision
    detail = trail.decision_detail(decided.decision_id, decision, decided.reading.versions())
    detail |= {
        "asked": format_id(ask.person_id),
        **(more or {}),
    }
    receipt = trail.append(
        tx,
        kind,
        acting_principal(by, actor),
        decision.evaluated_at,
        outcome=trail.outcome_of(decision),
        person_id=resolution.person_id,
        purpose=ask.purpose,
        reasons=decision.told,
        detail=detail,
    )
    found = set(decision.alerts)
    if decided.reading.is_bound_too_widely:
        found.add("bound-too-widely")
    if found and resolution.person_id is not None:
        trail.raise_alerts(
            tx,
            consent,
            found,
            person_id=resolution.person_id,
            actor=actor,
            decision_id=decided.decision_id,
            reason_code=ask.reason_code,
            reason=ask.reason,
        )
    return receipt
