"""What links the records of a person, and where its values come from, in FHIR; behind the decisions of reading the person as a Patient."""

from collections.abc import Callable
from typing import Any

from flask_smorest import Blueprint

from foundation.errors import Invalid, NotFound
from foundation.ids import parse_id
from foundation.web import (
    answers_repeats_itself,
    current_principal,
    etag,
    requires,
    write_cursor,
)
from foundation.web.fhir import (
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
    read_parameters,
    read_search,
    searchset,
    speaks_fhir,
)
from mpi.feeds.fhir import Systems
from mpi.feeds.fhir.linked import linkage_of, person_of, provenances_of, replaced_person
from mpi.feeds.fhir.write import versioned
from mpi.service.context import Mpi
from mpi.service.patients import PatientView, Told, read_patient, search_patients
from mpi.web.fhir_patients import token_of

_ID = "^[1-9][0-9]{0,18}$"
_REFERENCE = "^(Patient/)?[1-9][0-9]{0,18}$"


def _reference(name: str, documentation: str, *, is_required: bool = False) -> SearchParameter:
    return SearchParameter(
        name, "reference", documentation, _REFERENCE, is_required=is_required, is_repeatable=False
    )


PERSON = Resource(
    "Person",
    "The cross references of a person: a link to each record that may be named. Demographics are the Patient's. One of `_id`, `identifier` "
    "and `link` is needed.",
    ("read", "search-type"),
    (
        SearchParameter(
            "_id", "token", "The id of a person, or of any record of theirs.", _ID, is_repeatable=False
        ),
        SearchParameter(
            "identifier", "token", "System and `|` and value.", "^[^|,]+[|][^|,]+$", is_repeatable=False
        ),
        _reference("link", "A record: its id, or `Patient/` and the id."),
    ),
)
LINKAGE = Resource(
    "Linkage",
    "The records of a person that may be named: the one whose id the person bears is the source, the others alternates. There is none "
    "where fewer than two may be told. One of `item` and `source` is needed.",
    ("read", "search-type"),
    (
        _reference("item", "A record: its id, or `Patient/` and the id."),
        _reference("source", "The record whose id the person bears."),
    ),
)
PROVENANCE = Resource(
    "Provenance",
    "Where the values of a Patient come from: for each record the paths of what was taken from it, its organisation, and when that "
    "recorded it.",
    ("read", "search-type"),
    (_reference("target", "A person: their id, or `Patient/` and the id.", is_required=True),),
)


