"""Codes in words for staff, as the pages of this wing write them."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import g

from consent.service.wording import CATEGORIES, PURPOSES
from foundation.auth.roles import role_name

KINDS = {
    "objection": "Objection",
    "permission": "Permission",
    "dissent": "Dissent of an organisation",
    "seal": "Seal of an organisation",
    "type-1": "Type 1 opt-out",
    "statutory-bar": "Bar by law",
}
CAPACITIES = {
    "patient": "The patient",
    "parent": "A parent, or another with parental responsibility",
    "attorney": "An attorney (lasting power of attorney)",
    "deputy": "A deputy of the Court of Protection",
    "clinician-best-interests": "A clinician, in the patient's best interests",
    "practice": "The GP practice",
    "provider": "The organisation that holds the records",
    "court": "A court",
}
CHANNELS = {
    "in-person": "In person",
    "phone": "By phone",
    "letter": "By letter",
    "form": "On a paper form",
    "online": "Online",
    "other": "Another way",
}
STANDINGS = {
    "upheld": "Upheld",
    "pending": "Waiting for a decision",
    "refused": "Refused",
    "entered-in-error": "Entered in error",
    "withdrawn": "Withdrawn",
    "ended": "Ended",
    "not-yet": "Begins later",
}
TONES = {
    "upheld": "nhsuk-tag--green",
    "pending": "nhsuk-tag--yellow",
    "refused": "nhsuk-tag--grey",
    "entered-in-error": "nhsuk-tag--red",
    "withdrawn": "nhsuk-tag--grey",
    "ended": "nhsuk-tag--grey",
    "not-yet": "nhsuk-tag--blue",
}
SETTINGS = {
    "acute": "hospital trust",
    "mental-health": "mental health trust",
    "ambulance": "ambulance service",
    "community": "community services",
    "practice": "GP practice",
    "care-home": "care home",
    "borough": "council social care",
    "neighbour": "neighbouring area",
    "other": "other organisation",
}
ASKERS = {
    "R8000": "A doctor",
    "R8001": "A nurse",
    "R1070": "A paramedic",
    "R0260": "A GP",
    "L0010": "A care worker",
    "R8014": "A social worker",
    "R8003": "A health professional",
    "R8012": "An analyst",
}
EVENTS = {
    "recorded": "Recorded",
    "upheld": "Upheld",
    "refused": "Refused",
    "withdrawn": "Withdrawn",
    "entered-in-error": "Struck out as entered in error",
}


AGREEMENTS = {
    "in-force": ("In force", "nhsuk-tag--green"),
    "planned": ("Planned", "nhsuk-tag--blue"),
    "past": ("Ended", "nhsuk-tag--grey"),
}

POLICIES = {
    "in-force": ("In force", "nhsuk-tag--green"),
    "approved": ("Approved", "nhsuk-tag--blue"),
    "proposed": ("Proposed", "nhsuk-tag--yellow"),
    "past": ("Was in force", "nhsuk-tag--grey"),
    "draft": ("Draft", "nhsuk-tag--white"),
}


def last_day(ends_at: datetime) -> datetime:
    """Return the last day on which something stands that ends at an instant, for people: it ends as that day does."""
    return ends_at - timedelta(seconds=1)


def category(code: str) -> str:
    return CATEGORIES.get(code, code).replace("you", "the patient")


def purpose(code: str) -> str:
    if code == "PATRQT":
        return "the patient's own request to see their record"
    return PURPOSES.get(code, code).replace("your own", "the patient's own").replace("your", "the patient's")


def categories(codes: Iterable[str]) -> str:
    """Write categories as a list in a sentence."""
    return listed([category(code) for code in codes])


def listed(texts: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = list(texts) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def scope(kind: str, code: str, names: Mapping[str, str]) -> str:
    """Write what a directive is about."""
    match kind:
        case "everything":
            return "Everything that is shared"
        case "organisation":
            return f"{names.get(code, code)} ({code})"
        case "category":
            return category(code).capitalize()
        case _:
            return f"Use for {purpose(code)}"


def words() -> dict[str, Any]:
    """Return what templates of this wing may call, and the scopes of whoever looks."""
    return {
        "scopes": g.principal.scopes if g.get("principal") is not None else frozenset(),
        "kinds": KINDS,
        "capacities": CAPACITIES,
        "channels": CHANNELS,
        "standings": STANDINGS,
        "tones": TONES,
        "settings": SETTINGS,
        "askers": ASKERS,
        "events": EVENTS,
        "agreement_states": AGREEMENTS,
        "last_day": last_day,
        "policy_states": POLICIES,
        "category": category,
        "categories": categories,
        "purpose": purpose,
        "listed": listed,
        "scope_in_words": scope,
        "role_in_words": role_name,
    }
