"""The base of every schema at the edge: unknown fields are refused, ids are text, text has a length and no control characters."""

import re
import unicodedata
from collections.abc import Collection, Set
from datetime import UTC, datetime
from typing import Any

import marshmallow
from marshmallow import RAISE, ValidationError, fields

from foundation.directory import parse_ods_code
from foundation.errors import Invalid
from foundation.ids import format_id, parse_id

_CODE = re.compile(r"[\x21-\x7e]+")


class Schema(marshmallow.Schema):
    """A schema that refuses what it does not know, and keeps fields in the order in which they are written."""

    class Meta:
        unknown = RAISE


class QuerySchema(Schema):
    """The arguments of a query; unknown ones are refused too, as a filter that is not applied would mislead."""


class Text(fields.String):
    """Text of 1 to ``longest`` characters without control characters, as received: nothing is trimmed."""

    def __init__(self, longest: int, *, shortest: int = 1, **kwargs: Any) -> None:
        metadata = {"maxLength": longest, "minLength": shortest} | kwargs.pop("metadata", {})
        super().__init__(metadata=metadata, **kwargs)
        self._least, self._most = shortest, longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is None:
            raise self.make_error("invalid")
        if len(text) < self._least:
            raise ValidationError("too-short" if text else "empty")
        if len(text) > self._most:
            raise ValidationError("too-long")
        if not text.isprintable() and any(_is_control(character) for character in text):
            raise ValidationError("control-character")
        return text


def _is_control(character: str) -> bool:
    # Cc: controls. Cs: half a pair. Zl, Zp: line breaks that few expect. Cf: signs that turn the direction of text.
    category = unicodedata.category(character)
    return (
        category in {"Cc", "Cs", "Zl", "Zp"}
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
    )


class IdText(fields.Field[int]):
    """An id: an int inside, decimal text in JSON, where a 63-bit number would lose its last digits."""

    def __init__(self, **kwargs: Any) -> None:
        shape = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$", "example": "7421938201934823424"}
        super().__init__(metadata=shape | kwargs.pop("metadata", {}), **kwargs)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else format_id(int(value))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            return parse_id(value)
        except Invalid as error:
            raise ValidationError(error.code) from error


class OdsCode(fields.String):
    """An organisation's ODS code: 3 to 10 characters of 0-9 and A-Z."""

    def __init__(self, **kwargs: Any) -> None:
        shape = {"pattern": "^[0-9A-Z]{3,10}$", "example": "RRV"}
        super().__init__(metadata=shape | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return parse_ods_code(super()._deserialize(value, attr, data, **kwargs) or "")
        except Invalid as error:
            raise ValidationError(error.code) from error


class Instant(fields.AwareDateTime):
    """An instant, ISO 8601, in UTC from here on; one without a zone is refused."""

    def __init__(self, **kwargs: Any) -> None:
        messages: dict[str, Any] = {"invalid": "instant-format", "invalid_awareness": "instant-without-zone"}
        super().__init__(format="iso", error_messages=messages, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        at = super()._deserialize(value, attr, data, **kwargs)
        try:
            return at.astimezone(UTC)
        except OverflowError:  # the first or last hours of the calendar, in another zone
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None


class Code(Text):
    """A code: printable text without spaces, one of a closed list where ``one_of`` gives it."""

    def __init__(self, one_of: Collection[str] = (), *, longest: int = 64, **kwargs: Any) -> None:
        # In the order in which they were given; a set has none that lasts.
        told = sorted(one_of) if isinstance(one_of, Set) else list(one_of)
        metadata = ({"enum": told} if told else {}) | kwargs.pop("metadata", {})
        super().__init__(longest, metadata=metadata, **kwargs)
        self._one_of = frozenset(one_of)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if self._one_of and text not in self._one_of:
            raise ValidationError("not-one-of")
        if not _CODE.fullmatch(text):
            raise ValidationError("code-format")
        return text


Closed = Code
