"""The consent wing over HTTP: decisions, releases, directives, agreements, relationships, reports, alerts, policies, as JSON;
directives and the audit log as FHIR too."""

from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.web import (
    alerts,
    audit_events,
    consents,
    decisions,
    directives,
    facts,
    notices,
    policies,
    releases,
    reports,
)
from foundation.web.fhir import Resource

__all__ = ["FHIR", "make_blueprints"]

FHIR: tuple[Resource, ...] = (audit_events.AUDIT_EVENT, consents.CONSENT)
"""The resources that this wing serves below ``/fhir/R4``."""


def make_blueprints(consent: Consent) -> tuple[Blueprint, ...]:
    """Return the blueprints to be registered on the application's API; every view asks this service."""
    return tuple(
        room.make(consent)
        for room in (
            decisions,
            releases,
            directives,
            consents,
            facts,
            reports,
            audit_events,
            alerts,
            notices,
            policies,
        )
    )
