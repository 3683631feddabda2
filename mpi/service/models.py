"""Which match model is in force: proposed by one person with its forecast, approved by another, and taken back the same way.

Doing what was approved is ``mpi.service.activate``: a bulk switch, whose transaction also marks the model as the one in force.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching import Model, build_model
from mpi.service import trail
from mpi.service.context import ModelInForce, Mpi
from mpi.store import models as model_store
from mpi.store.models import ChangeRow

Kind = Literal["activation", "roll-back"]

MAX_COMMENT = 2_000
STALE_SHARE = 100
"""A forecast is stale when more than one in so many records has changed since."""

STALE_AFTER = timedelta(days=30)
_COUNTS = (
    "records", "waiting", "persons_before", "persons_after", "persons_joined", "persons_parted", "links_before", "links_gained",
    "links_lost", "records_touched",
)  # fmt: skip
_TALLIES = ("present", "tasks_opened", "tasks_closed")
_SUBGROUP = ("records", "touched", "links_gained", "links_lost")
_MOST = 10_000
_COUNT_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Staleness:
    """What has happened since a forecast was made.

    ``because``: ``model-moved``, another model came into force; ``index-changed``, more than one record in a hundred came or changed;
    ``old``, it was made more than 30 days ago; None where it is as good as new.
    """

    records: int
    changed: int
    decisions: int
    because: str | None

    @property
    def is_stale(self) -> bool:
        return self.because is not None


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A change of the model in force. ``forecast`` holds figures, never anybody's id; None where none was made."""

    change_id: int
    kind: str
    state: str
    revision: str
    name: str
    from_revision: str
    comment: str | None = field(repr=False)
    forecast: Mapping[str, Any] | None = field(repr=False)
    forecast_at: datetime | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    done_by: str | None
    done_at: datetime | None
    staleness: Staleness | None = None

    def as_json(self) -> dict[str, Any]:
        return _plain(asdict(self)) | {"change_id": str(self.change_id)}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that is kept, or the one of settings.

    ``state``: ``in-force``, ``approved``, ``proposed``, ``past`` (it was in force), ``kept`` (it was proposed and withdrawn). ``since``,
    ``proposed_by`` and ``approved_by`` are of the change that last brought it into force; None where none did.
    """

    revision: str
    name: str
    state: str
    since: datetime | None = None
    until: datetime | None = None
    proposed_by: str | None = None
    approved_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        return _plain(asdict(self))


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of models: those that are kept, and every change, the newest first."""

    in_force: str
    models: tuple[KnownModel, ...]
    changes: tuple[ModelChange, ...]


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}


# Reading -------------------------------------------------------------------------------------------------------------


