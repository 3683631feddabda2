"""The client of the Personal Demographics Service: application-restricted FHIR R4, signed in by a JWT of our own key.

Nothing of anybody stands in what is logged or raised here: a URL holds a number or a search, so none leaves this file, and the text of
an error of the HTTP library, which quotes it, is never passed on.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from foundation.errors import Invalid
from foundation.logs import get_logger
from mpi.tracing.fhir import answer_to_retrieval, answer_to_search
from mpi.tracing.port import UNREADABLE, Answer, NotFound, Refused, Sought, Unavailable

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
ATTEMPTS = 4
"""How often one request is sent before there is no answer."""

LONGEST_REST_SECONDS = 60.0
_FIRST_REST_SECONDS = 0.5
_MOST_BYTES = 1_048_576
_ASSERTION_SECONDS = 240  # the service takes five minutes at most
_TOKEN_SPARE_SECONDS = 30
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_NAME = 35

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PdsSettings:
    """Where the service is and who we are to it.

    Args:
        url: the FHIR base, such as ``https://…/personal-demographics/FHIR/R4``.
        token_url: the exact address of the token endpoint: it is the audience of what we sign.
        client_id: the API key.
        key: our private key, in PEM; its public part is registered under ``key_id``.
        organisation: the ODS code that each request is for; clients that serve several organisations must say it.
        per_second: how many requests are sent in a second at most. The service takes five by default.
    """

    url: str
    token_url: str
    client_id: str
    key: str = field(repr=False)
    key_id: str
    organisation: str | None = None
    per_second: float = 3.0


class _NoToken(Exception):
    """Sign-in gave no token; ``answer`` is what comes of the request instead."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__("no token")


