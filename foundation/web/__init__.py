"""The web shell: who is asking, what went wrong, and the manners that every route keeps; wings add their blueprints to it.

blp = make_blueprint("persons", description="Persons of the index")

@blp.get("/persons/<person_id>")
@requires("persons:read")
@blp.response(200, PersonSchema)
def read_person(person_id: str) -> Person: ...
"""

from foundation.web.access import current_principal, open_to_all, requires
from foundation.web.body import read_json
from foundation.web.console import ConsoleLink, add_console_link
from foundation.web.etags import check_etag, etag, if_match, set_etag
from foundation.web.evened import leave_evenly
from foundation.web.idempotency import answers_repeats_itself
from foundation.web.openapi import make_blueprint, openapi_document, register, takes_if_match
from foundation.web.paging import PageQuery, make_page, page_schema, read_cursor, write_cursor
from foundation.web.problems import InvalidFields
from foundation.web.schemas import Closed, Code, IdText, Instant, OdsCode, QuerySchema, Schema, Text
from foundation.web.shell import Shell, install, shell

__all__ = [
    "Closed",
    "Code",
    "ConsoleLink",
    "IdText",
    "Instant",
    "InvalidFields",
    "OdsCode",
    "PageQuery",
    "QuerySchema",
    "Schema",
    "Shell",
    "Text",
    "add_console_link",
    "answers_repeats_itself",
    "check_etag",
    "current_principal",
    "etag",
    "if_match",
    "install",
    "leave_evenly",
    "make_blueprint",
    "make_page",
    "open_to_all",
    "openapi_document",
    "page_schema",
    "read_cursor",
    "read_json",
    "register",
    "requires",
    "set_etag",
    "shell",
    "takes_if_match",
    "write_cursor",
]
