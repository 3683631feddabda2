"""Every refusal as problem+json (RFC 9457), in one place: families of errors become statuses, faults name fields, never values."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, current_app, g, json, request
from marshmallow import ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from foundation.database import is_retryable
from foundation.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServiceError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from foundation.logs import get_logger

CONTENT_TYPE = "application/problem+json"
_RETRY_SECONDS = 2
_FAMILIES: tuple[tuple[type[ServiceError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (Gone, 410),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (TooMany, 429),
    (Unprocessable, 422),
    (Unavailable, 503),
)
_TITLES = {
    400: "The request could not be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed here",
    406: "No such representation",
    409: "The state does not allow it",
    410: "No longer there",
    411: "Length needed",
    412: "Another edit came first",
    413: "Too large",
    414: "Address too long",
    415: "Not a type that is read here",
    417: "Not an expectation that is met here",
    422: "Some fields are at fault",
    429: "Too many requests",
    431: "Headers too large",
    500: "Something went wrong here",
    501: "Not a transfer coding that is read here",
    503: "Not available at the moment",
}
_HTTP_CODES = {
    400: "request-unreadable",
    404: "route-unknown",
    405: "method-not-allowed",
    406: "not-acceptable",
    411: "length-required",
    413: "body-too-large",
    414: "path-too-long",
    415: "content-type-unsupported",
    417: "expectation-unsupported",
    431: "headers-too-large",
    500: "internal-error",
    501: "transfer-coding-unsupported",
}
# marshmallow's sentences, by their beginning, as codes. What is already a code passes as it is.
_SENTENCES = (
    ("Missing data for required field", "required"),
    ("Field may not be null", "null"),
    ("Unknown field", "unknown-field"),
    ("Not a valid string", "type-string"),
    ("Not a valid integer", "type-integer"),
    ("Not a valid number", "type-number"),
    ("Special numeric values", "type-number"),
    ("Number too large", "out-of-range"),
    ("Not a valid boolean", "type-boolean"),
    ("Not a valid list", "type-list"),
    ("Not a valid mapping", "type-object"),
    ("Invalid input type", "type-object"),
    ("Invalid type", "type-object"),
    ("Not a valid date", "date-format"),
    ("Not a valid datetime", "instant-format"),
    ("Must be one of", "not-one-of"),
    ("Must be ", "out-of-range"),
    ("Longer than maximum", "too-long"),
    ("Shorter than minimum", "too-short"),
    ("Length must be", "length"),
    ("String does not match", "format"),
)
_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}|[0-9]{1,6}")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """How refusals are written below a path: ``write`` turns a problem into its body.

    ``statuses`` are those that differ there, ``of_codes`` those of single codes; ``also`` has those that any route there may answer with.

    ``schema`` is the name of its schema in the description, ``word`` begins the names of its refusals there.
    """

    prefix: str
    content_type: str
    schema: str
    word: str = ""
    write: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    statuses: Mapping[int, int] = field(default_factory=dict)
    also: frozenset[int] = frozenset()
    of_codes: Mapping[str, int] = field(default_factory=dict)


PROBLEM = Form("", CONTENT_TYPE, "Problem")


def add_form(app: Flask, form: Form) -> None:
    """Let refusals below a path be written in another form than a problem."""
    app.extensions.setdefault("refusal_forms", []).append(form)


def forms(app: Flask) -> Sequence[Form]:
    """Return every form in which refusals are written."""
    return (PROBLEM, *app.extensions.get("refusal_forms", ()))


def form_at(app: Flask, path: str) -> Form:
    """Return the form in which refusals are written at a path."""
    return next((form for form in reversed(forms(app)) if f"{path}/".startswith(f"{form.prefix}/")), PROBLEM)


class InvalidFields(Invalid):
    """Several fields at fault, told all at once."""

    def __init__(self, faults: Sequence[Invalid]) -> None:
        super().__init__("fields-invalid", field=faults[0].field if faults else None)
        self.faults = tuple(faults)


def problem(
    status: int,
    code: str,
    *,
    is_settled: bool = False,
    detail: str | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
    ids: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem, in the form of the path that was asked for; ``is_settled``: with this status in every form."""
    form = form_at(current_app, request.path)
    if not is_settled:
        status = form.of_codes.get(code, form.statuses.get(status, status))
    body = _body(status, code)
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    if ids:
        body["ids"] = dict(ids)
    body["request_id"] = g.get("request_id")
    g.problem_code = code
    return Response(
        json.dumps(form.write(body)),
        status=status,
        content_type=form.content_type,
        headers=dict(headers or {}),
    )


