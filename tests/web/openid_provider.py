"""OpenID providers for tests: one that is not ours, as a process of its own, and one that says whatever a test has it say."""

import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "mpi"
USER = "555254240100"
NURSE, CLERK = "555254242102", "555254242103"
_START_SECONDS = 30


def role(role_id: str, code: str, organisation: str = "RRV", *activities: str) -> dict[str, Any]:
    """One of a person's national roles, as the provider tells it."""
    return {
        "person_orgid": "555254242101",
        "person_roleid": role_id,
        "org_code": organisation,
        "role_name": '"Clinical":"Clinical Provision":"An Access Role"',
        "role_code": code,
        "activities": [],
        "activity_codes": list(activities),
        "workgroups": [],
        "workgroups_codes": [],
        "aow": [],
        "aow_codes": [],
    }


def person(**changes: Any) -> dict[str, Any]:
    """What a provider says of somebody with two roles, of whom the nurse's is selected; None takes a claim away."""
    told = {
        "name": "Nurse Example",
        "uid": USER,
        "nhsid_useruid": USER,
        "selected_roleid": NURSE,
        "nhsid_nrbac_roles": [
            role(CLERK, "S8000:G8001:R8010"),
            role(NURSE, "S8000:G8000:R8001", "RRV", "B0380"),
        ],
        "acr": "AAL3_ANY",
        "authentication_assurance_level": "3",
    } | changes
    return {name: value for name, value in told.items() if value is not None}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def provider_of_another() -> Iterator[str]:
    """Serve oidc-provider-mock, which is not ours, and give its address."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None and time.monotonic() < until, "the provider did not start"
                time.sleep(0.1)
        yield issuer
    finally:
        process.terminate()
        process.wait(timeout=_START_SECONDS)


def put_person(issuer: str, subject: str, claims: Mapping[str, Any]) -> None:
    """Have the provider of another know somebody."""
    requests.put(f"{issuer}/users/{subject}", json=claims, timeout=10).raise_for_status()


@cache
def provider_key(number: int = 1) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": f"provider-{number}"})


class Forger:
    """A provider that follows the protocol, PKCE included, but for what a test changes: claims, header, key, userinfo, statuses.

    ``claims`` and ``userinfo`` are laid over what it would say (None takes a claim away), ``sign`` may make the id token itself.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.key = provider_key()
        self.shown = [provider_key()]
        self.header: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.broken: dict[str, int] = {}
        self.sign: Callable[[dict[str, Any]], str] | None = None
        self.asked: dict[str, str] = {}
        self.proofs: list[dict[str, str]] = []
        self.paths: list[str] = []
        forger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                forger._answer(self, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                forger._answer(self, dict(parse_qsl(body)))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def authorise(self, url: str, **answer: str) -> str:
        """Do what a browser would at the authorization endpoint; return the path that it is sent back to."""
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        told = {"code": "a-code", "state": self.asked["state"]} | answer
        back = requests.Request("GET", self.asked["redirect_uri"], params=told).prepare().path_url
        return str(back)

    def id_token(self) -> str:
        claims = {
            "iss": self.issuer,
            "sub": USER,
            "aud": CLIENT_ID,
            "nonce": self.asked.get("nonce"),
            "iat": self.now(),
            "exp": self.now() + 300,
            "auth_time": self.now(),
            "sid": "provider-session-1",
            **{name: value for name, value in person().items() if name in ("acr", "authentication_assurance_level", "selected_roleid")},
        }  # fmt: skip
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        return self.sign(claims) if self.sign is not None else self.signed(claims)

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": "RS256", "kid": self.key.kid} | self.header | header
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, claims, self.key, algorithms=["RS256", "RS512", "PS256"])

    def _answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        path = urlsplit(handler.path).path
        self.paths.append(path)
        status = self.broken.get(path, 200)
        body = self._body(path, form, handler) if status == 200 else {"error": "invalid_grant"}
        if status == 200 and path == "/token" and not self._is_proven(form):
            status, body = 400, {"error": "invalid_grant"}
        sent = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)

    def _is_proven(self, form: dict[str, str]) -> bool:
        """Whether who brings the code is who asked for it (RFC 7636)."""
        challenge = _encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        return (
            self.asked.get("code_challenge_method") == "S256"
            and challenge == self.asked["code_challenge"]
            and form.get("code") == "a-code"
        )

    def _body(self, path: str, form: dict[str, str], handler: BaseHTTPRequestHandler) -> Any:
        if path == "/.well-known/openid-configuration":
            places = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "end_session_endpoint": f"{self.issuer}/logout",
                "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS512"],
            } | self.metadata
            return {name: value for name, value in places.items() if value is not None}
        if path == "/jwks":
            return {"keys": [one.as_dict(private=False) for one in self.shown]}
        if path == "/token":
            self.proofs.append(form | {"authorization": handler.headers.get("Authorization", "")})
            return {
                "access_token": "an-access-token",
                "token_type": "Bearer",
                "expires_in": 300,
                "id_token": self.id_token(),
            }
        if path == "/userinfo":
            assert handler.headers["Authorization"] == "Bearer an-access-token"
            told = {"sub": USER} | person(acr=None, authentication_assurance_level=None) | self.userinfo
            return {name: value for name, value in told.items() if value is not None}
        return {}


def hs256(claims: dict[str, Any]) -> str:
    """An id token signed with the provider's public key taken for a shared secret."""
    body = ".".join(_part(one) for one in ({"alg": "HS256", "kid": "provider-1"}, claims))
    signature = hmac.digest(provider_key().as_pem(private=False), body.encode(), "sha256")
    return f"{body}.{_encoded(signature)}"


def unsigned(claims: dict[str, Any]) -> str:
    return f"{_part({'alg': 'none', 'kid': 'provider-1'})}.{_part(claims)}."


def _part(what: Any) -> str:
    return _encoded(json.dumps(what).encode())


def _encoded(what: bytes) -> str:
    return base64.urlsafe_b64encode(what).decode().rstrip("=")
