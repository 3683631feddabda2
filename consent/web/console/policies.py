"""Rule sets in the console: drafted, compared, tried on past decisions, proposed, approved by a second person, published, rolled back."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from consent.rules import Policy
from consent.rules.differ import Difference
from consent.service import policies
from consent.service.context import Consent
from consent.service.policies import PolicyChange
from consent.service.what_if import WhatIf, read_moment
from foundation.errors import Conflict, Invalid, NotFound
from foundation.principal import Principal
from foundation.web import current_principal, requires
from foundation.web.pages import Fault, go, read_day

SAID = {
    "policy-drafted": "It is checked and kept as a draft. Nothing else has changed.",
    "policy-proposed": "It waits for a second person to approve it.",
    "policy-approved": "It is approved. It may now be published.",
    "policy-published": "It is in force: every decision from now on is made by it.",
    "policy-withdrawn": "The proposal is taken back.",
}
_LARGEST = 1_000_000
_WORDS = {
    "policy-format": "The rule set cannot be taken",
    "file-missing": "Choose a file, or write the rule set below",
    "file-too-large": "The file is too large for a rule set",
    "json-syntax": "This is no JSON",
    "period-format": "Give a first and a last day, the last not before the first",
    "text-too-long": "The comment is too long",
    "control-character": "The comment holds a character that cannot be kept",
    "what-if-format": "The figures cannot be read",
    "what-if-of-another-policy": "The figures are of another rule set",
}
_REFUSED = {
    "policy-moved": "Another rule set came into force since this was proposed. Take it back, look again, and propose it anew.",
    "policy-proposed-already": "Somebody proposed it already.",
    "policy-approved-already": "Somebody approved it already.",
    "policy-not-approved": "It waits for a second person to approve it.",
    "second-person-same": "You proposed it, so another person must approve it.",
    "policy-in-force": "It is in force already.",
    "nothing-to-roll-back": "There is no rule set before this one to go back to.",
    "policy-not-proposed": "Nobody proposes it any more.",
}
PARTS = {
    "name": "Name",
    "version": "Version",
    "settings": "Settings",
    "role_classes": "Classes of roles",
    "purpose_groups": "Groups of purposes",
    "purpose_covers": "Purposes that cover others",
    "tiers": "Tiers",
    "rows": "Rules",
    "reasons": "What reasons say",
    "outcomes": "What outcomes say",
}


def add_pages(room: Blueprint, consent: Consent) -> None:
    @room.get("/policies")
    @requires("policy:read")
    def all_of_them() -> str:
        """List rule sets, and what waits for somebody."""
        told = policies.list_policies(consent)
        by = current_principal()
        return render_template(
            "consent/policies.html",
            told=told,
            waiting=[(one, _acts(one, by)) for one in told.changes if one.is_open],
            closed=[one for one in told.changes if not one.is_open][:20],
            may_write=_may_write(by),
            faults=[],
            can_go_back=any(one.state == "past" for one in told.policies),
        )

    @room.get("/policies/new")
    @requires("policy:write")
    def new() -> str:
        """Ask for a rule set: a file, or one that is kept, to be changed."""
        start = request.args.get("from")
        text = _text(policies.read_policy(consent, start)) if start else ""
        return render_template("consent/policy_form.html", text=text, faults=[])

    @room.post("/policies/new")
    @requires("policy:write")
    def draft() -> Response:
        """Check a rule set whole and keep it as a draft."""
        sent = request.files.get("file")
        content = sent.read(_LARGEST + 1) if sent is not None else b""
        text = request.form.get("text", "")
        try:
            made = policies.import_policy(consent, _document(content, text), current_principal())
        except Invalid as error:
            shown = content.decode("utf-8", "replace")[:_LARGEST] if content else text
            page = render_template("consent/policy_form.html", text=shown, faults=[_fault(error)])
            return make_response(page, 422)
        return go(f"/policies/{made.revision}", "policy-drafted")

    @room.get("/policies/<revision>")
    @requires("policy:read")
    def one(revision: str) -> str:
        """Show a rule set, and what it says otherwise than another one."""
        return render_template("consent/policy.html", **_told(consent, revision, current_principal()))

    @room.get("/policies/<revision>/export")
    @requires("policy:read")
    def export(revision: str) -> Response:
        """Give a rule set as a file, as it can be brought in again."""
        found = policies.read_policy(consent, revision)
        answer = make_response(_text(found))
        answer.content_type = "application/json; charset=utf-8"
        answer.headers["Content-Disposition"] = f'attachment; filename="policy-{found.revision}.json"'
        return answer

    @room.post("/policies/<revision>/what-if")
    @requires("policy:write")
    def what_if(revision: str) -> Response:
        """Make past decisions again under a rule set, and say which come out otherwise."""
        by, values = current_principal(), request.form
        try:
            since, until = _moment(values, "from"), _moment(values, "to")
            found = policies.try_policy(consent, revision, since, until, by)
        except Invalid:
            told = _told(consent, revision, by)
            faults = [Fault("from-day", _WORDS["period-format"])]
            return make_response(render_template("consent/policy.html", **{**told, "faults": faults}), 422)
        return make_response(render_template("consent/policy.html", **_told(consent, revision, by, found)))

    @room.post("/policies/<revision>/<act>")
    @requires("policy:write")
    def act(revision: str, act: str) -> Response:
        """Propose, approve, publish or take back; each act as the service allows it."""
        by = current_principal()
        try:
            code = _done(consent, revision, act, by)
        except Conflict as error:
            told = _told(consent, revision, by)
            words = _REFUSED.get(error.code, error.detail or error.code)
            page = render_template("consent/policy.html", **{**told, "moved": words})
            return make_response(page, 409)
        except Invalid as error:
            told = _told(consent, revision, by)
            page = render_template("consent/policy.html", **{**told, "faults": [_fault(error)]})
            return make_response(page, 422)
        return go(f"/policies/{revision}", code)

    @room.post("/policies/roll-back")
    @requires("policy:write")
    def roll_back() -> Response:
        """Propose to go back to the rule set before."""
        try:
            made = policies.propose_roll_back(
                consent, current_principal(), comment=request.form.get("comment", "").strip() or None
            )
        except Conflict as error:
            told = policies.list_policies(consent)
            page = render_template(
                "consent/policies.html",
                told=told,
                waiting=[(one, _acts(one, current_principal())) for one in told.changes if one.is_open],
                closed=[],
                may_write=True,
                faults=[Fault("roll-back", _REFUSED.get(error.code, error.code))],
                can_go_back=True,
            )
            return make_response(page, 409)
        return go(f"/policies/{made.revision}", "policy-proposed")


def _done(consent: Consent, revision: str, act: str, by: Principal) -> str:
    match act:
        case "propose":
            figures = request.form.get("figures")
            policies.propose_policy(
                consent,
                revision,
                by,
                what_if=json.loads(figures) if figures else None,
                comment=request.form.get("comment", "").strip() or None,
            )
            return "policy-proposed"
        case "approve":
            policies.approve_policy(consent, revision, by)
            return "policy-approved"
        case "publish":
            policies.publish_policy(consent, revision, by)
            return "policy-published"
        case "withdraw":
            policies.withdraw_policy(consent, revision, by)
            return "policy-withdrawn"
    raise NotFound("route-unknown")


# What is shown -------------------------------------------------------------------------------------------------------


def _told(consent: Consent, revision: str, by: Principal, found: WhatIf | None = None) -> dict[str, Any]:
    told = policies.list_policies(consent)
    other = request.args.get("with") or told.in_force
    before: Policy | None = None
    differences: tuple[Difference, ...] = ()
    if revision == other:
        shown = policies.read_policy(consent, revision)
    else:
        before, shown, differences = policies.compare_policies(consent, revision, other)
    change = next((one for one in told.changes if one.is_open and one.revision == revision), None)
    known = next((one for one in told.policies if one.revision == revision), None)
    return {
        "policy": shown,
        "before": before,
        "parts": _by_part(differences),
        "titles": PARTS,
        "known": known,
        "others": [one for one in told.policies if one.revision != revision][:30],
        "in_force": told.in_force,
        "change": change,
        "acts": _acts(change, by) if change is not None else [],
        "may_write": _may_write(by),
        "found": found,
        "figures": json.dumps(found.as_json()) if found is not None else "",
        "by_names": {
            "setting": "Setting",
            "role": "Role",
            "purpose": "Purpose",
            "category": "Kind of information",
        },
        "faults": [],
        "moved": None,
        "values": request.form,
    }


def _by_part(found: tuple[Difference, ...]) -> Mapping[str, list[Difference]]:
    parts: dict[str, list[Difference]] = {}
    for one in found:
        parts.setdefault(one.part, []).append(one)
    return parts


def _may_write(by: Principal) -> bool:
    return "policy:write" in by.scopes and by.kind == "person"


def _acts(change: PolicyChange, by: Principal) -> list[tuple[str, str]]:
    """Return what this person may do with an open change, as the service will judge it too."""
    if not _may_write(by):
        return []
    found = []
    if change.state == "proposed" and change.proposed_by != by.id:
        found.append(("approve", "Approve it"))
    if change.state == "approved":
        found.append(("publish", "Publish it: it is then in force"))
    return [*found, ("withdraw", "Take the proposal back")]


# Reading -------------------------------------------------------------------------------------------------------------


def _text(policy: Policy) -> str:
    return json.dumps(policy.document, indent=1, ensure_ascii=False) + "\n"


def _document(content: bytes, text: str) -> Any:
    if len(content) > _LARGEST or len(text) > _LARGEST:
        raise Invalid("file-too-large", field="file")
    if not content and not text.strip():
        raise Invalid("file-missing", field="file")
    try:
        return json.loads(content or text)
    except (ValueError, RecursionError) as fault:
        where = f" (line {fault.lineno})" if isinstance(fault, json.JSONDecodeError) else ""
        raise Invalid("json-syntax", field="text", detail=where) from None


def _moment(values: Mapping[str, str], name: str) -> datetime:
    """Return the beginning of a day in London; of the last day its end."""
    at = read_moment(read_day(values, name) or "", name)
    return at + timedelta(days=1) if name == "to" else at


def _fault(error: Invalid) -> Fault:
    words = _WORDS.get(error.code, error.detail or f"This cannot be taken ({error.code})")
    if error.code == "policy-format":
        return Fault("text", f"{words}: look at {error.field}" if error.field else words)
    if error.code == "json-syntax":
        return Fault("text", f"{words}{error.detail or ''}")
    return Fault("comment" if error.field == "comment" else error.field or "", words)
