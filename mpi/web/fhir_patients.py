"""Persons as FHIR Patients: read by id, searched (IHE ITI-78), cross-referenced (ITI-83); what is told goes through the release gate."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid, NotFound
from foundation.ids import parse_id
from foundation.web import current_principal, etag, requires, write_cursor
from foundation.web.fhir import (
    Operation,
    Resource,
    Search,
    SearchParameter,
    answers_with,
    check_form,
    described_parameters,
    form_of,
    format_parameter,
    id_of,
    make_fhir_blueprint,
    outcome,
    read_parameters,
    read_search,
    searchset,
    speaks_fhir,
)
from foundation.web.idempotency import answers_repeats_itself
from foundation.web.problems import told_name
from mpi.feeds.fhir import Known, Systems, patient_of, replaced_patient
from mpi.feeds.fhir.write import versioned
from mpi.records import Identifier
from mpi.service.context import Mpi
from mpi.service.patients import (
    Criterion,
    PatientView,
    Token,
    Told,
    knows_feed,
    read_patient,
    refer_patient,
    search_patients,
)

_ANY = "^[^,]+(,[^,]+)*$"
_MOST_TOKENS = 50


def _text(name: str, documentation: str) -> SearchParameter:
    return SearchParameter(name, "string", documentation, _ANY, modifiers=("exact",))


PATIENT = Resource(
    "Patient",
    "A person of the index, as their records say it at their best, as far as a decision lets it leave; marked SUBSETTED where less is told "
    "than there may be. Every record's id is an id of its person; one that stands for no person of its own is not active, and replaced by "
    "the person's. Whoever searches by description gives a name or a number and one more kind of fact, and something to find by.",
    ("read", "search-type", "update", "delete"),
    (
        SearchParameter(
            "_id", "token", "Ids, of persons or of records.", "^[1-9][0-9]{0,18}(,[1-9][0-9]{0,18})*$"
        ),
        SearchParameter(
            "active", "token", "`false` finds ids that are replaced, by `_id` alone.", "^(true|false)$"
        ),
        _text("family", "A surname, whole; case, accents and marks do not count but for `:exact`."),
        _text("given", "A given name, whole, in any place; as `family`."),
        SearchParameter(
            "identifier",
            "token",
            "System and `|` and value. With nothing behind the `|` it restricts the systems that are told.",
            "^[^|,]+[|][^|,]*(,[^|,]+[|][^|,]*)*$",
        ),
        SearchParameter(
            "telecom",
            "token",
            "A phone number or e-mail address, with `phone|` or `email|` or without.",
            _ANY,
        ),
        SearchParameter(
            "birthdate",
            "date",
            "A day, or the month or year in which it lies; no other comparison, as that would list people.",
            "^(eq)?[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?(,(eq)?[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?)*$",
        ),
        _text("address", "Words that stand together in a line, a town or a postcode."),
        _text("address-city", "A town."),
        SearchParameter("address-postalcode", "string", "A postcode, whole.", _ANY),
        SearchParameter(
            "gender",
            "token",
            "male, female, other or unknown.",
            "^(male|female|other|unknown)(,(male|female|other|unknown))*$",
        ),
    ),
    (
        Operation(
            "match",
            "http://hl7.org/fhir/OperationDefinition/Patient-match",
            "ITI-119: ids and grades; onlyCertainMatches and count are understood.",
        ),
        Operation(
            "ihe-pix",
            "https://profiles.ihe.net/ITI/PIXm/OperationDefinition/IHE.PIXm.pix",
            "ITI-83: the other identifiers of a person, as far as a decision lets each leave.",
        ),
    ),
    ("https://fhir.hl7.org.uk/StructureDefinition/UKCore-Patient",),
    is_conditional=True,
)

_NOT_HELD = ("address-country", "address-state", "mothersMaidenName")
"""Parameters of ITI-78 of which the index keeps nothing to compare."""


class _Asked(NamedTuple):
    named: list[list[Token]]
    described: list[Criterion]
    domains: frozenset[str]
    is_active: bool | None


class _UnknownDomain(Exception):
    """An identifier system was named under which nothing is known here."""


def make(mpi: Mpi, public_url: str) -> Blueprint:
    room = make_fhir_blueprint("fhir-patients", "Persons as FHIR Patients")
    systems = Systems(public_url)
    documented = {
        "responses": {"200": answers_with("A page of a searchset", "Bundle")},
        "description": "By `_id` or `identifier`, or by a description, which needs what a match needs and is counted as one. Every page is "
        "decided and audited anew; `_cursor` says where it begins. What cannot be answered without listing people is refused. "
        "A parameter that is not known is refused, unless the request says `Prefer: handling=lenient`.",
    }

    @room.get("/Patient")
    @requires("match", "persons:read")
    @room.doc(
        summary="Find persons (ITI-78)",
        parameters=described_parameters(PATIENT),
        **documented,
    )
    @speaks_fhir
    def search() -> Any:
        return _search(mpi, systems)

    @room.post("/Patient/_search")
    @requires("match", "persons:read")
    @answers_repeats_itself
    @room.doc(
        summary="Find persons, with what is known of them in the body and in no address (ITI-78)",
        parameters=[format_parameter()],
        requestBody=form_of(PATIENT),
        **documented,
    )
    @speaks_fhir
    def search_by_form() -> Any:
        check_form()
        return _search(mpi, systems)

    @room.get("/Patient/<person_id>")
    @requires("persons:read")
    @room.doc(
        summary="Read a person",
        description="By the id of a person or of any record. One that stands for no person of its own is answered by a Patient that is not "
        "active and links to the one that replaces it. The version is one of what is told: the same for the same content.",
        parameters=read_parameters(),
        responses={"200": answers_with("The person", "Patient")},
    )
    @speaks_fhir
    def read(person_id: str) -> Any:
        number = id_of(person_id, "person-unknown")
        patient = versioned(
            patient_told(read_patient(mpi, number, current_principal()), systems, frozenset())
        )
        return patient, 200, {"ETag": etag(int(patient["meta"]["versionId"]))}

    @room.get("/Patient/$ihe-pix")
    @requires("persons:read")
    @room.doc(
        summary="Return the other identifiers of a person (ITI-83)",
        description="Each as far as a decision lets it leave: that an organisation knows somebody is told like any other item. The source "
        "identifier itself is not repeated.",
        parameters=_PIX_PARAMETERS,
        responses={"200": answers_with("targetIdentifier and targetId", "Parameters")},
    )
    @speaks_fhir
    def cross_reference() -> Any:
        return _cross_reference(mpi, systems)

    return room


# Searching -----------------------------------------------------------------------------------------------------------


def _search(mpi: Mpi, systems: Systems) -> Any:
    for name in flask.request.values:
        if name.partition(":")[0] in _NOT_HELD:
            raise Invalid("search-not-held", field=name, detail="The index keeps nothing of this.")
    asked = read_search(PATIENT)
    try:
        understood = _understood(mpi, systems, asked)
    except _UnknownDomain:
        return _NO_TARGET_WARNING, 404, {}
    if not understood.named and not understood.described:
        raise Invalid("search-too-wide", detail="Say whom: by an id, an identifier or a description.")
    found = search_patients(
        mpi,
        understood.named,
        understood.described,
        current_principal(),
        is_active=understood.is_active,
        after=asked.place,
        limit=asked.count,
    )
    patients = [versioned(patient_told(one, systems, understood.domains)) for one in found.patients]
    return searchset(
        PATIENT,
        asked,
        patients,
        write_cursor([found.following]) if found.following is not None else None,
        total=found.total,
        warnings=() if found.is_complete else (_CUT,),
    )


_CUT = outcome(
    "warning",
    "incomplete",
    "search-cut",
    "More records than are read share what was given: somebody may be missing",
)


def _understood(mpi: Mpi, systems: Systems, asked: Search) -> _Asked:
    named: list[list[Token]] = []
    described: list[Criterion] = []
    domains: set[str] = set()
    is_active: bool | None = None
    for name, given in asked.values.items():
        plain, _, modifier = name.partition(":")
        for text in given:
            values = [one.strip() for one in text.split(",")]
            if not all(values):
                raise Invalid("empty", field=name)
            if len(values) > _MOST_TOKENS:
                raise Invalid("too-many-alternatives", field=name)
            if plain == "_id":
                named.append([parse_id(one, "_id") for one in values])
            elif plain == "identifier":
                tokens = _tokens(mpi, systems, values, domains)
                if tokens:
                    named.append(tokens)
            elif plain == "active":
                wanted = _flag(values)
                if is_active is not None and is_active is not wanted:
                    raise Invalid("repeated", field="active")
                is_active = wanted
            else:
                if plain == "birthdate":
                    values = [_day(one) for one in values]
                described.append(Criterion(plain, tuple(values), modifier == "exact"))
    if sum(map(len, named)) > _MOST_TOKENS:
        raise Invalid("too-many-alternatives", field="identifier")
    return _Asked(named, described, frozenset(domains), is_active)


def _flag(values: list[str]) -> bool:
    if values not in (["true"], ["false"]):
        raise Invalid("not-one-of", field="active")
    return values == ["true"]


def _day(value: str) -> str:
    plain = value.removeprefix("eq")
    if not plain[:1].isdigit():
        raise Invalid(
            "date-comparison", field="birthdate", detail="Days before or after one would list people."
        )
    return plain


def _tokens(mpi: Mpi, systems: Systems, values: Iterable[str], domains: set[str]) -> list[Token]:
    tokens: list[Token] = []
    for one in values:
        system, bar, value = one.partition("|")
        if not bar or not system:
            raise Invalid("identifier-system", field="identifier", detail="Give the system, | and the value.")
        if not value:
            if not _is_known(mpi, systems, system):
                raise _UnknownDomain
            domains.add(systems.person if system.rstrip("/") == systems.base else system)
            continue
        tokens.append(token_of(systems, system, value, "identifier"))
    return tokens


def token_of(systems: Systems, system: str, value: str, field: str) -> Token:
    """Return what an identifier names: a person or record by id, a source's record by its local id, or whoever bears it."""
    person_id = systems.person_of(system, value)
    if person_id is not None:
        return parse_id(person_id, field)
    return systems.key_of(system, value) or Identifier(system, value)


