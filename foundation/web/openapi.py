"""The API's description: blueprints that read strictly, one Api, and the document with its security and problems filled in."""

import copy
import re
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import flask_smorest
from flask import Flask, current_app
from flask_smorest import Api
from marshmallow import fields

from foundation.auth.roles import SCOPES
from foundation.web import idempotency
from foundation.web.access import Access, access_of, handler_of
from foundation.web.body import StrictParser
from foundation.web.problems import Form, form_at, forms, problem_body, title_of
from foundation.web.schemas import Schema

F = TypeVar("F", bound=Callable[..., Any])

PREFIX = "/api/v1"
_TAKES_IF_MATCH = "_takes_if_match"
_ABOUT = """Two questions that stand before every view of a shared care record: *who is this?* and *may this be shared?*

Systems sign in with client credentials and a signed assertion (`POST /oauth2/token`), people with a session. Every refusal is
`application/problem+json` with a stable `code`, below `/fhir/R4` an OperationOutcome with the same code; faults of input name the field and
never its value. Ids are decimal text. Lists are paged
by cursor. A write may bear an `Idempotency-Key`, and is then done once, however often it is sent within a day."""
_REFUSALS = (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503)
_EXAMPLES: dict[int, dict[str, Any]] = {
    400: {"type": "urn:problem:json-syntax", "code": "json-syntax"},
    401: {"type": "urn:problem:token-expired", "code": "token-expired"},
    403: {
        "type": "urn:problem:scope-missing",
        "code": "scope-missing",
        "detail": "Needs the scope records:write.",
    },
    404: {"type": "urn:problem:person-unknown", "code": "person-unknown"},
    409: {"type": "urn:problem:version-stale", "code": "version-stale", "ids": {"version": "3"}},
    410: {"type": "urn:problem:person-gone", "code": "person-gone"},
    422: {
        "type": "urn:problem:fields-invalid",
        "code": "fields-invalid",
        "errors": [{"field": "names.0.family", "code": "too-long"}],
    },
    429: {"type": "urn:problem:too-many-requests", "code": "too-many-requests"},
    503: {"type": "urn:problem:database-busy", "code": "database-busy"},
}
_ID = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}
_IN_PATHS: dict[str, dict[str, Any]] = {
    "person_id": _ID,
    "task_id": _ID,
    "directive_id": _ID,
    "consent_id": _ID,
    "webhook_id": _ID,
    "delivery_id": _ID,
    "ods_code": {"type": "string", "pattern": "^[0-9A-Z]{3,10}$"},
    "organisation": {"type": "string", "pattern": "^[A-Z0-9]{2,12}$"},
    "system": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]*$", "maxLength": 64},
    "local_id": {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "description": "Printable; may hold slashes",
    },
}
_HEADERS: dict[str, dict[str, Any]] = {
    "RequestId": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "A UUID, given back with the answer; one is made where there is none.",
        "schema": {"type": "string"},
    },
    "ActFor": {
        "name": "NHSD-End-User-Organisation-ODS",
        "in": "header",
        "description": "For which of its organisations a system asks.",
        "schema": {"type": "string", "pattern": "^[0-9A-Z]{3,10}$"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same request under the same key is done once, and answered as before for a day.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "The ETag that the edit starts from; 409 where another edit came first.",
        "schema": {"type": "string", "pattern": '^(W/)?"[0-9]{1,18}"$'},
    },
}


class FaultSchema(Schema):
    """One field at fault: where, and what is wrong with it; never its value."""

    field = fields.String(required=True, metadata={"example": "address.postcode"})
    code = fields.String(required=True, metadata={"example": "postcode-format"})