class Pds:
    """A way to the service, for one thread. Requests are spaced; failing ones are tried again, longer apart each time.

    Args:
        now: seconds of the civil clock, for what is signed.
        ticks: seconds of a clock that is never set, for the spacing.
        sleep: waits.

    Raises:
        Invalid: ``pds-key-unreadable``.
    """

    name = "pds"

    def __init__(
        self,
        of: PdsSettings,
        *,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._of = of
        try:
            self._key = RSAKey.import_key(of.key, {"kid": of.key_id})
        except (JoseError, ValueError, TypeError):
            raise Invalid("pds-key-unreadable", field="MPI_PDS_KEY") from None
        self._now, self._ticks, self._sleep = now, ticks, sleep
        self._token, self._token_ends_at = "", 0.0
        self._next_at = 0.0
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a password file has a say

    def close(self) -> None:
        self._session.close()

    def retrieve(self, number: str, request_id: str) -> Answer:
        status, body = self._get(f"/Patient/{quote(number, safe='')}", {}, request_id)
        return body if isinstance(body, _Fault) else answer_to_retrieval(status, body, number)

    def search(self, sought: Sought, request_id: str) -> Answer:
        """Search as the service advises, plainest question first, and stop at the first that is not "nobody".

        With the beginnings of given name and postcode and with history; without the postcode, since a search with one never returns
        people whose location is protected, and people move. Neither gender nor a fuzzy question: both are advised against.
        """
        answer: Answer = NotFound()
        for place, parameters in enumerate(_questions(sought)):
            step_id = str(uuid.uuid5(uuid.UUID(request_id), str(place)))
            status, body = self._get("/Patient", parameters, step_id)
            answer = body if isinstance(body, _Fault) else answer_to_search(status, body)
            if not isinstance(answer, NotFound):
                return answer
        return answer

    # -- one request --------------------------------------------------------------------------------------------------

    def _get(self, path: str, parameters: Mapping[str, str], request_id: str) -> tuple[int, Any]:
        """Send a request until it is answered; return status and body, or 0 and what went wrong."""
        fault: Answer = UNREADABLE
        is_renewed = False
        attempt = 0
        while attempt < ATTEMPTS:
            attempt += 1
            asked_for = 0.0
            try:
                response = self._send(path, parameters, request_id)
            except _NoToken as refused:
                if isinstance(refused.answer, Refused):
                    return 0, refused.answer
                fault = refused.answer
            except requests.RequestException as error:
                # Its text quotes the URL: the type alone goes on.
                fault = Unavailable("timed-out" if isinstance(error, requests.Timeout) else "unreachable")
            else:
                status = response.status_code
                if status == 401 and not is_renewed:
                    # The token may have been taken back before its time: one new one, then it is a refusal.
                    is_renewed, self._token = True, ""
                    attempt -= 1
                    continue
                if status not in _TRIED_AGAIN:
                    body = _body(response)
                    return (0, UNREADABLE) if body is _NO_BODY else (status, body)
                fault = Unavailable("rate-limited" if status == 429 else "service-failed")
                asked_for = _retry_after(response)
            log.warning("tracing request failed", code=_code(fault), attempt=attempt)
            if attempt < ATTEMPTS:
                self._rest(attempt, asked_for)
        return 0, fault

    def _send(self, path: str, parameters: Mapping[str, str], request_id: str) -> requests.Response:
        headers = {
            "Authorization": f"Bearer {self._bearer()}",
            "X-Request-ID": request_id,
            "Accept": "application/fhir+json",
            "User-Agent": "mpi-tracing",
        }
        if self._of.organisation:
            headers["NHSD-End-User-Organisation-ODS"] = self._of.organisation
        self._wait_for_turn()
        return self._session.get(
            f"{self._of.url.rstrip('/')}{path}",
            params=dict(parameters),
            headers=headers,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
        )

    def _wait_for_turn(self) -> None:
        """Keep to the rate: requests are sent no closer than it says, those that are tried again among them."""
        now = self._ticks()
        if now < self._next_at:
            self._sleep(self._next_at - now)
            now = self._next_at
        self._next_at = now + 1 / self._of.per_second

    def _rest(self, attempt: int, asked_for: float) -> None:
        """Wait before the next attempt: twice as long each time, at random, and as long as the service asks for."""
        rest = _FIRST_REST_SECONDS * 2**attempt * (0.5 + random.random() / 2)  # noqa: S311
        self._sleep(min(LONGEST_REST_SECONDS, max(rest, asked_for)))

    # -- signing in ---------------------------------------------------------------------------------------------------

    def _bearer(self) -> str:
        if not self._token or self._now() > self._token_ends_at - _TOKEN_SPARE_SECONDS:
            self._sign_in()
        return self._token

    def _sign_in(self) -> None:
        claims = {
            "iss": self._of.client_id,
            "sub": self._of.client_id,
            "aud": self._of.token_url,
            "jti": str(uuid.uuid4()),
            "exp": int(self._now()) + _ASSERTION_SECONDS,
        }
        header = {"alg": "RS512", "typ": "JWT", "kid": self._of.key_id}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": jwt.encode(header, claims, self._key, algorithms=["RS512"]),
        }
        response = self._session.post(
            self._of.token_url, data=form, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False
        )
        if response.status_code in _TRIED_AGAIN:
            raise _NoToken(Unavailable("sign-in-failed"))
        told = _body(response)
        if response.status_code != 200 or not isinstance(told, Mapping):
            raise _NoToken(Refused("sign-in-refused", response.status_code))
        token, life = told.get("access_token"), told.get("expires_in")
        if not isinstance(token, str) or not token or not str(life).isdecimal():
            raise _NoToken(Refused("sign-in-refused", response.status_code))
        self._token, self._token_ends_at = token, self._now() + int(str(life))


_TRIED_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_NO_BODY = object()
_Fault = Unavailable | Refused


def _questions(sought: Sought) -> Iterator[dict[str, str]]:
    """Yield the parameters of each search in turn; an application may ask for one result only."""
    family, given = (" ".join(name.replace("*", " ").split()) for name in (sought.family, sought.given))
    begun = {
        "family": family[:_LONGEST_NAME],
        "birthdate": f"eq{sought.birth_date}",
        "_max-results": "1",
        "_history": "true",
        # A wildcard may not stand among the first two characters: too short a name is asked for whole.
        "given": given if len(given) < 3 else f"{given[:3].rstrip()}*",
    }
    district = "".join((sought.postcode or "").split())[:2]
    if len(district) == 2:
        yield {**begun, "address-postalcode": f"{district}*"}
    yield begun


def _body(response: requests.Response) -> Any:
    if len(response.content) > _MOST_BYTES:
        return _NO_BODY
    try:
        return response.json()
    except (ValueError, RecursionError):
        return _NO_BODY


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0.0


def _code(fault: Answer) -> str:
    return fault.code if isinstance(fault, _Fault) else "unknown"