def make(mpi: Mpi, public_url: str) -> Blueprint:
    room = make_fhir_blueprint("fhir-linked", "What links the records of a person, in FHIR")
    systems = Systems(public_url)
    behind = "Behind the decisions of reading the Patient: a record of which the caller may not be told is not there, and nothing says so."

    def person(told: Told) -> list[dict[str, Any]]:
        if isinstance(told, PatientView):
            return [person_of(told.person_id, told.members, systems)]
        return [replaced_person(told.number, told.person_id, systems)]

    def linkage(told: Told) -> list[dict[str, Any]]:
        found = linkage_of(told.person_id, told.members, systems) if isinstance(told, PatientView) else None
        return [found] if found is not None else []

    def provenance(told: Told) -> list[dict[str, Any]]:
        if not isinstance(told, PatientView):
            return []
        return provenances_of(told.person_id, told.golden.values, told.members, systems)

    def add(
        resource: Resource,
        scopes: tuple[str, ...],
        read: Callable[[str], dict[str, Any]],
        find: Callable[[Search], list[dict[str, Any]]],
    ) -> None:
        """Serve one type: reads, and searches by query and by form."""
        kind, low = resource.type, resource.type.lower()
        found = {"200": answers_with("A page of a searchset", "Bundle")}

        def read_one(resource_id: str) -> Any:
            one = versioned(read(resource_id))
            return one, 200, {"ETag": etag(int(one["meta"]["versionId"]))}

        def search() -> Any:
            asked = read_search(resource)
            return _page(resource, asked, [versioned(one) for one in find(asked)])

        def search_by_form() -> Any:
            check_form()
            return search()

        for name, view in (("read", read_one), ("search", search), ("search_by_form", search_by_form)):
            view.__name__ = f"{name}_{low}"
        searched = speaks_fhir(search)
        room.get(f"/{kind}")(
            requires(*scopes)(
                room.doc(
                    summary=f"Find by a person what this tells: {kind}",
                    description=behind,
                    parameters=described_parameters(resource),
                    responses=found,
                )(searched)
            )
        )
        room.post(f"/{kind}/_search")(
            requires(*scopes)(
                answers_repeats_itself(
                    room.doc(
                        summary=f"Find by a person what this tells, asked in the body: {kind}",
                        description=behind,
                        parameters=[format_parameter()],
                        requestBody=form_of(resource),
                        responses=found,
                    )(speaks_fhir(search_by_form))
                )
            )
        )
        room.get(f"/{kind}/<resource_id>")(
            requires("persons:read")(
                room.doc(
                    summary=f"Read a {kind}",
                    description=behind,
                    parameters=read_parameters(),
                    responses={"200": answers_with(f"The {kind}", kind)},
                )(speaks_fhir(read_one))
            )
        )

    def of(number: int) -> Told:
        return read_patient(mpi, number, current_principal())

    def read_person(text: str) -> dict[str, Any]:
        (one,) = person(of(id_of(text, "person-unknown")))
        return one

    def read_linkage(text: str) -> dict[str, Any]:
        for one in linkage(of(id_of(text, "linkage-unknown"))):
            return one
        raise NotFound("linkage-unknown")

    def read_provenance(text: str) -> dict[str, Any]:
        number = id_of(text.partition("-")[0], "provenance-unknown")
        for one in provenance(of(number)):
            if one["id"] == text:
                return one
        raise NotFound("provenance-unknown")

    def holding(number: int) -> list[Told]:
        """Return the person of whom an id is a record's, or nobody."""
        try:
            told = of(number)
            return [told if isinstance(told, PatientView) else of(told.person_id)]
        except NotFound:
            return []  # a search of what is not there finds nothing

    def find_persons(asked: Search) -> list[dict[str, Any]]:
        _one_of(asked, "_id", "identifier", "link")
        if "link" in asked.values:
            number, reference = _number(asked, "link")
            found = [one for told in holding(number) for one in person(told)]
            return [one for one in found if reference in _references(one.get("link", ()), "target")]
        name = "_id" if "_id" in asked.values else "identifier"
        (text,) = asked.values[name]
        token: Any = parse_id(text, "_id") if name == "_id" else None
        if token is None:
            system, bar, value = text.partition("|")
            if not system or not bar or not value:
                raise Invalid(
                    "identifier-system", field="identifier", detail="Give the system, | and the value."
                )
            token = token_of(systems, system, value, "identifier")
        named = search_patients(mpi, [[token]], [], current_principal(), limit=asked.count)
        return [one for told in named.patients for one in person(told)]

    def find_linkages(asked: Search) -> list[dict[str, Any]]:
        name = _one_of(asked, "item", "source")
        number, reference = _number(asked, name)
        found = [one for told in holding(number) for one in linkage(told)]
        some = {"source"} if name == "source" else {"source", "alternate"}
        return [
            one
            for one in found
            if reference in _references([item for item in one["item"] if item["type"] in some], "resource")
        ]

    def find_provenances(asked: Search) -> list[dict[str, Any]]:
        number, reference = _number(asked, "target")
        found = [one for told in holding(number) for one in provenance(told)]
        return [one for one in found if one["target"][0]["reference"] == reference]

    add(PERSON, ("match", "persons:read"), read_person, find_persons)
    add(LINKAGE, ("persons:read",), read_linkage, find_linkages)
    add(PROVENANCE, ("persons:read",), read_provenance, find_provenances)
    return room


def _one_of(asked: Search, *names: str) -> str:
    """Return the one parameter of these by which something is sought."""
    given = [name for name in names if name in asked.values]
    if not given:
        raise Invalid("required", field=names[0])
    if len(given) > 1:
        raise Invalid("repeated", field=given[1], detail="Ask by one of them.")
    return given[0]


def _number(asked: Search, name: str) -> tuple[int, str]:
    (text,) = asked.values[name]
    number = parse_id(text.removeprefix("Patient/"), name)
    return number, f"Patient/{number}"


def _references(parts: Any, name: str) -> set[str]:
    return {part[name]["reference"] for part in parts}


def _page(resource: Resource, asked: Search, found: list[dict[str, Any]]) -> dict[str, Any]:
    begun = max(0, asked.place)
    page = found[begun : begun + asked.count]
    behind = begun + len(page)
    following = write_cursor([behind]) if behind < len(found) else None
    return searchset(resource, asked, page, following, total=len(found))
