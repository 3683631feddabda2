"""Decisions and emergency access over HTTP. A denial is an answer, not an error: 200 with an outcome."""

from typing import Any

from flask_smorest import Blueprint

from consent.rules import Decision, Outcome
from consent.rules.decision import Finding
from consent.service.asking import Ask, User
from consent.service.context import Consent
from consent.service.decide import Answer, decide, decide_worklist
from consent.service.emergency import open_emergency_access
from consent.web.schemas import (
    AskSchema,
    DecisionSchema,
    Loaded,
    OpenedSchema,
    WorklistDecisionsSchema,
    WorklistSchema,
    proof_link,
)
from foundation.ids import format_id
from foundation.principal import Principal
from foundation.web import answers_repeats_itself, current_principal, make_blueprint, requires

OFFICER_SCOPE = "reports:read"


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("decisions", description="May this be seen?")

    @room.post("/decisions")
    @answers_repeats_itself  # a kept permit must not outlive an objection
    @requires("decisions")
    @room.arguments(AskSchema)
    @room.response(200, DecisionSchema)
    def make_decision(body: Loaded) -> Any:
        """Decide whether a user may see parts of a person's record now.

        Somebody who is not there and somebody who must not be known of get the same answer, ``NOT_FOUND``. ``DENY_OVERRIDABLE`` means that
        emergency access would help.
        """
        by = current_principal()
        return decision_body(decide(consent, ask_of(body), by), by)

    @room.post("/decisions/worklist")
    @answers_repeats_itself
    @requires("decisions")
    @room.arguments(WorklistSchema)
    @room.response(200, WorklistDecisionsSchema)
    def decide_for_a_worklist(body: Loaded) -> Any:
        """Decide one question about each of up to 1,000 people, in the order given, each as if it had been asked alone."""
        by = current_principal()
        people = [(one["person_id"], one["min_epoch"]) for one in body["people"]]
        found = decide_worklist(consent, ask_of({**body, "person_id": 0, "min_epoch": 0}), people, by)
        return {
            "decisions": [
                {
                    "person_id": one.person_id,
                    "decision": None if one.answer is None else decision_body(one.answer, by),
                    "code": one.code,
                }
                for one in found
            ]
        }

    @room.post("/emergency-access")
    @requires("emergency")
    @room.arguments(AskSchema)
    @room.response(200, OpenedSchema)
    def open_access(body: Loaded) -> Any:
        """Open emergency access to one person for one user, for four hours. A privacy officer is told, and later the patient.

        ``reason_code`` is one of emergency-care, public-interest, statute and court-order; ``reason`` is in the user's words. Opening it
        again is a renewal and needs a new reason.
        """
        by = current_principal()
        opened = open_emergency_access(consent, ask_of(body), by)
        answer = Answer(opened.decision_id, opened.decision, opened.decision.permitted, opened.receipt)
        return {"grant": opened.grant, "decision": decision_body(answer, by)}

    return room


def ask_of(body: Loaded) -> Ask:
    user = body["user"]
    return Ask(
        person_id=body["person_id"],
        purpose=body["purpose"],
        categories=tuple(dict.fromkeys(body["categories"])),
        labels=tuple(dict.fromkeys(body["labels"])),
        sources=tuple(dict.fromkeys(body["sources"])),
        action=body["action"],
        identified_by=body["identified_by"],
        user=None if user is None else User(**{**user, "activities": frozenset(user["activities"])}),
        claimed_relationship=body["claimed_relationship"],
        reason_code=body["reason_code"],
        reason=body["reason"],
        incident_id=body["incident_id"],
        min_epoch=body["min_epoch"],
    )


def decision_body(answer: Answer, by: Principal) -> Loaded:
    """Write a decision for its caller, as ``DecisionSchema`` tells of it: the staff's voice always, the officer's and the patient's with
    the officer's scope.
    """
    decision: Decision = answer.decision
    is_found = decision.outcome is not Outcome.NOT_FOUND
    is_officer = OFFICER_SCOPE in by.scopes
    body: Loaded = {
        "decision_id": format_id(answer.decision_id),
        "outcome": decision.outcome.value,
        "permitted": [
            {"category": category, "label": label, "source": source}
            for category, label, source in answer.shown
        ],
        "obligations": [
            {"code": one.code, "parameters": dict(one.parameters)} for one in decision.obligations
        ],
        "determining": [_finding(one) for one in decision.visible] if is_found else [],
    }
    if is_officer:
        body["near_misses"] = [
            {"rule": one.rule_id, "condition": one.condition} for one in decision.near_misses
        ]
    texts = decision.texts
    officers = {"officer": texts.officer, "patient": texts.patient} if is_officer else {}
    return body | {
        "override": {
            "is_possible": decision.override.is_possible,
            "reasons": list(decision.override.reasons),
        },
        "texts": {"staff": texts.staff, **officers},
        "policy": {
            "name": decision.policy_name,
            "version": decision.policy_version,
            "revision": decision.policy_revision,
        },
        "epoch": decision.epoch if is_found else None,
        "evaluated_at": decision.evaluated_at.isoformat(),
        "leaf_hash": answer.leaf_hash,
        "proof": proof_link(answer.receipt.event_id, answer.leaf_hash),
    }


def _finding(one: Finding) -> Loaded:
    return {
        "rule": one.rule_id,
        "version": one.version,
        "tier": one.tier,
        "effect": one.effect.value,
        "reason": one.reason,
    }
