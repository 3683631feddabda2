"""The API's description: blueprints that read strictly, one Api, and the document with its security and problems filled in."""

import copy
from typing import Any

import flask_smorest
from flask import Flask, current_app
from flask_smorest import Api
from marshmallow import fields

from foundation.auth.roles import SCOPES
from foundation.web.access import access_of
from foundation.web.body import StrictParser
from foundation.web.problems import CONTENT_TYPE
from foundation.web.schemas import Schema

PREFIX = "/api/v1"


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
    """flask-smorest's Api, whose errors are answered by the shell."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        pass


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose JSON is read strictly."""

    ARGUMENTS_PARSER = StrictParser()


def make_blueprint(name: str, url_prefix: str = PREFIX, description: str = "") -> Blueprint:
    """Return a blueprint for routes of the API; every route on it bears ``requires`` or ``open_to_all``."""
    return Blueprint(name, name, url_prefix=url_prefix, description=description)


def install_api(app: Flask, version: str) -> None:
    app.config.update(
        API_TITLE="Master patient index and consent",
        API_VERSION=version,
        OPENAPI_VERSION="3.1.0",
    )
    app.extensions["api"] = _Api(app)


def register(app: Flask, blueprint: flask_smorest.Blueprint) -> None:
    """Add a blueprint, and its routes to the description."""
    app.extensions["api"].register_blueprint(blueprint)


def openapi_document(app: Flask | None = None) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all registered routes."""
    app = app or current_app._get_current_object()  # type: ignore[attr-defined]
    assert app is not None
    spec: dict[str, Any] = copy.deepcopy(app.extensions["api"].spec.to_dict())
    spec.setdefault("components", {})["securitySchemes"] = _security_schemes()
    for response in spec["components"].get("responses", {}).values():
        _as_problem(response)
    for rule in app.url_map.iter_rules():
        path = _path(rule)
        for method in rule.methods or ():
            operation = spec["paths"].get(path, {}).get(method.lower())
            if operation is None:
                continue
            operation.setdefault("operationId", f"{rule.endpoint}.{method.lower()}".replace(".", "-"))
            access = access_of(app, rule.endpoint, method)
            if access is None or access.is_open:
                operation["security"] = []
                continue
            operation["security"] = [{"oauth2": sorted(access.scopes)}, {"session": []}]
            for status in ("401", "403"):
                operation["responses"].setdefault(status, {"$ref": "#/components/responses/DEFAULT_ERROR"})
        for operation in spec["paths"].get(path, {}).values():
            if isinstance(operation, dict):
                _with_problems(operation)
    return spec


def _with_problems(operation: dict[str, Any]) -> None:
    for status, response in operation.get("responses", {}).items():
        if (status == "default" or status[0] in "45") and "content" in response:
            _as_problem(response)


def _as_problem(response: dict[str, Any]) -> None:
    content = response.get("content", {})
    if "application/json" in content:
        content[CONTENT_TYPE] = content.pop("application/json")


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
