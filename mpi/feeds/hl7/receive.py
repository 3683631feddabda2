"""One message from bytes to answer: whose it is, what it says, kept, and acknowledged only then."""

from collections.abc import Callable

from foundation.errors import Invalid, ServiceError
from foundation.ids import format_id, new_id
from foundation.logs import get_logger
from foundation.metrics import HL7_MESSAGES
from mpi.feeds.hl7.adt import REGISTRATIONS, Said, Sender, check_header, placed, read_registration
from mpi.feeds.hl7.answer import ACCEPTED, INTERNAL, Outcome, answers, outcome_of
from mpi.feeds.hl7.message import Header, Message, parse, read_header
from mpi.service.context import Mpi
from mpi.service.hl7_feeds import find_hl7_feed, keep_message

log = get_logger(__name__)


class Receiver:
    """Takes messages of the feeds that an index knows.

    Args:
        is_production: whether messages of training and debugging are refused, whatever a feed says.
        keep_letter: is given the bytes of a message that was not kept, and what it was answered.
    """

    def __init__(
        self,
        mpi: Mpi,
        *,
        is_production: bool = False,
        keep_letter: Callable[[bytes, Outcome], None] = lambda _raw, _outcome: None,
    ) -> None:
        self._mpi, self._is_production, self._keep_letter = mpi, is_production, keep_letter

    def answer(self, raw: bytes) -> list[bytes]:
        """Take a message; return its answers in order, none where its sender wants none. Never raises."""
        header = read_header(raw)
        outcome = self.take(raw, header)
        now = self._mpi.clock.now()
        # The header was read as Latin-1: what is repeated of it goes back byte by byte as it came.
        return [
            text.encode("latin-1", "replace")
            for text in answers(header, outcome, now, lambda: format_id(new_id()))
        ]

    def take(self, raw: bytes, header: Header | None = None) -> Outcome:
        """Take a message; return what became of it. What is not kept is handed to ``keep_letter``."""
        header = header or read_header(raw)
        try:
            outcome = self._kept(raw, header)
        except ServiceError as fault:
            outcome = outcome_of(placed(fault) if isinstance(fault, Invalid) else fault)
            log.warning("message refused", code=outcome.code, field=outcome.field)
        except Exception as fault:
            # What it says may be in the error: the log keeps its kind and the places that it passed.
            outcome = INTERNAL
            log.error("message failed", exc_info=fault)
        if outcome is not ACCEPTED:
            self._keep_letter(raw, outcome)
        event = header.event if header.event in REGISTRATIONS else "other"
        HL7_MESSAGES.labels(event, outcome.letter, outcome.code).inc()
        return outcome

    def _kept(self, raw: bytes, header: Header) -> Outcome:
        if header == Header():
            raise Invalid("hl7-no-header", field="MSH")
        dot = header.separators.component
        feed = find_hl7_feed(self._mpi, header.application.split(dot)[0], header.facility.split(dot)[0])
        message = parse(raw, feed.reading.character_set)
        sender = Sender(feed.organisation, feed.system, feed.reading)
        check_header(message, sender)
        if self._is_production and not header.processing_id.startswith("P"):
            raise Invalid("hl7-processing-id", field="MSH-11")
        said: Said = read_registration(message, sender)
        keep_message(
            self._mpi, feed, header.control_id, _said_by(message), said.key, said.at, said.applied_to
        )
        return ACCEPTED


def _said_by(message: Message) -> list[str]:
    """Return what a message says, part by part: its event and its segments, but not when it was sent."""
    return [
        message.header.event,
        *("\x1f".join((segment.name, *segment.fields)) for segment in message.segments[1:]),
    ]
