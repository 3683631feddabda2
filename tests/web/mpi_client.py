"""Systems that call the service as real ones do: a registered key, a signed assertion, a token, JSON."""

import uuid
from functools import cache
from typing import Any

from flask import Flask
from joserfc import jwt
from joserfc.jwk import RSAKey

from app import Composition
from foundation.auth.clients import add_client_key, create_client

ALL = frozenset(
    {"records:write", "records:read", "match", "match:reasons", "persons:read", "tasks:read", "tasks:work"}
)
_KID = "test-key"


@cache
def _key() -> RSAKey:
    """One key pair for all clients of a run: making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": _KID})


class Caller:
    """One system that calls the routes and reads JSON."""

    def __init__(
        self,
        app: Flask,
        name: str = "caller",
        *,
        organisation: str = "RRV",
        organisations: frozenset[str] = frozenset({"RV5", "G85001", "RRU"}),
        scopes: frozenset[str] = ALL,
    ) -> None:
        composition: Composition = app.extensions["composition"]
        now = composition.clock.now()
        with composition.db.write() as tx:
            create_client(tx, now, name, name, organisation, scopes, organisations=organisations)
            add_client_key(tx, now, name, _key().as_dict(private=False) | {"kid": _KID})
        self._client = app.test_client()
        claims = {
            "iss": name,
            "sub": name,
            "aud": composition.settings.token_url,
            "jti": str(uuid.uuid4()),
            "exp": int(now.timestamp()) + 200,
        }
        assertion = jwt.encode(
            {"alg": "RS512", "typ": "JWT", "kid": _KID}, claims, _key(), algorithms=["RS512"]
        )
        answer = self._client.post(
            "/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion,
            },
        )
        assert answer.status_code == 200, answer.json
        self._headers = {"Authorization": f"Bearer {answer.json['access_token']}"}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.open(path, method=method, json=body, headers=self._headers | named)

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("PUT", path, body, **headers)
