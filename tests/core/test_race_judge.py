"""The judge of races finds each fault that is planted in a history made by hand, and none in a sound one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.service.race_judge import Act, Row, Story, judge

ALL = ("letters", "medication", "notes")
ALONE, LEFT, RIGHT = 1, 2, 3


@dataclass
class Teller:
    """Tells a history act by act, a second each: its line, and its row."""

    acts: list[Act] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    now: float = 0.0
    epoch: int = 0
    revision: str = "shipped"

    def tell(
        self, what: str, kind: str, key: str = "", detail: dict[str, Any] | None = None, **more: Any
    ) -> int:
        """Add an act and its row; return the place of both."""
        self.now += 1
        place = len(self.acts)
        key = key or f"leaf-{place}"
        act = Act(what, begun=self.now, committed=self.now + 0.4, at=self.now + 0.5, hand="hand-0", key=key)
        self.acts.append(replace(act, **more))
        self.rows.append(Row(place + 1, place + 1, kind, f"leaf-{place}", key, detail or {}))
        return place

    def object(self, half: int = ALONE, scope: str = "*", bound: tuple[int, ...] | None = None) -> int:
        self.epoch += 1
        place = len(self.acts)
        detail = {"epoch": self.epoch, "bound": [str(one) for one in bound or (half,)]}
        more = {"half": half, "scope": scope, "epoch": self.epoch, "directive": f"directive-{place}"}
        return self.tell("objected", "directive-recorded", detail=detail, **more)

    def withdraw(self, place: int, bound: tuple[int, ...] | None = None) -> int:
        self.epoch += 1
        was = self.acts[place]
        detail = {"epoch": self.epoch, "bound": [str(one) for one in bound or (was.half,)]}
        more = {"half": was.half, "epoch": self.epoch, "directive": was.directive}
        return self.tell("withdrew", "directive-withdrawn", detail=detail, **more)

    def _decided(self, **more: Any) -> dict[str, Any]:
        return {"epoch": self.epoch, "policy": ["name", 1, self.revision], **more}

    def ask(self, half: int = ALONE, shown: tuple[str, ...] = ALL) -> int:
        more = {"half": half, "shown": shown, "epoch": self.epoch, "revision": self.revision}
        return self.tell("asked", "decision", detail=self._decided(), **more)

    def release(self, half: int = ALONE, shown: tuple[str, ...] = ALL) -> int:
        place = len(self.acts)
        more = {"half": half, "shown": shown, "epoch": self.epoch, "revision": self.revision}
        detail = self._decided(ticket=f"ticket-{place}" if shown else None)
        return self.tell("released", "release", detail=detail, ticket=f"leaf-{place}", **more)

    def redeem(
        self, release: int, shown: tuple[str, ...] = ALL, kind: str = "redemption", first: str = ""
    ) -> int:
        place = len(self.acts)
        items = [[one, one, "N", "RRV"] for one in shown] if kind == "redemption" else []
        detail = self._decided(decision_id=f"decision-{place}", items=items)
        epoch = next((one["epoch"] for one in self._details() if one.get("decision_id") == first), self.epoch)
        more = {"half": self.acts[release].half, "shown": shown, "epoch": epoch}
        more |= {"ticket": f"leaf-{release}", "released": first or f"decision-{place}"}
        return self.tell("redeemed", kind, f"ticket-{release}", detail, **more)

    def _details(self) -> list[Mapping[str, Any]]:
        return [row.detail for row in self.rows]

    def verdict(self, what: str, decision: str) -> int:
        kind = "decision-undone" if what == "undone" else "task-decided"
        return self.tell(what, kind, decision, half=LEFT)

    def publish(self, revision: str) -> int:
        detail = {"from_revision": self.revision}
        self.revision = revision
        return self.tell("published", "policy-published", f"officer {self.now}", detail, revision=revision)

    def story(self) -> Story:
        base = {"shipped": frozenset(ALL), "stricter": frozenset({"medication", "notes"})}
        return Story(self.acts, self.rows, ((ALONE,), (LEFT, RIGHT)), base, "shipped")


def found(story: Story) -> set[str]:
    return set(judge(story).by_name())


def change(story: Story, place: int, row: dict[str, Any] | None = None, **of_act: Any) -> Story:
    """Change an act, and what stands in its row."""
    acts, rows = list(story.acts), list(story.rows)
    acts[place] = replace(acts[place], **of_act)
    rows[place] = replace(rows[place], **(row or {}))
    return replace(story, acts=acts, rows=rows)


def in_detail(story: Story, place: int, **values: Any) -> Story:
    return change(story, place, {"detail": {**story.rows[place].detail, **values}})


def without(story: Story, *, act: int | None = None, row: int | None = None) -> Story:
    acts = [one for place, one in enumerate(story.acts) if place != act]
    rows = [one for place, one in enumerate(story.rows) if place != row]
    return replace(story, acts=acts, rows=rows)


def and_a_row(story: Story, kind: str, key: str = "unknown", **detail: Any) -> Story:
    number = len(story.rows) + 1
    return replace(story, rows=[*story.rows, Row(number, number, kind, f"leaf-of-{kind}", key, detail)])


# -- sound histories --------------------------------------------------------------------------------------------------


def an_objection() -> Story:
    """0 ask, 1 release, 2 object, 3 ask, 4 redeem, 5 withdraw, 6 release, 7 redeem, 8 repeat."""
    told = Teller()
    told.ask()
    told.release()
    told.object()
    told.ask(shown=())
    told.redeem(1, shown=())
    told.withdraw(2)
    told.release()
    told.redeem(6)
    told.redeem(6, kind="redemption-repeated", first="decision-7")
    return told.story()


def a_category() -> Story:
    """0 release, 1 object to letters, 2 ask, 3 redeem, 4 withdraw, 5 repeat."""
    told = Teller()
    told.release()
    told.object(scope="letters")
    told.ask(shown=("medication", "notes"))
    told.redeem(0, shown=("medication", "notes"))
    told.withdraw(1)
    told.redeem(0, shown=("medication", "notes"), kind="redemption-repeated", first="decision-3")
    return told.story()


def a_pair() -> Story:
    """0 object on the right, 1 ask on the left, 2 withdraw, 3 told apart, 4 object on the right, 5 ask on the left, 6 withdraw,
    7 undone, 8 joined, 9 release on the right, 10 object on the right, 11 undone, 12 told apart, 13 ask on the left, 14 withdraw,
    15 redeem what was released of the two as one, 16 undone."""
    told = Teller()
    told.object(RIGHT, bound=(LEFT, RIGHT))
    told.ask(LEFT, shown=())
    told.withdraw(0, bound=(LEFT, RIGHT))
    told.verdict("told-apart", "first")
    told.object(RIGHT)
    told.ask(LEFT)
    told.withdraw(4)
    told.verdict("undone", "first")
    told.verdict("joined", "second")
    told.release(RIGHT)
    told.object(RIGHT, bound=(LEFT,))
    told.verdict("undone", "second")
    told.verdict("told-apart", "third")
    told.ask(LEFT, shown=())
    told.withdraw(10, bound=(LEFT, RIGHT))
    told.redeem(9, shown=())
    told.verdict("undone", "third")
    return told.story()


def a_policy() -> Story:
    """0 ask, 1 release, 2 publish, 3 ask, 4 redeem, 5 publish what was before, 6 ask."""
    told = Teller()
    told.ask()
    told.release()
    told.publish("stricter")
    told.ask(shown=("medication", "notes"))
    told.redeem(1, shown=("medication", "notes"))
    told.publish("shipped")
    told.ask()
    return told.story()


def an_answer_on_its_way() -> Story:
    """0 release, 1 redeem, 2 object: the redemption was committed first, and its answer came after the objection's receipt."""
    told = Teller()
    told.release()
    told.redeem(0)
    told.object()
    return change(told.story(), 1, committed=3.45, at=3.46)


