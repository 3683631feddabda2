"""How a record service signs in: OAuth 2 client credentials, proved by a JWT signed with its own key (RS512)."""

import time
import uuid
from pathlib import Path

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey


class SignIn:
    """Gives a bearer token, and fetches a new one shortly before the old one runs out."""

    def __init__(self, base_url: str, client_id: str, private_key: Path | str, kid: str, scope: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._token_url = f"{self._base_url}/oauth2/token"
        self._client_id, self._kid, self._scope = client_id, kid, scope
        pem = private_key.read_text() if isinstance(private_key, Path) else private_key
        self._key = RSAKey.import_key(pem, {"kid": kid})
        self._token, self._ends_at = "", 0.0

    def __call__(self) -> str:
        if time.time() > self._ends_at - 30:
            self._fetch()
        return self._token

    def _fetch(self) -> None:
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._token_url,
            "jti": str(uuid.uuid4()),
            "exp": int(time.time()) + 240,
        }
        header = {"alg": "RS512", "typ": "JWT", "kid": self._kid}
        response = requests.post(
            self._token_url,
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": jwt.encode(header, claims, self._key, algorithms=["RS512"]),
                "scope": self._scope,
            },
            timeout=10,
        )
        response.raise_for_status()
        answer = response.json()
        self._token = answer["access_token"]
        self._ends_at = time.time() + float(answer["expires_in"])
