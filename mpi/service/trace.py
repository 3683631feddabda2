"""Ask the national service whose the NHS numbers of records are, and let what it answers stand beside what sources said.

Three steps a record, each of them whole: *ask* writes down what will be asked and by which request, and commits; the service is
asked while no transaction is open; *settle* writes what was found, reads the record again with it, and commits. T2 then links as ever.
Whatever ends between two steps is taken up again: an open question is asked under its own id, an answered one waits for T2.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy import Connection

from foundation.errors import Unavailable as ServiceUnavailable
from foundation.ids import new_id
from foundation.logs import get_logger
from foundation.principal import Principal
from mpi.matching import Agreement, agreement_by_number, agreement_by_search, normalise
from mpi.matching.questions import FORM_SYSTEMS
from mpi.records import Finding, NumberState, Outcome, SourceRecord
from mpi.records.traced import state_of, still_holds
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import (
    UNREAD,
    finding_of,
    keep_numbers,
    protects,
    put_current,
    standing_record,
    stored_record,
    traced_columns,
)
from mpi.service.link import link_record, taken_again
from mpi.service.numbers import form_of
from mpi.store import records as record_store
from mpi.store import traces as trace_store
from mpi.store.records import RecordRow, VersionRow
from mpi.store.traces import TraceRow
from mpi.tracing import (
    UNREADABLE,
    Answer,
    Found,
    NotANumber,
    NotAQuestion,
    NotFound,
    Refused,
    Sought,
    SupersededBy,
    TooMany,
    Tracer,
    Unavailable,
    Withdrawn,
)

TRACER = Principal("system", "mpi-trace", "MPI", frozenset(), organisations=frozenset({"*"}), client_id="mpi")
"""Whose act a trace is, in the audit log."""

PAGE = 200
FAILURES = 3
"""After so many requests in a row without an answer a run ends: the service is down, and nobody else is asked about."""

UNREADABLES = 50
"""As ``FAILURES``, for answers that cannot be read: a few may be of these very people, and must not keep all others waiting for ever."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Traced:
    """What a run did: how many records it asked about, and what came of them. ``stopped`` says why it ended before its end."""

    asked: int
    outcomes: Mapping[str, int]
    stopped: str | None = None

    def as_json(self) -> dict[str, object]:
        return {"asked": self.asked, "outcomes": dict(sorted(self.outcomes.items())), "stopped": self.stopped}


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that is written down: of which version, and what is asked."""

    row: TraceRow
    record: SourceRecord = field(repr=False)
    number: str | None = field(repr=False)
    sought: Sought | None = field(repr=False)


def trace_waiting(
    mpi: Mpi,
    tracer: Tracer,
    *,
    limit: int | None = None,
    organisations: Collection[str] | None = None,
    older_than: timedelta | None = None,
    by: Principal = TRACER,
    progress: Callable[[int], None] = lambda _: None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Traced:
    """Ask about the records whose number is claimed or missing and of which nothing was found yet, in order of arrival.

    The tracer keeps to its rate. A run that ended anywhere goes on where it was: what was found is not asked for again.

    Args:
        limit: how many to ask about at most.
        organisations: whose records; None for everybody's.
        older_than: those that were asked about so long ago as well.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    outcomes: Counter[str] = Counter()
    before = mpi.clock.now() - older_than if older_than is not None else None
    asked = after = failures = unreadables = 0
    while True:
        with mpi.db.read() as tx:
            ids = trace_store.due_records(
                tx,
                PAGE,
                after,
                systems_without=FORM_SYSTEMS,
                organisations=organisations,
                before=before,
            )
            askable = _askable(tx, mpi, ids)
        if not ids:
            return Traced(asked, outcomes)
        for record_id in askable:
            if limit is not None and asked >= limit:
                return Traced(asked, outcomes, "limit")
            if not may_go_on():
                return Traced(asked, outcomes, "told-to")
            question = _ask(mpi, tracer.name, record_id, by, is_again=before is not None)
            if question is None:
                continue
            asked += 1
            answer = _answer_to(tracer, question)
            if isinstance(answer, Refused):
                log.error("tracing was refused", code=answer.code, status=answer.status)
                return Traced(asked, outcomes, answer.code)
            if isinstance(answer, Unavailable):
                outcomes["unavailable"] += 1
                if answer == UNREADABLE:
                    unreadables += 1
                else:
                    failures += 1
                if failures == FAILURES or unreadables == UNREADABLES:
                    log.error("tracing has no answer", code=answer.code)
                    return Traced(asked, outcomes, answer.code)
                continue
            failures = unreadables = 0
            outcome = _settle(mpi, question, answer, tracer.name, by)
            outcomes[outcome] += 1
            # It is kept: if linking is busy, a worker takes it.
            with suppress(ServiceUnavailable):
                link_record(mpi, record_id)
            progress(1)
        after = ids[-1]


