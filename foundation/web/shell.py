"""The web shell around every route: request ids, size limits, strict JSON, who may call, security headers, OpenAPI."""

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import flask
import structlog
from flask.json.provider import DefaultJSONProvider
from flask_smorest import Api, Blueprint
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from foundation.principal import Principal
from foundation.settings import Settings
from foundation.web import problems
from foundation.web.access import OPEN, SCOPE, admit
from foundation.web.schema import Problem

log = structlog.get_logger("foundation.web")

Authenticate = Callable[[flask.Request], Principal | None]

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class StrictJson(DefaultJSONProvider):
    """JSON as its standard has it: no name twice in one object, no NaN, and nothing nested beyond reason."""

    sort_keys = False
    ensure_ascii = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return json.loads(s, object_pairs_hook=_unique, parse_constant=_refuse)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(_constant: str) -> Any:
    raise ValueError("not a number of JSON")


class ProblemApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """flask-smorest's Api with our own error documents."""

    ERROR_SCHEMA = Problem
    # Responses that flask-smorest knows by status are those of errors; each view describes its own success.
    DEFAULT_RESPONSE_CONTENT_TYPE = problems.CONTENT_TYPE

    def _register_error_handlers(self) -> None:
        """Leave errors to foundation.web.problems."""


class JsonBlueprint(Blueprint):  # type: ignore[misc]
    """A blueprint whose views answer JSON."""

    DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"


def make_blueprint(name: str, url_prefix: str, description: str) -> Blueprint:
    """Return a blueprint whose routes are part of the OpenAPI document."""
    return JsonBlueprint(name, name, url_prefix=url_prefix, description=description)


def install(app: flask.Flask, settings: Settings, authenticate: Authenticate) -> Api:
    """Put the shell around an application, before any blueprint is registered."""
    app.json = StrictJson(app)
    app.config.update(
        API_TITLE="Master patient index and consent service",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_MEMORY_SIZE=settings.max_body_bytes,
    )
    problems.install(app)

    @app.before_request
    def begin() -> None:
        flask.g.began = time.perf_counter()
        offered = flask.request.headers.get("X-Request-ID", "")
        flask.g.request_id = offered if _REQUEST_ID.fullmatch(offered) else str(uuid.uuid4())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=flask.g.request_id)
        if flask.request.endpoint is None:
            return
        view = app.view_functions[flask.request.endpoint]
        _check_body(settings)
        admit(view, authenticate)

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if settings.public_url.startswith("https"):
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
        if flask.request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Request-ID"] = flask.g.get("request_id", "")
        correlation = flask.request.headers.get("X-Correlation-ID", "")
        if _CORRELATION_ID.fullmatch(correlation):
            response.headers["X-Correlation-ID"] = correlation
        rule = flask.request.url_rule
        log.info(
            "request answered",
            method=flask.request.method,
            route=rule.rule if rule is not None else "unknown",
            status=response.status_code,
            duration_ms=round((time.perf_counter() - flask.g.began) * 1000, 1)
            if "began" in flask.g
            else None,
        )
        return response

    api = ProblemApi(app)
    api.spec.components.security_scheme("client", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    api.spec.options["security"] = [{"client": []}]
    _open(app, "api-docs.openapi_json", "a machine must be able to read how to call")
    _open(app, "static", "style sheets and scripts hold nothing about anyone")
    return api


def _open(app: flask.Flask, endpoint: str, reason: str) -> None:
    view = app.view_functions.get(endpoint)
    if view is None:
        return

    def opened(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    setattr(opened, OPEN, reason)
    app.view_functions[endpoint] = opened


def _check_body(settings: Settings) -> None:
    request = flask.request
    if (request.content_length or 0) > settings.max_body_bytes:
        raise RequestEntityTooLarge
    if not request.path.startswith("/api/") or request.method not in ("POST", "PUT", "PATCH"):
        return
    if request.content_length and not request.is_json:
        raise UnsupportedMediaType
    if request.content_length:
        try:
            # Read once here, strictly: the reader behind a view's arguments lets a name stand twice.
            flask.current_app.json.loads(request.get_data(cache=True).decode("utf-8"))
        except ValueError as error:
            raise BadRequest from error


def guards(app: flask.Flask) -> dict[str, tuple[str | None, str | None]]:
    """Return, for each rule of the URL map, the scope it requires and why it is open; for the guard that walks the map."""
    found = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        methods = ",".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        found[f"{methods} {rule.rule}"] = (getattr(view, SCOPE, None), getattr(view, OPEN, None))
    return found