SOUND = [an_objection, a_category, a_pair, a_policy, an_answer_on_its_way]


@pytest.mark.parametrize("tell", SOUND)
def test_nothing_is_found_in_a_sound_history(tell):
    assert judge(tell()).faults == ()


def test_an_answer_on_its_way_is_counted_and_is_no_fault():
    found = judge(an_answer_on_its_way())

    assert (found.on_their_way, round(found.longest_on_its_way, 2)) == (1, 0.06)
    assert [judge(tell()).on_their_way for tell in SOUND[:-1]] == [0, 0, 0, 0]


def test_answers_that_an_objection_met_are_counted():
    story = an_objection()

    assert judge(story).met == 0
    assert judge(change(story, 3, begun=3.1)).met == 1


# -- a yes that outlives a no -----------------------------------------------------------------------------------------


def test_what_began_after_an_objection_and_shows_what_it_covers_is_found_without_the_log():
    story = change(an_objection(), 3, shown=ALL)
    redeemed = in_detail(
        change(an_objection(), 4, shown=ALL), 4, items=[[one, one, "N", "RRV"] for one in ALL]
    )

    assert found(story) == {f"asked-{how}-objection" for how in ("after", "within", "against")}
    assert found(redeemed) == {f"redeemed-{how}-objection" for how in ("after", "within", "against")}


