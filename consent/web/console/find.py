"""Finding whom a directive is for. A search is sent as a form: what was typed stands in no address, and each search is audited."""

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from consent.service.context import Consent
from consent.web.console.who import fault_of_form, gated, record_of_form, told, typed
from foundation.errors import Invalid, NotFound
from foundation.web import current_principal, requires
from foundation.web.pages import go
from mpi.service.golden import get_golden
from mpi.service.match import match_person

MOST_SHOWN = 5


def add_pages(room: Blueprint, consent: Consent) -> None:
    @room.get("/objections")
    @requires("directives:write", "match")
    def find() -> str:
        """Ask whom it is about."""
        return render_template("consent/find.html", typed={}, faults=[])

    @room.get("/objections/find")
    @requires("directives:write", "match")
    def find_again() -> Response:
        """Begin again: a search stands in no address."""
        return go("/objections")

    @room.post("/objections/find")
    @requires("directives:write", "match", "persons:read")
    def found() -> str | tuple[str, int]:
        """Show who may be meant, as far as the caller may see them."""
        by, given = current_principal(), typed(request.form)
        try:
            answer = match_person(consent.mpi, record_of_form(given, by.organisation), by, limit=MOST_SHOWN)
        except Invalid as error:
            page = render_template("consent/find.html", typed=given, faults=fault_of_form(error))
            return page, 422
        people = []
        for one in answer.candidates:
            try:
                people.append((one.grade.value, told(get_golden(gated(consent), one.person_id, by))))
            except NotFound:  # it moved since
                continue
        return render_template(
            "consent/found.html", typed=given, people=people, is_complete=answer.search_complete
        )
