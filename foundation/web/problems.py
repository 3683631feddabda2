"""Errors as RFC 9457 problem documents: a stable code, the fields at fault, and never a value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import flask
import structlog
from werkzeug.exceptions import HTTPException

from foundation import errors

log = structlog.get_logger("foundation.web")

CONTENT_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[errors.ServiceError], int, str], ...] = (
    (errors.Unauthenticated, 401, "Who calls is not known"),
    (errors.Forbidden, 403, "This caller may not do this"),
    (errors.Gone, 410, "It is no longer there"),
    (errors.NotFound, 404, "There is nothing of this name"),
    (errors.Conflict, 409, "The state has moved on"),
    (errors.TooLarge, 413, "Too large"),
    (errors.TooMany, 429, "Too many requests"),
    (errors.Unavailable, 503, "A part of the service is down; nothing was done"),
)
_CODES = {
    400: "request-unreadable",
    404: "route-unknown",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "request-timeout",
    411: "length-required",
    413: "body-too-large",
    414: "uri-too-long",
    415: "media-type-unsupported",
    422: "fields-invalid",
    429: "too-many-requests",
    503: "unavailable",
}


def install(app: flask.Flask) -> None:
    app.register_error_handler(errors.ServiceError, answer_service_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unexpected)


def status_of(error: errors.ServiceError) -> int:
    return _family(error)[0]


def _family(error: errors.ServiceError) -> tuple[int, str]:
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            return status, title
    return (422, "A field is at fault") if error.field else (400, "The request cannot be read")


def problem(
    status: int,
    code: str,
    title: str,
    *,
    detail: str | None = None,
    faults: list[dict[str, Any]] | None = None,
    ids: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> flask.Response:
    document: dict[str, Any] = {
        "type": f"urn:mpi:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "request_id": flask.g.get("request_id"),
    }
    if detail:
        document["detail"] = detail
    if faults:
        document["errors"] = faults
    if ids:
        document["ids"] = dict(ids)
    response = flask.make_response(flask.jsonify(document), status)
    response.content_type = CONTENT_TYPE
    response.headers.update(headers or {})
    return response


def answer_service_error(error: errors.ServiceError) -> flask.Response:
    status, title = _family(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="mpi"'
    if isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if status == 503:
        headers["Retry-After"] = "5"
    fault: dict[str, Any] = {"field": error.field, "code": error.code}
    if error.row is not None:
        fault["row"] = error.row
    faults = [fault] if error.field else None
    return problem(
        status, error.code, title, detail=error.detail, faults=faults, ids=error.ids, headers=headers
    )


def answer_http_error(error: HTTPException) -> flask.Response:
    response = error.get_response()
    status = error.code or 500
    if status < 400:
        return flask.make_response(response)
    messages = getattr(error, "data", {}).get("messages")
    faults = list(faults_of(messages)) if isinstance(messages, Mapping) else None
    if status == 422 and faults is not None and any(fault["code"] == "json-unreadable" for fault in faults):
        status = 400
    code = _CODES.get(status, f"http-{status}")
    headers = {name: value for name, value in response.headers if name in ("Allow", "Retry-After")}
    return problem(status, code, error.name, faults=faults, headers=headers)


def answer_unexpected(error: Exception) -> flask.Response:
    # The type and the place, not the message: a driver's message may quote a row.
    trace, place = error.__traceback__, "unknown"
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        trace = trace.tb_next
    log.error("request failed", error_type=type(error).__name__, place=place)
    if flask.current_app.testing and flask.current_app.config.get("RAISE_UNEXPECTED"):
        raise error
    return problem(500, "internal-error", "The service failed; the fault is logged under the request's id")


# Faults of fields -----------------------------------------------------------------------------------------------------

_KEBAB = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]{0,39}")
_PATTERNS = (
    (re.compile(r"Missing data"), "required"),
    (re.compile(r"may not be null"), "null-not-allowed"),
    (re.compile(r"Unknown field"), "field-unknown"),
    (re.compile(r"Invalid JSON"), "json-unreadable"),
    (re.compile(r"Invalid input type"), "object-expected"),
    (re.compile(r"Not a valid (?:string)"), "text-expected"),
    (re.compile(r"Not a valid (?:integer|number)"), "number-expected"),
    (re.compile(r"Not a valid boolean"), "boolean-expected"),
    (re.compile(r"Not a valid list"), "list-expected"),
    (re.compile(r"Not a valid (?:mapping|dict)"), "object-expected"),
    (re.compile(r"Not a valid (?:datetime|aware datetime)"), "instant-expected"),
    (re.compile(r"Not a valid date"), "date-expected"),
    (re.compile(r"Must be one of"), "not-in-list"),
    (re.compile(r"[Ll]ength|Shorter than|Longer than"), "length"),
    (re.compile(r"Must be (?:greater|less)"), "range"),
)


def faults_of(messages: Any, path: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Flatten marshmallow's messages to (dotted field, code); a name that is not one of ours may be a value, and is not repeated."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            is_place = not path and name in ("json", "query", "form", "headers", "files")
            step = () if is_place or name == "_schema" else (_step(name),)
            yield from faults_of(inner, path + step)
        return
    for message in messages if isinstance(messages, (list, tuple)) else [messages]:
        yield {"field": ".".join(path) or None, "code": _code_of(str(message))}


def _step(name: Any) -> str:
    if isinstance(name, int):
        return str(name)
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "(name)"


def _code_of(message: str) -> str:
    if _KEBAB.fullmatch(message):
        return message
    return next((code for pattern, code in _PATTERNS if pattern.search(message)), "invalid")
