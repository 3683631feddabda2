"""The HTTP server in front of the application: gunicorn's threads, whose refusals are problem+json and whose patience ends."""

import json
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker
from werkzeug.exceptions import BadRequest

from foundation.collector import settle_down
from foundation.logs import get_logger
from foundation.settings import Settings
from foundation.web.problems import CONTENT_TYPE, problem_body

READ_SECONDS = 20.0
_SEND_SECONDS = 5.0
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.ExpectationFailed, 417),
    (errors.UnsupportedTransferCoding, 501),
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.ParseException, 400),
)
_REASONS = {
    400: "Bad Request",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}

log = get_logger(__name__)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with our words for what is not HTTP, and an end to reading from one who dawdles.

    Each thread reads one request at a time. Without an end, as many slow senders as there are threads would keep everyone else out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[TConn, float] = {}

    def handle(self, conn: TConn) -> Any:
        self._reading[conn] = time.monotonic() + READ_SECONDS
        try:
            return super().handle(conn)
        finally:
            self._reading.pop(conn, None)

    def murder_pending(self) -> None:
        """Called every second: close the reading side of connections whose request should have arrived by now.

        Whoever reads then finds the end: of a half head, which is dropped, or of a half body, which is refused. An answer that is long
        in the making is not cut off, as its request was read.
        """
        super().murder_pending()
        now = time.monotonic()
        for conn, until in list(self._reading.items()):
            if now >= until and self._reading.pop(conn, None) is not None:
                try:
                    conn.sock.shutdown(socket.SHUT_RD)
                except OSError:
                    continue  # it has gone meanwhile

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is not HTTP as any other fault is answered. Nothing of what was sent is repeated, here or in the log."""
        status = next((status for kind, status in _STATUSES if isinstance(exc, kind)), 500)
        request_id = str(uuid.uuid4())
        if status == 500:
            log.error("unexpected error", exc_info=exc)
        told = problem_body(status, request_id=request_id)
        log.info("request refused", status=status, code=told["code"], request_id=request_id)
        body = json.dumps(told).encode()
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nX-Content-Type-Options: nosniff\r\n"
            "Cache-Control: no-store\r\n\r\n"
        )
        try:
            client.settimeout(_SEND_SECONDS)
            client.sendall(head.encode() + body)
        except OSError:
            log.debug("a refusal could not be sent")


class _Quiet(Logger):
    """Sends what the server says to the one log, and keeps no access log: the shell's has route templates only."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True
        self.error_log.handlers = []

    def access(self, *_: Any, **__: Any) -> None:
        return None


class Server(BaseApplication):
    """gunicorn with our settings; ``load`` makes the application in each of its processes, as connections must not cross a fork."""

    def __init__(self, settings: Settings, load: Callable[[], Flask]) -> None:
        self._settings = settings
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        for name, value in {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": Worker,
            "workers": settings.web_processes,
            "threads": settings.web_threads,
            "timeout": 60,
            "graceful_timeout": 20,
            "limit_request_line": 4094,
            "limit_request_fields": 50,
            "control_socket_disable": True,
            "logger_class": _Quiet,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        app = self._load()
        # A body in chunks that are no chunks is found out while the application reads it.
        app.register_error_handler(errors.ParseException, lambda _: app.handle_http_exception(BadRequest()))
        settle_down()
        return app
