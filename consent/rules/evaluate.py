"""The decision: a pure function of a case file and a policy; tier by tier, cell by cell, deny unless permitted."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from consent.facts import codes
from consent.facts.case import CaseFile, EmergencyGrant
from consent.facts.sensitivity import Cell
from consent.rules import explain
from consent.rules.attributes import Attributes, Prepared, agreements_for, prepare, read_cell
from consent.rules.decision import (
    CellRuling,
    Decision,
    Effect,
    Finding,
    NearMiss,
    Obligation,
    Outcome,
    Override,
)
from consent.rules.policy import Condition, Policy, Row, Tier

RULE_FAILED = Finding(tier=0, rule_id="rule-failed", version=1, effect=Effect.DENY, reason="rule-failed")


@dataclass(frozen=True, slots=True)
class _LiveRow:
    """A row whose conditions on the case hold; what is left to ask of each cell."""

    row: Row
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...]

    def matches(self, attributes: Attributes) -> bool:
        for condition in self.when:
            if not condition.holds(attributes):
                return False
        return not self.unless or not all(condition.holds(attributes) for condition in self.unless)


@dataclass(frozen=True, slots=True)
class _Judged:
    ruling: CellRuling
    rows: tuple[Row, ...]  # matching rows that permit, oblige or lift, for their obligations
    denying: tuple[Row, ...]
    attributes: Attributes


def decide(case: CaseFile, policy: Policy) -> Decision:
    """Decide one case file. Whatever goes wrong inside is a denial with a code and an alert, never an error and never a permit."""
    try:
        return _decide(case, policy)
    except Exception:  # the last safety net of the core: any fault in a rule or a fact is a no
        ruling = CellRuling(Cell("", "", ""), False, False, False, False, (RULE_FAILED,))
        return Decision(
            outcome=Outcome.DENY,
            rulings=(),
            obligations=(),
            determining=(RULE_FAILED,),
            alerts=("rule-failed",),
            near_misses=(),
            override=Override(False),
            texts=explain.compose(Outcome.DENY, (ruling,), policy),
            policy_name=policy.name,
            policy_version=policy.version,
            policy_revision=policy.revision,
            epoch=case.subject.epoch,
            evaluated_at=case.at,
        )


def releasable(promised: Iterable[Cell], decision: Decision) -> tuple[Cell, ...]:
    """The cells that both an earlier promise and this decision allow."""
    allowed = set(decision.permitted)
    return tuple(sorted(cell for cell in set(promised) if cell in allowed))


def _decide(case: CaseFile, policy: Policy) -> Decision:
    prepared = prepare(case, policy)
    judged = _judge_all(prepared)
    rulings = tuple(j.ruling for j in judged)
    override = _override(case, policy, rulings)
    outcome = _outcome(rulings, override)
    permitted = tuple(j for j in judged if j.ruling.is_permitted)
    return Decision(
        outcome=outcome,
        rulings=rulings,
        obligations=_obligations(permitted, rulings, outcome, prepared),
        determining=_determining(rulings),
        alerts=tuple(
            sorted({alert for j in judged for row in (*j.rows, *j.denying) for alert in row.alerts})
        ),
        near_misses=_near_misses(judged, policy),
        override=override,
        texts=explain.compose(outcome, rulings, policy),
        policy_name=policy.name,
        policy_version=policy.version,
        policy_revision=policy.revision,
        epoch=case.subject.epoch,
        evaluated_at=case.at,
    )


def _judge_all(prepared: Prepared) -> tuple[_Judged, ...]:
    tiers = tuple((tier, _live_rows(tier, prepared.attributes)) for tier in prepared.policy.tiers)
    return tuple(_judge(cell, prepared, tiers) for cell in sorted(set(prepared.case.request.cells)))


def _live_rows(tier: Tier, attributes: Attributes) -> tuple[_LiveRow, ...]:
    live = []
    for row in tier.rows:
        if not all(condition.holds(attributes) for condition in row.when_case):
            continue
        unless: tuple[Condition, ...] = ()
        if (row.unless_case or row.unless_cell) and all(c.holds(attributes) for c in row.unless_case):
            if not row.unless_cell:
                continue  # the exception holds for the whole case
            unless = row.unless_cell
        live.append(_LiveRow(row, row.when_cell, unless))
    return tuple(live)


def _judge(cell: Cell, prepared: Prepared, tiers: tuple[tuple[Tier, tuple[_LiveRow, ...]], ...]) -> _Judged:
    attributes = read_cell(cell, prepared)
    denials: list[Finding] = []
    denying: list[Row] = []
    permits: list[Finding] = []
    rows: list[Row] = []
    lifts: list[Row] = []
    is_lift_denied = False
    for tier, live in tiers:
        matching = [entry.row for entry in live if entry.matches(attributes)]
        denied = [row for row in matching if row.effect is Effect.DENY]
        permitted = [row for row in matching if row.effect is Effect.PERMIT]
        rows += [row for row in matching if row.effect in (Effect.PERMIT, Effect.OBLIGE)]
        lifts += [row for row in matching if row.effect is Effect.LIFT]
        permits += [row.finding for row in permitted]
        denying += denied
        if tier.number == 8:
            is_lift_denied = bool(denied)
        elif denied:
            denials += [row.finding for row in denied]
        elif tier.otherwise is not None and not permitted:
            denials.append(tier.otherwise)
    is_overridable = bool(denials) and all(f.is_overridable for f in denials)
    is_lifted = is_overridable and bool(lifts) and not is_lift_denied
    is_permitted = not denials or is_lifted
    if is_lifted:
        rows += lifts
    return _Judged(
        ruling=CellRuling(
            cell=cell,
            is_permitted=is_permitted,
            is_overridable=is_overridable and not is_permitted,
            is_hidden=any(f.is_hidden for f in denials),
            is_lifted=is_lifted,
            findings=tuple(
                [*denials, *(row.finding for row in lifts)] if is_lifted else (denials or permits)
            ),
        ),
        rows=tuple(rows) if is_permitted else (),
        denying=tuple(denying),
        attributes=attributes,
    )


def _override(case: CaseFile, policy: Policy, rulings: tuple[CellRuling, ...]) -> Override:
    """Emergency access is offered exactly when the same request under it would give at least one more cell."""
    closed = tuple(r.cell for r in rulings if r.is_overridable)
    if not closed:
        return Override(False)
    grant = EmergencyGrant(
        grant_id=0,
        person_id=case.subject.person_id,
        user_id=case.actor.user_id,
        organisation=case.actor.organisation,
        reason_code="emergency-care",
        opened_at=case.at,
        expires_at=case.at + timedelta(hours=policy.emergency_hours),
    )
    supposed = replace(case, request=replace(case.request, purpose="BTG", cells=closed), emergency=grant)
    would_help = any(j.ruling.is_permitted for j in _judge_all(prepare(supposed, policy)))
    return Override(would_help, tuple(sorted(codes.EMERGENCY_REASONS)) if would_help else ())


def _outcome(rulings: tuple[CellRuling, ...], override: Override) -> Outcome:
    visible = [r for r in rulings if not r.is_hidden]
    permitted = [r for r in visible if r.is_permitted]
    if not visible:
        return Outcome.NOT_FOUND
    if len(permitted) == len(visible):
        return Outcome.PERMIT
    if permitted:
        return Outcome.PERMIT_FILTERED
    return Outcome.DENY_OVERRIDABLE if override.is_possible else Outcome.DENY


def _obligations(
    permitted: tuple[_Judged, ...], rulings: tuple[CellRuling, ...], outcome: Outcome, prepared: Prepared
) -> tuple[Obligation, ...]:
    if not outcome.is_permit:
        return ()
    case, policy = prepared.case, prepared.policy
    named = {name for j in permitted for row in j.rows for name in row.obligations}
    found: set[Obligation] = set()
    for name in named - {"ALERT_PRIVACY_OFFICER", "NOTIFY_PATIENT", "EXPIRES"}:
        found.add(Obligation(name))
    # Anything withheld that may be told gets a notice; where there is nothing to tell, no placeholder may show.
    told = any(not r.is_permitted and not r.is_hidden for r in rulings)
    found.add(Obligation("WITHHELD_NOTICE" if told else "HIDE_EXISTENCE"))
    is_lifted = any(j.ruling.is_lifted for j in permitted)
    if "ALERT_PRIVACY_OFFICER" in named:
        for kind, reason in _alert_codes(case, is_lifted):
            found.add(Obligation("ALERT_PRIVACY_OFFICER", (("type", str(kind)), ("reason", str(reason)))))
    if "NOTIFY_PATIENT" in named:
        found.add(Obligation("NOTIFY_PATIENT", (("days", str(policy.notify_patient_days)),)))
    ends_at = _earliest_end(permitted, prepared, is_lifted)
    if ends_at is not None:
        found.add(Obligation("EXPIRES", (("at", ends_at),)))
    return tuple(sorted(found))


def _alert_codes(case: CaseFile, is_lifted: bool) -> list[tuple[int, int]]:
    found = []
    if is_lifted and case.emergency is not None:
        found.append(codes.EMERGENCY_REASONS[case.emergency.reason_code])
    if case.request.claimed_relationship is not None and case.request.reason_code in codes.SELF_CLAIM_REASONS:
        found.append(codes.SELF_CLAIM_REASONS[case.request.reason_code])
    return found


def _earliest_end(permitted: tuple[_Judged, ...], prepared: Prepared, is_lifted: bool) -> str | None:
    """When the first thing that the permit rests on comes to its end; None when nothing does."""
    ends = []
    if is_lifted and prepared.case.emergency is not None:
        ends.append(prepared.case.emergency.expires_at)
    current = [r.ends_at for r in prepared.relationships]
    if current and None not in current:
        ends.append(max(end for end in current if end is not None))
    for judged in permitted:
        agreed = [a.ends_at for a in agreements_for(judged.ruling.cell, prepared)]
        if agreed and None not in agreed:
            ends.append(max(end for end in agreed if end is not None))
    return min(ends).isoformat() if ends else None


def _determining(rulings: tuple[CellRuling, ...]) -> tuple[Finding, ...]:
    """The findings that made the outcome: all denials, and for permitted cells what permitted them; in tier order."""
    return tuple(sorted({finding for ruling in rulings for finding in ruling.findings}))


def _near_misses(judged: tuple[_Judged, ...], policy: Policy) -> tuple[NearMiss, ...]:
    """Up to five permitting rows of the tiers that refused, each with the first condition that failed it."""
    found: dict[str, NearMiss] = {}
    for j in judged:
        if j.ruling.is_permitted or j.ruling.is_hidden:
            continue
        for tier in sorted({f.tier for f in j.ruling.findings if f.effect is Effect.DENY}):
            for row in policy.tiers[tier].rows:
                if row.effect is not Effect.PERMIT or row.rule_id in found:
                    continue
                failed = [c.attribute for c in (*row.when_case, *row.when_cell) if not c.holds(j.attributes)]
                if len(failed) == 1:
                    found[row.rule_id] = NearMiss(row.rule_id, failed[0])
        if len(found) >= 5:
            break
    return tuple(found.values())[:5]
