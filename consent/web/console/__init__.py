"""The console of consent administration: directives of patients, files of them, agreements, rule sets. Thin faces of the services."""

from pathlib import Path

from flask import Blueprint, Flask

from consent.service.agreements import count_ending
from consent.service.context import Consent
from consent.service.directives import count_waiting
from consent.service.policies import list_policies
from consent.web.console import agreements, directives, find, imports, policies
from consent.web.console.words import words
from foundation.principal import Principal
from foundation.web import ConsoleLink, add_console_link
from foundation.web.pages import Card, add_cards, add_said, add_templates


def install_console(app: Flask, consent: Consent) -> None:
    """Add the pages of this wing to the console, a blueprint for each group."""
    add_templates(app, Path(__file__).resolve().parents[1] / "templates")
    for one in (find, imports, directives, agreements, policies):
        room = Blueprint(f"consent_{one.__name__.rpartition('.')[2]}", __name__)
        room.context_processor(words)
        one.add_pages(room, consent)
        app.register_blueprint(room)
    add_said(app, {**directives.SAID, **agreements.SAID, **policies.SAID})
    for link in (
        ConsoleLink("Objections", "/objections", "directives:write"),
        ConsoleLink("Agreements", "/agreements", "agreements:write"),
        ConsoleLink("Rule sets", "/policies", "policy:read"),
    ):
        add_console_link(app, link)
    _add_work(app, consent)


def _add_work(app: Flask, consent: Consent) -> None:
    """Say on the first page what waits for somebody."""

    def of_directives(by: Principal) -> list[Card]:
        waiting = count_waiting(consent, by)
        return [
            Card("Find a person", "/objections", "Record what a patient asked for"),
            Card(
                "Waiting for a decision",
                "/objections/due?why=pending",
                "Objections and permissions that nobody has decided",
                waiting["pending"],
            ),
            Card(
                "To be reviewed",
                "/objections/due?why=review",
                "The day to ask the patient again has come",
                waiting["review"],
            ),
        ]

    def of_agreements(_: Principal) -> list[Card]:
        hint = "What they allow ends with them"
        count = count_ending(consent)
        return [Card("Agreements that end within 60 days", "/agreements/list?ending=soon", hint, count)]

    def of_policies(by: Principal) -> list[Card]:
        waiting = [one for one in list_policies(consent).changes if one.is_open]
        return [
            Card("Rule sets that wait", "/policies", "To be approved, or to be published", len(waiting)),
        ]

    add_cards(app, "directives:write", of_directives)
    add_cards(app, "agreements:write", of_agreements)
    add_cards(app, "policy:write", of_policies)
