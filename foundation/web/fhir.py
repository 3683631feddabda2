"""The shell of the FHIR R4 interface: its media type, OperationOutcome for refusals, searches Bundles, the CapabilityStatement."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import flask_smorest
from flask import Flask, Response, abort, json, request
from marshmallow import fields
from werkzeug.exceptions import NotAcceptable

from foundation.errors import Invalid, NotFound
from foundation.ids import parse_id
from foundation.web.access import open_to_all
from foundation.web.openapi import answers, make_blueprint
from foundation.web.paging import DEFAULT_LIMIT, MOST, read_cursor
from foundation.web.problems import Form, add_form, title_of, told_name
from foundation.web.schemas import Schema
from foundation.web.shell import shell

F = TypeVar("F", bound=Callable[..., Any])

PREFIX = "/fhir/R4"
CONTENT_TYPE = "application/fhir+json"
_FORMATS = ("json", "application/json", CONTENT_TYPE)
_STATED_ON = "2026-11-28"  # when what is stated below last changed
_ISSUES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    410: "deleted",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "business-rule",
    429: "throttled",
    503: "transient",
}
_MANNER = ("_format", "_summary", "_elements")
_SHARED = ("_count", "_cursor", *_MANNER)
_SUMMARIES = ("true", "text", "data", "count", "false")
_RETURNS = ("minimal", "representation", "OperationOutcome")
_ELEMENT = re.compile(r"[a-z][A-Za-z0-9]{0,39}")
SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}
"""The mark of a resource that holds less than there is."""

_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules"})
_MANDATORY = {
    "AuditEvent": ("type", "recorded", "agent", "source"),
    "Consent": ("status", "scope", "category"),
    "Linkage": ("item",),
    "Provenance": ("target", "recorded", "agent"),
}
"""Elements of R4 that a resource cannot do without."""

_SUMMARY = {
    "AuditEvent": ("subtype", "action", "period", "outcome", "outcomeDesc", "purposeOfEvent"),
    "Consent": ("identifier", "patient", "dateTime", "performer", "organization", "source", "policyRule", "provision"),
    "Linkage": ("active", "author"),
    "Patient": (
        "identifier", "active", "name", "telecom", "gender", "birthDate", "deceased", "address", "managingOrganization", "link",
    ),
    "Person": ("identifier", "active", "name", "telecom", "gender", "birthDate", "address", "managingOrganization"),
    "Provenance": ("entity",),
}  # fmt: skip
"""Elements that R4 marks as part of a summary, beside the mandatory ones."""


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter of a search: its FHIR type, what it means here, and a pattern of its values."""

    name: str
    kind: str
    documentation: str
    pattern: str
    is_required: bool = False
    is_repeatable: bool = True
    modifiers: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *(f"{self.name}:{one}" for one in self.modifiers))


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a type of resource: its name without the dollar, and the canonical address of its definition."""

    name: str
    definition: str
    documentation: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One type of resource that is served: how it may be asked for.

    ``is_conditional``: whether it is written by an identifier rather than by an id. ``is_counted``: whether a page of a search says how
    many there are in all.
    """

    type: str
    documentation: str
    interactions: tuple[str, ...]
    parameters: tuple[SearchParameter, ...]
    operations: tuple[Operation, ...] = ()
    profiles: tuple[str, ...] = ()
    is_conditional: bool = False
    is_counted: bool = True


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it was understood: the values of each parameter in order, and what was left out because the caller is lenient.

    ``manner``: what was said of how it is to be told.
    """

    values: Mapping[str, tuple[str, ...]]
    manner: Mapping[str, tuple[str, ...]]
    count: int
    cursor: str | None
    ignored: tuple[str, ...]

    @property
    def place(self) -> int:
        """The number that the page before ended with, 0 before the first.

        Raises:
            Invalid: ``cursor-format``.
        """
        found = read_cursor(self.cursor, int, field="_cursor")
        return found[0] if found else 0


class FhirDetailsSchema(Schema):
    coding = fields.List(fields.Dict(keys=fields.String(), values=fields.String()))
    text = fields.String()


class FhirIssueSchema(Schema):
    """What is wrong: a code of FHIR, and ours in ``details.coding``."""

    severity = fields.String(required=True)
    code = fields.String(required=True)
    details = fields.Nested(FhirDetailsSchema)
    diagnostics = fields.String()
    location = fields.List(fields.String())
    expression = fields.List(fields.String())


class OperationOutcomeSchema(Schema):
    """A refusal, or a warning, as FHIR has it."""

    resourceType = fields.String(required=True)
    issue = fields.List(fields.Nested(FhirIssueSchema), required=True)


def operation_outcome(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Write a problem as an OperationOutcome: an issue for each field at fault, or one."""
    status = problem["status"]
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            _issue("error", _ISSUES.get(status, "exception"), fault["code"], title_of(status))
            | ({"diagnostics": problem["detail"]} if "detail" in problem else {})
            | (_place(fault["field"]) if "field" in fault else {})
            for fault in problem.get("errors") or [problem]
        ],
    }


