"""What scopes there are, and which of them a person's national job role brings. The one place for both."""

from foundation.errors import Invalid

# Each scope, and what it allows, in words for people.
SCOPES: dict[str, str] = {
    "agreements:write": "Record and read sharing agreements",
    "alerts:read": "Review alerts",
    "audit:read": "Read the audit log's checkpoints and proofs",
    "decisions": "Ask whether something may be shared",
    "directives:read": "Read patients' objections and permissions",
    "directives:write": "Record patients' objections and permissions",
    "directory:read": "Read the directory of organisations",
    "directory:write": "Maintain the directory of organisations",
    "emergency": "Open emergency access, with a reason",
    "events:read": "Follow what changes in the index, as far as other scopes let it be read",
    "match": "Find who someone is",
    "match:reasons": "See which fields agree and differ in a match",
    "metrics": "Read the service's counters",
    "notices": "Work through who is to be told of merges that were undone, and who saw what while they stood",
    "persons:read": "Read persons and their members",
    "policy:read": "Read the rules by which decisions are made, and what waits for approval",
    "policy:write": "For people: draft, propose, approve and publish the rules by which decisions are made",
    "quality:all": "Read figures of every organisation's data quality, rounded for other organisations",
    "quality:read": "Read figures of data quality of one's own organisations",
    "records:purge": "Propose and confirm the lawful erasure of source records",
    "records:read": "Read source records of one's own organisations",
    "records:withdraw": "Withdraw source records of one's own organisations, and restore them",
    "records:write": "Send source records",
    "redeem": "Redeem releases",
    "relationships:write": "Record relationships of care",
    "releases": "Ask for releases",
    "reports:read": "Answer who saw a patient's record",
    "restricted:read": "See, where others see nothing, review tasks about people whose location is protected",
    "tasks:advise": "Comment on review tasks that were handed on to a privacy officer, and give them back",
    "tasks:manage": "See in the review queue's figures who decided what, and how well readers agree",
    "tasks:read": "Read the review queue",
    "tasks:work": "Claim and decide review tasks; for people, propose and approve match models",
    "tokens:introspect": "Ask whether another system's access token stands, and what it opens",
    "usage:read": "Read how much the shared record is used, in counts",
    "webhooks:write": "Keep the webhooks of one's own organisations",
}

_CLINICIAN = frozenset({"match", "persons:read", "decisions", "directory:read", "emergency"})
_CLERK = frozenset({"match", "persons:read", "directives:read", "directives:write", "directory:read"})
_DATA_QUALITY = frozenset(
    {
        "match",
        "match:reasons",
        "persons:read",
        "quality:read",
        "records:read",
        "tasks:read",
        "tasks:work",
        "directory:read",
    }
)
# Those who look after the records of a region rather than of one organisation; see OWN_QUEUE_ROLES.
_REGIONAL_QUALITY = _DATA_QUALITY | {"quality:all"}
_PRIVACY = frozenset(
    {
        "persons:read",
        "reports:read",
        "alerts:read",
        "audit:read",
        "notices",
        "directives:read",
        "directory:read",
        "decisions",
        "policy:read",
        "policy:write",
        "records:purge",
        "tasks:read",
        "tasks:advise",
        "restricted:read",
        "usage:read",
    }
)
_ADMINISTRATOR = _CLERK | {
    "agreements:write",
    "directory:write",
    "policy:read",
    "relationships:write",
    "usage:read",
    "webhooks:write",
}

# National job role code: what it is called, and the scopes that it brings.
ROLES: dict[str, tuple[str, frozenset[str]]] = {
    "R0001": ("Privacy Officer", _PRIVACY),
    "R5105": ("Caldicott Guardian", _PRIVACY | {"directives:write"}),
    "R5110": ("Demographic Administrator", _REGIONAL_QUALITY),
    "R1984": ("Health Records Administrator", _DATA_QUALITY),
    "R8013": (
        "Health Records Manager",
        _DATA_QUALITY | {"records:purge", "records:withdraw", "tasks:manage"},
    ),
    "R1751": ("Administrator (Sensitive Records)", _REGIONAL_QUALITY | {"restricted:read"}),
    "R0008": ("Supervisor", _ADMINISTRATOR),
    "R8015": ("Systems Support", frozenset({"directory:read", "metrics"})),
    "R8012": ("Information Officer", frozenset({"directory:read", "policy:read", "usage:read"})),
    "R8008": ("Admin/Clinical Support", _CLERK),
    "R8009": ("Receptionist", _CLERK),
    "R8010": ("Clerical", _CLERK),
    "R8000": ("Clinical Practitioner", _CLINICIAN),
    "R8001": ("Nurse", _CLINICIAN),
    "R8002": ("Nurse Manager", _CLINICIAN),
    "R8003": ("Health Professional", _CLINICIAN),
    "R8014": ("Social Worker", _CLINICIAN - {"emergency"}),
    "R8016": ("Midwife", _CLINICIAN),
    "R0050": ("Consultant", _CLINICIAN),
    "R0260": ("General Medical Practitioner", _CLINICIAN),
    "R0270": ("Salaried General Practitioner", _CLINICIAN),
    "R1070": ("Paramedic", _CLINICIAN),
    "R1290": ("Pharmacist", _CLINICIAN - {"emergency"}),
}

OWN_QUEUE_ROLES = frozenset({"R1984", "R8013"})
"""Roles that look after one organisation's records: they begin with what that one can mend."""

PRIVACY_ROLES = frozenset(role for role, (_, scopes) in ROLES.items() if "tasks:advise" in scopes)
"""Roles to whom a review task can be handed on."""


def parse_role(text: str) -> str:
    """Read a role code. Of ``S8000:G8000:R8000`` only the last part counts.

    Raises:
        Invalid: ``role-unknown``.
    """
    role = text.rsplit(":", 1)[-1]
    if role not in ROLES:
        raise Invalid("role-unknown", field="role")
    return role


def role_name(role: str | None) -> str:
    return ROLES[role][0] if role in ROLES else "No role"


def scopes_of_role(role: str | None) -> frozenset[str]:
    return ROLES[role][1] if role in ROLES else frozenset()


def check_scopes(scopes: frozenset[str]) -> frozenset[str]:
    """Return the scopes given.

    Raises:
        Invalid: ``scope-unknown``.
    """
    if scopes - SCOPES.keys():
        raise Invalid("scope-unknown", field="scopes")
    return scopes
