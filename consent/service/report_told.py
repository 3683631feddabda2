"""Rows of the audit log as FHIR R4 AuditEvents, after IHE's Basic Audit Log Patterns; pure, and made anew whenever one is read.

What the log does not keep (network addresses, raw queries), what was erased and what may not be told stands as absent, with the reason.
So no resource claims a profile of BALP, though each has the shape of its pattern.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from consent.facts.codes import PURPOSES
from foundation.audit import AuditEvent
from foundation.auth.roles import ROLES, role_name
from foundation.ids import format_id

Coding = tuple[str, str]
"""System and code."""

DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_REST_TYPE = f"{_TERMS}/audit-event-type"
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_LIFECYCLE = f"{_TERMS}/iso-21089-lifecycle"
_AUTHZ = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType"
_BALP_ENTITY = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
_ENTITY_TYPE = f"{_TERMS}/audit-entity-type"
_OBJECT_ROLE = f"{_TERMS}/object-role"
_REASON = f"{_TERMS}/v3-ActReason"
_PARTICIPATION = f"{_TERMS}/v3-ParticipationType"
_ROLE_CLASS = f"{_TERMS}/v3-RoleClass"
_SECURITY_ROLE = f"{_TERMS}/extra-security-role-type"
_PROVENANCE = f"{_TERMS}/provenance-participant-type"
_SOURCE_TYPE = f"{_TERMS}/security-source-type"
_JOB_ROLE = "https://fhir.hl7.org.uk/CodeSystem/UKCore-SDSJobRoleName"
ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

_JOB_ROLE_CODE = re.compile(r"[A-Z][0-9]{4}")

_APPLICATION, _RECIPIENT, _SOURCE = (DCM, "110150"), (DCM, "110152"), (DCM, "110153")
_AUTHORIZER = (_SECURITY_ROLE, "authserver")
_DATA, _REPORT, _JOB, _QUERY = "4", "3", "20", "24"  # of object-role


@dataclass(frozen=True, slots=True)
class Pattern:
    """The shape that events of one sort share.

    ``client`` and ``server`` are what the two were in it: in a read data flows from the server, in a query parameters flow to it.
    ``role`` is the object's, of object-role.
    """

    type: Coding
    subtype: tuple[Coding, ...]
    action: str
    client: Coding
    server: Coding
    role: str = _DATA


def _rest(code: str, action: str, client: Coding, server: Coding, role: str = _DATA) -> Pattern:
    return Pattern((_REST_TYPE, "rest"), ((_INTERACTION, code),), action, client, server, role)


READ = _rest("read", "R", _RECIPIENT, _SOURCE)
SEARCH = _rest("search-type", "E", _SOURCE, _RECIPIENT, _QUERY)
CREATE = _rest("create", "C", _SOURCE, _RECIPIENT)
UPDATE = _rest("update", "U", _SOURCE, _RECIPIENT)
DELETE = _rest("delete", "D", _APPLICATION, (_PROVENANCE, "custodian"))
DECIDE = Pattern((DCM, "110113"), ((_AUTHZ, "AuthZ-Consent"),), "E", _APPLICATION, _AUTHORIZER)
EMERGENCY = Pattern(
    (DCM, "110113"), ((_AUTHZ, "AuthZ-Consent"), (DCM, "110127")), "E", _APPLICATION, _AUTHORIZER
)
DISCLOSE = Pattern((DCM, "110106"), ((_LIFECYCLE, "disclose"),), "R", _SOURCE, _AUTHORIZER)
LOG_USED = Pattern((DCM, "110101"), (), "R", _RECIPIENT, _SOURCE, _REPORT)
EXPORT = Pattern((DCM, "110106"), (), "R", _RECIPIENT, _SOURCE, _REPORT)
IMPORT = Pattern((DCM, "110107"), (), "C", _SOURCE, _RECIPIENT)
SIGN_IN = Pattern((DCM, "110114"), ((DCM, "110122"),), "E", _APPLICATION, _AUTHORIZER)
SECURITY = Pattern((DCM, "110113"), ((DCM, "110137"),), "U", _APPLICATION, _AUTHORIZER)
SETTING = Pattern((DCM, "110100"), ((DCM, "110131"),), "U", _APPLICATION, _RECIPIENT)
JOB = Pattern((DCM, "110100"), (), "E", _APPLICATION, _RECIPIENT, _JOB)


@dataclass(frozen=True, slots=True)
class Told:
    """How one kind of row is told: its pattern, and what it was done to, in a word or two."""

    pattern: Pattern
    what: str


def _each(pattern: Pattern, what: str, *kinds: str) -> dict[str, Told]:
    return {kind: Told(pattern, what) for kind in kinds}


EVENTS: dict[str, Told] = {
    # May this be shared?
    **_each(DECIDE, "decision", "decision", "release", "gate", "emergency-refused", "ticket-refused"),
    **_each(EMERGENCY, "emergency access", "emergency-opened", "emergency-renewed"),
    **_each(DISCLOSE, "items", "redemption", "redemption-repeated", "redemption-replayed"),
    **_each(READ, "release", "release-inspected"),
    **_each(READ, "directives", "directives-read"),
    **_each(CREATE, "directive", "directive-recorded"),
    **_each(UPDATE, "directive", "directive-upheld", "directive-refused", "directive-withdrawn"),
    **_each(UPDATE, "directive", "directive-entered-in-error"),
    **_each(CREATE, "relationship", "relationship-recorded"),
    **_each(UPDATE, "relationship", "relationship-ended"),
    **_each(CREATE, "opt-out evidence", "opt-out-evidence"),
    **_each(EXPORT, "opt-out lists", "opt-out-lists-prepared"),
    **_each(IMPORT, "opt-out answers", "opt-out-answered"),
    **_each(UPDATE, "opt-out list", "opt-out-list-abandoned", "opt-out-list-refused"),
    # Who looked at the log, or at what was found in it.
    **_each(LOG_USED, "access report", "access-report"),
    **_each(LOG_USED, "decision", "decision-explained"),
    **_each(LOG_USED, "views while a merge stood", "who-saw-read"),
    **_each(LOG_USED, "usage", "usage-read"),
    **_each(LOG_USED, "decisions under a draft policy", "what-if"),
    **_each(LOG_USED, "alerts", "alerts-read", "alert-figures-read"),
    **_each(EXPORT, "audit log", "audit-exported"),
    **_each(EXPORT, "index", "index-exported"),
    **_each(UPDATE, "alert", "alert-reviewed", "alerts-protected"),
    **_each(UPDATE, "audit rows", "audit-rows-erased"),
    **_each(READ, "notices", "notices-read"),
    **_each(UPDATE, "notice", "notice-told", "notice-not-needed", "notice-reopened"),
    **_each(JOB, "notices", "notices-opened", "notices-closed", "notices-opened-again"),
    # What alerts and usage rest on.
    **_each(READ, "celebrities", "celebrities-read"),
    **_each(CREATE, "celebrity", "celebrity-listed"),
    **_each(DELETE, "celebrity", "celebrity-unlisted"),
    **_each(IMPORT, "staff file", "staff-loaded"),
    **_each(DELETE, "staff file", "staff-withdrawn"),
    **_each(IMPORT, "working hours", "hours-loaded"),
    **_each(DELETE, "working hours", "hours-withdrawn"),
    **_each(IMPORT, "usage", "usage-loaded"),
    # Who is this?
    **_each(SEARCH, "persons", "person-searched"),
    **_each(CREATE, "source record", "record-received"),
    **_each(UPDATE, "person", "record-linked", "index-relinked", "record-merged", "record-restored"),
    **_each(UPDATE, "person", "local-merge", "local-renumber", "numbers-superseded"),
    **_each(UPDATE, "person", "location-protected", "location-unprotected"),
    **_each(DELETE, "source record", "record-erased", "record-purged"),
    **_each(DELETE, "source record", "record-withdrawn", "record-withdrawal"),
    **_each(UPDATE, "purge", "purge-proposed", "purge-withdrawn", "tombstone-lifted"),
    **_each(UPDATE, "feed", "feed-withdrawn", "feed-restored"),
    **_each(CREATE, "feed", "hl7-feed-added"),
    **_each(UPDATE, "feed", "hl7-feed-changed", "hl7-feed-started", "hl7-feed-stopped"),
    **_each(JOB, "index", "index-switched", "keys-retired", "keys-retirement-approved"),
    **_each(EXPORT, "number trace", "number-trace-asked"),
    **_each(IMPORT, "number trace", "number-traced"),
    # The review queue.
    **_each(READ, "task", "task-read"),
    **_each(CREATE, "task", "question-asked", "links-sampled", "link-doubted"),
    **_each(UPDATE, "task", "question-withdrawn", "task-claimed", "task-commented", "task-decided"),
    **_each(UPDATE, "task", "task-deferred", "task-disagreed", "task-escalated", "task-given-back"),
    **_each(UPDATE, "task", "task-proposed", "task-proposal-undone", "task-released", "task-resumed"),
    **_each(UPDATE, "tasks", "decision-undone", "bulk-decision", "bulk-decision-undone"),
    # What the service is set up with.
    **_each(SETTING, "match model", "model-proposed", "model-approved", "model-withdrawn"),
    **_each(SETTING, "match model", "model-activated", "model-rolled-back"),
    **_each(SETTING, "policy", "policy-drafted", "policy-proposed", "policy-approved", "policy-withdrawn"),
    **_each(SETTING, "policy", "policy-published", "policy-rolled-back"),
    **_each(CREATE, "agreement", "agreement-recorded"),
    **_each(CREATE, "organisation", "organisation-added"),
    **_each(UPDATE, "organisation", "organisation-changed"),
    **_each(SETTING, "webhook", "webhook-added", "webhook-changed", "webhook-paused", "webhook-removed"),
    **_each(SETTING, "webhook", "webhook-secret-rotated"),
    **_each(JOB, "webhook", "webhook-pinged", "webhook-replayed", "webhook-delivery-retried"),
    **_each(SIGN_IN, "session", "sign-in"),
    **_each(SIGN_IN, "token", "token-issued"),
    **_each(READ, "token", "token-introspected"),
    **_each(SECURITY, "token", "token-revoked", "tokens-revoked"),
    **_each(SECURITY, "client", "client-added", "client-changed", "client-opened", "client-closed"),
    **_each(SECURITY, "client", "client-key-added", "client-key-retired"),
    **_each(SECURITY, "session", "sessions-ended"),
    **_each(SECURITY, "user", "user-added", "user-opened", "user-closed"),
    **_each(SECURITY, "signing key", "signing-key-rotated"),
    **_each(JOB, "demonstration", "demonstration-set-up"),
}
"""Every kind of row that the code writes."""

_OF_OLD = Told(JOB, "audit row")
"""A kind that an earlier version wrote and this one does not know."""

OUTCOMES = {"success": "0", "denied": "8", "failed": "8"}
"""The log's outcomes as FHIR has them: 8, where the act was not done."""