class ProblemSchema(Schema):
    """A refusal (RFC 9457)."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    code = fields.String(required=True, metadata={"description": "Kebab-case, stable"})
    detail = fields.String()
    errors = fields.List(fields.Nested(FaultSchema))
    ids = fields.Dict(keys=fields.String(), values=fields.String())
    request_id = fields.String()


class _Api(Api):
    """flask-smorest's Api, whose errors are answered by the shell.

    Routes are described when the description is first asked for: that takes longer than all the rest of a start.
    """

    ERROR_SCHEMA = ProblemSchema

    def __init__(self, app: Flask) -> None:
        self._undescribed: list[flask_smorest.Blueprint] = []
        self._describing = Lock()
        self._is_begun = False
        super().__init__(app)

    def _register_error_handlers(self) -> None:
        pass

    def _register_responses(self) -> None:
        """Wait with the answers of all routes until one is described."""

    def add(self, blueprint: flask_smorest.Blueprint) -> None:
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)
        self._undescribed.append(blueprint)

    def described(self) -> Any:
        """Return the specification with every route that was added."""
        with self._describing:
            if self._undescribed and not self._is_begun:
                super()._register_responses()
                self._is_begun = True
            for blueprint in self._undescribed:
                blueprint.register_views_in_doc(
                    self, self._app, self.spec, name=blueprint.name, parameters=None
                )
                self.spec.tag({"name": blueprint.name, "description": blueprint.description})
            self._undescribed.clear()
        return self.spec


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose JSON is read strictly, and whose routes are described when that is first asked for."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._untold: list[Callable[[], None]] = []
        super().__init__(*args, **options)

    def _store_endpoint_docs(self, *args: Any, **options: Any) -> None:
        self._untold.append(partial(super()._store_endpoint_docs, *args, **options))

    def register_views_in_doc(self, *args: Any, **options: Any) -> None:
        for tell in self._untold:
            tell()
        self._untold.clear()
        super().register_views_in_doc(*args, **options)


def make_blueprint(name: str, url_prefix: str = PREFIX, description: str = "") -> Blueprint:
    """Return a blueprint for routes of the API; every route on it bears ``requires`` or ``open_to_all``."""
    return Blueprint(name, name, url_prefix=url_prefix, description=description)


def install_api(app: Flask, version: str) -> None:
    app.config.update(
        API_TITLE="Master patient index and consent",
        API_VERSION=version,
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={"info": {"description": _ABOUT}},
    )
    app.extensions["api"] = _Api(app)


def answers(
    description: str, schema: dict[str, Any], content_type: str = "application/json"
) -> dict[str, Any]:
    """Return the description of an answer that no marshmallow schema writes."""
    return {"description": description, "content": {content_type: {"schema": schema}}}


def takes_if_match(view: F) -> F:
    """Mark a view that looks at If-Match, so that its description says so."""
    setattr(view, _TAKES_IF_MATCH, True)
    return view


def register(app: Flask, blueprint: flask_smorest.Blueprint) -> None:
    """Add a blueprint, and its routes to the description."""
    app.extensions["api"].add(blueprint)


def openapi_document(app: Flask | None = None) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all registered routes."""
    app = app or current_app._get_current_object()  # type: ignore[attr-defined]
    assert app is not None
    spec: dict[str, Any] = copy.deepcopy(app.extensions["api"].described().to_dict())
    parts = spec.setdefault("components", {})
    parts["securitySchemes"] = _security_schemes()
    parts["parameters"] = copy.deepcopy(_HEADERS)
    parts["responses"] = {
        _name(form, status): _refusal(form, status)
        for form in forms(app)
        for status in sorted(
            {form.statuses.get(status, status) for status in _REFUSALS}
            | {422}
            | form.also
            | set(form.of_codes.values())
        )
    }
    for rule in app.url_map.iter_rules():
        path = _path(rule)
        for parameter in spec["paths"].get(path, {}).get("parameters", ()):
            if parameter["in"] == "path" and parameter["name"] in _IN_PATHS:
                parameter["schema"] = dict(_IN_PATHS[parameter["name"]])
        for method in rule.methods or ():
            operation = spec["paths"].get(path, {}).get(method.lower())
            if operation is not None:
                access = access_of(app, rule.endpoint, method)
                handler = handler_of(app, rule.endpoint, method)
                _complete(operation, rule, method, access, handler, form_at(app, rule.rule))
    for schema in parts["schemas"].values():
        _plain(schema)
    return spec


