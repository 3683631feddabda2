"""Directives over FHIR (IHE PCF, ITI-108): a patient's Consents are read, searched, given and withdrawn; the same as over JSON."""

from typing import Any

from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.service.statements import (
    STATES,
    Statement,
    change_statement,
    give_statement,
    list_statements,
    read_statement_of,
)
from consent.web.fhir_consent import Terms, read_change, read_consent, statement_of
from foundation.errors import Conflict, Invalid, ServiceError
from foundation.ids import format_id, parse_id
from foundation.web import (
    answers_repeats_itself,
    current_principal,
    etag,
    if_match,
    requires,
    takes_if_match,
    write_cursor,
)
from foundation.web.body import read_json
from foundation.web.fhir import (
    Resource,
    SearchParameter,
    answers_with,
    base_url,
    body_of,
    check_form,
    described_parameters,
    form_of,
    format_parameter,
    id_of,
    make_fhir_blueprint,
    outcome,
    prefer_parameter,
    read_parameters,
    read_search,
    searchset,
    speaks_fhir,
    written,
)

_STATUSES = ("draft", "proposed", *STATES)  # no Consent here is one of the first two

CONSENT = Resource(
    "Consent",
    "What a patient, a source or the law asked for: directives that were given at one time, one a provision. What directives cannot say is "
    "refused by its path. Nothing recorded is ever changed: an update takes another status, and all else as it was read.",
    ("create", "read", "update", "search-type"),
    (
        SearchParameter(
            "patient",
            "reference",
            "Whose: the id of a person of this service, or `Patient/` and the id. Always needed: nobody reads across persons.",
            "^(Patient/)?[1-9][0-9]{0,18}$",
            is_required=True,
            is_repeatable=False,
        ),
        SearchParameter(
            "status",
            "token",
            "active, rejected, inactive (withdrawn) or entered-in-error; one that has ended is active, and its period says so.",
            f"^({'|'.join(_STATUSES)})(,({'|'.join(_STATUSES)}))*$",
        ),
    ),
)

_SAYS = {
    "given": "It is recorded, and binds every decision from now on",
    "kept": "It is recorded as refused, and binds nobody",
    "unchanged": "It stands so already",
    "changed": "It is recorded how it stands now",
}
_CHANGED = "Changed over FHIR (ITI-108)."