def _is_known(mpi: Mpi, systems: Systems, system: str) -> bool:
    """Whether anything is known under an identifier system; of those that many organisations use it is not asked."""
    if systems.is_general(system) or system == systems.person or system.rstrip("/") == systems.base:
        return True
    key = systems.key_of(system, "")
    return key is not None and knows_feed(mpi, key.organisation, key.system)


def patient_told(told: Told, systems: Systems, domains: frozenset[str]) -> dict[str, Any]:
    """Write the Patient of what was let leave of a person."""
    if not isinstance(told, PatientView):
        return replaced_patient(told.number, told.person_id, systems)
    golden = told.golden
    known = Known(
        told.person_id,
        golden.values,
        [(one.organisation, one.system, one.local_id) for one in told.members],
        golden.is_restricted,
        golden.has_identity_warning,
    )
    return patient_of(known, systems, domains)


# Cross references ----------------------------------------------------------------------------------------------------

_PIX_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "sourceIdentifier",
        "in": "query",
        "required": True,
        "description": "System and `|` and value; the system may be the base of this interface, and the value `Patient/` and an id.",
        "schema": {"type": "string", "pattern": "^[^|]+[|][^|]+$"},
    },
    {
        "name": "targetSystem",
        "in": "query",
        "description": "The systems to be told; all without it.",
        "schema": {"type": "array", "items": {"type": "string", "minLength": 1}},
    },
    format_parameter(),
]


