"""Matching over HTTP: a description comes in, candidates go out; nothing is stored."""

from typing import Any

from flask_smorest import Blueprint

from foundation.web import current_principal, make_blueprint, requires
from mpi.records import RecordKey
from mpi.service.context import Mpi
from mpi.service.match import match_person
from mpi.web.records import record_of
from mpi.web.schemas import Loaded, MatchAnswerSchema, MatchSchema


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("match", "/api/v1", "Who is this?")

    @room.route("/match", methods=["POST"])
    @room.arguments(MatchSchema())
    @room.response(200, MatchAnswerSchema())
    @requires("match")
    def match(body: Loaded) -> Any:
        """Find the persons whom a description may mean.

        ``reasons`` (agree, close, differ, missing; never a value) need the scope ``match:reasons``. Nobody is ``certain`` when the search
        was cut short, or when two persons fit nearly as well.
        """
        limit, reasons = body.pop("limit"), body.pop("reasons")
        query = record_of(RecordKey(current_principal().organisation, "query", "query"), body)
        answer = match_person(mpi, query, current_principal(), limit=limit, reasons=reasons)
        return {
            "search_complete": answer.search_complete,
            "candidates": [
                {
                    "person_id": one.person_id,
                    "weight_millibits": one.weight_millibits,
                    "probability": round(one.probability, 6),
                    "grade": one.grade.value,
                    **({"reasons": one.reasons} if one.reasons is not None else {}),
                }
                for one in answer.candidates
            ],
        }

    return room
