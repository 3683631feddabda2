"""Who is this? Candidates for a description of someone; nothing is stored but the audit rows of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from foundation.errors import Forbidden, Invalid
from foundation.keyed import find_key, get_key
from foundation.principal import Principal
from mpi.matching import (
    LOCATION_RULES,
    Comparison,
    Grade,
    NormalisedRecord,
    Score,
    compare,
    decide,
    has_minimum_input,
    score,
    search_keys,
)
from mpi.matching import reasons as reasons_of
from mpi.matching.asked import asked_of
from mpi.records import SourceRecord, validate
from mpi.service import trail
from mpi.service.context import Mpi, Normalised
from mpi.service.numbers import survivors_of_numbers
from mpi.store import numbers as number_store
from mpi.store import records as record_store

MARGIN_MILLIBITS = 6_000
"""How far the best person must be ahead of the next to be certain: 64 to 1."""

MOST_CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person that may be meant. ``reasons`` say agree, close, differ or missing for each field, and never a value."""

    person_id: int
    weight_millibits: int
    probability: float
    grade: Grade
    reasons: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """Candidates, best first. A search that was cut short answers nobody as certain."""

    candidates: tuple[Candidate, ...]
    search_complete: bool


@dataclass(frozen=True, slots=True)
class Best:
    """The record of a person that fits best."""

    record_id: int
    score: Score
    comparison: Comparison = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fitting:
    """Who fits a description at all: each person's best record; ``is_complete`` unless some key was cut."""

    form: NormalisedRecord = field(repr=False)
    best: Mapping[int, Best] = field(repr=False)
    is_complete: bool
    has_keys: bool


def match_person(
    mpi: Mpi, query: SourceRecord, by: Principal, *, limit: int = 10, reasons: bool = False
) -> MatchAnswer:
    """Return the persons whom a description may mean.

    People whose location is protected are compared without any location on either side, so that a right and a wrong postcode answer
    alike; a description with less than names and birth date, or number and birth date, does not find them.

    Raises:
        Invalid: a fault of the description, ``match-input-too-little``, or ``limit-range``.
        Forbidden: ``scope-missing`` where reasons are asked for without their scope.
    """
    if reasons and "match:reasons" not in by.scopes:
        raise Forbidden("scope-missing", ids={"scope": "match:reasons"})
    if not 1 <= limit <= MOST_CANDIDATES:
        raise Invalid("limit-range", field="limit")
    validate(query, mpi.today(), strict_numbers=True)

    def leave_trail(tx: Connection, form: NormalisedRecord, answer: MatchAnswer) -> None:
        note_search(tx, mpi, by, form, [one.person_id for one in answer.candidates], parameters_of(query))

    if mpi.db.is_sqlite:
        # Whoever only reads must not be the one writer meanwhile.
        with mpi.db.read() as tx:
            form, answer = _answer(tx, mpi, query, limit, reasons=reasons)
        with mpi.db.write() as tx:
            leave_trail(tx, form, answer)
        return answer
    with mpi.db.write() as tx:
        form, answer = _answer(tx, mpi, query, limit, reasons=reasons)
        leave_trail(tx, form, answer)
    return answer


def note_search(
    tx: Connection,
    mpi: Mpi,
    by: Principal,
    form: NormalisedRecord,
    found: Sequence[int],
    parameters: Sequence[str],
) -> None:
    """Leave the rows of a search by description, with the marks by which probing is counted."""
    now = mpi.clock.now()
    asked = asked_of(form, _key_of_the_day(tx, mpi, now), (by.organisation, by.id))
    trail.matched(tx, by, now, found, parameters, asked)


MARKS = "searches of "
"""With this the purpose of each day's key begins, by which marks of that day's searches are made."""


def _key_of_the_day(tx: Connection, mpi: Mpi, now: datetime) -> bytes:
    """Return the key of the marks of today, made now where there is none."""
    purpose = f"{MARKS}{now.date()}"
    known = mpi.day_keys.get(purpose)
    if known is None:
        known = find_key(tx, purpose)
        if known is None:
            # Not remembered yet: it may be rolled back, and another process then makes another one.
            return get_key(tx, purpose, now)
        mpi.day_keys.clear()
        mpi.day_keys[purpose] = known
    return known


def _answer(
    tx: Connection, mpi: Mpi, query: SourceRecord, limit: int, *, reasons: bool
) -> tuple[NormalisedRecord, MatchAnswer]:
    mpi, found = find_fitting(tx, mpi, query)
    candidates = _graded(mpi, found.best, found.is_complete, reasons, limit)
    return found.form, MatchAnswer(tuple(candidates), found.is_complete)


