"""What surrounds every request: its id, who asks and whether they may, limits, repeats, headers of the answer, one line of log."""

import hmac
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from flask import Flask, Request, Response, current_app, g, request

from foundation.auth.openid import OpenId
from foundation.auth.sessions import Session, find_session, note_session
from foundation.auth.tokens import TokenIssuer
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Forbidden, Invalid, TooLarge, Unauthenticated
from foundation.limits import Limits
from foundation.logs import current_request_id, get_logger
from foundation.metrics import REQUEST_SECONDS, REQUESTS
from foundation.principal import Principal
from foundation.settings import Settings
from foundation.web import idempotency
from foundation.web.access import access_of, handler_of
from foundation.web.body import StrictJson
from foundation.web.problems import install_problems

REQUESTS_PER_MINUTE = 6_000
COOKIE = "mpi_session"
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ufffd\ud800-\udfff]")
_ACT_FOR = "NHSD-End-User-Organisation-ODS"
_CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

log = get_logger(__name__)


class Extended(Request):
    """A request that never parses a form into more parts than a form of ours has."""

    max_form_parts = 200


@dataclass(frozen=True, slots=True)
class Shell:
    """The parts that every route stands on."""

    db: Database
    clock: Clock
    settings: Settings
    tokens: TokenIssuer = field(repr=False)
    limits: Limits = field(repr=False)
    openid: OpenId | None = field(default=None, repr=False)

    @property
    def is_secure(self) -> bool:
        return self.settings.public_url.startswith("https://")


def shell() -> Shell:
    """Return the parts of the app that serves this request."""
    found: Shell = current_app.extensions["shell"]
    return found


def install(app: Flask, parts: Shell, shown: Callable[[Response], Any]) -> None:
    """Put the shell around an app; ``shown`` may turn a problem into a page."""
    app.extensions["shell"] = parts
    app.request_class = Extended
    app.json = StrictJson(app)
    app.config["MAX_CONTENT_LENGTH"] = parts.settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = parts.settings.max_body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    install_problems(app, shown)
    app.before_request(_begin)
    app.before_request(_admit)
    app.after_request(_finish)
    app.teardown_request(_forget)


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
    g.request_token = current_request_id.set(g.request_id)


def _admit() -> Response | None:
    """Let the request in, or answer it."""
    if request.routing_exception is not None:
        return None  # no route: Flask raises it next
    if _UNPRINTABLE.search(request.path) or any(
        _UNPRINTABLE.search(text) for pair in request.args.items(multi=True) for text in pair
    ):
        raise Invalid("path-format")
    assert request.endpoint is not None
    access = access_of(current_app._get_current_object(), request.endpoint, request.method)  # type: ignore[attr-defined]
    if access is None:
        # Fail closed: a route that somebody forgot to mark answers nobody.
        log.error("route without a scope", route=_route())
        raise Forbidden("route-without-scope")
    parts = shell()
    length = request.content_length
    if length is not None and length > parts.settings.max_body_bytes and access.is_open:
        raise TooLarge("body-too-large")
    if access.is_open:
        return None
    principal = authenticate(parts)
    g.principal = principal
    most = principal.requests_per_minute or REQUESTS_PER_MINUTE
    parts.limits.check("requests", f"{principal.kind}:{principal.id}", most)
    missing = access.scopes - principal.scopes
    if missing:
        raise Forbidden("scope-missing", detail=f"Needs the scope {' '.join(sorted(missing))}.")
    if length is not None and length > parts.settings.max_body_bytes:
        raise TooLarge("body-too-large")
    handler = handler_of(current_app._get_current_object(), request.endpoint, request.method)  # type: ignore[attr-defined]
    if request.method in _WRITES and not idempotency.is_left_alone(handler):
        begun = idempotency.begin(parts.db, parts.clock, principal, request)
        if isinstance(begun, Response):
            return begun
        g.idempotency = begun
    return None


def authenticate(parts: Shell) -> Principal:
    """Return who asks, by token or by session.

    Raises:
        Unauthenticated: naming what is wrong with the token, or ``sign-in-needed``.
        Forbidden: ``csrf-token`` for a write by session without its secret; ``organisation-not-allowed``.
    """
    given = request.headers.get("Authorization")
    if given is not None:
        kind, _, token = given.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthenticated("token-missing")
        with parts.db.glance() as tx:
            return _acting_for(parts.tokens.read(tx, token.strip()))
    session = read_session()
    if session is None:
        raise Unauthenticated("sign-in-needed")
    if request.method in _WRITES:
        check_form_secret(session)
    return session.user.principal()


