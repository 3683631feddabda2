"""What each route asks of its caller. The decorators only mark a view; the shell reads the mark before any input is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, g

from foundation.auth.roles import SCOPES
from foundation.errors import Unauthenticated
from foundation.principal import Principal

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_access"


@dataclass(frozen=True, slots=True)
class Access:
    """What a view asks: all of these scopes of a caller who proved who they are, or nothing at all, for this reason."""

    scopes: frozenset[str]
    open_reason: str | None = None

    @property
    def is_open(self) -> bool:
        return self.open_reason is not None


def requires(*scopes: str) -> Callable[[F], F]:
    """Mark a view as one for callers with all of these scopes; with none given, for anyone who is signed in."""
    unknown = set(scopes) - SCOPES.keys()
    if unknown:
        raise ValueError(f"no such scope: {sorted(unknown)}")
    return _marker(Access(frozenset(scopes)))


def open_to_all(reason: str) -> Callable[[F], F]:
    """Mark a view as one that answers anyone, and say why it may."""
    return _marker(Access(frozenset(), reason))


def _marker(access: Access) -> Callable[[F], F]:
    def mark(view: F) -> F:
        setattr(view, _MARK, access)
        return view

    return mark


def access_of(app: Flask, endpoint: str, method: str) -> Access | None:
    """Return what a route asks; None for one that was never marked, which answers nobody."""
    found: Access | None = getattr(handler_of(app, endpoint, method), _MARK, None)
    return found


def handler_of(app: Flask, endpoint: str, method: str) -> Callable[..., Any]:
    """Return the function that serves this method of a route: the view, or the method of its class."""
    view = app.view_functions[endpoint]
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return view
    name = method.lower()
    if name == "head" and not hasattr(view_class, "head"):
        name = "get"
    handler: Callable[..., Any] = getattr(view_class, name, view)
    return handler


def current_principal() -> Principal:
    """Return who is asking.

    Raises:
        Unauthenticated: ``sign-in-needed``, on an open route whose caller did not sign in.
    """
    principal: Principal | None = g.get("principal")
    if principal is None:
        raise Unauthenticated("sign-in-needed")
    return principal
