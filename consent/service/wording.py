"""What a directive covers and what it leaves, in the words that a patient is shown: before it is saved, and on the receipt.

The digest of these words is kept with the directive, so that it can be shown which ones somebody saw.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from consent.facts import Scope

CATEGORIES = {
    "demographics": "name, birth date and identifiers",
    "location": "address, phone and contacts",
    "membership": "which organisations know you",
    "encounters": "visits and stays",
    "problems": "problems and diagnoses",
    "medication": "medicines",
    "allergies": "allergies",
    "results": "test results",
    "referrals": "referrals",
    "letters": "letters",
    "notes": "notes",
    "care-plans": "care plans",
    "social-care": "social care records",
}

PURPOSES = {
    "TREAT": "care and treatment",
    "ETREAT": "emergency treatment",
    "ERTREAT": "treatment in an emergency department",
    "BTG": "emergency access with a reason",
    "CAREMGT": "planning of your care",
    "COC": "handing over your care",
    "PATRQT": "your own request to see your record",
    "FAMRQT": "a request by your family",
    "PWATRNY": "a request by somebody with power of attorney",
    "HRESCH": "research",
    "PUBHLTH": "public health",
    "HQUALIMP": "checks and improvement of services",
    "HPAYMT": "payment for services",
    "HOPERAT": "running and planning of services",
    "PATADMIN": "keeping your details right",
    "LEGAL": "a court, a coroner or the law",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """Sentences for the patient: what is covered, what stays as it is, and what of emergencies."""

    covers: tuple[str, ...]
    leaves: tuple[str, ...]
    emergency: str | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(
            "\n".join((*self.covers, self.emergency or "", *self.leaves)).encode()
        ).hexdigest()


_OWN_NOTES = "Each care organisation keeps its own notes, and the staff there go on seeing them."
_SEPARATE = "National choices are separate: the National Data Opt-out, and a Type 1 opt-out at a GP practice, are made elsewhere."
_PAST = "What was seen, printed or copied before cannot be called back."


def wording_of(
    kind: str,
    scope: Scope,
    *,
    standing: str = "upheld",
    may_override: bool = True,
    names: Mapping[str, str] | None = None,
    received_by: str = "",
    ends_at: datetime | None = None,
) -> Wording:
    """Say what a directive covers.

    Args:
        names: what organisations are called, by code.
    """

    def name(code: str) -> str:
        return (names or {}).get(code, code)

    if standing == "refused":
        return Wording(
            ("This was asked for and was not accepted, so nothing changes. The reason is recorded with it.",),
            ("It can be asked for again, and the refusal can be complained about.",),
        )
    covers, leaves = list(_covers(kind, scope, name, received_by)), list(_leaves(kind, scope, name))
    if standing == "pending":
        covers.append(
            "It changes nothing until somebody has decided it."
            if kind == "permission"
            else "It is kept to until somebody has decided it."
        )
    if ends_at is not None:
        covers.append(
            "It ends by itself on the last day that was given; after that it is as if it had not been made."
        )
    emergency = _emergency(kind, may_override)
    return Wording(tuple(covers), (*leaves, _OWN_NOTES, _SEPARATE, _PAST), emergency)


def _emergency(kind: str, may_override: bool) -> str | None:
    if kind != "objection":
        return None
    if may_override:
        return "In an emergency, staff who treat you may still look. They give a reason, a privacy officer checks it, and you are told."
    return "It holds in an emergency too: staff who treat you will not see what is covered, even when you cannot speak for yourself."


def _covers(kind: str, scope: Scope, name: Callable[[str], str], received_by: str) -> Iterator[str]:
    code = scope.code
    match kind, scope.kind:
        case "objection", "everything":
            yield "Organisations that use the shared record are shown nothing that other organisations hold about you."
        case "objection", "organisation":
            yield f"What {name(code)} holds about you is shown to no other organisation."
            yield f"{name(code)} is shown nothing that other organisations hold about you."
        case "objection", "category":
            yield f"No organisation is shown this about you, whoever holds it: {CATEGORIES.get(code, code)}."
        case "objection", "purpose":
            yield f"Nothing about you is shown for this purpose, whoever asks: {PURPOSES.get(code, code)}."
        case "permission", "everything":
            yield "What you objected to before is shared again, under the agreements between organisations."
        case "permission", "organisation":
            yield f"What {name(code)} holds about you may be shared again, and it may be shown what others hold."
        case "permission", "category":
            yield f"This may be shared again: {CATEGORIES.get(code, code)}."
        case "permission", "purpose":
            yield f"What is held about you may be shown again for this purpose: {PURPOSES.get(code, code)}."
        case "dissent", _:
            yield f"Nothing that {name(code)} holds about the patient leaves it through the shared record."
            yield "Nobody can set this aside at the point of care, in an emergency neither."
        case "seal", _:
            yield f"What {name(code)} holds about the patient is sealed: nobody else is shown it, or told that it is there."
        case "type-1", _:
            yield f"Nothing that {name(received_by)} holds about the patient is used beyond their own care."
        case _:
            yield "What the law protects about the patient is shown to nobody through the shared record."


def _leaves(kind: str, scope: Scope, name: Callable[[str], str]) -> Iterator[str]:
    code = scope.code
    if kind == "permission":
        yield "Objections that cover something else stand as they are."
        yield "It gives nobody more than the agreements between organisations allow."
        return
    if kind == "type-1":
        yield "Care and treatment go on as before."
    if kind != "objection":
        return
    match scope.kind:
        case "organisation":
            yield f"What other organisations hold is shared between them as before, without {name(code)}."
        case "category":
            yield "Everything else is shared as before."
        case "purpose":
            yield "For any other purpose everything is shared as before."
