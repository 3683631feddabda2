"""HL7 v2 feeds: who may send and how it is read, and the keeping of a message: once, with its record, in one transaction."""

import codecs
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import new_id
from foundation.keyed import digest, get_key
from foundation.principal import Principal
from mpi.records import RecordKey, SourceRecord, validate
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import stored_record
from mpi.service.link import taken_again
from mpi.service.persons import stands_for
from mpi.service.receive import StoredState, store_record
from mpi.service.withdraw import refuse_form
from mpi.store import hl7 as store
from mpi.store import records as record_store
from mpi.store.hl7 import FeedRow

_KIND = re.compile(r"[A-Za-z0-9]{1,20}")
_SYSTEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
LONGEST_NAME = 180
_PURPOSE = "hl7-message"


@dataclass(frozen=True, slots=True)
class Reading:
    """How a sender's messages are read.

    Args:
        character_set: for messages that do not name theirs in MSH-18.
        time_zone: for times without an offset.
        local_id_types: types of PID-3's identifiers that are the sender's own patient number, the one preferred first.
        authorities: assigning authorities of that number; none: the organisation's code, what begins with it, and an empty one.
        number_in_pid2, number_in_pid19: whether these old fields may hold the NHS number.
        processing_ids: of MSH-11 (P production, T training, D debugging), which are taken.
    """

    character_set: str = "cp1252"
    time_zone: str = "Europe/London"
    local_id_types: tuple[str, ...] = ("MR", "PI")
    authorities: tuple[str, ...] = ()
    number_in_pid2: bool = False
    number_in_pid19: bool = False
    processing_ids: tuple[str, ...] = ("P",)


