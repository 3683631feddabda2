"""What is in force, changed by two people: one proposes another version, a second approves it, it is done, and is taken back the same way.

Versions are documents, named by their content. A wing says what differs (``Governed``) and keeps what is its own: how a version is read,
what else must be true, and the switch itself, in whose transaction ``mark_done`` says that it has happened.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from foundation.database import Id, Json, UtcDateTime, insert_ignore, metadata
from foundation.direct import Statement
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal

OPEN = ("proposed", "approved")
STATES = (*OPEN, "done", "withdrawn")
ROLL_BACK = "roll-back"


# Tables --------------------------------------------------------------------------------------------------------------


def kept_table(name: str, *more: Column[Any]) -> Table:
    """Versions by revision: drafts, what is in force, and what was. ``more`` may hold a ``version``, a number for people."""
    return Table(
        name,
        metadata,
        Column("revision", String(16), primary_key=True),
        Column("name", Text, nullable=False),
        *more,
        Column("document", Text, nullable=False),
        Column("kept_by", String(128), nullable=False),
        Column("kept_at", UtcDateTime, nullable=False),
    )


def change_table(name: str, kept: Table, kind: str, figures: str) -> Table:
    """Changes of which version is in force: that of the one with the greatest place."""
    table = Table(
        name,
        metadata,
        Column("change_id", Id, primary_key=True, autoincrement=False),
        Column("kind", String(12), nullable=False),
        Column("state", String(12), nullable=False),
        Column("revision", String(16), ForeignKey(kept.c.revision), nullable=False),
        Column("from_revision", String(16), ForeignKey(kept.c.revision), nullable=False),
        Column("comment", Text),
        Column(figures, Json),  # figures alone: nobody's ids
        Column(f"{figures}_at", UtcDateTime),
        Column("proposed_by", String(128), nullable=False),
        Column("proposed_at", UtcDateTime, nullable=False),
        Column("approved_by", String(128)),
        Column("approved_at", UtcDateTime),
        Column("withdrawn_by", String(128)),
        Column("withdrawn_at", UtcDateTime),
        Column("place", Integer),  # 1 for the first that was ever done, and so on
        Column("done_by", String(128)),
        Column("done_at", UtcDateTime),
        UniqueConstraint("place"),
        CheckConstraint(f"kind in {(kind, ROLL_BACK)!r}", name="kind_is_known"),
        CheckConstraint(f"state in {STATES!r}", name="state_is_known"),
        CheckConstraint("(state = 'done') = (place is not null)", name="done_has_place"),
        CheckConstraint("state not in ('approved', 'done') or approved_by is not null", name="is_approved"),
        CheckConstraint("approved_by <> proposed_by", name="two_people"),
        CheckConstraint("revision <> from_revision", name="revisions_differ"),
    )
    # One open change of a revision at a time.
    Index(
        f"uq_{name}_open",
        table.c.revision,
        unique=True,
        sqlite_where=table.c.state.in_(OPEN),
        postgresql_where=table.c.state.in_(OPEN),
    )
    return table


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that is kept, without its document. ``version`` is None where its kind has none."""

    revision: str
    name: str
    version: int | None
    kept_by: str
    kept_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is in force. ``figures`` are what was found of it beforehand, never anybody's id; None where nobody asked.

    ``place``: 1 for the first that was ever done, and so on; None for one that was not.
    """

    change_id: int
    kind: str
    state: str
    revision: str
    name: str
    version: int | None
    from_revision: str
    comment: str | None = field(repr=False)
    figures: Mapping[str, Any] | None = field(repr=False)
    figures_at: datetime | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    place: int | None
    done_by: str | None
    done_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


class Tables:
    """Two tables, as ``kept_table`` and ``change_table`` make them. What comes out of them are values.

    Args:
        figures: what the second calls a change's figures.
    """

    def __init__(self, kept: Table, changes: Table, figures: str) -> None:
        self.kept, self.changes, self.figures = kept, changes, figures
        self._in_force = Statement.alike(
            f"SELECT revision FROM {changes.name} WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1"  # noqa: S608
        )
        version = [kept.c.version] if "version" in kept.c else [null().label("version")]
        self._kept = (kept.c.revision, kept.c.name, *version, kept.c.kept_by, kept.c.kept_at)
        own = {"name": kept.c.name, "version": version[0], "figures": changes.c[figures]}
        own["figures_at"] = changes.c[f"{figures}_at"]
        columns = [own[name].label(name) if name in own else changes.c[name] for name in Change.__slots__]
        self._changes = select(*columns).join_from(changes, kept, changes.c.revision == kept.c.revision)

    def revision_in_force(self, tx: Connection) -> str | None:
        """Return the revision that the last change put in force; None where there never was one."""
        found: list[tuple[str]] = self._in_force.rows(tx)
        return found[0][0] if found else None

    def keep(self, tx: Connection, kept: Kept, document: Mapping[str, Any]) -> bool:
        """Keep a version; one that is kept already stays as it is, since a revision names its content. Return whether it is new."""
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        row = {**asdict(kept), "document": text}
        row = {name: row[name] for name in self.kept.c.keys()}
        return insert_ignore(tx, self.kept, [row], ["revision"]) == 1

    def read_document(self, tx: Connection, revision: str) -> Any:
        """Return a version's document; None where it is not kept.

        Raises:
            ValueError: it is no JSON any more.
        """
        text = tx.scalar(select(self.kept.c.document).where(self.kept.c.revision == revision))
        return None if text is None else json.loads(text)

    def list_kept(self, tx: Connection) -> dict[str, Kept]:
        """Return every version that is kept, by revision, the newest first."""
        statement = select(*self._kept).order_by(self.kept.c.kept_at.desc(), self.kept.c.revision)
        return {row["revision"]: Kept(**row) for row in tx.execute(statement).mappings()}

    def list_changes(self, tx: Connection) -> list[Change]:
        """Return every change, in the order in which they were proposed."""
        return self._read(tx, self._changes)

    def read_change(self, tx: Connection, change_id: int) -> Change:
        return self._read(tx, self._changes.where(self.changes.c.change_id == change_id))[0]

    def read_done(self, tx: Connection) -> list[Change]:
        """Return the changes that were done, the first one first."""
        found = self._read(tx, self._changes.where(self.changes.c.place.is_not(None)))
        return sorted(found, key=_place)

    def find_open(self, tx: Connection, revision: str) -> Change | None:
        """Return the open change to a revision, if there is one, and hold it against other writers."""
        table = self.changes.c
        statement = self._changes.where(table.revision == revision, table.state.in_(OPEN))
        found = self._read(tx, statement.with_for_update(of=self.changes))
        return found[0] if found else None

    def _read(self, tx: Connection, statement: Any) -> list[Change]:
        rows = tx.execute(statement.order_by(self.changes.c.proposed_at, self.changes.c.change_id))
        return [Change(**row) for row in rows.mappings()]

    def insert(self, tx: Connection, row: Mapping[str, Any]) -> None:
        tx.execute(insert(self.changes), dict(row))

    def update(self, tx: Connection, change_id: int, values: Mapping[str, Any]) -> None:
        """Change an open row."""
        table = self.changes.c
        statement = update(self.changes).where(table.change_id == change_id, table.state.in_(OPEN))
        tx.execute(statement.values(dict(values)))

    def next_place(self, tx: Connection) -> int:
        return 1 + (tx.scalar(select(func.max(self.changes.c.place))) or 0)


def _place(change: Change) -> int:
    return change.place or 0


# What is told --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """A version that is kept, or the one that counts until there is a change.

    ``state``: ``in-force``, ``approved``, ``proposed``, ``past`` (it was in force), or the word for one that never was. ``since``,
    ``proposed_by`` and ``approved_by`` are of the change that last brought it into force; None where none did.
    """

    revision: str
    name: str
    version: int | None
    state: str
    since: datetime | None = None
    until: datetime | None = None
    proposed_by: str | None = None
    approved_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        return _plain(asdict(self))


def is_overtaken(tx: Connection, tables: Tables, change: Change, present: str) -> bool:
    """Whether another revision came into force since a change's figures were made."""
    at = change.figures_at
    return change.from_revision != present or any(
        at is not None and one.done_at is not None and one.done_at > at for one in tables.read_done(tx)
    )


