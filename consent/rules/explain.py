"""Explanation: an outcome in three voices, from templates without blanks, so that no text can carry a hidden item."""

from collections.abc import Iterable, Mapping, Sequence

from consent.rules.decision import Decision, Effect, Outcome, Texts, Verdict
from consent.rules.policy import Policy


def staff_view(decision: Decision) -> Mapping[str, object]:
    """What the caller's side may see: nothing of hidden cells, no rule of theirs, and of a NOT_FOUND nothing but that."""
    is_found = decision.outcome is not Outcome.NOT_FOUND
    return {
        "outcome": decision.outcome.value,
        "permitted": decision.permitted,
        "obligations": decision.obligations,
        "determining": decision.visible if is_found else (),
        "override": decision.override,
        "text": decision.texts.staff,
        "epoch": decision.epoch if is_found else None,
    }


def told_reasons(outcome: Outcome, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """Return the reasons that may be told of cells with these verdicts, in order of tier. NOT_FOUND says the same of everyone."""
    if outcome is Outcome.NOT_FOUND:
        return ()
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
    return tuple(dict.fromkeys(reason for _, reason in sorted(told) if reason not in lifted))


def _join(sentences: list[str]) -> str:
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))


def compose(outcome: Outcome, reasons: Sequence[str], policy: Policy) -> Texts:
    """Write the three texts of one decision from its outcome and the reasons that may be told, in order: also again, from an audit row.

    The outcome's sentence comes first, then one sentence for each reason. Hidden cells give no reason, and so no sentence at all.
    """
    first = policy.outcomes[outcome.value]
    if outcome is Outcome.NOT_FOUND:
        return first
    texts = [policy.reasons[reason] for reason in reasons if reason in policy.reasons]
    return Texts(
        staff=_join([first.staff, *(t.staff for t in texts)]),
        officer=_join([first.officer, *(t.officer for t in texts)]),
        patient=_join([first.patient, *(t.patient for t in texts)]),
    )