def list_models(mpi: Mpi) -> Models:
    """Return every model that was ever proposed or in force, and every change.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    with mpi.db.read() as tx:
        model = mpi.at(tx).model
        in_force = model.revision
        kept = model_store.list_models(tx)
        rows = model_store.read_changes(tx)
        changes = tuple(_change(tx, mpi, row, dict(kept), in_force) for row in reversed(rows))
    done = sorted((row for row in rows if row.place is not None), key=lambda row: row.place or 0)
    names = dict(kept)
    revisions = list(names) if in_force in names else [in_force, *names]
    names.setdefault(in_force, model.name)
    return Models(
        in_force, tuple(_known(one, names[one], in_force, rows, done) for one in revisions), changes
    )


def _known(
    revision: str, name: str, in_force: str, rows: Iterable[ChangeRow], done: list[ChangeRow]
) -> KnownModel:
    came = [row for row in done if row.revision == revision]
    left = [row for row in done if row.from_revision == revision]
    pending = {row.state for row in rows if row.revision == revision and row.state in model_store.OPEN}
    last = came[-1] if came else None
    if revision == in_force:
        state = "in-force"
    elif pending:
        state = pending.pop()
    else:
        state = "past" if came or left else "kept"
    return KnownModel(
        revision,
        name,
        state,
        since=last.done_at if last else None,
        until=left[-1].done_at if left and revision != in_force else None,
        proposed_by=last.proposed_by if last else None,
        approved_by=last.approved_by if last else None,
    )


def _change(tx: Connection, mpi: Mpi, row: ChangeRow, names: Mapping[str, str], in_force: str) -> ModelChange:
    is_open = row.state in model_store.OPEN
    staleness = _staleness(tx, mpi, row, in_force) if is_open and row.forecast is not None else None
    told = {name: getattr(row, name) for name in ChangeRow.__slots__ if name != "place"}
    return ModelChange(**told, name=names[row.revision], staleness=staleness)


def _staleness(tx: Connection, mpi: Mpi, row: ChangeRow, in_force: str) -> Staleness:
    assert row.forecast_at is not None
    records, changed, decisions = model_store.count_since(tx, row.forecast_at)
    done = model_store.read_done(tx)
    because = None
    if row.from_revision != in_force or any(one.done_at and one.done_at > row.forecast_at for one in done):
        because = "model-moved"
    elif (changed + decisions) * STALE_SHARE > records:
        because = "index-changed"
    elif mpi.clock.now() - row.forecast_at > STALE_AFTER:
        because = "old"
    return Staleness(records, changed, decisions, because)


# Proposing -----------------------------------------------------------------------------------------------------------


def read_model(document: Any) -> Model:
    """Compile a model document that someone sent.

    Raises:
        Invalid: ``model-format``.
    """
    try:
        _word(document["name"])
        return build_model(document)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as fault:
        raise Invalid(
            "model-format", field="model", detail="This is no match model that can be compiled."
        ) from fault


def propose_model(
    mpi: Mpi,
    model: Model,
    by: Principal,
    *,
    forecast: Mapping[str, Any] | None = None,
    comment: str | None = None,
) -> ModelChange:
    """Keep a model and ask for a second person's approval; nothing else changes.

    Args:
        forecast: what ``mpi forecast`` said of this model, as JSON.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        Invalid: ``forecast-format``, ``forecast-of-another-model``, ``text-too-long``, ``control-character``.
        Conflict: ``model-in-force``, ``model-proposed-already``.
        Unavailable: ``match-model-unreadable``: of the model in force.
    """
    figures = made_at = None
    if forecast is not None:
        figures, made_at = read_forecast(forecast, model.revision)
        if made_at > mpi.clock.now() + timedelta(days=1):
            raise Invalid("forecast-format", field="forecast", detail="It was made in the future.")
    return _propose(mpi, "activation", model.revision, model, by, figures, made_at, comment)


def propose_roll_back(mpi: Mpi, by: Principal, *, comment: str | None = None) -> ModelChange:
    """Ask for a second person's approval to go back to the model before the one in force.

    Raises:
        Forbidden, Invalid, Unavailable: as ``propose_model``.
        Conflict: ``nothing-to-roll-back``, ``model-proposed-already``.
    """
    return _propose(mpi, "roll-back", None, None, by, None, None, comment)


def _propose(
    mpi: Mpi,
    kind: Kind,
    revision: str | None,
    model: Model | None,
    by: Principal,
    figures: Mapping[str, Any] | None,
    made_at: datetime | None,
    comment: str | None,
) -> ModelChange:
    _check_person(by)
    _check_comment(comment)
    now = mpi.clock.now()
    change_id = new_id()
    try:
        with mpi.db.write() as tx:
            present = mpi.at(tx).model
            if model is None or revision is None:
                revision = _before(model_store.read_done(tx))
            elif revision == present.revision:
                raise Conflict("model-in-force", detail="It is in force already.")
            else:
                model_store.keep_model(tx, revision, model.name, model.document, by.id, now)
            if model_store.find_open(tx, revision) is not None:
                raise _proposed_already()
            # What is in force by settings alone is kept as well, so that there is a way back.
            model_store.keep_model(tx, present.revision, present.name, present.document, by.id, now)
            model_store.insert_change(
                tx,
                {
                    "change_id": change_id,
                    "kind": kind,
                    "state": "proposed",
                    "revision": revision,
                    "from_revision": present.revision,
                    "comment": comment,
                    "forecast": figures,
                    "forecast_at": made_at,
                    "proposed_by": by.id,
                    "proposed_at": now,
                },
            )
            detail = {"kind": kind, "model_revision": revision, "from_revision": present.revision}
            trail.note(tx, by, now, "model-proposed", detail=detail)
            return _read_back(tx, mpi, change_id, present.revision)
    except IntegrityError as fault:
        raise _proposed_already() from fault


def _proposed_already() -> Conflict:
    return Conflict("model-proposed-already", detail="It waits for approval, or to be activated.")


def _before(done: list[ChangeRow]) -> str:
    """Return what was in force before the last change that was not itself taken back.

    Raises:
        Conflict: ``nothing-to-roll-back``.
    """
    standing: list[str] = []
    for row in done:
        if row.kind == "roll-back":
            standing.pop()
        else:
            standing.append(row.from_revision)
    if not standing:
        raise Conflict("nothing-to-roll-back", detail="No model was activated that could be taken back.")
    return standing[-1]


def read_forecast(told: Any, revision: str) -> tuple[dict[str, Any], datetime]:
    """Read what ``mpi forecast --json`` printed: its figures, without the people of whom it speaks, and when it was made.

    Raises:
        Invalid: ``forecast-format``, ``forecast-of-another-model``.
    """
    try:
        found = {
            **{name: _count(told[name]) for name in _COUNTS},
            **{name: _tally(told[name]) for name in _TALLIES},
            "subgroups": [
                {"group": _word(one["group"]), "value": _word(one["value"])}
                | {name: _count(one[name]) for name in _SUBGROUP}
                for one in told["subgroups"][:_MOST]
            ],
        }
        of, made_at = str(told["model"]["revision"]), datetime.fromisoformat(told["made_at"])
        if made_at.tzinfo is None:
            raise ValueError("an instant needs a zone")
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise Invalid("forecast-format", field="forecast") from fault
    if of != revision:
        raise Invalid("forecast-of-another-model", field="forecast")
    return found, made_at


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _COUNT_LIMIT:
        raise ValueError("no count")
    return value


def _tally(value: Any) -> dict[str, int]:
    if len(value) > _MOST:
        raise ValueError("too many")
    return {_word(name): _count(count) for name, count in value.items()}


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ValueError("no word")
    return value


# Approving -----------------------------------------------------------------------------------------------------------


def approve_model(mpi: Mpi, revision: str, by: Principal) -> ModelChange:
    """Approve a change that another person proposed. It may then be done; nothing else changes.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``model-not-proposed``.
        Conflict: ``second-person-same``, ``model-approved-already``; ``model-moved`` where another model came into force since it was
            proposed; on an index marked production ``forecast-missing``: there nobody approves what nobody has seen.
    """
    _check_person(by)
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        row = _open(tx, revision)
        if row.state != "proposed":
            raise Conflict("model-approved-already", field="revision")
        if row.proposed_by == by.id:
            raise Conflict("second-person-same", detail="Whoever proposed it cannot approve it.")
        is_production = isinstance(mpi.model, ModelInForce) and mpi.model.is_production
        if is_production and row.kind == "activation" and row.forecast is None:
            raise Conflict(
                "forecast-missing", detail="Withdraw it, and propose it with what `mpi forecast` says of it."
            )
        in_force = mpi.at(tx).model.revision
        check_still_from(row, in_force)
        model_store.update_change(
            tx, row.change_id, {"state": "approved", "approved_by": by.id, "approved_at": now}
        )
        detail: dict[str, Any] = {
            "kind": row.kind,
            "model_revision": revision,
            "proposed_by": row.proposed_by,
        }
        if row.forecast is not None:
            staleness = _staleness(tx, mpi, row, in_force)
            detail["forecast"] = {name: row.forecast[name] for name in ("links_gained", "links_lost")}
            detail["forecast_stale"] = staleness.because or "no"
        trail.note(tx, by, now, "model-approved", detail=detail)
        return _read_back(tx, mpi, row.change_id, in_force)


def withdraw_model(mpi: Mpi, revision: str, by: Principal) -> ModelChange:
    """Take back a change that was not done yet, one's own or another's: saying no needs one person.

    Raises:
        Forbidden, NotFound: as ``approve_model``.
    """
    _check_person(by)
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        row = _open(tx, revision)
        values = {"state": "withdrawn", "withdrawn_by": by.id, "withdrawn_at": now}
        model_store.update_change(tx, row.change_id, values)
        trail.note(tx, by, now, "model-withdrawn", detail={"kind": row.kind, "model_revision": revision})
        return _read_back(tx, mpi, row.change_id, mpi.at(tx).model.revision)


def _open(tx: Connection, revision: str) -> ChangeRow:
    row = model_store.find_open(tx, revision, for_update=True)
    if row is None:
        raise NotFound("model-not-proposed", field="revision")
    return row


def check_still_from(row: ChangeRow, in_force: str) -> None:
    """See that a change still starts from the model in force.

    Raises:
        Conflict: ``model-moved``.
    """
    if row.from_revision != in_force:
        raise Conflict(
            "model-moved", detail="Another model came into force since it was proposed: propose it again."
        )


def _read_back(tx: Connection, mpi: Mpi, change_id: int, in_force: str) -> ModelChange:
    names = dict(model_store.list_models(tx))
    row = next(one for one in model_store.read_changes(tx) if one.change_id == change_id)
    return _change(tx, mpi, row, names, in_force)


def _check_person(by: Principal) -> None:
    """Two people are two people: a system's word is that of whoever is behind it."""
    if by.kind != "person":
        raise Forbidden("approver-not-a-person")
    if "tasks:work" not in by.scopes:
        raise Forbidden("scope-missing", ids={"scope": "tasks:work"})


def _check_comment(comment: str | None) -> None:
    if comment is None:
        return
    if len(comment) > MAX_COMMENT:
        raise Invalid("text-too-long", field="comment")
    if any(not character.isprintable() and character not in "\n\t" for character in comment):
        raise Invalid("control-character", field="comment")
