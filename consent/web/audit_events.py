"""The audit log over FHIR: what a report tells of a person, as AuditEvents, for privacy officers."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.service.report import TOLD, ToldRow, read_access, search_accesses
from consent.service.report_told import ODS, OUTCOMES, Coding, Systems, audit_event_of, told_of
from foundation.audit import OUTCOMES as ROW_OUTCOMES
from foundation.audit import Sought
from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import current_principal, read_cursor, requires, write_cursor
from foundation.web.fhir import (
    Resource,
    Search,
    SearchParameter,
    answers_with,
    described_parameters,
    id_of,
    make_fhir_blueprint,
    read_parameters,
    read_search,
    searchset,
    speaks_fhir,
)

_TOKEN = "^[^|]*[|]?[^|]+$"
_DATE = re.compile(
    r"(eq|ge|gt|le|lt)?([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2}))?)?)?"
)

AUDIT_EVENT = Resource(
    "AuditEvent",
    "What the access report of a person tells, rendered from the audit log whenever it is read; every reading is an event of its own.",
    ("read", "search-type"),
    (
        SearchParameter(
            "patient",
            "reference",
            "Whose events: the id of a person of this service, or `Patient/` and the id. Always needed: nobody reads across persons.",
            "^(Patient/)?[1-9][0-9]{0,18}$",
            is_required=True,
            is_repeatable=False,
        ),
        SearchParameter(
            "date",
            "date",
            "When it was recorded; with ge, gt, le, lt or eq. A day, month or year is one of UTC; a time needs its zone.",
            f"^{_DATE.pattern}$",
        ),
        SearchParameter(
            "agent",
            "reference",
            "Who took part, by identifier, with its system and `|` or without: the user, the client or the organisation (by ODS code). "
            "`agent:identifier` is the same.",
            _TOKEN,
            modifiers=("identifier",),
        ),
        SearchParameter("action", "token", "C, R, U, D or E.", "^[^|]+$"),
        SearchParameter("type", "token", "The type, by code, with its system and `|` or without.", _TOKEN),
        SearchParameter(
            "subtype", "token", "A subtype, by code; the kinds of the log are subtypes too.", _TOKEN
        ),
        SearchParameter("outcome", "token", "0 where the act was done, 8 where it was not.", "^[^|]+$"),
    ),
    is_counted=False,
)


def make(consent: Consent) -> Blueprint:
    room = make_fhir_blueprint("audit-events", "The audit log as FHIR AuditEvents")
    systems = Systems(consent.issuer)

    @room.get("/AuditEvent")
    @requires("reports:read")
    @room.doc(
        summary="Tell who asked for and saw a person's record, as AuditEvents, oldest first",
        description="Tells what the access report tells, and no more. Every page that is read is audited too. A parameter "
        "that is not known is refused, unless the request says `Prefer: handling=lenient`.",
        parameters=described_parameters(AUDIT_EVENT),
        responses={
            "200": answers_with("A page of a searchset", "Bundle"),
            "404": {"description": "Nobody has this id: no events would mean that nobody looked"},
        },
    )
    @speaks_fhir
    def search() -> Any:
        asked = read_search(AUDIT_EVENT)
        found = search_accesses(
            consent,
            _person(asked),
            current_principal(),
            _sought(asked, systems),
            parameters=sorted(asked.values),
            after=_place(asked.cursor),
            limit=asked.count + 1,
        )
        page = found[: asked.count]
        following = None
        if len(found) > asked.count:
            following = write_cursor([page[-1].row.at.isoformat(), page[-1].row.event_id])
        return searchset(AUDIT_EVENT, asked, [_resource(one, systems) for one in page], following)

    @room.get("/AuditEvent/<event_id>")
    @requires("reports:read")
    @room.doc(
        summary="Tell one event of a person's access report, as an AuditEvent",
        description="The reading is audited too. Of an event whose personal parts were lawfully erased the rest is told.",
        parameters=read_parameters(),
        responses={"200": answers_with("The event", "AuditEvent")},
    )
    @speaks_fhir
    def read(event_id: str) -> Any:
        number = id_of(event_id, "audit-event-unknown")
        return _resource(read_access(consent, number, current_principal()), systems)

    return room


def _resource(one: ToldRow, systems: Systems) -> dict[str, Any]:
    return audit_event_of(one.row, one.person_id, systems, words=one.texts.officer)


def _person(asked: Search) -> int:
    (text,) = asked.values["patient"]
    return parse_id(text.removeprefix("Patient/"), "patient")


def _place(cursor: str | None) -> tuple[datetime, int] | None:
    fault = Invalid("cursor-format", field="_cursor")
    found = read_cursor(cursor, str, int, field="_cursor")
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found[0])
    except ValueError as error:
        raise fault from error
    if at.utcoffset() != timedelta(0):
        raise fault
    return at, found[1]


# What is sought ------------------------------------------------------------------------------------------------------------


def _sought(asked: Search, systems: Systems) -> Sought:
    """Read the filters: values of one parameter, parted by commas, are alternatives; a repeated parameter narrows again."""
    values = asked.values
    kinds, outcomes = set(TOLD), set(ROW_OUTCOMES)
    for given in values.get("action", ()):
        wanted = set(given.split(","))
        kinds = {kind for kind in kinds if told_of(kind).pattern.action in wanted}
    for given in values.get("type", ()):
        kinds = {kind for kind in kinds if _is_among([told_of(kind).pattern.type], given)}
    for given in values.get("subtype", ()):
        kinds = {kind for kind in kinds if _is_among(_subtypes(kind, systems), given)}
    for given in values.get("outcome", ()):
        wanted = set(given.split(","))
        outcomes = {one for one in outcomes if OUTCOMES[one] in wanted}
    actors = tuple(
        tuple(_actors(given, systems))
        for name in ("agent", "agent:identifier")
        for given in values.get(name, ())
    )
    since, until = _period(values.get("date", ()))
    return Sought(frozenset(kinds), frozenset(outcomes), actors, since, until)


def _subtypes(kind: str, systems: Systems) -> list[Coding]:
    return [*told_of(kind).pattern.subtype, (systems.kind, kind)]


def _is_among(codings: Iterable[Coding], given: str) -> bool:
    for one in given.split(","):
        system, bar, code = one.rpartition("|")
        if any(code == known and (not bar or system == of) for of, known in codings):
            return True
    return False


def _actors(given: str, systems: Systems) -> Iterable[tuple[str, str]]:
    places = {systems.user: "user", systems.client: "client", ODS: "organisation"}
    for one in given.split(","):
        system, bar, value = one.rpartition("|")
        for of, place in places.items():
            if not bar or system == of:
                yield place, value


def _period(given: Iterable[str]) -> tuple[datetime | None, datetime | None]:
    """Return from when (included) to when (left out) events are sought; each value covers as much time as it is precise."""
    since: list[datetime] = []
    until: list[datetime] = []
    for text in given:
        prefix, first, behind = _span(text)
        if prefix in ("eq", "ge"):
            since.append(first)
        if prefix == "gt":
            since.append(behind)
        if prefix in ("eq", "le"):
            until.append(behind)
        if prefix == "lt":
            until.append(first)
    return max(since, default=None), min(until, default=None)


def _span(text: str) -> tuple[str, datetime, datetime]:
    fault = Invalid("date-format", field="date")
    # An instant's "+" that was not written as %2B has come as a space.
    found = _DATE.fullmatch(text.replace(" ", "+"))
    if found is None:
        raise fault
    prefix, year, month, day, time = found.groups()
    try:
        first = datetime.fromisoformat(f"{year}-{month or '01'}-{day or '01'}{time or 'T00:00Z'}").astimezone(
            UTC
        )
        return prefix or "eq", first, _behind(first, month, day, time)
    except (ValueError, OverflowError) as error:
        raise fault from error


def _behind(first: datetime, month: str | None, day: str | None, time: str | None) -> datetime:
    if time is None and day is not None:
        return first + timedelta(days=1)
    if time is None and month is not None:
        return (first + timedelta(days=31)).replace(day=1)
    if time is None:
        return first.replace(year=first.year + 1)
    _, dot, fraction = re.sub("(Z|[+-][0-9:]+)$", "", time).partition(".")
    if dot:
        return first + timedelta(microseconds=10 ** (6 - len(fraction)))
    return first + (timedelta(seconds=1) if time.count(":") - _has_zone(time) == 2 else timedelta(minutes=1))


def _has_zone(time: str) -> int:
    return 0 if time.endswith("Z") else 1
