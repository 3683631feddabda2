"""What can come instead of an answer. No error holds a value of a record: codes, fields and ids alone."""

from collections.abc import Mapping
from dataclasses import dataclass


class ClientError(Exception):
    """There is no answer to go on with."""


class Unreachable(ClientError):
    """The service could not be reached, or ended the connection; whether it did what was asked is not known."""


class NotUnderstood(ClientError):
    """What came is no answer of this interface."""


class Behind(ClientError):
    """What is held here may be out of date: nothing is to be served by it. ``seconds`` is how far behind, infinite where not known."""

    def __init__(self, seconds: float) -> None:
        super().__init__("what is held here may be out of date")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Fault:
    """One field at fault, and what is wrong with it."""

    field: str
    code: str


class Refused(ClientError):
    """The service answered with a problem document: ``code`` says which, ``status`` is HTTP's."""

    def __init__(
        self,
        status: int,
        code: str,
        *,
        detail: str | None = None,
        faults: tuple[Fault, ...] = (),
        ids: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = faults
        self.ids = dict(ids or {})
        self.request_id = request_id


class Unauthenticated(Refused):
    """The token is none, or has run out."""


class Forbidden(Refused):
    """We may not do this."""


class NotFound(Refused):
    """It is not there, or may not be told to us."""


class Gone(Refused):
    """It was there, and is erased or removed: search again."""


class Conflict(Refused):
    """Someone else came first, or the state does not allow it."""


class TooMany(Refused):
    """We ask too often; ``retry_after_seconds`` says when to come again."""

    retry_after_seconds: float = 1.0


class Unavailable(Refused):
    """A part that it needs is down, and nothing was done; ``retry_after_seconds`` says when to try again."""

    retry_after_seconds: float = 1.0


OF_STATUS: Mapping[int, type[Refused]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: Conflict,
    429: TooMany,
    503: Unavailable,
}
