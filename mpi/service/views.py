"""Saved views: what a reader chose of the review queue, kept under a name, for them alone."""

from collections.abc import Mapping

from foundation.directory import parse_ods_code
from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching.harm import TEAMS
from mpi.service.context import Mpi
from mpi.service.review import EVERYTHING, OWN, check_kind
from mpi.store import views as view_store
from mpi.store.tasks import SORTS, VIEWS
from mpi.store.views import ViewRow

MOST_VIEWS = 20
LONGEST_NAME = 40
CHOICES = ("kind", "for", "state", "mine", "older_than_days", "sort")
"""What may be chosen, by the names that the API's list gives them."""


def list_views(mpi: Mpi, by: Principal) -> list[ViewRow]:
    """Return a reader's views, in order of name."""
    with mpi.db.read() as tx:
        return view_store.list_views(tx, by.id)


def keep_view(mpi: Mpi, by: Principal, name: str, chosen: Mapping[str, str]) -> ViewRow:
    """Keep what a reader chose.

    Raises:
        Invalid: ``view-name``; ``choice-unknown``, naming what was chosen; ``task-kind-unknown``.
        Conflict: ``view-exists``, ``views-too-many``.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("view-name", field="name", detail=f"1 to {LONGEST_NAME} characters.")
    _check(chosen)
    row = ViewRow(new_id(), by.id, name, dict(sorted(chosen.items())), mpi.clock.now())
    with mpi.db.write() as tx:
        if view_store.count_views(tx, by.id) >= MOST_VIEWS:
            raise Conflict("views-too-many", field="name", detail=f"{MOST_VIEWS} at most.")
        if not view_store.insert_view(tx, row):
            raise Conflict("view-exists", field="name")
    return row


def drop_view(mpi: Mpi, by: Principal, view_id: int) -> None:
    """Forget a view of a reader's own.

    Raises:
        NotFound: ``view-unknown``, for another reader's as well.
    """
    with mpi.db.write() as tx:
        if not view_store.delete_view(tx, by.id, view_id):
            raise NotFound("view-unknown", ids={"view_id": str(view_id)})


def _check(chosen: Mapping[str, str]) -> None:
    for name, value in chosen.items():
        match name:
            case "kind":
                check_kind(value)
                is_known = True
            case "for":
                is_known = value in (EVERYTHING, OWN, *TEAMS) or bool(parse_ods_code(value, "for"))
            case "state":
                is_known = value in VIEWS
            case "sort":
                is_known = value in SORTS
            case "mine":
                is_known = value == "true"
            case "older_than_days":
                is_known = value.isascii() and value.isdecimal() and 0 < int(value[:6]) <= 3_660
            case _:
                raise Invalid("choice-unknown", field="chosen")
        if not is_known:
            raise Invalid("choice-unknown", field=name)