def count_traced(mpi: Mpi) -> dict[str, int]:
    """Count all traces so far by what came of them; those that wait for an answer as ``asked``."""
    with mpi.db.read() as tx:
        return dict(sorted(trace_store.count_traces(tx).items()))


# Ask -----------------------------------------------------------------------------------------------------------------


def _askable(tx: Connection, mpi: Mpi, ids: Collection[int]) -> list[int]:
    """Return those of these records that say enough to be asked about, without holding any."""
    mpi = mpi.at(tx)
    rows, versions = record_store.read_records(tx, ids), record_store.read_versions(tx, ids)
    return [
        number
        for number, row in sorted(rows.items())
        if row.model_revision != UNREAD
        and any(_what_to_ask(mpi, stored_record(versions[number][row.current_version - 1]), row))
    ]


def _ask(mpi: Mpi, service: str, record_id: int, by: Principal, *, is_again: bool) -> _Question | None:
    """Write down what will be asked about a record; None where there is nothing to ask, or nothing any more."""

    def take(tx: Connection) -> _Question | None:
        found = _held(tx, record_id)
        if found is None:
            return None
        row, current, _ = found
        if current.finding is not None and not is_again:
            return None
        record = stored_record(current)
        number, sought = _what_to_ask(mpi.at(tx), record, row)
        if number is None and sought is None:
            return None
        open_one = trace_store.open_trace(tx, record_id)
        now = mpi.clock.now()
        if open_one is not None and open_one.version != current.version:
            # It was about another version, and nobody waits for its answer.
            trace_store.close_trace(tx, open_one.trace_id, "moved", None, now)
            open_one = None
        if open_one is None:
            trace = TraceRow(
                new_id(), record_id, current.version, service, str(uuid.uuid4()), "asked", by.id, now, 1
            )
            trace_store.insert_trace(tx, trace)
        else:
            trace = open_one
            trace_store.ask_again(tx, trace.trace_id, trace.attempts + 1)
        trail.note(
            tx,
            by,
            now,
            "number-trace-asked",
            "by-number" if number is not None else "by-search",
            person_id=row.person_id,
            detail={**_detail(trace), "request_id": trace.request_id},
        )
        return _Question(trace, record, number, sought)

    return taken_again(mpi, take)


def _held(tx: Connection, record_id: int) -> tuple[RecordRow, VersionRow, list[VersionRow]] | None:
    """Hold a record against new versions; return it with the version that stands and all of them. None where it is erased or unread."""
    record_store.lock_records(tx, [record_id])
    row = record_store.read_records(tx, [record_id]).get(record_id)
    if row is None or row.state != "active" or row.model_revision == UNREAD:
        return None
    versions = record_store.read_versions(tx, [record_id])[record_id]
    return row, next(one for one in versions if one.version == row.current_version), versions


def _what_to_ask(mpi: Mpi, record: SourceRecord, row: RecordRow) -> tuple[str | None, Sought | None]:
    """Return the number to ask about, or whom to search for; both None where the record says too little, or says enough itself."""
    state = state_of(record)
    if state is NumberState.CLAIMED:
        evidence = record.evidence(accept_reserved=mpi.model.accept_reserved_numbers)
        is_asked = (
            evidence is not None and evidence.state is NumberState.CLAIMED and _may_be_known(evidence.number)
        )
        return (evidence.number, None) if is_asked and evidence is not None else (None, None)
    if state is not None:
        return None, None
    form = normalise(record, mpi.model)
    year, month, day = form.birth
    name = record.names[0] if record.names else None
    given = name.given[0].strip() if name is not None and name.given else ""
    family = (name.family or "").strip() if name is not None else ""
    if form.is_placeholder or not (form.given and form.family and day and given and family):
        return None, None
    # Where somebody protected lives is not told to anyone, the service that may have protected them included.
    is_told = not row.restricted and record.addresses
    postcode = record.addresses[0].postcode if is_told else None
    return None, Sought(given, family, f"{year:04}-{month:02}-{day:02}", postcode)


def _may_be_known(number: str) -> bool:
    """Whether the service may know a number: those of Scotland and Northern Ireland have indexes of their own."""
    return not ("0100000000" <= number <= "3112999999" or "3200000000" <= number <= "3999999999")


def _answer_to(tracer: Tracer, question: _Question) -> Answer:
    if question.number is not None:
        return tracer.retrieve(question.number, question.row.request_id)
    assert question.sought is not None
    return tracer.search(question.sought, question.row.request_id)


