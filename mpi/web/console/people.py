"""People in the console: found by what is known of them, as their records make them now and then, how they were built, and asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from foundation.web import current_principal, read_cursor, requires, write_cursor
from foundation.web.pages import (
    LOCAL,
    Fault,
    Listing,
    fault_of,
    go,
    moved_on_page,
    read_day,
    write_birth_date,
    write_code,
    write_nhs_number,
)
from mpi.records import Address, HumanName, RecordKey, SourceRecord, Telecom
from mpi.service.by_hand import ask_whether_one, ask_whether_two
from mpi.service.context import Mpi
from mpi.service.desk import names_for
from mpi.service.golden import GoldenThen, GoldenView, ToldValue, get_golden, get_golden_then
from mpi.service.history import Entry, PersonThen, get_person_then, read_history
from mpi.service.lookup import NHS_NUMBER_SYSTEM
from mpi.service.match import match_person
from mpi.service.people import PersonView, explain_person, get_person, lookup_persons, lookup_record
from mpi.service.tell import answer_of, panels_of, title_of
from mpi.web.console import words

Page = str | Response

SHOWN_FOUND = 5
"""Of how many of those who were found the values are shown beside the grade; the others are opened one by one."""
HISTORY_PAGE = 50


def make(mpi: Mpi) -> Blueprint:
    room = Blueprint("mpi-people", __name__)

    @room.get("/persons")
    @requires("persons:read")
    def show_search() -> str:
        return search_page(mpi, current_principal())

    @room.post("/persons")
    @requires("persons:read")
    def search() -> Page:
        """Search; the answer is the page itself, so that nothing of what was typed comes into an address."""
        by = current_principal()
        try:
            found = _found(mpi, by)
        except NotFound:
            found = Found((), is_complete=True)
        except Invalid as fault:
            page = search_page(mpi, by, [_fault(fault)])
            return make_response(page, 422)
        return search_page(mpi, by, found=found)

    @room.get("/persons/<person_id>")
    @requires("persons:read")
    def show_person(person_id: str) -> Page:
        number, by = parse_id(person_id, "person_id"), current_principal()
        on = read_day(request.args, "on")
        if on is None:
            return person_page(mpi, number, by)
        try:
            return person_page(mpi, number, by, as_at=_end_of(mpi, on))
        except Invalid:
            fault = Fault("on-day", "Give a day that was, with day, month and year")
            return make_response(person_page(mpi, number, by, [fault]), 422)
        except NotFound as refusal:
            if refusal.code != "person-unknown-then":
                raise
            fault = Fault("on-day", "This record had not come by then. Give a later day")
            return make_response(person_page(mpi, number, by, [fault]), 404)

    @room.get("/persons/<person_id>/history")
    @requires("persons:read")
    def show_history(person_id: str) -> str:
        number, by = parse_id(person_id, "person_id"), current_principal()
        cursor = request.args.get("cursor")
        place = read_cursor(cursor, str, int, str, int)
        after = None
        if place is not None:
            after = (_instant(place[0]), place[1], parse_id(place[2], "cursor"), place[3])
        entries = read_history(mpi, number, by, after=after, limit=HISTORY_PAGE + 1)
        page = entries[:HISTORY_PAGE]
        following = _token(page[-1]) if len(entries) > HISTORY_PAGE else None
        return render_template(
            "mpi/person_history.html",
            person_id=format_id(number),
            entries=page,
            listing=Listing(f"/persons/{format_id(number)}/history", {}, cursor, following),
            words=words,
        )

    @room.get("/persons/<person_id>/why")
    @requires("persons:read")
    def show_why(person_id: str) -> str:
        number, by = parse_id(person_id, "person_id"), current_principal()
        why = explain_person(mpi, number, by)
        return render_template(
            "mpi/person_why.html",
            person_id=format_id(number),
            title=title_of(why, is_way=False),
            answer=answer_of(why, is_way=False),
            panels=panels_of(why),
        )

    @room.get("/persons/<person_id>/beside")
    @requires("persons:read")
    def show_beside_form(person_id: str) -> Response:
        """Lead from the form that names another person to the page of both: ids alone are in its address."""
        one = format_id(parse_id(person_id, "person_id"))
        try:
            other = format_id(parse_id(request.args.get("other", "").strip(), "other"))
        except Invalid:
            fault = Fault("other", "Give the other person's id: digits alone")
            return make_response(person_page(mpi, int(one), current_principal(), [fault]), 422)
        return go(f"/persons/{one}/beside/{other}")

    @room.get("/persons/<person_id>/beside/<other_id>")
    @requires("persons:read")
    def show_beside(person_id: str, other_id: str) -> Page:
        one, other = parse_id(person_id, "person_id"), parse_id(other_id, "other")
        return beside_page(mpi, one, other, current_principal())

    @room.post("/persons/<person_id>/beside/<other_id>")
    @requires("persons:read", "tasks:work")
    def ask_one(person_id: str, other_id: str) -> Page:
        one, other = parse_id(person_id, "person_id"), parse_id(other_id, "other")
        by, comment = current_principal(), request.form.get("comment", "")
        try:
            task = ask_whether_one(mpi, one, other, by, comment=comment)
        except Invalid as fault:
            page = beside_page(mpi, one, other, by, [_fault(fault)], request.form)
            return make_response(page, 422)
        except Conflict as refusal:
            return _asked_already(refusal, f"/persons/{format_id(one)}", comment)
        return go(f"/tasks/{format_id(task.task_id)}", "question-asked")

    @room.get("/persons/<person_id>/split")
    @requires("persons:read", "tasks:work")
    def show_split(person_id: str) -> Page:
        return split_page(mpi, parse_id(person_id, "person_id"), current_principal())

    @room.post("/persons/<person_id>/split")
    @requires("persons:read", "tasks:work")
    def ask_two(person_id: str) -> Page:
        number, by = parse_id(person_id, "person_id"), current_principal()
        comment = request.form.get("comment", "")
        try:
            apart = [parse_id(one, "records") for one in request.form.getlist("records")]
            task = ask_whether_two(mpi, number, apart, by, comment=comment)
        except Invalid as fault:
            return make_response(split_page(mpi, number, by, [_fault(fault)], request.form), 422)
        except Conflict as refusal:
            return _asked_already(refusal, f"/persons/{format_id(number)}", comment)
        return go(f"/tasks/{format_id(task.task_id)}", "question-asked")

    return room


# Searching ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """Somebody who may be meant. ``grade`` is None where they bear the identifier that was asked for."""

    person_id: int
    grade: str | None = None
    reasons: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    persons: tuple[FoundPerson, ...]
    is_complete: bool


_SYSTEMS = (
    ("nhs-number", "NHS number"),
    ("own", "Local number of one of my organisations' systems"),
    ("other", "Another identifier"),
)


def search_page(mpi: Mpi, by: Principal, faults: Sequence[Fault] = (), found: Found | None = None) -> str:
    """Show the form, with what was typed; with an answer, those who were found."""
    shown: list[tuple[FoundPerson, GoldenView | None]] = []
    for place, one in enumerate(found.persons if found is not None else ()):
        shown.append((one, _golden_or_none(mpi, one.person_id, by) if place < SHOWN_FOUND else None))
    return render_template(
        "mpi/persons.html",
        faults=faults,
        form=request.form,
        found=found,
        shown=shown,
        systems=_SYSTEMS,
        organisations=sorted({by.organisation, *by.organisations} - {"*"}),
        may_match="match" in by.scopes,
        write_value=write_value,
        words=words,
        values_of=values_of,
    )


def _golden_or_none(mpi: Mpi, person_id: int, by: Principal) -> GoldenView | None:
    try:
        return get_golden(mpi, person_id, by)
    except NotFound:
        return None  # erased, or moved, between two steps


def _found(mpi: Mpi, by: Principal) -> Found:
    form = request.form
    if form.get("by") == "description":
        if "match" not in by.scopes:
            raise Invalid(
                "scope-missing", field="family", detail="Your role may not search by a description."
            )
        query = _described(form, by)
        answer = match_person(mpi, query, by, reasons="match:reasons" in by.scopes)
        return Found(
            tuple(FoundPerson(one.person_id, one.grade.value, one.reasons) for one in answer.candidates),
            answer.search_complete,
        )
    value = form.get("value", "").strip()
    if not value:
        raise Invalid("value-missing", field="value")
    match form.get("system"):
        case "own":
            key = RecordKey(form.get("organisation", by.organisation), form.get("source", "").strip(), value)
            if not key.system:
                raise Invalid("source-missing", field="source")
            return Found((FoundPerson(lookup_record(mpi, key, by).person_id),), is_complete=True)
        case "other":
            system = form.get("source", "").strip()
            if not system:
                raise Invalid("source-missing", field="source")
        case _:
            system = NHS_NUMBER_SYSTEM
    persons = lookup_persons(mpi, system, value, by)
    return Found(tuple(FoundPerson(one.person_id) for one in persons), is_complete=True)


def _described(form: MultiDict[str, str], by: Principal) -> SourceRecord:
    """Make a description of what was typed; what was left empty is not known."""

    def text(name: str) -> str | None:
        return form.get(name, "").strip() or None

    given, family, number = text("given"), text("family"), text("nhs_number")
    postcode, line, phone, email = text("postcode"), text("line"), text("phone"), text("email")
    telecoms = [Telecom(system, value) for system, value in (("phone", phone), ("email", email)) if value]
    has_place = postcode is not None or line is not None
    return SourceRecord(
        RecordKey(by.organisation, "query", "query"),
        nhs_number=number,
        names=(HumanName(given=(given,) if given else (), family=family),) if given or family else (),
        birth_date=read_day(form, "born"),
        gender=text("gender"),
        addresses=(Address(lines=(line,) if line else (), postcode=postcode),) if has_place else (),
        telecoms=tuple(telecoms),
    )


_WORDS = {
    "value-missing": "Type the number to look for",
    "source-missing": "Say which system the number is of",
    "match-input-too-little": "Type more: a surname and a date of birth, or an NHS number and a date of birth, at least",
    "nhs-number-length": "An NHS number has ten digits",
    "nhs-number-check": "This is not an NHS number: check the digits",
    "birth-date-format": "Give the date of birth as day, month and year",
    "partial-date-format": "Give the date of birth as day, month and year",
    "partial-date-impossible": "There is no such day",
    "birth-date-future": "The date of birth is still to come",
    "postcode-format": "This is not a postcode",
    "comment-missing": "Say why you ask: those who answer read it",
    "text-too-long": "Shorten it to 2,000 characters",
    "control-character": "Take out the characters that cannot be shown",
    "records-not-of-person": "Choose the records that may be somebody else's",
    "records-all-of-person": "Choose some of the records, not all",
    "id-format": "Choose the records that may be somebody else's",
}
_INPUTS = {
    "birth_date": "born-day",
    "nhs_number": "nhs_number",
    "names": "family",
    "gender": "gender",
}


def _fault(fault: Invalid) -> Fault:
    name = (fault.field or "").split(".")[0]
    of_address = {"addresses": "postcode", "telecoms": "phone", "identifiers": "value"}
    return fault_of(_plain_field(fault, name), _WORDS, _INPUTS | of_address)


def _plain_field(fault: Invalid, name: str) -> Invalid:
    return Invalid(fault.code, field=name.split("[")[0] or None, detail=fault.detail)


# A person ------------------------------------------------------------------------------------------------------------------


def person_page(
    mpi: Mpi, number: int, by: Principal, faults: Sequence[Fault] = (), *, as_at: datetime | None = None
) -> str:
    """Show a person as they are now, or were at an instant."""
    golden: GoldenView | GoldenThen
    person: PersonView | PersonThen
    if as_at is None:
        golden, person = get_golden(mpi, number, by), get_person(mpi, number, by, with_members=True)
    else:
        golden = get_golden_then(mpi, number, as_at, by)
        person = get_person_then(mpi, number, as_at, by, with_members=True)
    names = names_for(mpi, {one.organisation for one in person.members} | _origins(golden.values))
    return render_template(
        "mpi/person.html",
        person_id=format_id(number),
        person=person,
        golden=golden,
        values=values_of(golden.values, names),
        members=person.members,
        names=names,
        as_at=as_at,
        faults=faults,
        form=request.args,
        may_ask=as_at is None and "tasks:work" in by.scopes,
        words=words,
        today=mpi.clock.now(),
    )


def beside_page(
    mpi: Mpi,
    one: int,
    other: int,
    by: Principal,
    faults: Sequence[Fault] = (),
    form: MultiDict[str, str] | None = None,
) -> Page:
    """Show two persons side by side, and what stands between them."""
    both = [get_golden(mpi, number, by) for number in (one, other)]
    if both[0].person_id == both[1].person_id:
        return go(f"/persons/{format_id(both[0].person_id)}", "persons-are-one")
    why = explain_person(mpi, one, by, other=other)
    values = [{value.name: value for value in golden.values} for golden in both]
    return render_template(
        "mpi/person_beside.html",
        ids=[format_id(one), format_id(other)],
        both=both,
        rows=[
            (name, [write_value(of[name].value, name) if name in of else "" for of in values])
            for name in _LABELS
            if any(name in of for of in values)
        ],
        labels=_LABELS,
        answer=answer_of(why, is_way=False),
        panels=panels_of(why),
        may_ask="tasks:work" in by.scopes,
        faults=faults,
        form=form or MultiDict(),
    )


def split_page(
    mpi: Mpi,
    number: int,
    by: Principal,
    faults: Sequence[Fault] = (),
    form: MultiDict[str, str] | None = None,
) -> str:
    person = get_person(mpi, number, by, with_members=True)
    names = names_for(mpi, {one.organisation for one in person.members})
    return render_template(
        "mpi/person_split.html",
        person_id=format_id(number),
        items=[
            (
                format_id(one.record_id),
                f"{names.get(one.organisation, one.organisation)}: {one.system} {one.local_id}",
            )
            for one in person.members
        ],
        faults=faults,
        form=form or MultiDict(),
    )


def _asked_already(refusal: Conflict, back: str, comment: str) -> Response:
    task = refusal.ids.get("task_id")
    if task is not None:
        return moved_on_page(
            "Somebody has asked this already",
            ["It waits in the review queue, where you can comment on it."],
            kept=[("Why you asked", comment)],
            back=f"/tasks/{task}",
        )
    return moved_on_page(
        "These are one person by now",
        ["Somebody else, or new evidence, made them one since you opened the page."],
        kept=[("Why you asked", comment)],
        back=back,
    )


# How values are written ----------------------------------------------------------------------------------------------------

_LABELS = {
    "nhs_number": "NHS number",
    "name": "Name",
    "birth_date": "Date of birth",
    "gender": "Gender",
    "death_date": "Date of death",
    "address": "Address",
    "phone": "Phone",
    "email": "E-mail",
    "gp_practice": "GP practice",
}
_BECAUSE = {
    "only": "No other record says anything of it",
    "agreed": "All records that say it say the same",
    "meant": "The others say a placeholder",
    "verified": "Its record's NHS number is verified",
    "complete": "It says the most",
    "rank": "Its source comes first by the rules",
    "recent": "It is the latest",
    "order": "Nothing tells them apart: the first in order",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A value of a golden view as a page shows it."""

    label: str
    text: str
    where: str
    since: datetime | None
    because: str
    agree: int
    differ: int
    is_verified: bool


