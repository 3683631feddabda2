"""The judge of races: from what hands wrote down and what the audit log holds, every fault by name. It knows nothing of the service.

**The order that is judged.** A redemption must not be answered once the commit of an objection that covers it was received. A service
speaks over a line, so what it can promise is that such a redemption was *decided and committed* before that objection was: then its
answer was on its way. So three orders are held against each other, and against a plain model:

1. *The wall's.* All processes of a machine share one monotonic clock. What began after an objection's commit was received, and was
   answered before its withdrawal began, shows nothing that the objection covers; nor does what is of an epoch from that of the
   objection's receipt to that of its withdrawal's. This trusts neither the log nor the model.
2. *The commits'.* Rows of the log come in the order in which the database committed them (PostgreSQL's own commit timestamps; on SQLite
   there is one writer, so that the order of numbers is that of commits). Of two acts, if the commit of one was received before the other
   began, it stands first. So an answer that came after an objection's receipt is either before the objection in that order, and then it
   was on its way (``on_their_way`` counts them), or after it, and then it shows nothing, **even where it began before**.
3. *The model's.* Acts are made again one after the other in the order of commits, by the few lines of ``_Region``: what each answer shows
   must be what stands then, no more and no less; so must the policy's revision, the epoch, and whom a directive binds.

An objection covers whoever was one of its records when it was given, whoever is one person with them, and whoever an open *possible match*
joins to them. A pair whose sides were told apart (*different*) is neither, until that is taken back. A ticket of a pair that was one
person gives nothing once the pair is parted.

Every row has one act that caused it, and every act that was answered has the one row it should have.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

EVERYTHING = "*"
ANSWERS = frozenset({"asked", "released", "redeemed"})
VERDICTS = frozenset({"joined", "told-apart", "undone"})

MAY_REFUSE: Mapping[str, frozenset[str]] = {
    "redeem": frozenset({"ticket-replayed"}),
    "join": frozenset({"task-not-open", "task-stale", "task-claimed"}),
    "tell-apart": frozenset({"task-not-open", "task-stale", "task-claimed"}),
    "propose": frozenset({"policy-in-force", "policy-proposed-already", "nothing-to-roll-back"}),
    "approve": frozenset({"policy-moved"}),
    "publish": frozenset({"policy-moved"}),
}
"""Refusals that a race explains, by what was tried. That SQLite's one writer did not come free explains each."""

_TICKET_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Act:
    """What one hand did and was told.

    Attributes:
        what: ``objected``, ``withdrew``, ``asked``, ``released``, ``redeemed``, ``joined``, ``told-apart``, ``undone``, ``proposed``,
            ``approved``, ``published``, ``withdrew-policy``; ``refused``, with ``tried`` and ``code``, which changed nothing;
            ``failed``, of which nobody knows whether it did.
        begun, committed, at: of the one clock: before the call, when its last commit was received, when the answer was at hand.
        half: the record that was named.
        key: what names its row: a leaf, a decision's id, who changed the policy when.
        directive: of an objection and its withdrawal.
        scope: of an objection, a category or ``*``.
        shown: categories.
        ticket: of a release and its redemptions, the leaf of the release.
        released: of a redemption, the id that it was told.
    """

    what: str
    begun: float
    at: float
    committed: float = 0.0
    hand: str = ""
    half: int = 0
    key: str = ""
    directive: str = ""
    scope: str = ""
    shown: tuple[str, ...] = ()
    ticket: str = ""
    released: str = ""
    epoch: int = 0
    revision: str = ""
    tried: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the audit log. ``transaction`` is the same for rows that one transaction left."""

    event_id: int
    transaction: int
    kind: str
    leaf: str
    key: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """What is judged.

    Attributes:
        acts: of all hands.
        rows: since the hands began, in the order of their commits.
        families: who may be one person: a record alone, or the two sides of a possible match. The first bears the person's id.
        base: what each revision of the policy shows of anyone who objects to nothing.
        in_force: the revision at the beginning.
        unsound_rows: what re-hashing found.
    """

    acts: Sequence[Act]
    rows: Sequence[Row]
    families: Sequence[tuple[int, ...]]
    base: Mapping[str, frozenset[str]]
    in_force: str
    unsound_rows: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every fault, and how near it was.

    Attributes:
        met: how many answers were being worked out while an objection of their person was being recorded.
        on_their_way: how many redemptions that show what an objection covers were answered after its receipt, committed before it.
        longest_on_its_way: the longest after the receipt, in seconds.
    """

    faults: tuple[Fault, ...]
    met: int
    on_their_way: int
    longest_on_its_way: float

    def by_name(self) -> Counter[str]:
        return Counter(fault.name for fault in self.faults)


