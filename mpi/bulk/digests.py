"""Digests of many texts."""

from collections.abc import Iterable
from hashlib import blake2b


def digests_of(texts: Iterable[bytes], size: int, start: bytes = b"") -> list[bytes]:
    """Return the BLAKE2b digests, of so many bytes, of texts that begin alike."""
    # To copy what has begun takes half of what it takes to begin again.
    begun = blake2b(start, digest_size=size).copy
    found = []
    for text in texts:
        one = begun()
        one.update(text)
        found.append(one.digest())
    return found
