"""Persons over HTTP: by id, by identifier (never in the URL), their members and why they are one."""

from datetime import datetime
from typing import Any

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, make_page, read_cursor, requires
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.service.golden import get_golden, get_golden_then
from mpi.service.history import Entry, Place, get_person_then, read_history
from mpi.service.people import explain_person, get_person, lookup_persons, lookup_record
from mpi.service.tell import picture_of
from mpi.web.schemas import (
    AsAtQuery,
    GoldenQuery,
    GoldenSchema,
    HistoryEntryPage,
    HistoryQuery,
    Loaded,
    LookupSchema,
    MembersQuery,
    MembersThenSchema,
    PersonsSchema,
    PersonThenSchema,
    WhyQuery,
    WhySchema,
)

_SVG = "image/svg+xml"


def _accepted() -> str:
    accept = flask.request.accept_mimetypes
    return "svg" if accept.best_match(["application/json", _SVG], "application/json") == _SVG else "json"


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("persons", "/api/v1/persons", "People, and the records that make them")

    @room.route("/<person_id>", methods=["GET"])
    @room.arguments(AsAtQuery, location="query")
    @room.response(200, PersonThenSchema)
    @requires("persons:read")
    def read_person(query: Loaded, person_id: str) -> Any:
        """Return the person that an id stands for now; the answer may bear another id, that of the earliest record. With ``as_at``, the
        person that it stood for at an instant: what happened at that very instant counts."""
        number, by = parse_id(person_id, "person_id"), current_principal()
        if query["as_at"] is not None:
            return get_person_then(mpi, number, query["as_at"], by)
        return get_person(mpi, number, by)

    @room.route("/<person_id>/members", methods=["GET"])
    @room.arguments(MembersQuery, location="query")
    @room.response(200, MembersThenSchema)
    @requires("persons:read")
    def read_members(query: Loaded, person_id: str) -> Any:
        """Return the records of a person, as far as the release gate lets them leave: that an organisation knows someone is told
        like any other item. Nothing says how many stayed behind. With ``as_at``, those that it had at an instant, each as the gate says
        today of the person whose it is today; what was erased since is told at no instant."""
        number, by, purpose = parse_id(person_id, "person_id"), current_principal(), query["purpose"]
        if query["as_at"] is not None:
            return get_person_then(mpi, number, query["as_at"], by, with_members=True, purpose=purpose)
        return get_person(mpi, number, by, with_members=True, purpose=purpose)

    @room.route("/<person_id>/golden", methods=["GET"])
    @room.arguments(GoldenQuery, location="query")
    @room.response(200, GoldenSchema)
    @requires("persons:read")
    def read_golden(query: Loaded, person_id: str) -> Any:
        """Return what the records of a person say at their best: for each field one value, whose it is, why it was chosen, and how many say
        otherwise. From records whose demographics the release gate lets leave; of a restricted person no location is told to anyone. With
        ``as_at``, of the person that the id stood for at an instant, by the versions that stood and what was known of numbers then."""
        number, by, purpose = parse_id(person_id, "person_id"), current_principal(), query["purpose"]
        if query["as_at"] is not None:
            return get_golden_then(mpi, number, query["as_at"], by, purpose=purpose)
        return get_golden(mpi, number, by, purpose=purpose)

    @room.route("/<person_id>/history", methods=["GET"])
    @room.arguments(HistoryQuery, location="query")
    @room.response(200, HistoryEntryPage)
    @requires("persons:read")
    def list_history(query: Loaded, person_id: str) -> Any:
        """Return what befell the person that an id stands for now, the oldest first and in words: records and versions that came, links,
        merges, splits, decisions and their undoing, erasures. Only of records that the release gate lets be named, and never a value."""
        limit = query["limit"]
        found = read_history(
            mpi,
            parse_id(person_id, "person_id"),
            current_principal(),
            purpose=query["purpose"],
            after=_place(query["cursor"]),
            limit=limit + 1,
        )
        return make_page(found, limit, _token)

    @room.route("/<person_id>/why", methods=["GET"])
    @room.arguments(WhyQuery, location="query")
    @room.response(200, WhySchema)
    @room.doc(responses={200: {"content": {_SVG: {"schema": {"type": "string"}}}}})
    @requires("persons:read")
    def read_why(query: Loaded, person_id: str) -> Any:
        """Say how a person was built: the edges and decisions that join its records, in order. With ``other``, the way from one record to
        the other, or what stands between two persons. As JSON, or as a picture (SVG) that says the same."""
        other = query["other"]
        found = explain_person(
            mpi,
            parse_id(person_id, "person_id"),
            current_principal(),
            other=parse_id(other, "other") if other is not None else None,
            purpose=query["purpose"],
        )
        if (query["format"] or _accepted()) != "svg":
            return found
        return flask.Response(
            picture_of(found, is_way=other is not None), content_type=f"{_SVG}; charset=utf-8"
        )

    @room.route("/lookup", methods=["POST"])
    @room.arguments(LookupSchema)
    @room.response(200, PersonsSchema)
    @requires("persons:read")
    def lookup(body: Loaded) -> Any:
        """Find persons by an identifier, or the person of one's own record. Two persons under one identifier are a conflict."""
        by = current_principal()
        if "value" in body and not {"organisation", "local_id"} & body.keys():
            return {"persons": lookup_persons(mpi, body["system"], body["value"], by)}
        if "value" not in body and {"organisation", "local_id"} <= body.keys():
            key = RecordKey(body["organisation"], body["system"], body["local_id"])
            return {"persons": [lookup_record(mpi, key, by)]}
        raise Invalid("lookup-ambiguous", field="value")

    return room


def _token(entry: Entry) -> list[int | str]:
    at, rank, number, part = entry.place
    return [at.isoformat(), rank, str(number), part]


def _place(token: str | None) -> Place | None:
    place = read_cursor(token, str, int, str, int)
    if place is None:
        return None
    try:
        at = datetime.fromisoformat(place[0])
    except ValueError:
        raise Invalid("cursor-format", field="cursor") from None
    if at.tzinfo is None:
        raise Invalid("cursor-format", field="cursor")
    return at, place[1], parse_id(place[2], "cursor"), place[3]