def find_fitting(tx: Connection, mpi: Mpi, query: SourceRecord) -> tuple[Mpi, Fitting]:
    """Return who may be meant by a description, however well they fit, and the index with the model by which that was said.

    Raises:
        Invalid: ``match-input-too-little``.
    """
    revision, news = number_store.read_news(tx, query.usable_numbers)
    mpi = mpi.of_revision(tx, revision)
    form = mpi.normalised(query)
    _check_minimum(form)
    if form.number:
        is_read = form.number in query.usable_numbers
        survivors = survivors_of_numbers(tx, [form.number], news if is_read else None)
        form = replace(form, number=survivors.get(form.number, form.number))
    return mpi, _search(tx, mpi, form)


def _check_minimum(form: NormalisedRecord) -> None:
    """A description needs two kinds of fact, one of them a name or a number: less would list a street or a birthday."""
    has_name = bool(form.given or form.family or form.previous)
    has_number = bool(form.number and form.number_state != "i") or bool(form.identifiers)
    kinds = (
        has_name,
        has_number,
        form.birth[0] > 0,
        bool(form.places),
        bool(form.phones or form.emails),
    )
    if not (has_name or has_number) or sum(kinds) < 2:
        raise Invalid("match-input-too-little", detail="Give a name or a number, and one more kind of fact.")


def _search(tx: Connection, mpi: Mpi, form: NormalisedRecord) -> Fitting:
    """Return each person's best record, and whether every key was read to its end."""
    model = mpi.model
    keys = {key.key: key.rule for key in search_keys(form, model, receiving=False)}
    # Of a key with more holders than its cap the first are compared, and the answer says that there are more.
    # Whoever gives too little to find protected people is answered as if there were none: not even a key is cut for them.
    found = record_store.read_candidates(
        tx,
        {key: model.caps[rule] for key, rule in keys.items()},
        {key for key, rule in keys.items() if rule not in LOCATION_RULES},
        with_protected=has_minimum_input(form),
    )
    bare = form.without_location() if found.protected else form
    # Somebody registered in many places reads the same in most of them: each reading is weighed once.
    weighed: dict[tuple[str, bool], tuple[Score, Comparison]] = {}
    best: dict[int, Best] = {}
    for row in found.rows:
        is_protected = row.person_id in found.protected
        # Of them only what a key without location read: what lies past such a key's cap, a right postcode must not find either.
        if is_protected and not (has_minimum_input(form) and row.without_location):
            continue
        said = weighed.get((row.normalised, is_protected))
        if said is None:
            said = _weigh(mpi, bare if is_protected else form, row, is_protected=is_protected)
            weighed[row.normalised, is_protected] = said
        known = best.get(row.person_id)
        if known is None or (said[0].weight, -row.record_id) > (known.score.weight, -known.record_id):
            best[row.person_id] = Best(row.record_id, *said)
    return Fitting(form, best, not found.is_cut, bool(keys))


def _weigh(
    mpi: Mpi, form: NormalisedRecord, row: Normalised, *, is_protected: bool
) -> tuple[Score, Comparison]:
    other = mpi.forms.of(row)
    comparison = compare(form, other.without_location() if is_protected else other, mpi.model)
    return score(comparison, mpi.model), comparison


def _graded(
    mpi: Mpi, found: Mapping[int, Best], is_complete: bool, reasons: bool, limit: int
) -> list[Candidate]:
    """Grade the best persons, and no more of them than are told."""
    ordered = sorted(found.items(), key=lambda item: (-item[1].score.weight, item[0]))
    second = ordered[1][1].score.weight if len(ordered) > 1 else None
    candidates: list[Candidate] = []
    for place, (person_id, best) in enumerate(ordered):
        if len(candidates) == limit:
            break
        grade = decide(best.score, best.comparison, mpi.model, is_complete).grade
        if grade is Grade.CERTAINLY_NOT:
            continue
        is_ahead = place == 0 and (second is None or best.score.weight - second >= MARGIN_MILLIBITS)
        if grade is Grade.CERTAIN and not is_ahead:
            grade = Grade.PROBABLE
        candidates.append(
            Candidate(
                person_id,
                best.score.weight,
                best.score.probability,
                grade,
                reasons_of(best.comparison) if reasons else None,
            )
        )
    return candidates


def parameters_of(query: SourceRecord) -> list[str]:
    """Name what a description gave, for the audit row: names of fields, never their values."""
    payload = query.to_payload()
    return sorted(name for name in payload if name not in ("organisation", "system", "local_id"))
