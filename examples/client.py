"""One registered system: it signs its assertions, asks of the index by ``mpi.client``, of all else by path, and checks webhooks.

It uses the public interface only.
"""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

from mpi.client import AccessToken, Client


class Refused(Exception):
    """The service answered with a problem document; ``code`` says which, ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, document: dict[str, Any]) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.document = document


class ServiceClient:
    """One registered system. ``key`` is its private RSA key; the service knows the public half."""

    def __init__(self, base_url: str, client_id: str, key: RSAKey, *, timeout_seconds: float = 30) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._session = requests.Session()
        self.token = AccessToken(
            base_url, partial(signed_assertion, client_id, key), timeout_seconds=timeout_seconds
        )
        self.index = Client(base_url, self.token, timeout_seconds=timeout_seconds)
        """Who is this? With types, and an exception for each kind of refusal."""

    def get(self, path: str, **query: str) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        return self._call("POST", path, json=body, headers=_named(headers))

    def put(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        return self._call("PUT", path, json=body, headers=_named(headers))

    def follow(
        self, after: int | None = None, *, topic: str | None = None, wait_seconds: int = 20
    ) -> Iterator[dict[str, Any]]:
        """Yield events for ever, in order; keep the ``sequence`` of the last one that you have finished with, to go on from.

        Args:
            after: where to go on; without it from the end of the feed, so first follow, then read what you need.

        Raises:
            Refused: ``events-gone`` or ``events-ahead``: read again what you hold, and follow without ``after``.
        """
        if after is None:
            after = self.get("/api/v1/events")["up_to"]
        more = {} if topic is None else {"topic": topic}
        while True:
            page = self.get("/api/v1/events", after=str(after), wait=str(wait_seconds), **more)
            yield from page["events"]
            after = page["up_to"]

    def _call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        response = self._session.request(
            method,
            self._base_url + path,
            headers={"Authorization": f"Bearer {self.token()}", **(headers or {})},
            timeout=self._timeout,
            **more,
        )
        document = response.json() if response.content else None
        if response.status_code >= 400:
            raise Refused(response.status_code, document.get("code", "unknown"), document)
        return document


class NotSigned(Exception):
    """A message that the service did not send, or not now."""


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    now: float | None = None,
    tolerance_seconds: int = 300,
) -> Any:
    """Return what a message says, once its signature (Standard Webhooks) is found to be made with this secret, and its time to be near.

    Args:
        headers: with their names in any case.
        body: the bytes as they came; JSON that was read and written again is not what was signed.

    Raises:
        NotSigned
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split(" ")
        seconds_off = abs((time.time() if now is None else now) - int(sent_at))
    except (KeyError, ValueError) as error:
        raise NotSigned("a header is missing") from error
    if seconds_off > tolerance_seconds:
        raise NotSigned("sent at another time")  # somebody kept it, and sends it again
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{message_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(made)
    # While a secret is changed there are two signatures.
    if not any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in signatures):
        raise NotSigned("signed with another secret")
    return json.loads(body)


def signed_assertion(client_id: str, key: RSAKey, token_url: str) -> str:
    """Sign a client's statement that it is itself, good once at this token endpoint and for four minutes (private_key_jwt)."""
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": token_url,
        "jti": str(uuid.uuid4()),
        "exp": int(time.time()) + 240,
    }
    return jwt.encode({"alg": "RS512", "typ": "JWT", "kid": key.kid}, claims, key, algorithms=["RS512"])


def _named(headers: dict[str, str]) -> dict[str, str]:
    """Read keyword arguments as header names: ``if_match`` is If-Match."""
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def fresh_key(client_id: str) -> RSAKey:
    """Make a key pair of 2,048 bits for a client, named after it."""
    return RSAKey.generate_key(2048, {"kid": f"{client_id}-{uuid.uuid4().hex[:8]}"})