@dataclass(frozen=True, slots=True)
class Systems:
    """The systems of this service's own identifiers and codes, below its public address."""

    base: str

    @property
    def person(self) -> str:
        return f"{self.base}/id/person"

    @property
    def user(self) -> str:
        return f"{self.base}/id/user"

    @property
    def client(self) -> str:
        return f"{self.base}/id/client"

    @property
    def kind(self) -> str:
        return f"{self.base}/id/audit-kind"

    @property
    def purpose(self) -> str:
        return f"{self.base}/id/purpose"

    @property
    def leaf(self) -> str:
        return f"{self.base}/fhir/R4/StructureDefinition/audit-leaf-hash"

    @property
    def fhir(self) -> str:
        return f"{self.base}/fhir/R4"


def told_of(kind: str) -> Told:
    return EVENTS.get(kind, _OF_OLD)


def audit_event_of(
    row: AuditEvent, person_id: int | None, systems: Systems, *, words: str = ""
) -> dict[str, Any]:
    """Write one row as a FHIR R4 AuditEvent.

    Args:
        person_id: who the person of the row is now, by whose id it is told: an id that was theirs once would tell of their records.
        words: why it was decided so, as an officer may read it.
    """
    told = told_of(row.kind)
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": format_id(row.event_id),
        "extension": [{"url": systems.leaf, "valueString": row.leaf_hash}],
        "type": _coding(told.pattern.type),
        "subtype": [*map(_coding, told.pattern.subtype), _coding((systems.kind, row.kind))],
        "action": told.pattern.action,
        "recorded": _instant(row.at),
        "outcome": OUTCOMES[row.outcome],
    }
    if words:
        resource["outcomeDesc"] = words
    purpose = _purpose(row, systems)
    if purpose is not None:
        resource["purposeOfEvent"] = [purpose]
    return resource | {
        "agent": _agents(row, told.pattern, systems),
        "source": {
            "observer": _here(systems),
            "type": [_coding((_SOURCE_TYPE, "6" if told.pattern.server == _AUTHORIZER else "4"))],
        },
        "entity": _entities(row, person_id, told, systems),
    }


