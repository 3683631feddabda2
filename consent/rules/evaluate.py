"""The decision: a pure function of a case file and a policy; tier by tier, cell by cell, deny unless permitted."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from consent.facts import codes
from consent.facts.case import CaseFile
from consent.facts.sensitivity import Cell, by_place
from consent.rules import explain
from consent.rules.attributes import (
    Prepared,
    StripFacts,
    StripReader,
    agreements_for,
    end_of,
    grant_in_hand,
    prepare,
)
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
    Strip,
    Summary,
    Verdict,
)
from consent.rules.policy import Policy, Row, Tier

K = TypeVar("K")
V = TypeVar("V")

RULE_FAILED = Finding(tier=0, rule_id="rule-failed", version=1, effect=Effect.DENY, reason="rule-failed")


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
            visible=(RULE_FAILED,),
            told=(RULE_FAILED.reason,),
            alerts=("rule-failed",),
            near_misses=(),
            override=Override(False),
            texts=explain.compose(Outcome.DENY, (RULE_FAILED.reason,), policy),
            policy_name=policy.name,
            policy_version=policy.version,
            policy_revision=policy.revision,
            epoch=case.subject.epoch,
            evaluated_at=case.at,
        )


def judge(case: CaseFile, policy: Policy) -> Judgement:
    """Say of one case file what ``decide`` says in outcome, determining rules and permitted cells, for less: it explains nothing."""
    try:
        strips = _strips(case.request.cells, prepare(case, policy))
        verdicts = _once(verdict for _, strip in strips.values() for verdict in strip.distinct)
        # Only where nothing is permitted does the outcome say whether an emergency would help.
        may_help = not any(verdict.is_permitted for verdict in verdicts)
        override = _override(case, policy, _closed(strips)) if may_help else Override(False)
        outcome = _outcome(verdicts, override)
        return Judgement(
            outcome=outcome,
            determining=_summary(outcome, verdicts, policy).determining,
            shown={place: strip.permitted for place, (_, strip) in strips.items() if strip.permitted},
        )
    except Exception:  # as of a decision
        return Judgement(Outcome.DENY, (RULE_FAILED,), {})


def matching_rows(case: CaseFile, policy: Policy) -> Mapping[Cell, frozenset[str]]:
    """Return for each cell of a case the ids of all rows that match it, whatever comes of them."""
    reader = StripReader(prepare(case, policy))
    known: dict[int, frozenset[str]] = {}
    found = {}
    for place, labels in by_place(case.request.cells):
        facts = reader.read(*place)
        for label in labels:
            held = _holding(facts, label, policy)
            if held not in known:
                rows = (row for tier in policy.tiers for row in tier.rows)
                known[held] = frozenset(row.rule_id for row in rows if row.matches(held))
            found[Cell(place[0], label, place[1])] = known[held]
    return found


def in_emergency(case: CaseFile, policy: Policy, cells: tuple[Cell, ...]) -> CaseFile:
    """Return the same case, about these cells, under the emergency access that its user has open or could open."""
    grant = grant_in_hand(case, policy, "emergency-care")
    return replace(case, request=replace(case.request, purpose="BTG", cells=cells), emergency=grant)


def releasable(promised: Iterable[Cell], decision: Decision) -> tuple[Cell, ...]:
    """The cells that both an earlier promise and this decision allow."""
    allowed = set(decision.permitted)
    return tuple(sorted(cell for cell in set(promised) if cell in allowed))


def _decide(case: CaseFile, policy: Policy) -> Decision:
    prepared = prepare(case, policy)
    strips = _strips(case.request.cells, prepared)
    by_cell = {
        (place[0], label, place[1]): verdict
        for place, (labels, strip) in strips.items()
        for label, verdict in zip(labels, strip.verdicts, strict=True)
    }
    rulings = tuple([CellRuling(cell, by_cell[cell]) for cell in sorted(set(case.request.cells))])
    verdicts = tuple({id(verdict): verdict for _, verdict in rulings}.values())
    override = _override(case, policy, tuple([cell for cell, verdict in rulings if verdict.is_overridable]))
    outcome = _outcome(verdicts, override)
    summary = _summary(outcome, verdicts, policy)
    return Decision(
        outcome=outcome,
        rulings=rulings,
        obligations=_obligations(strips, verdicts, outcome, summary.obligations, prepared),
        determining=summary.determining,
        visible=summary.visible,
        told=summary.told,
        alerts=summary.alerts,
        near_misses=summary.near_misses,
        override=override,
        texts=summary.texts,
        policy_name=policy.name,
        policy_version=policy.version,
        policy_revision=policy.revision,
        epoch=case.subject.epoch,
        evaluated_at=case.at,
    )


_Strips = dict[tuple[str, str], tuple[tuple[str, ...], Strip]]
"""By category and source: the labels that were asked about, and the rulings on them."""


def _strips(cells: tuple[Cell, ...], prepared: Prepared) -> _Strips:
    """Rule on all cells, those of one category and source together."""
    reader, policy = StripReader(prepared), prepared.policy
    return {place: (labels, _strip(reader.read(*place), labels, policy)) for place, labels in by_place(cells)}


_MOST_VERDICTS, _MOST_KEPT = 20_000, 5_000
"""Verdicts that are kept of one policy; strips and summaries, of each."""


def _kept(kept: dict[K, V], key: K, made: V, most: int = _MOST_KEPT) -> V:
    if len(kept) >= most:
        kept.clear()
    kept[key] = made
    return made


def _strip(facts: StripFacts, labels: tuple[str, ...], policy: Policy) -> Strip:
    """Rule on one category of one source, or say again what was ruled before where the same held, under this very policy."""
    key = (facts, labels)
    found = policy.strips.get(key)
    if found is None:
        verdicts = tuple(_verdict(_holding(facts, label, policy), policy) for label in labels)
        permitted = tuple(
            label for label, verdict in zip(labels, verdicts, strict=True) if verdict.is_permitted
        )
        found = _kept(policy.strips, key, Strip(verdicts, _once(verdicts), permitted))
    return found


def _holding(facts: StripFacts, label: str, policy: Policy) -> int:
    """Return the conditions that hold for one cell."""
    bits, held, is_free = policy.bits, facts.holding, facts.is_free
    held |= bits["label"].get(label, 0)
    if label in facts.excluded_labels:
        held |= bits["source_control"].get("excluded", 0)
        is_free = False
    if is_free:
        held |= bits["source_control"].get("none", 0)
    is_known = facts.is_known and label in codes.LABELS
    return held | bits["cell_codes"].get("known" if is_known else "unknown", 0)


def _verdict(holding: int, policy: Policy) -> Verdict:
    found = policy.verdicts.get(holding)
    if found is None:
        found = _kept(policy.verdicts, holding, _judge(holding, policy.tiers), _MOST_VERDICTS)
    return found


def _once(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    return tuple({id(verdict): verdict for verdict in verdicts}.values())


def _summary(outcome: Outcome, verdicts: tuple[Verdict, ...], policy: Policy) -> Summary:
    key = (outcome, *[verdict.holding for verdict in verdicts])
    found = policy.summaries.get(key)
    if found is None:
        told = explain.told_reasons(outcome, verdicts)
        made = Summary(
            determining=_findings(verdicts),
            visible=_findings(verdict for verdict in verdicts if not verdict.is_hidden),
            told=told,
            alerts=tuple(sorted({alert for verdict in verdicts for alert in verdict.alerts})),
            obligations=frozenset(name for verdict in verdicts for name in verdict.obligations),
            near_misses=_near_misses(verdicts, policy),
            texts=explain.compose(outcome, told, policy),
        )
        found = _kept(policy.summaries, key, made)
    return found


def _findings(verdicts: Iterable[Verdict]) -> tuple[Finding, ...]:
    return tuple(sorted({finding for verdict in verdicts for finding in verdict.findings}))


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


def _closed(strips: _Strips) -> tuple[Cell, ...]:
    return tuple(
        Cell(category, label, source)
        for (category, source), (labels, strip) in strips.items()
        for label, verdict in zip(labels, strip.verdicts, strict=True)
        if verdict.is_overridable
    )


def _override(case: CaseFile, policy: Policy, closed: tuple[Cell, ...]) -> Override:
    """Emergency access is offered exactly when the same request for these cells under what is open, or could be opened, would give one."""
    if not closed:
        return Override(False)
    supposed = in_emergency(case, policy, closed)
    reader = StripReader(prepare(supposed, policy))
    would_help = any(
        _strip(reader.read(*place), labels, policy).permitted for place, labels in by_place(closed)
    )
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
    strips: _Strips,
    verdicts: tuple[Verdict, ...],
    outcome: Outcome,
    named: frozenset[str],
    prepared: Prepared,
) -> tuple[Obligation, ...]:
    if not outcome.is_permit:
        return ()
    case, policy = prepared.case, prepared.policy
    found = {Obligation(name) for name in named - {"ALERT_PRIVACY_OFFICER", "NOTIFY_PATIENT", "EXPIRES"}}
    # Anything withheld that may be told gets a notice; where there is nothing to tell, no placeholder may show.
    found.add(Obligation("WITHHELD_NOTICE" if outcome is Outcome.PERMIT_FILTERED else "HIDE_EXISTENCE"))
    is_lifted = any(verdict.is_lifted for verdict in verdicts)
    if "ALERT_PRIVACY_OFFICER" in named:
        for kind, reason in _alert_codes(case, is_lifted):
            found.add(Obligation("ALERT_PRIVACY_OFFICER", (("type", str(kind)), ("reason", str(reason)))))
    if "NOTIFY_PATIENT" in named:
        found.add(Obligation("NOTIFY_PATIENT", (("days", str(policy.notify_patient_days)),)))
    ends_at = _earliest_end(strips, prepared, is_lifted)
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


def _earliest_end(strips: _Strips, prepared: Prepared, is_lifted: bool) -> str | None:
    """When the first thing that the permit rests on comes to its end; None when nothing does."""
    ends = []
    if is_lifted and prepared.case.emergency is not None:
        ends.append(end_of(prepared.case.emergency, prepared.policy))
    current = [r.ends_at for r in prepared.relationships]
    if current and None not in current:
        ends.append(max(end for end in current if end is not None))
    if any(a.ends_at is not None for a in prepared.agreements):
        for place, (_, strip) in strips.items():
            agreed = [a.ends_at for a in agreements_for(*place, prepared)] if strip.permitted else ()
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
