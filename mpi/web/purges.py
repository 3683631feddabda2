"""Lawful erasure over HTTP: one person proposes, another confirms what both have seen; ``If-Match`` says what was looked at."""

from typing import Any

from flask_smorest import Blueprint

from foundation.ids import parse_id
from foundation.web import (
    current_principal,
    etag,
    if_match,
    make_blueprint,
    make_page,
    page_schema,
    read_cursor,
    requires,
    takes_if_match,
)
from mpi.records import RecordKey
from mpi.service import purge
from mpi.service.context import Mpi
from mpi.web.schemas import Loaded, NewPurgeSchema, PurgeQuery, PurgeSchema


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("purges", "/api/v1/purges", "The lawful erasure of source records, by two people")

    @room.route("", methods=["POST"])
    @room.arguments(NewPurgeSchema)
    @room.response(201, PurgeSchema)
    @requires(purge.SCOPE)
    def propose(body: Loaded) -> Any:
        """Propose to erase a record of one's own organisation, or to lift the tombstone that an erasure left.

        Nothing is erased yet. ``preview`` says what would be, and its ``ETag`` is what the second person confirms.
        """
        key = RecordKey(body["organisation"], body["system"], body["local_id"])
        found = purge.propose_purge(
            mpi,
            body["act"],
            key,
            current_principal(),
            reason=body["reason"],
            legal_basis=body["legal_basis"],
        )
        return found, 201, {"ETag": etag(found.mark)}

    @room.route("", methods=["GET"])
    @room.arguments(PurgeQuery, location="query")
    @room.response(200, page_schema(PurgeSchema))
    @requires(purge.SCOPE)
    def list_purges(query: Loaded) -> Any:
        """List proposals and what became of them, the newest first."""
        place = read_cursor(query["cursor"], int)
        found = purge.list_purges(
            mpi,
            current_principal(),
            state=query["state"],
            below=place[0] if place else None,
            limit=query["limit"] + 1,
        )
        return make_page(found, query["limit"], lambda one: [one.purge_id])

    @room.route("/<purge_id>", methods=["GET"])
    @room.response(200, PurgeSchema)
    @requires(purge.SCOPE)
    def read_purge(purge_id: str) -> Any:
        """Return a proposal with what it would change now, or ``refused``: why it could not be done."""
        found = purge.get_purge(mpi, parse_id(purge_id, "purge_id"), current_principal())
        return found, 200, {"ETag": etag(found.mark)}

    @room.route("/<purge_id>/confirm", methods=["POST"])
    @room.response(200, PurgeSchema)
    @requires(purge.SCOPE)
    @takes_if_match
    def confirm(purge_id: str) -> Any:
        """Do what another person proposed. It cannot be undone.

        With the ``ETag`` of a later look as ``If-Match`` what that showed is confirmed; without it, what the proposer saw.
        """
        number = parse_id(purge_id, "purge_id")
        return purge.confirm_purge(mpi, number, current_principal(), if_match=if_match())

    @room.route("/<purge_id>/withdraw", methods=["POST"])
    @room.response(200, PurgeSchema)
    @requires(purge.SCOPE)
    def withdraw(purge_id: str) -> Any:
        """Take a proposal back; what it was about stays as it is."""
        return purge.withdraw_purge(mpi, parse_id(purge_id, "purge_id"), current_principal())

    return room
