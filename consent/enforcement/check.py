"""The release check, and the Flask decorator around it: no view is run before the consent service said what it may show."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from consent.enforcement.client import Inspection, Item, Refused, Release, ReleaseClient

FindItems = Callable[[Inspection], Sequence[Item]]

HEADER = "X-Release-Ticket"


class ReleaseCheck:
    """Ticket in, released items out; for any framework."""

    def __init__(self, client: ReleaseClient, find_items: FindItems) -> None:
        """``find_items`` says what we hold of the person whom an inspection names by our own ids."""
        self._client = client
        self._find_items = find_items

    def __call__(self, ticket: str | None) -> Release:
        """Return what may be shown now.

        Items whose cell was never promised are not even named to the consent service.

        Raises:
            Refused: in every other case.
        """
        if not ticket:
            raise Refused("ticket-missing", "A release ticket is needed.", 401)
        inspection = self._client.inspect(ticket)
        held = [item for item in self._find_items(inspection) if item.cell in inspection.cells]
        if not held:
            # What is not there and what was not promised look alike.
            raise Refused("nothing-held", "No record was found.", 404)
        return self._client.redeem(ticket, held)


def released(
    client: ReleaseClient, find_items: FindItems
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Guard a Flask view: it is called with ``release`` and only after redemption; the ticket stands in ``X-Release-Ticket``."""
    check = ReleaseCheck(client, find_items)

    def guard(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            import flask

            try:
                release = check(flask.request.headers.get(HEADER))
            except Refused as refusal:
                body = {
                    "type": "about:blank",
                    "title": refusal.text,
                    "status": refusal.status,
                    "code": refusal.code,
                }
                response = flask.make_response(flask.json.dumps(body), refusal.status)
                response.content_type = "application/problem+json"
                response.headers["Cache-Control"] = "no-store"
                return response
            response = flask.make_response(view(*args, release=release, **kwargs))
            # Always, whatever the obligations say: a released item is never a cache's to keep.
            response.headers["Cache-Control"] = "no-store"
            return response

        return guarded

    return guard