def values_of(values: Sequence[ToldValue], names: Mapping[str, str] | None = None) -> list[Told]:
    found = []
    for one in values:
        origin = one.origin
        where = (
            (names or {}).get(origin.organisation, origin.organisation) if origin is not None else "Not told"
        )
        found.append(
            Told(
                _LABELS.get(one.name, write_code(one.name)),
                write_value(one.value, one.name),
                where,
                origin.source_at if origin is not None else None,
                _BECAUSE.get(one.because, one.because),
                one.agree,
                one.differ,
                one.is_verified,
            )
        )
    return found


def write_value(value: Any, name: str) -> str:
    """Write a value of a golden view: a text, or the parts of a name or an address."""
    if isinstance(value, Mapping):
        parts = [value.get(part) for part in ("prefix", "given", "family", "lines", "city", "postcode")]
        flat = [text for part in parts if part for text in ([part] if isinstance(part, str) else part)]
        return (" " if name == "name" else ", ").join(flat)
    if name in ("birth_date", "death_date"):
        return write_birth_date(str(value))
    if name == "nhs_number":
        return write_nhs_number(str(value))
    return write_code(str(value)) if name == "gender" else str(value)


def _origins(values: Sequence[ToldValue]) -> set[str]:
    return {one.origin.organisation for one in values if one.origin is not None}


# Instants ------------------------------------------------------------------------------------------------------------------


def _end_of(mpi: Mpi, text: str) -> datetime:
    """Return the end of a day in London, or now on the present one.

    Raises:
        Invalid: ``day-format``.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Invalid("day-format", field="on") from None
    end = datetime.combine(day + timedelta(days=1), time(), LOCAL).astimezone(UTC) - timedelta(microseconds=1)
    now = mpi.clock.now()
    return now if end > now >= datetime.combine(day, time(), LOCAL) else end


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("cursor-format", field="cursor") from None
    if at.tzinfo is None:
        raise Invalid("cursor-format", field="cursor")
    return at


def _token(entry: Entry) -> str:
    at, rank, number, part = entry.place
    return write_cursor([at.isoformat(), rank, str(number), part])
