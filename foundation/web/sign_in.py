"""Routes by which callers prove who they are: the token endpoint and our public keys for systems, sign-in for people's clients."""

from typing import Any

from flask import Response, g, jsonify, request
from marshmallow import fields

from foundation.auth.keys import public_jwks
from foundation.auth.roles import role_name
from foundation.auth.tokens import TokenRefused
from foundation.errors import NotFound
from foundation.web.access import current_principal, open_to_all, requires
from foundation.web.console import leave, sign_in_with, with_cookie, without_cookie
from foundation.web.openapi import answers, make_blueprint
from foundation.web.schemas import Instant, Schema, Text
from foundation.web.shell import read_session, shell

_TOKENS_PER_MINUTE = 600
_ASKED_ONCE = frozenset({"grant_type", "client_assertion_type", "client_assertion"})

_TEXT = {"type": "string"}
_TOKEN = {
    "type": "object",
    "required": ["access_token", "expires_in", "token_type"],
    "properties": {"access_token": _TEXT, "expires_in": _TEXT, "token_type": {"const": "Bearer"}},
}
_REFUSED = {
    "type": "object",
    "required": ["error", "error_description", "message_id"],
    "properties": {"error": _TEXT, "error_description": _TEXT, "message_id": _TEXT},
}
_KEYS = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
}

tokens = make_blueprint("tokens", url_prefix="", description="How systems sign in")
people = make_blueprint("sign-in", description="How people sign in, and who the caller is")


@tokens.post("/oauth2/token")
@open_to_all("systems sign in here")
@tokens.doc(
    summary="Give an access token for a signed assertion (client credentials with private_key_jwt)",
    requestBody={
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_assertion_type", "client_assertion"],
                    "properties": {
                        "grant_type": {"const": "client_credentials"},
                        "client_assertion_type": {
                            "const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                        },
                        "client_assertion": {"type": "string", "description": "A JWT signed with RS512"},
                    },
                }
            }
        },
    },
    responses={
        "200": answers("The token", _TOKEN),
        **{status: answers("Refused, as RFC 6749 says it", _REFUSED) for status in ("400", "401", "403")},
    },
)
def give_token() -> Response:
    shell().limits.check("token", request.remote_addr or "unknown", _TOKENS_PER_MINUTE)
    try:
        for name, values in request.form.lists():
            if name in _ASKED_ONCE and len(values) > 1:
                # RFC 6749, 3.2: another reader of this form might believe the other value.
                raise TokenRefused(400, "invalid_request", f"{name} is given more than once")
        token = shell().tokens.issue(request.form)
    except TokenRefused as refused:
        g.problem_code = "token-refused"
        answer = jsonify(error=refused.error, error_description=refused.description, message_id=g.request_id)
        answer.status_code = refused.status
        return answer
    # "599" is text at the NHS identity service too, and clients of it expect that.
    answer = jsonify(access_token=token.access_token, expires_in=str(token.expires_in), token_type="Bearer")
    answer.headers["Pragma"] = "no-cache"
    return answer


@tokens.get("/.well-known/jwks.json")
@open_to_all("public keys are public")
@tokens.doc(summary="Our public keys", responses={"200": answers("A JWK set", _KEYS)})
def read_jwks() -> Response:
    parts = shell()
    with parts.db.read() as tx:
        return jsonify(public_jwks(tx, parts.clock.now()))


class SignInSchema(Schema):
    username = Text(64, required=True)
    password = Text(200, required=True, load_only=True)


class SignedInSchema(Schema):
    """Who the caller is and what they may do."""

    kind = fields.String(required=True)
    id = fields.String(required=True)
    organisation = fields.String(required=True)
    role = fields.String(allow_none=True)
    role_name = fields.String(allow_none=True)
    scopes = fields.List(fields.String(), required=True)
    csrf_token = fields.String(
        metadata={"description": "Send it as X-CSRF-Token with every write that comes by cookie"}
    )
    expires_at = Instant()


@people.post("/sign-in")
@open_to_all("people sign in here")
@people.doc(responses={"401": {"description": "Refused"}})
@people.arguments(SignInSchema)
@people.response(200, SignedInSchema)
def sign_in(given: dict[str, str]) -> Any:
    """Sign a person in, by a cookie."""
    if not shell().settings.local_sign_in:
        raise NotFound("local-sign-in-off")
    session, token = sign_in_with(given["username"], given["password"])
    g.session = session
    answer = jsonify(SignedInSchema().dump(_told(session.user.principal())))
    return with_cookie(answer, token)


@people.post("/sign-out")
@open_to_all("whoever is signed out already needs no telling")
@people.response(204)
def sign_out() -> Any:
    """End the session of the cookie."""
    leave()
    return without_cookie(Response(status=204))


@people.get("/me")
@requires()
@people.response(200, SignedInSchema)
def read_me() -> Any:
    """Say who the caller is."""
    return _told(current_principal())


def _told(principal: Any) -> dict[str, Any]:
    session = read_session() if principal.kind == "person" else None
    told = {
        "kind": principal.kind,
        "id": principal.id,
        "organisation": principal.organisation,
        "role": principal.role,
        "role_name": role_name(principal.role) if principal.role else None,
        "scopes": sorted(principal.scopes),
    }
    if session is not None:
        told |= {"csrf_token": session.csrf, "expires_at": session.expires_at}
    return told
