"""A change of model that was approved is done: the whole index is linked by it, and it comes into force in that same transaction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from foundation.errors import Conflict, NotFound
from foundation.principal import Principal
from mpi.service import trail
from mpi.service.context import Mpi, kept_model
from mpi.service.models import check_still_from
from mpi.service.switch import Switched, catch_up, switch_index
from mpi.store import models as model_store
from mpi.store.models import ChangeRow

_DONE = {"activation": "activated", "roll-back": "rolled-back"}


def activate_model(mpi: Mpi, revision: str, folder: Path, by: Principal, **how: Any) -> Switched:
    """Link the whole index by a model that two people chose, and bring it into force: both or neither.

    Whoever links by the model before is kept from it from that moment on, and goes on by the new one.

    Args:
        mpi: an index whose model is the one in force, whichever that is.
        how: as for ``switch_index``.

    Raises:
        NotFound: ``model-not-proposed``.
        Conflict: ``model-not-approved``, ``model-moved``; nothing has happened then.
        Unavailable: as ``switch_index``; ``match-model-unreadable``.
    """
    with mpi.db.read() as tx:
        check_still_from(_approved(tx, revision), mpi.at(tx).model.revision)
        model = kept_model(tx, revision)

    def enforce(tx: Connection) -> None:
        now = mpi.clock.now()
        row = _approved(tx, revision)
        check_still_from(row, mpi.at(tx).model.revision)
        place = 1 + max((one.place or 0 for one in model_store.read_done(tx)), default=0)
        values = {"state": "done", "place": place, "done_by": by.id, "done_at": now}
        model_store.update_change(tx, row.change_id, values)
        detail = {
            "kind": row.kind,
            "model_revision": revision,
            "from_revision": row.from_revision,
            "proposed_by": row.proposed_by,
            "approved_by": row.approved_by,
        }
        trail.note(tx, by, now, f"model-{_DONE[row.kind]}", detail=detail)

    switched = switch_index(replace(mpi, model=model), folder, by=by, enforce=enforce, **how)
    catch_up(mpi)
    return switched


def _approved(tx: Connection, revision: str) -> ChangeRow:
    row = model_store.find_open(tx, revision, for_update=True)
    if row is None:
        raise NotFound("model-not-proposed", field="revision")
    if row.state != "approved":
        raise Conflict("model-not-approved", detail="It waits for a second person: `mpi model approve`.")
    return row
