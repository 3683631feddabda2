"""The directory of organisations over HTTP: read by all who work with it, kept by those who maintain it."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from flask import jsonify
from marshmallow import fields

from foundation import audit
from foundation.directory import (
    SETTINGS,
    Organisation,
    find_organisation,
    get_organisation,
    list_organisations,
    parse_ods_code,
    put_organisation,
)
from foundation.errors import Conflict
from foundation.web.access import current_principal, requires
from foundation.web.openapi import make_blueprint
from foundation.web.paging import PageQuery, make_page, page_schema, read_cursor
from foundation.web.schemas import Code, OdsCode, Schema, Text
from foundation.web.shell import shell

directory = make_blueprint("organisations", description="The directory of organisations by ODS code")


class OrganisationInSchema(Schema):
    name = Text(200, required=True)
    setting = Code(SETTINGS, required=True)
    parent = OdsCode(load_default=None, allow_none=True)
    successor = OdsCode(load_default=None, allow_none=True)
    opened_on = fields.Date(load_default=None, allow_none=True)
    closed_on = fields.Date(load_default=None, allow_none=True)
    settings = fields.Dict(keys=Text(64), load_default=dict)


class OrganisationSchema(OrganisationInSchema):
    ods_code = OdsCode(required=True)


class OrganisationQuery(PageQuery):
    setting = Code(SETTINGS, load_default=None)


@directory.get("/organisations")
@requires("directory:read")
@directory.arguments(OrganisationQuery, location="query")
@directory.response(200, page_schema(OrganisationSchema))
def list_all(query: dict[str, Any]) -> Any:
    """List organisations in order of code."""
    place = read_cursor(query["cursor"], str)
    with shell().db.read() as tx:
        found = list_organisations(
            tx, setting=query["setting"], after=place[0] if place else None, limit=query["limit"] + 1
        )
    return make_page(found, query["limit"], lambda one: [one.ods_code])


@directory.get("/organisations/<ods_code>")
@requires("directory:read")
@directory.response(200, OrganisationSchema)
def read_one(ods_code: str) -> Any:
    """Read one organisation."""
    with shell().db.read() as tx:
        return get_organisation(tx, parse_ods_code(ods_code, "ods_code"))


@directory.put("/organisations/<ods_code>")
@requires("directory:write")
@directory.arguments(OrganisationInSchema)
@directory.response(200, OrganisationSchema)
@directory.alt_response(201, schema=OrganisationSchema)
def put_one(given: dict[str, Any], ods_code: str) -> Any:
    """Record an organisation, or replace what was recorded of it."""
    kept, is_new = keep_organisation(
        Organisation(ods_code=parse_ods_code(ods_code, "ods_code"), **given), named=given
    )
    answer = jsonify(OrganisationSchema().dump(kept))
    answer.status_code = 201 if is_new else 200
    return answer


def keep_organisation(
    given: Organisation, *, named: Iterable[str], if_seen: str | None = None
) -> tuple[Organisation, bool]:
    """Record an organisation with its audit row; return it, and whether it is new.

    Args:
        named: the fields that the caller gave, for the audit row.
        if_seen: the ``mark_of`` what the caller has seen, empty for one that was not there.

    Raises:
        As ``put_organisation``. Conflict: ``organisation-changed``: it is not what was seen.
    """
    parts = shell()
    with parts.db.write() as tx:
        before = find_organisation(tx, given.ods_code)
        if if_seen is not None and mark_of(before) != if_seen:
            raise Conflict("organisation-changed")
        kept = put_organisation(tx, given)
        detail = {"ods_code": given.ods_code, "fields": sorted(named)}
        kind = "organisation-added" if before is None else "organisation-changed"
        audit.append(tx, audit.entry_by(current_principal(), parts.clock.now(), kind, detail=detail))
    return kept, before is None


def mark_of(one: Organisation | None) -> str:
    """Return a mark of all that is recorded of an organisation: of another content another one; empty where there is none."""
    if one is None:
        return ""
    told = json.dumps({name: str(getattr(one, name)) for name in one.__slots__}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
