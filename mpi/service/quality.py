"""Data quality by organisation: measured once a day, record by record and page by page; told exactly to the organisation alone."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import StringIO

from sqlalchemy import Connection

from foundation.errors import Forbidden, Invalid
from foundation.principal import Principal
from mpi.matching.quality import CODES, Told, items_of, tell
from mpi.matching.questions import FORM_SYSTEMS, Kind
from mpi.records import Finding, SourceRecord, as_traced
from mpi.service.context import Mpi
from mpi.service.numbers import survivors_of
from mpi.store import quality as quality_store
from mpi.store.quality import NOWHERE, DayRow, MeasuredRow, Source

READS = "quality:read"
READS_ALL = "quality:all"
DAYS = 30
MOST_DAYS = 366
PAGE = 500
"""Records that are read in one transaction: nobody waits for a longer one."""

CSV_COLUMNS = ("organisation", "system", "measured_on", "figure", "count", "out_of", "per_mille")

_KINDS = {Kind.OVERLAY.value: "overlays", Kind.NUMBERS.value: "number_conflicts"}


@dataclass(frozen=True, slots=True)
class Day:
    """The figures of one source on one day (UTC), by code."""

    measured_on: date
    measured_at: datetime
    figures: Mapping[str, Told]


@dataclass(frozen=True, slots=True)
class SourceQuality:
    """How good the records of one system of an organisation are: as last measured, and day by day where one organisation was asked for.

    ``is_exact``: whether the reader is told every count; see ``tell``.
    """

    organisation: str
    system: str
    is_exact: bool
    latest: Day
    series: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class QualityPage:
    sources: tuple[SourceQuality, ...]
    next: Source | None


# Reading -------------------------------------------------------------------------------------------------------------


def read_quality(
    mpi: Mpi,
    by: Principal,
    *,
    organisation: str | None = None,
    first: date | None = None,
    last: date | None = None,
    after: Source | None = None,
    limit: int = 50,
) -> QualityPage:
    """Return what was last measured of every source that a reader may see; of one organisation also the days between two.

    Args:
        first: the first day of the series; 30 days before the last one if not given.
        last: the last day of the series; today (UTC) if not given.

    Raises:
        Forbidden: ``organisation-not-yours``.
        Invalid: ``period-order``, ``period-range``, or ``organisation-needed`` where a period is given for no organisation.
    """
    last_day = last or mpi.clock.now().date()
    first_day = first or max(date.min + timedelta(DAYS), last_day) - timedelta(DAYS)
    if organisation is None and (first or last):
        raise Invalid(
            "organisation-needed", field="organisation", detail="A period is told of one organisation."
        )
    if first_day > last_day:
        raise Invalid("period-order", field="from")
    if (last_day - first_day).days > MOST_DAYS:
        raise Invalid("period-range", field="from", detail=f"At most {MOST_DAYS} days.")
    sees_all = READS_ALL in by.scopes or by.may_act_for("*")
    if organisation is not None and not sees_all and not by.may_act_for(organisation):
        raise Forbidden("organisation-not-yours", field="organisation")
    if organisation is not None:
        whose: set[str] | None = {organisation}
    else:
        whose = None if sees_all else {by.organisation, *by.organisations}
    with mpi.db.read() as tx:
        found = quality_store.measured_sources(tx, whose, after or NOWHERE, limit + 1)
        told = tuple(
            _told(tx, by, one, (first_day, last_day) if organisation is not None else None)
            for one in found[:limit]
        )
    return QualityPage(told, found[limit - 1] if len(found) > limit else None)


BAD = frozenset(
    {
        "waiting",
        "birth_date_partial",
        "number_superseded",
        "number_withdrawn",
        "number_invalid",
        "number_reserved",
        "birth_date_placeholder",
        "birth_date_impossible",
        "postcode_repaired",
        "postcode_pseudo",
        "postcode_other",
        "placeholder_name",
        "duplicates",
        "overlays",
        "number_conflicts",
        "versions_late",
        "versions_held",
    }
)
"""Figures of which more is worse; of all others less is."""


def worst_sources(
    mpi: Mpi, by: Principal, *, figure: str, start: int = 0, limit: int = 50
) -> tuple[SourceQuality, ...]:
    """Return what was last measured of every source that a reader may see, the worst by the share of one figure first.

    Those of which the share is not told come last.

    Args:
        figure: a code of ``FIGURES``.
        start: how many to leave out before.

    Raises:
        Invalid: ``figure-unknown``.
    """
    if figure not in CODES:
        raise Invalid("figure-unknown", field="worst")
    sees_all = READS_ALL in by.scopes or by.may_act_for("*")
    with mpi.db.read() as tx:
        rows = quality_store.latest_days(tx, None if sees_all else {by.organisation, *by.organisations})
    told = []
    for row in rows:
        is_exact = by.may_act_for(row.source.organisation)
        day = Day(row.measured_on, row.measured_at, tell(row.counts, is_exact=is_exact))
        told.append(SourceQuality(row.source.organisation, row.source.system, is_exact, day, ()))

    def place(one: SourceQuality) -> tuple[bool, float, str, str]:
        share = one.latest.figures[figure].per_mille
        return (share is None, (share or 0) * (-1 if figure in BAD else 1), one.organisation, one.system)

    return tuple(sorted(told, key=place)[start : start + limit])


def _told(tx: Connection, by: Principal, source: Source, period: tuple[date, date] | None) -> SourceQuality:
    is_exact = by.may_act_for(source.organisation)
    latest = quality_store.latest_day(tx, source)
    if latest is None:
        raise LookupError("a source without a day")
    days = quality_store.days_between(tx, source, *period) if period is not None else []

    def day(row: DayRow) -> Day:
        return Day(row.measured_on, row.measured_at, tell(row.counts, is_exact=is_exact))

    return SourceQuality(
        source.organisation, source.system, is_exact, day(latest), tuple(day(one) for one in days)
    )


def csv_of(sources: Iterable[SourceQuality]) -> str:
    """Write figures as CSV, a row a figure: of the days of the series, or where there is none of the day that was last measured.

    What is not told is empty. No cell can begin with a sign that a spreadsheet takes for a formula: organisations and systems begin
    with a letter or a digit.
    """
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for source in sources:
        for day in source.series or (source.latest,):
            for code, told in day.figures.items():
                writer.writerow(
                    (
                        source.organisation,
                        source.system,
                        day.measured_on.isoformat(),
                        code,
                        told.count,
                        told.out_of,
                        told.per_mille,
                    )
                )
    return text.getvalue()


# Measuring -----------------------------------------------------------------------------------------------------------


def measure_waiting(mpi: Mpi, may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Measure every source of which nothing is kept today yet; return how many were.

    A source's row is written when all its records were read, in a transaction of its own: what a crash or a stop cut short is begun
    again, and another worker that measures the same source at once changes nothing.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    done, at = 0, NOWHERE
    while may_go_on():
        today = mpi.clock.now().date()
        with mpi.db.read() as tx:
            source = quality_store.next_source(tx, at)
            is_done = source is not None and quality_store.has_day(tx, source, today)
        if source is None:
            break
        at = source
        if is_done or (row := _measure(mpi, source, may_go_on)) is None:
            continue
        with mpi.db.write() as tx:
            done += quality_store.insert_day(tx, row)
    return done


def measure_now(mpi: Mpi, organisation: str) -> int:
    """Measure the sources of one organisation, and put that in the place of what is kept of today; return how many there are.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    done, at = 0, NOWHERE
    while True:
        with mpi.db.read() as tx:
            source = quality_store.next_source(tx, at, organisation)
        if source is None:
            return done
        at = source
        if (row := _measure(mpi, source)) is not None:
            with mpi.db.write() as tx:
                quality_store.replace_day(tx, row)
            done += 1


