"""Reading JSON bodies strictly: one meaning for one text, no depth that could exhaust us, and nothing that a database refuses."""

import json
import math
from functools import cache
from typing import Any, NoReturn

from flask import Response, g, request
from flask.json.provider import DefaultJSONProvider
from marshmallow import Schema
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from foundation.errors import Invalid, TooLarge

_DEEPEST = 32
_LONGEST_INTEGER = 309  # digits and sign, as many as the largest float has
_UNREAD = object()


def parse_json(raw: bytes) -> Any:
    """Read JSON text.

    Raises:
        Invalid: ``json-encoding`` (not UTF-8), ``json-syntax``, ``json-depth``, ``json-duplicate-key``, ``json-number`` (beyond what we
            or a database can hold) or ``json-null-character``; without a field, as the text could not be read.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("json-encoding") from error
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise Invalid("json-syntax") from error
    # Only an escape can bring these in, so a text without one needs no walk.
    if "\\u" in text and not _is_storable(value):
        raise Invalid("json-null-character")
    return value


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= _DEEPEST:
        return
    depth, in_string, is_escaped = 0, False, False
    for character in text:
        if in_string:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
            if depth > _DEEPEST:
                raise Invalid("json-depth")
        elif character in "}]":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("json-duplicate-key")
    return found


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not a number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Invalid("json-number")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise Invalid("json-number")
    return int(text)


def _is_storable(value: Any) -> bool:
    """Whether no text in it holds a null character or half a surrogate pair."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_is_storable(key) and _is_storable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_storable, value))
    return True


def read_json() -> Any:
    """Return the request's JSON body, read once.

    Raises:
        Invalid: as ``parse_json``, ``body-missing``, and ``body-truncated``.
        TooLarge: ``body-too-large``.
        UnsupportedMediaType: for a body that does not call itself JSON.
    """
    found = g.get("json_body", _UNREAD)
    if found is _UNREAD:
        raw = request.get_data(cache=True)
        if request.content_length is not None and len(raw) < request.content_length:
            raise Invalid("body-truncated")  # what arrived may read like a whole
        if not raw:
            raise Invalid("body-missing")
        if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
            raise TooLarge("body-too-large")  # sent in chunks, and cut off at the limit
        if not request.is_json:
            raise UnsupportedMediaType
        found = g.json_body = parse_json(raw)
    return found


@cache
def _schema_of(kind: type[Schema]) -> Schema:
    return kind()


class StrictParser(FlaskParser):
    """webargs with our reading of JSON. Field faults are raised as they are, for the one place that writes problems."""

    DEFAULT_UNKNOWN_BY_LOCATION = dict.fromkeys(
        ("json", "form", "query", "headers", "cookies", "view_args", "path", "files", "json_or_form"), None
    ) | {"headers": "exclude", "cookies": "exclude"}

    def _get_schema(self, argmap: Any, req: Any) -> Any:
        # A schema keeps nothing of what it read, so one serves every request: to make it costs more than to read with it.
        return _schema_of(argmap) if isinstance(argmap, type) else super()._get_schema(argmap, req)

    def _raw_load_json(self, req: Any) -> Any:
        if not req.get_data(cache=True) and not req.is_json:
            return missing
        return read_json()

    def handle_error(
        self, error: Any, req: Any, schema: Any, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        raise error


class StrictJson(DefaultJSONProvider):
    """Flask's own way to JSON: reads as strictly, writes compactly and in our order."""

    sort_keys = False
    ensure_ascii = False
    compact = True

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return parse_json(s.encode() if isinstance(s, str) else s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        text = _written(self._prepare_response_obj(args, kwargs))
        answer: Response = self._app.response_class(f"{text}\n", mimetype=self.mimetype)  # type: ignore[assignment]
        return answer


# Made once: an encoder of our own settings is otherwise made for every answer.
_written = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=DefaultJSONProvider.default
).encode
