"""A change of model that was approved is done: the whole index is linked by it, and it comes into force in that same transaction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from foundation.changes import Change, check_still_from, find_approved, mark_done
from foundation.principal import Principal
from mpi.service.context import Mpi, kept_model
from mpi.service.models import GOVERNED
from mpi.service.switch import Switched, catch_up, switch_index


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

    def chosen(tx: Connection) -> Change:
        found = find_approved(tx, GOVERNED, revision)
        check_still_from(tx, GOVERNED, found, mpi.at(tx).model.revision)
        return found

    def enforce(tx: Connection) -> None:
        mark_done(tx, GOVERNED, chosen(tx), by, mpi.clock.now())

    with mpi.db.read() as tx:
        chosen(tx)
        model = kept_model(tx, revision)
    switched = switch_index(replace(mpi, model=model), folder, by=by, enforce=enforce, **how)
    catch_up(mpi)
    return switched
