"""Versions as weak ETags, and the check that an edit starts from the newest one."""

import re

from flask import Response, request

from foundation.errors import Conflict, Invalid

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"')


def etag(version: int) -> str:
    return f'W/"{version}"'


def set_etag(response: Response, version: int) -> Response:
    response.headers["ETag"] = etag(version)
    return response


def if_match() -> int | None:
    """Return the version that the caller's edit starts from; None where it did not say.

    Raises:
        Invalid: ``if-match-format``.
    """
    given = request.headers.get("If-Match")
    if given is None:
        return None
    found = _ETAG.fullmatch(given.strip())
    if found is None:
        raise Invalid("if-match-format", detail='If-Match takes one version, such as W/"3".')
    return int(found[1])


def check_etag(version: int, *, is_needed: bool = False) -> None:
    """Refuse an edit that starts from another version than the present one.

    Raises:
        Conflict: ``stale-etag``.
        Invalid: ``if-match-missing``, where the caller must say which version it read.
    """
    given = if_match()
    if given is None:
        if is_needed:
            raise Invalid("if-match-missing", detail="Send the ETag that you read as If-Match.")
        return
    if given != version:
        raise Conflict("stale-etag")