@dataclass(frozen=True, slots=True)
class Hl7Feed:
    """A sender that is known by its application and facility, and speaks for one system of one organisation."""

    feed_id: int
    application: str
    facility: str
    organisation: str
    system: str
    reading: Reading
    state: str
    changed_by: str
    changed_at: datetime

    @property
    def principal(self) -> Principal:
        """Who its messages are from: a system that may act for its own organisation and no other."""
        return Principal(
            "system",
            f"hl7-feed:{self.feed_id}",
            self.organisation,
            frozenset({"records:write"}),
            client_id="hl7",
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a message. ``repeated``: it had been kept before, and nothing was done."""

    state: StoredState | Literal["repeated"]
    record_id: int | None = field(default=None)


# Who may send --------------------------------------------------------------------------------------------------------


def add_feed(
    mpi: Mpi,
    by: Principal,
    application: str,
    facility: str,
    organisation: str,
    system: str,
    reading: Reading,
    *,
    is_production: bool = False,
) -> Hl7Feed:
    """Let a sender in.

    Raises:
        Invalid: ``feed-name-format``, ``system-format``, ``system-not-a-feed``; as ``check_reading``.
        NotFound: ``organisation-unknown``.
        Conflict: ``feed-known``: this application and facility are a feed's already, which can be changed.
    """
    for name, text in (("application", application), ("facility", facility)):
        if not text or text != text.strip() or len(text) > LONGEST_NAME or not text.isprintable():
            raise Invalid("feed-name-format", field=name)
    if not _SYSTEM.fullmatch(system):
        raise Invalid("system-format", field="system")
    refuse_form(system)
    check_reading(reading, is_production=is_production)
    now = mpi.clock.now()
    row = FeedRow(
        new_id(), application, facility, organisation, system, _written(reading), "active", by.id, now
    )
    with mpi.db.write() as tx:
        if trail.unknown_organisation(tx, mpi.organisations, [organisation]) is not None:
            raise NotFound("organisation-unknown", field="organisation")
        if not store.insert_feed(tx, row):
            raise Conflict("feed-known", field="application")
        trail.note(tx, by, now, "hl7-feed-added", organisation, system, detail={"feed_id": str(row.feed_id)})
    return _feed(row)


def change_feed(
    mpi: Mpi, by: Principal, feed_id: int, *, is_production: bool = False, **values: Any
) -> Hl7Feed:
    """Read a sender's messages otherwise from now on; what is not named stays.

    Args:
        values: members of ``Reading``.

    Raises:
        Invalid: as ``check_reading``.
        NotFound: ``feed-unknown``.
    """
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        feed = _told(tx, feed_id, for_update=True)
        reading = replace(feed.reading, **values)
        check_reading(reading, is_production=is_production)
        after = replace(feed, reading=reading, changed_by=by.id, changed_at=now)
        store.update_feed(tx, feed_id, {"reading": _written(reading), "changed_by": by.id, "changed_at": now})
        trail.note(tx, by, now, "hl7-feed-changed", *sorted(values), detail={"feed_id": str(feed_id)})
    return after


def switch_feed(mpi: Mpi, by: Principal, feed_id: int, *, is_on: bool) -> Hl7Feed:
    """Take a sender's messages no more, or again.

    Raises:
        NotFound: ``feed-unknown``.
        Conflict: ``feed-state`` where it is so already.
    """
    state, now = "active" if is_on else "stopped", mpi.clock.now()
    with mpi.db.write() as tx:
        feed = _told(tx, feed_id, for_update=True)
        if feed.state == state:
            raise Conflict("feed-state", ids={"feed_id": str(feed_id)})
        after = replace(feed, state=state, changed_by=by.id, changed_at=now)
        store.update_feed(tx, feed_id, {"state": state, "changed_by": by.id, "changed_at": now})
        if is_on:
            trail.note(tx, by, now, "hl7-feed-started", detail={"feed_id": str(feed_id)})
        else:
            trail.note(tx, by, now, "hl7-feed-stopped", detail={"feed_id": str(feed_id)})
    return after


def list_hl7_feeds(mpi: Mpi) -> list[Hl7Feed]:
    with mpi.db.read() as tx:
        return [_feed(row) for row in store.list_feeds(tx)]


def get_hl7_feed(mpi: Mpi, feed_id: int) -> Hl7Feed:
    """Return a sender.

    Raises:
        NotFound: ``feed-unknown``.
    """
    with mpi.db.read() as tx:
        return _told(tx, feed_id)


def find_hl7_feed(mpi: Mpi, application: str, facility: str) -> Hl7Feed:
    """Return the feed of a sender whose messages are taken.

    Raises:
        NotFound: ``hl7-sender-unknown``.
        Conflict: ``hl7-sender-stopped``.
    """
    with mpi.db.read() as tx:
        row = store.read_feed(tx, application, facility)
    if row is None:
        raise NotFound("hl7-sender-unknown", field="MSH-3")
    if row.state != "active":
        raise Conflict("hl7-sender-stopped", field="MSH-3")
    return _feed(row)


def check_reading(reading: Reading, *, is_production: bool = False) -> None:
    """See that messages can be read so.

    Raises:
        Invalid: ``character-set-unknown``, ``time-zone-unknown``, ``identifier-type-format``, ``authority-format``,
            ``processing-id-unknown``; ``processing-id-in-production`` for T and D on an index of real people.
    """
    try:
        # Whatever it is, MSH must read the same: a set of two bytes a letter is none for a feed.
        if b"MSH|".decode(codecs.lookup(reading.character_set).name) != "MSH|":
            raise LookupError
    except (LookupError, UnicodeError, ValueError, AssertionError):
        raise Invalid("character-set-unknown", field="character_set") from None
    try:
        ZoneInfo(reading.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid("time-zone-unknown", field="time_zone") from None
    if not reading.local_id_types or not all(_KIND.fullmatch(one) for one in reading.local_id_types):
        raise Invalid("identifier-type-format", field="local_id_types")
    if not all(one and len(one) <= 64 and one.isprintable() for one in reading.authorities):
        raise Invalid("authority-format", field="authorities")
    if not reading.processing_ids or not set(reading.processing_ids) <= {"P", "T", "D"}:
        raise Invalid("processing-id-unknown", field="processing_ids")
    if is_production and set(reading.processing_ids) != {"P"}:
        raise Invalid("processing-id-in-production", field="processing_ids")


def _told(tx: Connection, feed_id: int, *, for_update: bool = False) -> Hl7Feed:
    row = store.get_feed(tx, feed_id, for_update=for_update)
    if row is None:
        raise NotFound("feed-unknown", ids={"feed_id": str(feed_id)})
    return _feed(row)


def _written(reading: Reading) -> str:
    return json.dumps(asdict(reading), separators=(",", ":"))


def _feed(row: FeedRow) -> Hl7Feed:
    found: Mapping[str, Any] = json.loads(row.reading)
    known = {one.name for one in fields(Reading)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if name in known
    }
    reading = Reading(**values)
    return Hl7Feed(
        row.feed_id, row.application, row.facility, row.organisation, row.system, reading, row.state, row.changed_by,
        row.changed_at,
    )  # fmt: skip


# Messages ------------------------------------------------------------------------------------------------------------


def keep_message(
    mpi: Mpi,
    feed: Hl7Feed,
    control_id: str,
    parts: Sequence[str],
    key: RecordKey,
    at: datetime | None,
    applied_to: Callable[[SourceRecord | None], SourceRecord],
) -> Kept:
    """Keep what a message says of a record, in the transaction that writes down its control id; a worker links it.

    Args:
        parts: what it says; the same id with something else is another message. A keyed digest of it is kept.
        at: the source's time of it; what stood then is what it is applied to, so that what it does not say stays as it was.
        applied_to: makes the record of what stood, None for nothing.

    Raises:
        Invalid: a structural fault, naming the item.
        Conflict: ``hl7-control-id-reused``; others as ``receive_record``.
        NotFound, Forbidden, Unavailable: as ``receive_record``.
    """

    def take(tx: Connection) -> Kept:
        now = mpi.clock.now()
        mark = digest(get_key(tx, _PURPOSE, now), parts)
        known = store.note_message(tx, feed.feed_id, control_id, mark, now)
        if known is not None:
            if known != mark:
                raise Conflict("hl7-control-id-reused", field="MSH-10")
            return Kept("repeated")
        record = applied_to(_standing(tx, key, at))
        validate(record, mpi.today())
        stored = store_record(tx, mpi, record, feed.principal)
        return Kept(stored.state, stored.record_id)

    kept = taken_again(mpi, take)
    if kept.state != "repeated":
        mpi.bell.ring("link")
    return kept


def _standing(tx: Connection, key: RecordKey, at: datetime | None) -> SourceRecord | None:
    """Return what a record said at an instant, None for now; None where it had not come by then. It is held until the transaction ends."""
    row = record_store.find_records(tx, [key], for_update=True).get(key)
    if row is None:
        return None
    number = row.record_id
    if row.state == "renumbered":
        number = stands_for(tx, [number]).get(number, number)
    versions = record_store.read_versions(tx, [number]).get(number, [])
    then = [one for one in versions if one.state == "accepted" and (at is None or one.source_at <= at)]
    if not then:
        return None
    return stored_record(max(then, key=lambda one: (one.source_at, one.version)))


class Room:
    """Whether the index has room for more: while too many records wait for linking, senders wait too. Asked anew once a second."""

    def __init__(self, mpi: Mpi, most: int, rest_seconds: float = 1.0) -> None:
        self._mpi, self._most, self._rest = mpi, most, rest_seconds
        self._asked_at, self._is_there = -rest_seconds, True
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        with self._lock:
            if time.monotonic() - self._asked_at < self._rest:
                return self._is_there
            self._asked_at = time.monotonic()
        try:
            with self._mpi.db.read() as tx:
                self._is_there = record_store.count_waiting(tx, self._most) < self._most
        except SQLAlchemyError:
            self._is_there = True  # each message is told so itself
        return self._is_there


def forget_messages(mpi: Mpi, kept_days: int) -> int:
    """Forget which messages came longer ago than this; return how many. A sender that repeats one later sends it as a new one."""
    with mpi.db.write() as tx:
        return store.purge_messages(tx, mpi.clock.now() - timedelta(days=kept_days))
