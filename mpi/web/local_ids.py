"""Merges and renumberings inside a source over HTTP: asked by the source, held where they read like two people, and taken back."""

from typing import Any

from flask_smorest import Blueprint

from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, make_page, page_schema, read_cursor, requires
from mpi.records import RecordKey
from mpi.service import local_ids
from mpi.service.context import Mpi
from mpi.web.schemas import Loaded, LocalChangeQuery, LocalChangeSchema, NewLocalChangeSchema


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint(
        "local-changes",
        "/api/v1/local-changes",
        "What sources say of their own local ids: merges and renumberings",
    )

    @room.route("", methods=["POST"])
    @room.arguments(NewLocalChangeSchema)
    @room.response(200, LocalChangeSchema)
    @room.alt_response(202, schema=LocalChangeSchema)
    @requires(local_ids.SCOPE)
    def ask(body: Loaded) -> Any:
        """Merge a record of one's own into another of the same system, or give it another local id.

        It is done (200), or held until people have answered (202): where the records read like two people, or an update of one of them
        waits already. No record of any other source is joined or parted by it, beyond losing the record that goes.
        """
        key = RecordKey(body["organisation"], body["system"], body["local_id"])
        act = local_ids.merge_local if body["act"] == "merge" else local_ids.renumber_local
        change = act(mpi, key, body["to"], current_principal())
        return change, 202 if change.state == "held" else 200

    @room.route("", methods=["GET"])
    @room.arguments(LocalChangeQuery, location="query")
    @room.response(200, page_schema(LocalChangeSchema))
    @requires(local_ids.SCOPE)
    def list_changes(query: Loaded) -> Any:
        """List the merges and renumberings of one's organisations, the newest first."""
        place = read_cursor(query["cursor"], int)
        found = local_ids.list_changes(
            mpi,
            current_principal(),
            state=query["state"],
            below=place[0] if place else None,
            limit=query["limit"] + 1,
        )
        return make_page(found, query["limit"], lambda one: [one.change_id])

    @room.route("/<change_id>", methods=["GET"])
    @room.response(200, LocalChangeSchema)
    @requires(local_ids.SCOPE)
    def read(change_id: str) -> Any:
        """Return a merge or a renumbering, and what came of it."""
        return local_ids.get_change(mpi, parse_id(change_id, "change_id"), current_principal())

    @room.route("/<change_id>/undo", methods=["POST"])
    @room.response(200, LocalChangeSchema)
    @requires(local_ids.SCOPE)
    def undo(change_id: str) -> Any:
        """Take a merge or a renumbering back: records and local ids are as they were before it."""
        return local_ids.undo_local(mpi, parse_id(change_id, "change_id"), current_principal())

    return room