def is_erased(row: AuditEvent) -> bool:
    """Whether the row's personal parts were taken out: a row that has them has a detail, if an empty one."""
    return row.detail is None


def _agents(row: AuditEvent, pattern: Pattern, systems: Systems) -> list[dict[str, Any]]:
    is_person = row.actor_kind == "person"
    client_id = row.client_id if is_person else row.client_id or row.actor_id
    client: dict[str, Any]
    if client_id is not None:
        client = _identified(systems.client, client_id)
    elif is_erased(row):
        client = _absent("masked")
    else:  # a person who came without a system in between
        client = _absent("not-applicable")
    agents = [
        {
            "type": _concept(pattern.client),
            "who": client,
            "requestor": not is_person,
            "network": {"_address": _absent("unknown")},  # the log keeps none
        },
        {
            "type": _concept(pattern.server),
            "who": _here(systems),
            "requestor": False,
            "network": {"address": systems.fhir, "type": "5"},
        },
    ]
    if is_person:
        who = _absent("masked") if row.actor_id is None else _identified(systems.user, row.actor_id)
        user: dict[str, Any] = {"type": _concept((_PARTICIPATION, "IRCP"))}
        if row.actor_role is not None and _JOB_ROLE_CODE.fullmatch(row.actor_role):
            name = {"text": role_name(row.actor_role)} if row.actor_role in ROLES else {}
            user["role"] = [_concept((_JOB_ROLE, row.actor_role)) | name]
        user |= {"who": who, "requestor": True}
        purpose = _purpose(row, systems)
        agents.append(user if purpose is None else user | {"purposeOfUse": [purpose]})
    if row.organisation is not None:
        kind = _RECIPIENT if pattern is DISCLOSE else (_ROLE_CLASS, "PROV")
        agents.append(
            {"type": _concept(kind), "who": _identified(ODS, row.organisation), "requestor": False}
            | ({"network": {"_address": _absent("unknown")}} if pattern is DISCLOSE else {})
        )
    return agents


