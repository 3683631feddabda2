"""Which match model is in force: proposed by one person with its forecast, approved by another, and taken back the same way.

Doing what was approved is ``mpi.service.activate``: a bulk switch, whose transaction also marks the model as the one in force.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from foundation import changes
from foundation.changes import Change, Figures, Governed, Kept, Known, read_count, read_tally, read_word
from foundation.comments import check_comment
from foundation.errors import Conflict, Invalid
from foundation.principal import Principal
from mpi.matching import Model, build_model
from mpi.service import trail
from mpi.service.context import ModelInForce, Mpi
from mpi.store.models import MODELS, count_since

GOVERNED = Governed(
    MODELS,
    word="model",
    kind="activation",
    done="activated",
    scope="tasks:work",
    not_approved="It waits for a second person: `mpi model approve`.",
    note=lambda tx, kind, by, at, detail: trail.note(tx, by, at, kind, detail=detail),
)

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
class ModelChange(Change):
    """A change of the model in force; its figures are those of a forecast, which may have grown stale."""

    staleness: Staleness | None = None

    @property
    def forecast(self) -> Mapping[str, Any] | None:
        return self.figures

    @property
    def forecast_at(self) -> datetime | None:
        return self.figures_at

    def as_json(self) -> dict[str, Any]:
        staleness = asdict(self.staleness) if self.staleness else None
        return changes.as_json(self, "forecast") | {"staleness": staleness}


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of models: those that are kept (``kept`` is one that was never in force), and every change, the newest first."""

    in_force: str
    models: tuple[Known, ...]
    changes: tuple[ModelChange, ...]


# Reading -------------------------------------------------------------------------------------------------------------


def list_models(mpi: Mpi) -> Models:
    """Return every model that was ever proposed or in force, and every change.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    with mpi.db.read() as tx:
        model = mpi.at(tx).model
        kept, rows = MODELS.list_kept(tx), MODELS.list_changes(tx)
        told = tuple(_told(tx, mpi, row, model.revision) for row in reversed(rows))
    known = changes.list_known(kept, rows, _kept(model, "", mpi.clock.now()), never="kept")
    return Models(model.revision, tuple(known), told)


def _kept(model: Model, by: str, at: datetime) -> Kept:
    return Kept(model.revision, model.name, None, by, at)


def _told(tx: Connection, mpi: Mpi, row: Change, in_force: str) -> ModelChange:
    staleness = _staleness(tx, mpi, row, in_force) if row.is_open and row.figures is not None else None
    return ModelChange(**asdict(row), staleness=staleness)


def _read_back(tx: Connection, mpi: Mpi, change_id: int, in_force: str) -> ModelChange:
    return _told(tx, mpi, MODELS.read_change(tx, change_id), in_force)


def _staleness(tx: Connection, mpi: Mpi, row: Change, in_force: str) -> Staleness:
    assert row.figures_at is not None
    records, changed, decisions = count_since(tx, row.figures_at)
    because = None
    if changes.is_overtaken(tx, MODELS, row, in_force):
        because = "model-moved"
    elif (changed + decisions) * STALE_SHARE > records:
        because = "index-changed"
    elif mpi.clock.now() - row.figures_at > STALE_AFTER:
        because = "old"
    return Staleness(records, changed, decisions, because)


# Proposing -----------------------------------------------------------------------------------------------------------


def read_model(document: Any) -> Model:
    """Compile a model document that someone sent.

    Raises:
        Invalid: ``model-format``.
    """
    try:
        read_word(document["name"])
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
    figures = changes.read_figures(GOVERNED, forecast, model.revision, mpi.clock.now(), _read_forecast)
    return _propose(mpi, model, by, comment, figures)


def propose_roll_back(mpi: Mpi, by: Principal, *, comment: str | None = None) -> ModelChange:
    """Ask for a second person's approval to go back to the model before the one in force.

    Raises:
        Forbidden, Invalid, Unavailable: as ``propose_model``.
        Conflict: ``nothing-to-roll-back``, ``model-proposed-already``.
    """
    return _propose(mpi, None, by, comment, None)


def _propose(
    mpi: Mpi, model: Model | None, by: Principal, comment: str | None, figures: Figures | None
) -> ModelChange:
    """Propose a model; without one, a roll-back."""
    changes.check_may_change(GOVERNED, by)
    check_comment(comment)
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        present = mpi.at(tx).model
        if model is None:
            revision = changes.before(tx, GOVERNED)
        else:
            revision = model.revision
            changes.check_not_in_force(GOVERNED, revision, present.revision)
            MODELS.keep(tx, _kept(model, by.id, now), model.document)
        # What is in force by settings alone is kept as well, so that there is a way back.
        MODELS.keep(tx, _kept(present, by.id, now), present.document)
        is_back = model is None
        change_id = changes.propose(
            tx,
            GOVERNED,
            revision,
            present.revision,
            by,
            now,
            is_back=is_back,
            comment=comment,
            figures=figures,
        )
        return _read_back(tx, mpi, change_id, present.revision)


def _read_forecast(told: Any) -> tuple[dict[str, Any], str]:
    """Read what ``mpi forecast --json`` printed: its figures, without the people of whom it speaks, and of which model they are."""
    found = {
        **{name: read_count(told[name]) for name in _COUNTS},
        **{name: read_tally(told[name], _MOST) for name in _TALLIES},
        "subgroups": [
            {"group": read_word(one["group"]), "value": read_word(one["value"])}
            | {name: read_count(one[name]) for name in _SUBGROUP}
            for one in told["subgroups"][:_MOST]
        ],
    }
    return found, str(told["model"]["revision"])


# Approving -----------------------------------------------------------------------------------------------------------


def approve_model(mpi: Mpi, revision: str, by: Principal) -> ModelChange:
    """Approve a change that another person proposed. It may then be done; nothing else changes.

    Raises:
        Forbidden: ``scope-missing``, ``approver-not-a-person``.
        NotFound: ``model-not-proposed``.
        Conflict: ``second-person-same``, ``model-approved-already``; ``model-moved`` where another model came into force since it was
            proposed; on an index marked production ``forecast-missing``: there nobody approves what nobody has seen.
    """
    changes.check_may_change(GOVERNED, by)
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        row = changes.find_proposed(tx, GOVERNED, revision, by)
        is_production = isinstance(mpi.model, ModelInForce) and mpi.model.is_production
        if is_production and row.kind == GOVERNED.kind and row.figures is None:
            raise Conflict(
                "forecast-missing", detail="Withdraw it, and propose it with what `mpi forecast` says of it."
            )
        in_force = mpi.at(tx).model.revision
        changes.check_still_from(tx, GOVERNED, row, in_force)
        seen: dict[str, Any] = {}
        if row.figures is not None:
            seen["forecast"] = {name: row.figures[name] for name in ("links_gained", "links_lost")}
            seen["forecast_stale"] = _staleness(tx, mpi, row, in_force).because or "no"
        changes.approve(tx, GOVERNED, row, by, now, seen)
        return _read_back(tx, mpi, row.change_id, in_force)


def withdraw_model(mpi: Mpi, revision: str, by: Principal) -> ModelChange:
    """Take back a change that was not done yet, one's own or another's: saying no needs one person.

    Raises:
        Forbidden, NotFound: as ``approve_model``.
    """
    changes.check_may_change(GOVERNED, by)
    with mpi.db.write() as tx:
        row = changes.withdraw(tx, GOVERNED, revision, by, mpi.clock.now())
        return _read_back(tx, mpi, row.change_id, mpi.at(tx).model.revision)
