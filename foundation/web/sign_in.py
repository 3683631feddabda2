"""Routes by which callers prove who they are: the token endpoint and our public keys for systems, sign-in for people's clients."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, g, jsonify, request
from marshmallow import fields

from foundation.auth.keys import public_jwks
from foundation.auth.roles import SCOPES, role_name
from foundation.auth.tokens import TokenRefused
from foundation.errors import NotFound
from foundation.web.access import current_principal, open_to_all, requires
from foundation.web.console import leave, sign_in_with, with_cookie, without_cookie
from foundation.web.openapi import answers, make_blueprint
from foundation.web.schemas import Instant, Schema, Text
from foundation.web.shell import caller_address, read_session, shell

_TOKENS_PER_MINUTE = 600
_ASKED_ONCE = frozenset({"grant_type", "client_assertion_type", "client_assertion", "token"})

_TEXT = {"type": "string"}
_ASSERTED = {
    "client_assertion_type": {"const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
    "client_assertion": {
        "type": "string",
        "description": "A JWT signed with RS512 and made out to the token endpoint",
    },
}
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

_STANDING = {
    "type": "object",
    "required": ["active"],
    "properties": {
        "active": {"type": "boolean"},
        **dict.fromkeys(("token_type", "scope", "client_id", "sub", "org", "iss", "aud", "jti"), _TEXT),
        **{name: {"type": "integer"} for name in ("iat", "exp")},
    },
}
_METADATA = {
    "type": "object",
    "required": ["issuer", "token_endpoint", "response_types_supported"],
    "additionalProperties": True,
}


def _asks(**more: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a form that bears an assertion."""
    asked = {**more, **_ASSERTED}
    needed = [name for name in asked if name != "token_type_hint"]
    form = {"type": "object", "required": needed, "properties": asked}
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}


def _answered(told: dict[str, Any]) -> dict[str, Any]:
    refused = {status: answers("Refused, as RFC 6749 says it", _REFUSED) for status in ("400", "401", "403")}
    return {"200": told, **refused}


tokens = make_blueprint("tokens", url_prefix="", description="How systems sign in")
people = make_blueprint("sign-in", description="How people sign in, and who the caller is")


@tokens.post("/oauth2/token")
@open_to_all("systems sign in here")
@tokens.doc(
    summary="Give an access token for a signed assertion (client credentials with private_key_jwt)",
    requestBody=_asks(grant_type={"const": "client_credentials"}),
    responses=_answered(answers("The token", _TOKEN)),
)
def give_token() -> Response:
    return _answer(_give_token)


def _give_token() -> Response:
    token = shell().tokens.issue(request.form)
    # "599" is text at the NHS identity service too, and clients of it expect that.
    answer = jsonify(access_token=token.access_token, expires_in=str(token.expires_in), token_type="Bearer")
    answer.headers["Pragma"] = "no-cache"
    return answer


@tokens.post("/oauth2/introspect")
@open_to_all("systems prove themselves here by an assertion")
@tokens.doc(
    summary="Say whether an access token stands, and what it opens (RFC 7662)",
    description="A system may ask about its own tokens, and with the scope `tokens:introspect` about all.",
    requestBody=_asks(token=_TEXT, token_type_hint=_TEXT),
    responses=_answered(answers("Whether it stands", _STANDING)),
)
def introspect_token() -> Response:
    return _answer(lambda: jsonify(shell().tokens.introspect(request.form)))


@tokens.post("/oauth2/revoke")
@open_to_all("systems prove themselves here by an assertion")
@tokens.doc(
    summary="Take back an access token of one's own (RFC 7009)",
    requestBody=_asks(token=_TEXT, token_type_hint=_TEXT),
    responses=_answered({"description": "It opens nothing any more, if it ever did"}),
)
def revoke_token() -> Response:
    return _answer(_revoke_token)


def _revoke_token() -> Response:
    shell().tokens.revoke(request.form)
    return Response(status=200)


def _answer(act: Callable[[], Response]) -> Response:
    """Answer a form that bears an assertion, or refuse it in OAuth's words."""
    shell().limits.check("token", caller_address(), _TOKENS_PER_MINUTE)
    try:
        for name, values in request.form.lists():
            if name in _ASKED_ONCE and len(values) > 1:
                # RFC 6749, 3.2: another reader of this form might believe the other value.
                raise TokenRefused(400, "invalid_request", f"{name} is given more than once")
        return act()
    except TokenRefused as refused:
        g.problem_code = "token-refused"
        answer = jsonify(error=refused.error, error_description=refused.description, message_id=g.request_id)
        answer.status_code = refused.status
        return answer


@tokens.get("/.well-known/oauth-authorization-server")
@open_to_all("what is here for systems is no secret")
@tokens.doc(
    summary="Where tokens are given, asked about and taken back, and how a system proves itself (RFC 8414)",
    responses={"200": answers("The metadata", _METADATA)},
)
def read_metadata() -> Response:
    here = shell().settings.public_url
    proof = {
        f"{place}_endpoint_auth_{word}": values
        for place in ("token", "introspection", "revocation")
        for word, values in (
            ("methods_supported", ["private_key_jwt"]),
            ("signing_alg_values_supported", ["RS512"]),
        )
    }
    return jsonify(
        issuer=here,
        token_endpoint=shell().settings.token_url,
        introspection_endpoint=f"{here}/oauth2/introspect",
        revocation_endpoint=f"{here}/oauth2/revoke",
        jwks_uri=f"{here}/.well-known/jwks.json",
        grant_types_supported=["client_credentials"],
        response_types_supported=[],
        scopes_supported=sorted(SCOPES),
        service_documentation=f"{here}/api/v1/openapi.json",
        **proof,
    )


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
