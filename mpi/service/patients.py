"""Persons as patients are asked for: one by id, those of an identifier, and those whom a description means, told through the gate."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from sqlalchemy import Connection

from foundation.errors import Conflict, Invalid, NotFound, ServiceError
from foundation.principal import Principal
from mpi.matching.normalise import email_of, fold, phone_of, postcode_of
from mpi.records import (
    Address,
    HumanName,
    Identifier,
    RecordKey,
    SourceRecord,
    Telecom,
    parse_gender,
    parse_partial_date,
    validate,
)
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import standing_record
from mpi.service.gate import GateRequest
from mpi.service.golden import GoldenView, golden_of
from mpi.service.match import find_fitting, note_search
from mpi.service.people import bearers_of, current_person, permitted_members
from mpi.service.persons import PersonMember, resolve_person, resolve_record
from mpi.store import records as record_store

MOST_ALTERNATIVES = 8
"""How many descriptions one search may be: with alternatives of several facts it is one for each choice among them."""


@dataclass(frozen=True, slots=True)
class PatientView:
    """A person, what their records say at their best, and the records that may be named; each as the gate let it leave."""

    person_id: int
    golden: GoldenView
    members: tuple[PersonMember, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """An id that was asked for, and the person whom its record is part of."""

    number: int
    person_id: int


Told = PatientView | Replaced

Token = int | RecordKey | Identifier
"""How somebody is named: by the id of a person or a record, by a source's own local id, or by any other identifier."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that must be so of a person: any of the values will do. ``is_exact``: as it is written, to the letter."""

    name: str
    values: tuple[str, ...] = field(repr=False)
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search. ``total`` counts all pages; a search that was cut short may have missed people."""

    patients: tuple[Told, ...]
    total: int
    following: int | None
    is_complete: bool


def read_patient(mpi: Mpi, number: int, by: Principal) -> Told:
    """Return the person of an id, or where an id leads that stands for no person of its own.

    Raises:
        NotFound: ``person-unknown``. Gone: ``person-gone``.
    """
    with mpi.db.write() as tx:  # the gate's decisions are audited with the answer
        return _told(tx, mpi.at(tx), number, by)


def refer_patient(mpi: Mpi, token: Token, by: Principal) -> PatientView:
    """Return the person whom an identifier names.

    Raises:
        NotFound: ``identifier-unknown``, of another organisation's local id too where it may not be told that it knows somebody.
        Conflict: ``identifier-of-several``: two persons bear it, and nobody may choose between them unseen.
    """
    with mpi.db.write() as tx:
        mpi = mpi.at(tx)
        persons = sorted(_named(tx, mpi, token, by))
        if not persons:
            raise NotFound("identifier-unknown")
        if len(persons) > 1:
            raise Conflict("identifier-of-several")
        trail.matched(tx, by, mpi.clock.now(), persons, ["identifier"])
        return _view(tx, mpi, persons[0], by)


def knows_feed(mpi: Mpi, organisation: str, system: str) -> bool:
    """Whether any record ever came of this system."""
    with mpi.db.read() as tx:
        return record_store.knows_feed(tx, organisation, system)


def search_patients(
    mpi: Mpi,
    named: Sequence[Collection[Token]],
    described: Sequence[Criterion],
    by: Principal,
    *,
    is_active: bool | None = None,
    after: int = 0,
    limit: int,
) -> Found:
    """Return a page of those who are named by each of some sets of tokens, or else of those whom a description means.

    Who is named is looked up, and a description then narrows by what the caller is told of them: so nobody's values can be guessed
    beside their id. A description alone is a search as any other: it needs the minimum input, counts as one, and finds people whose
    location is protected as a match does. Of them nothing is asked of where they live, so that a right and a wrong postcode answer alike.

    Args:
        is_active: whether only persons are meant, or only ids that are replaced, which are found by nothing but themselves.
        after: the id with which the page before ended.

    Raises:
        Invalid: ``match-input-too-little``; ``search-too-wide`` where the index has no key to find anybody by; ``too-many-alternatives``;
            faults of values, naming the criterion.
    """
    with mpi.db.write() as tx:
        mpi = mpi.at(tx)
        if named:
            return _search_named(tx, mpi, named, described, by, is_active, after, limit)
        if is_active is False:
            return Found((), 0, None, True)
        return _search_described(tx, mpi, described, by, after, limit)


# By name -------------------------------------------------------------------------------------------------------------


def _search_named(
    tx: Connection,
    mpi: Mpi,
    named: Sequence[Collection[Token]],
    described: Sequence[Criterion],
    by: Principal,
    is_active: bool | None,
    after: int,
    limit: int,
) -> Found:
    _read_values(mpi, described)
    sets = [frozenset().union(*(_named(tx, mpi, token, by) for token in tokens)) for tokens in named]
    told = [_told(tx, mpi, number, by) for number in sorted(frozenset.intersection(*sets))]
    if told:
        trail.matched(tx, by, mpi.clock.now(), sorted({one.person_id for one in told}), ["identifier"])
    found = [
        one
        for one in told
        if is_active in (None, isinstance(one, PatientView)) and _is_meant(mpi, one, described)
    ]
    page = [one for one in found if _number(one) > after][: limit + 1]
    following = _number(page[limit - 1]) if len(page) > limit else None
    return Found(tuple(page[:limit]), len(found), following, True)


def _number(told: Told) -> int:
    return told.number if isinstance(told, Replaced) else told.person_id


def _is_meant(mpi: Mpi, told: Told, described: Sequence[Criterion]) -> bool:
    """Whether a description is so of what the caller is told."""
    if isinstance(told, Replaced):
        return not described
    values = {one.name: one.value for one in told.golden.values}
    name, address = values.get("name") or {}, values.get("address") or {}
    said = SourceRecord(
        _QUERY,
        names=(HumanName("usual", None, tuple(name.get("given", ())), name.get("family")),),
        birth_date=values.get("birth_date"),
        gender=values.get("gender"),
        addresses=(
            Address("home", tuple(address.get("lines", ())), address.get("city"), address.get("postcode")),
        ),
        telecoms=tuple(Telecom(kind, values[kind]) for kind in ("phone", "email") if kind in values),
    )
    return _all_so(mpi, described, [said], is_protected=told.golden.is_restricted)


_QUERY = RecordKey("QUERY", "query", "query")


def _named(tx: Connection, mpi: Mpi, token: Token, by: Principal) -> frozenset[int]:
    """Return the ids of the persons whom a token names; an id that leads to another one's person names itself."""
    if isinstance(token, int):
        return frozenset({token} if resolve_person(tx, token).is_current else ())
    if isinstance(token, Identifier):
        return bearers_of(tx, mpi, token.system, token.value)
    row = record_store.find_records(tx, [token]).get(token)
    person_id = None if row is None else resolve_record(tx, row.record_id)
    if person_id is None:
        return frozenset()
    if token.organisation != by.organisation and token.organisation not in by.organisations:
        # That another organisation knows somebody is a fact of them like any other.
        found = resolve_person(tx, person_id)
        request = GateRequest(by, person_id, found.epoch, "members", (token.organisation,))
        if token.organisation not in mpi.release_gate(tx, request).sources:
            return frozenset()
    return frozenset({person_id})