def _measure(mpi: Mpi, source: Source, may_go_on: Callable[[], bool] = lambda: True) -> DayRow | None:
    """Count the records of a source; None if told to stop before the end."""
    mpi = mpi.present()
    now = mpi.clock.now()
    counts: Counter[str] = Counter()
    after = ""
    while True:
        if not may_go_on():
            return None
        with mpi.db.read() as tx:
            rows = quality_store.page_of(tx, source, after, PAGE)
            if not rows:
                break
            for item in _items(tx, mpi, source, rows):
                counts[item] += 1
        after = rows[-1].local_id
    return DayRow(source, now.date(), now, dict(sorted(counts.items())))


def _items(tx: Connection, mpi: Mpi, source: Source, rows: list[MeasuredRow]) -> Iterator[str]:
    """Yield a code for everything that is counted of some records of a source."""
    records = [_as_found(row) for row in rows]
    superseded = survivors_of(tx, records)
    today = mpi.today()
    for record in records:
        yield "records"
        yield from items_of(record, mpi.model, today, superseded)
    ids = [row.record_id for row in rows]
    persons = {row.person_id for row in rows if row.person_id is not None}
    sources = quality_store.sources_of_persons(tx, persons)
    for row in rows:
        if row.is_waiting:
            yield "waiting"
        known = sources.get(row.person_id, {}) if row.person_id is not None else {}
        # A system that keeps a record for each form has no duplicates; see FORM_SYSTEMS.
        if source.system not in FORM_SYSTEMS and known.get(source, row.record_id) != row.record_id:
            yield "duplicates"
        if known.keys() - {source}:
            yield "linked_elsewhere"
    # Samples are counted like all others, as the queue's own figures do: what one figure left out would tell them apart.
    for _, kind in quality_store.open_kinds(tx, ids, _KINDS):
        yield _KINDS[kind]
    yield from _versions(tx, ids)


def _as_found(row: MeasuredRow) -> SourceRecord:
    record = SourceRecord.from_payload(json.loads(row.payload))
    return record if row.finding is None else as_traced(record, Finding.from_text(row.finding))


def _versions(tx: Connection, ids: list[int]) -> Iterator[str]:
    newest: dict[int, datetime] = {}
    for record_id, state, source_at in quality_store.version_times(tx, ids):
        yield "versions"
        if state == "held":
            yield "versions_held"
        before = newest.get(record_id)
        if before is not None and source_at < before:
            yield "versions_late"
        newest[record_id] = source_at if before is None else max(before, source_at)
