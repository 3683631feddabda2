"""Emergency access: opened where the rows allow it, for one user, person and organisation, with an alert; renewed with a new reason."""

from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection

from consent import rules
from consent.facts import EmergencyGrant, codes
from consent.rules import Decision
from consent.rules.attributes import next_grant
from consent.rules.watch import rank_of
from consent.service import trail
from consent.service.asking import Ask, acting_principal, actor_of, request_of
from consent.service.casefile import read_case, sources_of
from consent.service.context import Consent
from consent.service.order import decide_under_lock
from consent.store import care as care_store
from consent.store.alerts import Alert
from foundation.audit import AuditReceipt
from foundation.errors import Invalid
from foundation.ids import format_id, new_id
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.service.whole import WholePerson


@dataclass(frozen=True, slots=True)
class Opened:
    """Emergency access, or the denial that says why it was not opened. ``decision`` is what it would show."""

    decision_id: int
    decision: Decision
    grant: EmergencyGrant | None
    receipt: AuditReceipt

    @property
    def leaf_hash(self) -> str:
        return self.receipt.leaf_hash


def open_emergency_access(consent: Consent, ask: Ask, by: Principal) -> Opened:
    """Open emergency access to one person for the user who asks, if the rows would then permit anything.

    ``ask.reason_code`` is one of the coded reasons, ``ask.reason`` the words of the user; the purpose is always ``BTG``.

    Raises:
        Invalid: ``reason-code-unknown``, ``reason-missing``, ``reason-repeated`` (a renewal needs a new reason).
        Unavailable: as ``decide``.
    """
    if ask.reason_code not in codes.EMERGENCY_REASONS:
        raise Invalid("reason-code-unknown", field="reason_code")
    words = (ask.reason or "").strip()
    if len(words) < 10:
        raise Invalid("reason-missing", field="reason")
    ask = replace(ask, purpose="BTG", action="view")
    actor = actor_of(by, ask.user)

    def act(tx: Connection, whole: WholePerson) -> Opened:
        resolution = whole.resolution
        request = request_of(ask, ask.sources or sources_of(resolution), are_named=bool(ask.sources))
        reading = read_case(tx, consent, whole, actor, request, ask.person_id)
        now = reading.case.at
        earlier = reading.case.emergency
        grant = next_grant(reading.case, reading.policy, new_id(), ask.reason_code or "")
        is_renewal = earlier is not None and grant.renewals > 0
        if is_renewal and care_store.read_grant_reason(tx, earlier.grant_id) == words:  # type: ignore[union-attr]
            raise Invalid("reason-repeated", field="reason")
        reading = replace(reading, case=replace(reading.case, emergency=grant))
        decision = rules.decide(reading.case, reading.policy)
        decision_id = new_id()
        is_open = bool(decision.permitted)
        receipt = trail.append(
            tx,
            ("emergency-renewed" if is_renewal else "emergency-opened") if is_open else "emergency-refused",
            acting_principal(by, actor),
            now,
            outcome=trail.outcome_of(decision),
            person_id=resolution.person_id,
            purpose="BTG",
            reasons=decision.told,
            detail=trail.decision_detail(decision_id, decision, reading.versions())
            | {
                "grant": format_id(grant.grant_id) if is_open else None,
                "reason_code": ask.reason_code,
                "renewals": grant.renewals,
            },
        )
        if not is_open or resolution.person_id is None:
            return Opened(decision_id, decision, None, receipt)
        care_store.insert_grant(tx, grant, record_id=resolution.person_id, reason=words)
        kind, reason = codes.EMERGENCY_REASONS[grant.reason_code]
        code = "emergency-renewed" if is_renewal else "emergency-opened"
        trail.raise_alert(
            tx,
            Alert(
                alert_id=new_id(),
                code=code,
                alert_type=kind,
                alert_reason=reason,
                rank=rank_of({code}),
                person_id=resolution.person_id,
                organisation=actor.organisation,
                user_id=actor.user_id,
                decision_id=decision_id,
                grant_id=grant.grant_id,
                reason=words,
                state="open",
                raised_at=now,
            ),
        )
        tell_at = now + timedelta(days=reading.policy.notify_patient_days)
        emit(
            tx,
            "patient.notify",
            resolution.person_id,
            {
                "person_id": format_id(resolution.person_id),
                "about": code,
                "grant_id": format_id(grant.grant_id),
                "not_before": tell_at.isoformat(),
            },
            organisation=actor.organisation,  # as its alert
        )
        return Opened(decision_id, decision, grant, receipt)

    # Alone: of two openings at the same moment the later one sees the earlier, and is a renewal or a repetition.
    return decide_under_lock(consent, ask.person_id, act, shared=False)
