"""Persons over HTTP: by id, by identifier (never in the URL), their members and why they are one."""

from typing import Any

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, requires
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.service.people import explain_person, get_person, lookup_persons, lookup_record
from mpi.service.tell import picture_of
from mpi.web.schemas import (
    Loaded,
    LookupSchema,
    MembersSchema,
    PersonQuery,
    PersonSchema,
    PersonsSchema,
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
    @room.response(200, PersonSchema)
    @requires("persons:read")
    def read_person(person_id: str) -> Any:
        """Return the person that an id stands for now; the answer may bear another id, that of the earliest record."""
        return get_person(mpi, parse_id(person_id, "person_id"), current_principal())

    @room.route("/<person_id>/members", methods=["GET"])
    @room.arguments(PersonQuery, location="query")
    @room.response(200, MembersSchema)
    @requires("persons:read")
    def read_members(query: Loaded, person_id: str) -> Any:
        """Return the records of a person, as far as the release gate lets them leave: that an organisation knows someone is told
        like any other item. Nothing says how many stayed behind."""
        return get_person(
            mpi,
            parse_id(person_id, "person_id"),
            current_principal(),
            with_members=True,
            purpose=query["purpose"],
        )

    @room.route("/<person_id>/why", methods=["GET"])
    @room.arguments(WhyQuery, location="query")
    @room.response(200, WhySchema)
    @room.doc(responses={"200": {"content": {_SVG: {"schema": {"type": "string"}}}}})
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
