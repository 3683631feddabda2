"""One request to a receiver: signed as Standard Webhooks are, to a checked address, with an end to every wait."""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from foundation.webhooks.address import AddressNotAllowed, Reach

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
WHOLE_SECONDS = 20.0
"""Longer than this no request takes, however slowly its receiver drips."""

_READ_BYTES = 2_048
_PREFIX = "whsec_"
_AGENT = "mpi-webhooks"

MESSAGE_REFUSED = frozenset({400, 409, 413, 415, 422})
"""What a receiver says of a message that it can do nothing with, rather than of itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: a code of ours, the receiver's status if it gave one, and when it asked to be left alone until."""

    code: str
    status: int | None = None
    retry_after_seconds: int = 0

    @property
    def is_delivered(self) -> bool:
        return self.code == "delivered"

    @property
    def is_gone(self) -> bool:
        return self.code == "gone"

    @property
    def is_of_message(self) -> bool:
        """Whether the message is at fault rather than its receiver."""
        return self.code == "message-refused"


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> str:
    """Return the signature of one secret, ``v1,`` and base64. Source: Standard Webhooks 1.0.0, "Symmetric signatures"."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers_of(message_id: str, at: datetime, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """Return the headers of a message; with two secrets while one takes the other's place, and a signature of each."""
    return {
        "Content-Type": "application/json",
        "User-Agent": _AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(sign(key, message_id, at, body) for key in keys),
    }


class Sender:
    """A way to one receiver: connections are kept between its requests, and closed at the end."""

    def __init__(self, reach: Reach, ca: str | None = None, *, whole_seconds: float = WHOLE_SECONDS) -> None:
        self._whole_seconds = whole_seconds
        self._open: list[socket.socket] = []
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a password file of ours has a say
        adapter = _Adapter(reach, self._open, ca)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        for twin in self._open:
            twin.close()

    def post(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        """Send a message; what goes wrong is an outcome. Nothing is followed, and of the answer only the beginning is read."""
        with self._cut_in_time() as is_cut:
            try:
                answer = self._session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    stream=True,
                )
                with answer:
                    outcome = _outcome_of(answer)
                    answer.raw.read(_READ_BYTES)
                # Headers that were cut off read like all of them.
                return Outcome("timed-out") if is_cut.is_set() else outcome
            except AddressNotAllowed:
                return Outcome("address-not-allowed")
            except Exception as fault:
                # Whatever a receiver does, only its own messages wait. The text of an error may quote it.
                return Outcome("timed-out" if is_cut.is_set() else _code_of(fault))

    @contextmanager
    def _cut_in_time(self) -> Iterator[threading.Event]:
        is_cut = threading.Event()

        def cut() -> None:
            is_cut.set()
            for twin in self._open:
                with suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._whole_seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield is_cut
        finally:
            timer.cancel()


def _outcome_of(answer: requests.Response) -> Outcome:
    status = answer.status_code
    wait = answer.headers.get("Retry-After", "")
    retry_after = int(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 7 else 0
    if 200 <= status < 300:
        return Outcome("delivered", status)
    if status == 410:
        return Outcome("gone", status)
    if status in MESSAGE_REFUSED:
        return Outcome("message-refused", status)
    if 300 <= status < 400:
        return Outcome("redirected", status)
    return Outcome("receiver-failed" if status >= 500 else "receiver-refused", status, retry_after)


def _code_of(fault: BaseException) -> str:
    causes = list(_causes(fault))
    if any(isinstance(one, AddressNotAllowed) for one in causes):
        return "address-not-allowed"
    if any(isinstance(one, requests.exceptions.SSLError | ssl.SSLError) for one in causes):
        return "tls-failed"
    if any(isinstance(one, requests.Timeout | TimeoutError) for one in causes):
        return "timed-out"
    return "unreachable"


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


class _Adapter(HTTPAdapter):
    """Requests' adapter over connections that go where they may and nowhere else."""

    def __init__(self, reach: Reach, opened: list[socket.socket], ca: str | None) -> None:
        self._reach, self._opened, self._ca = reach, opened, ca
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._ca is not None:
            context = ssl.create_default_context()
            context.load_verify_locations(self._ca)
            kwargs["ssl_context"] = context
        super().init_poolmanager(*args, **kwargs)
        reach, opened = self._reach, self._opened

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(reach, opened, self)

        class Secured(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(reach, opened, self)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecuredPool(HTTPSConnectionPool):
            ConnectionCls = Secured

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecuredPool}


def _connect(reach: Reach, opened: list[socket.socket], to: HTTPConnection) -> socket.socket:
    """Open a connection to a checked address, and note it, so that it can be cut."""
    fault: OSError | None = None
    try:
        addresses = reach.addresses_of(to.host.strip("[]"), int(to.port or 0))
    except AddressNotAllowed as refused:
        raise NewConnectionError(to, "address not allowed") from refused
    except OSError as unresolved:
        raise NewConnectionError(to, "name not resolved") from unresolved
    for _, where in addresses:
        try:
            made = socket.create_connection(where, CONNECT_SECONDS)
        except OSError as error:
            fault = error
            continue
        made.settimeout(CONNECT_SECONDS)
        # TLS takes the socket over; its twin still ends the same connection.
        opened.append(made.dup())
        return made
    if isinstance(fault, TimeoutError):
        raise ConnectTimeoutError(to, "timed out") from fault
    raise NewConnectionError(to, "not reached") from fault
