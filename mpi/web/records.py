"""Source records over HTTP: sent with PUT, read back by the organisation whose they are."""

from collections.abc import Mapping
from typing import Any

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.web import current_principal, etag, if_match, make_blueprint, requires, takes_if_match
from mpi.records import RecordKey, SourceRecord
from mpi.service.context import Mpi
from mpi.service.people import get_record
from mpi.service.receive import receive_record
from mpi.web.schemas import Loaded, ReceivedSchema, RecordQuery, SourceRecordSchema, StoredRecordSchema

_ROUTE = "/<organisation>/<system>/<path:local_id>"


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint(
        "source-records", "/api/v1/source-records", "What organisations' systems say of people"
    )

    @room.route(_ROUTE, methods=["PUT"])
    @room.arguments(RecordQuery, location="query")
    @room.arguments(SourceRecordSchema)
    @room.response(200, ReceivedSchema)
    @room.alt_response(201, schema=ReceivedSchema)
    @room.alt_response(202, schema=ReceivedSchema)
    @requires("records:write")
    @takes_if_match
    def put_record(query: Loaded, body: Loaded, organisation: str, system: str, local_id: str) -> Any:
        """Send a source record, or a later version of it.

        The same version again changes nothing. With ``If-Match`` it is refused when another version came meanwhile; ``If-None-Match: *``
        lets it in only as the first. The answer waits for linking unless ``wait=false``.
        """
        record = record_of(RecordKey(organisation, system, local_id), body)
        received = receive_record(
            mpi, record, current_principal(), link=query["wait"], if_match=expected_version()
        )
        status = 202 if received.state in ("waiting", "withdrawn") else 201 if received.version == 1 else 200
        if received.state == "unchanged":
            status = 200
        return received, status, {"ETag": etag(received.version)}

    @room.route(_ROUTE, methods=["GET"])
    @room.response(200, StoredRecordSchema)
    @requires("records:read")
    def read_record(organisation: str, system: str, local_id: str) -> Any:
        """Read a record back as it stands; another organisation's looks like one that is not there."""
        found = get_record(mpi, RecordKey(organisation, system, local_id), current_principal())
        answer = {
            "record_id": found.record_id,
            "version": found.version,
            "state": found.state,
            "person_id": found.person_id,
            "nhs_number_state": found.nhs_number_state,
            "record": found.record.to_payload(),
        }
        return answer, 200, {"ETag": etag(found.version)}

    return room


def expected_version() -> int | None:
    """Return the version that the sender believes to be the last: 0 for none, None where it did not say.

    Raises:
        Invalid: ``if-none-match-format``: a condition that is not understood must not be taken for none; ``if-match-format``.
    """
    given = flask.request.headers.get("If-None-Match")
    if given is None:
        return if_match()
    if given.strip() != "*":
        raise Invalid("if-none-match-format", detail="If-None-Match takes * alone.")
    return 0


def record_of(key: RecordKey, body: Mapping[str, Any]) -> SourceRecord:
    """Make a source record of what a schema read."""
    payload = dict(body)
    updated_at = payload.pop("updated_at", None)
    if updated_at is not None:
        payload["updated_at"] = updated_at.isoformat()
    return SourceRecord.from_payload(
        payload | {"organisation": key.organisation, "system": key.system, "local_id": key.local_id}
    )