def test_a_redemption_that_began_before_and_was_committed_after_an_objection_is_found():
    story = change(an_objection(), 4, begun=2.2, shown=("letters",))

    assert found(in_detail(story, 4, items=[["letters", "letters", "N", "RRV"]])) == {
        "redeemed-within-objection",
        "redeemed-against-objection",
    }


def test_one_category_that_was_objected_to_is_found_among_others():
    story = change(a_category(), 2, shown=ALL)

    assert found(story) == {f"asked-{how}-objection" for how in ("after", "within", "against")}


def test_a_repeated_answer_that_tells_what_is_forbidden_since_is_found():
    told = Teller()
    told.release()
    told.redeem(0)
    told.object(scope="notes")
    told.redeem(0, kind="redemption-repeated", first="decision-1")

    assert found(told.story()) == {"redeemed-after-objection", "redeemed-against-objection"}


def test_an_answer_about_one_half_is_found_when_the_other_objected_and_a_question_joins_them():
    assert found(change(a_pair(), 1, shown=ALL)) == {"asked-after-objection", "asked-against-objection"}


def test_an_objection_given_while_two_were_one_covers_both_once_they_are_told_apart():
    assert found(change(a_pair(), 13, shown=ALL)) == {"asked-against-objection"}


def test_what_was_released_of_two_as_one_is_found_when_it_leaves_after_they_parted():
    story = change(a_pair(), 15, shown=ALL)

    assert found(in_detail(story, 15, items=[["notes", "notes", "N", "RRV"]])) == {
        "redeemed-against-objection"
    }


def test_what_is_withheld_though_nobody_objects_is_found():
    assert found(change(an_objection(), 0, shown=())) == {"withheld-without-cause"}
    assert found(change(a_pair(), 5, shown=("notes",))) == {"withheld-without-cause"}


# -- each of the rest -------------------------------------------------------------------------------------------------

