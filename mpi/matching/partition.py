"""Step 6: from pairs to persons: one fixed rule over edges and decisions, the same in whatever order they came."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mpi.matching.model import Model, Sole
from mpi.matching.normalise import NormalisedRecord
from mpi.matching.questions import FORM_SYSTEMS
from mpi.matching.score import Score
from mpi.records import RecordKey


class PairWeight(NamedTuple):
    """What a pair says, in millibits: its match weight, and its evidence, which is the weight without its starting odds.

    Of two records that have no item in common the weight is the starting odds, and the evidence is nothing: missing is no contradiction.
    """

    weight: int
    evidence: int

    @classmethod
    def of(cls, score: Score) -> "PairWeight":
        return cls(score.weight, score.evidence)


_Pair = tuple[int, int]

Weigh = Callable[[int, int], PairWeight]
"""What any two members say, blocked or not; the lower id first."""

DECIDED, BY_WEIGHT, SOLE = "decision", "weight", "sole-candidate"
"""Rules that join: a person said so; a pair is sure by itself; a record that joined nobody, and the only person that it can be."""


@dataclass(frozen=True, slots=True)
class Member:
    """A record of the graph, with what vetoes look at. ``key`` breaks ties, so that arrival order never does."""

    record_id: int
    key: RecordKey
    number: str = field(default="", repr=False)
    birth_order: int = field(default=0, repr=False)

    @classmethod
    def of(cls, record_id: int, key: RecordKey, record: NormalisedRecord) -> "Member":
        return cls(record_id, key, verified_number(record), record.birth_order)


class Edge(NamedTuple):
    """A scored pair, ``low_id`` < ``high_id``. ``may_link`` is the grading's: weight alone does not link.

    ``may_join_alone``: it is enough where nobody else can be meant (``decide.may_join_alone``).
    """

    low_id: int
    high_id: int
    weight: int
    may_link: bool = True
    may_join_alone: bool = False


@dataclass(frozen=True, slots=True)
class LinkDecision:
    """What a person decided of two sides. ``order`` is the decision's place in time; the last on a pair stands."""

    decision_id: int
    verdict: Literal["same", "never"]
    left: frozenset[int]
    right: frozenset[int]
    order: int
    has_second_reader: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Two records whose edge or decision joined their groups, and the rule by which it did."""

    low_id: int
    high_id: int
    weight: int | None
    decision_id: int | None = None
    rule: str = BY_WEIGHT


@dataclass(frozen=True, slots=True)
class Refusal:
    """Two records whose edge or decision would have joined their groups, and the veto that stood between.

    ``between`` is the pair of members that the veto names, which need not be the two of the edge; for a group that grew too
    large it is the edge's own pair.
    """

    low_id: int
    high_id: int
    weight: int | None
    veto: str
    between: tuple[int, int]
    decision_id: int | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """Groups, each in order of record id and sorted by their first; joins in the order made; refusals that stand."""

    groups: tuple[tuple[int, ...], ...]
    joins: tuple[Join, ...]
    refused: tuple[Refusal, ...]


NEVER = "decided-never"
NUMBERS_DIFFER = "verified-numbers-differ"
BIRTH_ORDERS_DIFFER = "birth-orders-differ"
CONTRADICTION = "contradiction"
DISAGREEMENT = "members-disagree"
TOO_LARGE = "group-too-large"


def verified_number(record: NormalisedRecord) -> str:
    return record.number if record.number_state == "v" else ""


def veto(a: NormalisedRecord, b: NormalisedRecord, model: Model) -> str | None:
    """Return the code of what forbids two records to be one person; None if nothing does."""
    return _member_veto(verified_number(a), a.birth_order, verified_number(b), b.birth_order)


def _member_veto(number: str, order: int, other_number: str, other_order: int) -> str | None:
    if number and other_number and number != other_number:
        return NUMBERS_DIFFER
    # 1 is "first or only", so only a pair that differs proves two births.
    return BIRTH_ORDERS_DIFFER if order and other_order and order != other_order else None


def partition(
    members: Mapping[int, Member],
    edges: Iterable[Edge],
    decisions: Iterable[LinkDecision],
    model: Model,
    weigh: Weigh,
    compatible: Iterable[_Pair] = (),
) -> Partition:
    """Group records into persons.

    Take *same* decisions in order, then edges that may link, at or above the live threshold, from heaviest to lightest (ties by
    record key). Each joins its two groups unless a veto stands between them: a *never*, different verified numbers,
    different birth orders, a contradiction weight between any two members, a group grown too large, or, of a pair that is not sure
    enough by itself, two groups of several records whose pairs on the whole speak against it (``Quorum``). A *same* overrides
    numbers and birth orders only with a second reader, and the contradiction of the pairs that were decided; the others it need not ask.

    Then, if the model has a rule of the sole candidate, take the records that joined nobody, again from the heaviest edge to the lightest.
    Each joins the one group that it can be (``Sole``), by an edge that may join alone, unless a veto stands between, one
    system keeps a record in both, or one of the two alone tells of a later birth: then there is somebody else.

    Decisions and edges that name a record outside ``members`` are ignored for that record.

    Args:
        compatible: pairs, the lower id first, of which it is known that they do not contradict each other, so that none of them need be
            weighed to see it. They change no answer.
    """
    edges = list(edges)
    standing = _standing(members, decisions)
    tests = _Tests(members, _never(standing), standing, model, weigh, _by_member(compatible))
    groups = {record_id: _Group.of(member) for record_id, member in members.items()}
    joins: list[Join] = []
    refused: list[Refusal] = []
    for low, high, weight, decision in _claims(members, edges, standing, model):
        if len(joins) == len(groups) - 1:
            break  # one person: nobody is left to be joined
        one, other = groups[low], groups[high]
        if one is other:
            continue
        against = tests.veto_between(one, other, decision) or tests.disagreement(one, other, weight)
        decision_id = decision.decision_id if decision else None
        if against is None:
            joins.append(Join(low, high, weight, decision_id, DECIDED if decision else BY_WEIGHT))
            merged = tests.joined(one, other, decision)
            for record_id in merged.ids:
                groups[record_id] = merged
        else:
            code, between = against
            refused.append(Refusal(low, high, weight, code, between or (low, high), decision_id))
    is_parted = len(joins) < len(groups) - 1
    for edge in _left_over(members, edges, groups, model.sole) if model.sole and is_parted else ():
        one, other = groups[edge.low_id], groups[edge.high_id]
        if one is other or tests.tell_of_another(one, other) or tests.veto_between(one, other, None):
            continue
        joins.append(Join(edge.low_id, edge.high_id, edge.weight, None, SOLE))
        merged = tests.joined(one, other, None)
        for record_id in merged.ids:
            groups[record_id] = merged
    distinct = {id(group): group for group in groups.values()}.values()
    return Partition(
        groups=tuple(sorted(tuple(sorted(group.ids)) for group in distinct)),
        joins=tuple(joins),
        refused=tuple(one for one in refused if groups[one.low_id] is not groups[one.high_id]),
    )


def _by_member(pairs: Iterable[_Pair]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for low, high in pairs:
        found.setdefault(low, set()).add(high)
        found.setdefault(high, set()).add(low)
    return found


# What is tried, in order ---------------------------------------------------------------------------------------

_Claim = tuple[int, int, int | None, LinkDecision | None]


def _standing(members: Mapping[int, Member], decisions: Iterable[LinkDecision]) -> dict[_Pair, LinkDecision]:
    """Return the last decision on every pair of present records."""
    last: dict[_Pair, LinkDecision] = {}
    for decision in sorted(decisions, key=lambda one: (one.order, one.decision_id)):
        for left in decision.left:
            for right in decision.right:
                if left != right and left in members and right in members:
                    last[min(left, right), max(left, right)] = decision
    return last


def _never(standing: Mapping[_Pair, LinkDecision]) -> dict[int, frozenset[int]]:
    never: dict[int, set[int]] = {}
    for (low, high), decision in standing.items():
        if decision.verdict == "never":
            never.setdefault(low, set()).add(high)
            never.setdefault(high, set()).add(low)
    return {record_id: frozenset(others) for record_id, others in never.items()}


def _claims(
    members: Mapping[int, Member],
    edges: Iterable[Edge],
    standing: Mapping[_Pair, LinkDecision],
    model: Model,
) -> Iterator[_Claim]:
    same = [(pair, decision) for pair, decision in standing.items() if decision.verdict == "same"]
    for (low, high), decision in sorted(
        same, key=lambda one: (one[1].order, one[1].decision_id, _keys(members, *one[0]))
    ):
        yield low, high, None, decision
    # Keys are compared once a member here, and not once a pair of edges.
    place = {number: at for at, number in enumerate(sorted(members, key=lambda one: members[one].key))}
    live = model.thresholds.live
    strong = []
    for low, high, weight, may_link, _ in edges:
        if may_link and weight >= live and low in place and high in place:
            one, other = place[low], place[high]
            strong.append(
                (-weight, one, other, low, high) if one < other else (-weight, other, one, low, high)
            )
    strong.sort()
    for weight, _, _, low, high in strong:
        yield low, high, -weight, None


def _left_over(
    members: Mapping[int, Member], edges: Iterable[Edge], groups: Mapping[int, "_Group"], sole: Sole
) -> list[Edge]:
    """Return the edges by which records of groups of one may join the only group that they can be, heaviest first.

    *Only* is meant from both sides: neither the record nor the group might be anyone else.
    """
    between: dict[frozenset[int], list[Edge]] = {}
    for edge in edges:
        if edge.weight >= sole.rival and edge.low_id in members and edge.high_id in members:
            pair = frozenset((groups[edge.low_id].ids[0], groups[edge.high_id].ids[0]))
            if len(pair) == 2:
                between.setdefault(pair, []).append(edge)
    heaviest = {pair: max(edge.weight for edge in found) for pair, found in between.items()}
    weights: dict[int, list[int]] = {}
    for pair, weight in heaviest.items():
        for one in pair:
            weights.setdefault(one, []).append(weight)
    claims = []
    for pair, found in between.items():
        able = [edge for edge in found if edge.may_join_alone]
        if not able or all(len(groups[one].ids) > 1 for one in pair):
            continue
        # Of what weighs more than this, each side has this pair alone.
        limit = heaviest[pair] - sole.margin
        if all(sum(weight > limit for weight in weights[one]) == 1 for one in pair):
            claims.append(min(able, key=lambda one: _rank(members, one)))
    return sorted(claims, key=lambda one: _rank(members, one))


def _rank(members: Mapping[int, Member], edge: Edge) -> tuple[int, tuple[RecordKey, RecordKey]]:
    return -edge.weight, _keys(members, edge.low_id, edge.high_id)


def _keys(members: Mapping[int, Member], low: int, high: int) -> tuple[RecordKey, RecordKey]:
    one, other = members[low].key, members[high].key
    return (one, other) if one <= other else (other, one)


# Groups and vetoes ---------------------------------------------------------------------------------------------

_Mark = tuple[str, str]
"""What a person has only one of: (veto code, value)."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A group and the summary that vetoes read: who bears which mark, and which two marks a person allowed together."""

    ids: tuple[int, ...]
    marks: Mapping[_Mark, int]
    allowed: frozenset[frozenset[_Mark]]

    @classmethod
    def of(cls, member: Member) -> "_Group":
        marks: dict[_Mark, int] = {}
        if member.number:
            marks[NUMBERS_DIFFER, member.number] = member.record_id
        if member.birth_order:
            marks[BIRTH_ORDERS_DIFFER, str(member.birth_order)] = member.record_id
        return cls((member.record_id,), marks, frozenset())

    def later_births(self) -> frozenset[str]:
        """Return the orders of birth that tell of an elder twin: 1 is "first or only"."""
        return frozenset(value for code, value in self.marks if code == BIRTH_ORDERS_DIFFER and value != "1")

    def has_number_of(self, other: "_Group") -> bool:
        return any(mark in other.marks for mark in self.marks if mark[0] == NUMBERS_DIFFER)