def judge(story: Story) -> Judgement:
    """Find every fault of a story."""
    causes = _Causes(story)
    region = _Region(story, causes)
    region.live()
    way = list(_on_their_way(story))
    faults = (
        *(Fault("row-unsound", f"row {number}") for number in story.unsound_rows),
        *_refusals(story.acts),
        *causes.faults,
        *_against_time(story.rows, causes),
        *_by_the_wall(story),
        *_by_the_epochs(story),
        *_policies_by_the_wall(story),
        *region.faults,
    )
    return Judgement(faults, _met(story), len(way), max(way, default=0.0))


def _refusals(acts: Sequence[Act]) -> Iterator[Fault]:
    issued = {act.ticket: act.begun for act in acts if act.what == "released"}
    for act in acts:
        if act.what == "failed":
            yield Fault("act-failed", f"{act.tried} by {act.hand}: {act.code}")
        elif act.what == "refused" and not (
            act.code == "database-busy"
            or act.code in MAY_REFUSE.get(act.tried, ())
            or (_has_expired(act) and act.at - issued.get(act.ticket, act.at) >= _TICKET_SECONDS)
        ):
            yield Fault("refused-without-cause", f"{act.tried} by {act.hand}: {act.code}")


def _has_expired(act: Act) -> bool:
    return act.tried == "redeem" and act.code == "ticket-expired"


# Rows and their causes -----------------------------------------------------------------------------------------------

_ROW_OF = {
    "objected": "directive-recorded",
    "withdrew": "directive-withdrawn",
    "asked": "decision",
    "released": "release",
    "joined": "task-decided",
    "told-apart": "task-decided",
    "undone": "decision-undone",
    "proposed": "policy-proposed",
    "approved": "policy-approved",
    "withdrew-policy": "policy-withdrawn",
}
_OF_TICKETS = ("redemption", "redemption-repeated", "redemption-replayed")