PLANTED: list[tuple[str, Callable[[], Story], set[str]]] = [
    ("a decision without its row", lambda: without(an_objection(), row=0), {"act-without-row"}),
    ("a redemption without its row", lambda: without(an_objection(), row=7), {"act-without-row", "ticket-used-twice"}),
    ("a row of a decision that nobody asked for", lambda: without(an_objection(), act=0), {"row-without-act"}),
    ("a row of a directive", lambda: and_a_row(an_objection(), "directive-recorded"), {"row-without-act"}),
    ("a row of a redemption",
     lambda: and_a_row(an_objection(), "redemption-replayed", "ticket-6", policy=["n", 1, "shipped"], epoch=9),
     {"row-without-act"}),
    ("a row of a decided task", lambda: and_a_row(a_pair(), "task-decided"), {"row-without-act"}),
    ("a row of a record that changed hands", lambda: and_a_row(a_pair(), "decision-undone", record_id="3"), {"row-without-act"}),
    ("a row of a policy", lambda: and_a_row(a_policy(), "policy-rolled-back"), {"row-without-act"}),
    ("a row of an emergency", lambda: and_a_row(an_objection(), "emergency-opened"), {"row-without-act"}),
    ("two rows of one decision",
     lambda: and_a_row(an_objection(), "decision", "leaf-0"),
     {"act-with-several-rows", "row-without-act"}),
    ("two first uses",
     lambda: change(an_objection(), 8, {"kind": "redemption"}),
     {"ticket-used-twice", "withheld-without-cause"}),
    ("a ticket that nobody was given",
     lambda: in_detail(an_objection(), 6, ticket="another"),
     {"ticket-of-nobody", "act-without-row", "row-without-act"}),
    ("a decision by a policy that was gone",
     lambda: in_detail(change(a_policy(), 3, revision="shipped"), 3, policy=["n", 1, "shipped"]),
     {"policy-not-in-force"}),
    ("a decision that names another policy",
     lambda: change(a_policy(), 3, revision="shipped"),
     {"policy-not-in-force", "policy-told-wrongly"}),
    ("letters under a policy that withholds them", lambda: change(a_policy(), 3, shown=ALL), {"asked-against-objection"}),
    ("a publication over another one", lambda: in_detail(a_policy(), 5, from_revision="shipped"), {"policy-not-in-force"}),
    ("an epoch that goes back",
     lambda: in_detail(change(an_objection(), 6, epoch=1), 6, epoch=1),
     {"epoch-went-back", "released-within-objection"}),
    ("an objection that raises no epoch",
     lambda: in_detail(change(an_objection(), 5, epoch=1), 5, epoch=1),
     {"epoch-not-raised"}),
    ("a receipt of another epoch", lambda: change(an_objection(), 2, epoch=7), {"epoch-told-wrongly"}),
    ("an objection that binds one of two", lambda: in_detail(a_pair(), 0, bound=["3"]), {"bound-wrongly"}),
    ("an act that stands before one that was over",
     lambda: change(an_objection(), 0, begun=2.9, committed=2.95, at=2.97),
     {"order-against-time"}),
    ("a log in another order than the commits", lambda: change(an_objection(), 3, {"event_id": 0}), {"log-out-of-order"}),
    ("an act of which nobody knows", lambda: change(an_objection(), 0, what="failed"), {"act-failed", "row-without-act"}),
    ("a refusal that no race explains",
     lambda: without(change(an_objection(), 0, what="refused", tried="asked", code="person-moving"), row=0),
     {"refused-without-cause"}),
    ("a row that was changed", lambda: replace(an_objection(), unsound_rows=(4,)), {"row-unsound"}),
]  # fmt: skip


@pytest.mark.parametrize(("story", "expected"), [one[1:] for one in PLANTED], ids=[one[0] for one in PLANTED])
def test_a_planted_fault_is_found_and_named(story, expected):
    assert found(story()) == expected


def test_of_two_redemptions_at_once_the_kindest_reading_counts():
    told = Teller()
    told.release()
    told.redeem(0)
    told.redeem(0, kind="redemption-repeated", first="decision-1")
    story = change(change(told.story(), 1, begun=2.0, committed=3.4, at=3.5), 2, begun=2.1)
    # Both are told the same; which of the two came first nobody can say.
    crossed = replace(story, acts=[story.acts[0], story.acts[2], story.acts[1]])

    assert (found(story), found(crossed)) == (set(), set())
    assert found(change(story, 2, shown=("notes",))) == {"withheld-without-cause"}


def test_a_refusal_that_a_race_explains_is_no_fault():
    story = an_objection()
    refused = Act("refused", begun=20, at=21, tried="join", code="task-not-open")

    assert found(replace(story, acts=[*story.acts, refused])) == set()


def test_a_ticket_that_ran_out_is_refused_and_leaves_a_row():
    story = an_objection()
    late = Act("refused", begun=99, at=100, tried="redeem", code="ticket-expired", ticket="leaf-6")
    early = replace(late, begun=20, at=21)
    busy = replace(early, code="database-busy")

    refused = and_a_row(story, "ticket-refused")

    assert found(replace(refused, acts=[*story.acts, late, busy])) == set()
    assert found(replace(story, acts=[*story.acts, late])) == {"act-without-row"}
    assert found(replace(refused, acts=[*story.acts, early])) == {"refused-without-cause"}
    assert found(refused) == {"row-without-act"}