def _told(tx: Connection, mpi: Mpi, number: int, by: Principal) -> Told:
    found = current_person(tx, number)
    assert found.person_id is not None
    return _view(tx, mpi, number, by) if found.person_id == number else Replaced(number, found.person_id)


def _view(tx: Connection, mpi: Mpi, person_id: int, by: Principal) -> PatientView:
    found = current_person(tx, person_id)
    assert found.person_id is not None
    members = permitted_members(tx, mpi, found, by, "members", None, found.members)
    golden = golden_of(tx, mpi, found, by, named={one.record_id for one in members})
    return PatientView(found.person_id, golden, members)


# By description ------------------------------------------------------------------------------------------------------


def _search_described(
    tx: Connection, mpi: Mpi, described: Sequence[Criterion], by: Principal, after: int, limit: int
) -> Found:
    _read_values(mpi, described)
    found: set[int] = set()
    is_complete = True
    forms = []
    for query in _queries(described):
        _check(query, mpi)
        model, fitting = find_fitting(tx, mpi, query)
        if not fitting.has_keys:
            raise Invalid("search-too-wide", detail="Give the day of birth, or more of what you know.")
        is_complete = is_complete and fitting.is_complete
        hits = _meant(tx, model, described, fitting.best)
        forms.append((fitting.form, hits))
        found |= hits
    page = [number for number in sorted(found) if number > after][: limit + 1]
    following = page[limit - 1] if len(page) > limit else None
    page = page[:limit]
    names = sorted({one.name for one in described})
    for form, hits in forms:
        note_search(tx, mpi, by, form, [number for number in page if number in hits], names)
    patients = tuple(_view(tx, mpi, number, by) for number in page)
    return Found(patients, len(found), following, is_complete)


def _meant(
    tx: Connection, mpi: Mpi, described: Sequence[Criterion], persons: Collection[int]
) -> frozenset[int]:
    """Return those of these persons of whom all of a description is so, each thing by some record of theirs."""
    rows = record_store.read_members(tx, persons)
    versions = record_store.read_versions(tx, rows)
    said: dict[int, list[SourceRecord]] = {}
    protected = set()
    for number, row in rows.items():
        assert row.person_id is not None
        current = next(one for one in versions[number] if one.version == row.current_version)
        said.setdefault(row.person_id, []).append(standing_record(current, is_protected=row.restricted))
        if row.restricted:
            protected.add(row.person_id)
    return frozenset(
        person
        for person, records in said.items()
        if person in persons and _all_so(mpi, described, records, is_protected=person in protected)
    )


