"""Explanation: an outcome in three voices, from templates without blanks, so that no text can carry a hidden item."""

from collections.abc import Mapping, Sequence

from consent.rules.decision import Decision, Effect, Finding, Outcome, Texts, Verdict
from consent.rules.policy import Policy


def compose(outcome: Outcome, verdicts: tuple[Verdict, ...], policy: Policy) -> Texts:
    """Write the three texts of one decision.

    The outcome's sentence comes first, then one sentence for each reason, in order of tier, of cells that may be told. Hidden cells
    give no sentence at all; NOT_FOUND says the same of everyone.
    """
    first = policy.outcomes[outcome.value]
    if outcome is Outcome.NOT_FOUND:
        return first
    return compose_from_reasons(outcome, _told(verdicts), policy)


def staff_view(decision: Decision) -> Mapping[str, object]:
    """What the caller's side may see: nothing of hidden cells, no rule of theirs, and of a NOT_FOUND nothing but that."""
    is_found = decision.outcome is not Outcome.NOT_FOUND
    return {
        "outcome": decision.outcome.value,
        "permitted": decision.permitted,
        "obligations": decision.obligations,
        "determining": visible_findings(decision) if is_found else (),
        "override": decision.override,
        "text": decision.texts.staff,
        "epoch": decision.epoch if is_found else None,
    }


def visible_findings(decision: Decision) -> tuple[Finding, ...]:
    """The determining findings without those of hidden cells: these are for the audit alone."""
    if not decision.rulings:
        return decision.determining
    verdicts = {id(ruling.verdict): ruling.verdict for ruling in decision.rulings}.values()
    return tuple(sorted({f for verdict in verdicts if not verdict.is_hidden for f in verdict.findings}))


def told_reasons(decision: Decision) -> list[str]:
    """The reasons that may be told, in order of tier: what an audit row keeps, to write the texts from again."""
    if decision.outcome is Outcome.NOT_FOUND:
        return []
    if not decision.rulings:
        return list(dict.fromkeys(finding.reason for finding in decision.determining))
    return _told(tuple({id(ruling.verdict): ruling.verdict for ruling in decision.rulings}.values()))


def _told(verdicts: tuple[Verdict, ...]) -> list[str]:
    visible = [verdict for verdict in verdicts if not verdict.is_hidden]
    # An emergency that lifted a refusal is told in its place: nobody may read that a wish was kept to which was not.
    lifted = {
        finding.reason
        for verdict in visible
        if verdict.is_lifted
        for finding in verdict.findings
        if finding.effect is Effect.DENY
    }
    told = {(finding.tier, finding.reason) for verdict in visible for finding in verdict.findings}
    return list(dict.fromkeys(reason for _, reason in sorted(told) if reason not in lifted))


def _join(sentences: list[str]) -> str:
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))


def compose_from_reasons(outcome: Outcome, reasons: Sequence[str], policy: Policy) -> Texts:
    """Write the texts again from what an audit row kept: the outcome, and the reasons that may be told, in order."""
    first = policy.outcomes[outcome.value]
    if outcome is Outcome.NOT_FOUND:
        return first
    texts = [policy.reasons[reason] for reason in reasons if reason in policy.reasons]
    return Texts(
        staff=_join([first.staff, *(t.staff for t in texts)]),
        officer=_join([first.officer, *(t.officer for t in texts)]),
        patient=_join([first.patient, *(t.patient for t in texts)]),
    )