def _place(field: str) -> dict[str, list[str]]:
    """Say where a fault is: in a resource by FHIRPath, which begins with its type; in the request by the name of the parameter."""
    return {"expression": [field]} if field[:1].isupper() else {"location": [f"http.{field}"]}


def _issue(severity: str, kind: str, code: str, text: str) -> dict[str, Any]:
    coding = [{"system": "urn:problem", "code": code}]
    return {"severity": severity, "code": kind, "details": {"coding": coding, "text": text}}


def outcome(severity: str, kind: str, code: str, text: str, **more: Any) -> dict[str, Any]:
    """Write an OperationOutcome of one issue: an answer, or a warning beside one."""
    return {"resourceType": "OperationOutcome", "issue": [_issue(severity, kind, code, text) | more]}


FORM = Form(
    PREFIX,
    CONTENT_TYPE,
    "OperationOutcome",
    "Fhir",
    operation_outcome,
    # To FHIR what cannot be read is a bad request; 422 is for resources that break a rule (Unprocessable).
    {422: 400},
    frozenset({406}),
    # So FHIR answers who edits what has changed meanwhile; elsewhere it is 409.
    {"version-stale": 412},
)


def install_fhir(app: Flask) -> None:
    """Let everything below ``/fhir/R4`` be refused as FHIR refuses."""
    add_form(app, FORM)
    app.extensions["api"].spec.components.schema("OperationOutcome", schema=OperationOutcomeSchema)


def make_fhir_blueprint(name: str, description: str) -> flask_smorest.Blueprint:
    """Return a blueprint for FHIR routes, each of which bears ``requires`` or ``open_to_all``, and ``speaks_fhir``."""
    return make_blueprint(name, PREFIX, description)


def speaks_fhir(view: F) -> F:
    """Let a view return a resource, alone or with status and headers, to callers who take FHIR's JSON or JSON.

    Raises:
        NotAcceptable: for those who take neither.
    """

    @wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        _check_acceptable()
        part = _part_wanted()
        said = view(*args, **kwargs)
        resource, status, headers = said if isinstance(said, tuple) else (said, 200, {})
        if part is not None:
            resource = _cut(resource, part)
        body = None if resource is None else json.dumps(resource)
        return Response(body, status, headers, content_type=f"{CONTENT_TYPE}; charset=utf-8")

    return cast(F, answer)


def _check_acceptable() -> None:
    asked = request.args.getlist("_format")
    if asked:
        if len(asked) != 1 or asked[0].replace(" ", "+") not in _FORMATS:  # "+" in a query is a space
            raise NotAcceptable
    elif request.accept_mimetypes and not request.accept_mimetypes.best_match(
        [CONTENT_TYPE, "application/json"]
    ):
        raise NotAcceptable


# Less than the whole -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """What is wanted of each resource: a kind of summary, or some elements by name."""

    summary: str
    elements: tuple[str, ...] = ()

    def has(self, name: str, of: str) -> bool:
        names = _MANDATORY.get(of, ()) + (_SUMMARY.get(of, ()) if self.summary == "true" else self.elements)
        plain = name.removeprefix("_")
        # Of a choice of types the name ends with the type: source is sourceReference here.
        return name in _ALWAYS or any(
            plain == one or (plain.startswith(one) and plain[len(one)].isupper()) for one in names
        )


