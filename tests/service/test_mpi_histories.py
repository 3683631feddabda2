"""Random histories, of one hand and of many, end in what one batch makes of the facts that they leave; and undo leaves no trace."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from tests.service.history_world import (
    CHOICES,
    MODELS,
    Act,
    Ask,
    AskNoMore,
    Decide,
    Erase,
    Hand,
    Look,
    Merge,
    Renumber,
    Restore,
    RestoreFeed,
    Send,
    SendMany,
    Trace,
    Undo,
    UndoLocal,
    UseModel,
    Withdraw,
    WithdrawFeed,
    Work,
    a_crowd,
    a_hand,
    an_index_of_questions,
    expect_one_batch,
    expect_that_undone_histories_leave_no_trace,
    expect_the_past_as_it_was,
    look_at_all,
    one_of_a_crowd,
)
from tests.service.mpi_world import ORGANISATIONS

# What is drawn -------------------------------------------------------------------------------------------------------

records = st.fixed_dictionaries({name: st.sampled_from(among) for name, among in CHOICES.items()}).map(
    one_of_a_crowd
)
hours = st.integers(0, 12)
places = st.integers(0, 30)
sends = st.builds(Send, records, hours, st.booleans())
many = st.builds(SendMany, st.lists(st.tuples(records, hours), min_size=2, max_size=6).map(tuple))
crowds = st.builds(SendMany, st.lists(st.tuples(records, hours), min_size=5, max_size=12).map(tuple))
works = st.just(Work())
decides = st.builds(
    Decide, places, st.sampled_from(("same", "same", "different", "not-enough")), st.booleans()
)
undoes = st.builds(Undo, places)
asks = st.one_of(st.builds(Ask, places, places), st.builds(Ask, places, places), st.builds(AskNoMore, places))
erases = st.builds(Erase, places)
leaves = st.one_of(st.builds(Withdraw, places), st.builds(Withdraw, places), st.builds(WithdrawFeed, places))
returns = st.one_of(st.builds(Restore, places), st.builds(Restore, places), st.builds(RestoreFeed, places))
changes = st.one_of(
    st.builds(Merge, places, places),
    st.builds(Merge, places, places),
    st.builds(Renumber, places, st.sampled_from("123456")),
    st.builds(UndoLocal, places),
)
traces = st.builds(Trace, st.lists(places, min_size=1, max_size=4).map(tuple))
models = st.builds(UseModel, st.integers(0, len(MODELS) - 1))


# What is done --------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Give a database with the schema and the organisations in it, as often as it is asked for; the one before is then gone."""
    url = request.getfixturevalue(f"{engine}_url")
    template = request.getfixturevalue("sqlite_template")
    made: list[Database] = []

    def make() -> Database:
        for one in made:
            one.close()
        if engine == "sqlite":
            path = tmp_path / f"history-{len(made)}.sqlite3"
            path.write_bytes(template.read_bytes())
            made.append(Database(f"sqlite:///{path}"))
        else:
            ((name, shape),) = request.getfixturevalue("standing").items()
            assert request.getfixturevalue("postgresql_server").empty(name, shape)
            made.append(Database(url))
        with made[-1].write() as tx:
            for code in ORGANISATIONS:
                put_organisation(tx, Organisation(code, code, "acute"))
        return made[-1]

    yield make
    for one in made:
        one.close()


class OneHand(RuleBasedStateMachine):
    """What one hand may do with an index, one act after the other."""

    make: Callable[[], Database]
    clock: FixedClock
    folder: Path
    tally: Counter[str]
    hands = 1

    def __init__(self) -> None:
        super().__init__()
        db = self.make()
        self.crew = [a_hand(db, self.clock, self.folder) for _ in range(self.hands)]
        self.looks: list[Look] = []

    @property
    def hand(self) -> Hand:
        return self.crew[0]

    @initialize(act=crowds)
    def begin(self, act: Act) -> None:
        self.hand.do(act)

    @rule(act=st.one_of(sends, sends, many))
    def send(self, act: Act) -> None:
        self.hand.do(act)

    @rule(acts=st.lists(st.one_of(decides, decides, asks), min_size=1, max_size=3))
    def read(self, acts: list[Act]) -> None:
        for act in acts:
            self.hand.do(act)

    @rule(acts=st.lists(st.one_of(undoes, undoes, decides), min_size=1, max_size=3))
    def take_back(self, acts: list[Act]) -> None:
        for act in acts:
            self.hand.do(act)

    @rule(act=st.one_of(leaves, leaves, returns, changes))
    def withdraw(self, act: Act) -> None:
        self.hand.do(act)

    @rule(act=st.one_of(works, works, traces, traces, erases, models))
    def look_after(self, act: Act) -> None:
        self.hand.do(act)

    @invariant()
    def look_around(self) -> None:
        """Keep what is so at each step; then time goes on."""
        self.looks.append(look_at_all(self.hand.mpi))
        self.clock.advance(timedelta(minutes=1))

    def teardown(self) -> None:
        for one in self.crew:
            self.tally.update(one.done)
        expect_one_batch(self.hand.mpi)
        self.hand.bring_all_back()
        self.tally["looks"] += expect_the_past_as_it_was(
            self.hand.mpi, [*self.looks, look_at_all(self.hand.mpi)]
        )
        expect_one_batch(self.hand.mpi)