def caller_address() -> str:
    """Return the address that a request came from, by which those are limited who have not proved who they are.

    What ``X-Forwarded-For`` says is believed of a trusted proxy alone: the last address that is none of those. Anybody can write the rest.
    """
    trusted = shell().settings.trusted_proxies
    address = request.remote_addr or "unknown"
    for told in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        try:
            is_proxy = any(ip_address(address) in network for network in trusted)
            following = str(ip_address(told.strip()))
        except ValueError:
            break
        if not is_proxy:
            break
        address = following
    return address


def _acting_for(principal: Principal) -> Principal:
    """Let a client that serves several organisations say for which one it asks."""
    organisation = request.headers.get(_ACT_FOR)
    if organisation is None or organisation == principal.organisation:
        return principal
    if not principal.may_act_for(organisation):
        raise Forbidden("organisation-not-allowed")
    return replace(
        principal, organisation=organisation, organisations=principal.organisations | {principal.organisation}
    )


def read_session() -> Session | None:
    """Return the session of the request's cookie, if it still stands; once a request."""
    if "session" not in g:
        token = request.cookies.get(COOKIE)
        parts = shell()
        now = parts.clock.now()
        g.session = None
        if token and len(token) < 100:
            with parts.db.read() as tx:
                g.session = find_session(tx, now, token)
            if g.session is not None and g.session.needs_noting:
                with parts.db.write() as tx:
                    note_session(tx, now, token)
    found: Session | None = g.session
    return found


def check_form_secret(session: Session) -> None:
    """Refuse a write that comes by cookie without the session's secret: another site could have sent it."""
    given = request.headers.get("X-CSRF-Token")
    if given is None and request.mimetype in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        given = request.form.get("csrf_token")
    if given is None or not _same(given, session.csrf):
        raise Forbidden("csrf-token", detail="Load the page again and repeat what you did.")


def check_same_site() -> None:
    """Refuse a form that another site sent; for sign-in, where there is no session yet whose secret could be asked for."""
    site = request.headers.get("Sec-Fetch-Site")
    if site not in {None, "same-origin", "same-site", "none"}:
        raise Forbidden("cross-site")
    origin = request.headers.get("Origin")
    if origin == "null" and site == "same-origin":
        return  # what a browser says of a form whose page sends no referrer
    if origin not in {None, request.host_url.rstrip("/"), shell().settings.public_url}:
        raise Forbidden("cross-site")


def is_surely_of_this_site() -> bool:
    """Whether a browser says that a page of ours sent this form; where it says nothing, it may be another site's."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site == "same-origin"
    return origin in {request.host_url.rstrip("/"), shell().settings.public_url}


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _route() -> str:
    return request.url_rule.rule if request.url_rule is not None else "(none)"


def _finish(response: Response) -> Response:
    key: tuple[str, str] | None = g.pop("idempotency", None)
    if key is not None:
        idempotency.finish(shell().db, key, response)
    headers = response.headers
    headers["X-Request-ID"] = g.request_id
    correlation = request.headers.get("X-Correlation-ID", "")
    if _CORRELATION_ID.fullmatch(correlation):
        headers["X-Correlation-ID"] = correlation
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = (
        "same-origin"  # with none at all, a form of ours would come from origin "null"
    )
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Content-Security-Policy"] = _CONTENT_SECURITY
    if request.endpoint not in {"console.asset", "console.icon"}:
        headers["Cache-Control"] = "no-store"
    if shell().is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    _note(response)
    return response


def _note(response: Response) -> None:
    seconds = time.perf_counter() - g.started
    route = _route()
    REQUESTS.labels(request.method, route, str(response.status_code)).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    principal: Principal | None = g.get("principal")
    noted: dict[str, Any] = {
        "method": request.method,
        "route": route,
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 1),
    }
    if principal is not None:
        noted["organisation"] = principal.organisation
        noted["client_id"] = principal.client_id
    if "problem_code" in g:
        noted["code"] = g.problem_code
    log.info("request", **noted)


def _forget(_error: BaseException | None) -> None:
    key: tuple[str, str] | None = g.pop("idempotency", None)
    if key is not None:  # pragma: no cover - only where writing the answer itself failed
        idempotency.finish(shell().db, key, Response(status=500))
    token = g.pop("request_token", None)
    if token is not None:
        current_request_id.reset(token)
