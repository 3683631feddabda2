"""Signed checkpoints: what the tree was at an instant, as a note that anyone with the public key can check.

The note has the form of C2SP's signed notes and tlog checkpoints: origin, size, root; then three lines of our own (time, key id, numbers);
an empty line; and one signature line, Ed25519 over all before it. The key id is the RFC 7638 thumbprint of the public key, so
whoever noted the id needs no other proof of the key.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from foundation.auth.keys import SigningKey
from foundation.sealing.merkle import HASH_BYTES

_ED25519 = b"\x01"  # C2SP's type of signature, part of the short key id in the signature line
_SHORT_ID_BYTES = 4
_LINE = "\u2014 "  # a signature line begins with a dash, U+2014, and a space
_PAIR = struct.Struct(">qq")


class Numbers:
    """A running hash over row number and transaction of every leaf in order, which the leaf hash does not cover.

    It begins with the numbers of the checkpoint before, so that no leaf before that is read again.
    """

    START = bytes(HASH_BYTES)

    def __init__(self, before: bytes) -> None:
        self._hash = hashlib.sha256(before)

    def add(self, event_id: int, txid: int | None) -> None:
        self._hash.update(_PAIR.pack(event_id, -1 if txid is None else txid))

    def digest(self) -> bytes:
        return self._hash.digest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree at an instant. ``origin`` names the log, ``kid`` the key that signs."""

    origin: str
    tree_size: int
    root: bytes
    at: datetime
    kid: str
    numbers: bytes

    def text(self) -> str:
        """What is signed."""
        return (
            f"{self.origin}\n{self.tree_size}\n{_base64(self.root)}\n"
            f"at {self.at.astimezone(UTC).isoformat(timespec='microseconds')}\nkey {self.kid}\n"
            f"numbers {_base64(self.numbers)}\n"
        )


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return the note: the text, an empty line, and the signature line."""
    text = checkpoint.text()
    signature = _short_id(checkpoint.origin, key) + key.sign_bytes(text.encode())
    return f"{text}\n{_LINE}{checkpoint.origin} {_base64(signature)}\n"


def read_checkpoint(note: str) -> Checkpoint:
    """Read what a note says, unproven.

    Raises:
        ValueError: it is not a note as we write it, to the last byte.
    """
    text, _, _ = note.partition("\n\n")
    origin, size, root, at, key, numbers = text.split("\n")
    found = Checkpoint(
        origin,
        int(size),
        _bytes(root),
        datetime.fromisoformat(at.removeprefix("at ")),
        key.removeprefix("key "),
        _bytes(numbers.removeprefix("numbers ")),
    )
    if found.at.tzinfo is None or found.text() != text + "\n":
        raise ValueError("not written as a checkpoint is")
    return found


def is_signed(note: str, key: SigningKey) -> bool:
    """Whether this key signed the whole of the note before its one signature line."""
    text, _, line = note.partition("\n\n")
    origin = text.partition("\n")[0]
    start = f"{_LINE}{origin} "
    if not line.startswith(start) or not line.endswith("\n"):
        return False
    try:
        signature = _bytes(line[len(start) : -1])
    except ValueError:
        return False
    short_id, signed = signature[:_SHORT_ID_BYTES], signature[_SHORT_ID_BYTES:]
    return short_id == _short_id(origin, key) and key.has_signed(f"{text}\n".encode(), signed)


def origin_of(public_url: str) -> str:
    """Return the log's name: where it is served, without the scheme."""
    return public_url.partition("://")[2].rstrip("/") + "/audit"


def _short_id(origin: str, key: SigningKey) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + key.public_bytes()).digest()[:_SHORT_ID_BYTES]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if _base64(found) != text:  # spare bits of the last letter
        raise ValueError("not base64 as it is written")
    return found
