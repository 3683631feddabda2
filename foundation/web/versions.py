"""ETags and If-Match: a write that names the state it was made from is refused when that state has moved on."""

import re

import flask

from foundation.errors import Invalid

_TAG = re.compile(r'(?:W/)?"(0|[1-9][0-9]{0,17})"')


def etag(version: int) -> str:
    return f'W/"{version}"'


def if_match() -> int | None:
    """Return the version that the caller's If-Match names; None when there is no such header or it says ``*``.

    Raises:
        Invalid: ``if-match-format``.
    """
    text = flask.request.headers.get("If-Match")
    if text is None or text.strip() == "*":
        return None
    found = _TAG.fullmatch(text.strip())
    if found is None:
        raise Invalid("if-match-format", field="If-Match")
    return int(found.group(1))