def as_json(change: Change, figures: str) -> dict[str, Any]:
    """Tell a change to machines, its figures by the name that they have there."""
    names = {"figures": figures, "figures_at": f"{figures}_at"}
    told = {name: getattr(change, name) for name in Change.__slots__ if name != "place"}
    told["change_id"] = str(change.change_id)
    return _plain({names.get(name, name): value for name, value in told.items()})


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in told.items()
        if name != "version" or value is not None
    }


def list_known(
    kept: Mapping[str, Kept], changes: Sequence[Change], in_force: Kept, never: str
) -> list[Known]:
    """Return what is known of each version: those that are kept, and the one in force if it is not among them.

    Args:
        never: the state of one that was never in force.
    """
    versions = kept if in_force.revision in kept else {in_force.revision: in_force, **kept}
    done = sorted((one for one in changes if one.place is not None), key=_place)
    states = {one.revision: one.state for one in changes if one.is_open}
    came, left = ({getattr(one, end): one for one in done} for end in ("revision", "from_revision"))
    known = []
    for one in versions.values():
        last, gone = came.get(one.revision), left.get(one.revision)
        is_present = one.revision == in_force.revision
        state = "in-force" if is_present else states.get(one.revision) or ("past" if last or gone else never)
        since = (last.done_at, last.proposed_by, last.approved_by) if last else (None, None, None)
        until = gone.done_at if gone and not is_present else None
        known.append(Known(one.revision, one.name, one.version, state, since[0], until, *since[1:]))
    return known


