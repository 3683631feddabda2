"""Speak to the service: as a registered system by a signed assertion (RS512), or as a person by a session."""

import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

_SECONDS = 60
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Needs(Exception):
    """A case cannot be asked: what is missing for it stands in the text."""


class NoAnswer(Exception):
    """The service could not be reached, or answered with something that is no JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: Any = field(repr=False)

    @property
    def code(self) -> str:
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


class Speaker(Protocol):
    """Whoever may be asked to call a route."""

    def call(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None, **query: str
    ) -> Answer: ...


class System:
    """One registered system."""

    def __init__(self, base_url: str, client_id: str, key_file: Path) -> None:
        self._base_url, self._client_id = base_url.rstrip("/"), client_id
        try:
            self._key = RSAKey.import_key(json.loads(key_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, JoseError) as error:
            raise Needs(f"a readable key of {client_id}") from error
        self._token, self._renew_at = "", 0.0

    def call(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None, **query: str
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.token()}"} | ({"If-Match": if_match} if if_match else {})
        return _read(
            lambda: requests.request(
                method, self._base_url + path, json=body, params=query, headers=headers, timeout=_SECONDS
            )
        )

    def token(self) -> str:
        """Return an access token, a new one a minute before the old one runs out.

        Raises:
            Needs: the service gives none.
        """
        if time.monotonic() < self._renew_at:
            return self._token
        address = f"{self._base_url}/oauth2/token"
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": address,
            "jti": str(uuid.uuid4()),
            "exp": int(time.time()) + 240,
        }
        header = {"alg": "RS512", "typ": "JWT", "kid": self._key.kid}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION,
            "client_assertion": jwt.encode(header, claims, self._key, algorithms=["RS512"]),
        }
        answer = _read(lambda: requests.post(address, data=form, timeout=_SECONDS))
        if answer.status != 200:
            raise Needs(f"an access token for {self._client_id}: it was refused ({answer.status})")
        self._token = answer.body["access_token"]
        self._renew_at = time.monotonic() + int(answer.body["expires_in"]) - 60
        return self._token


class AtScreen:
    """A person signed in with an account; the session lives in a cookie."""

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self._base_url, self._session = base_url.rstrip("/"), requests.Session()
        body = {"username": username, "password": password}
        answer = _read(
            lambda: self._session.post(f"{self._base_url}/api/v1/sign-in", json=body, timeout=_SECONDS)
        )
        if answer.status != 200:
            raise Needs(f"an account for {username}: the sign-in was refused ({answer.status})")
        self._csrf = str(answer.body["csrf_token"])

    def call(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None, **query: str
    ) -> Answer:
        headers = {"X-CSRF-Token": self._csrf} | ({"If-Match": if_match} if if_match else {})
        return _read(
            lambda: self._session.request(
                method, self._base_url + path, json=body, params=query, headers=headers, timeout=_SECONDS
            )
        )


class _Send(Protocol):
    def __call__(self) -> requests.Response: ...


def _read(send: _Send) -> Answer:
    try:
        response = send()
    except requests.RequestException as error:
        raise NoAnswer(
            type(error).__name__
        ) from None  # its text holds the address, and a query may hold more
    try:
        return Answer(response.status_code, response.json() if response.content else None)
    except ValueError:
        raise NoAnswer(f"status {response.status_code}, and no JSON") from None
