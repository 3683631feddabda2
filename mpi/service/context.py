"""What every use case of the index is given: database, clock, match model, bell and release gate."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

from foundation.bell import Bell
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Unavailable
from mpi.matching import Model, NormalisedRecord, load_model, normalise
from mpi.records import SourceRecord
from mpi.service.gate import ReleaseGate, closed_gate
from mpi.store.records import RecordRow

log = logging.getLogger(__name__)


class Forms:
    """Normalised forms that this process has read lately.

    A form is found by the text that it was read from, not by its version alone: a version that was rolled back here may since have
    come with other content through another process.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._forms: OrderedDict[tuple[int, int], NormalisedRecord] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, row: RecordRow) -> NormalisedRecord:
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


class LateModel:
    """A match model that could not be read at the start, and is tried again whenever it is needed.

    Raises:
        Unavailable: ``match-model-unreadable``, from any use of it: records are kept meanwhile, and linking waits.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(load_model(self._path), name)


def model_or_late(path: Path | None) -> Model:
    """Read a match model; one that cannot be read stops what needs it, and nothing else."""
    try:
        return load_model(path)
    except Unavailable as fault:
        log.error("match model cannot be read: records are kept, linking waits", extra={"code": fault.code})
        return cast(Model, LateModel(path))


@dataclass(frozen=True, slots=True)
class Mpi:
    """The index. ``forms`` and ``organisations`` (codes known to the directory) save reading; neither is the only copy of a fact."""

    db: Database
    clock: Clock
    model: Model
    bell: Bell = field(default_factory=Bell)
    release_gate: ReleaseGate = closed_gate
    forms: Forms = field(default_factory=Forms, repr=False)
    organisations: set[str] = field(default_factory=set, repr=False)

    def today(self) -> date:
        """Return the civil day that has begun in Britain, which in summer is an hour ahead: a child is born on it already."""
        return (self.clock.now() + timedelta(hours=1)).date()

    def normalised(self, record: SourceRecord) -> NormalisedRecord:
        return normalise(record, self.model)

    def forms_of(self, rows: Iterable[RecordRow]) -> dict[int, NormalisedRecord]:
        return {row.record_id: self.forms.of(row) for row in rows}
