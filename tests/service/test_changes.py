"""What is in force is changed by two people: any run of proposals, approvals, withdrawals, changes and ways back, beside a plain model."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, delete

from consent.store.policies import POLICIES
from foundation import changes
from foundation.changes import ROLL_BACK, Change, Figures, Governed, Kept, Tables
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Conflict, NotFound, ServiceError
from foundation.principal import Principal
from mpi.store.models import MODELS

TABLES = pytest.mark.parametrize(
    ("tables", "kind"), [(POLICIES, "publication"), (MODELS, "activation")], ids=["policies", "models"]
)
PATIENCE_SECONDS = 60
FIRST = "r0"
REVISIONS = (FIRST, "r1", "r2")
ANNE = Principal("person", "anne", "RRV", frozenset({"matrix:write"}))
PEOPLE = (ANNE, replace(ANNE, id="bela"), replace(ANNE, id="carl"))


class Matrices:
    """A third thing beside policies and models, whose revision ``r0`` counts until there is a change."""

    def __init__(self, db: Database, clock: FixedClock, tables: Tables, kind: str) -> None:
        self.db, self.clock, self.tables = db, clock, tables
        self.noted: list[tuple[str, str, dict[str, Any]]] = []
        self.of = Governed(
            tables,
            word="matrix",
            kind=kind,
            done="applied",
            scope="matrix:write",
            not_approved="Ask somebody.",
            note=lambda tx, kind, by, at, detail: self.noted.append((kind, by.id, dict(detail))),
        )

    def empty(self) -> None:
        """Leave nothing but the three versions."""
        with self.db.write() as tx:
            tx.execute(delete(self.tables.changes))
            tx.execute(delete(self.tables.kept))
            for revision in REVISIONS:
                version = 1 if "version" in self.tables.kept.c else None
                kept = Kept(revision, f"matrix {revision}", version, "anne", self.clock.now())
                assert self.tables.keep(tx, kept, {"name": revision})

    def present(self, tx: Connection) -> str:
        return self.tables.revision_in_force(tx) or FIRST

    def do(self, act: Callable[[Connection], Any]) -> Any:
        self.clock.advance(timedelta(minutes=1))
        with self.db.write() as tx:
            return act(tx)

    def propose(self, revision: str | None, by: Principal = ANNE, figures: Figures | None = None) -> int:
        def act(tx: Connection) -> int:
            present, now = self.present(tx), self.clock.now()
            chosen = revision or changes.before(tx, self.of)
            if revision is not None:
                changes.check_not_in_force(self.of, revision, present)
            return changes.propose(
                tx,
                self.of,
                chosen,
                present,
                by,
                now,
                is_back=revision is None,
                comment="so",
                figures=figures,
            )

        return int(self.do(act))

    def approve(self, revision: str, by: Principal) -> None:
        def act(tx: Connection) -> None:
            found = changes.find_proposed(tx, self.of, revision, by)
            changes.check_still_from(tx, self.of, found, self.present(tx))
            changes.approve(tx, self.of, found, by, self.clock.now(), {"seen": 1})

        self.do(act)

    def apply(self, revision: str, by: Principal) -> None:
        def act(tx: Connection) -> None:
            found = changes.find_approved(tx, self.of, revision)
            changes.check_still_from(tx, self.of, found, self.present(tx))
            changes.mark_done(tx, self.of, found, by, self.clock.now())

        self.do(act)

    def withdraw(self, revision: str, by: Principal) -> None:
        self.do(lambda tx: changes.withdraw(tx, self.of, revision, by, self.clock.now()))

    def all(self) -> list[Change]:
        with self.db.read() as tx:
            return self.tables.list_changes(tx)

    def states(self) -> dict[str, str]:
        with self.db.read() as tx:
            kept, rows, present = self.tables.list_kept(tx), self.tables.list_changes(tx), self.present(tx)
        return {one.revision: one.state for one in changes.list_known(kept, rows, kept[present], "idle")}


@pytest.fixture
def matrices(db: Database, clock: FixedClock, tables: Tables, kind: str) -> Matrices:
    made = Matrices(db, clock, tables, kind)
    made.empty()
    return made


# -- any run of steps -------------------------------------------------------------------------------------------------

people = st.sampled_from(PEOPLE)
revisions = st.sampled_from(REVISIONS)


class Histories(RuleBasedStateMachine):
    """The rules as a sheet of paper would have them: what is open, and a stack of what stood before."""

    matrices: Matrices
    tally: Counter[str]

    @initialize()
    def begin(self) -> None:
        self.matrices.empty()
        self.matrices.noted.clear()
        self.in_force = FIRST
        self.stood: list[str] = []
        self.open: dict[
            str, tuple[str, str, str, bool]
        ] = {}  # state, by whom, from where, whether it leads back
        self.were_in_force = {FIRST}
        self.steps: list[str] = []
        self.done = 0

    def expect(self, code: str | None, act: Callable[[], Any], step: str) -> bool:
        """Do it, and see that it is refused with this code, or done and noted."""
        try:
            act()
        except ServiceError as fault:
            assert fault.code == code
            return False
        assert code is None
        self.steps.append(f"matrix-{step}")
        self.tally[step] += 1
        return True

    def moved(self, revision: str) -> bool:
        *_, start, is_back = self.open[revision]
        return start != self.in_force or (is_back and self.stood[-1:] != [revision])

    @rule(revision=revisions, by=people)
    def propose(self, revision: str, by: Principal) -> None:
        code = "matrix-in-force" if revision == self.in_force else None
        if code is None and revision in self.open:
            code = "matrix-proposed-already"
        if self.expect(code, lambda: self.matrices.propose(revision, by), "proposed"):
            self.open[revision] = ("proposed", by.id, self.in_force, False)

    @rule(by=people)
    def propose_way_back(self, by: Principal) -> None:
        code = None if self.stood else "nothing-to-roll-back"
        if self.stood and self.stood[-1] in self.open:
            code = "matrix-proposed-already"
        if self.expect(code, lambda: self.matrices.propose(None, by), "proposed"):
            self.open[self.stood[-1]] = ("proposed", by.id, self.in_force, True)

    @rule(data=st.data(), by=people)
    def approve_one(self, data: st.DataObject, by: Principal) -> None:
        self.approve(data.draw(st.sampled_from([*self.open] * 3 + [*REVISIONS])), by)

    def approve(self, revision: str, by: Principal) -> None:
        code = None
        if revision not in self.open:
            code = "matrix-not-proposed"
        elif self.open[revision][0] == "approved":
            code = "matrix-approved-already"
        elif self.open[revision][1] == by.id:
            code = "second-person-same"
        elif self.moved(revision):
            code = "matrix-moved"
        if self.expect(code, lambda: self.matrices.approve(revision, by), "approved"):
            self.open[revision] = ("approved", *self.open[revision][1:])

    @rule(data=st.data(), by=people)
    def apply_one(self, data: st.DataObject, by: Principal) -> None:
        self.apply(data.draw(st.sampled_from([*self.open] * 3 + [*REVISIONS])), by)

    def apply(self, revision: str, by: Principal) -> None:
        code, is_back = None, revision in self.open and self.open[revision][3]
        if revision not in self.open:
            code = "matrix-not-proposed"
        elif self.open[revision][0] != "approved":
            code = "matrix-not-approved"
        elif self.moved(revision):
            code = "matrix-moved"
        step = "rolled-back" if is_back else "applied"
        if self.expect(code, lambda: self.matrices.apply(revision, by), step):
            if is_back:
                assert self.stood.pop() == revision
            else:
                self.stood.append(self.in_force)
            del self.open[revision]
            self.in_force, self.done = revision, self.done + 1
            self.were_in_force.add(revision)

    @rule(data=st.data(), by=people)
    def withdraw_one(self, data: st.DataObject, by: Principal) -> None:
        self.withdraw(data.draw(st.sampled_from([*self.open] * 3 + [*REVISIONS])), by)

    def withdraw(self, revision: str, by: Principal) -> None:
        code = None if revision in self.open else "matrix-not-proposed"
        if self.expect(code, lambda: self.matrices.withdraw(revision, by), "withdrawn"):
            del self.open[revision]

    @rule(data=st.data(), pair=st.permutations(PEOPLE))
    def go_all_the_way(self, data: st.DataObject, pair: list[Principal]) -> None:
        """So that many are done, some of them on the way of others that are open: single steps seldom meet."""
        free = [one for one in REVISIONS if one != self.in_force and one not in self.open]
        if free:
            revision = data.draw(st.sampled_from(free))
            self.propose(revision, pair[0])
            self.approve(revision, pair[1])
            self.apply(revision, pair[2])

    @invariant()
    def nothing_else_is_there(self) -> None:
        if not hasattr(self, "done"):
            return
        rows = self.matrices.all()
        assert {one.revision: one.state for one in rows if one.is_open} == {
            revision: state for revision, (state, *_) in self.open.items()
        }
        with self.matrices.db.read() as tx:
            assert self.matrices.present(tx) == self.in_force
        done = sorted((one for one in rows if one.place), key=lambda one: one.place or 0)
        assert [one.place for one in done] == list(range(1, self.done + 1))
        assert changes.stood_before(done) == (self.stood[-1] if self.stood else None)
        assert all(one.approved_by not in (None, one.proposed_by) for one in done)
        assert [kind for kind, *_ in self.matrices.noted] == self.steps
        told = self.matrices.states()
        for revision in REVISIONS:
            if revision == self.in_force:
                assert told[revision] == "in-force"
            elif revision in self.open:
                assert told[revision] == self.open[revision][0]
            elif self.done:
                assert told[revision] == ("past" if revision in self.were_in_force else "idle")


@TABLES
def test_any_run_of_steps_ends_where_the_plain_model_ends(matrices: Matrices):
    tally = Counter[str]()

    steps = ("proposed", "approved", "applied", "withdrawn")
    for _ in range(5):  # by lot: every step must have been taken in one of them
        run_state_machine_as_test(
            type("Histories", (Histories,), {"matrices": matrices, "tally": tally}),
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                database=None,
                suppress_health_check=list(HealthCheck),
                # Shrinking a history that ends in a refusal of the database takes minutes.
                phases=(Phase.generate,),
            ),
        )
        if all(tally[step] for step in steps):
            break

    assert all(tally[step] for step in steps)


# -- single steps -----------------------------------------------------------------------------------------------------


@TABLES
def test_a_way_back_that_leads_elsewhere_by_now_is_proposed_again(matrices: Matrices):
    """It starts from what is in force again, but not by the way on which it came."""
    anne, bela, _ = PEOPLE

    def change(revision: str) -> None:
        matrices.propose(revision)
        matrices.approve(revision, bela)
        matrices.apply(revision, anne)

    change("r1")
    matrices.propose(None)
    change("r2")
    change("r1")

    with pytest.raises(Conflict, match="matrix-moved"):
        matrices.approve(FIRST, bela)

    assert [one.state for one in matrices.all() if one.kind == ROLL_BACK] == ["proposed"]


@TABLES
def test_each_step_is_kept_and_noted_as_it_was_taken(matrices: Matrices, kind: str, clock: FixedClock):
    anne, bela, carl = PEOPLE
    made_at = clock.now()
    change_id = matrices.propose("r1", anne, Figures({"lost": 3}, made_at))
    matrices.approve("r1", bela)
    matrices.apply("r1", carl)

    (change,) = matrices.all()

    assert (change.change_id, change.kind, change.state, change.place) == (change_id, kind, "done", 1)
    assert (change.name, change.comment, change.figures, change.figures_at) == (
        "matrix r1",
        "so",
        {"lost": 3},
        made_at,
    )
    assert (change.proposed_by, change.approved_by, change.done_by) == ("anne", "bela", "carl")
    assert change.done_at == clock.now() == made_at + timedelta(minutes=3)
    whence = {"kind": kind, "matrix_revision": "r1", "from_revision": FIRST}
    assert matrices.noted == [
        ("matrix-proposed", "anne", whence),
        (
            "matrix-approved",
            "bela",
            {"kind": kind, "matrix_revision": "r1", "proposed_by": "anne", "seen": 1},
        ),
        ("matrix-applied", "carl", whence | {"proposed_by": "anne", "approved_by": "bela"}),
    ]
    assert changes.as_json(change, "shadow")["shadow"] == {"lost": 3}


@TABLES
def test_of_two_who_propose_one_revision_at_once_one_is_told_so(
    matrices: Matrices, monkeypatch: pytest.MonkeyPatch
):
    matrices.propose("r1")
    monkeypatch.setattr(Tables, "find_open", lambda *_: None)  # as if each had looked before the other wrote

    with pytest.raises(Conflict, match="matrix-proposed-already"):
        matrices.propose("r1", PEOPLE[1])

    assert [one.proposed_by for one in matrices.all()] == ["anne"]
    assert [kind for kind, *_ in matrices.noted] == ["matrix-proposed"]


@TABLES
def test_a_version_that_is_kept_stays_as_it_is(matrices: Matrices):
    again = Kept("r1", "another", None, "bela", matrices.clock.now())
    keep = partial(matrices.tables.keep, kept=again, document={"name": "x"})

    with matrices.db.write() as tx:
        if "version" in matrices.tables.kept.c:
            keep = partial(keep, kept=replace(again, version=2))
        assert not keep(tx)

    with matrices.db.read() as tx:
        assert matrices.tables.read_document(tx, "r1") == {"name": "r1"}
        assert matrices.tables.read_document(tx, "r9") is None
        assert {one.name for one in matrices.tables.list_kept(tx).values()} == {
            f"matrix {one}" for one in REVISIONS
        }


@TABLES
def test_what_is_withdrawn_may_be_proposed_again_and_is_told_in_that_order(matrices: Matrices):
    with pytest.raises(NotFound, match="matrix-not-proposed"):
        matrices.withdraw("r1", ANNE)
    for _ in range(6):
        matrices.propose("r1")
        matrices.withdraw("r1", PEOPLE[1])
    matrices.propose("r1")

    assert [one.state for one in matrices.all()] == ["withdrawn"] * 6 + ["proposed"]


@TABLES
def test_of_two_who_approve_at_once_the_second_finds_it_approved(matrices: Matrices):
    anne, bela, carl = PEOPLE
    matrices.propose("r1", anne)
    reached = threading.Event()

    def second() -> None:
        reached.set()
        matrices.approve("r1", carl)

    with ThreadPoolExecutor(1) as thread, matrices.db.write() as tx:
        found = changes.find_proposed(tx, matrices.of, "r1", bela)
        approving = thread.submit(second)
        assert reached.wait(PATIENCE_SECONDS)
        threading.Event().wait(0.4)
        was_waiting = not approving.done()
        changes.approve(tx, matrices.of, found, bela, matrices.clock.now(), {})
        # Committed at the end of the block, before the thread is waited for.

    assert was_waiting
    with pytest.raises(Conflict, match="matrix-approved-already"):
        approving.result(PATIENCE_SECONDS)
    assert [one.approved_by for one in matrices.all()] == ["bela"]
