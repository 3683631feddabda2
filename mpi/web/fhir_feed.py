"""The patient identity feed in FHIR (IHE ITI-104): a source sends, merges and removes its own records, each named by its identifier."""

from typing import Any

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid, NotFound
from foundation.web import current_principal, etag, if_match, requires, takes_if_match
from foundation.web.body import read_json
from foundation.web.fhir import (
    answers_with,
    body_of,
    format_parameter,
    make_fhir_blueprint,
    outcome,
    prefer_parameter,
    speaks_fhir,
    written,
)
from foundation.web.problems import told_name
from mpi.feeds.fhir import ReadPatient, Systems, read_patient
from mpi.feeds.fhir.write import versioned
from mpi.records import Identifier, RecordKey
from mpi.service.context import Mpi
from mpi.service.local_ids import merge_local
from mpi.service.patients import read_patient as read_person
from mpi.service.receive import Received, receive_record
from mpi.service.withdraw import SCOPE as MAY_WITHDRAW
from mpi.service.withdraw import withdraw_record
from mpi.web.fhir_patients import patient_told
from mpi.web.records import expected_version

_IDENTIFIER = {
    "name": "identifier",
    "in": "query",
    "required": True,
    "description": "The record: the system of one's own local ids, `|`, and the local id.",
    "schema": {"type": "string", "pattern": "^[^|]+[|][^|]+$"},
}
_OUTCOME = "OperationOutcome"
READS = "persons:read"
_REMOVED = "Removed over FHIR (ITI-104)."
_SAYS = {
    "linked": ("information", "It is kept and linked"),
    "waiting": ("information", "It is kept, and waits for linking"),
    "unchanged": ("information", "This very version was there already"),
    "held": (
        "warning",
        "It is kept and reads like another person: what stood before still stands until someone decides",
    ),
    "withdrawn": ("warning", "It is kept with a record that is out of the index"),
    "merge-done": ("information", "The record that stays stands for both"),
    "merge-held": ("warning", "The two read like two people: the merge waits until someone decides"),
    "removed": ("information", "The record is out of the index, and can be restored"),
}


def make(mpi: Mpi, public_url: str) -> Blueprint:
    room = make_fhir_blueprint("fhir-feed", "Source records sent as FHIR Patients")
    systems = Systems(public_url)

    @room.put("/Patient")
    @requires("records:write")
    @takes_if_match
    @room.doc(
        summary="Send a source record, a later version of it, or its merge into another (ITI-104)",
        description="A conditional update by an identifier of one's own, which the Patient bears, and a name. With `active` false and "
        "a `link` of type `replaced-by` to another identifier of the same system it is merged into that one. `If-Match` takes the ETag of "
        "an answer here: 412 where another version came meanwhile. What reads like another person is held, and acknowledged all the same. "
        "With `Prefer: return=representation` the answer is the Patient as the sender may read it, where they may (`persons:read`).",
        parameters=[_IDENTIFIER, prefer_parameter(), format_parameter()],
        requestBody=body_of(["Patient"], "What the source says of somebody"),
        responses={
            "200": answers_with("What became of it", "OperationOutcome"),
            "201": answers_with("Its first version was kept", "OperationOutcome"),
            "412": {"description": "Another version came first"},
        },
    )
    @speaks_fhir
    def put() -> Any:
        key = _key(systems)
        read = read_patient(read_json(), key)
        _check(read, systems, key)
        if read.replaced_by is not None:
            return _merged(mpi, systems, key, read.replaced_by, read)
        if read.is_active is False:
            raise Invalid(
                "active-false",
                field="Patient.active",
                detail="DELETE removes a record, and a link merges it.",
            )
        read = read.without_ours(systems)
        try:
            received = receive_record(mpi, read.record, current_principal(), if_match=expected_version())
        except Invalid as fault:
            raise read.as_told(fault) from fault
        return _received(mpi, systems, received)

    @room.delete("/Patient")
    @requires(MAY_WITHDRAW)
    @takes_if_match
    @room.doc(
        summary="Take a record of one's own out of the index (ITI-104)",
        description="It is withdrawn as over JSON: it keeps all that was sent and decided of it, and can be restored there.",
        parameters=[_IDENTIFIER, prefer_parameter(), format_parameter()],
        responses={
            "200": answers_with("It is out of the index", "OperationOutcome"),
            "412": {"description": "Another version came first"},
        },
    )
    @speaks_fhir
    def delete() -> Any:
        withdraw_record(
            mpi, _key(systems), current_principal(), reason="other", comment=_REMOVED, if_match=if_match()
        )
        return _said("removed")

    return room


def _key(systems: Systems) -> RecordKey:
    """Return the record that the request names.

    Raises:
        Invalid: ``required``, ``repeated``, ``unknown-field``; ``identifier-system`` for anything but a local id.
    """
    args = flask.request.args
    for name in args:
        if name not in ("identifier", "_format"):
            raise Invalid("unknown-field", field=told_name(name))
    given = args.getlist("identifier")
    if len(given) != 1:
        raise Invalid("repeated" if given else "required", field="identifier")
    system, _, value = given[0].partition("|")
    key = systems.key_of(system, value) if value else None
    if key is None:
        raise Invalid(
            "identifier-system",
            field="identifier",
            detail="Give the system of your own local ids, | and the id.",
        )
    return key


def _check(read: ReadPatient, systems: Systems, key: RecordKey) -> None:
    said = (systems.local(key.organisation, key.system), key.local_id)
    if said not in {(one.system, one.value) for one in read.record.identifiers}:
        raise Invalid(
            "identifier-differs",
            field="Patient.identifier",
            detail="It does not bear the identifier of the request.",
        )
    if not read.record.names:
        raise Invalid("required", field="Patient.name")


def _merged(mpi: Mpi, systems: Systems, key: RecordKey, into: Identifier, read: ReadPatient) -> Any:
    if read.is_active is not False:
        raise Invalid(
            "not-one-of", field="Patient.active", detail="What another one stands for is not active."
        )
    heir = systems.key_of(into.system, into.value)
    if heir is None or (heir.organisation, heir.system) != (key.organisation, key.system):
        raise Invalid("link-leaves-source", field="Patient.link", detail="A merge stays inside its source.")
    if expected_version() is not None:
        raise Invalid("if-match-unsupported", detail="A merge takes no version.")
    change = merge_local(mpi, key, heir.local_id, current_principal())
    return _said("merge-held" if change.state == "held" else "merge-done")


def _received(mpi: Mpi, systems: Systems, received: Received) -> Any:
    status = 201 if received.version == 1 and received.state in ("linked", "waiting") else 200
    body, applied = written(
        lambda: _person(mpi, systems, received.record_id), _outcome(received.state), otherwise=_OUTCOME
    )
    headers = {
        "Location": f"{systems.base}/Patient/{received.record_id}",
        "ETag": etag(received.version),
        **applied,
    }
    return body, status, headers


def _person(mpi: Mpi, systems: Systems, record_id: int) -> Any:
    """Return the Patient that a record is part of, as its sender may read it; None where they may not, or it is nobody yet."""
    by = current_principal()
    if READS not in by.scopes:
        return None
    try:
        told = read_person(mpi, record_id, by)
    except NotFound:
        return None
    return versioned(patient_told(told, systems, frozenset()))


def _said(state: str) -> tuple[Any, int, dict[str, str]]:
    body, headers = written(lambda: None, _outcome(state), otherwise=_OUTCOME)
    return body, 200, headers


def _outcome(state: str) -> dict[str, Any]:
    severity, text = _SAYS[state]
    return outcome(severity, "informational", state, text)