def _cross_reference(mpi: Mpi, systems: Systems) -> Any:
    args = flask.request.args
    for name in args:
        if name not in ("sourceIdentifier", "targetSystem", "_format"):
            raise Invalid("unknown-field", field=told_name(name))
    sources = args.getlist("sourceIdentifier")
    if len(sources) != 1:
        raise Invalid("repeated" if sources else "required", field="sourceIdentifier")
    system, bar, value = sources[0].partition("|")
    if not bar or not system or not value or "|" in value:
        raise Invalid("identifier-system", field="sourceIdentifier")
    if not _is_known(mpi, systems, system):
        return _refusal(400, "code-invalid", "sourceIdentifier Assigning Authority not found")
    targets = args.getlist("targetSystem")
    if not all(targets):
        raise Invalid("empty", field="targetSystem")
    if not all(_is_known(mpi, systems, one) for one in targets):
        return _refusal(403, "code-invalid", "targetSystem not found")
    try:
        told = refer_patient(mpi, token_of(systems, system, value, "sourceIdentifier"), current_principal())
    except NotFound:
        return _refusal(404, "not-found", "sourceIdentifier Patient Identifier not found")
    wanted = {systems.person if one.rstrip("/") == systems.base else one for one in targets}
    patient = patient_told(told, systems, frozenset())
    found: list[dict[str, Any]] = [
        {"name": "targetIdentifier", "valueIdentifier": {"system": one["system"], "value": one["value"]}}
        for one in patient["identifier"]
        if (one["system"], one["value"]) != (system, value) and one["system"] != systems.person
        if not wanted or one["system"] in wanted
    ]
    is_source = systems.person_of(system, value) == patient["id"]
    if (not wanted or systems.person in wanted) and not is_source:
        reference = {"reference": f"{systems.base}/Patient/{patient['id']}"}
        found.append({"name": "targetId", "valueReference": reference})
    return {"resourceType": "Parameters", **({"parameter": found} if found else {})}


def _refusal(status: int, kind: str, text: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    code = {400: "source-system-unknown", 403: "target-system-unknown", 404: "identifier-unknown"}[status]
    return outcome("error", kind, code, text, diagnostics=text), status, {}


_NO_TARGET_WARNING = outcome(
    "warning",
    "not-found",
    "target-system-unknown",
    "targetSystem not found",
    diagnostics="targetSystem not found",
)