def _part_wanted() -> _Part | None:
    """Read ``_summary`` and ``_elements``, which ask for a part of what is found or read; None where the whole is wanted.

    Raises:
        Invalid: ``not-one-of``, ``repeated``, ``empty``; ``summary-and-elements`` where both are asked for.
    """
    told_by = request.values if request.mimetype == "application/x-www-form-urlencoded" else request.args
    summary, elements = (told_by.getlist(name) for name in ("_summary", "_elements"))
    for name, given in (("_summary", summary), ("_elements", elements)):
        if len(given) > 1:
            raise Invalid("repeated", field=name)
        if given and not given[0]:
            raise Invalid("empty", field=name)
    if summary and summary[0] not in _SUMMARIES:
        raise Invalid("not-one-of", field="_summary")
    if summary and elements:
        raise Invalid("summary-and-elements", field="_elements", detail="Ask for one of them.")
    if elements:
        names = tuple(name.strip() for name in elements[0].split(","))
        if not all(_ELEMENT.fullmatch(name) for name in names):
            raise Invalid("not-one-of", field="_elements")
        return _Part("elements", names)
    if told_by.get("_count") == "0":
        return _Part("count")
    # There is no narrative: all but the text is all.
    return _Part(summary[0]) if summary and summary[0] not in ("false", "data") else None


def _cut(resource: Any, part: _Part) -> Any:
    kind = resource.get("resourceType") if isinstance(resource, Mapping) else None
    if kind == "Bundle":
        entries = [
            one if one["search"]["mode"] == "outcome" else {**one, "resource": _cut(one["resource"], part)}
            for one in resource.get("entry", ())
            if part.summary != "count" or one["search"]["mode"] == "outcome"
        ]
        bare = {name: value for name, value in resource.items() if name != "entry"}
        if part.summary == "count" and "link" in bare:
            bare["link"] = [one for one in bare["link"] if one["relation"] == "self"]
        return bare | ({"entry": entries} if entries else {})
    if kind not in _MANDATORY and kind not in _SUMMARY:
        return resource
    if part.summary == "count":
        raise Invalid("not-one-of", field="_summary", detail="One resource is not counted.")
    kept = {name: value for name, value in resource.items() if part.has(name, kind)}
    meta = dict(kept.get("meta", {}))
    meta["tag"] = [*(one for one in meta.get("tag", ()) if one != SUBSETTED), SUBSETTED]
    return {"resourceType": kind, **({"id": kept["id"]} if "id" in kept else {}), **kept, "meta": meta}


# Writes ------------------------------------------------------------------------------------------------------------------


def wanted_return() -> str | None:
    """Return what a caller would rather have in answer to a write: ``minimal``, ``representation`` or ``OperationOutcome``."""
    for wish in _wishes():
        name, _, value = wish.partition("=")
        if name.strip().lower() == "return":
            found = value.strip().strip('"')
            return next((one for one in _RETURNS if one.lower() == found.lower()), None)
    return None


def written(
    representation: Callable[[], Any], said: Mapping[str, Any], *, otherwise: str
) -> tuple[Any, dict[str, str]]:
    """Return what a write answers with, and the header that says so: as the caller would rather have it, ``otherwise`` as it is here.

    Args:
        representation: makes the resource that was written; it may return None where the caller may not have it.
        said: the OperationOutcome.
    """
    wish = wanted_return()
    applied = {"Preference-Applied": f"return={wish}"} if wish else {}
    if (wish or otherwise) == "minimal":
        return None, applied
    if (wish or otherwise) == "representation":
        resource = representation()
        return (said, {}) if resource is None else (resource, applied)
    return said, applied


# Searches ----------------------------------------------------------------------------------------------------------------


def check_form() -> None:
    """See that what a search says in its body is a form; anything else is answered 415."""
    if request.mimetype not in ("", "application/x-www-form-urlencoded"):
        abort(415)