# Settle --------------------------------------------------------------------------------------------------------------


def _settle(mpi: Mpi, question: _Question, answer: Answer, service: str, by: Principal) -> str:
    """Write what was found and read the record again with it; return the outcome, or ``moved`` where another version stands by now."""

    def take(tx: Connection) -> str:
        trace, now = question.row, mpi.clock.now()
        found = _held(tx, trace.record_id)
        open_one = trace_store.open_trace(tx, trace.record_id)
        if open_one is None or open_one.trace_id != trace.trace_id:
            return "moved"  # somebody else settled it
        if found is None:
            trace_store.close_trace(tx, trace.trace_id, "moved", None, now)
            return "moved"
        row, current, versions = found
        index = mpi.at(tx)
        finding = _finding(index, question, answer, service, now.isoformat())
        if current.version != trace.version and not still_holds(
            finding, question.record, stored_record(current)
        ):
            trace_store.close_trace(tx, trace.trace_id, "moved", None, now)
            return "moved"
        trace_store.close_trace(tx, trace.trace_id, "answered", finding.outcome.value, now)
        _put(tx, index, row, versions, finding, question.record, by)
        trail.note(
            tx,
            by,
            now,
            "number-traced",
            finding.outcome.value,
            person_id=row.person_id,
            detail=_detail(trace),
        )
        return finding.outcome.value

    return taken_again(mpi, take)


def _put(
    tx: Connection,
    mpi: Mpi,
    row: RecordRow,
    versions: list[VersionRow],
    finding: Finding,
    of: SourceRecord,
    by: Principal,
) -> None:
    """Let a finding stand beside the version that stands and, in place of an older one, beside others that ask the same.

    The record is read again with it, and T2 is due where that says anything else.

    Args:
        of: the version that was asked about.
    """
    text = finding.to_text()
    read = []
    for one in versions:
        is_asked = one.version == row.current_version or one.finding is not None
        if is_asked and still_holds(finding, of, stored_record(one)):
            if (found := finding_of(one)) is not None:
                trace_store.keep_past_finding(tx, row.record_id, one.version, found.trace_id, found.to_text())
            record_store.set_finding(tx, row.record_id, one.version, text)
            one = replace(one, finding=text)
        read.append(one)
    before, current = (some[row.current_version - 1] for some in (versions, read))
    record = standing_record(current, is_protected=protects(read))
    has_news = keep_numbers(tx, mpi, row.record_id, read, by, versions)
    columns = traced_columns(current)
    is_as_before = record == standing_record(before, is_protected=row.restricted)
    if is_as_before and not has_news and columns["conflict_trace_id"] == row.conflict_trace_id:
        record_store.update_records(tx, [{"record_id": row.record_id, **columns}])
        return
    put_current(tx, mpi, row, row.current_version, record, form_of(tx, mpi, record), by, **columns)


def _finding(mpi: Mpi, question: _Question, answer: Answer, service: str, at: str) -> Finding:
    """Say what an answer means for the record that was asked about."""

    def found(outcome: Outcome, number: str | None = None, *, is_restricted: bool = False) -> Finding:
        return Finding(question.row.trace_id, outcome, service, at, number, is_restricted)

    match answer:
        case NotFound():
            return found(Outcome.NOT_FOUND)
        case TooMany():
            return found(Outcome.TOO_MANY)
        case Withdrawn():
            return found(Outcome.WITHDRAWN)
        case NotANumber():
            return found(Outcome.NOT_A_NUMBER)
        case NotAQuestion():
            return found(Outcome.UNSURE)
        case Found(person) | SupersededBy(person):
            pass
        case _:
            raise AssertionError("no answer to settle")
    known = normalise(person.as_record(service), mpi.model)
    record = normalise(question.record, mpi.model)
    if question.number is None:
        if agreement_by_search(record, known, mpi.model) is Agreement.SAME:
            return found(Outcome.FOUND, person.number)
        return found(Outcome.UNSURE)
    agreement = agreement_by_number(record, known, mpi.model)
    if agreement is Agreement.ANOTHER:
        return found(Outcome.CONFLICTING)
    if agreement is Agreement.OPEN:
        # It may be them: where they live is protected until somebody knows.
        return found(Outcome.UNSURE, is_restricted=person.is_restricted)
    is_same = isinstance(answer, Found)
    outcome = Outcome.VERIFIED if is_same else Outcome.SUPERSEDED
    return found(outcome, None if is_same else person.number, is_restricted=person.is_restricted)


def _detail(trace: TraceRow) -> dict[str, str | int]:
    told = trail.received_detail(trace.record_id, trace.version)
    return {**told, "trace_id": str(trace.trace_id), "service": trace.service}
