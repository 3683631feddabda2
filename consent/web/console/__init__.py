"""The console of consent administration: directives of patients, files of them, agreements, rule sets. Thin faces of the services."""

from pathlib import Path

from flask import Blueprint, Flask

from consent.service.context import Consent
from consent.web.console import directives, find, imports
from consent.web.console.words import words
from foundation.web import ConsoleLink, add_console_link
from foundation.web.pages import add_said

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def install_console(app: Flask, consent: Consent) -> None:
    """Add the pages of this wing to the console."""
    room = Blueprint("consent_console", __name__, template_folder=str(TEMPLATES))
    room.context_processor(words)
    for one in (find, imports, directives):
        one.add_pages(room, consent)
    app.register_blueprint(room)
    add_said(app, directives.SAID)
    add_console_link(app, ConsoleLink("Objections", "/objections", "directives:write"))