def _entities(row: AuditEvent, person_id: int | None, told: Told, systems: Systems) -> list[dict[str, Any]]:
    detail = row.detail or {}
    entities = []
    if told.pattern.role == _QUERY:
        # The raw query is not kept: it would hold names. What was asked by is.
        query = {"_query": _absent("masked")}
        entities.append(_entity((_ENTITY_TYPE, "2"), _QUERY) | query | _asked_by(detail))
    elif told.pattern is DISCLOSE:
        entities += [_entity((_ENTITY_TYPE, "2"), _DATA, {"display": one}) for one in _let_go(detail)]
    else:
        one = _entity((_ENTITY_TYPE, "2"), told.pattern.role, {"display": told.what})
        entities.append(one | _asked_by(detail))
    if told.pattern in (DECIDE, EMERGENCY):
        # Which directives counted is not told of any: so it says nothing of this one.
        entities.append(_entity(("http://hl7.org/fhir/resource-types", "Consent"), None, _absent("masked")))
    if is_erased(row):
        entities.append(_entity((_ENTITY_TYPE, "1"), "1", _absent("masked")))
    elif person_id is not None:
        who = _identified(systems.person, format_id(person_id))
        entities.append(_entity((_ENTITY_TYPE, "1"), "1", who | {"type": "Patient"}))
    if row.request_id is not None:
        entities.append(
            _entity((_BALP_ENTITY, "XrequestId"), None, {"identifier": {"value": row.request_id}})
        )
    return entities


def _let_go(detail: Mapping[str, Any]) -> list[str]:
    """What left, by category, label and source: an item's own id is its source's, and stays out."""
    items: Sequence[Sequence[Any]] = detail.get("items", ())
    found = sorted({(str(category), str(label), str(source)) for _, category, label, source in items})
    return [f"{category}, label {label}, of {source}" for category, label, source in found] or ["no items"]


def _asked_by(detail: Mapping[str, Any]) -> dict[str, str]:
    names = detail.get("parameters")
    return {"description": "Asked by: " + ", ".join(map(str, names))} if names else {}


def _purpose(row: AuditEvent, systems: Systems) -> dict[str, Any] | None:
    if row.purpose not in PURPOSES:  # what a caller made up may be anything, and was refused
        return None
    # Ours alone: HL7 has no reason for courts and coroners.
    return _concept((systems.purpose if row.purpose == "LEGAL" else _REASON, row.purpose))


def _entity(kind: Coding, role: str | None, what: Mapping[str, Any] | None = None) -> dict[str, Any]:
    entity: dict[str, Any] = {} if what is None else {"what": dict(what)}
    entity["type"] = _coding(kind)
    return entity if role is None else entity | {"role": _coding((_OBJECT_ROLE, role))}


def _here(systems: Systems) -> dict[str, Any]:
    return {"display": systems.base}


def _identified(system: str, value: str) -> dict[str, Any]:
    return {"identifier": {"system": system, "value": value}}


def _absent(reason: str) -> dict[str, Any]:
    return {"extension": [{"url": _ABSENT, "valueCode": reason}]}


def _coding(coding: Coding) -> dict[str, str]:
    return {"system": coding[0], "code": coding[1]}


def _concept(coding: Coding) -> dict[str, Any]:
    return {"coding": [_coding(coding)]}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