class _Causes:
    """Which act left which row: one to one, by what the act was told of its row."""

    def __init__(self, story: Story) -> None:
        self.faults: list[Fault] = []
        self.act_of: dict[int, Act] = {}
        self.of_ticket: dict[str, tuple[list[Row], list[Act]]] = defaultdict(lambda: ([], []))
        tickets = {row.leaf: row.detail.get("ticket") or "" for row in story.rows if row.kind == "release"}
        rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        following: list[Row] = []
        expired = sum(map(_has_expired, story.acts))  # of which not every row names its ticket
        for row in story.rows:
            if row.kind == "ticket-refused" and expired:
                expired -= 1
            elif row.kind in _OF_TICKETS:
                self.of_ticket[row.key][0].append(row)
            elif row.kind in ("task-decided", "decision-undone") and "record_id" in row.detail:
                following.append(row)  # of a record that changed hands by the same transaction
            else:
                rows[_kind(row.kind), row.key].append(row)
        self.faults += [Fault("act-without-row", "refusal of a ticket")] * expired
        for act in story.acts:
            if act.what == "redeemed" or (act.what == "refused" and act.code == "ticket-replayed"):
                self.of_ticket[tickets.get(act.ticket, "")][1].append(act)
            elif act.what not in ("refused", "failed"):
                self._pair(act, rows.get((_kind(_ROW_OF.get(act.what, act.what)), act.key), []))
        for left in (row for several in rows.values() for row in several if row.event_id not in self.act_of):
            self.faults.append(Fault("row-without-act", f"{left.kind} {left.event_id}"))
        for ticket, (uses, acts) in sorted(self.of_ticket.items()):
            if len(uses) == len(acts) == 1:
                self.act_of[uses[0].event_id] = acts[0]
            self._count_uses(ticket, uses, acts)
        causing = {row.transaction for row in story.rows if row.event_id in self.act_of}
        for row in following:
            if row.transaction not in causing:
                self.faults.append(Fault("row-without-act", f"{row.kind} of a record, {row.event_id}"))

    def _pair(self, act: Act, found: list[Row]) -> None:
        if len(found) == 1 and found[0].event_id not in self.act_of:
            self.act_of[found[0].event_id] = act
        elif not found:
            self.faults.append(Fault("act-without-row", f"{act.what} by {act.hand} at {act.at:.6f}"))
        else:
            self.faults.append(Fault("act-with-several-rows", f"{act.what} by {act.hand} at {act.at:.6f}"))

    def _count_uses(self, ticket: str, uses: Sequence[Row], acts: Sequence[Act]) -> None:
        answered = sum(act.what == "redeemed" for act in acts)
        rows = Counter(row.kind for row in uses)
        counted = rows["redemption"] + rows["redemption-repeated"]
        if rows["redemption"] > 1:
            self.faults.append(Fault("ticket-used-twice", f"ticket {ticket}"))
        for said, kept, what in (
            (answered, counted, "redemption"),
            (len(acts) - answered, rows["redemption-replayed"], "replay"),
        ):
            name = "act-without-row" if said > kept else "row-without-act"
            self.faults += [Fault(name, f"{what} of ticket {ticket}")] * abs(said - kept)


def _kind(kind: str) -> str:
    return "policy-done" if kind in ("published", "policy-published", "policy-rolled-back") else kind


# The order of commits and the wall's ---------------------------------------------------------------------------------


def _against_time(rows: Sequence[Row], causes: _Causes) -> Iterator[Fault]:
    """Of two acts, the one whose commit was received before the other began stands first."""
    latest, which = 0.0, 0
    for row in rows:
        act = causes.act_of.get(row.event_id)
        if act is None:
            continue
        if act.committed < latest:
            yield Fault("order-against-time", f"row {row.event_id} stands after {which}, which began later")
        if act.begun > latest:
            latest, which = act.begun, row.event_id


def _by_the_wall(story: Story) -> Iterator[Fault]:
    """Find what began after an objection's receipt, was answered before its withdrawal began, and shows what it covers."""
    for answers, binding in _by_family(story):
        begun = [act.begun for act in answers]
        for objection, ends, apart in binding:
            first, last = bisect_right(begun, objection.committed), bisect_left(begun, ends)
            for answer in answers[first:last]:
                if answer.at < ends and _covers(objection, answer, apart):
                    yield Fault(
                        f"{answer.what}-after-objection",
                        f"by {answer.hand} at {answer.at:.6f}, {answer.at - objection.committed:.6f} s after it",
                    )


def _by_the_epochs(story: Story) -> Iterator[Fault]:
    """Find what shows what an objection covers, of whoever gave it, at an epoch from its receipt's to its withdrawal's."""
    acts: dict[int, list[Act]] = defaultdict(list)
    for act in story.acts:
        acts[act.half].append(act)
    for theirs in acts.values():
        ends = {act.directive: act.epoch for act in theirs if act.what == "withdrew"}
        answers = sorted(
            (act for act in theirs if act.what in ANSWERS and act.shown and act.epoch),
            key=lambda act: act.epoch,
        )
        epochs = [act.epoch for act in answers]
        for objection in (act for act in theirs if act.what == "objected"):
            first = bisect_left(epochs, objection.epoch)
            last = (
                bisect_left(epochs, ends[objection.directive]) if objection.directive in ends else len(epochs)
            )
            for answer in answers[first:last]:
                if _covers(objection, answer, ()):
                    yield Fault(
                        f"{answer.what}-within-objection", f"by {answer.hand} at epoch {answer.epoch}"
                    )


