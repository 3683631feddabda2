"""Logs for operators: JSON lines on standard error with ids, codes, counts and times, and nothing that is not on the list."""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)
"""The id of the request that is being served; None in workers and commands."""

ALLOWED_KEYS = frozenset(
    {
        "event", "level", "logger", "timestamp", "request_id", "correlation_id", "route", "method", "status", "code",
        "error", "frames", "organisation", "system", "kind", "outcome", "topic", "state", "part", "role", "scope", "field",
        "row", "rows", "count", "total", "seconds", "attempt", "port", "host", "pid", "size", "root", "version", "revision", "signal",
        "sequence",
    }
)  # fmt: skip
_ALLOWED_ENDINGS = (
    "_id", "_ids", "_count", "_ms", "_seconds", "_bits", "_millibits", "_revision", "_version", "_epoch", "_state", "_code",
)  # fmt: skip
_NEVER = frozenset({"local_id", "nhs_id", "patient_id"})  # numbers that an organisation gave to a patient
_PLAIN = re.compile(r"[\w.:/<>{}@+=,*-]{1,160}")
_OPEN_LOGGERS = ("gunicorn", "alembic")  # they speak of sockets, processes and revisions only


def configure_logs(level: str = "INFO") -> None:
    """Send structlog and the standard library's logging to standard error as JSON lines."""
    logging.raiseExceptions = (
        False  # a line that could not be written must not be printed whole, with its values
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            use_get_message=False,
            pass_foreign_args=True,
            foreign_pre_chain=[_keep_the_template, structlog.stdlib.ExtraAdder(), *_shared()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                drop_unlisted,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("werkzeug", "urllib3", "sqlalchemy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """Return a logger: ``log.info("record linked", record_id=…)``; the event is a fixed sentence, never a formatted one."""
    return structlog.stdlib.get_logger(name)


def _shared() -> list[Any]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_request_id,
        _describe_exception,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    request_id = current_request_id.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _keep_the_template(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Show a library's message without the values that it was filled with: a database's may hold a row."""
    values = event.pop("positional_args", None)
    record: logging.LogRecord | None = event.get("_record")
    if values and record is not None and record.name.startswith(_OPEN_LOGGERS):
        event["event"] = str(record.msg) % values
    return event


def _describe_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type and the places it passed: its message and its locals may hold a record."""
    trouble = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if trouble is True:
        trouble = sys.exc_info()
    if isinstance(trouble, tuple):
        trouble = trouble[1]
    if isinstance(trouble, BaseException):
        event["error"] = type(trouble).__name__
        event["frames"] = [
            f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}:{frame.name}"
            for frame in traceback.extract_tb(trouble.__traceback__)[-8:]
        ]
        cause = trouble.__cause__
        if cause is not None:
            event["cause_code"] = (
                getattr(getattr(cause, "orig", None), "sqlstate", None) or type(cause).__name__
            )
    return event


def drop_unlisted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the listed keys and, of them, values that are numbers or read like an id or a code."""
    kept: dict[str, Any] = {}
    for key, value in event.items():
        if key == "event":
            kept[key] = str(value)[:500]
        elif (
            (key in ALLOWED_KEYS or key.endswith(_ALLOWED_ENDINGS)) and key not in _NEVER and _is_plain(value)
        ):
            kept[key] = value
    return kept


def _is_plain(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float):
        return True
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_plain(item) for item in value)
    return False


# Until configure_logs() is called, as in tests and in programs that import us, structlog speaks through the standard library alone.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_shared(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)