# The steps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Governed:
    """What differs between things that are changed so.

    Attributes:
        word: what it is, ``policy``: it begins its error codes (``policy-moved``) and kinds of audit rows, and is said in refusals.
        kind: what a change is called that is no roll-back, ``publication``.
        done: how it was done, ``published``.
        scope: what whoever changes it must be allowed.
        not_approved: what to do where a second person is missing.
        note: leaves an audit row of this kind, with this detail, in the act's own transaction.
    """

    tables: Tables
    word: str
    kind: str
    done: str
    scope: str
    not_approved: str
    note: Callable[[Connection, str, Principal, datetime, Mapping[str, Any]], object]


def check_may_change(of: Governed, by: Principal) -> None:
    """Two people are two people: a system's word is that of whoever is behind it.

    Raises:
        Forbidden: ``approver-not-a-person``, ``scope-missing``.
    """
    if by.kind != "person":
        raise Forbidden("approver-not-a-person")
    if of.scope not in by.scopes:
        raise Forbidden("scope-missing", ids={"scope": of.scope})


def check_not_in_force(of: Governed, revision: str, present: str) -> None:
    """See that it is another revision than the present one.

    Raises:
        Conflict: ``…-in-force``.
    """
    if revision == present:
        raise Conflict(f"{of.word}-in-force", detail="It is in force already.")


def before(tx: Connection, of: Governed) -> str:
    """Return the revision that a roll-back leads to.

    Raises:
        Conflict: ``nothing-to-roll-back``.
    """
    found = stood_before(of.tables.read_done(tx))
    if found is None:
        detail = f"No {of.word} was {of.done} that could be taken back."
        raise Conflict("nothing-to-roll-back", detail=detail)
    return found


def stood_before(done: Sequence[Change]) -> str | None:
    """Return what was in force before the last change that was not itself taken back; None where there is none.

    Args:
        done: the changes that were done, the first one first.
    """
    standing: list[str] = []
    for one in done:
        if one.kind == ROLL_BACK:
            del standing[-1:]
        else:
            standing.append(one.from_revision)
    return standing[-1] if standing else None


def propose(
    tx: Connection,
    of: Governed,
    revision: str,
    present: str,
    by: Principal,
    now: datetime,
    *,
    is_back: bool,
    comment: str | None,
    figures: "Figures | None",
) -> int:
    """Ask for a second person's approval that a revision that is kept takes the place of the present one, which is kept too.

    Returns: the change's id.

    Raises:
        Conflict: ``…-proposed-already``.
    """
    tables, change_id = of.tables, new_id()
    already = Conflict(f"{of.word}-proposed-already", detail=f"It waits for approval, or to be {of.done}.")
    if tables.find_open(tx, revision) is not None:
        raise already
    kind = ROLL_BACK if is_back else of.kind
    row = {
        "change_id": change_id,
        "kind": kind,
        "state": "proposed",
        "revision": revision,
        "from_revision": present,
        "comment": comment,
        tables.figures: figures.counts if figures else None,
        f"{tables.figures}_at": figures.made_at if figures else None,
        "proposed_by": by.id,
        "proposed_at": now,
    }
    try:
        tables.insert(tx, row)
    except IntegrityError as fault:  # someone else proposed it at this moment
        raise already from fault
    detail = {"kind": kind, f"{of.word}_revision": revision, "from_revision": present}
    of.note(tx, f"{of.word}-proposed", by, now, detail)
    return change_id


def find_proposed(tx: Connection, of: Governed, revision: str, by: Principal) -> Change:
    """Return what this person may approve, as far as people go, and hold it.

    Raises:
        NotFound: ``…-not-proposed``.
        Conflict: ``…-approved-already``, ``second-person-same``.
    """
    change = _find_open(tx, of, revision)
    if change.state != "proposed":
        raise Conflict(f"{of.word}-approved-already", field="revision")
    if change.proposed_by == by.id:
        raise Conflict("second-person-same", detail="Whoever proposed it cannot approve it.")
    return change