def make(consent: Consent) -> Blueprint:
    room = make_fhir_blueprint("consents", "Directives as FHIR Consents")
    terms = Terms(consent.issuer)
    documented = {
        "description": "Every directive that bears on the person, as over JSON, by the statements in which they were given; refused and "
        "withdrawn ones too. Each page that is read is audited. A parameter that is not known is refused, unless the request says "
        "`Prefer: handling=lenient`.",
        "responses": {
            "200": answers_with("A page of a searchset", "Bundle"),
            "404": {"description": "Nobody has this id: no Consents would mean that nothing was asked for"},
        },
    }

    @room.get("/Consent")
    @requires("directives:read")
    @room.doc(
        summary="Tell what was asked for of a person, as Consents, oldest first (ITI-108)",
        parameters=described_parameters(CONSENT),
        **documented,
    )
    @speaks_fhir
    def search() -> Any:
        return _search(consent, terms)

    @room.post("/Consent/_search")
    @requires("directives:read")
    @answers_repeats_itself
    @room.doc(
        summary="Tell what was asked for of a person, whose id is in the body (ITI-108)",
        parameters=[format_parameter()],
        requestBody=form_of(CONSENT),
        **documented,
    )
    @speaks_fhir
    def search_by_form() -> Any:
        check_form()
        return _search(consent, terms)

    @room.get("/Consent/<consent_id>")
    @requires("directives:read")
    @room.doc(
        summary="Read a Consent",
        description="By its id; the reading is audited. One that may not be known is answered as one that is not there.",
        parameters=read_parameters(),
        responses={"200": answers_with("The Consent", "Consent")},
    )
    @speaks_fhir
    def read(consent_id: str) -> Any:
        number = id_of(consent_id, "consent-unknown")
        found = read_statement_of(consent, number, current_principal())
        return statement_of(found, terms), 200, {"ETag": etag(found.version)}

    @room.post("/Consent")
    @requires("directives:write")
    @room.doc(
        summary="Record what was asked for of a person, as a Consent (ITI-108)",
        description="All of its provisions or none, each as a directive. What directives cannot say is refused by its path (422), so that "
        "what is read back says what was sent. It binds every decision that begins after the answer.",
        parameters=[prefer_parameter(), format_parameter()],
        requestBody=body_of(["Consent"], "What was asked for"),
        responses={
            "201": answers_with("It is recorded", "Consent"),
            "422": {"description": "Directives cannot say it"},
        },
    )
    @speaks_fhir
    def create() -> Any:
        read = read_consent(read_json(), terms)
        try:
            made = give_statement(consent, read.said, read.given_at, current_principal())
        except ServiceError as fault:
            raise read.as_told(fault) from fault
        said = "given" if made.state == "active" else "kept"
        return _answer(made, said, terms, 201)

    @room.put("/Consent/<consent_id>")
    @requires("directives:read", "directives:write")
    @takes_if_match
    @room.doc(
        summary="Withdraw a Consent, decide on it, or strike it out (ITI-108)",
        description="As it was read, with another `status`: `inactive` withdraws; `entered-in-error` strikes out, for which a second "
        "person is needed; of a pending one `rejected` refuses, and `active` without the mark of pending upholds. The extension "
        "`change-reason` says why. All else must be as it is told.",
        parameters=[prefer_parameter(), format_parameter()],
        requestBody=body_of(["Consent"], "The Consent with the status that it is to have"),
        responses={
            "200": answers_with("It stands so", "Consent"),
            "412": {"description": "Another edit came first"},
            "422": {"description": "Something other than the status differs, or nothing comes to stand so"},
        },
    )
    @speaks_fhir
    def update(consent_id: str) -> Any:
        by, version = current_principal(), if_match()
        number = id_of(consent_id, "consent-unknown")
        body = read_json()
        found = read_statement_of(consent, number, by)
        if version not in (None, found.version):
            raise Conflict("version-stale", ids={"version": format_id(found.version)})
        kind, reason = read_change(body, found, terms)
        if kind is None:
            return _answer(found, "unchanged", terms, 200)
        # The version that was compared is the one that is changed, whatever the caller said.
        made = change_statement(consent, number, kind, reason or _CHANGED, by, version=found.version)
        return _answer(made, "changed", terms, 200)

    return room


def _answer(made: Statement, said: str, terms: Terms, status: int) -> Any:
    told = outcome("information", "informational", said, _SAYS[said])
    body, headers = written(lambda: statement_of(made, terms), told, otherwise="representation")
    headers |= {"ETag": etag(made.version)}
    if status == 201:
        headers["Location"] = f"{base_url()}/Consent/{format_id(made.statement_id)}"
    return body, status, headers


def _search(consent: Consent, terms: Terms) -> Any:
    asked = read_search(CONSENT)
    (text,) = asked.values["patient"]
    person_id = parse_id(text.removeprefix("Patient/"), "patient")
    wanted = set(STATES)
    for given in asked.values.get("status", ()):
        if not set(given.split(",")) <= set(_STATUSES):
            raise Invalid("not-one-of", field="status")
        wanted &= set(given.split(","))
    after = asked.place
    found = [one for one in list_statements(consent, person_id, current_principal()) if one.state in wanted]
    page = [one for one in found if one.statement_id > after][: asked.count + 1]
    following = None
    if len(page) > asked.count:
        page = page[: asked.count]
        following = write_cursor([page[-1].statement_id])
    return searchset(CONSENT, asked, [statement_of(one, terms) for one in page], following, total=len(found))
