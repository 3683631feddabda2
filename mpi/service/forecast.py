"""Shadow runs: what linking the whole index under another match model would change, found without changing anything."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.ids import format_id
from mpi.service.context import Mpi
from mpi.service.graph import Unions
from mpi.service.switch import Settlement, tried_switch
from mpi.store.tasks import TaskRow

Ints = NDArray[np.int64]

MOST = 50
"""How many of the most changed people are told of by themselves."""

CHANGED_MEANWHILE = "changed meanwhile"
_NUMBERS = {"v": "verified", "c": "claimed", "i": "not valid"}
_AGES = ((1, "0-1"), (17, "2-17"), (39, "18-39"), (64, "40-64"), (200, "65+"))


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Records that have something in common, and what would become of them. A link counts for each of its two records."""

    group: str
    value: str
    records: int
    touched: int
    """Records of a person that would become another set of records."""
    links_gained: int
    links_lost: int


@dataclass(frozen=True, slots=True)
class ChangedPeople:
    """Persons that stand, and the persons that their records would make. Ids only: who they are is for those who may see it."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    """A person bears the id of its earliest record, so that most keep theirs."""
    records: int
    links_gained: int
    links_lost: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would change. A link is a pair of records in one person."""

    name: str
    revision: str
    made_at: datetime
    """When the index was read for it."""
    present: dict[str, int]
    """Records by the model revision under which they stand now."""
    records: int
    waiting: int
    """Records that nobody has linked yet, and which are therefore no change of anybody's; they are in no other count."""
    persons_before: int
    persons_after: int
    persons_joined: int
    persons_parted: int
    links_before: int
    links_gained: int
    links_lost: int
    records_touched: int
    tasks_opened: dict[str, int]
    tasks_closed: dict[str, int]
    subgroups: tuple[Subgroup, ...]
    most_changed: tuple[ChangedPeople, ...]

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        model = {"name": told.pop("name"), "revision": told.pop("revision")}
        return {"model": model, **told, "made_at": self.made_at.isoformat()}


def forecast_model(
    mpi: Mpi,
    folder: Path,
    *,
    memory: int = 4 << 30,
    threads: int = 2,
    most: int = MOST,
    say: Callable[[str, int, int], None] = lambda *_: None,
) -> Forecast:
    """Say what linking the whole index under this model would change: decisions of people stand in it as they would.

    Everything goes on meanwhile. What changes while it runs is counted as it was met.

    Args:
        folder: an empty folder of the caller's; it then holds demographics.
        most: how many of the most changed people to tell.

    Raises:
        Unavailable: ``keys-overfull``, ``match-model-unreadable``.
    """
    made_at = mpi.clock.now()
    with tried_switch(mpi, folder, memory=memory, threads=threads, say=say) as settled:
        say("Asking", 0, 1)
        tasks = settled.tasks()
        stood = settled.before > 0
        changes = _Changes(settled.before[stood], settled.person[stood])
        traits = _traits(settled, stood, mpi.today().year)
        return Forecast(
            name=mpi.model.name,
            revision=mpi.model.revision,
            made_at=made_at,
            present=dict(sorted(Counter(settled.read_under).items())),
            records=int(stood.sum()),
            waiting=int((~stood).sum()),
            persons_before=len(np.unique(settled.before[stood])),
            persons_after=len(np.unique(settled.person[stood])),
            persons_joined=changes.joined,
            persons_parted=changes.parted,
            links_before=changes.links_before,
            links_gained=int(changes.gained.sum()) // 2,
            links_lost=int(changes.lost.sum()) // 2,
            records_touched=int(changes.is_touched.sum()),
            tasks_opened=_by_kind(tasks.opened),
            tasks_closed=_by_kind(tasks.closed),
            subgroups=tuple(
                one for group, values in traits.items() for one in _subgroups(group, values, changes)
            ),
            most_changed=changes.most(most),
        )