class ManyHands(OneHand):
    """Beside that, several acts at once, each by a hand that knows nothing of what the others know."""

    hands = 4

    @rule(
        acts=st.lists(
            st.one_of(sends, sends, many, works, decides, undoes, asks, erases, leaves, returns, changes),
            min_size=2,
            max_size=4,
        )
    )
    def at_once(self, acts: list[Act]) -> None:
        self._do(acts)

    @rule(
        acts=st.lists(
            st.one_of(sends, many, works, decides, undoes, leaves, returns, changes), min_size=1, max_size=3
        ),
        model=models,
    )
    def use_model_meanwhile(self, acts: list[Act], model: Act) -> None:
        self._do([model, *acts])

    def _do(self, acts: list[Act]) -> None:
        with ThreadPoolExecutor(len(acts)) as threads:
            running = [
                threads.submit(hand.do, act, is_alone=False)
                for hand, act in zip(self.crew, acts, strict=False)
            ]
            for one in running:
                one.result()


def expect_that_histories_end_as_one_batch(
    machine: type[OneHand],
    make: Callable[[], Database],
    clock: FixedClock,
    folder: Path,
    histories: int,
    acts: int,
    tally: Counter[str],
    *,
    is_random: bool = True,
) -> None:
    """Draw histories of a machine; ``tally`` counts what came of the acts. ``is_random``: other ones at each run."""
    how: dict[str, Any] = {"make": staticmethod(make), "clock": clock, "folder": folder, "tally": tally}
    run_state_machine_as_test(
        type("Histories", (machine,), how),
        settings=settings(
            max_examples=histories,
            stateful_step_count=acts,
            derandomize=not is_random,
            database=None,
            suppress_health_check=list(HealthCheck),
            # No shrinking: a history takes a second, and one of many hands need not end the same way twice.
            phases=(Phase.generate,),
        ),
    )


@pytest.mark.parametrize(("machine", "histories"), [(OneHand, 3), (ManyHands, 3)])
def test_a_random_history_ends_in_the_persons_edges_and_questions_of_one_batch(
    machine: type[OneHand], histories: int, empty: Callable[[], Database], clock: FixedClock, tmp_path: Path
) -> None:
    tally = Counter[str]()

    expect_that_histories_end_as_one_batch(
        machine, empty, clock, tmp_path, histories, 12, tally, is_random=False
    )

    assert tally.pop("looks") > 0
    assert tally.total() > 8 * histories


def test_whoever_was_seen_at_an_instant_is_told_as_at_it_as_they_were_seen_then(
    db: Database, clock: FixedClock, tmp_path: Path
) -> None:
    dice = Random(1)
    with db.write() as tx:
        for code in ORGANISATIONS:
            put_organisation(tx, Organisation(code, code, "acute"))
    hand = a_hand(db, clock, tmp_path)
    looks = []

    for hour, record in enumerate(a_crowd(dice, 24)):
        hand.do(Send(replace(record, restricted=None), hour))
        hand.do(Trace(tuple(dice.randrange(30) for _ in range(2))))
        hand.do(dice.choice((Decide(dice.randrange(30), "same"), Undo(dice.randrange(30)), Work())))
        looks.append(look_at_all(hand.mpi))
        clock.advance(timedelta(minutes=1))
    compared = expect_the_past_as_it_was(hand.mpi, [*looks, look_at_all(hand.mpi)])

    assert compared > 50
    states = {one.number_state for look in looks for one in look.golden.values()}
    assert {"verified", "claimed", "withdrawn"} <= states
    assert any(value.is_replaced for look in looks for one in look.golden.values() for value in one.values)


def test_merges_and_splits_that_are_taken_back_leave_everything_as_it_stood_to_the_row(
    db: Database, clock: FixedClock, tmp_path: Path
) -> None:
    hand = an_index_of_questions(db, clock, tmp_path, seed=1)

    expect_that_undone_histories_leave_no_trace(hand, Random(1), 8)

    done = Counter(what.split()[-1] for what in hand.done.elements())
    assert done["undone"] > 10
    assert hand.done["Withdraw withdrawn"] > 0 and hand.done["Restore linked"] > 0
