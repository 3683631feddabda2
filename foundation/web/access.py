"""Who may call a route: every view says its scope, or why it is open; a view that says neither answers nobody."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import flask

from foundation.errors import Forbidden, Unauthenticated
from foundation.principal import Principal

View = TypeVar("View", bound=Callable[..., Any])

SCOPE = "_required_scope"
OPEN = "_open_because"


def requires(scope: str) -> Callable[[View], View]:
    """Let only principals with this scope call the view."""

    def mark(view: View) -> View:
        setattr(view, SCOPE, scope)
        return view

    return mark


def open_to_all(reason: str) -> Callable[[View], View]:
    """Let anyone call the view, without signing in; ``reason`` says why that is right."""

    def mark(view: View) -> View:
        setattr(view, OPEN, reason)
        return view

    return mark


def admit(view: Callable[..., Any], authenticate: Callable[[flask.Request], Principal | None]) -> None:
    """Find out who calls and whether they may; leave the principal for ``current_principal``.

    Raises:
        Unauthenticated: ``authentication-required``, or what ``authenticate`` raises.
        Forbidden: ``scope-missing``, naming the scope; ``route-unguarded`` for a view that says nothing.
    """
    if getattr(view, OPEN, None):
        return
    scope = getattr(view, SCOPE, None)
    principal = authenticate(flask.request)
    if principal is None:
        raise Unauthenticated("authentication-required")
    if scope is None:
        raise Forbidden("route-unguarded")
    if scope not in principal.scopes:
        raise Forbidden("scope-missing", ids={"scope": scope})
    flask.g.principal = principal


def current_principal() -> Principal:
    """Return who calls; only inside a view that requires a scope."""
    return cast(Principal, flask.g.principal)


def request_id() -> str:
    """Return the id of this request, as answered in ``X-Request-ID``."""
    return cast(str, flask.g.request_id)
