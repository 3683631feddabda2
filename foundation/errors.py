"""The families of errors that services raise; the web shell and the command line turn them into answers."""

from collections.abc import Mapping


class ServiceError(Exception):
    """A refusal with a stable kebab-case code.

    Args:
        code: what went wrong, for machines, such as ``nhs-number-check``.
        field: the input field at fault, such as ``address.postcode``; never its value.
        row: the 1-based row of a file at fault; the header is row 1.
        ids: ids that help to find the case (record ids, task ids); never personal data.
        detail: a plain sentence for people; never the value at fault.
    """

    def __init__(
        self,
        code: str,
        *,
        field: str | None = None,
        row: int | None = None,
        ids: Mapping[str, str] | None = None,
        detail: str | None = None,
    ) -> None:
        self.code = code
        self.field = field
        self.row = row
        self.ids = dict(ids or {})
        self.detail = detail
        super().__init__(self._summary())

    def _summary(self) -> str:
        where = [
            f"field {self.field}" if self.field else "",
            f"row {self.row}" if self.row is not None else "",
        ]
        ids = " ".join(f"{name}={value}" for name, value in sorted(self.ids.items()))
        return " · ".join(part for part in (self.code, *where, ids, self.detail or "") if part)


class Invalid(ServiceError):
    """The input cannot be read or breaks a rule of form."""


class Unprocessable(Invalid):
    """The input can be read, and says what cannot be taken: nothing of it was."""


class Unauthenticated(ServiceError):
    """The caller did not prove who it is."""


class Forbidden(ServiceError):
    """The caller is known and may not do this."""


class NotFound(ServiceError):
    """Nothing of this name is there, or it may not be told."""


class Gone(NotFound):
    """It was there and was lawfully erased, or has expired."""


class Conflict(ServiceError):
    """The state has moved on, or another one holds it."""


class TooLarge(ServiceError):
    """The input is larger than the service takes."""


class TooMany(ServiceError):
    """The caller asks too often; ``retry_after_seconds`` says when to come back."""

    def __init__(self, code: str, *, retry_after_seconds: int = 1, detail: str | None = None) -> None:
        super().__init__(code, detail=detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ServiceError):
    """A part that the act needs is down; nothing was done."""