def _complete(
    operation: dict[str, Any],
    rule: Any,
    method: str,
    access: Access | None,
    handler: Callable[..., Any],
    form: Form,
) -> None:
    """Add what every route of its kind shares: id, security, headers, and each refusal that a caller may get."""
    operation.setdefault("operationId", f"{rule.endpoint}.{method.lower()}".replace(".", "-"))
    _plain(operation)
    operation["summary"] = operation["summary"].removesuffix(".")
    is_open = access is None or access.is_open
    scopes = sorted(access.scopes) if access is not None else []
    operation["security"] = [] if is_open else [{"oauth2": scopes}, {"session": []}]
    asks = f"Needs the scope `{'` and `'.join(scopes)}`." if scopes else "For anyone who is signed in."
    told = [operation.get("description", ""), "Answers anyone." if is_open else asks]
    operation["description"] = "\n\n".join(text for text in told if text)

    is_write = method in {"POST", "PUT", "PATCH", "DELETE"}
    headers = ["RequestId"]
    statuses = {400, 429, 503}
    if "requestBody" in operation:
        statuses |= {413, 415, 422}
    if any(one.get("in") == "query" for one in operation.get("parameters", ())):
        statuses.add(422)
    if rule.arguments:
        statuses |= {404, 422}
    if "person_id" in rule.arguments:
        statuses.add(410)
    if not is_open:
        headers.append("ActFor")
        statuses |= {401, 403}
        if is_write:
            statuses |= {404, 409}
        if is_write and not idempotency.is_left_alone(handler):
            headers.append("IdempotencyKey")
    if getattr(handler, _TAKES_IF_MATCH, False):
        headers.append("IfMatch")
    operation.setdefault("parameters", []).extend(
        {"$ref": f"#/components/parameters/{name}"} for name in headers
    )
    responses = operation["responses"]
    responses.pop("default", None)
    statuses = {form.statuses.get(status, status) for status in statuses} | form.also
    for status in statuses | {int(status) for status in responses if status[0] in "45"}:
        if "content" not in responses.get(str(status), {}):
            responses[str(status)] = {"$ref": f"#/components/responses/{_name(form, status)}"}
    operation["responses"] = dict(sorted(responses.items()))


def _name(form: Form, status: int) -> str:
    return form.word + "".join(word.capitalize() for word in re.findall("[a-z]+", title_of(status).lower()))


def _refusal(form: Form, status: int) -> dict[str, Any]:
    body = problem_body(status, "60e0b220-8136-4ca5-ae46-1d97ef59d068") | _EXAMPLES.get(status, {})
    headers = {"X-Request-ID": {"schema": {"type": "string", "format": "uuid"}}}
    if status in (429, 503):
        headers["Retry-After"] = {"schema": {"type": "integer"}}
    schema = {"$ref": f"#/components/schemas/{form.schema}"}
    return {
        "description": title_of(status),
        "headers": headers,
        "content": {form.content_type: {"schema": schema, "example": form.write(body)}},
    }


def _plain(part: dict[str, Any]) -> None:
    """Write a docstring's words as Markdown: one line a paragraph, single quotes of code."""
    for name in ("summary", "description"):
        if name in part:
            paragraphs = re.split(r"\n\s*\n", part[name].replace("``", "`"))
            part[name] = "\n\n".join(" ".join(text.split()) for text in paragraphs).strip()


def _path(rule: Any) -> str:
    return "".join(
        f"{{{text}}}" if is_argument else text.split("|", 1)[-1] for is_argument, text in rule._trace
    )


def _security_schemes() -> dict[str, Any]:
    return {
        "oauth2": {
            "type": "oauth2",
            "description": "Client credentials with private_key_jwt: a JWT signed with RS512, at most five minutes to live.",
            "flows": {
                "clientCredentials": {"tokenUrl": "/oauth2/token", "scopes": dict(sorted(SCOPES.items()))}
            },
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "mpi_session",
            "description": "A person's session; writes also need X-CSRF-Token.",
        },
    }
