"""What every use case of the index is given: database, clock, match model, bell and release gate."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol, Self, cast

from sqlalchemy import Connection

from foundation.bell import Bell
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Conflict, Unavailable
from mpi.matching import Model, NormalisedRecord, build_model, load_model, normalise
from mpi.records import SourceRecord
from mpi.service.gate import ReleaseGate, closed_gate
from mpi.service.holders import Holder, Keeper
from mpi.store.models import MODELS

log = logging.getLogger(__name__)


class Normalised(Protocol):
    """Whatever has the normalised form of a record."""

    @property
    def record_id(self) -> int: ...

    @property
    def normalised(self) -> str: ...


class Forms:
    """Normalised forms that this process has read lately.

    A form is found by the text that it was read from, not by its version alone: a version that was rolled back here may since have
    come with other content through another process.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._forms: OrderedDict[tuple[int, int], NormalisedRecord] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, row: Normalised) -> NormalisedRecord:
        # 64 bits, keyed for each process: enough to tell the few texts of one record apart.
        form = self._forms.get((row.record_id, hash(row.normalised)))
        if form is None:
            form = NormalisedRecord.from_payload(row.normalised)
            self.remember(row.record_id, row.normalised, form)
        return form

    def remember(self, record_id: int, normalised: str, form: NormalisedRecord) -> None:
        with self._lock:
            self._forms[record_id, hash(normalised)] = form
            while len(self._forms) > self._limit:
                self._forms.popitem(last=False)

    def forget(self, record_id: int) -> None:
        """Give up every form of a record; another process gives its own up when newer ones push it out."""
        with self._lock:
            for known in [known for known in self._forms if known[0] == record_id]:
                del self._forms[known]


NO_LINKS = 1_000_000_000
"""A live threshold in millibits that no pair of records reaches."""


def unapproved(model: Model) -> Model:
    """Return a model as it may be used where nobody has approved it: it weighs and asks, and links nobody by itself."""
    document = {name: value for name, value in model.document.items() if name != "sole"}
    limits = {**document["thresholds"], "live": NO_LINKS}
    return build_model({**document, "name": f"{model.name} (not approved)", "thresholds": limits})


class ModelInForce:
    """The match model of an index, whichever it is: the one that was last activated, in whatever process; before, the one of settings.

    A use case asks ``at`` once in its transaction and keeps to the answer. Whoever takes this for a model is given the one of that
    very moment, by a transaction for each question: right, and slow.

    Args:
        path: the model of settings, None for the shipped one. It counts until a model is activated.
        is_production: whether that one, which nobody has approved, may link nobody.

    Raises:
        Unavailable: ``match-model-unreadable``, from any use of it: records are kept meanwhile, and linking waits.
    """

    def __init__(self, db: Database, path: Path | None = None, *, is_production: bool = False) -> None:
        self._db, self._path, self.is_production = db, path, is_production
        self._compiled: dict[str, Model] = {}
        self._unapproved: Model | None = None
        try:
            load_model(path)
        except Unavailable as fault:
            log.error("match model of settings cannot be read", extra={"code": fault.code})

    def at(self, tx: Connection) -> Model:
        """Return the model in force, as this transaction sees it."""
        return self.of_revision(tx, MODELS.revision_in_force(tx))

    def of_revision(self, tx: Connection, revision: str | None) -> Model:
        """Return the model of a revision that is in force; None where there never was one."""
        if revision is None:
            return self.of_settings()
        if revision not in self._compiled:
            # Two threads may compile one: then either is as good.
            self._compiled[revision] = kept_model(tx, revision)
        return self._compiled[revision]

    def of_settings(self) -> Model:
        """Return the model that counts until one is activated."""
        if not self.is_production:
            return load_model(self._path)
        if self._unapproved is None:
            self._unapproved = unapproved(load_model(self._path))
        return self._unapproved

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with self._db.read() as tx:
            return getattr(self.at(tx), name)


def kept_model(tx: Connection, revision: str) -> Model:
    """Compile a model that was proposed once.

    Raises:
        Unavailable: ``match-model-unreadable``: it is not there, not what it was, or of a format that this version does not know.
    """
    try:
        document = MODELS.read_document(tx, revision)
        model = None if document is None else build_model(document)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise Unavailable("match-model-unreadable") from fault
    if model is None or model.revision != revision:
        raise Unavailable("match-model-unreadable")
    return model


class _Unreadable:
    """What stands for a model in force that cannot be read, for as long as one transaction."""

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("match-model-unreadable")


@dataclass(frozen=True, slots=True)
class Mpi:
    """The index. ``forms``, ``organisations`` (codes known to the directory) and ``day_keys`` save reading; none is the only copy of
    a fact.

    ``model`` may be a ``ModelInForce``: a use case goes on with ``at`` or ``present``, so that one model serves it from beginning to end.

    ``holders`` are asked when a record is erased: each takes away what it holds of it; ``keepers`` when it is withdrawn or comes back.

    ``known_per_mille``: how many of a thousand tasks that a person takes from the queue are pairs of which the answer is known.
    """

    db: Database
    clock: Clock
    model: Model
    bell: Bell = field(default_factory=Bell)
    release_gate: ReleaseGate = closed_gate
    holders: tuple[Holder, ...] = ()
    keepers: tuple[Keeper, ...] = ()
    known_per_mille: int = 0
    forms: Forms = field(default_factory=Forms, repr=False)
    organisations: set[str] = field(default_factory=set, repr=False)
    day_keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    def at(self, tx: Connection) -> Self:
        """Return the index with the model in force, as this transaction sees it.

        Raises:
            Conflict: ``model-not-in-force`` where the index was given another one for good, and then one was activated.
        """
        return self.of_revision(tx, MODELS.revision_in_force(tx))

    def of_revision(self, tx: Connection, revision: str | None) -> Self:
        """As ``at``, where the transaction has read already which revision is in force."""
        if isinstance(self.model, ModelInForce):
            try:
                return replace(self, model=self.model.of_revision(tx, revision))
            except Unavailable:
                return replace(self, model=cast(Model, _Unreadable()))
        if isinstance(self.model, Model):
            _refuse_other(self.model, revision)
        return self

    def present(self) -> Self:
        """Return the index with the model in force now, for what needs one before it has a transaction, or for several of them."""
        with self.db.read() as tx:
            return self.at(tx)

    def today(self) -> date:
        """Return the civil day that has begun in Britain, which in summer is an hour ahead: a child is born on it already."""
        return (self.clock.now() + timedelta(hours=1)).date()

    def normalised(self, record: SourceRecord) -> NormalisedRecord:
        return normalise(record, self.model)

    def forms_of(self, rows: Iterable[Normalised]) -> dict[int, NormalisedRecord]:
        return {row.record_id: self.forms.of(row) for row in rows}


def check_in_force(tx: Connection, model: Model) -> None:
    """See that no other model than this one is in force.

    Raises:
        Conflict: ``model-not-in-force``.
    """
    _refuse_other(model, MODELS.revision_in_force(tx))


def _refuse_other(model: Model, revision: str | None) -> None:
    if revision not in (None, model.revision):
        raise Conflict(
            "model-not-in-force",
            detail="Another match model was activated: `mpi model list` says which; propose this one to change that.",
        )
