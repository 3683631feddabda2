"""Reports over HTTP, for privacy officers; usage, for boards."""

from typing import Any

import flask
from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.service.report import access_report
from consent.service.usage import read_usage
from consent.service.usage_told import csv_of, picture_of, shares_of
from consent.web.schemas import Loaded, ReportQuery, ReportSchema, UsageQuery, UsageSchema
from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, requires


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("reports", description="Who saw what, and how much")

    @room.get("/persons/<person_id>/access-report")
    @requires("reports:read")
    @room.arguments(ReportQuery, location="query")
    @room.response(200, ReportSchema)
    def report(query: Loaded, person_id: str) -> Any:
        """Tell who asked for and saw a person's record, oldest first, in the officer's and the patient's words. The making of the report
        is audited too."""
        number = parse_id(person_id, "person_id")
        return access_report(consent, number, current_principal(), since=query["since"], until=query["until"])

    @room.route("/usage", methods=["GET"])
    @room.arguments(UsageQuery, location="query")
    @room.response(200, UsageSchema)
    @room.doc(
        responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _KINDS.values()}}}
    )
    @requires("usage:read")
    def usage(query: Loaded) -> Any:
        """Return how often the shared record was viewed in some months, beside the same months of the year before.

        A view is one user of one organisation being shown something of one person within one clock hour. They are counted from the sealed
        audit log by the worker, as far as `counted_until`. Minutes saved rest on the assumption `minutes_per_view`. As JSON, as CSV
        with a row a count, or as an SVG of the last twelve months that says the same in words.
        """
        told = read_usage(
            consent,
            current_principal(),
            first=query["first"],
            last=query["last"],
            minutes_a_view=query["minutes_per_view"],
        )
        form = query["format"] or _accepted()
        if form == "csv":
            return flask.Response(csv_of(told.usage), content_type=f"{_KINDS[form]}; charset=utf-8")
        if form == "svg":
            return flask.Response(picture_of(told.usage), content_type=_KINDS[form])
        one = told.usage
        return {
            "first": str(one.first),
            "last": str(one.last),
            "staff": told.staff,
            "counted_until": told.counted_until,
            "minutes_saved": one.minutes_saved,
            "minutes_per_view": one.minutes_a_view,
            "total": one.total,
            **{f"by_{by}": shares for by, shares in shares_of(one).items() if by != "total"},
            "connections": [{"organisation": c.organisation, "month": str(c.month)} for c in one.connections],
        }

    return room


_KINDS = {"csv": "text/csv", "svg": "image/svg+xml"}


def _accepted() -> str:
    best = flask.request.accept_mimetypes.best_match(
        ["application/json", *_KINDS.values()], "application/json"
    )
    return next((form for form, kind in _KINDS.items() if kind == best), "json")
