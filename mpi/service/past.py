"""What was known at an instant: of versions which had come and stood, of numbers what had been found and said by then.

Nothing of it was written down as it was: it is worked out from rows that are kept, so that it holds for instants of which nobody asked.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from mpi.matching.questions import Kind
from mpi.records import Finding, SourceRecord, superseded_by, survivors
from mpi.records.past import PastVersion, Ruling, Span
from mpi.records.superseded import LONGEST_CHAIN
from mpi.service.fold import traced_record
from mpi.store import graph as graph_store
from mpi.store import numbers as number_store
from mpi.store import records as record_store
from mpi.store import traces as trace_store
from mpi.store import withdrawals as withdrawal_store
from mpi.store.graph import DecisionRow
from mpi.store.records import RecordRow, VersionRow

# Versions ------------------------------------------------------------------------------------------------------------


def versions_then(tx: Connection, rows: Mapping[int, RecordRow]) -> dict[int, list[PastVersion]]:
    """Return the versions of records, each with what people ruled of it and when."""
    return _ruled(tx, record_store.read_versions(tx, rows), rows)


def accepted_then(
    tx: Connection, rows: Mapping[int, RecordRow], as_at: datetime
) -> dict[int, list[VersionRow]]:
    """Return the versions of records that counted at an instant, in order of the source's time: the last one stood.

    Each comes with the finding that stood beside it then.
    """
    versions = record_store.read_versions(tx, rows)
    replaced = trace_store.read_past_findings(tx, rows)
    found = {}
    for number, past in _ruled(tx, versions, rows).items():
        by_version = {one.version: one for one in versions.get(number, [])}
        accepted = sorted(
            (one for one in past if one.is_accepted(as_at)), key=lambda one: (one.source_at, one.version)
        )
        found[number] = [
            replace(
                by_version[one.version],
                finding=_finding_then(
                    [*replaced.get((number, one.version), ()), by_version[one.version].finding], as_at
                ),
            )
            for one in accepted
        ]
    return found


def _finding_then(findings: Iterable[str | None], as_at: datetime) -> str | None:
    """Return of what traces found of a version, one after the other, the last that was found by an instant."""
    by_then = [
        (finding.trace_id, text)
        for text in findings
        if text is not None and datetime.fromisoformat((finding := Finding.from_text(text)).at) <= as_at
    ]
    return max(by_then)[1] if by_then else None


def _ruled(
    tx: Connection, versions: Mapping[int, Iterable[VersionRow]], rows: Collection[int]
) -> dict[int, list[PastVersion]]:
    rulings = _rulings(graph_store.read_decisions(tx, rows, ("standing", "undone")))
    return {
        number: [_past(one, rulings.get((number, one.version), [])) for one in versions.get(number, [])]
        for number in rows
    }


def _rulings(decisions: Iterable[DecisionRow]) -> dict[tuple[int, int], list[Ruling]]:
    """Return what was decided of held versions, by record and version."""
    found: dict[tuple[int, int], list[Ruling]] = {}
    for row in decisions:
        if row.kind != Kind.OVERLAY.value:
            continue
        ruling = Ruling(Span(row.decided_at, row.undone_at), row.verdict == "same")
        for name, record_id, version in (item for item in row.evidence if len(item) == 3):
            if name == "held":
                found.setdefault((record_id, version), []).append(ruling)
    return found


def _past(row: VersionRow, rulings: Sequence[Ruling]) -> PastVersion:
    if row.state == "rejected" and not rulings:
        rulings = [Ruling(Span(row.received_at, None), is_accepted=False)]
    return PastVersion(
        row.version,
        row.source_at,
        row.received_at,
        was_held=row.state == "held" or bool(rulings),
        rulings=rulings,
    )


# Numbers -------------------------------------------------------------------------------------------------------------


def survivors_then(tx: Connection, records: Iterable[SourceRecord], as_at: datetime) -> dict[str, str]:
    """Return of the NHS numbers of some records those that had been superseded by an instant, each with the one that stood for it then.

    What a record said that was erased since is known at no instant, nor what one said that was out of the index just then.
    """
    numbers = {number for record in records for number in record.usable_numbers}
    said: dict[str, set[str]] = {}
    fresh = set(numbers)
    for _ in range(LONGEST_CHAIN):
        found = _said_then(tx, fresh, as_at)
        said |= found
        fresh = {new for news in found.values() for new in news} - said.keys()
        if not fresh:
            break
    return survivors(numbers, said)


def _said_then(tx: Connection, numbers: Collection[str], as_at: datetime) -> dict[str, set[str]]:
    """Return for each of these numbers those that records named in its place at an instant."""
    rows = record_store.read_records(tx, number_store.read_sayers(tx, numbers))
    away = withdrawal_store.away_then(tx, rows, as_at)
    active = {number: row for number, row in rows.items() if row.state == "active" and number not in away}
    found: dict[str, set[str]] = defaultdict(set)
    for versions in accepted_then(tx, active, as_at).values():
        for old, new in superseded_by(map(traced_record, versions)).items():
            if old in numbers:
                found[old].add(new)
    return dict(found)
