"""Answers that leave at whole steps of time, where how long one took would tell of what its reader may not be told."""

from time import perf_counter

from flask import Blueprint, Response, g

from foundation.principal import Principal
from foundation.web.shell import shell

STEP_SECONDS = 0.02
"""Longer than such answers take on an ordinary day: then all of them take the same time."""


def leave_evenly(room: Blueprint, unless: str) -> None:
    """Let the answers of a blueprint, refusals among them, leave at whole steps after their requests came.

    Args:
        unless: the scope of those from whom nothing is hidden: they are answered at once.
    """

    @room.after_request
    def rest(response: Response) -> Response:
        asking: Principal | None = g.get("principal")
        if asking is not None and unless not in asking.scopes:
            shell().clock.rest(STEP_SECONDS - (perf_counter() - g.started) % STEP_SECONDS)
        return response