def _queries(described: Sequence[Criterion]) -> Iterator[SourceRecord]:
    """Write a description as the queries of a match: one for each choice among its alternatives."""
    if prod(len(one.values) for one in described) > MOST_ALTERNATIVES:
        raise Invalid("too-many-alternatives", detail=f"Give {MOST_ALTERNATIVES} choices at most.")
    for chosen in product(*([(one.name, value) for value in one.values] for one in described)):
        said: dict[str, list[str]] = {}
        for name, value in chosen:
            said.setdefault(name, []).append(value)
        first = {name: values[0] for name, values in said.items()}
        lines = said.get("address", [])
        postcode = first.get("address-postalcode") or next(filter(_is_postcode, lines), None)
        address = Address("home", tuple(lines), first.get("address-city"), postcode)
        human = HumanName("usual", None, tuple(said.get("given", ())), first.get("family"))
        yield SourceRecord(
            _QUERY,
            names=(human,) if human.given or human.family else (),
            birth_date=first.get("birthdate"),
            gender=first.get("gender"),
            addresses=(address,) if lines or address.city or postcode else (),
            telecoms=tuple(map(_telecom, said.get("telecom", ()))),
        )


def _is_postcode(text: str) -> bool:
    return len(text) <= 16 and any(one.isdigit() for one in text) and bool(postcode_of(text))


def _telecom(value: str) -> Telecom:
    system, bar, rest = value.partition("|")
    plain = rest if bar else value
    kind = system if bar and system else ("email" if "@" in plain else "phone")
    return Telecom(kind, plain)


_PARAMETERS = {"birth_date": "birthdate", "names": "family", "addresses": "address", "telecoms": "telecom"}


def _check(query: SourceRecord, mpi: Mpi) -> None:
    try:
        validate(query, mpi.today(), strict_numbers=True)
    except Invalid as fault:
        name = (fault.field or "").partition(".")[0]
        raise Invalid(fault.code, field=_PARAMETERS.get(name, name)) from fault


def _read_values(mpi: Mpi, described: Iterable[Criterion]) -> None:
    """See that every value can be read: one that cannot be is no description of anybody."""
    for one in described:
        for value in one.values:
            try:
                if one.name == "birthdate":
                    parse_partial_date(value, one.name)
                elif one.name == "gender":
                    parse_gender(value, one.name)
                elif one.name == "telecom" and _telecom(value).system not in ("phone", "email"):
                    raise Invalid("telecom-system-unknown", field=one.name)
            except ServiceError as fault:
                raise Invalid(fault.code, field=one.name) from fault


_PLACES = frozenset({"address", "address-city", "address-postalcode", "telecom"})


def _all_so(
    mpi: Mpi, described: Sequence[Criterion], records: Sequence[SourceRecord], *, is_protected: bool
) -> bool:
    return all(
        any(_is_so(mpi, one, value, record) for record in records for value in one.values)
        for one in described
        if not (is_protected and one.name in _PLACES)
    )


def _is_so(mpi: Mpi, one: Criterion, value: str, record: SourceRecord) -> bool:
    texts = _TEXTS.get(one.name)
    if texts is not None:
        said = texts(record)
        if one.is_exact:
            return value in said
        wanted = fold(value)
        if one.name == "family":
            return any(wanted == fold(text) for text in said)
        return bool(wanted) and any(f" {wanted} " in f" {fold(text)} " for text in said)
    if one.name == "birthdate":
        return _is_born(value, record.birth_date)
    if one.name == "gender":
        return record.gender is not None and parse_gender(record.gender) is parse_gender(value)
    if one.name == "address-postalcode":
        wanted = postcode_of(value)
        return bool(wanted) and any(postcode_of(place.postcode) == wanted for place in record.addresses)
    asked = _telecom(value)
    plain = phone_of if asked.system == "phone" else email_of
    wanted = plain(asked.value, mpi.model)
    return bool(wanted) and any(
        two.system == asked.system and plain(two.value, mpi.model) == wanted for two in record.telecoms
    )


def _is_born(asked: str, said: str | None) -> bool:
    if not said or not said.strip():
        return False
    try:
        day = parse_partial_date(said)
    except Invalid:
        return False
    within = parse_partial_date(asked)
    return within.earliest() <= day.earliest() and day.latest() <= within.latest()


def _family(record: SourceRecord) -> list[str]:
    return [name.family for name in record.names if name.family]


def _given(record: SourceRecord) -> list[str]:
    return [text for name in record.names for text in name.given]


def _city(record: SourceRecord) -> list[str]:
    return [one.city for one in record.addresses if one.city]


def _address(record: SourceRecord) -> list[str]:
    return [text for one in record.addresses for text in (*one.lines, one.city, one.postcode) if text]


_TEXTS: Mapping[str, Callable[[SourceRecord], list[str]]] = {
    "family": _family,
    "given": _given,
    "address": _address,
    "address-city": _city,
}