def _traits(settled: Settlement, stood: NDArray[np.bool_], year: int) -> dict[str, list[str]]:
    """Return by what each record that stands is grouped: organisation, age, sex, and what is known of it."""
    told = settled.columns(("birth_0", "gender", "number_state", "places"), ("organisation",))
    chosen = np.flatnonzero(stood).tolist()

    def of(name: str, say: Callable[[Any], str]) -> list[str]:
        values = told[name]
        return [CHANGED_MEANWHILE if values[at] is None else say(values[at]) for at in chosen]

    return {
        "organisation": of("organisation", str),
        "age": of("birth_0", lambda born: _age_band(year - born) if born else "unknown"),
        "sex": of("gender", lambda gender: gender or "unknown"),
        "NHS number": of("number_state", lambda state: _NUMBERS.get(state, "none")),
        "address": of("places", lambda count: "known" if count else "none"),
    }


def _age_band(age: int) -> str:
    return next((name for most, name in _AGES if age <= most), _AGES[-1][1])


def _by_kind(tasks: Sequence[TaskRow]) -> dict[str, int]:
    return dict(sorted(Counter(task.kind for task in tasks).items()))


class _Changes:
    """Records by the persons that they stand in and would stand in.

    ``gained`` and ``lost``: of every record, with how many others it would newly be in one person, and with how many no longer.
    """

    def __init__(self, before: Ints, after: Ints) -> None:
        self._before, self._after = before, after
        _, one, ones = np.unique(before, return_inverse=True, return_counts=True)
        _, other, others = np.unique(after, return_inverse=True, return_counts=True)
        both = one.astype(np.int64) * max(1, len(others)) + other
        cells, cell, together = np.unique(both, return_inverse=True, return_counts=True)
        kept = together[cell]
        self.gained: Ints = others[other] - kept
        self.lost: Ints = ones[one] - kept
        self.links_before = int((ones * (ones - 1) // 2).sum())
        # A person that stood is parted where its records are in several; one that comes is joined of several that stood.
        width = max(1, len(others))
        self.parted = int((np.bincount(cells // width, minlength=1) > 1).sum())
        self.joined = int((np.bincount(cells % width, minlength=1) > 1).sum())
        # Whose records would move, and who would have them. A person bears the id of a record of its own, so that one id is one node.
        moved = before != after
        pairs = sorted(set(zip(before[moved].tolist(), after[moved].tolist(), strict=True)))
        unions = Unions({person for pair in pairs for person in pair})
        for pair in pairs:
            unions.join(*pair)
        people = [unions.find(number) if number in unions else number for number in before.tolist()]
        _, self._label = np.unique(np.array(people, np.int64), return_inverse=True)
        changed = np.bincount(self._label, self.gained + self.lost, minlength=1)
        self._changed: Ints = changed.astype(np.int64)
        self.is_touched: NDArray[np.bool_] = self._changed[self._label] > 0

    def most(self, count: int) -> tuple[ChangedPeople, ...]:
        """Return the people with the most links gained and lost."""
        order = np.argsort(-self._changed, kind="stable")
        wanted = [int(one) for one in order[:count] if self._changed[one] > 0]
        rows = np.flatnonzero(np.isin(self._label, wanted))
        found = []
        for label in wanted:
            here = rows[self._label[rows] == label]
            found.append(
                ChangedPeople(
                    before=_ids(self._before[here]),
                    after=_ids(self._after[here]),
                    records=len(here),
                    links_gained=int(self.gained[here].sum()) // 2,
                    links_lost=int(self.lost[here].sum()) // 2,
                )
            )
        return tuple(found)


def _ids(persons: Ints) -> tuple[str, ...]:
    return tuple(map(format_id, np.unique(persons).tolist()))


def _subgroups(group: str, values: Sequence[str], changes: _Changes) -> Iterator[Subgroup]:
    told, place = np.unique(np.array(values, object).astype(str), return_inverse=True)
    for at, value in enumerate(told.tolist()):
        here = place == at
        yield Subgroup(
            group,
            value,
            records=int(here.sum()),
            touched=int(changes.is_touched[here].sum()),
            links_gained=int(changes.gained[here].sum()),
            links_lost=int(changes.lost[here].sum()),
        )