def read_search(resource: Resource) -> Search:
    """Read the request's query, and the form of ``POST _search``, as a search for this resource.

    What is not known is refused, as a filter that is not applied would mislead; a caller who sends ``Prefer: handling=lenient`` is told.

    Raises:
        Invalid: ``unknown-field``, ``required``, ``repeated``, ``empty``, ``out-of-range``; each names the parameter.
    """
    known = {name: one for one in resource.parameters for name in one.names}
    values: dict[str, tuple[str, ...]] = {}
    ignored = []
    told_by = request.values if request.method == "POST" else request.args
    for name, given in told_by.lists():
        parameter = known.get(name)
        if parameter is None and name not in _SHARED:
            told = told_name(name)
            if not _is_lenient():
                raise Invalid("unknown-field", field=told)
            ignored.append(told)
            continue
        if len(given) > 1 and (parameter is None or not parameter.is_repeatable):
            raise Invalid("repeated", field=name)
        if not all(given):
            raise Invalid("empty", field=name)
        values[name] = tuple(given)
    for one in resource.parameters:
        if one.is_required and not any(name in values for name in one.names):
            raise Invalid("required", field=one.name)
    (count,) = values.pop("_count", (str(DEFAULT_LIMIT),))
    least = 0 if resource.is_counted else 1  # none is to say how many there are
    if not (count.isascii() and count.isdigit() and len(count) < 10 and int(count) >= least):
        raise Invalid("out-of-range", field="_count")
    (cursor,) = values.pop("_cursor", (None,))
    manner = {name: values.pop(name) for name in _MANNER if name in values}
    if manner.get("_summary") == ("count",) and not resource.is_counted:
        raise Invalid("not-one-of", field="_summary", detail="These are not counted.")
    return Search(values, manner, max(1, min(int(count), MOST)), cursor, tuple(ignored))


def _wishes() -> list[str]:
    """Return what the header Prefer asks for, in order."""
    return ",".join(request.headers.getlist("Prefer")).replace(";", ",").split(",")


def _is_lenient() -> bool:
    return "handling=lenient" in {wish.strip().lower().replace('"', "") for wish in _wishes()}


def id_of(text: str, unknown: str) -> int:
    """Read the id of a resource.

    Raises:
        NotFound: this code, for what is no id of ours: to FHIR it is an id of nothing.
    """
    try:
        return parse_id(text)
    except Invalid as fault:
        raise NotFound(unknown) from fault


def base_url() -> str:
    """Return the base of all resources here."""
    return f"{shell().settings.public_url}{PREFIX}"


def searchset(
    resource: Resource,
    search: Search,
    found: Sequence[Mapping[str, Any]],
    following: str | None,
    *,
    total: int | None = None,
    warnings: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Write a page of what was found as a Bundle.

    Its links repeat what a GET asked by; what came in a form is not written into an address: it is sent again with the cursor.

    Args:
        total: how many there are on all pages; None where they are not counted for a page.
        warnings: OperationOutcomes to be told beside what was found.
    """
    base = base_url()
    told = [
        (name, value) for name, given in (*search.values.items(), *search.manner.items()) for value in given
    ]
    place = resource.type
    if request.method == "POST":
        told, place = [], f"{resource.type}/_search"
    told.append(("_count", str(search.count)))

    def link(relation: str, cursor: str | None) -> dict[str, str]:
        query = urlencode([*told, *([("_cursor", cursor)] if cursor else [])])
        return {"relation": relation, "url": f"{base}/{place}?{query}"}

    entries: list[dict[str, Any]] = [
        {
            "fullUrl": f"{base}/{resource.type}/{one['id']}",
            "resource": one,
            "search": {"mode": "match"},
        }
        for one in found
    ]
    entries += [{"resource": one, "search": {"mode": "outcome"}} for one in warnings]
    if search.ignored:
        issues = [
            _issue("warning", "not-supported", "unknown-field", "Was not applied")
            | {"location": [f"http.{name}"]}
            for name in search.ignored
        ]
        entries.append(
            {
                "resource": {"resourceType": "OperationOutcome", "issue": issues},
                "search": {"mode": "outcome"},
            }
        )
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        **({} if total is None else {"total": total}),
        "link": [link("self", search.cursor), *([link("next", following)] if following else [])],
    }
    return bundle | ({"entry": entries} if entries else {})  # no list of FHIR is empty


# The description -----------------------------------------------------------------------------------------------------------


def described_parameters(resource: Resource) -> list[dict[str, Any]]:
    """Return the parameters of a search for the description."""
    found: list[dict[str, Any]] = []
    for one in resource.parameters:
        text = {"type": "string", "pattern": one.pattern}
        for name in one.names:
            schema = {"type": "array", "items": text, "minItems": 1} if one.is_repeatable else text
            found.append(
                {
                    "name": name,
                    "in": "query",
                    "required": one.is_required and len(one.names) == 1,
                    "description": one.documentation,
                    "schema": schema,
                }
            )
    count = {"type": "integer", "minimum": 0 if resource.is_counted else 1, "maximum": 999_999_999}
    cursor = {"type": "string", "minLength": 1, "maxLength": 400}
    summaries = [one for one in _SUMMARIES if one != "count" or resource.is_counted]
    return [
        *found,
        {"name": "_count", "in": "query", "description": f"Entries a page, {MOST} at most", "schema": count},
        {"name": "_cursor", "in": "query", "description": "Of the link `next`", "schema": cursor},
        *part_parameters(summaries),
        format_parameter(),
    ]


def format_parameter() -> dict[str, Any]:
    schema = {"type": "string", "enum": list(_FORMATS)}
    return {"name": "_format", "in": "query", "description": "Stands before `Accept`", "schema": schema}


def read_parameters() -> list[dict[str, Any]]:
    """Return the parameters of a read for the description."""
    return [*part_parameters([one for one in _SUMMARIES if one != "count"]), format_parameter()]


def part_parameters(summaries: list[str]) -> list[dict[str, Any]]:
    kind = {"type": "string", "enum": summaries}
    names = {"type": "string", "pattern": "^[a-z][A-Za-z0-9]{0,39}(,[a-z][A-Za-z0-9]{0,39})*$"}
    return [
        {
            "name": "_summary",
            "in": "query",
            "description": "Tell a part, and mark it `SUBSETTED`",
            "schema": kind,
        },
        {
            "name": "_elements",
            "in": "query",
            "description": "Tell these elements and those that must be there; not beside `_summary`",
            "schema": names,
        },
    ]


def prefer_parameter() -> dict[str, Any]:
    schema = {"type": "string", "enum": [f"return={one}" for one in _RETURNS]}
    return {"name": "Prefer", "in": "header", "description": "What to answer with", "schema": schema}


def body_of(types: list[str], description: str) -> dict[str, Any]:
    """Return the description of a body that is a resource of one of these types."""
    schema = {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"enum": types}},
    }
    content = {kind: {"schema": schema} for kind in (CONTENT_TYPE, "application/json")}
    return {"required": True, "description": description, "content": content}


def form_of(resource: Resource) -> dict[str, Any]:
    """Return the description of a search's form, by the names alone: what each takes is said of the query."""
    names = [name for one in resource.parameters for name in one.names] + [*_SHARED]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "additionalProperties": False,
    }
    return {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}


