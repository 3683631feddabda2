"""Data quality over HTTP: figures by organisation and system, as last measured and day by day, as JSON or CSV."""

from typing import Any

import flask
from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.web import current_principal, make_blueprint, read_cursor, requires, write_cursor
from mpi.service.context import Mpi
from mpi.service.quality import csv_of, read_quality, worst_sources
from mpi.store.quality import Source
from mpi.web.schemas import Loaded, QualityPageSchema, QualityQuery

_CSV = "text/csv"


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("quality", "/api/v1/quality", "How good the records of organisations are")

    @room.route("", methods=["GET"])
    @room.arguments(QualityQuery, location="query")
    @room.response(200, QualityPageSchema)
    @room.doc(responses={200: {"content": {_CSV: {"schema": {"type": "string"}}}}})
    @requires("quality:read")
    def read(query: Loaded) -> Any:
        """Return counts of completeness, validity, duplicates, conflicts and links of each system's records, as last measured.

        Of one's own organisations; with `quality:all` of every one. With `organisation` the days of a period as well (30 days unless
        `from` and `to` say otherwise). As CSV the header `X-Next-Cursor` bears the cursor of the next page, if there is one.
        """
        if query["worst"] is not None:
            return _worst(query)
        place = read_cursor(query["cursor"], str, str)
        page = read_quality(
            mpi,
            current_principal(),
            organisation=query["organisation"],
            first=query["first"],
            last=query["last"],
            after=None if place is None else Source(*place),
            limit=query["limit"],
        )
        token = None if page.next is None else write_cursor(page.next)
        if (query["format"] or _accepted()) != "csv":
            return {"sources": page.sources, "next": token}
        headers = {} if token is None else {"X-Next-Cursor": token}
        return flask.Response(csv_of(page.sources), content_type=f"{_CSV}; charset=utf-8", headers=headers)

    def _worst(query: Loaded) -> Any:
        if query["organisation"] or query["first"] or query["last"] or query["format"] == "csv":
            raise Invalid("worst-alone", field="worst", detail="It goes with `limit` and `cursor` alone.")
        start, limit = (read_cursor(query["cursor"], int) or (0,))[0], query["limit"]
        if start < 0:
            raise Invalid("cursor-format", field="cursor")
        found = worst_sources(mpi, current_principal(), figure=query["worst"], start=start, limit=limit + 1)
        token = write_cursor([start + limit]) if len(found) > limit else None
        return {"sources": found[:limit], "next": token}

    return room


def _accepted() -> str:
    accept = flask.request.accept_mimetypes
    return "csv" if accept.best_match(["application/json", _CSV], "application/json") == _CSV else "json"
