"""A sender of HL7 v2 messages, for trials: one after the other, each when the one before was answered."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from foundation.errors import Unavailable
from mpi.feeds.hl7.message import Header, read_header
from mpi.feeds.hl7.mllp import END, START, Frames


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message was answered: ``code`` is MSA-1, ``words`` say what is at fault and where, ``number`` is of HL7 table 0357."""

    code: str
    control_id: str = ""
    words: str = ""
    number: str = ""

    @property
    def is_kept(self) -> bool:
        return self.code in ("AA", "CA")

    @property
    def may_be_sent_again(self) -> bool:
        """Whether the same message may be taken another time: it met another state, or the database was out of reach."""
        return self.number in ("206", "207")

    def __str__(self) -> str:
        return " ".join(part for part in (self.code, self.control_id, self.words) if part)


def read_messages(path: Path) -> list[bytes]:
    """Return the messages of a text file: each begins with a line of MSH; empty lines are left out."""
    messages: list[list[bytes]] = []
    for line in path.read_bytes().splitlines():
        if line.startswith(b"MSH"):
            messages.append([])
        if line.strip() and messages:
            messages[-1].append(line.strip())
    return [b"".join(line + b"\r" for line in lines) for lines in messages]


class Sending:
    """One connection to a listener.

    Args:
        authorities: certificates by which the listener's is known; with them the connection is by TLS.

    Raises:
        Unavailable: ``listener-unreachable``, when it is opened; ``listener-silent``, from ``send``.
    """

    def __init__(self, host: str, port: int, authorities: Path | None = None, seconds: float = 60.0) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout=seconds)
            if authorities is not None:
                context = ssl.create_default_context(cafile=str(authorities))
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except OSError as fault:
            raise Unavailable("listener-unreachable", detail=fault.strerror) from fault
        self._frames, self._waiting = Frames(), list[bytes]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes) -> list[Answer]:
        """Send a message; return what it was answered."""
        try:
            self._socket.sendall(START + message + END)
            return [_told(self._answer()) for _ in range(_answers_to(read_header(message)))]
        except OSError as fault:
            raise Unavailable("listener-silent", detail=fault.strerror) from fault

    def _answer(self) -> bytes:
        while not self._waiting:
            read = self._socket.recv(65_536)
            if not read:
                raise ConnectionError
            self._waiting.extend(self._frames.take(read))
        return self._waiting.pop(0)


def _answers_to(header: Header) -> int:
    """Return how many answers are sure to come: in enhanced mode only those that are asked for in any case."""
    if not header.is_enhanced:
        return 1
    return 1 if "AL" in (header.accept_when, header.answer_when) else 0


def _told(answer: bytes) -> Answer:
    separators = read_header(answer).separators
    segments = {line[:3]: line.split(separators.field) for line in answer.decode("latin-1").split("\r")}
    if "MSA" not in segments:
        return Answer("unreadable")
    code, control_id, words = (*segments["MSA"][1:4], "", "", "")[:3]
    fault = [*segments.get("ERR", ()), "", "", "", ""]
    # From v2.5 on the number has a field of its own; before, it is the last part of the first.
    coded = fault[3] or fault[1].split(separators.component)[-1]
    number = coded.split(separators.component)[0].split(separators.subcomponent or "&")[0]
    return Answer(code, control_id, words, number)
