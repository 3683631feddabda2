"""Builders of consent facts for tests: name only what matters, the rest is an ordinary, permitted request for care."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from consent.facts import (
    Actor,
    Agreement,
    CaseFile,
    Cell,
    Directive,
    EmergencyGrant,
    Relationship,
    Request,
    Scope,
    SourceSetting,
    Subject,
)
from consent.facts.directives import EVERYTHING

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
UCLH, SLAM, AMBULANCE, PRACTICE, CARE_HOME = "RRV", "RV5", "RRU", "Y12345", "VL123"
CONSUMER = UCLH
DOCTOR, NURSE, PARAMEDIC, PHYSIO, RECEPTIONIST, SOCIAL_WORKER = (
    "R8000",
    "R8001",
    "R1070",
    "R8003",
    "R8009",
    "R1330",
)
ANALYST, CORONERS_OFFICER, PROXY = "R8012", "L0003", "L0002"
SOURCES = {
    UCLH: SourceSetting(UCLH, "acute"),
    SLAM: SourceSetting(SLAM, "mental-health"),
    PRACTICE: SourceSetting(PRACTICE, "practice"),
    CARE_HOME: SourceSetting(CARE_HOME, "care-home"),
    AMBULANCE: SourceSetting(AMBULANCE, "ambulance"),
}

MEDICATION = Cell("medication", "N", PRACTICE)
LETTER = Cell("letters", "N", UCLH)
MENTAL_HEALTH_NOTE = Cell("notes", "PSY", SLAM)
ADDRESS = Cell("location", "N", PRACTICE)
NAME = Cell("demographics", "N", PRACTICE)
OLD_NAME = Cell("demographics", "GRA", UCLH)


def a_directive(
    kind: str = "objection", scope: Scope = EVERYTHING, *, at: datetime = NOW - DAY, **changes: Any
) -> Directive:
    made = Directive(
        directive_id=changes.pop("directive_id", int(at.timestamp())),
        kind=kind,
        scope=scope,
        identity=changes.pop("identity", 1),
        effective_at=at,
        recorded_at=at,
    )
    return replace(made, **changes)


def an_agreement(**changes: Any) -> Agreement:
    made = Agreement(
        agreement_id=1,
        version=1,
        providers=frozenset("*"),
        consumers=frozenset("*"),
        role_classes=frozenset(
            {"doctor", "nurse", "paramedic", "allied", "clerical", "social-worker", "proxy", "pharmacist"}
        ),
        purposes=frozenset({"TREAT", "ETREAT", "ERTREAT", "BTG", "CAREMGT", "FAMRQT", "PATADMIN"}),
        categories=frozenset(
            {
                "demographics",
                "location",
                "membership",
                "medication",
                "allergies",
                "letters",
                "notes",
                "encounters",
            }
        ),
        legal_basis="direct-care",
        starts_at=NOW - 100 * DAY,
    )
    return replace(made, **changes)


def a_relationship(kind: str = "admission", organisation: str = CONSUMER, **changes: Any) -> Relationship:
    return replace(Relationship(1, kind, organisation, NOW - DAY), **changes)


def a_grant(**changes: Any) -> EmergencyGrant:
    made = EmergencyGrant(1, 1, "user-1", CONSUMER, "emergency-care", NOW - HOUR / 2, NOW + HOUR)
    return replace(made, **changes)


def a_case(
    *cells: Cell,
    role: str = DOCTOR,
    organisation: str = CONSUMER,
    purpose: str = "TREAT",
    directives: Iterable[Directive] = (),
    agreements: Iterable[Agreement] | None = None,
    relationships: Iterable[Relationship] | None = None,
    subject: dict[str, Any] | None = None,
    actor: dict[str, Any] | None = None,
    request: dict[str, Any] | None = None,
    **changes: Any,
) -> CaseFile:
    """A doctor of a trust asks, with a current admission and an agreement in force, for a patient's medication."""
    made = CaseFile(
        at=NOW,
        subject=replace(Subject(1, "current", epoch=5, age_years=40), **(subject or {})),
        actor=replace(Actor("user-1", organisation, role, assurance=2, client_id="portal"), **(actor or {})),
        request=replace(Request(purpose, cells or (MEDICATION,)), **(request or {})),
        directives=tuple(directives),
        agreements=tuple([an_agreement()] if agreements is None else agreements),
        relationships=tuple(
            [a_relationship(organisation=organisation)] if relationships is None else relationships
        ),
        sources=SOURCES,
    )
    return replace(made, **changes)
