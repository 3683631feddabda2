"""Pages by cursor: where the last page ended, in the terms of the list's own order, so that inserts neither repeat nor skip."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from marshmallow import fields, validate

from foundation.errors import Invalid
from foundation.web.schemas import QuerySchema, Schema, Text

T = TypeVar("T")

DEFAULT_LIMIT = 50
MOST = 200


class PageQuery(QuerySchema):
    """The query arguments of a list; a list with filters inherits it."""

    limit = fields.Integer(
        load_default=DEFAULT_LIMIT, validate=validate.Range(1, MOST), metadata={"description": "Items a page"}
    )
    cursor = Text(400, load_default=None, metadata={"description": "`next` of the page before"})


def page_schema(item: type[Schema]) -> type[Schema]:
    """Return the schema of a page of these."""
    name = item.__name__.removesuffix("Schema") + "Page"
    parts = {"items": fields.List(fields.Nested(item), required=True), "next": fields.String(allow_none=True)}
    return Schema.from_dict(parts, name=name)  # type: ignore[return-value,arg-type]


def make_page(found: Sequence[T], limit: int, key: Callable[[T], Sequence[int | str]]) -> dict[str, Any]:
    """Return a page from up to ``limit + 1`` items in order; ``key`` is where an item stands in that order: ids, ranks, instants, codes."""
    items = list(found[:limit])
    return {"items": items, "next": write_cursor(key(items[-1])) if len(found) > limit else None}


def write_cursor(place: Sequence[int | str]) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(list(place), separators=(",", ":")).encode()).decode().rstrip("=")
    )


def read_cursor(
    text: str | None, *types: type[int] | type[str], field: str = "cursor"
) -> tuple[Any, ...] | None:
    """Return the place that a cursor names, with parts of these types; None for the first page.

    Args:
        field: as the request names it.

    Raises:
        Invalid: ``cursor-format``.
    """
    if text is None:
        return None
    try:
        place = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise Invalid("cursor-format", field=field) from error
    if not isinstance(place, list) or len(place) != len(types):
        raise Invalid("cursor-format", field=field)
    if not all(_is_part(part, kind) for part, kind in zip(place, types, strict=True)):
        raise Invalid("cursor-format", field=field)
    return tuple(place)


def _is_part(part: Any, kind: type[int] | type[str]) -> bool:
    if type(part) is not kind:
        return False
    return part.isprintable() if isinstance(part, str) else -(2**63) <= part < 2**63
