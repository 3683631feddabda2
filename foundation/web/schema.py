"""What every schema at the edge shares: unknown fields refused, text without control characters, ids as decimal strings."""

import unicodedata
from typing import Any

from marshmallow import EXCLUDE, RAISE, ValidationError, fields, validate
from marshmallow import Schema as BaseSchema

from foundation import ids
from foundation.errors import Invalid


class Schema(BaseSchema):
    """A schema for what comes in: an unknown field is refused, so that nothing is lost unseen."""

    class Meta:
        unknown = RAISE
        ordered = True


class QuerySchema(BaseSchema):
    """A schema for query parameters."""

    class Meta:
        unknown = RAISE


class Lenient(BaseSchema):
    """A schema for what we read from others, where more may come."""

    class Meta:
        unknown = EXCLUDE


class Text(fields.String):
    """Text as a person may have typed it: Unicode without control characters, up to ``longest`` characters.

    Empty text is refused unless ``may_be_empty``.
    """

    def __init__(self, *, longest: int = 100, may_be_empty: bool = False, **kwargs: Any) -> None:
        self._longest = longest
        self._least = 0 if may_be_empty else 1
        super().__init__(
            metadata={"maxLength": longest, "minLength": self._least} | kwargs.pop("metadata", {}), **kwargs
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if len(text) > self._longest:
            raise ValidationError("text-too-long")
        if len(text.strip()) < self._least:
            raise ValidationError("text-empty")
        if not text.isascii() or not text.isprintable():
            for character in text:
                category = unicodedata.category(character)
                if category == "Cc":
                    raise ValidationError("control-characters")
                if category == "Cs":
                    raise ValidationError("text-not-unicode")
        return text


class Code(fields.String):
    """A code from a closed list, or of one shape: letters, digits and a few marks."""

    def __init__(self, *, one_of: Any = None, longest: int = 64, **kwargs: Any) -> None:
        rule: Any = (
            validate.OneOf(sorted(one_of), error="code-unknown")
            if one_of is not None
            else validate.Regexp(rf"^[A-Za-z0-9][A-Za-z0-9._:-]{{0,{longest - 1}}}\Z", error="code-format")
        )
        super().__init__(validate=rule, **kwargs)


class IdText(fields.String):
    """An id: a 63-bit number as decimal text in JSON, an int inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"pattern": "^[1-9][0-9]{0,18}$"} | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return ids.parse_id(text, attr or "id")
        except Invalid as error:
            raise ValidationError(error.code) from error

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else ids.format_id(value)


class Instant(fields.AwareDateTime):
    """An instant with its zone, as ISO 8601."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)


class ProblemFault(BaseSchema):
    field = fields.String(allow_none=True)
    code = fields.String()
    row = fields.Integer()


class Problem(BaseSchema):
    """RFC 9457, with our code and the faults of single fields."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    code = fields.String()
    detail = fields.String()
    request_id = fields.String()
    errors = fields.List(fields.Nested(ProblemFault))
    ids = fields.Dict(keys=fields.String(), values=fields.String())