@dataclass(frozen=True, slots=True)
class _Tests:
    members: Mapping[int, Member]
    never: Mapping[int, frozenset[int]]
    standing: Mapping[_Pair, LinkDecision]
    model: Model
    weigh: Weigh
    compatible: Mapping[int, set[int]]

    def veto_between(
        self, one: _Group, other: _Group, decision: LinkDecision | None
    ) -> tuple[str, _Pair | None] | None:
        """Return the first veto and the pair that it names, in a fixed order of tests; None where the groups may join."""
        small, large = (one, other) if len(one.ids) <= len(other.ids) else (other, one)
        if self.never:
            inside = frozenset(large.ids)
            found = [(low, high) for low in small.ids for high in self.never.get(low, frozenset()) & inside]
            if found:
                return NEVER, self._first(found)
        if not (decision and decision.has_second_reader):
            clash = self._clash(one, other)
            if clash is not None:
                return clash
        too_large = len(one.ids) + len(other.ids) > self.model.group_limit
        if too_large and decision is None and not one.has_number_of(other):
            return TOO_LARGE, None
        found = [
            (low, high)
            for low in small.ids
            for high in self._unknown(low, large)
            if not self._is_decided_same(low, high)
            and self.weigh(min(low, high), max(low, high)).evidence <= self.model.thresholds.contradiction
        ]
        return (CONTRADICTION, self._first(found)) if found else None

    def _unknown(self, low: int, group: _Group) -> Collection[int]:
        """Return the members of a group that must be weighed with a record to know that they do not contradict it."""
        known = self.compatible.get(low)
        return group.ids if known is None else frozenset(group.ids) - known

    def disagreement(self, one: _Group, other: _Group, weight: int | None) -> tuple[str, None] | None:
        """Return the veto of the other pairs between two groups that a pair of this weight would join; None of a decision's.

        A chance likeness of two records, or a record that two people left, is one pair against many; a single record has no others to ask.
        """
        quorum = self.model.quorum
        if quorum is None or weight is None or weight >= quorum.sure or min(len(one.ids), len(other.ids)) < 2:
            return None
        said = (self.weigh(min(low, high), max(low, high)).weight for low in one.ids for high in other.ids)
        total = sum(max(-quorum.bound, min(quorum.bound, each)) for each in said)
        return (DISAGREEMENT, None) if total < 0 else None

    def _clash(self, one: _Group, other: _Group) -> tuple[str, _Pair] | None:
        allowed = one.allowed | other.allowed
        for code in (NUMBERS_DIFFER, BIRTH_ORDERS_DIFFER):
            found = [
                (low, high)
                for mark, low in one.marks.items()
                for other_mark, high in other.marks.items()
                if mark[0] == other_mark[0] == code
                and mark != other_mark
                and frozenset((mark, other_mark)) not in allowed
                and not (code == NUMBERS_DIFFER and self._outweighs(low, high))
            ]
            if found:
                return code, self._first(found)
        return None

    def _outweighs(self, low: int, high: int) -> bool:
        """Whether all else says more for one person than two verified numbers against it, where that counts: never in what goes live."""
        if not self.model.is_lenient:
            return False
        return self.weigh(min(low, high), max(low, high)).weight >= self.model.thresholds.balanced

    def joined(self, one: _Group, other: _Group, decision: LinkDecision | None) -> _Group:
        allowed = one.allowed | other.allowed
        if decision and decision.has_second_reader:
            allowed |= {
                frozenset((mark, other_mark))
                for mark in one.marks
                for other_mark in other.marks
                if mark[0] == other_mark[0] and mark != other_mark
            }
        marks = dict(one.marks)
        for mark, record_id in other.marks.items():
            held = marks.get(mark)
            if held is None or self.members[record_id].key < self.members[held].key:
                marks[mark] = record_id
        return _Group(one.ids + other.ids, marks, allowed)

    def tell_of_another(self, one: _Group, other: _Group) -> bool:
        """Whether two groups' own records say that there is somebody else, trace or none.

        A system that keeps a record in both took them for two (systems of forms keep several of everyone); and a second-born on one side
        has a twin, who may be the other.
        """
        return one.later_births() != other.later_births() or not self._sources(one).isdisjoint(
            self._sources(other)
        )

    def _sources(self, group: _Group) -> set[tuple[str, str]]:
        keys = (self.members[record_id].key for record_id in group.ids)
        return {(key.organisation, key.system) for key in keys if key.system not in FORM_SYSTEMS}

    def _is_decided_same(self, low: int, high: int) -> bool:
        decision = self.standing.get((min(low, high), max(low, high)))
        return decision is not None and decision.verdict == "same"

    def _first(self, pairs: Iterable[_Pair]) -> _Pair:
        """Return the pair that comes first by record key, its lower id first."""
        members = self.members
        low, high = min(pairs, key=lambda pair: sorted((members[pair[0]].key, members[pair[1]].key)))
        return (low, high) if low < high else (high, low)