def _on_their_way(story: Story) -> Iterator[float]:
    """Yield how long after an objection's receipt each redemption was answered that began before it and shows what it covers."""
    for answers, binding in _by_family(story):
        begun = [act.begun for act in answers]
        longest = max((act.at - act.begun for act in answers), default=0.0)
        for objection, ends, apart in binding:
            first = bisect_left(begun, objection.committed - longest)
            for answer in answers[first : bisect_right(begun, objection.committed)]:
                if (
                    answer.what == "redeemed"
                    and objection.committed < answer.at < ends
                    and _covers(objection, answer, apart)
                ):
                    yield answer.at - objection.committed


def _met(story: Story) -> int:
    found: set[int] = set()
    for answers, binding in _by_family(story, with_nothing_shown=True):
        begun = [act.begun for act in answers]
        longest = max((act.at - act.begun for act in answers), default=0.0)
        for objection, _, _ in binding:
            first, last = bisect_left(begun, objection.begun - longest), bisect_right(begun, objection.at)
            found |= {id(answer) for answer in answers[first:last] if answer.at > objection.begun}
    return len(found)


def _by_family(
    story: Story, *, with_nothing_shown: bool = False
) -> Iterator[tuple[list[Act], list[tuple[Act, float, list[tuple[float, float]]]]]]:
    """Yield for each family its answers that show something (or all), and its objections: when they end, when its halves may be apart."""
    family_of = {half: family for family in story.families for half in family}
    acts: dict[tuple[int, ...], list[Act]] = defaultdict(list)
    for act in sorted(story.acts, key=lambda one: one.begun):
        if act.half in family_of:
            acts[family_of[act.half]].append(act)
    for family in story.families:
        theirs = acts[family]
        ends = {act.directive: act.begun for act in theirs if act.what == "withdrew"}
        undone = {act.key: act.at for act in theirs if act.what == "undone"}
        apart = [(act.begun, undone.get(act.key, float("inf"))) for act in theirs if act.what == "told-apart"]
        yield (
            [act for act in theirs if act.what in ANSWERS and (act.shown or with_nothing_shown)],
            [(act, ends.get(act.directive, float("inf")), apart) for act in theirs if act.what == "objected"],
        )


def _covers(objection: Act, answer: Act, apart: Sequence[tuple[float, float]]) -> bool:
    """Whether an objection surely covers something of what an answer shows."""
    if objection.scope != EVERYTHING and objection.scope not in answer.shown:
        return False
    return objection.half == answer.half or not any(
        start < answer.at and answer.begun < end for start, end in apart
    )


def _policies_by_the_wall(story: Story) -> Iterator[Fault]:
    """Find decisions by a revision that at no moment between their beginning and their answer can have been in force."""
    published = sorted((act for act in story.acts if act.what == "published"), key=lambda act: act.committed)
    # Each may have come into force from when its publication began, and was gone once a later one was received.
    since: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for start, revision, place in (
        (float("-inf"), story.in_force, 0),
        *((act.begun, act.revision, place) for place, act in enumerate(published, 1)),
    ):
        # The next that began after this one was received has surely taken its place.
        received = published[place - 1].committed if place else float("-inf")
        ends = min((act.committed for act in published if act.begun >= received), default=float("inf"))
        since[revision].append((start, ends))
    for act in story.acts:
        if act.what in ("asked", "released") and not any(
            start <= act.at and act.begun <= end for start, end in since[act.revision]
        ):
            yield Fault("policy-not-in-force", f"{act.what} by {act.hand} at {act.at:.6f}: {act.revision}")


