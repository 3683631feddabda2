"""Rule sets over HTTP: which is in force, and what one person proposes, another approves and either publishes."""

from typing import Any

from flask_smorest import Blueprint

from consent.service import policies
from consent.service.context import Consent
from consent.web.schemas import (
    ComparePolicyQuery,
    ImportPolicySchema,
    KnownPolicySchema,
    Loaded,
    PoliciesSchema,
    PolicyChangeSchema,
    PolicyDifferencesSchema,
    PolicyDocumentSchema,
    ProposePolicySchema,
    RollBackPolicySchema,
    TryPolicySchema,
    WhatIfSchema,
)
from foundation.web import current_principal, make_blueprint, requires


def make(consent: Consent) -> Blueprint:
    room = make_blueprint(
        "policies",
        "/api/v1/policies",
        "The rules by which decisions are made, and their changes by two people",
    )

    @room.route("", methods=["GET"])
    @room.response(200, PoliciesSchema)
    @requires("policy:read")
    def list_policies() -> Any:
        """List the rule sets that were ever drafted or in force, and every change, the newest first."""
        return policies.list_policies(consent)

    @room.route("", methods=["POST"])
    @room.arguments(ImportPolicySchema)
    @room.response(201, KnownPolicySchema)
    @requires("policy:write")
    def import_policy(body: Loaded) -> Any:
        """Check a rule set's document whole and keep it as a draft; nothing else changes. For people, not for systems.

        A fault is refused as `policy-format`, and `field` names the row and the attribute.
        """
        return policies.import_policy(consent, body["policy"], current_principal())

    @room.route("/<revision>", methods=["GET"])
    @room.response(200, PolicyDocumentSchema)
    @requires("policy:read")
    def export_policy(revision: str) -> Any:
        """Return a rule set's document; of the revision `in-force` the one by which decisions are made now."""
        found = policies.read_policy(consent, None if revision == "in-force" else revision)
        told = {"revision": found.revision, "name": found.name, "version": found.version}
        return told | {"policy": found.document}

    @room.route("/<revision>/compare", methods=["GET"])
    @room.arguments(ComparePolicyQuery, location="query")
    @room.response(200, PolicyDifferencesSchema)
    @requires("policy:read")
    def compare_policy(query: Loaded, revision: str) -> Any:
        """Say what a rule set says otherwise than another; than the one in force, if nobody says."""
        before, after, found = policies.compare_policies(consent, revision, query["other"])
        return {"from_revision": before.revision, "revision": after.revision, "differences": found}

    @room.route("/<revision>/what-if", methods=["POST"])
    @room.arguments(TryPolicySchema)
    @room.response(200, WhatIfSchema)
    @requires("policy:write")
    def try_policy(body: Loaded, revision: str) -> Any:
        """Make the first 2,000 decisions of a period again under a rule set that is kept, and count what comes out otherwise. For people.

        Longer periods are for `consent what-if`. The answer can be sent with the proposal.
        """
        return policies.try_policy(
            consent, revision, body["since"], body["until"], current_principal()
        ).as_json()

    @room.route("/<revision>/propose", methods=["POST"])
    @room.arguments(ProposePolicySchema)
    @room.response(201, PolicyChangeSchema)
    @requires("policy:write")
    def propose_policy(body: Loaded, revision: str) -> Any:
        """Ask for a second person's approval of a rule set that is kept; nothing else changes. For people, not for systems.

        ``what_if`` is what `consent what-if --json` printed of it: the approver sees its figures.
        """
        return policies.propose_policy(
            consent, revision, current_principal(), what_if=body.get("what_if"), comment=body.get("comment")
        )

    @room.route("/roll-back", methods=["POST"])
    @room.arguments(RollBackPolicySchema)
    @room.response(201, PolicyChangeSchema)
    @requires("policy:write")
    def propose_roll_back(body: Loaded) -> Any:
        """Ask for a second person's approval to go back to the policy before the one in force. For people, not for systems."""
        return policies.propose_roll_back(consent, current_principal(), comment=body.get("comment"))

    @room.route("/<revision>/approve", methods=["POST"])
    @room.response(200, PolicyChangeSchema)
    @requires("policy:write")
    def approve_policy(revision: str) -> Any:
        """Approve what another person proposed. It may then be published."""
        return policies.approve_policy(consent, revision, current_principal())

    @room.route("/<revision>/publish", methods=["POST"])
    @room.response(200, PolicyChangeSchema)
    @requires("policy:write")
    def publish_policy(revision: str) -> Any:
        """Bring into force what two people chose: every decision from this answer on is made by it, in every process."""
        return policies.publish_policy(consent, revision, current_principal())

    @room.route("/<revision>/withdraw", methods=["POST"])
    @room.response(200, PolicyChangeSchema)
    @requires("policy:write")
    def withdraw_policy(revision: str) -> Any:
        """Take back what was proposed, approved or not; one person is enough to say no."""
        return policies.withdraw_policy(consent, revision, current_principal())

    return room
