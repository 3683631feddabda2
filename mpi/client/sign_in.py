"""Access tokens by client credentials with a signed assertion (private_key_jwt), renewed before they run out."""

import threading
import time
from collections.abc import Callable

import requests

from mpi.client.errors import NotUnderstood, Unauthenticated, Unavailable, Unreachable

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLY_SECONDS = 60


class AccessToken:
    """Call it for a token that stands.

    Args:
        sign: from the address of the token endpoint to an assertion made out to it, signed with our key: what signs is ours to choose.
    """

    def __init__(
        self,
        base_url: str,
        sign: Callable[[str], str],
        *,
        timeout_seconds: float = 10.0,
        session: requests.Session | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/oauth2/token"
        self._sign = sign
        self._timeout_seconds = timeout_seconds
        self._session = session or requests.Session()
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def __call__(self) -> str:
        """Return a token, a new one a minute before the old one runs out.

        Raises:
            Unauthenticated: our key or our name is not believed. Unavailable, Unreachable, NotUnderstood: nothing came.
        """
        with self._lock:
            if not self._token or time.monotonic() >= self._renew_at:
                asked_at = time.monotonic()
                self._token, seconds = self._asked()
                self._renew_at = asked_at + max(1.0, seconds - _EARLY_SECONDS)
            return self._token

    def _asked(self) -> tuple[str, int]:
        try:
            response = self._session.post(
                self._url,
                data={
                    "grant_type": "client_credentials",
                    "client_assertion_type": ASSERTION_TYPE,
                    "client_assertion": self._sign(self._url),
                },
                timeout=self._timeout_seconds,
                allow_redirects=False,
            )
        except requests.RequestException as fault:
            raise Unreachable("the service cannot be reached") from fault
        try:
            document = response.json()
            if response.status_code == 200:
                return str(document["access_token"]), int(document["expires_in"])
            code = str(document.get("error") or document.get("code") or "unknown")
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise NotUnderstood("the answer is no token") from fault
        if response.status_code in (429, 503):
            raise Unavailable(response.status_code, code)
        raise Unauthenticated(response.status_code, code)
