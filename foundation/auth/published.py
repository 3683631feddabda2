"""Public keys that others publish at an address of theirs: read when they are needed, and again for a key that was not there."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from foundation.auth.clients import check_public_key
from foundation.errors import Invalid

_FETCH_SECONDS = 3
_FETCH_BYTES = 65_536
_FETCHED_FOR_SECONDS = 300
_FETCHED_AGAIN_AFTER_SECONDS = 10
_FAILED_FOR_SECONDS = 10

Fetch = Callable[[str], Mapping[str, Any]]
"""Reads a JSON object from an address; raises OSError or ValueError when it cannot."""


def fetch_json(url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """Read a JSON object over HTTP: 3 seconds, 64 KiB, no redirects."""
    with requests.get(
        url, headers=headers, timeout=_FETCH_SECONDS, allow_redirects=False, stream=True
    ) as answer:
        if answer.status_code != 200:
            raise ValueError("not what was asked for")
        body = answer.raw.read(_FETCH_BYTES + 1, decode_content=True)
    if len(body) > _FETCH_BYTES:
        raise ValueError("too large")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


Keys = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an address showed, None where it did not answer: until when that counts, and until when it is not asked for another."""

    keys: Keys | None
    until: float
    not_again_until: float

    def serves(self, kid: str, now: float) -> bool:
        is_told = self.keys is None or kid in self.keys
        return now < (self.until if is_told else self.not_again_until)


class PublishedKeys:
    """The RSA keys of JWK sets, by address; what was read counts for five minutes."""

    def __init__(self, fetch: Fetch = fetch_json) -> None:
        self._fetch = fetch
        self._shown: dict[str, _Shown] = {}
        self._lock = threading.Lock()

    def read(self, url: str, kid: str) -> Keys | None:
        """Return the keys at an address by kid, None where it cannot be reached.

        Where a key of this id was not there, the address is asked again, at most every ten seconds: so a next key counts at once.
        """
        with self._lock:
            held = self._shown.get(url)
        if held is not None and held.serves(kid, time.monotonic()):
            return held.keys
        keys: Keys | None = {}
        try:
            for jwk in self._fetch(url).get("keys", ()):
                try:
                    public = check_public_key(jwk)
                except (Invalid, AttributeError):
                    continue  # a set may hold keys for other uses
                keys[public["kid"]] = public  # type: ignore[index]
        except (OSError, ValueError, TypeError):
            keys = None
        now = time.monotonic()
        until = now + (_FETCHED_FOR_SECONDS if keys else _FAILED_FOR_SECONDS)
        if keys is None and held is not None and held.keys and now < held.until:
            # Asked for a key that is not there, which anybody can do, it did not answer: the keys that it showed before count still.
            keys, until = held.keys, held.until
        with self._lock:
            self._shown[url] = _Shown(keys, until, min(until, now + _FETCHED_AGAIN_AFTER_SECONDS))
        return keys
