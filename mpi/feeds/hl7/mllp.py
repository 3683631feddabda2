"""MLLP: framed messages over TCP, each connection with a thread of its own, answered one by one in the order in which they came."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from foundation.logs import get_logger
from foundation.metrics import HL7_CONNECTIONS
from mpi.feeds.hl7.message import LARGEST_MESSAGE_BYTES

START, END = b"\x0b", b"\x1c\r"
_READ_BYTES = 65_536
_LOOK_UP_SECONDS = 0.5
_SEND_SECONDS = 30.0

log = get_logger(__name__)


class FrameTooLong(Exception):
    """More came than a message may be, and no end of it."""


class Frames:
    """Cuts what arrives into messages: several may come in one read, and one in many. What stands outside of frames is dropped."""

    def __init__(self, most_bytes: int = LARGEST_MESSAGE_BYTES) -> None:
        self._most, self._rest, self._seen = most_bytes, bytearray(), 0

    @property
    def is_empty(self) -> bool:
        return not self._rest

    def take(self, read: bytes) -> Iterator[bytes]:
        """Yield the messages that are whole by now.

        Raises:
            FrameTooLong: the connection cannot be made sense of any more.
        """
        self._rest += read
        while True:
            start = self._rest.find(START)
            if start < 0:
                self._rest.clear()
                self._seen = 0
                return
            if start:
                del self._rest[:start]
                self._seen = 0
            end = self._rest.find(END, max(1, self._seen - 1))
            if end < 0:
                self._seen = len(self._rest)
                if len(self._rest) > self._most:
                    raise FrameTooLong
                return
            # A frame that was never ended is given up when the next one begins: its sender was cut off, and sends it again.
            begun = self._rest.rfind(START, 0, end)
            message = bytes(self._rest[begun + 1 : end])
            del self._rest[: end + len(END)]
            self._seen = 0
            if len(message) > self._most:
                raise FrameTooLong
            yield message


def tls_context(certificate: Path, key: Path, client_authorities: Path | None = None) -> ssl.SSLContext:
    """Return what a listener needs for TLS 1.2 or later; with authorities, only clients with a certificate of theirs are let in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_authorities is not None:
        context.load_verify_locations(client_authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Listener:
    """Listens until it is told to stop; then each connection finishes the message in hand.

    Args:
        answer: takes a message and returns its answers; it is called by up to ``at_once`` threads.
        most_connections: what comes beyond is closed at once.
        idle_seconds: a connection on which nothing comes for so long is closed.
        may_read: whether there is room for more. While there is none, nothing is read, and senders wait.
    """

    def __init__(
        self,
        host: str,
        port: int,
        answer: Callable[[bytes], list[bytes]],
        *,
        tls: ssl.SSLContext | None = None,
        most_connections: int = 64,
        at_once: int = 8,
        idle_seconds: float = 3_600.0,
        may_read: Callable[[], bool] = lambda: True,
    ) -> None:
        self._answer, self._tls, self._most, self._idle = answer, tls, most_connections, idle_seconds
        self._may_read = may_read
        self._hands = threading.BoundedSemaphore(at_once)
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._socket = socket.create_server((host, port), backlog=128)
        self._socket.settimeout(_LOOK_UP_SECONDS)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def serve(self, stop: threading.Event) -> None:
        """Take connections until told to stop, then wait for those that are open."""
        try:
            while not stop.is_set():
                try:
                    connection, _ = self._socket.accept()
                except TimeoutError:
                    continue
                except OSError as fault:
                    # Out of file handles, for one: those that are open go on.
                    log.error("accepting failed", kind=type(fault).__name__)
                    stop.wait(_LOOK_UP_SECONDS)
                    continue
                self._begin(connection, stop)
        finally:
            self._socket.close()
            stop.set()
            with self._lock:
                open_ones = list(self._threads)
            for one in open_ones:
                one.join()

    def _begin(self, connection: socket.socket, stop: threading.Event) -> None:
        with self._lock:
            if len(self._threads) >= self._most:
                log.warning("connection refused", code="too-many-connections")
                connection.close()
                return
            thread = threading.Thread(target=self._attend, args=(connection, stop), name="mllp", daemon=True)
            self._threads.add(thread)
            HL7_CONNECTIONS.set(len(self._threads))
        thread.start()

    def _attend(self, connection: socket.socket, stop: threading.Event) -> None:
        try:
            connection.settimeout(_SEND_SECONDS)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._talk(connection, stop)
        except FrameTooLong:
            log.warning("connection closed", code="hl7-too-long")
        except (OSError, ssl.SSLError) as fault:
            log.info("connection lost", kind=type(fault).__name__)
        finally:
            connection.close()
            with self._lock:
                self._threads.discard(threading.current_thread())
                HL7_CONNECTIONS.set(len(self._threads))

    def _talk(self, connection: socket.socket, stop: threading.Event) -> None:
        frames, heard_at = Frames(), time.monotonic()
        while not stop.is_set():
            if not self._may_read():
                stop.wait(_LOOK_UP_SECONDS)
                heard_at = time.monotonic()  # it is we who keep it waiting
                continue
            connection.settimeout(_LOOK_UP_SECONDS)
            try:
                read = connection.recv(_READ_BYTES)
            except TimeoutError:
                if time.monotonic() - heard_at > self._idle:
                    return
                continue
            if not read:
                return
            heard_at = time.monotonic()
            connection.settimeout(_SEND_SECONDS)
            for message in frames.take(read):
                with self._hands:
                    told = self._answer(message)
                for text in told:
                    connection.sendall(START + text + END)
                if stop.is_set():
                    return  # whoever sent more without an answer sends it again