def problem_body(status: int, request_id: str) -> dict[str, Any]:
    """Return a problem for a server that has to answer before there is a request."""
    return _body(status, _http_code(status)) | {"request_id": request_id}


def _body(status: int, code: str) -> dict[str, Any]:
    return {"type": f"urn:problem:{code}", "title": title_of(status), "status": status, "code": code}


def title_of(status: int) -> str:
    return _TITLES.get(status, "The request was refused")


def _http_code(status: int) -> str:
    return _HTTP_CODES.get(status, f"http-{status}")


def status_of(error: ServiceError) -> int:
    for family, status in _FAMILIES:
        if isinstance(error, family):
            return status
    return 400 if error.field is None else 422


def answer_service_error(error: ServiceError) -> Response:
    status = status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        fault = (
            ""
            if error.code == "sign-in-needed"
            else f', error="invalid_token", error_description="{error.code}"'
        )
        headers["WWW-Authenticate"] = f'Bearer realm="mpi"{fault}'
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(_RETRY_SECONDS)
        log.warning("unavailable", code=error.code)
    faults = error.faults if isinstance(error, InvalidFields) else (error,)
    errors = [{"field": fault.field, "code": fault.code} for fault in faults if fault.field is not None]
    return problem(
        status,
        error.code,
        is_settled=isinstance(error, Unprocessable),
        detail=error.detail,
        errors=errors,
        ids=error.ids,
        headers=headers,
    )


def answer_validation_error(error: ValidationError) -> Response:
    errors = [{"field": field, "code": code} for field, code in faults_of(error)]
    return problem(422, "fields-invalid", errors=sorted(errors, key=lambda fault: fault["field"]))


def faults_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return the fields that a schema found at fault, each with its code."""
    return list(_faults(_inside_location(error.messages), ()))


def _inside_location(messages: Any) -> Any:
    # webargs puts where it looked ("json", "query", …) around what it found there.
    if isinstance(messages, dict) and len(messages) == 1:
        (location, inner), *_ = messages.items()
        if location in {"json", "query", "form", "headers", "files", "path"}:
            return inner
    return messages


def _faults(messages: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            if name == "_schema":
                yield from _faults(inner, path)
            else:
                # A name that the caller made up is told only where it reads like a name.
                told = told_name(str(name))
                yield from _faults(inner, (*path, told))
    elif isinstance(messages, list | tuple):
        for inner in messages:
            yield from _faults(inner, path)
    else:
        yield ".".join(path) or "(body)", _code(str(messages))


def told_name(name: str) -> str:
    """Return a field's name as it may be told: one that reads like no name may be somebody's."""
    return name if _FIELD_NAME.fullmatch(name) else "(unnamed)"


def _code(message: str) -> str:
    if _CODE.fullmatch(message):
        return message
    for start, code in _SENTENCES:
        if message.startswith(start):
            return code
    return "invalid"


def answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if 300 <= status < 400:
        response = error.get_response()
        assert isinstance(response, Response)
        return response
    headers: dict[str, str] = {}
    if status == 405 and getattr(error, "valid_methods", None):
        headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return problem(status, _http_code(status), headers=headers)


def answer_unexpected(error: Exception) -> Response:
    """Answer what nobody foresaw. The log gets its type and the places it passed, without message, values or locals."""
    if isinstance(error, PoolTimeout):
        return answer_service_error(Unavailable("database-busy"))
    if isinstance(error, DBAPIError):
        if is_retryable(error):
            return answer_service_error(Unavailable("database-busy"))
        if isinstance(error, OperationalError):
            log.error("database unavailable", exc_info=error)
            return answer_service_error(Unavailable("database-unavailable"))
    log.error("unexpected error", exc_info=error)
    return problem(500, "internal-error")


def install_problems(app: Flask, shown: Callable[[Response], Any]) -> None:
    """Let the app answer every error here; ``shown`` may turn a problem into a page."""

    def through(answer: Callable[[Any], Response]) -> Callable[[Exception], Any]:
        return lambda error: shown(answer(error))

    app.register_error_handler(ServiceError, through(answer_service_error))
    app.register_error_handler(ValidationError, through(answer_validation_error))
    app.register_error_handler(HTTPException, through(answer_http_error))
    app.register_error_handler(Exception, through(answer_unexpected))
    # A test must see the answer that a caller would see.
    app.config["PROPAGATE_EXCEPTIONS"] = False