# The model -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Family:
    """Who may be one person. ``state``: ``alone``, ``open`` (a question joins the two), ``one``, or ``apart``."""

    halves: tuple[int, ...]
    state: str
    objections: dict[str, tuple[str, frozenset[int]]] = field(default_factory=dict)  # scope, anchors
    epochs: dict[int, int] = field(default_factory=dict)
    said_in: dict[int, int] = field(
        default_factory=dict
    )  # by half: the number of the latest row of a directive, and of an answer
    shown_in: dict[int, int] = field(default_factory=dict)

    def persons_halves(self, half: int) -> tuple[int, ...]:
        """Return the halves of the person that a half is, or is part of."""
        return self.halves if self.state == "one" else (half,)

    def anchors(self, half: int) -> frozenset[int]:
        return frozenset(self.halves) if self.state == "one" else frozenset({half})

    def bound(self, anchors: Iterable[int]) -> frozenset[int]:
        """Return the persons whom a directive with these anchors binds."""
        if self.state == "one":
            return frozenset(self.halves[:1])
        return frozenset(self.halves if self.state == "open" else anchors)

    def withheld(self, half: int) -> frozenset[str]:
        return frozenset(
            scope for scope, anchors in self.objections.values() if self.state != "apart" or half in anchors
        )


@dataclass(frozen=True, slots=True)
class _Ticket:
    half: int
    of_one: bool
    shown: frozenset[str]


