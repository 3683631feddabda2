"""The web shell: what every route shares, whichever wing it belongs to."""

from foundation.web.access import current_principal, open_to_all, request_id, requires
from foundation.web.idempotency import idempotent
from foundation.web.paging import PageQuery, read_cursor, write_cursor
from foundation.web.schema import Code, IdText, Instant, QuerySchema, Schema, Text
from foundation.web.shell import guards, install, make_blueprint
from foundation.web.versions import etag, if_match

__all__ = [
    "Code",
    "IdText",
    "Instant",
    "PageQuery",
    "QuerySchema",
    "Schema",
    "Text",
    "current_principal",
    "etag",
    "guards",
    "idempotent",
    "if_match",
    "install",
    "make_blueprint",
    "open_to_all",
    "read_cursor",
    "request_id",
    "requires",
    "write_cursor",
]