def check_still_from(tx: Connection, of: Governed, change: Change, present: str) -> None:
    """See that a change still starts from the revision in force, and a roll-back still leads to what stood before that.

    Raises:
        Conflict: ``…-moved``.
    """
    if change.from_revision == present and (
        change.kind != ROLL_BACK or stood_before(of.tables.read_done(tx)) == change.revision
    ):
        return
    detail = f"Another {of.word} came into force since it was proposed: propose it again."
    raise Conflict(f"{of.word}-moved", detail=detail)


def approve(
    tx: Connection, of: Governed, change: Change, by: Principal, now: datetime, more: Mapping[str, Any]
) -> None:
    """Mark what ``find_proposed`` returned as approved; ``more`` is told to the audit log as well."""
    _take(tx, of, change, "approved", by, now, {"proposed_by": change.proposed_by, **more})


def find_approved(tx: Connection, of: Governed, revision: str) -> Change:
    """Return what two people chose, and hold it.

    Raises:
        NotFound: ``…-not-proposed``.
        Conflict: ``…-not-approved``.
    """
    change = _find_open(tx, of, revision)
    if change.state != "approved":
        raise Conflict(f"{of.word}-not-approved", detail=of.not_approved)
    return change


def mark_done(tx: Connection, of: Governed, change: Change, by: Principal, now: datetime) -> None:
    """Say that what ``find_approved`` returned has happened: with this transaction its revision comes into force."""
    detail = {name: getattr(change, name) for name in ("from_revision", "proposed_by", "approved_by")}
    told_as = "rolled-back" if change.kind == ROLL_BACK else of.done
    place = of.tables.next_place(tx)
    _take(tx, of, change, "done", by, now, detail, told_as=told_as, place=place)


def withdraw(tx: Connection, of: Governed, revision: str, by: Principal, now: datetime) -> Change:
    """Take back a change that was not done yet, one's own or another's: saying no needs one person. Return it as it was.

    Raises:
        NotFound: ``…-not-proposed``.
    """
    change = _find_open(tx, of, revision)
    _take(tx, of, change, "withdrawn", by, now, {})
    return change


def _take(
    tx: Connection,
    of: Governed,
    change: Change,
    state: str,
    by: Principal,
    now: datetime,
    detail: Mapping[str, Any],
    *,
    told_as: str | None = None,
    **more: Any,
) -> None:
    """Take an open change one step on, and tell the audit log."""
    values = {"state": state, f"{state}_by": by.id, f"{state}_at": now, **more}
    of.tables.update(tx, change.change_id, values)
    told = {"kind": change.kind, f"{of.word}_revision": change.revision, **detail}
    of.note(tx, f"{of.word}-{told_as or state}", by, now, told)


def _find_open(tx: Connection, of: Governed, revision: str) -> Change:
    change = of.tables.find_open(tx, revision)
    if change is None:
        raise NotFound(f"{of.word}-not-proposed", field="revision")
    return change


# Figures that someone sent -------------------------------------------------------------------------------------------

_COUNT_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found of a change beforehand, and when."""

    counts: Mapping[str, Any] = field(repr=False)
    made_at: datetime


def read_figures(
    of: Governed,
    told: Any,
    revision: str,
    now: datetime,
    read: Callable[[Any], tuple[Mapping[str, Any], str]],
) -> Figures | None:
    """Read figures that someone sent as a command printed them; None where nothing was sent.

    Args:
        read: returns the figures that are kept, and of which revision they are. What it stumbles over is no such figures.

    Raises:
        Invalid: ``FIGURES-format``, ``FIGURES-of-another-WORD``.
    """
    if told is None:
        return None
    name = of.tables.figures
    code = name.replace("_", "-")
    try:
        counts, whose = read(told)
        made_at = read_instant(told["made_at"])
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise Invalid(f"{code}-format", field=name) from fault
    if whose != revision:
        raise Invalid(f"{code}-of-another-{of.word}", field=name)
    if made_at > now + timedelta(days=1):
        raise Invalid(f"{code}-format", field=name, detail="It was made in the future.")
    return Figures(counts, made_at)


def read_instant(value: Any) -> datetime:
    """Read an instant with its zone, as UTC. This and what follows raise ValueError or TypeError."""
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError("an instant needs a zone")
    try:
        return at.astimezone(UTC)
    except OverflowError as fault:  # the first or last hours of the calendar, in another zone
        raise ValueError("no instant") from fault


def read_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _COUNT_LIMIT:
        raise ValueError("no count")
    return value


def read_word(value: Any, longest: int = 200) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise ValueError("no word")
    return value


def read_tally(value: Any, most: int, longest: int = 200) -> dict[str, int]:
    """Read counts by word, ``most`` words of ``longest`` characters."""
    if len(value) > most:
        raise ValueError("too many")
    return {read_word(name, longest): read_count(count) for name, count in value.items()}