def answers_with(description: str, resource_type: str) -> dict[str, Any]:
    """Return the description of an answer that is a resource."""
    schema = {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"const": resource_type}},
    }
    return answers(description, schema, CONTENT_TYPE)


def statement_routes(version: str, resources: Collection[Resource]) -> flask_smorest.Blueprint:
    """Return the route that says what of FHIR is served: these resources, and nothing else."""
    room = make_fhir_blueprint("fhir", "What of FHIR R4 is served")

    @room.get("/metadata")
    @open_to_all("FHIR has every client read it before it signs in, and it holds no data")
    @room.doc(
        summary="Say what of FHIR R4 is served",
        parameters=[format_parameter()],
        responses={"200": answers_with("A CapabilityStatement", "CapabilityStatement")},
    )
    @speaks_fhir
    def metadata() -> Any:
        return capability_statement(shell().settings.public_url, version, resources)

    return room


def capability_statement(public_url: str, version: str, resources: Collection[Resource]) -> dict[str, Any]:
    """Write the CapabilityStatement of this service."""
    title = "Master patient index and consent"
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _STATED_ON,
        "kind": "instance",
        "software": {"name": title, "version": version},
        "implementation": {"description": title, "url": f"{public_url}{PREFIX}"},
        "fhirVersion": "4.0.1",
        "format": [CONTENT_TYPE, "json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "OAuth 2 client credentials with private_key_jwt, or a person's session; see the OpenAPI description.",
                },
                "resource": [_stated(one) for one in resources],
            }
        ],
    }


def _stated(one: Resource) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "type": one.type,
        "documentation": one.documentation,
        "interaction": [{"code": code} for code in one.interactions],
    }
    if one.profiles:
        stated["supportedProfile"] = list(one.profiles)
    if one.is_conditional:
        # The first registration of an identifier is a conditional update too.
        stated |= {"updateCreate": False, "conditionalUpdate": True, "conditionalDelete": "single"}
    if one.parameters:
        stated["searchParam"] = [
            {"name": parameter.name, "type": parameter.kind, "documentation": parameter.documentation}
            for parameter in one.parameters
        ]
    if one.operations:
        stated["operation"] = [
            {"name": each.name, "definition": each.definition, "documentation": each.documentation}
            for each in one.operations
        ]
    return stated
