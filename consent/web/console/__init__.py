"""The console of consent administration: directives of patients, files of them, agreements, rule sets. Thin faces of the services."""

from pathlib import Path

from flask import Blueprint, Flask

from consent.service.context import Consent
from consent.web.console import agreements, directives, find, imports, policies
from consent.web.console.words import words
from foundation.web import ConsoleLink, add_console_link
from foundation.web.pages import add_said

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def install_console(app: Flask, consent: Consent) -> None:
    """Add the pages of this wing to the console, a blueprint for each group."""
    for one in (find, imports, directives, agreements, policies):
        name = f"consent_{one.__name__.rpartition('.')[2]}"
        room = Blueprint(name, __name__, template_folder=str(TEMPLATES))
        room.context_processor(words)
        one.add_pages(room, consent)
        app.register_blueprint(room)
    add_said(app, {**directives.SAID, **agreements.SAID, **policies.SAID})
    add_console_link(app, ConsoleLink("Objections", "/objections", "directives:write"))
    add_console_link(app, ConsoleLink("Agreements", "/agreements", "agreements:write"))
    add_console_link(app, ConsoleLink("Rule sets", "/policies", "policy:read"))