class _Region:
    """All families and the policy, made again act by act in the order of commits."""

    def __init__(self, story: Story, causes: _Causes) -> None:
        self.faults: list[Fault] = []
        self._story, self._causes = story, causes
        self._revision = story.in_force
        self._families: dict[int, _Family] = {}
        for halves in story.families:
            family = _Family(halves, "open" if len(halves) > 1 else "alone")
            self._families |= dict.fromkeys(halves, family)
        self._tickets: dict[str, _Ticket] = {}
        self._uses: dict[str, list[tuple[Row, frozenset[str]]]] = defaultdict(list)
        self._done_in = self._shown_in = 0

    def live(self) -> None:
        for row in self._story.rows:
            if row.kind in _OF_TICKETS:
                self._use(row)
                continue
            act = self._causes.act_of.get(row.event_id)
            if act is None:
                continue
            if act.what == "published":
                self._publish(row, act)
            elif act.what in ("objected", "withdrew"):
                self._say(row, act, self._families[act.half])
            elif act.what in VERDICTS:
                self._families[act.half].state = {"joined": "one", "told-apart": "apart"}.get(
                    act.what, "open"
                )
            elif act.what in ("asked", "released"):
                self._answer(row, act, self._families[act.half])
        for ticket, uses in self._uses.items():
            self._compare_uses(ticket, uses, self._causes.of_ticket[ticket][1])

    def _fault(self, name: str, row: Row, words: str = "") -> None:
        self.faults.append(Fault(name, f"{row.kind} {row.event_id} {words}".rstrip()))

    def _publish(self, row: Row, act: Act) -> None:
        if row.detail.get("from_revision") != self._revision:
            self._fault("policy-not-in-force", row, "took the place of another one")
        self._revision = act.revision
        if row.event_id < self._shown_in:
            self._fault("log-out-of-order", row)
        self._done_in = max(self._done_in, row.event_id)

    def _say(self, row: Row, act: Act, family: _Family) -> None:
        if act.what == "objected":
            anchors = family.anchors(act.half)
            family.objections[act.directive] = (act.scope, anchors)
        else:
            _, anchors = family.objections.pop(act.directive, ("", frozenset({act.half})))
        bound = family.bound(anchors)
        if {str(number) for number in bound} != set(row.detail.get("bound", ())):
            self._fault("bound-wrongly", row)
        epoch = row.detail.get("epoch", 0)
        for half in {one for person in bound for one in family.persons_halves(person)}:
            if epoch <= family.epochs.get(half, 0):
                self._fault("epoch-not-raised", row, str(epoch))
            family.epochs[half] = epoch
            if row.event_id < family.shown_in.get(half, 0):
                self._fault("log-out-of-order", row)
            family.said_in[half] = row.event_id
        if act.epoch != epoch:
            self._fault("epoch-told-wrongly", row)

    def _answer(self, row: Row, act: Act, family: _Family) -> None:
        allowed = self._allowed(row, family, act.half)
        if act.epoch != row.detail.get("epoch"):
            self._fault("epoch-told-wrongly", row)
        if act.revision != row.detail["policy"][2]:
            self._fault("policy-told-wrongly", row)
        self._hold(row, frozenset(act.shown), allowed, act.what)
        if ticket := row.detail.get("ticket"):
            is_one = family.state == "one"
            half = family.halves[0] if is_one else act.half
            self._tickets[ticket] = _Ticket(half, is_one, frozenset(act.shown))

    def _allowed(self, row: Row, family: _Family, half: int) -> frozenset[str]:
        """Return what may be shown where this row stands, and see that it stands where it may."""
        if row.detail["policy"][2] != self._revision:
            self._fault("policy-not-in-force", row, row.detail["policy"][2])
        epoch = row.detail.get("epoch", 0)
        theirs = family.persons_halves(half)
        for one in theirs:
            if epoch < family.epochs.get(one, 0):
                self._fault("epoch-went-back", row, f"from {family.epochs[one]} to {epoch}")
            family.epochs[one] = max(epoch, family.epochs.get(one, 0))
            family.shown_in[one] = max(row.event_id, family.shown_in.get(one, 0))
        if row.event_id < max(self._done_in, *(family.said_in.get(one, 0) for one in theirs)):
            self._fault("log-out-of-order", row)
        self._shown_in = max(self._shown_in, row.event_id)
        withheld = family.withheld(half)
        if EVERYTHING in withheld:
            return frozenset()
        return self._story.base[self._revision] - withheld

    def _hold(self, row: Row, shown: frozenset[str], allowed: frozenset[str], what: str) -> None:
        if shown - allowed:
            self._fault(f"{what}-against-objection", row, " ".join(sorted(shown - allowed)))
        if allowed - shown:
            self._fault("withheld-without-cause", row, " ".join(sorted(allowed - shown)))

    def _use(self, row: Row) -> None:
        ticket = self._tickets.get(row.key)
        if ticket is None:
            self._fault("ticket-of-nobody", row)
            return
        family = self._families[ticket.half]
        allowed = self._allowed(row, family, ticket.half) & ticket.shown
        if ticket.of_one and family.state != "one":
            allowed = frozenset()  # what it was issued over is two persons' now
        if row.kind == "redemption-replayed":
            return
        if self._uses[row.key]:
            allowed &= self._uses[row.key][0][1]  # a second time no more than the first
        elif row.kind == "redemption-repeated":
            self._fault("ticket-used-twice", row, "repeated before it was used")
        if row.kind == "redemption":
            self._hold(row, frozenset(item[1] for item in row.detail["items"]), allowed, "redeemed")
        self._uses[row.key].append((row, allowed))

    def _compare_uses(
        self, ticket: str, uses: Sequence[tuple[Row, frozenset[str]]], acts: Sequence[Act]
    ) -> None:
        """Hold the answers of one ticket against its rows. An answer does not tell which of them is its own: the kindest reading counts."""
        answered = sorted((act for act in acts if act.what == "redeemed"), key=lambda act: act.begun)
        if len(answered) != len(uses):
            return  # told of already
        first = uses[0][0].detail["decision_id"]
        best: list[tuple[Row, Act, frozenset[str]]] | None = None
        for order in permutations(answered):
            wrong = [
                (row, act, allowed)
                for (row, allowed), act in zip(uses, order, strict=True)
                if frozenset(act.shown) != allowed
                or (act.released == row.detail["decision_id"] and act.epoch != row.detail["epoch"])
                or act.released not in (row.detail["decision_id"], first)
            ]
            if any(
                later.committed < earlier.begun
                for place, earlier in enumerate(order)
                for later in order[place + 1 :]
            ):
                continue
            if best is None or len(wrong) < len(best):
                best = wrong
            if not best:
                return
        for row, act, allowed in best or ():
            before = len(self.faults)
            self._hold(row, frozenset(act.shown), allowed, "redeemed")
            if len(self.faults) == before:
                self._fault("epoch-told-wrongly", row)
        if best is None:
            self._fault("order-against-time", uses[0][0], f"ticket {ticket}")
