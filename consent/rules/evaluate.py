"""The decision: a pure function of a case file and a policy; tier by tier, cell by cell, deny unless permitted."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter

from consent.facts import codes
from consent.facts.case import CaseFile, EmergencyGrant
from consent.facts.sensitivity import Cell
from consent.rules import explain
from consent.rules.attributes import CellReader, Prepared, agreements_for, prepare
from consent.rules.decision import (
    CellRuling,
    Decision,
    Effect,
    Finding,
    Judgement,
    NearMiss,
    Obligation,
    Outcome,
    Override,
    Verdict,
)
from consent.rules.policy import Policy, Row, Tier

RULE_FAILED = Finding(tier=0, rule_id="rule-failed", version=1, effect=Effect.DENY, reason="rule-failed")
_FAILED = Verdict(False, False, False, False, (RULE_FAILED,), frozenset(), frozenset(("rule-failed",)), 0)


def decide(case: CaseFile, policy: Policy) -> Decision:
    """Decide one case file. Whatever goes wrong inside is a denial with a code and an alert, never an error and never a permit."""
    try:
        return _decide(case, policy)
    except Exception:  # the last safety net of the core: any fault in a rule or a fact is a no
        return Decision(
            outcome=Outcome.DENY,
            rulings=(),
            obligations=(),
            determining=(RULE_FAILED,),
            alerts=("rule-failed",),
            near_misses=(),
            override=Override(False),
            texts=explain.compose(Outcome.DENY, (_FAILED,), policy),
            policy_name=policy.name,
            policy_version=policy.version,
            policy_revision=policy.revision,
            epoch=case.subject.epoch,
            evaluated_at=case.at,
        )


def judge(case: CaseFile, policy: Policy) -> Judgement:
    """Say of one case file what ``decide`` says in outcome, determining rules and permitted cells, for less: it explains nothing."""
    try:
        rulings = _rule_on(prepare(case, policy))
        verdicts = tuple({id(ruling.verdict): ruling.verdict for ruling in rulings}.values())
        # Only where nothing is permitted does the outcome say whether an emergency would help.
        may_help = not any(verdict.is_permitted for verdict in verdicts)
        return Judgement(
            outcome=_outcome(verdicts, _override(case, policy, rulings) if may_help else Override(False)),
            determining=tuple(sorted({finding for verdict in verdicts for finding in verdict.findings})),
            permitted=tuple(ruling.cell for ruling in rulings if ruling.verdict.is_permitted),
        )
    except Exception:  # as of a decision
        return Judgement(Outcome.DENY, (RULE_FAILED,), ())


def releasable(promised: Iterable[Cell], decision: Decision) -> tuple[Cell, ...]:
    """The cells that both an earlier promise and this decision allow."""
    allowed = set(decision.permitted)
    return tuple(sorted(cell for cell in set(promised) if cell in allowed))


def _decide(case: CaseFile, policy: Policy) -> Decision:
    prepared = prepare(case, policy)
    rulings = _rule_on(prepared)
    verdicts = tuple({id(ruling.verdict): ruling.verdict for ruling in rulings}.values())
    override = _override(case, policy, rulings)
    outcome = _outcome(verdicts, override)
    return Decision(
        outcome=outcome,
        rulings=rulings,
        obligations=_obligations(rulings, verdicts, outcome, prepared),
        determining=tuple(sorted({finding for verdict in verdicts for finding in verdict.findings})),
        alerts=tuple(sorted({alert for verdict in verdicts for alert in verdict.alerts})),
        near_misses=_near_misses(verdicts, policy),
        override=override,
        texts=explain.compose(outcome, verdicts, policy),
        policy_name=policy.name,
        policy_version=policy.version,
        policy_revision=policy.revision,
        epoch=case.subject.epoch,
        evaluated_at=case.at,
    )


def _rule_on(prepared: Prepared) -> tuple[CellRuling, ...]:
    """Rule on each cell, in order; cells for which the same conditions hold share one verdict."""
    reader, policy = CellReader(prepared), prepared.policy
    return tuple(
        CellRuling(cell, _verdict(reader.holding(cell), policy))
        for cell in sorted(set(prepared.case.request.cells), key=_IN_ORDER)
    )


_IN_ORDER = attrgetter("category", "label", "source")
_MOST_VERDICTS = 20_000


def _verdict(holding: int, policy: Policy) -> Verdict:
    """Judge where these conditions hold, or say again what was judged before under this very policy."""
    found = policy.verdicts.get(holding)
    if found is None:
        if len(policy.verdicts) >= _MOST_VERDICTS:
            policy.verdicts.clear()
        found = policy.verdicts[holding] = _judge(holding, policy.tiers)
    return found


def _judge(holding: int, tiers: tuple[Tier, ...]) -> Verdict:
    denials: list[Finding] = []
    permits: list[Finding] = []
    rows: list[Row] = []
    lifts: list[Row] = []
    alerts: set[str] = set()
    is_lift_denied = False
    for tier in tiers:
        matching = [row for row in tier.rows if row.matches(holding)]
        denied = [row for row in matching if row.effect is Effect.DENY]
        permitted = [row for row in matching if row.effect is Effect.PERMIT]
        rows += [row for row in matching if row.effect in (Effect.PERMIT, Effect.OBLIGE)]
        lifts += [row for row in matching if row.effect is Effect.LIFT]
        permits += [row.finding for row in permitted]
        alerts.update(alert for row in denied for alert in row.alerts)
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
    if is_permitted:
        alerts.update(alert for row in rows for alert in row.alerts)
    return Verdict(
        is_permitted=is_permitted,
        is_overridable=is_overridable and not is_permitted,
        is_hidden=any(f.is_hidden for f in denials),
        is_lifted=is_lifted,
        findings=tuple([*denials, *(row.finding for row in lifts)] if is_lifted else (denials or permits)),
        obligations=frozenset(name for row in rows for name in row.obligations)
        if is_permitted
        else frozenset(),
        alerts=frozenset(alerts),
        holding=holding,
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
    would_help = any(ruling.is_permitted for ruling in _rule_on(prepare(supposed, policy)))
    return Override(would_help, tuple(sorted(codes.EMERGENCY_REASONS)) if would_help else ())


def _outcome(verdicts: tuple[Verdict, ...], override: Override) -> Outcome:
    visible = [v for v in verdicts if not v.is_hidden]
    if not visible:
        return Outcome.NOT_FOUND
    if all(v.is_permitted for v in visible):
        return Outcome.PERMIT
    if any(v.is_permitted for v in visible):
        return Outcome.PERMIT_FILTERED
    return Outcome.DENY_OVERRIDABLE if override.is_possible else Outcome.DENY


def _obligations(
    rulings: tuple[CellRuling, ...], verdicts: tuple[Verdict, ...], outcome: Outcome, prepared: Prepared
) -> tuple[Obligation, ...]:
    if not outcome.is_permit:
        return ()
    case, policy = prepared.case, prepared.policy
    named = {name for verdict in verdicts for name in verdict.obligations}
    found = {Obligation(name) for name in named - {"ALERT_PRIVACY_OFFICER", "NOTIFY_PATIENT", "EXPIRES"}}
    # Anything withheld that may be told gets a notice; where there is nothing to tell, no placeholder may show.
    found.add(Obligation("WITHHELD_NOTICE" if outcome is Outcome.PERMIT_FILTERED else "HIDE_EXISTENCE"))
    is_lifted = any(verdict.is_lifted for verdict in verdicts)
    if "ALERT_PRIVACY_OFFICER" in named:
        for kind, reason in _alert_codes(case, is_lifted):
            found.add(Obligation("ALERT_PRIVACY_OFFICER", (("type", str(kind)), ("reason", str(reason)))))
    if "NOTIFY_PATIENT" in named:
        found.add(Obligation("NOTIFY_PATIENT", (("days", str(policy.notify_patient_days)),)))
    ends_at = _earliest_end(rulings, prepared, is_lifted)
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


def _earliest_end(rulings: tuple[CellRuling, ...], prepared: Prepared, is_lifted: bool) -> str | None:
    """When the first thing that the permit rests on comes to its end; None when nothing does."""
    ends = []
    if is_lifted and prepared.case.emergency is not None:
        ends.append(prepared.case.emergency.expires_at)
    current = [r.ends_at for r in prepared.relationships]
    if current and None not in current:
        ends.append(max(end for end in current if end is not None))
    if any(a.ends_at is not None for a in prepared.agreements):
        permitted = {(r.cell.category, r.cell.source): r.cell for r in rulings if r.is_permitted}
        for cell in permitted.values():
            agreed = [a.ends_at for a in agreements_for(cell, prepared)]
            if agreed and None not in agreed:
                ends.append(max(end for end in agreed if end is not None))
    return min(ends).isoformat() if ends else None


def _near_misses(verdicts: tuple[Verdict, ...], policy: Policy) -> tuple[NearMiss, ...]:
    """Up to five permitting rows of the tiers that refused, each with the one condition that failed it."""
    found: dict[str, NearMiss] = {}
    for verdict in verdicts:
        if verdict.is_permitted or verdict.is_hidden:
            continue
        for tier in sorted({f.tier for f in verdict.findings if f.effect is Effect.DENY}):
            for row in policy.tiers[tier].rows:
                missing = row.when & ~verdict.holding
                if row.effect is Effect.PERMIT and missing.bit_count() == 1 and row.rule_id not in found:
                    condition = policy.conditions[missing.bit_length() - 1]
                    found[row.rule_id] = NearMiss(row.rule_id, condition.attribute)
        if len(found) >= 5:
            break
    return tuple(found.values())[:5]
