"""The consent wing over HTTP: decisions, releases, directives, agreements, relationships, reports, alerts, policies, as JSON."""

from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.web import alerts, decisions, directives, facts, notices, policies, releases, reports

__all__ = ["make_blueprints"]


def make_blueprints(consent: Consent) -> tuple[Blueprint, ...]:
    """Return the blueprints to be registered on the application's API; every view asks this service."""
    return tuple(
        room.make(consent)
        for room in (decisions, releases, directives, facts, reports, alerts, notices, policies)
    )
