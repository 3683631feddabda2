"""Paging by cursor: a page ends with a token that says where the next one begins."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from foundation.errors import Invalid
from foundation.web.schema import QuerySchema

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


class PageQuery(QuerySchema):
    """The query parameters of every list."""

    limit = fields.Integer(load_default=DEFAULT_LIMIT, validate=validate.Range(1, LARGEST_LIMIT))
    cursor = fields.String(load_default=None, validate=validate.Length(max=400))


def write_cursor(place: Sequence[Any]) -> str:
    """Return a token for the place after which the next page begins: a few ids, ranks and times."""
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode()).decode().rstrip("=")


def read_cursor(token: str | None, kinds: Sequence[type]) -> list[Any] | None:
    """Read a token back as values of these kinds.

    Raises:
        Invalid: ``cursor-format``.
    """
    if token is None:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Invalid("cursor-format", field="cursor") from error
    is_ours = isinstance(place, list) and len(place) == len(kinds)
    if not is_ours or any(type(value) is not kind for value, kind in zip(place, kinds, strict=True)):
        raise Invalid("cursor-format", field="cursor")
    return list(place)
