"""HL7 v2 messages to test with, and a client that speaks MLLP to a listener."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpi.feeds.hl7.mllp import Frames, Listener
from mpi.feeds.hl7.receive import Receiver
from mpi.service.hl7_feeds import Hl7Feed, Reading, add_feed
from tests.service.mpi_world import FEED, World


def a_feed(world: World, facility: str = "RRV", organisation: str = "RRV", **reading: Any) -> Hl7Feed:
    return add_feed(world.mpi, FEED, "PAS", facility, organisation, "pas", Reading(**reading))


def adt(
    control_id: str = "M1",
    local_id: str = "1",
    *,
    event: str = "A31",
    facility: str = "RRV",
    at: str = "20261123080000",
    family: str = "OKAFOR",
    given: str = "AMARA",
    born_on: str = "19900214",
    postcode: str = "SE5 8AZ",
    died_on: str = "",
    mode: str = "",
    sent_at: str = "20261123080001",
    processing_id: str = "P",
    version: str = "2.4",
    more: str = "",
) -> bytes:
    """Return a message about record 1; name what matters. An empty text says nothing of its field."""
    name = f"{family}^{given}^^^^^L" if family else ""
    address = f"12 DENMARK HILL^^LONDON^^{postcode}^^H" if postcode else ""
    lines = (
        rf"MSH|^~\&|PAS|{facility}|MPI|LCR|{sent_at}||ADT^{event}|{control_id}|{processing_id}|{version}{mode}",
        f"EVN|{event}|{at}",
        f"PID|1||{local_id}^^^{facility}^MR||{name}||{born_on}|F|||{address}" + "|" * 18 + died_on,
        *([more] if more else []),
    )
    return "".join(line + "\r" for line in lines).encode()


def code_of(answer: bytes) -> str:
    """Return MSA-1 of an answer."""
    return answer.decode().split("\r")[1].split("|")[1]


def told(receiver: Receiver, raw: bytes) -> tuple[str, str]:
    """Send a message past the socket; return its code, and what is said of it."""
    (answer,) = receiver.answer(raw)
    msa = answer.decode("latin-1").split("\r")[1].split("|")
    return msa[1], msa[3] if len(msa) > 3 else ""


class Sender:
    """One connection of a sender."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls is not None else plain
        self._frames = Frames()
        self._waiting: list[bytes] = []

    def put(self, raw: bytes) -> None:
        self.socket.sendall(b"\x0b" + raw + b"\x1c\r")

    def next(self) -> bytes:
        while not self._waiting:
            read = self.socket.recv(65_536)
            if not read:
                raise ConnectionError("closed")
            self._waiting += self._frames.take(read)
        return self._waiting.pop(0)

    def send(self, raw: bytes) -> str:
        self.put(raw)
        return code_of(self.next())

    def close(self) -> None:
        self.socket.close()


@contextmanager
def listening(answer: Callable[[bytes], list[bytes]], **how: Any) -> Iterator[Listener]:
    listener = Listener("127.0.0.1", 0, answer, **how)
    stop = threading.Event()
    thread = threading.Thread(target=listener.serve, args=(stop,))
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()
